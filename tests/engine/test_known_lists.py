"""Messages of a thread are decoded once in a process, and what a run is given is what the saver's serialiser makes."""

from __future__ import annotations

import copy
import weakref
from typing import Annotated, Any, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage, HumanMessage, RemoveMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from stategraph import END, START, StateGraph, add_messages
from stategraph.engine.checkpoints import known_lists, message_index, message_lists
from stategraph.engine.checkpoints.known_lists import KnownLists, Reader
from stategraph.engine.checkpoints.message_lists import MessageList
from stategraph.engine.checkpoints.serializer import StrictSerializer
from stategraph.graph import reducers
from tests.engine.test_encoded_messages import conversation, message
from tests.properties import examples

THREAD = {"configurable": {"thread_id": "t"}}


def loaded(serde: Any, stored: tuple[str, bytes]) -> Any:
    """Load a value as a run does, which knows what the runs before it have loaded."""
    return Reader(InMemorySaver(serde=serde)).saver.serde.loads_typed(stored)


def everything(value: Any) -> Any:
    """Return all that can be told of a value, types and order included."""
    if isinstance(value, list):
        return [everything(item) for item in value]
    if isinstance(value, dict):
        return {"dict": [(everything(key), everything(item)) for key, item in value.items()]}
    if hasattr(value, "model_dump"):
        fields_set, extra = value.__pydantic_fields_set__, value.__pydantic_extra__
        return type(value), everything(value.__dict__), sorted(fields_set), extra, value.__pydantic_private__
    return type(value), repr(value)


@pytest.mark.parametrize("make", [JsonPlusSerializer, StrictSerializer])
@examples(150)
@given(
    first=st.lists(message(), min_size=1, max_size=5),
    turns=st.lists(st.tuples(st.sampled_from(["append", "replace", "drop", "same"]), st.integers(0, 50)), max_size=6),
    new=st.lists(message(), min_size=6, max_size=6),
)
def test_what_is_loaded_is_what_the_serialiser_makes_of_it(make: Any, first: Any, turns: Any, new: Any) -> None:
    serde, messages = make(), first
    for (turn, place), another in zip([("same", 0), *turns], [None, *new], strict=False):
        place %= len(messages)
        match turn:
            case "append":
                messages = [*messages, another]
            case "replace":
                messages = [*messages[:place], another, *messages[place + 1 :]]
            case "drop" if len(messages) > 1:
                messages = [*messages[:place], *messages[place + 1 :]]
        try:
            stored = serde.dumps_typed(messages)
        except TypeError:  # it cannot be stored
            return
        assert everything(loaded(serde, stored)) == everything(serde.loads_typed(stored))


def test_what_was_decoded_is_not_decoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    serde, messages = JsonPlusSerializer(), conversation(5)
    loaded(serde, serde.dumps_typed(messages))
    asked: list[tuple[str, bytes]] = []
    original = JsonPlusSerializer.loads_typed
    monkeypatch.setattr(
        JsonPlusSerializer, "loads_typed", lambda self, data: asked.append(data) or original(self, data)
    )
    assert loaded(serde, serde.dumps_typed(messages)) == messages
    assert asked == []
    longer = [*messages, HumanMessage("more", id="m"), HumanMessage("and more", id="n")]
    assert loaded(serde, serde.dumps_typed(longer)) == longer
    assert asked == [serde.dumps_typed(longer[-2:])]
    assert loaded(serde, serde.dumps_typed(longer)) == longer
    assert len(asked) == 1
    edited = [messages[0], HumanMessage("instead", id="i"), *messages[2:]]
    assert loaded(serde, serde.dumps_typed(edited)) == edited
    assert asked[1:] == [serde.dumps_typed(edited)]


def test_each_run_is_given_messages_of_its_own() -> None:
    serde, stored = JsonPlusSerializer(), JsonPlusSerializer().dumps_typed(conversation(3))
    given = [loaded(serde, stored) for _ in range(3)]
    for one in given[:2]:
        one[1].tool_calls[0]["args"]["words"].append("changed in place")
        one[2].artifact["rows"] = None
        one[0].content = "changed"
        one.append(HumanMessage("appended"))
    assert given[2] == conversation(3) == loaded(serde, stored)
    copied = copy.deepcopy(given[2][1])
    copied.name = "set later"
    assert copied.__pydantic_fields_set__ >= {"name"}
    assert given[2][1].name is None


def test_another_serialiser_knows_nothing_of_it() -> None:
    stored = JsonPlusSerializer().dumps_typed(conversation(3))
    loaded(JsonPlusSerializer(), stored)

    class Own(JsonPlusSerializer):
        """May make other things of it."""

        def loads_typed(self, data: tuple[str, bytes]) -> Any:
            return "other"

    assert loaded(Own(), stored) == "other"
    own = InMemorySaver(serde=Own())
    assert Reader(own).saver is own


class OwnSaver(InMemorySaver):
    """May do anything."""


