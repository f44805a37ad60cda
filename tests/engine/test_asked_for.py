"""Programs of those who asked for what LangGraph has not, by their threads: LG is LangGraph, JS its twin.

Scheduling and fan-outs are in `tests/dataflow`. `docs/features.md` lists all.
"""

from __future__ import annotations

import asyncio
import operator
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import (
    START,
    Command,
    GraphLimits,
    HotResume,
    Migration,
    NodeLimits,
    Send,
    StateGraph,
    interrupt,
)
from stategraph.errors import GraphRecursionError, IgnoredInputError
from stategraph.prebuilt.react_agent import create_react_agent
from stategraph.testing import ScriptedChatModel, call, reply
from tests.conftest import Driver

THREAD: Any = {"configurable": {"thread_id": "1"}}


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]


# -- questions ----------------------------------------------------------------------


def test_lg_6208_a_node_that_asked_is_not_executed_again_for_the_answer_to_another_one() -> None:
    began: list[str] = []
    hot = HotResume()

    def asks(name: str) -> Any:
        def node(state: State) -> Any:
            began.append(name)
            return {"log": [(yield name)]}

        return hot(node)

    builder = StateGraph(State).add_node("one", asks("one")).add_node("two", asks("two"))
    graph = builder.add_edge(START, "one").add_edge(START, "two").compile(InMemorySaver())
    ids = {each.value: each.id for each in graph.invoke({"log": []}, THREAD)["__interrupt__"]}
    (question,) = graph.invoke(Command(resume={ids["one"]: "yes"}), THREAD)["__interrupt__"]
    assert question.id == ids["two"]
    assert graph.invoke(Command(resume={ids["two"]: "no"}), THREAD)["log"] == ["yes", "no"]
    assert sorted(began) == ["one", "two"]


def test_lg_6208_lg_5952_a_node_with_two_questions_runs_once() -> None:
    began: list[str] = []

    @HotResume()
    def node(state: State) -> Any:
        began.append("node")
        first = yield "first?"
        second = yield "second?"
        return {"log": [first, second]}

    graph = StateGraph(State).add_node("node", node).add_edge(START, "node").compile(InMemorySaver())
    first = graph.invoke({"log": []}, THREAD)["__interrupt__"][0]
    second = graph.invoke(Command(resume={first.id: 1}), THREAD)["__interrupt__"][0]
    assert (first.value, second.value) == ("first?", "second?")
    assert first.id != second.id
    assert graph.invoke(Command(resume={second.id: 2}), THREAD)["log"] == [1, 2]
    assert began == ["node"]


# -- versions ------------------------------------------------------------------------


class Old(TypedDict, total=False):
    name: str
    log: Annotated[list[str], operator.add]


class New(TypedDict, total=False):
    title: str
    log: Annotated[list[str], operator.add]


def of_version(version: str, schema: Any, node: str, saver: Any, **options: Any) -> Any:
    builder = StateGraph(schema)
    builder.add_node(node, lambda state: {"log": [f"{node} of {version}: {interrupt('?')}"]})
    builder.add_node("end", lambda state: {"log": [f"{version}: {state.get('title', state.get('name'))}"]})
    return builder.add_edge(START, node).add_edge(node, "end").compile(saver, version=version, **options)


def test_docs_3546_a_renamed_key_keeps_its_value_in_threads_that_exist(driver: Driver) -> None:
    saver = InMemorySaver()
    driver.invoke(of_version("1", Old, "ask", saver), {"name": "Ada", "log": []}, THREAD)
    graph = of_version("2", New, "ask", saver, migrations=[Migration("1", "2", keys={"name": "title"})])
    assert driver.invoke(graph, Command(resume="yes"), THREAD)["log"] == ["ask of 2: yes", "2: Ada"]


def test_docs_3843_a_thread_in_flight_is_not_given_what_is_new_in_a_release(driver: Driver) -> None:
    """The page has to recommend a flag in the state and a branch in the graph; here the version is pinned."""
    saver = InMemorySaver()
    old = of_version("1", Old, "ask", saver)
    driver.invoke(old, {"name": "Ada", "log": []}, THREAD)
    graph = of_version("2", Old, "ask", saver, migrations=[Migration("1", "2")], pinned={"1": old})
    assert driver.invoke(graph, Command(resume="yes"), THREAD)["log"] == ["ask of 1: yes", "1: Ada"]
    other: Any = {"configurable": {"thread_id": "2"}}
    driver.invoke(graph, {"name": "Bob", "log": []}, other)
    assert driver.invoke(graph, Command(resume="yes"), other)["log"] == ["ask of 2: yes", "2: Bob"]


