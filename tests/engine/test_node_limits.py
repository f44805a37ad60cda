"""Limits of nodes: places and rates, for each key of their inputs.

What langchain-ai/langgraph#8920 and #8944 ask for: a fan-out that calls a model no more often than its provider allows,
whatever else the graph does.
"""

from __future__ import annotations

import asyncio
import operator
import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import START, Command, ConfigurationError, NodeLimits, RetryPolicy, Send, StateGraph, interrupt
from stategraph.testing import FakeClock
from tests.conftest import Driver


class State(TypedDict, total=False):
    jobs: list[Any]
    done: Annotated[list[Any], operator.add]


class Done(TypedDict):
    done: Annotated[list[Any], operator.add]


def fan_out(work: Any, limits: NodeLimits | None, **options: Any) -> Any:
    """Return a graph that sends each job to a node with limits."""
    saver = options.pop("saver", None)
    builder = StateGraph(State).add_node("plan", lambda state: {}).add_node("work", work, limits=limits, **options)
    builder.add_edge(START, "plan").add_conditional_edges("plan", lambda s: [Send("work", j) for j in s["jobs"]])
    return builder.compile(saver)


class Watch:
    """Counts who works at a time."""

    def __init__(self) -> None:
        self.now: Counter[Any] = Counter()
        self.most: Counter[Any] = Counter()
        self.order: list[Any] = []
        self.lock = threading.Lock()

    def node(self, driver: Driver, key: Callable[[Any], Any] = lambda job: "all") -> Any:
        """Return a node that counts, and lets others have their turn meanwhile."""

        def enter(job: Any) -> Any:
            with self.lock:
                self.now[key(job)] += 1
                self.now["total"] += 1
                for each in (key(job), "total"):
                    self.most[each] = max(self.most[each], self.now[each])
                self.order.append(job)

        def leave(job: Any) -> Any:
            with self.lock:
                self.now[key(job)] -= 1
                self.now["total"] -= 1
            return {"done": [job]}

        def work(job: Any) -> Any:
            enter(job)
            threading.Event().wait(0.001)
            return leave(job)

        async def awork(job: Any) -> Any:
            enter(job)
            for _ in range(5):
                await asyncio.sleep(0)
            return leave(job)

        return awork if driver.name == "async" else work


def test_so_many_attempts_run_at_a_time_and_the_first_come_first(driver: Driver) -> None:
    watch = Watch()
    graph = fan_out(watch.node(driver), NodeLimits(concurrency=3))
    assert driver.invoke(graph, {"jobs": [*range(20)]})["done"] == [*range(20)]
    assert watch.most["all"] == 3
    if driver.name == "async":
        assert watch.order == [*range(20)]


def test_each_key_has_its_own_places(driver: Driver) -> None:
    watch = Watch()
    by = lambda job: job % 2  # noqa: E731
    graph = fan_out(watch.node(driver, by), NodeLimits(concurrency=1, key=by))
    driver.invoke(graph, {"jobs": [*range(10)]})
    assert (watch.most[0], watch.most[1]) == (1, 1)
    assert watch.most["total"] <= 2


