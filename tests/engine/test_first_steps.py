"""The first step of most runs only copies their input. If nothing is stored, it is taken with it: nobody sees that."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import END, START, Command, GraphRecursionError, StateGraph
from stategraph.constants import CONFIG_KEY_RESUMING
from stategraph.engine.config.runtime import RunControl
from stategraph.errors import GraphDrained, IgnoredInputError
from tests.conftest import Driver

THREAD: Any = {"configurable": {"thread_id": "thread"}}


def grown(old: list[str], new: list[str]) -> list[str]:
    if "bad" in new:
        raise ValueError("a reducer that refuses")
    return old + new


class State(TypedDict, total=False):
    log: Annotated[list[str], grown]
    total: Annotated[int, operator.add]


def note(name: str) -> Any:
    def node(_: State, config: RunnableConfig) -> State:
        step, conf = config["metadata"]["langgraph_step"], config["configurable"]
        return {"log": [f"{name}{step}{conf.get(CONFIG_KEY_RESUMING)}"]}

    return node


def graph(saver: Any, starts: tuple[str, ...] = ("a",), **options: Any) -> Any:
    builder = StateGraph(State)
    for name in ("a", "b", "c"):
        builder.add_node(name, note(name))
    for name in starts:
        builder.add_edge(START, name)
    return builder.add_edge("a", "c").compile(checkpointer=saver, **options)


@pytest.mark.parametrize("starts", [("a",), ("a", "b")], ids=["one", "two"])
@pytest.mark.parametrize("given", [{"log": ["in"], "total": 1}, {"log": ["in"], "unknown": 1}, {"unknown": 1}])
@pytest.mark.parametrize(
    "modes", ["values", "updates", ["values", "updates", "messages"], ["values", "tasks", "debug"]]
)
def test_nodes_and_readers_see_the_same_with_and_without_a_saver(
    driver: Driver, starts: tuple[str, ...], given: Any, modes: Any
) -> None:
    def shown(saver: Any) -> list[Any]:
        chunks = driver.stream(graph(saver, starts), given, THREAD, stream_mode=modes)
        plain = [chunk for chunk in chunks if isinstance(modes, str) or chunk[0] in ("values", "updates")]
        # Of nodes that run beside each other either may end first.
        return sorted(plain, key=repr) if len(starts) > 1 else plain

    assert shown(None) == shown(InMemorySaver())
    assert driver.invoke(graph(None, starts), given) == driver.invoke(graph(InMemorySaver(), starts), given, THREAD)


def test_a_command_as_input_is_no_copy(driver: Driver) -> None:
    unsaved, saved = (
        driver.invoke(graph(saver), Command(goto="b", update={"log": ["in"]}), THREAD)
        for saver in (None, InMemorySaver())
    )
    assert unsaved == saved
    assert "b1None" in unsaved["log"]


def test_a_run_that_is_asked_to_stop_before_it_begins_runs_nothing(driver: Driver) -> None:
    control = RunControl()
    control.request_drain("now")
    chunks: list[Any] = []
    with pytest.raises(GraphDrained, match="now"):
        chunks.extend(driver.stream(graph(None), {"log": ["in"]}, stream_mode="values", control=control))
    assert chunks == []


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_the_limit_of_steps_is_the_same(driver: Driver, limit: int) -> None:
    def ends(saver: Any) -> Any:
        try:
            return driver.invoke(graph(saver), {"log": []}, {**THREAD, "recursion_limit": limit})
        except GraphRecursionError as error:
            return str(error)

    assert ends(None) == ends(InMemorySaver())
    assert isinstance(ends(None), str) == (limit < 3)


def test_a_pause_before_it_is_kept(driver: Driver) -> None:
    whole = graph(InMemorySaver())
    assert driver.invoke(whole, {"log": ["in"]}, THREAD, interrupt_before="*") == {"log": ["in"], "total": 0}
    assert driver.get_state(whole, THREAD).next == ("a",)


def test_what_the_state_refuses_fails_the_run_in_the_same_words(driver: Driver) -> None:
    def refused(given: Any, saver: Any) -> str:
        with pytest.raises((ValueError, IgnoredInputError)) as error:
            driver.invoke(graph(saver, strict="unknown" in given), given, THREAD)
        return repr(error.value)

    for given in ({"log": ["bad"]}, {"log": [], "unknown": 1}):
        assert refused(given, None) == refused(given, InMemorySaver())


def test_a_graph_without_anything_after_it_ends(driver: Driver) -> None:
    builder = StateGraph(State).add_node("a", note("a")).add_conditional_edges(START, lambda _: END)
    assert driver.invoke(builder.compile(), {"log": ["in"]}) == {"log": ["in"], "total": 0}
