"""`compile(delta_messages=True)`: the same graph, with message lists that are stored as what was added to them."""

from __future__ import annotations

from typing import Annotated, Any, TypedDict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage, BaseMessage, HumanMessage, RemoveMessage
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import (
    START,
    Command,
    ConfigurationError,
    DeltaChannel,
    MessagesState,
    Overwrite,
    Send,
    StateGraph,
    add_messages,
    interrupt,
    messages_delta_reducer,
)
from stategraph.constants import REMOVE_ALL_MESSAGES
from tests.conftest import Driver

THREAD: Any = {"configurable": {"thread_id": "t"}}


class Chat(MessagesState, total=False):
    """Messages, and what the node is to return."""

    says: Any


def answer(state: Any) -> dict[str, Any]:
    return {"messages": state.get("says") or [AIMessage("yes", id=f"ai-{len(state['messages'])}")]}


def builder() -> StateGraph[Any, Any, Any, Any]:
    return StateGraph(Chat).add_node("answer", answer).add_edge(START, "answer")


def told(messages: list[BaseMessage]) -> list[tuple[str, Any, Any]]:
    return [(type(each).__name__, each.id, each.content) for each in messages]


def seen(graph: Any, config: Any = THREAD) -> list[Any]:
    """The values of the thread in each checkpoint, the newest first."""
    return [told(each.values.get("messages", ())) for each in graph.get_state_history(config)]


def human(number: int) -> HumanMessage:
    return HumanMessage(f"text {number}", id=f"h-{number}")


MESSAGE = st.one_of(
    st.integers(0, 5).map(human),
    st.integers(0, 5).map(lambda n: {"role": "assistant", "content": f"from a dict {n}", "id": f"d-{n}"}),
    st.integers(0, 5).map(lambda n: AIMessageChunk(f"chunk {n}", id=f"c-{n}")),
    st.integers(0, 5).map(lambda n: RemoveMessage(id=f"h-{n}")),
    st.just(RemoveMessage(id=REMOVE_ALL_MESSAGES)),
)
WRITE = st.one_of(
    MESSAGE,
    st.lists(MESSAGE, max_size=3),
    st.lists(st.integers(0, 5).map(human), max_size=2).map(Overwrite),
)
ACTION = st.one_of(
    st.tuples(st.just("run"), WRITE, WRITE),
    st.tuples(st.just("update"), WRITE),
    st.tuples(st.just("fork"), st.integers(0, 20), WRITE),
    st.tuples(st.just("again"), st.integers(0, 20)),
)


def act(graph: Any, action: tuple[Any, ...]) -> object:
    """Do something to the thread; returns what came of it, or the error's words."""
    try:
        match action:
            case ("run", said, answered):
                return told(graph.invoke({"messages": said, "says": answered}, THREAD)["messages"])
            case ("update", write):
                graph.update_state(THREAD, {"messages": write}, as_node="answer")
            case ("fork", back, write):
                points = list(graph.get_state_history(THREAD))
                if points:
                    graph.update_state(points[back % len(points)].config, {"messages": write}, as_node="answer")
            case ("again", back):
                points = list(graph.get_state_history(THREAD))
                if points:
                    graph.invoke(None, points[back % len(points)].config)
    except ValueError as error:
        return str(error)
    return None


@settings(deadline=None)
@given(st.lists(ACTION, max_size=8))
def test_every_checkpoint_of_any_history_is_what_it_is_without_the_switch(actions: list[tuple[Any, ...]]) -> None:
    plain = builder().compile(checkpointer=InMemorySaver())
    delta = builder().compile(checkpointer=InMemorySaver(), delta_messages=True)
    for action in actions:
        assert act(plain, action) == act(delta, action)
        assert seen(plain) == seen(delta)


@settings(deadline=None)
@given(st.lists(ACTION, max_size=5), st.lists(ACTION, max_size=5))
def test_a_thread_that_was_stored_in_full_goes_on_as_deltas(
    before: list[tuple[Any, ...]], after: list[tuple[Any, ...]]
) -> None:
    saver = InMemorySaver()
    plain = builder().compile(checkpointer=InMemorySaver())
    full, delta = (builder().compile(checkpointer=saver, delta_messages=switched) for switched in (False, True))
    for action in before:
        assert act(plain, action) == act(full, action)
    assert seen(plain) == seen(delta)
    for action in after:
        assert act(plain, action) == act(delta, action)
        assert seen(plain) == seen(delta)


