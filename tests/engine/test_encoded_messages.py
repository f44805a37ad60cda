"""Messages are encoded once in a run; what is stored is what the saver's serialiser makes of them, byte for byte."""

from __future__ import annotations

import itertools
import logging
import operator
from typing import Annotated, Any, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, RemoveMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver
from ormsgpack import Fragment

from stategraph import END, START, Send, StateGraph, add_messages
from stategraph.engine.checkpoints import encoded_messages
from stategraph.engine.checkpoints.encoded_messages import EncodedMessages
from stategraph.engine.checkpoints.serializer import StrictSerializer
from stategraph.engine.config import environment
from stategraph.engine.config.environment import Environment, SystemClock, SystemIds
from stategraph.engine.engine import StateGraphEngine
from tests.properties import examples
from tests.sqlite import connection

THREAD = {"configurable": {"thread_id": "t"}, "recursion_limit": 100}


class Counted(JsonPlusSerializer):
    """Counts the values that it is given one by one."""

    def __init__(self) -> None:
        super().__init__()
        self.times = 0

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        self.times += 1
        return super().dumps_typed(obj)


def conversation(rounds: int) -> list[Any]:
    made: list[Any] = [HumanMessage("hi", id="h")]
    for number in range(rounds):
        call = {"id": f"c{number}", "name": "find", "args": {"words": [f"w{number}"], "limit": 1}}
        made.append(AIMessage("", id=f"a{number}", tool_calls=[call], response_metadata={"model": {"name": "m"}}))
        made.append(ToolMessage("found", id=f"t{number}", tool_call_id=f"c{number}", artifact={"rows": [1, 2]}))
    return made


def warm(serde: Any = None, rounds: int = 3) -> tuple[EncodedMessages, list[Any]]:
    """Return an encoder that remembers a conversation."""
    encoded, messages = EncodedMessages(serde or Counted()), conversation(rounds)
    for _ in range(encoded_messages.REMEMBERED_FROM):
        encoded.value(list(messages))
    return encoded, messages


# -- the bytes are the serialiser's ---------------------------------------------

