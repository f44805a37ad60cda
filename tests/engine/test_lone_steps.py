"""Steps of one task take a short way. What is stored at the end is the same as by the long way, byte for byte."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, TypedDict
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import END, START, Command, Send, StateGraph, interrupt, task
from stategraph.core.channels.ephemeral import EphemeralValue
from stategraph.core.channels.last_value import LastValue
from stategraph.core.plan import Planner
from stategraph.engine.config import environment
from stategraph.engine.config.environment import SYSTEM, Environment, SystemClock, SystemIds
from stategraph.engine.engine import StateGraphEngine
from stategraph.errors import EmptyChannelError, EmptyInputError
from stategraph.testing import stable
from tests.engine import programs_kit as kit
from tests.properties import examples

THREAD = {"configurable": {"thread_id": "t"}, "recursion_limit": 12}


def added(old: list[str], new: list[str]) -> list[str]:
    if "bad" in new:
        raise ValueError("a reducer that refuses")
    return old + new


class Shy(LastValue[str]):
    """Has no value while the last one is empty."""

    def is_available(self) -> bool:
        return super().is_available() and self.value != ""

    def get(self) -> str:
        if not self.is_available():
            raise EmptyChannelError
        return super().get()


class State(TypedDict, total=False):
    log: Annotated[list[str], added]
    total: Annotated[int, operator.add]
    last: str
    whim: Annotated[str, EphemeralValue]
    shy: Annotated[str, Shy]


class Plain(TypedDict):
    log: Annotated[list[str], operator.add]


class Counting(InMemorySaver):
    """A saver whose versions have no random part."""

    def get_next_version(self, current: Any, channel: None) -> int:
        return 1 if current is None else current + 1

    def contents(self) -> dict[str, Any]:
        storage = {
            (thread, ns, place): stored
            for thread, spaces in self.storage.items()
            for ns, stored_there in spaces.items()
            for place, stored in stored_there.items()
        }
        return {"checkpoints": storage, "writes": dict(self.writes), "values": dict(self.blobs)}


class StoppedClock(SystemClock):
    """It is always the same time."""

    time = staticmethod(lambda: 1_000_000.0)


class Numbered(SystemIds):
    """Ids of checkpoints are made by a function."""

    def __init__(self, make: Callable[[int], str]) -> None:
        self.checkpoint_id = make  # type: ignore[method-assign]


def note(name: str, **more: Any) -> Callable[[State], Any]:
    def node(state: State) -> Any:
        return {"log": [name], "total": 1, "last": name, **more}

    return node


def fail(state: State) -> Any:
    raise RuntimeError("a node that fails")


def ask(state: State) -> Any:
    first = interrupt("first?")
    return {"log": [f"{first} {interrupt('second?')}"]}


@task
def shout(word: str) -> str:
    return word.upper()


def call(state: State) -> Any:
    return {"log": [shout("a").result(), shout("b").result()]}


def chain(*nodes: Any, saver: Any = None) -> Any:
    builder = StateGraph(State)
    names = [f"n{number}" for number in range(len(nodes))]
    for name, node in zip(names, nodes, strict=True):
        builder.add_node(name, node)
    for source, target in itertools.pairwise([START, *names]):
        builder.add_edge(source, target)
    return builder.compile(checkpointer=saver)


def loop(saver: Any = None, *, rounds: int = 5) -> Any:
    builder = StateGraph(State)
    builder.add_node("a", note("a"))
    builder.add_node("b", note("b"))
    builder.add_node("silent", lambda state: None)
    builder.add_edge(START, "a")
    builder.add_edge("a", "b")
    builder.add_conditional_edges("b", lambda state: "silent" if state["total"] < rounds else END)
    builder.add_edge("silent", "a")
    return builder.compile(checkpointer=saver)


def turns(saver: Any) -> Any:
    """Steps of one task and steps of several in turn."""
    builder = StateGraph(State)
    builder.add_node("one", lambda state: Command(update={"log": ["one"]}, goto=[Send("two", {"last": "x"})]))
    builder.add_node("two", lambda state: Command(goto=["three", "four"], update={"last": state["last"]}))
    builder.add_node("three", note("three"))
    builder.add_node("four", lambda state: {"log": ["four"], "total": 1})
    builder.add_node("five", note("five"))
    builder.add_node("six", note("six"))
    builder.add_edge(START, "one")
    builder.add_edge(["three", "four"], "five")
    builder.add_edge("five", "six")
    return builder.compile(checkpointer=saver)


def joined(saver: Any) -> Any:
    """A node that waits for two which run one after the other, in a loop."""
    builder = StateGraph(State)
    for name in ("a", "b", "c"):
        builder.add_node(name, note(name))
    builder.add_edge(START, "a")
    builder.add_edge("a", "b")
    builder.add_edge(["a", "b"], "c")
    builder.add_conditional_edges("c", lambda state: "a" if state["total"] < 6 else END)
    return builder.compile(checkpointer=saver)


def own_history(saver: Any) -> Any:
    inner = chain(note("x"), note("y"))
    inner.checkpointer = True
    return chain(note("a"), inner, note("b"), saver=saver)


def plain(node: Any) -> Any:
    builder = StateGraph(Plain).add_node("x", lambda state: node(state)).add_node("y", lambda state: {"log": ["y"]})
    return builder.add_edge(START, "y").add_edge("y", "x").compile()


GRAPHS: dict[str, Callable[[Any], Any]] = {
    "a loop": loop,
    "a loop without end": lambda saver: loop(saver, rounds=1_000),
    "a join": joined,
    "a chain": lambda saver: chain(*map(note, "abcd"), saver=saver),
    "values that last one step": lambda saver: chain(note("a", whim="w"), note("b"), note("c"), note("d"), saver=saver),
    "a value that goes": lambda saver: chain(
        note("a", shy=""), note("b", shy="s"), note("c", shy=""), note("d"), saver=saver
    ),
    "steps of several tasks": turns,
    "a node that fails": lambda saver: chain(note("a"), note("b"), fail, saver=saver),
    "a write that is refused": lambda saver: chain(
        note("a"), note("b"), lambda state: {"total": 5, "log": ["bad"], "last": "z"}, note("c"), saver=saver
    ),
    "a question": lambda saver: chain(note("a"), ask, note("b"), saver=saver),
    "called functions": lambda saver: chain(note("a"), call, note("b"), fail, saver=saver),
    "a graph inside": lambda saver: chain(note("a"), chain(note("x"), note("y")), note("b"), saver=saver),
    "a graph inside that fails": lambda saver: chain(note("a"), chain(note("x"), fail), note("b"), saver=saver),
    "a graph inside that asks": lambda saver: chain(note("a"), chain(note("x"), ask, note("y")), saver=saver),
    "a graph inside with a history": own_history,
    "a plain graph inside": lambda saver: chain(note("a"), plain(lambda state: {"log": ["x"]}), note("b"), saver=saver),
    "a plain graph inside that fails": lambda saver: chain(note("a"), plain(fail), note("b"), saver=saver),
    "a plain graph inside that asks": lambda saver: chain(note("a"), plain(ask), note("b"), saver=saver),
}


def run(driver: Any, graph: Any, inputs: Sequence[Any], durability: str) -> list[Any]:
    shown = []
    for value in inputs:
        with contextlib.suppress(Exception):
            shown.append(driver.stream(graph, value, THREAD, durability=durability, stream_mode=["updates", "values"]))
    return shown


INPUTS = [{"log": [], "total": 0}, Command(resume="yes"), Command(resume="no"), {"log": ["again"]}, None]


@pytest.mark.parametrize("durability", ["exit", "async", "sync"])
@pytest.mark.parametrize("name", GRAPHS)
def test_a_run_stores_the_same_both_ways(
    name: str, durability: str, driver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes, lone_steps = [], 0
    short = Planner.single

    def counted(planner: Planner, updated: Iterable[str], step: int) -> Any:
        nonlocal lone_steps
        task = short(planner, updated, step)
        lone_steps += task is not None
        return task

    for lone in (counted, lambda planner, updated, step: None):
        numbers = itertools.count()
        new_id = lambda step, numbers=numbers: f"{next(numbers):08x}-0000-6000-8000-000000000000"  # noqa: E731
        monkeypatch.setattr(Planner, "single", lone)
        saver = Counting()
        with environment.use(Environment(StoppedClock(), Numbered(new_id))):
            shown = run(driver, GRAPHS[name](saver), INPUTS, durability)
        # A graph inside makes fewer ids the short way, so what is stored can only be compared but for its ids.
        exact = () if "inside" in name else saver.contents()
        if name == "steps of several tasks":
            # Tasks of one step end in the order in which their threads get to it.
            shown = [sorted(rows, key=repr) for rows in shown]
        outcomes.append((stable([shown, list(saver.list(THREAD))]), exact))
    assert lone_steps > 3
    assert outcomes[0] == outcomes[1]
    assert len(outcomes[0][0][1]) >= 1


def without_short_way(planner: Planner, updated: Iterable[str], step: int) -> None:
    """Find nothing: each step goes the long way."""


@examples(60)
@given(
    spec=kit.specs(("plain", "plain", "ask", "fan")),
    durability=st.sampled_from(["sync", "async", "exit"]),
    asynchronous=st.booleans(),
    fork_at=st.integers(0, 8),
    breaks=st.sampled_from([None, "before", "after"]),
)
def test_any_program_stores_the_same_both_ways(
    spec: kit.Spec, durability: str, asynchronous: bool, fork_at: int, breaks: str | None
) -> None:
    outcomes = []
    for way in (Planner.single, without_short_way):
        numbers = itertools.count()
        new_id = lambda step, numbers=numbers: f"{next(numbers):08x}-0000-6000-8000-000000000000"  # noqa: E731
        saver = Counting()
        # One task at a time: threads end in any order.
        graph = kit.build(spec, kit.World(), saver, asynchronous=asynchronous).with_config({"max_concurrency": 1})
        options: Any = {"durability": durability}
        if breaks is not None:
            options[f"interrupt_{breaks}"] = ["n00"]
        with (
            pytest.MonkeyPatch.context() as patched,
            environment.use(Environment(StoppedClock(), Numbered(new_id))),
        ):
            patched.setattr(Planner, "single", way)
            shown = [run_once(graph, kit.new_input(), kit.THREAD, asynchronous, options)]
            for _ in range(3):
                waiting = graph.get_state(kit.THREAD)
                given_next = Command(resume=kit.answers(waiting)) if waiting.interrupts else None
                shown.append(run_once(graph, given_next, kit.THREAD, asynchronous, options))
            history = list(graph.get_state_history(kit.THREAD))
            past = history[fork_at % len(history)]
            shown.append(run_once(graph, None, past.config, asynchronous, options))
            fork = graph.update_state(past.config, kit.update("edit"), as_node="worker")
            shown.append(run_once(graph, None, fork, asynchronous, options))
        outcomes.append((stable(shown), saver.contents()))
    assert outcomes[0] == outcomes[1]


def run_once(graph: Any, given: Any, config: Any, asynchronous: bool, options: Any) -> Any:
    try:
        if asynchronous:
            return asyncio.run(graph.ainvoke(given, config, **options))
        return graph.invoke(given, config, **options)
    except Exception as error:
        return type(error), str(error)


class Cut(BaseException):
    """Stops a run where it is."""


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_a_run_that_is_cut_off_at_any_save_goes_on_the_same_both_ways(
    durability: str, driver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways, lefts = (Planner.single, without_short_way), []
    for way in ways:
        monkeypatch.setattr(Planner, "single", way)
        left: list[Any] = []
        for error in (Cut, KeyboardInterrupt, RuntimeError):
            for at in range(20):
                left.append(cut_off(driver, durability, error, at))
        lefts.append(left)
    assert lefts[0] == lefts[1]


def cut_off(driver: Any, durability: str, error: type[BaseException], at: int) -> Any:
    numbers, saves = itertools.count(), itertools.count()
    new_id = lambda step: f"{next(numbers):08x}-0000-6000-8000-000000000000"  # noqa: E731

    class Mortal(Counting):
        def put(self, *args: Any) -> Any:
            if next(saves) == at:
                raise error
            return super().put(*args)

        def put_writes(self, *args: Any) -> Any:
            if next(saves) == at:
                raise error
            super().put_writes(*args)

    saver = Mortal()
    graph = loop(saver, rounds=4)
    with environment.use(Environment(StoppedClock(), Numbered(new_id))):
        ended: Any = None
        try:
            driver.invoke(graph, {"log": [], "total": 0}, THREAD, durability=durability)
        except BaseException as raised:
            ended = type(raised)
        left = saver.contents()
        # How many it has made depends on when the run hears of a save that failed in a thread.
        numbers = itertools.count(1_000)
        with contextlib.suppress(EmptyInputError):
            driver.invoke(graph, None, THREAD, durability=durability)
    return ended, left, saver.contents()


def test_a_graph_that_is_a_node_is_run_through_what_somebody_has_put_in_between(
    driver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    method = "ainvoke" if driver.name == "async" else "invoke"
    original = getattr(StateGraphEngine, method)

    def watched(self: Any, input: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(input["log"])
        return original(self, input, *args, **kwargs)

    outer = chain(note("a"), plain(lambda state: {"log": ["x"]}))
    assert driver.stream(outer, {"log": []}, stream_mode="values")[-1]["log"] == ["a", "a", "y", "x"]
    monkeypatch.setattr(StateGraphEngine, method, watched)
    assert driver.stream(outer, {"log": []}, stream_mode="values")[-1]["log"] == ["a", "a", "y", "x"]
    assert seen == [["a"]]


def test_versions_of_many_lone_steps_are_given_before_they_pile_up(
    driver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stategraph.core.state.state.MOST_OPEN", 3)
    saver = Counting()
    graph = loop(saver, rounds=20)
    driver.invoke(graph, {"log": [], "total": 0}, {**THREAD, "recursion_limit": 100}, durability="exit")
    (stored,) = saver.list(THREAD)
    assert stored.metadata["step"] == max(stored.checkpoint["channel_versions"].values()) - 2


def test_ids_of_checkpoints_sort_by_their_age() -> None:
    made = [SYSTEM.ids.checkpoint_id(step) for step in range(-2, 1_000)]
    assert made == sorted(set(made))
    assert {(UUID(one).version, str(UUID(one))) for one in made} == {(6, one) for one in made}
    assert [UUID(one).clock_seq for one in made] == [16_382, 16_383, *range(1_000)]


def test_an_async_node_that_lets_others_take_their_turn_does_so() -> None:
    turns: list[str] = []

    async def node(state: Plain) -> None:
        turns.append("node")
        await asyncio.sleep(0)

    async def other() -> None:
        for _ in range(2):
            turns.append("other")
            await asyncio.sleep(0)

    builder = StateGraph(Plain)
    builder.add_sequence([("first", node), ("second", node)])
    builder.add_edge(START, "first")
    graph = builder.compile()

    async def main() -> None:
        beside = asyncio.create_task(other())
        await graph.ainvoke({"log": []})
        await beside

    asyncio.run(main())
    assert turns == ["node", "other", "node", "other"]