def test_a_thread_of_deltas_goes_on_in_full() -> None:
    saver = InMemorySaver()
    full, delta = (builder().compile(checkpointer=saver, delta_messages=switched) for switched in (False, True))
    for number in range(3):
        delta.invoke({"messages": [human(number)]}, THREAD)
    values = delta.get_state(THREAD).values
    assert full.get_state(THREAD).values == values
    more = full.invoke({"messages": [human(3)]}, THREAD)
    assert [each.id for each in more["messages"]] == [*(each.id for each in values["messages"]), "h-3", "ai-7"]
    assert seen(full) == seen(delta)


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_a_thread_that_waits_is_answered_and_goes_on(driver: Driver, durability: str) -> None:
    def ask(state: Any) -> dict[str, Any]:
        return {"messages": [AIMessage(interrupt("well?"), id="answered")]}

    def graph(saver: Any) -> Any:
        made = builder().add_node("ask", ask).add_edge("answer", "ask")
        return made.compile(checkpointer=saver, delta_messages=True)

    saver = InMemorySaver()
    driver.invoke(graph(saver), {"messages": [human(0)]}, THREAD, durability=durability)
    waiting = driver.get_state(graph(saver), THREAD)
    assert [each.value for each in waiting.interrupts] == ["well?"]
    assert [each.id for each in waiting.values["messages"]] == ["h-0", "ai-1"]
    done = driver.invoke(graph(saver), Command(resume="good"), THREAD, durability=durability)
    assert [each.id for each in done["messages"]] == ["h-0", "ai-1", "answered"]
    assert driver.get_state(graph(saver), THREAD).values["messages"] == done["messages"]


def test_parallel_tasks_and_nested_graphs_add_to_one_list(driver: Driver) -> None:
    inner = builder().compile(delta_messages=True)

    def part(state: Any) -> dict[str, Any]:
        return {"messages": [AIMessage("part", id=f"part-{state['number']}")]}

    def spread(_: Any) -> list[Send]:
        return [Send("part", {"number": number}) for number in range(3)]

    outer = StateGraph(Chat).add_node("inner", inner).add_node("part", part).add_edge(START, "inner")
    outer.add_conditional_edges("inner", spread, ["part"])
    found = []
    for switched in (False, True):
        graph = outer.compile(checkpointer=InMemorySaver(), delta_messages=switched)
        driver.invoke(graph, {"messages": [human(0)]}, THREAD)
        found.append(told(driver.get_state(graph, THREAD).values["messages"]))
    assert found[0] == found[1]
    assert len(found[1]) == 5


def test_messages_without_ids_keep_the_ids_that_they_got() -> None:
    graph = builder().compile(checkpointer=InMemorySaver(), delta_messages=True)
    values = graph.invoke({"messages": "a text", "says": [("ai", "a pair"), AIMessageChunk("a chunk")]}, THREAD)
    ids = [each.id for each in values["messages"]]
    assert all(ids)
    assert [type(each) for each in values["messages"]] == [HumanMessage, AIMessage, AIMessage]
    for _ in range(2):
        assert [each.id for each in graph.get_state(THREAD).values["messages"]] == ids


def stored(saver: InMemorySaver) -> int:
    blobs = sum(len(blob[1]) for blob in saver.blobs.values())
    return blobs + sum(len(write[2][1]) for rows in saver.writes.values() for write in rows.values())


def test_what_is_stored_grows_with_the_messages_and_not_with_their_square() -> None:
    taken: dict[tuple[bool, int], int] = {}
    for switched in (False, True):
        for turns in (20, 80):
            saver = InMemorySaver()
            graph = builder().compile(checkpointer=saver, delta_messages=switched)
            for number in range(turns):
                graph.invoke({"messages": [human(number)]}, THREAD)
            taken[switched, turns] = stored(saver)
    assert taken[False, 80] > 10 * taken[False, 20]
    assert taken[True, 80] < 6 * taken[True, 20]
    assert taken[True, 80] < taken[False, 80] / 10


def test_nothing_changes_in_schemas_and_in_the_builder() -> None:
    made = builder()
    plain, delta = made.compile(), made.compile(delta_messages=True)
    assert plain.get_input_jsonschema() == delta.get_input_jsonschema()
    assert plain.get_output_jsonschema() == delta.get_output_jsonschema()
    assert isinstance(delta.channels["messages"], DeltaChannel)
    assert not isinstance(made.channels["messages"], DeltaChannel)
    assert not isinstance(made.compile().channels["messages"], DeltaChannel)


def test_a_delta_channel_of_the_state_stays_as_it_is() -> None:
    class Written(TypedDict):
        messages: Annotated[list[AnyMessage], DeltaChannel(messages_delta_reducer, snapshot_frequency=7)]

    graph = StateGraph(Written).add_node("answer", answer).add_edge(START, "answer").compile(delta_messages=True)
    channel = graph.channels["messages"]
    assert isinstance(channel, DeltaChannel)
    assert (channel.reducer, channel.snapshot_frequency) == (messages_delta_reducer, 7)


class Formatted(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages(format="langchain-openai")]


class Plain(TypedDict):
    text: str


@pytest.mark.parametrize("switch", ["yes", 1, None])
def test_a_switch_that_is_neither_true_nor_false_is_refused(switch: Any) -> None:
    made = StateGraph(MessagesState).add_node("node", lambda state: {}).add_edge(START, "node")
    with pytest.raises(ConfigurationError, match=rf"delta_messages=\.\.\.\) is True or False; found {switch!r}"):
        made.compile(delta_messages=switch)


@pytest.mark.parametrize(("schema", "keys"), [(Formatted, "'messages'"), (Plain, "'text'")])
def test_a_state_without_a_list_that_could_be_stored_so_is_refused(schema: type, keys: str) -> None:
    made = StateGraph(schema).add_node("node", lambda state: {}).add_edge(START, "node")
    with pytest.raises(ConfigurationError, match=f"its keys are {keys}.*MessagesState"):
        made.compile(delta_messages=True)
