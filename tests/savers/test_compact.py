"""The compact form against the plain one: whatever is saved, what is read is the same."""

from __future__ import annotations

import os
from enum import Enum
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer

from stategraph.engine.checkpoints.allowlist import message_classes
from stategraph.engine.checkpoints.serializer import StrictSerializer
from stategraph.savers import SqliteSaver
from stategraph.savers.compact import lists
from stategraph.savers.compact.decoder import Decoder
from tests.engine.test_encoded_messages import conversation
from tests.engine.test_known_lists import everything
from tests.savers.histories_kit import Thread, pieces, read, same, steps
from tests.sqlite import connection

EXAMPLES = int(os.environ.get("STATEGRAPH_EXAMPLES", "60"))
AES = b"0123456789abcdef"


def serde() -> StrictSerializer:
    return StrictSerializer(message_classes())


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(steps, max_size=30), st.booleans())
def test_every_checkpoint_of_a_random_history_is_the_same_in_both_forms(history: list[Any], again: bool) -> None:
    plain, compact = (SqliteSaver(connection(), serde=serde(), mode=mode) for mode in ("plain", "compact"))
    thread = Thread([compact, plain])
    for number, step in enumerate(history):
        thread.step(*step)
        if again and number % 5 == 4:
            # Another process goes on: it knows nothing of the thread.
            compact = SqliteSaver(compact.conn, serde=serde())
            thread.savers = [compact, plain]
            if number % 2:
                compact.get_tuple({"configurable": {"thread_id": "thread"}})
    for saver in (compact, SqliteSaver(compact.conn, serde=serde())):
        found, expected = read(saver), read(plain)
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert same(one, other)
        for expected_one in expected:
            assert same(saver.get_tuple(expected_one.config), expected_one)
    compact.conn.close()
    plain.conn.close()


