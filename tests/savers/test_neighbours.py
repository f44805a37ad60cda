"""Savers on SQLite beside others: callers that wait together, other processes, nodes that change state meanwhile."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from stategraph import START, StateGraph
from stategraph.engine.checkpoints.serializer import StrictSerializer
from stategraph.errors import ConfigurationError, DamagedCheckpointError
from stategraph.savers import AsyncSqliteSaver, SqliteSaver
from stategraph.savers.compact.coder import Coder
from stategraph.savers.compact.known import KnownThreads
from stategraph.savers.sqlite.database import Read, Write
from stategraph.types import Send
from tests.sqlite import connection

AES = b"0123456789abcdef"


def checkpoint(number: int, **values: Any) -> Any:
    versions = dict.fromkeys(values, f"{number:032}.1")
    return {**empty_checkpoint(), "id": f"{number:08}", "channel_values": values, "channel_versions": versions}


def at(thread_id: str, checkpoint_id: str | None = None) -> Any:
    conf = {"thread_id": thread_id, "checkpoint_ns": ""}
    return {"configurable": conf if checkpoint_id is None else {**conf, "checkpoint_id": checkpoint_id}}


def put(saver: SqliteSaver, saved: Any, parent: str | None = None) -> None:
    saver.put(at("t", parent), saved, {}, saved["channel_versions"])


def values(saver: SqliteSaver) -> Any:
    found = saver.get_tuple(at("t"))
    assert found is not None
    return found.checkpoint["channel_values"]


def graph(saver: Any) -> Any:
    builder = StateGraph(dict)
    builder.add_node("node", lambda state: {})
    builder.add_edge(START, "node")
    return builder.compile(checkpointer=saver)


class Poisoned:
    """A cipher without encryption that refuses one text."""

    def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
        return "none", plaintext

    def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:
        if b"poison" in ciphertext:
            raise ValueError("wrong key")
        return ciphertext


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ["compact", "plain"])
async def test_a_save_without_a_thread_fails_alone(tmp_path: Path, mode: Any) -> None:
    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "s.db"), mode=mode) as saver:
        configs = [at("one"), {"configurable": {"checkpoint_ns": ""}}, at("two")]
        outcomes = await _together(saver, configs)
        assert [type(each) for each in outcomes] == [dict, KeyError, dict]
        assert [await saver.aget_tuple(at(each)) is not None for each in ("one", "two")] == [True, True]


@pytest.mark.anyio
async def test_a_save_to_a_thread_that_cannot_be_read_fails_alone(tmp_path: Path) -> None:
    file, serde = str(tmp_path / "s.db"), EncryptedSerializer(Poisoned(), StrictSerializer())
    bad = checkpoint(1, text="poison" * 100)
    async with AsyncSqliteSaver.from_conn_string(file, serde=serde) as saver:
        await saver.aput(at("bad"), bad, {}, bad["channel_versions"])
    async with AsyncSqliteSaver.from_conn_string(file, serde=serde) as saver:
        outcomes = await _together(saver, [at("good"), at("bad", bad["id"])])
        assert [type(each) for each in outcomes] == [dict, ValueError]


async def _together(saver: AsyncSqliteSaver, configs: list[Any]) -> list[Any]:
    """Save at places of configs, such that all saves wait before the first one is stored."""
    await saver.setup()
    saves = [(config, checkpoint(number, text="a")) for number, config in enumerate(configs, 2)]
    with saver.lock:
        calls = [asyncio.create_task(saver.aput(c, s, {}, s["channel_versions"])) for c, s in saves]
        await asyncio.sleep(0)
    return await asyncio.gather(*calls, return_exceptions=True)


def test_a_list_that_grows_while_it_is_encoded_has_each_element_once() -> None:
    grown = [{"text": "v" * 200 + str(number)} for number in range(4)]
    late = [{"text": "late" * 100}]

    class Slow(StrictSerializer):
        def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
            if late and obj is grown[3]:  # as a node in another thread does it
                grown.append(late.pop())
            return super().dumps_typed(obj)

    saver = SqliteSaver(connection(), serde=Slow())
    first = checkpoint(1, items=grown)
    put(saver, first)
    assert not late
    put(saver, checkpoint(2, items=grown), first["id"])
    assert values(saver) == {"items": grown}


def test_a_subclass_of_a_serializer_may_make_other_bytes() -> None:
    class Packed(JsonPlusSerializer):
        def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
            kind, data = super().dumps_typed(obj)
            return kind, zlib.compress(data)

        def loads_typed(self, data: tuple[str, bytes]) -> Any:
            return super().loads_typed((data[0], zlib.decompress(data[1])))

    saver = SqliteSaver(connection(), serde=Packed())
    stored = {"texts": ["a", "b", {"x": 1}, "y" * 200], "numbers": [1, 2, 3] * 40}
    put(saver, checkpoint(1, **stored))
    assert values(saver) == stored


def test_a_subclass_of_the_encrypted_serializer_is_asked_for_every_value() -> None:
    class Marked(EncryptedSerializer):
        def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
            kind, data = super().dumps_typed(obj)
            return kind, b"tenant" + data

        def loads_typed(self, data: tuple[str, bytes]) -> Any:
            return super().loads_typed((data[0], data[1].removeprefix(b"tenant")))

    conn = connection()
    cipher = EncryptedSerializer.from_pycryptodome_aes(StrictSerializer(), key=AES).cipher
    saver = SqliteSaver(conn, serde=Marked(cipher, StrictSerializer()))
    put(saver, checkpoint(1, text="y" * 200))
    assert [bytes(row[0][:6]) for row in conn.execute("SELECT value FROM sg_values")] == [b"tenant"]
    assert values(saver) == {"text": "y" * 200}


@pytest.mark.parametrize("form", ["compact", "plain"])
def test_nothing_of_a_state_stands_in_clear_where_a_serializer_of_its_own_encrypts(tmp_path: Path, form: Any) -> None:
    class Own:
        def __init__(self) -> None:
            self.aes = EncryptedSerializer.from_pycryptodome_aes(StrictSerializer(), key=AES)

        def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
            return self.aes.dumps_typed(obj)

        def loads_typed(self, data: tuple[str, bytes]) -> Any:
            return self.aes.loads_typed(data)

    file = tmp_path / "s.db"
    saver = SqliteSaver(connection(file), mode=form, serde=Own())
    send = Send("secret_node", {"secret_argument": "y" * 200})
    stored = {"secret_channel": {"secret_key": "x" * 200, "short": 1}, "list": [*"abc", "z" * 200], "send": send}
    put(saver, checkpoint(1, **stored))
    saver.put_writes(at("t", "00000001"), [("channel", {"secret_part": "w" * 200})], "task")
    assert values(saver) == stored
    in_files = b"".join(each.read_bytes() for each in tmp_path.iterdir())
    secrets = [b"secret_key", b"secret_argument", b"secret_part", b"secret_node", b"secret_channel"]
    assert [word for word in secrets if word in in_files] == []
    if form == "compact":
        with pytest.raises(ConfigurationError, match=r"serializer of its own, of kind 'sg\.1\+=.*saver's is Strict"):
            SqliteSaver(connection(file)).get_tuple(at("t"))


def test_what_is_encrypted_says_so_to_a_saver_without_the_key(tmp_path: Path) -> None:
    file = tmp_path / "s.db"
    encrypted = EncryptedSerializer.from_pycryptodome_aes(StrictSerializer(), key=AES)
    put(SqliteSaver(connection(file), serde=encrypted), checkpoint(1, text="y" * 200))
    with pytest.raises(ConfigurationError, match=r"encrypted, of kind 'sg\.1\+aes'.*EncryptedSerializer, and the key"):
        SqliteSaver(connection(file)).get_tuple(at("t"))
    with pytest.raises(ConfigurationError, match="is encrypted"):  # and not that the thread is damaged
        graph(SqliteSaver(connection(file))).get_state(at("t"))


@pytest.mark.parametrize(("form", "other"), [("compact", "plain"), ("plain", "compact")])
@pytest.mark.parametrize("first", [values, lambda saver: put(saver, checkpoint(2, text="z" * 200), "00000001")])
def test_an_open_saver_goes_on_after_another_process_has_converted_the_file(
    tmp_path: Path, form: Any, other: Any, first: Callable[[SqliteSaver], Any]
) -> None:
    file = tmp_path / "s.db"
    saver = SqliteSaver(connection(file), mode=form)
    put(saver, checkpoint(1, text="y" * 200))
    SqliteSaver(connection(file)).convert(other)
    first(saver)
    put(saver, checkpoint(3, text="y" * 200), "00000001")
    assert values(saver) == {"text": "y" * 200}
    assert values(SqliteSaver(connection(file))) == {"text": "y" * 200}


def test_what_is_known_of_one_thread_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stategraph.savers.sqlite.database._MOST_BYTES", 100_000)
    saver = SqliteSaver(connection())
    known: KnownThreads = saver._database._known
    parent = None
    for number in range(1, 40):
        saved = checkpoint(number, text=f"{number:05}" * 4_000)
        put(saver, saved, parent)
        parent = saved["id"]
        assert known._size < 150_000
    assert values(saver) == {"text": "00039" * 4_000}


@pytest.mark.anyio
async def test_a_save_whose_caller_was_cancelled_is_stored_before_the_file_is_closed(tmp_path: Path) -> None:
    file, saved = str(tmp_path / "s.db"), checkpoint(1, text="a")
    async with AsyncSqliteSaver.from_conn_string(file) as saver:
        await saver.setup()
        with saver.lock:
            call = asyncio.create_task(saver.aput(at("t"), saved, {}, saved["channel_versions"]))
            await asyncio.sleep(0)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
    assert values(SqliteSaver(connection(file))) == {"text": "a"}


def test_an_interrupt_is_raised_in_the_thread_that_is_interrupted() -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    saver = SqliteSaver(connection())
    saver.setup()
    for other in (Read(interrupted), Write([], Coder(saver.serde), interrupted)):
        saver._database._waiting.append(other)  # another thread waits for it
        with pytest.raises(KeyboardInterrupt):
            saver.get_tuple(at("t"))
        with pytest.raises(RuntimeError, match="was interrupted"):
            other.outcome()
        assert saver.get_tuple(at("t")) is None


def test_bytearrays_of_any_size_are_stored() -> None:
    saver = SqliteSaver(connection())
    stored = {"one": bytearray(b"y" * 300), "several": [bytearray(b"z" * 300), b"z" * 300]}
    put(saver, checkpoint(1, **stored))
    assert values(saver) == stored


def test_a_graph_with_a_saver_that_does_not_know_the_compact_form_says_what_to_do(tmp_path: Path) -> None:
    theirs = pytest.importorskip("langgraph.checkpoint.sqlite").SqliteSaver
    file = tmp_path / "s.db"
    put(SqliteSaver(connection(file)), checkpoint(1, text="y" * 200))
    with pytest.raises(DamagedCheckpointError, match=r"sg\.1.*open the store with that one.*store convert"):
        graph(theirs(connection(file))).get_state(at("t"))


def test_a_list_of_the_same_few_values_is_stored_at_any_length() -> None:
    saver = SqliteSaver(connection())
    stored = [letter * 200 for _ in range(80) for letter in "xz"]
    for number in range(1, 81):
        put(saver, checkpoint(number, texts=stored[: 2 * number]), f"{number - 1:08}")
    assert values(saver) == {"texts": stored}