def test_limits_are_shared_by_the_nodes_and_graphs_that_are_given_them(driver: Driver) -> None:
    watch, limits = Watch(), NodeLimits(concurrency=2)
    builder = StateGraph(State)
    for name in "abcd":
        builder.add_node(name, watch.node(driver), limits=limits).add_edge(START, name)
    graph = builder.compile()
    threads = [threading.Thread(target=driver.invoke, args=(graph, {"jobs": []})) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert watch.most["all"] <= 2
    assert sum(watch.now.values()) == 0


def test_sync_and_async_runs_share_places() -> None:
    """A thread holds the only place, and an event loop waits for it without being blocked."""
    limits, entered, leave = NodeLimits(concurrency=1), threading.Event(), threading.Event()

    def hold(job: Any) -> Any:
        entered.set()
        assert leave.wait(60)
        return {"done": ["sync"]}

    async def work(job: Any) -> Any:
        return {"done": ["async"]}

    sync, other = fan_out(hold, limits), fan_out(work, limits)
    thread = threading.Thread(target=sync.invoke, args=({"jobs": [1]},))
    thread.start()
    assert entered.wait(60)

    async def main() -> Any:
        waiting = asyncio.ensure_future(other.ainvoke({"jobs": [1]}))
        for _ in range(50):
            await asyncio.sleep(0)
        assert not waiting.done()
        leave.set()
        return await asyncio.wait_for(waiting, 60)

    assert asyncio.run(main())["done"] == ["async"]
    thread.join(60)


def test_a_rate_is_kept_in_every_window(driver: Driver) -> None:
    clock, starts = FakeClock(), []

    def work(job: Any) -> Any:
        starts.append(clock.monotonic())
        return {"done": [job]}

    graph = fan_out(work, NodeLimits(rate=2, per_s=10))
    with clock.for_runs():
        if driver.name == "async":
            clock.run(graph.ainvoke({"jobs": [*range(5)]}))
            assert sorted(starts) == [0, 0, 10, 10, 20]
        else:
            for job in range(5):
                graph.invoke({"jobs": [job]})
            assert starts == [0, 0, 10, 10, 20]


def test_waiting_for_a_place_takes_nothing_of_a_nodes_time_limit() -> None:
    clock = FakeClock()

    async def work(job: Any) -> Any:
        await asyncio.sleep(8)
        return {"done": [job]}

    graph = fan_out(work, NodeLimits(concurrency=1), timeout=10)
    with clock.for_runs():
        assert clock.run(graph.ainvoke({"jobs": [1, 2, 3]}))["done"] == [1, 2, 3]
    assert clock.now() == 24


def test_a_pause_before_the_next_attempt_holds_no_place() -> None:
    clock, order = FakeClock(), []

    async def work(job: Any) -> Any:
        order.append(job)
        if job == 1 and order.count(1) == 1:
            raise ConnectionError
        return {"done": [job]}

    policy = RetryPolicy(initial_interval=5, jitter=False, retry_on=ConnectionError)
    graph = fan_out(work, NodeLimits(concurrency=1), retry_policy=policy)
    with clock.for_runs():
        clock.run(graph.ainvoke({"jobs": [1, 2, 3]}))
    assert order == [1, 2, 3, 1]


def test_a_question_holds_no_place(driver: Driver) -> None:
    thread: Any = {"configurable": {"thread_id": "1"}}

    def work(job: Any) -> Any:
        return {"done": [interrupt(job)]}

    graph = fan_out(work, NodeLimits(concurrency=1), saver=InMemorySaver())
    asked = driver.invoke(graph, {"jobs": [1, 2]}, thread)["__interrupt__"]
    assert [each.value for each in asked] == [1, 2]
    answers = {each.id: each.value * 10 for each in asked}
    assert driver.invoke(graph, Command(resume=answers), thread)["done"] == [10, 20]


def test_a_failure_gives_its_place_up(driver: Driver) -> None:
    limits = NodeLimits(concurrency=1)

    def fail(job: Any) -> Any:
        raise ValueError(job)

    with pytest.raises(ValueError, match="1"):
        driver.invoke(fan_out(fail, limits), {"jobs": [1]})
    assert driver.invoke(fan_out(lambda job: {"done": [job]}, limits), {"jobs": [2]})["done"] == [2]


def test_one_that_is_cancelled_while_it_waits_leaves_the_line() -> None:
    limits = NodeLimits(concurrency=1)

    async def main() -> Any:
        first, go_on = asyncio.Event(), asyncio.Event()

        async def work(job: Any) -> Any:
            if job == "holds":
                first.set()
                await go_on.wait()
            return {"done": [job]}

        graph = fan_out(work, limits)
        holding = asyncio.ensure_future(graph.ainvoke({"jobs": ["holds"]}))
        await asyncio.wait_for(first.wait(), 60)
        leaving = asyncio.ensure_future(graph.ainvoke({"jobs": ["leaves"]}))
        staying = asyncio.ensure_future(graph.ainvoke({"jobs": ["stays"]}))
        for _ in range(20):
            await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        go_on.set()
        return await asyncio.wait_for(asyncio.gather(holding, staying), 60)

    assert [each["done"] for each in asyncio.run(main())] == [["holds"], ["stays"]]
    assert not limits._gates[None].used
    assert not limits._gates[None].waiting


def test_one_that_is_cancelled_as_its_turn_comes_passes_it_on() -> None:
    limits = NodeLimits(concurrency=1)

    async def main() -> Any:
        first, go_on = asyncio.Event(), asyncio.Event()

        async def work(job: Any) -> Any:
            if job == "holds":
                first.set()
                await go_on.wait()
                leaving.cancel()  # its turn comes before it has heard of this
            return {"done": [job]}

        graph = fan_out(work, limits)
        holding = asyncio.ensure_future(graph.ainvoke({"jobs": ["holds"]}))
        await asyncio.wait_for(first.wait(), 60)
        leaving = asyncio.ensure_future(graph.ainvoke({"jobs": ["leaves"]}))
        for _ in range(20):
            await asyncio.sleep(0)
        go_on.set()
        await asyncio.wait_for(holding, 60)
        await asyncio.gather(leaving, return_exceptions=True)
        return await asyncio.wait_for(graph.ainvoke({"jobs": ["next"]}), 60)

    assert asyncio.run(main())["done"] == ["next"]
    assert not limits._gates[None].used


# -- graphs inside of limited nodes ---------------------------------------------


def test_a_graph_that_runs_itself_needs_one_place(driver: Driver) -> None:
    limits = NodeLimits(concurrency=1)
    graphs: list[Any] = []

    def work(state: Any) -> Any:
        depth = state["jobs"][0]
        inner = graphs[0].invoke({"jobs": [depth - 1]})["done"] if depth else []
        return {"done": [*inner, depth]}

    async def awork(state: Any) -> Any:
        depth = state["jobs"][0]
        inner = (await graphs[0].ainvoke({"jobs": [depth - 1]}))["done"] if depth else []
        return {"done": [*inner, depth]}

    node: Any = awork if driver.name == "async" else work
    graphs.append(StateGraph(State).add_node("work", node, limits=limits).add_edge(START, "work").compile())
    assert driver.invoke(graphs[0], {"jobs": [3]})["done"] == [0, 1, 2, 3]


def test_nodes_that_are_nested_the_other_way_round_do_not_wait_for_each_other(driver: Driver) -> None:
    """Each holds the only place that the node inside of the other waits for."""
    one, other = NodeLimits(concurrency=1), NodeLimits(concurrency=1)
    both = threading.Barrier(2)
    inside_both: asyncio.Barrier | None = None

    def nested(outer: NodeLimits, inner: NodeLimits) -> Any:
        work = lambda state: {"done": ["inner"]}  # noqa: E731
        leaf = StateGraph(State).add_node("leaf", work, limits=inner).add_edge(START, "leaf").compile()

        def node(state: Any) -> Any:
            both.wait(60)
            return {"done": leaf.invoke({"jobs": []})["done"]}

        async def anode(state: Any) -> Any:
            assert inside_both is not None
            await inside_both.wait()
            return {"done": (await leaf.ainvoke({"jobs": []}))["done"]}

        chosen: Any = anode if driver.name == "async" else node
        builder = StateGraph(State, output_schema=Done).add_node("outer", chosen, limits=outer)
        return builder.add_edge(START, "outer").compile()

    builder = StateGraph(State).add_node("a", nested(one, other)).add_node("b", nested(other, one))
    graph = builder.add_edge(START, "a").add_edge(START, "b").compile()
    if driver.name == "async":

        async def main() -> Any:
            nonlocal inside_both
            inside_both = asyncio.Barrier(2)
            return await asyncio.wait_for(graph.ainvoke({"jobs": []}), 60)

        assert asyncio.run(main())["done"] == ["inner", "inner"]
    else:
        assert driver.invoke(graph, {"jobs": []})["done"] == ["inner", "inner"]
    assert (one._gates[None].used, other._gates[None].used) == (0, 0)


# -- the model: a queue for each key ---------------------------------------------


@settings(max_examples=60)
@given(
    jobs=st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9)), max_size=12),
    places=st.integers(1, 3),
    rate=st.one_of(st.none(), st.tuples(st.integers(1, 3), st.integers(1, 9))),
)
def test_attempts_begin_when_a_queue_for_each_key_lets_them(
    jobs: list[tuple[str, int]], places: int, rate: tuple[int, int] | None
) -> None:
    """The model serves each key's jobs in their order, by so many servers, with so many starts in a window."""
    expected: dict[str, list[float]] = defaultdict(list)
    free: dict[str, list[float]] = defaultdict(lambda: [0.0] * places)
    for key, duration in jobs:
        at = min(free[key])
        if rate is not None and len(expected[key]) >= rate[0]:
            at = max(at, expected[key][-rate[0]] + rate[1])
        free[key].remove(min(free[key]))
        free[key].append(at + duration)
        expected[key].append(at)

    clock = FakeClock()
    began: dict[str, list[float]] = defaultdict(list)

    async def work(job: tuple[str, int]) -> Any:
        began[job[0]].append(clock.now())
        await asyncio.sleep(job[1])
        return {"done": [job]}

    count, per_s = rate or (None, 1)
    limits = NodeLimits(concurrency=places, rate=count, per_s=per_s, key=lambda job: job[0])
    with clock.for_runs():
        clock.run(fan_out(work, limits).ainvoke({"jobs": jobs}))
    assert {key: sorted(each) for key, each in began.items()} == {key: sorted(each) for key, each in expected.items()}
    assert all(not gate.used and not gate.waiting for gate in limits._gates.values())


def test_keys_that_nobody_needs_are_forgotten(driver: Driver) -> None:
    limits = NodeLimits(concurrency=1, key=lambda job: job)
    graph = fan_out(lambda job: {"done": [job]}, limits)
    for first in range(0, 600, 100):
        driver.invoke(graph, {"jobs": [*range(first, first + 100)]})
    assert len(limits._gates) < 400


# -- what is refused ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "without a limit"),
        ({"concurrency": 0}, "concurrency is 0"),
        ({"rate": 1.5}, "rate is 1.5"),
        ({"rate": 1, "per_s": 0}, "per_s is 0"),
        ({"rate": 1, "key": "user"}, "expected a function"),
    ],
)
def test_limits_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        NodeLimits(**options)


def test_a_key_that_cannot_be_looked_up_says_so(driver: Driver) -> None:
    graph = fan_out(lambda job: {}, NodeLimits(concurrency=1, key=lambda job: [job]))
    with pytest.raises(TypeError, match="The key of NodeLimits returned a list"):
        driver.invoke(graph, {"jobs": [1]})