def test_js_2608_a_chain_of_migrations_brings_a_thread_up_when_it_is_loaded(driver: Driver) -> None:
    saver = InMemorySaver()
    driver.invoke(of_version("1", Old, "ask", saver), {"name": "Ada", "log": []}, THREAD)
    chain = [
        Migration("2", "3", nodes={"ask": "approve"}),
        Migration("1", "2", state=lambda values: {"title": values.pop("name").upper(), **values}),
    ]
    graph = of_version("3", New, "approve", saver, migrations=chain)
    state = driver.get_state(graph, THREAD)
    assert (state.values["title"], state.next) == ("ADA", ("approve",))
    assert all("title" in each.values for each in driver.history(graph, THREAD) if each.values.get("title"))
    driver.update_state(graph, THREAD, {"log": ["edited"]}, as_node="approve")
    assert driver.invoke(graph, None, THREAD)["log"] == ["edited", "3: ADA"]


# -- limits ---------------------------------------------------------------------------


def rounds(saver: Any = None) -> Any:
    """Return a graph that never ends by itself."""
    builder = StateGraph(State).add_node("work", lambda state: {"log": [f"{len(state['log'])}"]})
    return builder.add_edge(START, "work").add_conditional_edges("work", lambda state: "work").compile(saver)


def test_lg_148_a_run_that_goes_round_ends_with_what_it_has_and_can_be_gone_on_with(driver: Driver) -> None:
    graph = rounds(InMemorySaver())
    limits = GraphLimits(steps=3, on_limit="return_partial")
    assert driver.invoke(graph, {"log": []}, THREAD, control=limits)["log"] == ["0", "1", "2"]
    assert limits.reached is not None
    again = GraphLimits(steps=2, on_limit="return_partial")
    more = driver.invoke(graph, None, THREAD, control=again)["log"]
    assert more == [str(number) for number in range(len(more))]
    assert len(more) > 3
    assert again.reached is not None


@tool
def search(topic: str) -> str:
    """Search for a topic."""
    return f"notes about {topic}"


@pytest.mark.filterwarnings("ignore:create_react_agent has been moved")
def test_lg_5548_an_agent_that_is_out_of_steps_can_be_told_from_one_that_has_answered(driver: Driver) -> None:
    """It has an apology of its own for its last step; whoever wants to know learns it from the limits."""

    def agent(saver: Any = None) -> Any:
        model = ScriptedChatModel(replies=[reply(call("search", topic="tides")) for _ in range(9)])
        return create_react_agent(model, [search], checkpointer=saver)

    question: Any = {"messages": [("user", "Why are there tides?")]}
    limits = GraphLimits(steps=4, on_limit="return_partial")
    result = driver.invoke(agent(), question, control=limits)
    assert result["messages"][-1].content == "Sorry, need more steps to process this request."
    # One step less than that, and it is a limit like any other: an error, the messages so far, or a question.
    for steps in (1, 3):
        with pytest.raises(GraphRecursionError):
            driver.invoke(agent(), question, control=GraphLimits(steps=steps))


# -- concurrency --------------------------------------------------------------------------


class Peak:
    """Counts how many work at a time."""

    def __init__(self) -> None:
        self.now = self.most = 0

    async def node(self, job: Any) -> Any:
        self.now += 1
        self.most = max(self.most, self.now)
        for _ in range(5):
            await asyncio.sleep(0)
        self.now -= 1
        return {"log": [job]}


def fan_out(peak: Peak, limits: NodeLimits | None = None, **options: Any) -> Any:
    builder = StateGraph(State).add_node("plan", lambda state: {}).add_node("work", peak.node, limits=limits)
    builder.add_conditional_edges("plan", lambda state: [Send("work", f"{n}") for n in range(8)], ["work"])
    return builder.add_edge(START, "plan").compile(**options)


def test_lg_8920_a_limit_where_it_has_no_effect_is_refused_by_a_strict_graph() -> None:
    wrong: Any = {"configurable": {"max_concurrency": 2}}
    peak = Peak()
    asyncio.run(fan_out(peak).ainvoke({"log": []}, wrong))
    assert peak.most == 8  # as in LangGraph
    with pytest.raises(IgnoredInputError, match="'max_concurrency' inside of 'configurable' has no effect"):
        asyncio.run(fan_out(Peak(), strict=True).ainvoke({"log": []}, wrong))
    peak = Peak()
    asyncio.run(fan_out(peak, strict=True).ainvoke({"log": []}, {"max_concurrency": 2}))
    assert peak.most == 2


def test_lg_8944_a_fan_out_has_a_limit_that_no_config_can_miss() -> None:
    peak = Peak()
    graph = fan_out(peak, NodeLimits(concurrency=2))
    assert len(asyncio.run(graph.ainvoke({"log": []}, {"configurable": {"max_concurrency": 8}}))["log"]) == 8
    assert peak.most == 2
