"""Updates from outside in the middle of branches: nothing of what the others did is lost, and nothing runs twice."""

from __future__ import annotations

import asyncio
import operator
from collections import Counter
from typing import Annotated, Any, TypedDict

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import START, Command, InvalidUpdateError, NodeError, Send, StateGraph, interrupt
from stategraph.core.channels import DeltaChannel
from tests.conftest import Driver
from tests.dataflow.flow_kit import THREAD, Plan, Program, Recorder, plans
from tests.properties import examples


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]


class Trial:
    """Nodes that note that they ran; those called `ask...` wait for an answer.

    Attributes:
        ran: Their names, in the order of the ends.
        graph: The builder.
    """

    def __init__(self, *names: str, schema: Any = State) -> None:
        self.ran: list[str] = []
        self.graph = StateGraph(schema)
        for name in names:
            self.graph.add_node(name, self.node(name))

    def node(self, name: str) -> Any:
        def node(state: Any) -> Any:
            entry = f"{name}: {interrupt(name)} of {len(state['log'])}" if name.startswith("ask") else name
            self.ran.append(name)
            return {"log": [entry]}

        return node

    def edges(self, *edges: str) -> Trial:
        for edge in edges:
            *starts, end = edge.split()
            names = [START if start == "-" else start for start in starts]
            self.graph.add_edge(names if len(names) > 1 else names[0], end)
        return self

    def compile(self, saver: Any = None, **options: Any) -> Any:
        return self.graph.compile(saver or InMemorySaver(), scheduling="dataflow", **options)


def branches() -> Trial:
    """Two questions beside a chain a, b, c; `join` behind all."""
    trial = Trial("ask", "ask2", "a", "b", "c", "join")
    return trial.edges("- ask", "- ask2", "- a", "a b", "b c", "c join", "ask join", "ask2 join")


def test_an_update_as_a_node_that_waits_stands_for_it_and_the_others_stay(driver: Driver) -> None:
    trial = branches()
    graph = trial.compile()
    driver.invoke(graph, {"log": []}, THREAD)
    driver.update_state(graph, THREAD, {"log": ["edited"]}, as_node="ask")
    state = driver.get_state(graph, THREAD)
    assert state.values["log"] == ["a", "b", "c", "edited"]
    assert "ask2" in state.next
    assert "ask" not in state.next
    assert state.metadata["source"] == "update"
    (question,) = driver.invoke(graph, None, THREAD)["__interrupt__"]
    assert question.value == "ask2"
    result = driver.invoke(graph, Command(resume="yes"), THREAD)["log"]
    assert result == ["a", "b", "c", "edited", "ask2: yes of 4", "join"]
    assert trial.ran == ["a", "b", "c", "ask2", "join"]


def test_an_update_as_the_node_that_ended_last_is_for_all_branches(driver: Driver) -> None:
    """Nobody is named: it is the one that wrote last, and those that wait see the update."""
    trial = branches()
    graph = trial.compile()
    driver.invoke(graph, {"log": []}, THREAD)
    driver.update_state(graph, THREAD, {"log": ["edited"]})
    assert driver.get_state(graph, THREAD).values["log"] == ["a", "b", "c", "edited"]
    ids = {each.value: each.id for each in driver.invoke(graph, None, THREAD)["__interrupt__"]}
    answers = {ids["ask"]: "yes", ids["ask2"]: "no"}
    result = driver.invoke(graph, Command(resume=answers), THREAD)["log"]
    assert result == ["a", "b", "c", "edited", "ask: yes of 4", "ask2: no of 4", "join"]
    assert trial.ran[:3] == ["a", "b", "c"]


def test_who_wrote_last_may_not_be_clear(driver: Driver) -> None:
    trial = Trial("ask", "a", "b").edges("- ask", "- a", "- b")
    graph = trial.compile()
    driver.invoke(graph, {"log": []}, THREAD)
    with pytest.raises(InvalidUpdateError, match="Ambiguous update"):
        driver.update_state(graph, THREAD, {"log": ["edited"]})
    driver.update_state(graph, THREAD, {"log": ["edited"]}, as_node="a")
    assert driver.get_state(graph, THREAD).values["log"] == ["a", "b", "edited"]
    assert driver.get_state(graph, THREAD).next == ("ask",)