def test_a_saver_of_another_class_is_asked_itself_and_a_known_one_stays_as_it_is() -> None:
    other, known = OwnSaver(), InMemorySaver()
    assert Reader(other).saver is other
    before = dict(known.__dict__)
    twin = Reader(known).saver
    assert twin is not known
    assert known.__dict__ == before
    assert twin.storage is known.storage  # type: ignore[attr-defined]


def test_what_is_known_is_bounded() -> None:
    known = KnownLists(limit=1_000)
    lists = {bytes((number,)): MessageList([HumanMessage], b"f" * 20, b"e" * 20, None) for number in range(10)}
    for key, of_one in lists.items():
        known.keep(key, of_one)
    assert [key for key, of_one in lists.items() if known.find(key, of_one.encoded, 0)] == list(lists)[5:]
    known.keep(b"large", MessageList([HumanMessage], b"f" * 1_500, b"e", None))
    assert known.find(b"large", b"e", 0) is None


@pytest.mark.parametrize("size", [2, 15, 16, 65_536])
def test_lists_of_any_length_are_known(size: int) -> None:
    serde, messages = JsonPlusSerializer(), [HumanMessage("x", id="x")] * size
    stored = serde.dumps_typed(messages)
    assert stored[1].startswith(message_lists.header(size))
    assert message_lists.size_of(stored[1]) == size
    assert loaded(serde, stored) == loaded(serde, stored) == messages
    assert loaded(serde, serde.dumps_typed(messages * 2)) == messages * 2


@pytest.mark.parametrize(
    "value", [None, b"", b"\x92", [], [1, 2], ["a" * 300] * 3, {"a": 1}, [HumanMessage("x")], [(1,), {2}], "text", 7]
)
def test_other_values_are_left_to_the_serialiser(value: Any) -> None:
    serde = JsonPlusSerializer()
    stored = serde.dumps_typed(value)
    for _ in range(3):
        assert everything(loaded(serde, stored)) == everything(serde.loads_typed(stored))


@pytest.mark.parametrize(
    "stored", [b"\x92\xc7", b"\x92\xc7\x05", b"\xdc", b"\xdd\x00", b"\x92\xc9\x00\x00\x00\x05\x05"]
)
def test_damaged_bytes_fail_as_without(stored: bytes) -> None:
    serde = JsonPlusSerializer()
    errors = []
    for load in (serde.loads_typed, lambda data: loaded(serde, data)):
        with pytest.raises(Exception) as raised:
            load(("msgpack", stored))
        errors.append((raised.type, str(raised.value)))
    assert errors[0] == errors[1]


# -- whole runs ---------------------------------------------------------------------


class Chat(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]