@settings(max_examples=EXAMPLES // 2, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(pieces, max_size=25), st.integers(0, 30))
def test_lists_in_many_pieces_are_the_same_in_both_forms(history: list[Any], restarts_at: int) -> None:
    plain, compact = (SqliteSaver(connection(), serde=serde(), mode=mode) for mode in ("plain", "compact"))
    thread = Thread([compact, plain])
    for number, step in enumerate(history):
        if number == restarts_at:
            thread.savers = [SqliteSaver(compact.conn, serde=serde()), plain]
        thread.step(*step)
    for saver in (thread.savers[0], SqliteSaver(compact.conn, serde=serde())):
        for one, other in zip(read(saver), read(plain), strict=True):
            assert same(one, other)
            assert same(saver.get_tuple(other.config), other)
    compact.conn.close()
    plain.conn.close()


class Together:
    """Stores what it is asked to save later, several saves at once."""

    def __init__(self, saver: SqliteSaver) -> None:
        self.saver = saver
        self.waiting: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        self.flush()
        return getattr(self.saver, name)

    def get_next_version(self, current: Any, channel: None) -> Any:
        return self.saver.get_next_version(current, channel)

    def put(self, *arguments: Any) -> None:
        self.waiting.append(("put", arguments))

    def put_writes(self, *arguments: Any) -> None:
        self.waiting.append(("put_writes", arguments))

    def flush(self) -> None:
        while self.waiting:
            del self.waiting[: self.saver.put_together(self.waiting)]


@settings(max_examples=EXAMPLES // 2, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(pieces, st.booleans()), max_size=25))
def test_saves_that_are_stored_together_are_the_same_as_one_by_one(history: list[Any]) -> None:
    plain, compact = (SqliteSaver(connection(), serde=serde(), mode=mode) for mode in ("plain", "compact"))
    together: Any = Together(compact)
    thread = Thread([together, plain])
    for step, flushes in history:
        if flushes or step[0] == "mutate":
            # Whoever changes a value in place does so after the saves that were asked for before.
            together.flush()
        thread.step(*step)
    for one, other in zip(read(together), read(plain), strict=True):
        assert same(one, other)
    compact.conn.close()
    plain.conn.close()


def test_of_saves_that_are_stored_together_each_element_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    saver = SqliteSaver(connection(), serde=serde())
    together: Any = Together(saver)
    thread = Thread([together])
    looked_at: list[int] = []
    fields_of = lists.fields_of
    monkeypatch.setattr(lists, "fields_of", lambda value: looked_at.append(len(value)) or fields_of(value))
    thread.step("append", "messages", 0, conversation(10))
    for text in ("more", "and more"):
        thread.step("append", "messages", 0, [HumanMessage(text)])
    together.flush()
    size = len(thread.values["messages"])
    assert size > 16
    assert [each for each in looked_at if each > 1] == [size - 2]
    looked_at.clear()
    thread.values["messages"][0].content = "changed in place"
    thread.step("append", "messages", 0, [HumanMessage("and more again")])
    together.flush()
    assert [each for each in looked_at if each > 1] == [size + 1]
    found = saver.get_tuple({"configurable": {"thread_id": "thread"}})
    assert found is not None
    assert found.checkpoint["channel_values"]["messages"][0].content == "changed in place"
    saver.conn.close()


class Decoded:
    """Counts the elements of lists that are decoded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.counts: list[int] = []
        decode = Decoder.elements

        def elements(decoder: Decoder, numbers: Any) -> list[Any]:
            self.counts.append(len(numbers))
            return decode(decoder, numbers)

        monkeypatch.setattr(Decoder, "elements", elements)


def test_the_messages_of_a_thread_are_decoded_once_in_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    saver, decoded = SqliteSaver(connection(), serde=serde()), Decoded(monkeypatch)
    thread = Thread([saver])
    thread.step("append", "messages", 0, conversation(6))
    thread.step("turn", "", 0, [])
    assert decoded.counts == [13, 0]
    thread.step("append", "messages", 0, [HumanMessage("more"), AIMessage("and more")])
    thread.step("turn", "", 0, [])
    assert decoded.counts[2:] == [2, 0]
    # Another process appends to it.
    other = Thread([SqliteSaver(saver.conn, serde=serde())], thread.values, thread.versions, thread.parent, thread.ids)
    other.step("append", "messages", 0, [HumanMessage("from elsewhere")])
    decoded.counts.clear()
    found = saver.get_tuple({"configurable": {"thread_id": "thread"}})
    assert found is not None
    assert found.checkpoint["channel_values"]["messages"] == other.values["messages"]
    assert decoded.counts == [1]
    saver.conn.close()


def test_a_message_that_was_changed_in_place_is_stored_as_changed_and_no_other_run_sees_it_before() -> None:
    saver = SqliteSaver(connection(), serde=serde())
    config: Any = {"configurable": {"thread_id": "thread"}}
    thread = Thread([saver])
    thread.step("append", "messages", 0, conversation(6))
    thread.step("turn", "", 0, [])
    before = everything(thread.values["messages"])
    thread.values["messages"][3].tool_calls[0]["args"]["words"].append("changed in place")
    changed = everything(thread.values["messages"])
    assert changed != before
    assert everything(saver.get_tuple(config).checkpoint["channel_values"]["messages"]) == before  # type: ignore[union-attr]
    thread.step("append", "messages", 0, [HumanMessage("more")])
    thread.step("turn", "", 0, [])
    assert everything(thread.values["messages"][:-1]) == changed
    saver.conn.close()


def test_a_channel_that_a_run_has_left_alone_is_not_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    saver = SqliteSaver(connection(), serde=serde())
    thread = Thread([saver])
    thread.step("append", "messages", 0, conversation(6))
    found = saver.get_tuple({"configurable": {"thread_id": "thread"}})
    assert found is not None
    # A run goes on with what it was given.
    thread.values = found.checkpoint["channel_values"]
    found.checkpoint["channel_versions"]["messages"] = "a later version"
    looked_at: list[int] = []
    fields_of = lists.fields_of
    monkeypatch.setattr(lists, "fields_of", lambda value: looked_at.append(len(value)) or fields_of(value))
    thread.step("append", "notes", 0, ["a note"])
    assert max(looked_at, default=0) == 1
    thread.step("turn", "", 0, [])
    assert thread.values["messages"] == conversation(6)
    saver.conn.close()


class Place(Enum):
    """A class that a serializer brings back if it was told of it."""

    HERE = "here"


def test_what_a_saver_without_a_class_has_read_is_not_taken_for_what_it_comes_to_with_the_class() -> None:
    saver = SqliteSaver(connection(), serde=serde())
    told = saver.with_allowlist([(Place.__module__, "Place")])
    Thread([told]).step("append", "messages", 0, [HumanMessage("where", additional_kwargs={"place": Place.HERE})])
    config: Any = {"configurable": {"thread_id": "thread"}}
    for _ in range(2):
        for each, expected in ((saver, "here"), (told, Place.HERE)):
            found = each.get_tuple(config)
            assert found is not None
            assert found.checkpoint["channel_values"]["messages"][0].additional_kwargs["place"] == expected
    saver.conn.close()


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_a_thread_that_grows_stores_each_message_once(is_encrypted: bool) -> None:
    pytest.importorskip("Crypto")
    made = EncryptedSerializer.from_pycryptodome_aes(serde(), key=AES) if is_encrypted else serde()
    saver = SqliteSaver(connection(), serde=made)
    thread = Thread([saver])
    for number in range(100):
        thread.step("append", "messages", 0, [HumanMessage(f"message {number} " * 20)])
    (count,) = saver.conn.execute("SELECT COUNT(*) FROM sg_values").fetchone()
    (size,) = saver.conn.execute("SELECT SUM(LENGTH(checkpoint)) FROM checkpoints").fetchone()
    assert count == 100
    assert size < 100 * 600
    everything = b"".join(bytes(row[0]) for row in saver.conn.execute("SELECT value FROM sg_values"))
    assert (b"message 7 " in everything) is not is_encrypted
    found = SqliteSaver(saver.conn, serde=made).get_tuple({"configurable": {"thread_id": "thread"}})
    assert found is not None
    assert found.checkpoint["channel_values"]["messages"] == thread.values["messages"]
