"""Whoever wraps the planning of steps sees each step, before and after it was planned."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import END, START, Command, GraphRecursionError, Send, StateGraph, entrypoint, interrupt, task
from stategraph.engine.compile.functions import RunnableSeq
from stategraph.engine.config.runtime import RunControl
from stategraph.engine.runs import pregel_loop
from stategraph.errors import GraphDrained, GraphInterrupt
from tests.conftest import Driver

THREAD: Any = {"configurable": {"thread_id": "thread"}}

Told = list[tuple[list[str], bool | str, list[str]]]
"""Of each tick the nodes of the step before, what it returned or raised, and the nodes of the step after."""


class State(TypedDict, total=False):
    steps: Annotated[list[Any], operator.add]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    return watch(monkeypatch, pregel_loop.PregelLoop)


INPUT: Told = [([], True, [START])]
"""The step that spreads the input over the channels."""


def watch(monkeypatch: pytest.MonkeyPatch, kind: type[pregel_loop.PregelLoop], note: Callable[[Any], Any] = id) -> Told:
    told: Told = []
    original = pregel_loop.PregelLoop.tick

    def tick(self: pregel_loop.PregelLoop) -> bool:
        before = [task.name for task in self.tasks.values()]
        note(self)
        try:
            more = original(self)
        except GraphInterrupt as paused:
            told.append((before, type(paused).__name__, []))
            raise
        told.append((before, more, sorted(task.name for task in self.tasks.values())))
        return more

    monkeypatch.setattr(kind, "tick", tick)
    return told


def add(*names: str) -> StateGraph[Any]:
    graph = StateGraph(State)
    for name in names:
        graph.add_node(name, lambda state, name=name: {"steps": [name]})  # type: ignore[misc]
    return graph


def line() -> StateGraph[Any]:
    return add("one", "two").add_edge(START, "one").add_edge("one", "two")


def test_each_step_is_planned_through_a_wrapper(driver: Driver, told: Told) -> None:
    graph = add("one", "left", "right", "end").add_edge(START, "one")
    graph.add_conditional_edges("one", lambda _: [Send("left", {}), Send("right", {})], ["left", "right"])
    graph.add_edge("left", "end").add_edge("right", "end").add_edge("end", END)
    assert driver.invoke(graph.compile(), {"steps": []}) == {"steps": ["one", "left", "right", "end"]}
    assert told == [
        *INPUT,
        ([START], True, ["one"]),
        (["one"], True, ["left", "right"]),
        (["left", "right"], True, ["end"]),
        (["end"], False, []),
    ]


@pytest.mark.parametrize("kind", [pregel_loop.SyncPregelLoop, pregel_loop.AsyncPregelLoop])
def test_a_wrapper_on_the_loop_of_one_driver_sees_that_one(
    monkeypatch: pytest.MonkeyPatch, driver: Driver, kind: type[pregel_loop.PregelLoop]
) -> None:
    told = watch(monkeypatch, kind)
    driver.invoke(line().compile(), {"steps": []})
    assert bool(told) == (
        kind is {"sync": pregel_loop.SyncPregelLoop, "async": pregel_loop.AsyncPregelLoop}[driver.name]
    )


def test_the_steps_of_a_graph_in_a_graph_are_seen_too(driver: Driver, told: Told) -> None:
    outer = StateGraph(State).add_node("inner", line().compile()).add_edge(START, "inner")
    assert driver.invoke(outer.compile(), {"steps": []}) == {"steps": ["one", "two"]}
    inside = [*INPUT, ([START], True, ["one"]), (["one"], True, ["two"]), (["two"], False, [])]
    assert told == [*INPUT, ([START], True, ["inner"]), *inside, (["inner"], False, [])]


def test_what_a_task_wrote_and_what_started_it_links_the_steps(monkeypatch: pytest.MonkeyPatch, driver: Driver) -> None:
    links: list[tuple[list[str], list[Any]]] = []

    def note(loop: pregel_loop.PregelLoop) -> None:
        links.extend(([channel for channel, _ in task.writes], list(task.triggers)) for task in loop.tasks.values())

    watch(monkeypatch, pregel_loop.PregelLoop, note)
    graph = line()
    graph.add_node("sent", lambda _: {"steps": ["sent"]}).add_conditional_edges("two", lambda _: Send("sent", {}))
    driver.invoke(graph.compile(), {"steps": []})
    assert links == [
        (["steps", "branch:to:one"], [START]),
        (["steps", "branch:to:two"], ["branch:to:one"]),
        (["steps", "__pregel_tasks"], ["branch:to:two"]),
        (["steps"], ["__pregel_push"]),
    ]


def test_a_run_that_pauses_before_a_node_pauses_in_the_tick(driver: Driver, told: Told) -> None:
    graph = line().compile(checkpointer=InMemorySaver(), interrupt_before=["two"])
    assert driver.invoke(graph, {"steps": []}, THREAD) == {"steps": ["one"]}
    assert driver.get_state(graph, THREAD).next == ("two",)
    assert driver.invoke(graph, None, THREAD) == {"steps": ["one", "two"]}
    paused = [*INPUT, ([START], True, ["one"]), (["one"], "GraphInterrupt", [])]
    assert told == [*paused, ([], True, ["two"]), (["two"], False, [])]


def test_a_run_that_asks_goes_on_through_a_wrapper(driver: Driver, told: Told) -> None:
    graph = StateGraph(State).add_node("ask", lambda _: {"steps": [interrupt("name?")]}).add_edge(START, "ask")
    compiled = graph.compile(checkpointer=InMemorySaver())
    driver.invoke(compiled, {"steps": []}, THREAD)
    assert driver.invoke(compiled, Command(resume="Ada"), THREAD) == {"steps": ["Ada"]}
    assert told == [*INPUT, ([START], True, ["ask"]), ([], True, ["ask"]), (["ask"], False, [])]


def test_the_end_of_a_run_at_its_limit_or_by_a_drain_is_seen(driver: Driver, told: Told) -> None:
    with pytest.raises(GraphRecursionError):
        driver.invoke(line().compile(), {"steps": []}, {"recursion_limit": 1})
    assert told == [*INPUT, ([START], True, ["one"]), (["one"], False, ["two"])]
    told.clear()
    control = RunControl()
    graph = StateGraph(State).add_node("one", lambda _: control.request_drain()).add_node("two", lambda _: None)
    with pytest.raises(GraphDrained):
        driver.invoke(graph.add_edge(START, "one").add_edge("one", "two").compile(), {"steps": []}, control=control)
    assert told == [*INPUT, ([START], True, ["one"]), (["one"], False, ["two"])]


def test_called_functions_are_among_the_tasks_of_their_step(driver: Driver, told: Told) -> None:
    @task
    async def adouble(number: int) -> int:
        return number * 2

    @task
    def double(number: int) -> int:
        return number * 2

    @entrypoint()
    def flow(number: int) -> int:
        return double(number).result() + 1

    @entrypoint()
    async def aflow(number: int) -> int:
        return await adouble(number) + 1

    assert driver.invoke(flow if driver.name == "sync" else aflow, 2) == 5
    names = ["flow", "double"] if driver.name == "sync" else ["aflow", "adouble"]
    assert told == [([], True, names[:1]), (names, False, [])]


def test_a_wrapper_that_fails_fails_the_run(monkeypatch: pytest.MonkeyPatch, driver: Driver) -> None:
    def tick(self: pregel_loop.PregelLoop) -> bool:
        raise GraphInterrupt(()) if self.step else ValueError("not today")

    monkeypatch.setattr(pregel_loop.PregelLoop, "tick", tick)
    with pytest.raises(ValueError, match="not today"):
        driver.invoke(line().compile(), {"steps": []})


def test_a_wrapper_can_pause_the_run(monkeypatch: pytest.MonkeyPatch, driver: Driver) -> None:
    original = pregel_loop.PregelLoop.tick

    def tick(self: pregel_loop.PregelLoop) -> bool:
        more = original(self)
        if self.step == 2:
            raise GraphInterrupt(())
        return more

    monkeypatch.setattr(pregel_loop.PregelLoop, "tick", tick)
    assert driver.invoke(line().compile(), {"steps": []}) == {"steps": ["one"]}


def test_the_loop_tells_where_the_run_stands(monkeypatch: pytest.MonkeyPatch, driver: Driver) -> None:
    facts: list[tuple[Any, ...]] = []

    def note(loop: pregel_loop.PregelLoop) -> None:
        facts.append((loop.step, loop.stop, loop.status, loop.config["metadata"]["tenant"]))

    watch(monkeypatch, pregel_loop.PregelLoop, note)
    driver.invoke(line().compile(), {"steps": []}, {"metadata": {"tenant": "a"}, "recursion_limit": 7})
    assert facts == [(step, 7, "pending", "a") for step in range(4)]


def test_a_run_that_nobody_watches_has_no_loop(monkeypatch: pytest.MonkeyPatch, driver: Driver) -> None:
    made: list[Any] = []
    monkeypatch.setattr(pregel_loop.PregelLoop, "__init__", lambda self, execution: made.append(execution))
    driver.invoke(line().compile(), {"steps": []})
    assert not made


def test_the_last_chunk_of_a_streamed_node_reaches_whoever_wraps_its_consumption(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from stategraph.engine.compile import functions

    consumed: list[Any] = []
    original = functions.alast

    async def consume(chunks: Any) -> Any:
        consumed.append(await original(chunks))
        return consumed[-1]

    async def run() -> Any:
        config: Any = {"callbacks": [BaseCallbackHandler()]}
        return [chunk async for chunk in sequence.astream(1, config)]

    monkeypatch.setattr(functions, "alast", consume)
    sequence = RunnableSeq(lambda number: number + 1, lambda number: number * 2)
    assert asyncio.run(run()) == [None]
    assert consumed == [4]