def test_an_update_as_a_node_before_the_branches_begins_those_that_it_leads_to_anew(driver: Driver) -> None:
    """As with a barrier; a branch that it has nothing to do with keeps what it has done."""
    trial = Trial("plan", "other", "ask", "a", "b", "x", "y").edges("- plan", "- other", "plan ask", "plan a", "a b")
    trial.edges("other x", "x y")
    graph = trial.compile()
    driver.invoke(graph, {"log": []}, THREAD)
    assert Counter(trial.ran) == Counter(["plan", "other", "a", "b", "x", "y"])
    driver.update_state(graph, THREAD, {"log": ["edited"]}, as_node="plan")
    state = driver.get_state(graph, THREAD)
    assert sorted(state.values["log"]) == ["edited", "other", "plan", "x", "y"]
    assert state.next == ("a", "ask")
    (question,) = driver.invoke(graph, None, THREAD)["__interrupt__"]
    assert question.value == "ask"
    assert Counter(trial.ran) == Counter(["plan", "other", "a", "b", "x", "y", "a", "b"])


def test_an_update_as_a_node_behind_one_that_waits_goes_on_there(driver: Driver) -> None:
    trial = Trial("ask", "then", "last", "a", "ask2").edges("- ask", "ask then", "then last", "- a", "a ask2")
    graph = trial.compile()
    driver.invoke(graph, {"log": []}, THREAD)
    driver.update_state(graph, THREAD, {"log": ["edited"]}, as_node="then")
    state = driver.get_state(graph, THREAD)
    assert (state.values["log"], state.next) == (["a", "edited"], ("ask2", "last"))
    driver.invoke(graph, None, THREAD)
    result = driver.invoke(graph, Command(resume="yes"), THREAD)["log"]
    assert sorted(result) == ["a", "ask2: yes of 2", "edited", "last"]
    assert sorted(trial.ran) == ["a", "ask2", "last"]


def test_an_update_of_an_earlier_state_begins_there(driver: Driver) -> None:
    trial = branches()
    graph = trial.compile()
    driver.invoke(graph, {"log": []}, THREAD)
    before = driver.get_state(graph, THREAD).config
    driver.update_state(graph, before, {"log": ["edited"]}, as_node="ask")  # it is the newest: as without its id
    assert driver.get_state(graph, THREAD).values["log"] == ["a", "b", "c", "edited"]
    driver.update_state(graph, before, {"log": ["back"]}, as_node="ask")
    assert driver.get_state(graph, THREAD).values["log"] == ["back"]


def test_several_updates_at_once_and_one_after_the_other(driver: Driver) -> None:
    for apart in (False, True):
        trial = branches()
        graph = trial.compile()
        driver.invoke(graph, {"log": []}, THREAD)
        if apart:
            driver.update_state(graph, THREAD, {"log": ["one"]}, as_node="ask")
            driver.update_state(graph, THREAD, {"log": ["two"]}, as_node="ask2")
        else:
            from stategraph.types import StateUpdate

            both = [StateUpdate({"log": ["one"]}, "ask"), StateUpdate({"log": ["two"]}, "ask2")]
            graph.bulk_update_state(THREAD, [both])
        assert driver.invoke(graph, None, THREAD)["log"] == ["a", "b", "c", "one", "two", "join"]
        assert trial.ran == ["a", "b", "c", "join"]


def test_packets_that_have_not_ended_are_sent_again(driver: Driver) -> None:
    ran: list[str] = []

    def work(state: Any) -> Any:
        if state["key"] != "x":
            interrupt(state["key"])
        ran.append(state["key"])
        return {"log": [state["key"]]}

    trial = Trial("plan", "ask", "reduce").edges("- plan", "- ask")
    trial.graph.add_node("work", work).add_edge("work", "reduce")
    trial.graph.add_conditional_edges("plan", lambda state: [Send("work", {"key": key}) for key in "xyz"], ["work"])
    graph = trial.compile()
    driver.invoke(graph, {"log": []}, THREAD)
    driver.update_state(graph, THREAD, {"log": ["edited"]}, as_node="ask")
    state = driver.get_state(graph, THREAD)
    assert state.values["log"] == ["plan", "x", "edited"]
    assert state.next == ("work", "work")
    driver.update_state(graph, THREAD, {"log": ["for y"]}, as_node="work")
    (question,) = driver.invoke(graph, None, THREAD)["__interrupt__"]
    assert question.value == "z"
    result = driver.invoke(graph, Command(resume="go on"), THREAD)["log"]
    assert result == ["plan", "x", "edited", "for y", "z", "reduce"]
    assert ran == ["x", "z"]


