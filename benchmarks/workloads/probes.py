"""How the cost of one step grows with things that step has nothing to do with, and with the width of a fan-out."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable
from typing import Annotated, Any

from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Send
from typing_extensions import TypedDict

from benchmarks.workloads.agent import counting_handler
from benchmarks.workloads.base import Difference, Timed, Workload
from benchmarks.workloads.runs import GraphRun, whole_run

LONG, SHORT = 120, 20


class Counting(TypedDict):
    """A state whose steps write one key."""

    count: int
    until: int


class Talking(TypedDict):
    """A state whose steps append one message."""

    messages: Annotated[list, add_messages]
    until: int


class Jobs(TypedDict):
    """A state that collects what parallel tasks did."""

    width: int
    done: Annotated[list[int], operator.add]


def _step(function: Callable[[dict[str, Any]], Any], variant: str) -> Callable[..., Any]:
    if variant == "sync":
        return function

    async def step(state: dict[str, Any]) -> Any:
        return function(state)

    return step


def _ring(schema: type, step: Callable[..., Any], done: Callable[[dict[str, Any]], bool], idle_nodes: int) -> Any:
    """Two nodes in turn, each with a router, beside nodes that never run."""
    builder = StateGraph(schema)
    builder.add_node("ping", step)
    builder.add_node("pong", step)
    for number in range(idle_nodes):
        builder.add_node(f"idle_{number}", step)
        builder.add_edge(f"idle_{number}", END)
    builder.add_edge(START, "ping")
    for here, there in (("ping", "pong"), ("pong", "ping")):
        builder.add_conditional_edges(here, lambda state, there=there: END if done(state) else there, [there, END])
    return builder.compile()


def _per_step(graph: Any, given: Callable[[int], dict[str, Any]], variant: str) -> Difference:
    def run(steps: int) -> Timed:
        return whole_run(GraphRun(graph, lambda: given(steps), variant, options={"stream_mode": "updates"}))

    return Difference(run(LONG), run(SHORT), LONG - SHORT)


def _listened_to(**how: Any) -> Callable[[str], Workload]:
    """A step whose chunks somebody reads, or whose events somebody hears.

    Args:
        **how: "stream_mode", or "handlers", the number of callback handlers, which count what they are told.
    """

    def build(variant: str) -> Workload:
        step = _step(lambda state: {"count": state["count"] + 1}, variant)
        graph = _ring(Counting, step, lambda state: state["count"] >= state["until"], 0)
        kind = AsyncCallbackHandler if variant == "async" else BaseCallbackHandler
        config = {"callbacks": [counting_handler(Counter(), kind) for _ in range(how.get("handlers", 0))]}
        options = {"stream_mode": how.get("stream_mode", "updates")}

        def run(steps: int) -> Timed:
            return whole_run(GraphRun(graph, {"count": 0, "until": steps}, variant, config, options))

        return Difference(run(LONG), run(SHORT), LONG - SHORT)

    return build


def _idle_nodes(count: int) -> Callable[[str], Workload]:
    def build(variant: str) -> Workload:
        step = _step(lambda state: {"count": state["count"] + 1}, variant)
        graph = _ring(Counting, step, lambda state: state["count"] >= state["until"], count)
        return _per_step(graph, lambda steps: {"count": 0, "until": steps}, variant)

    return build


def _idle_keys(count: int) -> Callable[[str], Workload]:
    """The idle keys hold values, and the nodes ask for the whole state."""

    def build(variant: str) -> Workload:
        idle = {f"idle_{number}": number for number in range(count)}
        schema = TypedDict("Wide", {"count": int, "until": int, **dict.fromkeys(idle, int)})
        step = _step(lambda state: {"count": state["count"] + 1}, variant)
        graph = _ring(schema, step, lambda state: state["count"] >= state["until"], 0)
        return _per_step(graph, lambda steps: {"count": 0, "until": steps, **idle}, variant)

    return build


def _messages(count: int) -> Callable[[str], Workload]:
    def build(variant: str) -> Workload:
        before = [HumanMessage(f"message {number}", id=f"old-{number}") for number in range(count)]
        new = [AIMessage("noted", id=f"new-{number}") for number in range(LONG + 1)]
        step = _step(lambda state: {"messages": [new[len(state["messages"]) - count]]}, variant)
        graph = _ring(Talking, step, lambda state: len(state["messages"]) - count >= state["until"], 0)
        return _per_step(graph, lambda steps: {"messages": list(before), "until": steps}, variant)

    return build


def _fan_out(width: int) -> Callable[[str], Workload]:
    """One router that sends ``width`` tasks; the cost is that of one of them."""

    def build(variant: str) -> Workload:
        builder = StateGraph(Jobs)
        builder.add_node("job", _step(lambda state: {"done": [state["number"]]}, variant))
        builder.add_conditional_edges(
            START, lambda state: [Send("job", {"number": number}) for number in range(state["width"])], ["job"]
        )
        builder.add_edge("job", END)
        graph = builder.compile()

        def run(tasks: int) -> Timed:
            return whole_run(GraphRun(graph, lambda: {"width": tasks, "done": []}, variant))

        return Difference(run(width), run(1), width - 1)

    return build


WORKLOADS: dict[str, Callable[[str], Workload]] = {
    **{f"step_with_{count}_idle_nodes": _idle_nodes(count) for count in (0, 1000)},
    **{f"step_with_{count}_idle_keys": _idle_keys(count) for count in (0, 500)},
    **{f"step_with_{count}_messages": _messages(count) for count in (10, 10_000)},
    "step_with_values_mode": _listened_to(stream_mode=["values", "updates"]),
    "step_with_messages_mode": _listened_to(stream_mode=["values", "updates", "messages"]),
    **{f"step_with_{count}_handlers": _listened_to(handlers=count) for count in (1, 2, 5)},
    **{f"task_of_fan_out_{width}": _fan_out(width) for width in (10, 100, 1000)},
}