PLAIN = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False) | st.text(max_size=3)
NESTED = st.recursive(
    PLAIN | st.sampled_from([(1, 2), {1, 2}, b"b", 2**70]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)


@st.composite
def message(draw: st.DrawFn) -> Any:
    about = {"id": draw(st.sampled_from([None, "x", "y"])), "additional_kwargs": {"k": draw(NESTED)}}
    match draw(st.integers(0, 3)):
        case 0:
            return HumanMessage([{"type": "text", "text": "t", "more": draw(NESTED)}], **about)
        case 1:
            call = {"id": "c", "name": "n", "args": {"a": draw(NESTED)}}
            return AIMessage(draw(st.text(max_size=3)), tool_calls=[call], **about)
        case 2:
            return ToolMessage("found", tool_call_id="c", artifact=draw(NESTED), **about)
        case _:
            return HumanMessage("odd", extra=draw(PLAIN), **about)


def swap(value: Any) -> Any:
    """Return what is equal, and stored as something else."""
    if isinstance(value, bool):
        return int(value)
    return bool(value) if value in (0, 1) else value


def change(place: Any, new: Any, how: int) -> None:
    """Change a message in place."""
    kept = place.additional_kwargs
    match how:
        case 0:
            kept["k"] = new
        case 1:
            kept["k"] = swap(kept.get("k"))
        case 2:  # another order of the same keys
            kept["z"] = 1
            kept["k"] = kept.pop("k", None)
        case 3:
            place.response_metadata = {"new": new}
        case 4 if isinstance(place, AIMessage):
            place.tool_calls[0]["args"]["a"] = new
        case 5 if isinstance(place.content, list):
            place.content[0]["text"] = "changed"
        case 6 if isinstance(kept.get("k"), list):
            kept["k"].append(new)
        case _:
            place.content = "changed"


STEP = st.tuples(
    st.sampled_from(["append", "change", "replace", "drop", "same"]), st.integers(0, 50), st.integers(0, 7)
)


@pytest.mark.parametrize("serde", [JsonPlusSerializer(pickle_fallback=True), StrictSerializer()])
@examples(60)
@given(
    messages=st.lists(message(), min_size=2, max_size=5),
    steps=st.lists(STEP, min_size=4, max_size=12),
    new=st.lists(message(), min_size=12, max_size=12),
    values=st.lists(NESTED, min_size=12, max_size=12),
)
def test_every_list_is_stored_as_the_serialiser_stores_it(
    serde: Any, messages: list[Any], steps: Any, new: list[Any], values: list[Any]
) -> None:
    encoded = EncodedMessages(serde)
    for (step, place, how), another, value in zip(steps, new, values, strict=False):
        place %= len(messages)
        match step:
            case "append":
                messages = [*messages, another]
            case "change":
                change(messages[place], value, how)
            case "replace":
                messages = [*messages[:place], another, *messages[place + 1 :]]
            case "drop" if len(messages) > 1:
                messages = [*messages[:place], *messages[place + 1 :]]
        packet = Send("tools", {"call": {"id": "c"}, "state": {"messages": messages, "n": 1}})
        for stored in (messages, packet, [packet, packet], {"values": {"messages": messages}}):
            assert dumped(serde, encoded.value(stored)) == dumped(serde, stored)


def dumped(serde: Any, value: Any) -> Any:
    try:
        return serde.dumps_typed(value)
    except Exception as error:
        return type(error), str(error)


@pytest.mark.parametrize("size", [2, 15, 16, 65_536])
def test_lists_of_any_length_are_stored_as_lists(size: int) -> None:
    serde = JsonPlusSerializer()
    encoded, messages = EncodedMessages(serde), [HumanMessage("x", id="x")] * size
    values = [encoded.value(messages) for _ in range(4)]
    assert [type(value) for value in values] == [list, list, Fragment, Fragment]
    assert {serde.dumps_typed(value) for value in values} == {serde.dumps_typed(messages)}


# -- once -------------------------------------------------------------------------


def test_what_was_encoded_is_not_encoded_again() -> None:
    serde = Counted()
    encoded, messages = warm(serde)
    for number in range(5):
        serde.times = 0
        messages = [*messages, HumanMessage("more", id=f"m{number}")]
        assert isinstance(encoded.value(messages), Fragment)
        assert serde.times == 1
        encoded.value(Send("tools", {"state": {"messages": list(messages)}}))
        assert serde.times == 1


def test_lists_that_are_stored_twice_only_are_left_to_the_saver() -> None:
    serde = Counted()
    encoded, messages = EncodedMessages(serde), conversation(3)
    assert encoded.value(messages) is messages
    longer = [*messages, HumanMessage("more")]
    assert encoded.value(longer) is longer
    assert serde.times == 0


def test_a_list_that_was_edited_is_left_to_the_saver_until_it_has_come_three_times() -> None:
    encoded, messages = warm()
    messages[2].content = "changed in place"
    assert encoded.value(messages) is messages
    assert encoded.value(messages) is messages
    assert isinstance(encoded.value(messages), Fragment)


def test_a_list_with_something_that_is_not_plain_is_left_alone_for_a_while() -> None:
    encoded, messages = warm()
    messages[2].artifact = object()
    values = [encoded.value(messages) for _ in range(10)]
    assert all(value is messages for value in values)


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded, messages = warm()
    for number in range(20):
        encoded.value([HumanMessage(str(number)), HumanMessage("x")])
    assert encoded.value(messages) is messages
    monkeypatch.setattr(encoded_messages, "MOST_BYTES", 100)
    encoded, messages = warm()
    assert encoded.value(messages) is messages


def test_a_list_that_is_asked_for_again_and_again_is_kept_while_others_come_and_go() -> None:
    encoded, messages = warm()
    for number in range(20):
        encoded.value([HumanMessage(str(number)), HumanMessage("x")])
        assert isinstance(encoded.value(messages), Fragment)


@pytest.mark.parametrize(
    "value",
    [
        [],
        [HumanMessage("one")],
        ["a", "b"],
        {"n": 1, "more": {"deep": [1, 2]}},
        {str(key): 1 for key in range(100)},
        Send("x", {"n": [1]}),
        [Send("x", None)],
        [RemoveMessage("x"), RemoveMessage("y")],
        "text",
        None,
    ],
)
def test_values_without_such_lists_stay_as_they_are(value: Any) -> None:
    encoded = EncodedMessages(JsonPlusSerializer())
    for _ in range(4):
        assert encoded.value(value) == value


def test_messages_of_other_classes_are_encoded_each_time() -> None:
    class Own(HumanMessage):
        pass

    encoded = EncodedMessages(JsonPlusSerializer())
    messages = [HumanMessage("x"), Own("y")]
    assert all(encoded.value(messages) is messages for _ in range(6))


def test_values_are_not_changed_for_those_who_hold_them() -> None:
    encoded, messages = warm()
    packet = Send("tools", {"state": {"messages": messages}})
    held = {"messages": messages, "tasks": [packet]}
    checkpoint = {"id": "1", "channel_values": held}
    given = encoded.checkpoint(checkpoint, {"messages": "1", "tasks": "1", "gone": "1"})
    assert checkpoint == {"id": "1", "channel_values": {"messages": messages, "tasks": [packet]}}
    assert packet.arg["state"]["messages"] is messages
    assert given["id"] == "1"
    assert isinstance(given["channel_values"]["messages"], Fragment)
    assert isinstance(given["channel_values"]["tasks"][0].arg["state"]["messages"], Fragment)
    assert encoded.checkpoint(checkpoint, {"tasks": "1"})["channel_values"]["messages"] is messages
    assert encoded.checkpoint(checkpoint, {"gone": "1"}) is checkpoint


def test_a_saver_that_stores_all_values_each_time_is_given_the_bytes_of_those_that_are_not_new() -> None:
    serde = Counted()
    encoded, messages = EncodedMessages(serde, whole=True), conversation(3)
    checkpoint = {"id": "1", "channel_values": {"messages": messages, "n": 1}}
    for _ in range(encoded_messages.REMEMBERED_FROM):
        given = encoded.checkpoint(checkpoint, {"n": "1"})
    assert isinstance(given["channel_values"]["messages"], Fragment)


# -- which savers -------------------------------------------------------------------


class OwnSaver(InMemorySaver):
    """May do anything with what it is given."""


class OwnSerializer(JsonPlusSerializer):
    """May do anything, too."""


class NoCipher:
    def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
        return "none", plaintext

    def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:
        return ciphertext


def test_only_savers_that_are_known_to_serialise_everything_are_given_bytes() -> None:
    assert encoded_messages.for_saver(InMemorySaver()) is not None
    assert encoded_messages.for_saver(InMemorySaver(serde=StrictSerializer())) is not None
    assert encoded_messages.for_saver(InMemorySaver(serde=EncryptedSerializer(NoCipher()))) is not None
    assert encoded_messages.for_saver(SqliteSaver(connection())) is not None
    assert encoded_messages.for_saver(OwnSaver()) is None
    assert encoded_messages.for_saver(InMemorySaver(serde=OwnSerializer())) is None
    assert encoded_messages.for_saver(InMemorySaver(serde=EncryptedSerializer(NoCipher(), OwnSerializer()))) is None


# -- whole runs ---------------------------------------------------------------------


class Chat(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]
    copies: Annotated[list[int], operator.add]


class StoppedClock(SystemClock):
    time = staticmethod(lambda: 1_000_000.0)


class Numbered(SystemIds):
    def __init__(self) -> None:
        numbers = itertools.count()
        self.checkpoint_id = lambda step: f"{next(numbers):08x}-0000-6000-8000-000000000000"  # type: ignore[method-assign]


def agent(saver: Any, *, changes: bool = True) -> Any:
    """An agent that calls a tool with a copy of its state, may change a message in place, and removes one."""

    def model(state: Chat) -> dict[str, Any]:
        turn = len(state["messages"])
        if turn == 9 and changes:
            state["messages"][1].additional_kwargs["seen"] = True
        if turn == 13:
            return {"messages": [RemoveMessage("a3"), AIMessage("again", id="a1")]}
        return {"messages": [AIMessage(f"answer {turn}", id=f"a{turn}")]}

    def tool(given: dict[str, Any]) -> dict[str, Any]:
        count = len(given["state"]["messages"])
        return {"messages": [ToolMessage("x" * 40, id=f"t{count}", tool_call_id="c")], "copies": [count]}

    def route(state: Chat) -> Any:
        return [Send("tool", {"call": 1, "state": state})] if len(state.get("copies") or []) < 12 else END

    builder = StateGraph(Chat).add_node("model", model).add_node("tool", tool)
    builder.add_edge(START, "model").add_conditional_edges("model", route, ["tool", END]).add_edge("tool", "model")
    return builder.compile(checkpointer=saver)


def of_memory(saver: Any) -> Any:
    kept = [stored for spaces in saver.storage["t"].values() for stored in spaces.items()]
    return dict(saver.blobs), dict(saver.writes), kept


def of_sqlite(saver: Any) -> Any:
    with saver.cursor() as cursor:
        writes = cursor.execute("SELECT * FROM writes ORDER BY checkpoint_id, task_id, idx").fetchall()
        kept = cursor.execute("SELECT checkpoint FROM checkpoints ORDER BY checkpoint_id").fetchall()
    return writes, kept


class OwnSqliteSaver(SqliteSaver):
    """The same saver, as a class of its own, and so not given bytes."""


def version(saver: Any, current: Any, channel: None) -> str:
    return f"{int(current or '0') + 1:032}"


@pytest.fixture
def fragments(monkeypatch: pytest.MonkeyPatch) -> list[Fragment]:
    """The encoded lists that savers are given; versions of channels have no random part meanwhile."""
    found: list[Fragment] = []
    value = EncodedMessages.value

    def watched(*args: Any, **options: Any) -> Any:
        result = value(*args, **options)
        if isinstance(result, Fragment):
            found.append(result)
        return result

    monkeypatch.setattr(EncodedMessages, "value", watched)
    monkeypatch.setattr(InMemorySaver, "get_next_version", version)
    monkeypatch.setattr(SqliteSaver, "get_next_version", version)
    return found


def run(invoke: Any, saver: Any, durability: str) -> list[Any]:
    # What is encoded in the background may see a change that a node makes meanwhile.
    graph = agent(saver, changes=durability == "sync")
    with environment.use(Environment(StoppedClock(), Numbered())):
        invoke(graph, {"messages": [HumanMessage("hi", id="h")]}, THREAD, durability=durability)
    return [kept.checkpoint["channel_values"] for kept in saver.list(THREAD)]


@pytest.mark.parametrize("durability", ["sync", "async"])
def test_a_run_stores_the_bytes_that_it_stores_without(durability: str, driver: Any, fragments: list[Fragment]) -> None:
    known, other = InMemorySaver(), OwnSaver()
    assert run(driver.invoke, known, durability) == run(driver.invoke, other, durability)
    assert len(fragments) > 30
    assert of_memory(known) == of_memory(other)


@pytest.mark.parametrize("durability", ["sync", "async"])
def test_a_run_stores_the_same_rows_in_sqlite(durability: str, fragments: list[Fragment]) -> None:
    known, other = SqliteSaver(connection()), OwnSqliteSaver(connection())
    assert run(StateGraphEngine.invoke, known, durability) == run(StateGraphEngine.invoke, other, durability)
    assert len(fragments) > 30
    assert of_sqlite(known) == of_sqlite(other)


def test_a_message_that_cannot_be_stored_is_named_as_without(
    driver: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def model(state: Chat) -> dict[str, Any]:
        turn = len(state["messages"])
        return {
            "messages": [ToolMessage("t", id=f"t{turn}", tool_call_id="c", artifact=object() if turn > 6 else None)]
        }

    builder = StateGraph(Chat).add_node("model", model).add_edge(START, "model")
    builder.add_conditional_edges("model", lambda state: "model")
    caplog.set_level(logging.ERROR)
    with pytest.raises(TypeError, match=r"messages\[0\]\.artifact.*was written by node 'model'"):
        driver.invoke(builder.compile(checkpointer=InMemorySaver()), {"messages": [HumanMessage("hi")]}, THREAD)