def test_a_node_whose_failure_was_handled_by_a_question_runs_again(driver: Driver) -> None:
    ran: list[str] = []

    def fail(state: State) -> Any:
        ran.append("fail")
        raise ValueError("away")

    def handle(state: State, error: NodeError) -> Any:
        return {"log": [f"{error.node}: {interrupt('what now?')}"]}

    trial = Trial("ask", "a").edges("- ask", "- a")
    trial.graph.add_node("fail", fail, error_handler=handle).add_edge(START, "fail")
    graph = trial.compile()
    driver.invoke(graph, {"log": []}, THREAD)
    driver.update_state(graph, THREAD, {"log": ["edited"]}, as_node="ask")
    (question,) = driver.invoke(graph, None, THREAD)["__interrupt__"]
    assert question.value == "what now?"
    assert driver.invoke(graph, Command(resume="go on"), THREAD)["log"] == ["a", "edited", "fail: go on"]
    assert trial.ran == ["a"]


def test_a_deferred_node_still_waits_for_everything(driver: Driver) -> None:
    trial = Trial("ask", "ask2", "a").edges("- ask", "- ask2", "- a")
    trial.graph.add_node("late", trial.node("late"), defer=True).add_edge("a", "late")
    graph = trial.compile()
    driver.invoke(graph, {"log": []}, THREAD)
    driver.update_state(graph, THREAD, {"log": ["edited"]}, as_node="ask")
    assert "late" not in driver.get_state(graph, THREAD).next
    driver.invoke(graph, None, THREAD)
    result = driver.invoke(graph, Command(resume="yes"), THREAD)["log"]
    assert result == ["a", "edited", "ask2: yes of 2", "late"]


def extended(state: list[str], writes: Any) -> list[str]:
    return [*state, *(entry for write in writes for entry in write)]


class Deltas(TypedDict, total=False):
    log: Annotated[list[str], DeltaChannel(extended, list)]


@pytest.mark.parametrize("durability", ["sync", "exit"])
def test_delta_channels_come_back_in_order(driver: Driver, durability: Any) -> None:
    trial = Trial("ask", "a", "b", "c", "join", schema=Deltas)
    trial.edges("- ask", "- a", "a b", "b c", "c join", "ask join")
    saver = InMemorySaver()
    driver.invoke(trial.compile(saver), {"log": []}, THREAD, durability=durability)
    driver.update_state(trial.compile(saver), THREAD, {"log": ["edited"]}, as_node="ask")
    assert driver.get_state(trial.compile(saver), THREAD).values["log"] == ["a", "b", "c", "edited"]
    assert driver.invoke(trial.compile(saver), None, THREAD)["log"] == ["a", "b", "c", "edited", "join"]
    assert driver.get_state(trial.compile(saver), THREAD).values["log"] == ["a", "b", "c", "edited", "join"]


def test_with_a_barrier_an_update_is_what_it_is_in_langgraph(driver: Driver) -> None:
    trial = branches()
    graph = trial.graph.compile(InMemorySaver())
    driver.invoke(graph, {"log": []}, THREAD)
    driver.update_state(graph, THREAD, {"log": ["edited"]}, as_node="ask")
    assert driver.get_state(graph, THREAD).values["log"] == ["edited"]


def _names(log: list[str]) -> Counter[str]:
    return Counter(entry.partition("(")[0] for entry in log)


@given(plan=plans(), seed=st.integers(0, 999), cut=st.floats(0, 1), pick=st.integers(0, 9))
@examples(150)
def test_an_update_in_the_place_of_any_task_after_a_crash_at_any_point_changes_nothing_else(
    plan: Plan, seed: int, cut: float, pick: int
) -> None:
    """Programs without routers and single arrivals: their nodes do not depend on what they see."""
    plan = Plan(plan.count, plan.edges, plan.joins, {}, plan.sends, frozenset(), plan.defer)
    saver = Recorder()
    whole = asyncio.run(Program(plan, seed).compile(checkpointer=saver).ainvoke({"log": []}, THREAD, durability="sync"))
    assume(len(saver.calls) > 2)
    number = 2 + round(cut * (len(saver.calls) - 2))
    left = saver.after(number)
    program = Program(plan, seed + 1)
    graph = program.compile(checkpointer=left)
    state = graph.get_state(THREAD)
    open_ = [task for task in state.tasks if task.result is None and task.name.startswith("n")]
    assume(open_)
    task = open_[pick % len(open_)]
    graph.update_state(THREAD, {"log": [f"{task.name}(edited)"]}, as_node=task.name, task_id=task.id)
    assert _names(graph.get_state(THREAD).values["log"]) == _names([*state.values["log"], f"{task.name}(edited)"])
    again = asyncio.run(graph.ainvoke(None, THREAD))
    assert _names(again["log"]) == _names(whole["log"])
    assert len(program.ran) == len(whole["log"]) - len(state.values["log"]) - 1
