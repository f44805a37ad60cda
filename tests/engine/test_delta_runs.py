"""Delta channels in runs: they always hold what an ordinary reducer holds, and store less."""

from __future__ import annotations

import asyncio
import operator
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypedDict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.types import _DeltaSnapshot

from stategraph import (
    START,
    CachePolicy,
    Command,
    DeltaChannel,
    Overwrite,
    StateGraph,
    interrupt,
    messages_delta_reducer,
)
from stategraph.core import deltas
from stategraph.core.channels.last_value import LastValue
from stategraph.engine.compile.node import NodeBuilder
from stategraph.engine.config import runnable_config as engine_config
from stategraph.engine.engine import StateGraphEngine
from stategraph.types import StateUpdate
from tests.conftest import Driver

THREAD = {"configurable": {"thread_id": "t"}}
DURABILITIES = ("sync", "async", "exit")


class WalkingSaver(InMemorySaver):
    """A saver without a walk of its own: the base class follows the parents."""

    get_delta_channel_history = BaseCheckpointSaver.get_delta_channel_history
    aget_delta_channel_history = BaseCheckpointSaver.aget_delta_channel_history


SAVERS = (InMemorySaver, WalkingSaver)


def extend(value: list[Any], updates: Sequence[list[Any]]) -> list[Any]:
    """Changes the value in place, which reducers of delta channels may do."""
    for update in updates:
        value.extend(update)
    return value


class State(TypedDict, total=False):
    """Each update is written to a delta channel and to an ordinary reducer: the mirror."""

    log: Annotated[list[Any], DeltaChannel(extend, snapshot_frequency=3)]
    mirror: Annotated[list[Any], operator.add]
    turn: int


def both(value: Any) -> dict[str, Any]:
    return {"log": value, "mirror": value}


def graph_of(saver: Any = None) -> Any:
    """Two nodes side by side, then one that asks, overwrites or fails as the turn says."""

    def last(state: State) -> dict[str, Any]:
        match state.get("turn", 0) % 4:
            case 1:
                return both([f"{state.get('turn')}:{interrupt('?')}"])
            case 2:
                return both(Overwrite([state.get("turn")]))
            case _:
                return both([f"{state.get('turn')}:c"])

    builder = StateGraph(State)
    builder.add_node("a", lambda state: both([f"{state.get('turn')}:a"]))
    builder.add_node("b", lambda state: both([f"{state.get('turn')}:b"]))
    builder.add_node("last", last)
    builder.add_edge(START, "a")
    builder.add_edge(START, "b")
    builder.add_edge(["a", "b"], "last")
    return builder.compile(checkpointer=saver)


def stored(saver: Any, channel: str = "log") -> list[Any]:
    """What the checkpoints of the thread hold of a channel, oldest first; None for nothing."""
    return [saved.checkpoint["channel_values"].get(channel) for saved in saver.list(THREAD)][::-1]


def counters(saver: Any) -> dict[str, Any]:
    found: Mapping[str, Any] = saver.get_tuple(THREAD).metadata.get(deltas.COUNTERS_KEY, {})
    return {name: tuple(count) for name, count in found.items()}


# -- the mirror --------------------------------------------------------------

Act = tuple[Literal["run", "resume", "update", "overwrite", "rerun", "fork", "copy"], int]
ACTS = st.lists(
    st.tuples(
        st.sampled_from(("run", "run", "resume", "update", "overwrite", "rerun", "fork", "copy")), st.integers(0, 9)
    ),
    min_size=1,
    max_size=7,
)


def act(graph: Any, number: int, act: Act, durability: str) -> None:
    kind, which = act
    history = list(graph.get_state_history(THREAD))
    place = history[which % len(history)].config if history else THREAD
    match kind:
        case "run":
            graph.invoke({**both([f"in{number}"]), "turn": number}, THREAD, durability=durability)
        case "resume" if history and history[0].next:
            graph.invoke(Command(resume=f"answer{number}"), THREAD, durability=durability)
        case "rerun" if history and history[which % len(history)].next:
            graph.invoke(None, place, durability=durability)
        case "update":
            graph.update_state(THREAD, both([f"up{number}"]), as_node="a")
        case "overwrite":
            graph.update_state(THREAD, both(Overwrite([f"over{number}"])), as_node="b")
        case "fork":
            graph.update_state(place, both([f"fork{number}"]), as_node="a")
        case "copy" if history:
            graph.update_state(place, None, as_node="__copy__")


