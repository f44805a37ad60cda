"""The savers on SQLite: forms of files, other processes, failing saves, callers in threads and in event loops."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.sqlite import SqliteSaver as TheirSaver

from stategraph import END, START, StateGraph
from stategraph.engine.checkpoints.allowlist import message_classes
from stategraph.engine.checkpoints.serializer import StrictSerializer
from stategraph.errors import ConfigurationError
from stategraph.graph.reducers import add_messages
from stategraph.savers import AsyncSqliteSaver, SqliteSaver
from tests.sqlite import connection

THREAD: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}


class State(TypedDict):
    messages: Annotated[list[Any], add_messages]


def answer(state: State) -> dict[str, Any]:
    return {"messages": [AIMessage(f"answer {len(state['messages'])}", id=f"a{len(state['messages'])}")]}


def graph_on(saver: Any) -> Any:
    builder = StateGraph(State).add_node("answer", answer)
    return builder.add_edge(START, "answer").add_edge("answer", END).compile(checkpointer=saver)


def serde() -> StrictSerializer:
    return StrictSerializer(message_classes())


def checkpoint(id_: str, value: Any) -> Any:
    return {**empty_checkpoint(), "id": id_, "channel_values": {"value": value}, "channel_versions": {"value": id_}}


def put(saver: SqliteSaver, id_: str, value: Any) -> None:
    saver.put(THREAD, checkpoint(id_, value), {}, {"value": id_})


def values(saver: Any) -> list[Any]:
    return [found.checkpoint["channel_values"]["value"] for found in saver.list(THREAD)]


def test_a_file_of_their_saver_stays_plain_and_both_go_on_with_its_thread(tmp_path: Path) -> None:
    path = str(tmp_path / "threads.db")
    with TheirSaver.from_conn_string(path) as theirs:
        graph_on(theirs).invoke({"messages": [HumanMessage("one", id="1")]}, THREAD)
    with SqliteSaver.from_conn_string(path) as ours:
        assert ours.mode == "plain"
        graph_on(ours).invoke({"messages": [HumanMessage("two", id="2")]}, THREAD)
    with TheirSaver.from_conn_string(path) as theirs:
        after = graph_on(theirs).invoke({"messages": [HumanMessage("three", id="3")]}, THREAD)
    assert [message.content for message in after["messages"]] == [
        "one",
        "answer 1",
        "two",
        "answer 3",
        "three",
        "answer 5",
    ]


def test_a_plain_file_that_is_gone_on_with_in_the_compact_form_keeps_all_its_checkpoints(tmp_path: Path) -> None:
    path = str(tmp_path / "threads.db")
    with SqliteSaver.from_conn_string(path, mode="plain") as plain:
        graph_on(plain).invoke({"messages": [HumanMessage("one" * 50, id="1")]}, THREAD)
        before = [found.checkpoint for found in plain.list(THREAD)]
    with SqliteSaver.from_conn_string(path, mode="compact") as compact:
        graph_on(compact).invoke({"messages": [HumanMessage("two" * 50, id="2")]}, THREAD)
    with SqliteSaver.from_conn_string(path) as saver:
        assert saver.mode == "compact"
        found = [each.checkpoint for each in saver.with_allowlist(message_classes()).list(THREAD)]
        kinds = {kind for (kind,) in saver.conn.execute("SELECT type FROM checkpoints")}
    assert len(found) == 2 * len(before)
    assert kinds == {"msgpack", "sg.1"}


def test_their_saver_says_that_it_cannot_read_the_compact_form(tmp_path: Path) -> None:
    path = str(tmp_path / "threads.db")
    with SqliteSaver.from_conn_string(path) as ours:
        put(ours, "1", "a")
    with TheirSaver.from_conn_string(path) as theirs, pytest.raises(NotImplementedError, match=r"sg\.1"):
        theirs.get_tuple(THREAD)


def test_two_processes_that_save_in_turn_lose_nothing_of_each_other(tmp_path: Path) -> None:
    path = str(tmp_path / "threads.db")
    with SqliteSaver.from_conn_string(path) as one, SqliteSaver.from_conn_string(path) as other:
        for number in range(6):
            put(one if number % 2 else other, str(number), [f"{each} " * 99 for each in range(number)])
        expected = [[f"{each} " * 99 for each in range(number)] for number in range(5, -1, -1)]
        assert values(one) == values(other) == expected


def test_a_thread_that_another_process_has_deleted_begins_anew(tmp_path: Path) -> None:
    path = str(tmp_path / "threads.db")
    with SqliteSaver.from_conn_string(path) as one, SqliteSaver.from_conn_string(path) as other:
        put(one, "1", "long " * 99)
        other.delete_thread("t")
        assert one.get_tuple(THREAD) is None
        put(one, "2", "long " * 99)
        assert values(other) == ["long " * 99]
        other.delete_thread("t")
        for table in ("checkpoints", "writes", "sg_threads", "sg_values"):
            assert other.conn.execute(f"SELECT COUNT(*) FROM {table}").fetchone() == (0,)


def test_values_that_a_process_does_not_know_to_be_deleted_are_not_referred_to(tmp_path: Path) -> None:
    path = str(tmp_path / "threads.db")
    with SqliteSaver.from_conn_string(path) as one, SqliteSaver.from_conn_string(path) as other:
        put(one, "1", "long " * 99)
        put(one, "2", "other " * 99)
        # As pruning does it: rows, their values, and the epoch by which others notice.
        other.put_within([save("3", "x")], lambda connection: prune(connection))
        put(one, "4", "long " * 99)
        assert values(other) == ["long " * 99, "x", "other " * 99]


def save(id_: str, value: Any) -> tuple[str, Any]:
    return "put", (THREAD, checkpoint(id_, value), {}, {"value": id_})


def prune(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM checkpoints WHERE checkpoint_id = '1'")
    connection.execute("DELETE FROM sg_values WHERE id & 0xffffffff = 1")
    connection.execute("UPDATE sg_threads SET epoch = epoch + 1")


class Refused:
    """Has no stored form."""


def test_of_saves_that_are_stored_together_one_that_fails_leaves_those_before_it() -> None:
    with SqliteSaver.from_conn_string(":memory:") as saver:
        saves = [save("1", "a" * 200), save("2", Refused()), save("3", "c")]
        assert saver.put_together(saves) == 1
        with pytest.raises(TypeError, match="Refused"):
            saver.put_together(saves[1:])
        assert saver.put_together(saves[2:]) == 1
        assert values(saver) == ["c", "a" * 200]


def test_saves_that_are_stored_together_wait_for_a_lock_once(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    connection = sqlite3.connect(path, timeout=0, check_same_thread=False)
    saver, other = SqliteSaver(connection), sqlite3.connect(path, isolation_level=None)
    saver.setup()
    begun: list[str] = []
    connection.set_trace_callback(lambda statement: begun.append(statement) if "BEGIN" in statement else None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        saver.put_together([save("1", "a"), save("2", "b")])
    assert begun == ["BEGIN IMMEDIATE"]
    other.execute("ROLLBACK")
    assert saver.put_together([save("1", "a"), save("2", "b")]) == 2
    saver.close()
    other.close()


def test_what_fails_inside_of_a_transaction_has_all_of_it_undone() -> None:
    def fail(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE made (n)")
        raise KeyError("stop")

    with SqliteSaver.from_conn_string(":memory:") as saver:
        put(saver, "1", "a" * 200)
        with pytest.raises(KeyError):
            saver.put_within([save("2", "b" * 200)], fail)
        with pytest.raises(KeyError):
            saver.delete_thread_within("t", fail)
        with pytest.raises(TypeError):
            saver.put_within([save("2", "b"), save("3", Refused())], lambda _: None)
        put(saver, "4", "b" * 200)
        assert values(saver) == ["b" * 200, "a" * 200]
        assert saver.conn.execute("SELECT name FROM sqlite_master WHERE name = 'made'").fetchall() == []


def test_saves_of_many_threads_and_loops_go_through_one_connection() -> None:
    def of_thread(name: str) -> Any:
        return {"configurable": {"thread_id": name, "checkpoint_ns": ""}}

    def in_thread(saver: SqliteSaver, name: str) -> None:
        for number in range(10):
            saver.put(of_thread(name), checkpoint(f"{number}", [name * 50] * number), {}, {"value": str(number)})

    async def in_loop(saver: SqliteSaver, name: str) -> None:
        for number in range(10):
            one = checkpoint(f"{number}", [name * 50] * number)
            await saver.aput(of_thread(name), one, {}, {"value": str(number)})

    async def many(saver: SqliteSaver, names: list[str]) -> None:
        await asyncio.gather(*(in_loop(saver, name) for name in names))

    with SqliteSaver.from_conn_string(":memory:") as saver:
        threads = [threading.Thread(target=in_thread, args=(saver, f"thread {at} ")) for at in range(4)]
        threads += [
            threading.Thread(target=asyncio.run, args=(many(saver, [f"loop {at} {of}" for of in range(8)]),))
            for at in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        found = [each.config["configurable"]["thread_id"] for each in saver.list(None)]
        assert len(found) == 200
        for name in set(found):
            newest = saver.get_tuple(of_thread(name))
            assert newest is not None
            assert newest.checkpoint["channel_values"]["value"] == [name * 50] * 9


async def _cancelled(saver: AsyncSqliteSaver) -> list[Any]:
    task = asyncio.create_task(saver.aput(THREAD, checkpoint("1", "a"), {}, {"value": "1"}))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await saver.aput(THREAD, checkpoint("2", "b"), {}, {"value": "2"})
    return [found.checkpoint["channel_values"]["value"] async for found in saver.alist(THREAD)]


def test_a_caller_who_is_cancelled_leaves_the_saver_usable() -> None:
    async def main() -> list[Any]:
        async with AsyncSqliteSaver.from_conn_string(":memory:") as saver:
            await saver.setup()
            return await _cancelled(saver)

    assert asyncio.run(main())[0] == "b"


def test_messages_that_are_handed_out_are_nobody_elses(tmp_path: Path) -> None:
    with SqliteSaver.from_conn_string(str(tmp_path / "threads.db"), serde=serde()) as saver:
        put(saver, "1", [HumanMessage("as it was " * 20, response_metadata={"a": [1]})])
        for _ in range(3):
            found = saver.get_tuple(THREAD)
            assert found is not None
            (message,) = found.checkpoint["channel_values"]["value"]
            assert message == HumanMessage("as it was " * 20, response_metadata={"a": [1]})
            message.content = "changed"
            message.response_metadata["a"].append(2)


def test_a_channel_that_has_not_changed_is_not_encoded_again() -> None:
    encoded: list[Any] = []

    class Noting(StrictSerializer):
        def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
            encoded.append(obj)
            return super().dumps_typed(obj)

    with SqliteSaver.from_conn_string(":memory:", serde=Noting()) as saver:
        large = {"large": "value " * 99}
        first = {**checkpoint("1", "a"), "channel_values": {"kept": large, "value": "a"}}
        first["channel_versions"] = {"kept": "1", "value": "1"}
        config = saver.put(THREAD, first, {}, first["channel_versions"])
        encoded.clear()
        second = {**first, "id": "2", "channel_versions": {"kept": "1", "value": "2"}}
        saver.put(config, second, {}, {"value": "2"})
        assert "value " * 99 not in encoded
        found = saver.get_tuple(THREAD)
        assert found is not None
        assert found.checkpoint["channel_values"]["kept"] == large


@pytest.mark.parametrize("mode", ["smaller", 5])
def test_a_mode_that_is_none_is_refused(mode: Any) -> None:
    for make in (SqliteSaver.from_conn_string, AsyncSqliteSaver.from_conn_string):
        with pytest.raises(ConfigurationError, match="mode"):
            make(":memory:", mode=mode)
    with pytest.raises(ConfigurationError, match="mode"):
        SqliteSaver(connection(), mode=mode)


def test_a_connection_of_another_library_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="sqlite3"):
        SqliteSaver(object())  # type: ignore[arg-type]


def test_a_file_that_may_only_be_read_is_read(tmp_path: Path) -> None:
    path = tmp_path / "threads.db"
    with SqliteSaver.from_conn_string(str(path)) as saver:
        put(saver, "1", "a" * 200)
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, check_same_thread=False)
    saver = SqliteSaver(connection)
    assert values(saver) == ["a" * 200]
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        put(saver, "2", "b")
    saver.close()
