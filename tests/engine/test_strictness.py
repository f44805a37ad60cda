"""Strict graphs: what has no effect is an error in a sentence; without strictness it is ignored, as on LangGraph."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from stategraph.constants import END, START
from stategraph.engine.tasks.interrupts import interrupt
from stategraph.errors import IgnoredInputError
from stategraph.graph.func import entrypoint, task
from stategraph.graph.state import StateGraph
from stategraph.types import Command, Send

if TYPE_CHECKING:
    from tests.conftest import Driver

THREAD: Any = {"configurable": {"thread_id": "1"}}


class State(TypedDict, total=False):
    n: int
    note: str


def build(node: Any = None, *, strict: bool | None = True, saver: Any = None, nested: bool = False) -> Any:
    builder = StateGraph(State).add_node("a", node or (lambda _: {"n": 1})).add_node("b", lambda _: {"note": "x"})
    graph = builder.add_edge(START, "a").compile(checkpointer=None if nested else saver, strict=strict)
    if not nested:
        return graph
    return StateGraph(State).add_node("inner", graph).add_edge(START, "inner").compile(checkpointer=saver, strict=False)


def elsewhere() -> Any:
    return {"configurable": {"thread_id": "1", "checkpoint_id": "1f0-not-there"}}


Call = Callable[["Driver", Any], Any]

CALLS: dict[str, tuple[Any, Call, str]] = {
    "a mode in a list": (
        None,
        lambda d, g: d.stream(g, {"n": 0}, THREAD, stream_mode=["values", "update"]),
        r"Stream mode 'update' would be ignored\. Did you mean 'updates'\?",
    ),
    "a printed mode": (
        None,
        lambda d, g: d.invoke(g, {"n": 0}, THREAD, print_mode=["value"]),
        r"Stream mode 'value' would be ignored\. Did you mean 'values'\?",
    ),
    "a durability": (
        None,
        lambda d, g: d.invoke(g, {"n": 0}, THREAD, durability="asink"),
        r"Durability 'asink' would be ignored\. Did you mean 'async'\?",
    ),
    "a place to pause before": (
        None,
        lambda d, g: d.invoke(g, {"n": 0}, THREAD, interrupt_before=["c"]),
        "interrupt_before node 'c' would be ignored",
    ),
    "a place to pause after": (
        None,
        lambda d, g: d.invoke(g, {"n": 0}, THREAD, interrupt_after=["aa"]),
        r"interrupt_after node 'aa' would be ignored\. Did you mean 'a'\?",
    ),
    "a key of the input": (
        None,
        lambda d, g: d.invoke(g, {"n": 0, "nots": "x"}, THREAD),
        r"Update key 'nots' would be ignored\. Did you mean 'note'\?.* It came as input",
    ),
    "a key of an update": (
        lambda _: {"m": 1},
        lambda d, g: d.invoke(g, {"n": 0}, THREAD),
        r"Update key 'm' would be ignored.* It was written by node 'a'",
    ),
    "a key of a node's command": (
        lambda _: Command(update={"m": 1}),
        lambda d, g: d.invoke(g, {"n": 0}, THREAD),
        "Update key 'm' would be ignored.* It was written by node 'a'",
    ),
    "a key of a caller's command": (
        None,
        lambda d, g: (d.invoke(g, {"n": 0}, THREAD), d.invoke(g, Command(update={"m": 1}), THREAD)),
        "The input wrote to 'm', which is no channel of this graph",
    ),
    "a key of an edit": (
        None,
        lambda d, g: d.update_state(g, THREAD, {"m": 1}, as_node="a"),
        "Update key 'm' would be ignored",
    ),
    "a jump": (
        lambda _: Command(goto="bb"),
        lambda d, g: d.invoke(g, {"n": 0}, THREAD),
        r"Node 'a' goes to 'bb', which is no node of this graph: ignored\. Did you mean 'b'\?",
    ),
    "a packet": (
        lambda _: Command(goto=Send("bb", {})),
        lambda d, g: d.invoke(g, {"n": 0}, THREAD),
        "A Send to 'bb' is ignored",
    ),
    "an answer": (
        None,
        lambda d, g: (d.invoke(g, {"n": 0}, THREAD), d.invoke(g, Command(resume="yes"), THREAD)),
        "answers nothing: no interrupt of the thread waits",
    ),
    "a checkpoint to look at": (
        None,
        lambda d, g: d.get_state(g, elsewhere()),
        "Thread '1' has no checkpoint '1f0-not-there'",
    ),
    "a checkpoint to start from": (
        None,
        lambda d, g: d.invoke(g, {"n": 0}, elsewhere()),
        "Thread '1' has no checkpoint '1f0-not-there'",
    ),
    "a checkpoint to edit": (
        None,
        lambda d, g: d.update_state(g, elsewhere(), {"n": 1}, as_node="a"),
        "Thread '1' has no checkpoint '1f0-not-there'",
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_strict_graph_refuses_what_has_no_effect(driver: Driver, name: str) -> None:
    node, call, words = CALLS[name]
    with pytest.raises(IgnoredInputError, match=words):
        call(driver, build(node, saver=InMemorySaver()))


@pytest.mark.parametrize("name", CALLS)
def test_other_graphs_ignore_it(driver: Driver, name: str) -> None:
    node, call, _ = CALLS[name]
    call(driver, build(node, strict=False, saver=InMemorySaver()))


def test_a_durability_without_a_checkpointer_is_refused(driver: Driver) -> None:
    with pytest.raises(IgnoredInputError, match="durability='sync' has no effect: the graph has no checkpointer"):
        driver.invoke(build(), {"n": 0}, durability="sync")


@pytest.mark.parametrize(
    "node", [lambda _: {"m": 1}, lambda _: Command(goto="bb"), lambda _: Command(goto=Send("bb", 1))]
)
@pytest.mark.parametrize("saver", [None, InMemorySaver()])
def test_a_strict_graph_in_another_graph_refuses_as_well(driver: Driver, node: Any, saver: Any) -> None:
    with pytest.raises(IgnoredInputError):
        driver.invoke(build(node, saver=saver, nested=True), {"n": 0}, THREAD)


def test_the_environment_makes_graphs_and_entrypoints_strict(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATEGRAPH_STRICT", "true")

    @task
    def double(n: int) -> int:
        return 2 * n

    @entrypoint()
    def flow(n: int) -> int:
        return double(n).result()

    assert flow.strict
    assert driver.invoke(flow, 2) == 4
    for graph in (flow, build(strict=None), build(strict=None).with_config(tags=["x"])):
        with pytest.raises(IgnoredInputError, match="Stream mode 'value' would be ignored"):
            driver.stream(graph, {"n": 1}, stream_mode=["value"])
    assert driver.stream(build(strict=False), {"n": 0}, stream_mode=["value"]) == []


def test_an_entrypoint_can_be_strict_by_itself(driver: Driver) -> None:
    @entrypoint(checkpointer=InMemorySaver(), strict=True)
    def flow(n: int) -> int:
        return n

    with pytest.raises(IgnoredInputError, match="has no checkpoint"):
        driver.invoke(flow, 1, elsewhere())
    driver.invoke(flow, 1, THREAD)
    with pytest.raises(IgnoredInputError, match="answers nothing"):
        driver.invoke(flow, Command(resume=1), THREAD)


def test_a_strict_graph_takes_all_that_has_an_effect(driver: Driver) -> None:
    class Model(BaseModel):
        name: str = Field(alias="theName", default="")
        answer: str = ""

    def ask(state: Model) -> Any:
        return Command(update={"answer": interrupt(state.name)}, goto=END)

    builder = StateGraph(Model).add_node("ask", ask).add_node("before", lambda _: None)
    graph = builder.add_edge(START, "before").add_edge("before", "ask").compile(InMemorySaver(), strict=True)
    modes = ["values", "updates", "messages", "custom", "tasks", "checkpoints", "debug"]
    driver.stream(
        graph,
        {"theName": "Ada"},
        THREAD,
        stream_mode=modes,
        durability="sync",
        interrupt_before=["ask"],
        subgraphs=True,
    )
    driver.invoke(graph, None, THREAD)
    assert driver.get_state(graph, THREAD).interrupts[0].value == "Ada"
    stored = driver.get_state(graph, THREAD).config
    assert driver.get_state(graph, stored).next == ("ask",)
    assert driver.invoke(graph, Command(resume="yes"), THREAD)["answer"] == "yes"


def test_the_event_stream_of_a_strict_graph_needs_no_mode_of_its_own() -> None:
    run = build().stream_events({"n": 0}, version="v3")
    assert run.output == {"n": 1}