@settings(max_examples=60)
@given(ACTS, st.sampled_from(DURABILITIES), st.sampled_from(SAVERS))
def test_whatever_is_done_to_a_thread_every_checkpoint_reads_as_with_an_ordinary_reducer(
    acts: list[Act], durability: str, saver: type[InMemorySaver]
) -> None:
    graph = graph_of(saver())

    for number, one in enumerate(acts):
        act(graph, number, one, durability)
        for state in graph.get_state_history(THREAD):
            assert state.values.get("log", []) == state.values.get("mirror", []), (number, one, state.metadata)


@pytest.mark.parametrize("durability", DURABILITIES)
@pytest.mark.parametrize("saver", SAVERS)
def test_a_thread_goes_on_where_it_was(driver: Driver, saver: type[InMemorySaver], durability: str) -> None:
    graph = graph_of(saver())
    for turn in (0, 4, 8):
        result = driver.invoke(graph, {**both([f"in{turn}"]), "turn": turn}, THREAD, durability=durability)

    assert result["log"] == [f"{t}:{what}" if what != "in" else f"in{t}" for t in (0, 4, 8) for what in ("in", *"abc")]
    assert result["log"] == result["mirror"]
    assert driver.get_state(graph, THREAD).values["log"] == result["log"]
    for state in driver.history(graph, THREAD):
        assert state.values["log"] == state.values["mirror"]


@pytest.mark.parametrize("durability", DURABILITIES)
def test_an_answered_question_counts_once(driver: Driver, durability: str) -> None:
    graph = graph_of(InMemorySaver())
    driver.invoke(graph, {**both(["in"]), "turn": 1}, THREAD, durability=durability)
    driver.invoke(graph, Command(resume="yes"), THREAD, durability=durability)

    state = driver.get_state(graph, THREAD)
    assert state.values["log"] == state.values["mirror"] == ["in", "1:a", "1:b", "1:yes"]


def test_update_state_is_seen_by_the_next_run(driver: Driver) -> None:
    graph = graph_of(InMemorySaver())
    driver.update_state(graph, THREAD, {**both(["first"]), "turn": 0}, as_node="last")
    driver.update_state(graph, THREAD, both(["second"]), as_node="last")
    result = driver.invoke(graph, {**both(["in"]), "turn": 0}, THREAD)

    assert result["log"] == result["mirror"] == ["first", "second", "in", "0:a", "0:b", "0:c"]


def test_updates_in_several_supersteps_read_as_with_an_ordinary_reducer(driver: Driver) -> None:
    graph = graph_of(InMemorySaver())
    driver.invoke(graph, {**both(["in"]), "turn": 1}, THREAD, durability="sync")  # a question waits

    supersteps = [[StateUpdate(both([f"up{number}"]), "a")] for number in range(3)]
    if driver.name == "async":
        asyncio.run(graph.abulk_update_state(THREAD, supersteps))
    else:
        graph.bulk_update_state(THREAD, supersteps)

    for state in driver.history(graph, THREAD):
        assert state.values.get("log", []) == state.values.get("mirror", [])


def test_without_a_saver_a_delta_channel_is_a_reducer(driver: Driver) -> None:
    result = driver.invoke(graph_of(), {**both(["in"]), "turn": 0})

    assert result["log"] == result["mirror"] == ["in", "0:a", "0:b", "0:c"]


# -- what is stored ----------------------------------------------------------


class Long(TypedDict, total=False):
    log: Annotated[list[Any], DeltaChannel(extend, snapshot_frequency=10)]
    idle: Annotated[list[Any], DeltaChannel(extend, snapshot_frequency=10)]
    left: int


