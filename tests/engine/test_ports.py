"""Ports of the engine that tests put implementations of their own behind, and what a run keeps of its graph."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.memory import InMemoryStore

from stategraph import START, Send, StateGraph, task
from stategraph.core.effects import TasksPlanned, ValuesChanged
from stategraph.core.settings import UNHEARD, Watch
from stategraph.core.task import Draft
from stategraph.engine.config import environment
from stategraph.engine.config.environment import SYSTEM
from tests.conftest import Driver
from tests.engine.runners import InPlace


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]


@task
def shout(word: str) -> str:
    return word.upper()


def fan_out(saver: Any = None) -> Any:
    builder = StateGraph(State)
    builder.add_node("first", lambda state: {"log": ["first"]})
    builder.add_node("worker", lambda packet: {"log": [shout(packet).result()]})
    builder.add_node("last", lambda state: {"log": ["last"]})
    builder.add_edge(START, "first")
    builder.add_conditional_edges("first", lambda state: [Send("worker", "a"), Send("worker", "b")])
    builder.add_edge("worker", "last")
    return builder.compile(checkpointer=saver)


def test_tasks_of_a_step_and_the_functions_they_call_run_on_the_runner_of_the_environment() -> None:
    runner = InPlace()
    with environment.use(SYSTEM._replace(runner=runner)):
        result = fan_out().invoke({"log": []})
    assert result["log"] == ["first", "A", "B", "last"]
    assert runner.started == 3  # the first worker goes on with the second one, and each calls a function


class Noting:
    """Keeps the facts of one run."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.numbers: list[int] = []
        self.facts: list[str] = []

    def take(self, number: int, fact: Any, /) -> None:
        self.numbers.append(number)
        if isinstance(fact, TasksPlanned):
            self.facts.append(f"planned {sorted(each.name for each in fact.tasks)}")
        elif isinstance(fact, ValuesChanged):
            self.facts.append("values")
        else:
            name = "Draft" if isinstance(fact, Draft) else type(fact).__name__
            self.facts.append(f"{name} {fact.task.name}" if hasattr(fact, "task") else name)


@pytest.mark.parametrize("watch", [UNHEARD._replace(values=True, ended=True), Watch(True, True, True, False)])
@pytest.mark.parametrize("saver", [None, InMemorySaver()], ids=["nothing stored", "stored"])
def test_a_sink_hears_the_facts_of_a_run_in_order_and_numbered_without_gaps(
    driver: Driver, watch: Watch, saver: Any
) -> None:
    builder = StateGraph(State)
    builder.add_sequence([("one", lambda state: {"log": ["one"]}), ("two", lambda state: {"log": ["two"]})])
    builder.add_edge(START, "one")
    graph: Any = builder.compile(checkpointer=saver)
    sinks: dict[str, Noting] = {}

    def facts(ns: str) -> Noting:
        return sinks.setdefault(ns, Noting(watch))

    config: Any = {"configurable": {"thread_id": f"{driver} {watch}"}}
    with environment.use(SYSTEM._replace(facts=facts)):
        driver.invoke(graph, {"log": []}, config)
    sink = sinks[""]
    assert sink.numbers == list(range(len(sink.facts)))
    ends = [fact.split()[-1] for fact in sink.facts if "TaskSettled" in fact or "Draft" in fact]
    assert ends == ["one", "two"]
    assert sink.facts.count("values") >= 2
    assert [fact for fact in sink.facts if "planned" in fact][-2:] == (
        ["planned ['one']", "planned ['two']"] if watch.planned else []
    )


def test_runs_share_one_record_of_their_graph_until_an_attribute_is_set(driver: Driver) -> None:
    graph = fan_out()
    spec = graph.spec
    driver.invoke(graph, {"log": []})
    assert graph.spec is spec
    store = InMemoryStore()
    graph.store = store
    graph.interrupt_before_nodes = ["last"]
    assert graph.spec is not spec
    assert (graph.spec.store, graph.spec.interrupt_before) == (store, ["last"])
    graph.checkpointer = InMemorySaver()
    config: Any = {"configurable": {"thread_id": "t"}}
    assert driver.invoke(graph, {"log": []}, config)["log"] == ["first", "A", "B"]
    assert driver.get_state(graph, config).next == ("last",)