def chat(saver: Any) -> Any:
    """Answer each turn with two messages; once change one in place, and later remove one."""

    def answer(state: Chat) -> dict[str, Any]:
        turn = len(state["messages"])
        if turn == 7:
            state["messages"][1].additional_kwargs["turn"] = turn
        removed = [RemoveMessage("a4")] if turn == 13 else []
        return {"messages": [*removed, AIMessage(f"answer {turn}", id=f"a{turn}"), ToolMessage("x", tool_call_id="c")]}

    builder = StateGraph(Chat).add_node("answer", answer).add_edge(START, "answer").add_edge("answer", END)
    return builder.compile(checkpointer=saver)


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_turns_of_a_thread_come_to_the_same_as_without(
    durability: str, driver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    restored = 0
    make = message_lists.restored

    def counted(classes: list[type], fields: bytes) -> list[Any]:
        nonlocal restored
        restored += 1
        return make(classes, fields)

    monkeypatch.setattr(message_lists, "restored", counted)
    outcomes = []
    for saver in (InMemorySaver(), OwnSaver()):
        graph, shown = chat(saver), []
        for turn in range(8):
            question = {"messages": [HumanMessage(f"question {turn}", id=f"q{turn}")]}
            shown.append(driver.invoke(graph, question, THREAD, durability=durability))
        shown.append(driver.get_state(graph, THREAD).values)
        outcomes.append(without_ids(shown))
    assert outcomes[0] == outcomes[1]
    assert restored >= 3


class Talk(Chat, total=False):
    go: str


def renaming(saver: Any) -> Any:
    """Give the fourth message another id in place when told so, and write a message of that id."""

    def rename(state: Talk) -> dict[str, Any]:
        if "go" not in state:
            return {}
        state["messages"][3].id = "renamed"
        return {"messages": [HumanMessage("in its place", id="renamed")]}

    builder = StateGraph(Talk).add_node("rename", rename).add_edge(START, "rename").add_edge("rename", END)
    return builder.compile(checkpointer=saver)


@pytest.mark.parametrize("durability", ["sync", "exit"])
def test_ids_that_a_node_has_changed_are_found_where_they_are(durability: str, driver: Any) -> None:
    outcomes = []
    for saver in (InMemorySaver(), OwnSaver()):
        graph = renaming(saver)
        long = [HumanMessage(str(number), id=f"m{number}") for number in range(40)]
        shown = [driver.invoke(graph, {"messages": long}, THREAD, durability=durability)]
        for _ in range(2):  # nothing is written to the messages before the node has them
            shown.append(driver.invoke(graph, {"go": "on"}, THREAD, durability=durability))
        outcomes.append(without_ids([{"messages": each["messages"]} for each in shown]))
    assert outcomes[0] == outcomes[1]
    assert [len(messages) for messages in outcomes[0]] == [40, 40, 40]


def test_the_positions_of_ids_in_a_long_list_are_found_once_a_process(
    driver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    indexed: list[int] = []
    index = reducers._positions
    monkeypatch.setattr(reducers, "_positions", lambda ids: indexed.append(len(ids)) or index(ids))
    graph = chat(InMemorySaver())
    driver.invoke(graph, {"messages": [HumanMessage("x", id=f"x{number}") for number in range(40)]}, THREAD)
    driver.invoke(graph, {"messages": [HumanMessage("q", id="q")]}, THREAD)
    indexed.clear()
    replaced = driver.invoke(graph, {"messages": [HumanMessage("again", id="x7")]}, THREAD)["messages"]
    assert indexed == []
    assert [each.content for each in replaced[6:9]] == ["x", "again", "x"]
    assert driver.invoke(graph, {"messages": [RemoveMessage("x7")]}, THREAD)["messages"][7].id == "x8"


class State:
    """Stands for a run's state."""

    is_read = False


@pytest.mark.parametrize("read", [False, True])
@pytest.mark.parametrize(
    "loaded_last",
    [HumanMessage("x", id="last"), HumanMessage("x", id="m3"), AIMessageChunk("x", id="last"), HumanMessage("x")],
    ids=["plain", "of the same id", "a piece", "without an id"],
)
def test_the_reducer_makes_the_same_of_a_list_that_comes_with_its_positions(loaded_last: Any, read: bool) -> None:
    serde, state, results = JsonPlusSerializer(), State(), []
    stored = serde.dumps_typed([*(HumanMessage(str(number), id=f"m{number}") for number in range(20)), loaded_last])
    for offers in (False, True, True):
        reader = Reader(InMemorySaver(serde=serde))
        messages = reader.saver.serde.loads_typed(stored)
        state.is_read = False
        if offers:
            known_lists.offer_positions(reader.lists, state)
        if read:
            state.is_read = True
            messages[5].id = "renamed"
        merged = add_messages(messages, [HumanMessage("new", id="m3"), HumanMessage("new", id="renamed")])
        results.append([(type(each), each.content, each.id if each.content != "x" else "") for each in merged])
    assert results[0] == results[1] == results[2]


def test_positions_that_are_offered_keep_no_run_and_no_list_alive() -> None:
    message_index.forget_all()
    serde, stored = JsonPlusSerializer(), JsonPlusSerializer().dumps_typed(conversation(20))
    for _ in range(3):
        reader, state = Reader(InMemorySaver(serde=serde)), State()
        reader.saver.serde.loads_typed(stored)
        known_lists.offer_positions(reader.lists, state)
        assert message_index.remembered_count() >= 1
        of_run = weakref.ref(state)
        del reader, state
        assert of_run() is None
    message_index.forget_orphans()
    assert message_index.remembered_count() == 0


def without_ids(shown: list[Any]) -> Any:
    def told(each: Any) -> Any:
        return type(each), each.content, each.additional_kwargs, each.id if each.type != "tool" else ""

    return [[told(each) for each in messages] for values in shown for messages in values.values()]


def test_what_another_process_has_written_is_what_counts(driver: Any) -> None:
    saver = InMemorySaver()
    graph = chat(saver)
    for turn in range(3):
        driver.invoke(graph, {"messages": [HumanMessage("q", id=f"q{turn}")]}, THREAD)
    # Another serialiser, and so another knowledge, over the same storage.
    other = InMemorySaver()
    other.storage, other.blobs, other.writes = saver.storage, saver.blobs, saver.writes
    edited = AIMessage("from elsewhere", id="a1")
    driver.update_state(chat(other), THREAD, {"messages": [edited]})
    after = driver.invoke(graph, {"messages": [HumanMessage("q", id="q3")]}, THREAD)["messages"]
    assert after[1].content == "from elsewhere"
    assert [each.content for each in after[-3:]] == ["q", "answer 10", "x"]


def test_a_known_thread_is_stored_with_the_bytes_that_it_was_read_with(driver: Any) -> None:
    saver = InMemorySaver()
    graph = chat(saver)
    for turn in range(6):
        driver.invoke(graph, {"messages": [HumanMessage("q", id=f"q{turn}")]}, THREAD)
    serde = JsonPlusSerializer()
    for (_, _, channel, _), stored in saver.blobs.items():
        if channel == "messages" and stored[0] != "empty":
            assert stored == serde.dumps_typed(serde.loads_typed(stored))
    assert known_lists._known[saver.serde]._size > 0