def long_graph(saver: Any) -> Any:
    builder = StateGraph(Long)
    builder.add_node("n", lambda state: {"log": [state["left"]], "left": state["left"] - 1})
    builder.add_edge(START, "n")
    builder.add_conditional_edges("n", lambda state: "n" if state["left"] else "__end__")
    return builder.compile(checkpointer=saver)


def test_a_snapshot_is_stored_after_as_many_updates_as_the_channel_says(driver: Driver) -> None:
    saver = InMemorySaver()
    driver.invoke(long_graph(saver), {"log": ["in"], "left": 25}, THREAD, durability="sync")

    held = stored(saver)
    assert Counter(type(value) for value in held if value is not None) == {_DeltaSnapshot: 2}
    assert [len(value.value) for value in held if value is not None] == [10, 20]
    assert counters(saver)["log"] == (6, 6)


def test_a_channel_that_is_left_alone_is_snapshotted_after_a_bound_of_supersteps(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_config, "DELTA_MAX_SUPERSTEPS_SINCE_SNAPSHOT", 8)
    saver = InMemorySaver()
    graph = long_graph(saver)
    driver.invoke(graph, {"log": [], "idle": ["once"], "left": 12}, THREAD, durability="sync")

    # A saver keeps a value per version, so that the snapshot is seen until the next write.
    held = stored(saver, "idle")
    assert held.index(_DeltaSnapshot(["once"])) == 7
    assert counters(saver)["idle"][0] == 0
    assert driver.get_state(graph, THREAD).values["idle"] == ["once"]


@pytest.mark.parametrize("durability", ["sync", "exit"])
def test_what_is_stored_grows_with_the_writes_and_not_with_the_value(durability: str) -> None:
    def bytes_of(rounds: int) -> int:
        saver = InMemorySaver()
        graph = long_graph(saver)
        for _ in range(rounds):
            graph.invoke({"log": ["x" * 1000], "left": 1}, THREAD, durability=durability)
        writes = [w for of in saver.writes.values() for w in of.values()]
        return sum(len(blob) for _, blob in saver.blobs.values()) + sum(len(w[2][1]) for w in writes)

    # The last snapshot of both falls on a round that is stored.
    few, many = bytes_of(4), bytes_of(8)
    assert many - few < 4 * 1000 * (12 if durability == "sync" else 6)


