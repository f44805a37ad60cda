"""Policies of fan-outs, in supersteps and without a barrier, with branches of edges and of packets."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import START, Command, NodeError, Send, StateGraph, interrupt
from stategraph.errors import ConfigurationError
from stategraph.scheduling import Branch, FanOut, Scheduling, fail_fast, first_success, quorum, settle, until
from tests.dataflow.flow_kit import Recorder

THREAD: Any = {"configurable": {"thread_id": "1"}}


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    name: str


Work = Callable[[], Any]
"""What a branch does; what it returns is its update."""


class Trial:
    """A fan-out of branches a, b, c with a node behind them, and what each of them did."""

    def __init__(self, policy: FanOut | None, *, sends: bool, scheduling: Scheduling = "barrier") -> None:
        self.policy, self.sends, self.scheduling = policy, sends, scheduling
        self.work: dict[str, Work] = {}
        self.began: list[str] = []
        self.cancelled: list[str] = []

    async def _branch(self, name: str) -> dict[str, Any]:
        self.began.append(name)
        try:
            result = self.work[name]()
            return {"log": [await result if asyncio.iscoroutine(result) else result]}
        except asyncio.CancelledError:
            self.cancelled.append(name)
            raise

    def compile(self, saver: Any = None) -> Any:
        graph = StateGraph(State)

        async def packet(state: State) -> dict[str, Any]:
            return await self._branch(state["name"])

        def node(name: str) -> Any:
            async def run(state: State) -> dict[str, Any]:
                return await self._branch(name)

            return run

        graph.add_node("join", lambda state: {"log": ["join"]})
        if self.sends:
            graph.add_node("each", packet).add_edge("each", "join")
            packets = [Send("each", {"name": name}) for name in self.work]
            graph.add_conditional_edges(START, lambda state: packets, ["each"], policy=self.policy)
        else:
            for name in self.work:
                graph.add_node(name, node(name)).add_edge(name, "join")
            graph.add_edge(START, list(self.work), policy=self.policy)
        return graph.compile(saver, scheduling=self.scheduling)


@pytest.fixture(params=[(s, p) for s in ("barrier", "dataflow") for p in (False, True)], ids=str)
def trial(request: pytest.FixtureRequest) -> Callable[..., Trial]:
    scheduling, sends = request.param

    def make(policy: FanOut | None, **work: Work) -> Trial:
        made = Trial(policy, sends=sends, scheduling=scheduling)
        made.work.update(work)
        return made

    return make


Make = Callable[..., Trial]


async def for_ever() -> str:
    await asyncio.Event().wait()
    return "never"


def fails(message: str) -> Work:
    def work() -> str:
        raise ValueError(message)

    return work


def run(trial: Trial, saver: Any = None, input: Any = None) -> list[str]:
    result = asyncio.run(trial.compile(saver).ainvoke({"log": []} if input is None else input, THREAD))
    return list(result["log"])


def test_the_first_that_ends_well_is_enough_and_the_others_are_cancelled(trial: Make) -> None:
    race = trial(first_success(), a=for_ever, b=lambda: "b", c=for_ever)
    assert run(race) == ["b", "join"]
    assert set(race.cancelled) <= {"a", "c"}


def test_a_failure_does_not_end_a_race_and_if_all_fail_all_errors_are_raised(trial: Make) -> None:
    assert run(trial(first_success(), a=fails("one"), b=fails("two"), c=lambda: "c")) == ["c", "join"]
    with pytest.raises(ExceptionGroup, match="3 of 3 branches failed") as caught:
        run(trial(first_success(), a=fails("one"), b=fails("two"), c=fails("three")))
    assert sorted(map(str, caught.value.exceptions)) == ["one", "three", "two"]


def test_a_quorum_that_cannot_be_reached_any_more_fails_at_once(trial: Make) -> None:
    assert run(trial(quorum(2), a=lambda: "a", b=for_ever, c=lambda: "c")) == ["a", "c", "join"]
    with pytest.raises(ConfigurationError, match=r"quorum\(4\) of 3 branches cannot be reached"):
        run(trial(quorum(4), a=lambda: "a", b=lambda: "b", c=lambda: "c"))
    lost = trial(quorum(2), a=fails("one"), b=for_ever, c=fails("two"))
    with pytest.raises(ExceptionGroup, match="2 of 3 branches failed"):
        run(lost)


def test_settling_lets_all_end_and_a_resume_runs_what_has_failed(trial: Make) -> None:
    attempt = trial(settle(), a=lambda: "a", b=fails("one"), c=fails("two"))
    saver = InMemorySaver()
    with pytest.raises(ExceptionGroup, match="2 of 3 branches failed") as caught:
        run(attempt, saver)
    assert sorted(map(str, caught.value.exceptions)) == ["one", "two"]
    assert "During task with name" in caught.value.exceptions[0].__notes__[0]
    attempt.began.clear()
    attempt.work.update(b=lambda: "b", c=lambda: "c")
    graph = attempt.compile(saver)
    assert asyncio.run(graph.ainvoke(None, THREAD))["log"] == ["a", "b", "c", "join"]
    assert sorted(attempt.began) == ["b", "c"]


def test_settling_for_some_goes_on_without_those_that_failed(trial: Make) -> None:
    assert run(trial(settle(at_least=2), a=lambda: "a", b=fails("one"), c=lambda: "c")) == ["a", "c", "join"]
    with pytest.raises(ExceptionGroup):
        run(trial(settle(at_least=2), a=lambda: "a", b=fails("one"), c=fails("two")))


def test_adk_3405_a_verdict_ends_the_others(trial: Make) -> None:
    """Three checks of a question, of which one can reject it."""

    def rejects(branch: Branch) -> bool:
        return branch.update["log"] == ["dangerous"]

    assert run(trial(until(rejects), a=for_ever, b=lambda: "dangerous", c=for_ever)) == ["dangerous", "join"]
    assert run(trial(until(rejects), a=lambda: "fine", b=lambda: "fine", c=lambda: "fine")) == ["fine"] * 3 + ["join"]


def test_failing_fast_is_what_happens_without_a_policy(trial: Make) -> None:
    for policy in (fail_fast(), None):
        with pytest.raises(ValueError, match="one"):
            run(trial(policy, a=fails("one"), b=for_ever))


@pytest.mark.parametrize("sends", [False, True])
@pytest.mark.parametrize("scheduling", ["barrier", "dataflow"])
def test_a_crash_at_any_point_decides_the_same(scheduling: Scheduling, sends: bool) -> None:
    def make() -> Trial:
        made = Trial(quorum(2), sends=sends, scheduling=scheduling)
        made.work.update(a=lambda: "a", b=fails("one"), c=lambda: "c", d=for_ever)
        return made

    saver = Recorder()
    graph = make().compile(saver)
    expected = asyncio.run(graph.ainvoke({"log": []}, THREAD, durability="sync"))["log"]
    assert expected == ["a", "c", "join"]
    decided = [number for number, (_, args) in enumerate(saver.calls, 1) if "given up" in str(args)]
    for number in range(1, len(saver.calls) + 1):
        again = make()
        assert asyncio.run(again.compile(saver.after(number)).ainvoke(None, THREAD))["log"] == expected
        if number >= decided[-1]:
            assert again.began == []


def test_a_question_waits_for_its_answer_unless_the_others_are_enough(trial: Make) -> None:
    asks = trial(quorum(2), a=lambda: interrupt("a?"), b=lambda: "b")
    saver = InMemorySaver()
    graph = asks.compile(saver)
    paused = asyncio.run(graph.ainvoke({"log": []}, THREAD))
    assert [question.value for question in paused["__interrupt__"]] == ["a?"]
    assert asyncio.run(graph.ainvoke(Command(resume="yes"), THREAD))["log"] == ["yes", "b", "join"]


def test_what_a_branch_writes_that_cannot_be_stopped_is_discarded() -> None:
    """The step waits for a function that does not let itself be cancelled, and forgets its result."""
    decided = asyncio.Event()

    async def stubborn() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            decided.set()
        return "late"

    made = Trial(first_success(), sends=False)
    made.work.update(a=stubborn, b=lambda: "b")
    assert run(made) == ["b", "join"]


@pytest.mark.parametrize("policy", [settle(), None])
def test_lg_8277_what_a_handler_has_handled_is_not_raised_again(policy: FanOut | None) -> None:
    def boom(state: State) -> Any:
        raise RuntimeError("boom")

    def handle(state: State, error: NodeError) -> Any:
        return {"log": [f"{error.node} degraded"]}

    graph = StateGraph(State).add_node("boom", boom, error_handler=handle).add_node("ok", lambda state: {"log": ["ok"]})
    graph.add_edge(START, ["boom", "ok"], policy=policy)
    for result in (graph.compile().invoke({"log": []}), asyncio.run(graph.compile().ainvoke({"log": []}))):
        assert sorted(result["log"]) == ["boom degraded", "ok"]


def test_lg_9002_a_handler_that_has_run_does_not_run_again_when_a_neighbour_fails() -> None:
    ran: list[str] = []
    handled = asyncio.Event()
    healthy = False

    async def boom(state: State) -> Any:
        raise RuntimeError("boom")

    async def handle(state: State, error: NodeError) -> Any:
        ran.append("handler")
        handled.set()
        return {"log": ["handled"]}

    async def neighbour(state: State) -> Any:
        await handled.wait()
        if not healthy:
            raise ValueError("not yet")
        return {"log": ["ok"]}

    builder = StateGraph(State).add_node("boom", boom, error_handler=handle).add_node("neighbour", neighbour)
    graph = builder.add_edge(START, ["boom", "neighbour"], policy=settle()).compile(InMemorySaver())
    with pytest.raises(ExceptionGroup):
        asyncio.run(graph.ainvoke({"log": []}, THREAD))
    healthy = True
    assert sorted(asyncio.run(graph.ainvoke(None, THREAD))["log"]) == ["handled", "ok"]
    assert ran == ["handler"]


def test_sync_branches_settle_and_race() -> None:
    def fail(state: State) -> Any:
        raise ValueError("one")

    def build(policy: FanOut) -> Any:
        graph = StateGraph(State).add_node("a", lambda state: {"log": ["a"]}).add_node("b", fail)
        return graph.add_edge(START, ["a", "b"], policy=policy).compile()

    assert build(first_success()).invoke({"log": []})["log"] == ["a"]
    assert build(settle(at_least=1)).invoke({"log": []})["log"] == ["a"]
    with pytest.raises(ExceptionGroup, match="1 of 2 branches failed: 'b'"):
        build(settle()).invoke({"log": []})


def test_policies_are_checked() -> None:
    with pytest.raises(ValueError, match="from 1; found 0"):
        quorum(0)
    graph = StateGraph(State).add_node("a", lambda state: {}).add_node("b", lambda state: {})
    with pytest.raises(ConfigurationError, match=r"such as quorum\(2\)"):
        graph.add_edge(START, ["a", "b"], policy="quorum")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="needs to know its branches"):
        graph.add_conditional_edges(START, lambda state: "a", policy=quorum(1))
    graph.add_edge(START, ["a", "b"], policy=quorum(1))
    with pytest.raises(ConfigurationError, match="two fan-outs"):
        graph.add_edge("a", ["b"], policy=settle())