def test_a_graph_without_delta_channels_asks_no_history(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("the history was asked for")

    class Plain(TypedDict):
        mirror: Annotated[list[Any], operator.add]

    saver = InMemorySaver()
    monkeypatch.setattr(saver, "get_delta_channel_history", refuse)
    monkeypatch.setattr(saver, "aget_delta_channel_history", refuse)
    builder = StateGraph(Plain)
    builder.add_node("n", lambda state: {"mirror": ["n"]})
    builder.add_edge(START, "n")
    graph = builder.compile(checkpointer=saver)
    for _ in range(2):
        driver.invoke(graph, {"mirror": ["in"]}, THREAD)

    assert driver.get_state(graph, THREAD).values["mirror"] == ["in", "n"] * 2
    assert deltas.COUNTERS_KEY not in saver.get_tuple(THREAD).metadata  # type: ignore[union-attr, arg-type]


def test_a_snapshot_starts_nobody(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_config, "DELTA_MAX_SUPERSTEPS_SINCE_SNAPSHOT", 2)
    ran: list[str] = []

    class Listening(TypedDict, total=False):
        log: Annotated[list[Any], DeltaChannel(extend, snapshot_frequency=100)]
        other: Annotated[list[Any], operator.add]

    builder = StateGraph(Listening)
    names = [f"n{i}" for i in range(6)]
    for name in names:
        builder.add_node(name, lambda state, name=name: ran.append(name) or {"other": [name]})
    for one, next_one in zip([START, *names], names, strict=False):
        builder.add_edge(one, next_one)
    graph = builder.compile(checkpointer=InMemorySaver())
    driver.invoke(graph, {"log": ["once"]}, THREAD, durability="sync")

    assert ran == names
    assert driver.get_state(graph, THREAD).next == ()
    # Who wrote last is not who was marked last by a bump.
    driver.update_state(graph, THREAD, {"log": ["by hand"]})
    assert driver.get_state(graph, THREAD).values["log"] == ["once", "by hand"]


# -- from one kind of channel to another --------------------------------------


def chat(kind: Any, saver: Any) -> Any:
    schema = TypedDict("schema", {"log": kind}, total=False)  # noqa: UP013  the kind is a variable
    builder = StateGraph(schema)
    builder.add_node("n", lambda state: {"log": [f"{len(state['log'])}"]})
    builder.add_edge(START, "n")
    return builder.compile(checkpointer=saver)


DELTA = Annotated[list[Any], DeltaChannel(extend, snapshot_frequency=5)]
PLAIN = Annotated[list[Any], operator.add]


@pytest.mark.parametrize("kinds", [(DELTA, PLAIN), (PLAIN, DELTA), (DELTA, PLAIN, DELTA)], ids=len)
@pytest.mark.parametrize("saver", SAVERS)
def test_a_thread_keeps_its_value_when_the_field_changes_its_kind(
    driver: Driver, saver: type[InMemorySaver], kinds: tuple[Any, ...]
) -> None:
    kept = saver()
    expected: list[str] = []
    for kind in kinds:
        graph = chat(kind, kept)
        for _ in range(3):
            result = driver.invoke(graph, {"log": ["in"]}, THREAD)
            expected = [*expected, "in", str(len(expected) + 1)]
            assert result["log"] == expected
        for state in driver.history(graph, THREAD):
            log = state.values.get("log", [])
            assert log == expected[: len(log)]


# -- messages -----------------------------------------------------------------


class Chat(TypedDict):
    messages: Annotated[list[Any], DeltaChannel(messages_delta_reducer)]


def ids(state: Any) -> list[Any]:
    return [message.id for message in state.values["messages"]]


@pytest.mark.parametrize("durability", DURABILITIES)
def test_messages_have_the_same_ids_at_every_read(driver: Driver, durability: str) -> None:
    builder = StateGraph(Chat)
    builder.add_node("n", lambda state: {"messages": [AIMessage("answer"), {"role": "ai", "content": "more"}]})
    builder.add_edge(START, "n")
    graph = builder.compile(checkpointer=InMemorySaver())
    driver.invoke(graph, {"messages": [("user", "in"), HumanMessage("too")]}, THREAD, durability=durability)
    driver.update_state(graph, THREAD, {"messages": ["by hand"]})

    first = ids(driver.get_state(graph, THREAD))
    assert len(first) == len(set(first)) == 5
    assert None not in first
    assert ids(driver.get_state(graph, THREAD)) == first
    driver.invoke(graph, {"messages": "again"}, THREAD, durability=durability)
    assert ids(driver.get_state(graph, THREAD))[:5] == first


def test_what_comes_from_the_cache_has_the_ids_that_were_put_there(driver: Driver) -> None:
    builder = StateGraph(Chat)
    builder.add_node("n", lambda state: {"messages": ["cached"]}, cache_policy=CachePolicy(key_func=lambda _: "k"))
    builder.add_edge(START, "n")
    graph = builder.compile(checkpointer=InMemorySaver(), cache=InMemoryCache())
    for thread in ("1", "2"):
        driver.invoke(graph, {"messages": ["in"]}, {"configurable": {"thread_id": thread}})

    one, two = (ids(driver.get_state(graph, {"configurable": {"thread_id": thread}})) for thread in ("1", "2"))
    assert one[1] == two[1] is not None


# -- subgraphs and failures -----------------------------------------------------


class Turn(TypedDict):
    turn: int


@pytest.mark.parametrize("durability", DURABILITIES)
def test_a_subgraph_keeps_a_history_of_its_own(driver: Driver, durability: str) -> None:
    inner = StateGraph(State)
    inner.add_node("x", lambda state: both([len(state["log"])]))
    inner.add_edge(START, "x")
    builder = StateGraph(Turn)
    builder.add_node("sub", inner.compile(checkpointer=True))
    builder.add_edge(START, "sub")
    graph = builder.compile(checkpointer=InMemorySaver())
    for turn in range(3):
        driver.invoke(graph, {"turn": turn}, THREAD, durability=durability)

    state = driver.get_state(graph, {"configurable": {"thread_id": "t", "checkpoint_ns": "sub"}})
    assert state.values["log"] == [0, 1, 2]


class Flaky(InMemorySaver):
    """Fails to record the writes of the channel, as long as it is told to."""

    broken = True

    def put_writes(self, config: Any, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = "") -> None:
        if self.broken and any(channel == "log" for channel, _ in writes):
            raise ConnectionError("no disk")
        super().put_writes(config, writes, task_id, task_path)

    async def aput_writes(
        self, config: Any, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        await asyncio.sleep(0)
        self.put_writes(config, writes, task_id, task_path)


@pytest.mark.parametrize("durability", DURABILITIES)
def test_no_checkpoint_is_stored_past_writes_that_were_not(driver: Driver, durability: str) -> None:
    saver = Flaky()
    graph = chat(DELTA, saver)
    with pytest.raises(ConnectionError):
        driver.invoke(graph, {"log": ["in"]}, THREAD, durability=durability)
    saver.broken = False

    newest = saver.get_tuple(THREAD)  # type: ignore[arg-type]
    assert newest is None or newest.metadata.get("step", -2) < 1
    if durability != "exit":
        assert driver.invoke(graph, None, THREAD)["log"] == ["in", "1"]


def counting(saver: Any) -> Any:
    return StateGraphEngine(
        nodes={"count": NodeBuilder().subscribe_only("log").do(len).write_to("size")},
        channels={"log": DeltaChannel(extend, list), "size": LastValue(int)},
        input_channels="log",
        output_channels="size",
        checkpointer=saver,
    )


@pytest.mark.parametrize("durability", DURABILITIES)
@pytest.mark.parametrize("saver", SAVERS)
def test_input_at_an_older_checkpoint_leaves_what_was_built_on_it_alone(
    driver: Driver, saver: type[InMemorySaver], durability: str
) -> None:
    graph = counting(saver())
    for turn in (0, 1):
        driver.invoke(graph, [turn], THREAD, durability="sync")
    before = driver.history(graph, THREAD)
    for older in before[1:]:
        driver.invoke(graph, ["other"], older.config, durability=durability)
        expected = [*older.values["log"], "other"]
        assert driver.get_state(graph, THREAD).values == {"log": expected, "size": len(expected)}
        assert [driver.get_state(graph, state.config).values for state in before] == [state.values for state in before]


@pytest.mark.parametrize("durability", DURABILITIES)
def test_a_delta_channel_that_takes_the_input_itself_keeps_it_from_the_first_run_on(
    driver: Driver, durability: str
) -> None:
    saver = InMemorySaver()
    graph = counting(saver)
    for turn, expected in enumerate(([0], [0, 1], [0, 1, 2])):
        assert driver.invoke(graph, [turn], THREAD, durability=durability) == len(expected)
        assert driver.get_state(graph, THREAD).values == {"log": expected, "size": len(expected)}
        # There is nothing to record writes on before the first checkpoint.
        assert {checkpoint_id for _, _, checkpoint_id in saver.writes} <= set(saver.storage["t"][""])


def refuse(value: str, update: str) -> str:
    if update == "bad":
        raise ValueError("refused")
    return update


class Refusing(TypedDict, total=False):
    log: Annotated[list[Any], DeltaChannel(extend, snapshot_frequency=100)]
    checked: Annotated[str, refuse]


def test_a_step_whose_updates_are_refused_leaves_nothing_in_a_delta_channel_at_exit(driver: Driver) -> None:
    builder = StateGraph(Refusing)
    builder.add_node("writes", lambda state: {"checked": "bad", "log": ["refused"]})
    builder.add_edge(START, "writes")
    graph = builder.compile(checkpointer=InMemorySaver())
    with pytest.raises(ValueError, match="refused"):
        driver.invoke(graph, {"log": ["in"]}, THREAD, durability="exit")

    (latest, *_) = driver.history(graph, THREAD)
    assert latest.values["log"] == ["in"]
