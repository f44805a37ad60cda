"""The plain agent loop: a stub for the model, a tool node and a router, and what is commonly put around it.

The stub and the tool make their messages anew in every call, as a real model and a real tool do. That is two or three
percent of LangGraph's time for the loop, so it bounds the ratio that any engine can reach (see the floor).
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from typing_extensions import TypedDict

from benchmarks.workloads.base import Timed, Workload
from benchmarks.workloads.runs import GraphRun, forget_threads, stored_bytes, until_first_event, whole_run

ROUNDS = 100


class Chat(TypedDict):
    """The state of the loop."""

    messages: Annotated[list, add_messages]


def _answer(messages: Sequence[Any], rounds: int, said: str = "") -> AIMessage:
    """What the stub says: a tool call in every round, then a last answer."""
    turn = len(messages) // 2
    if turn == rounds:
        return AIMessage("done", id="ai-last")
    call = {"id": f"call-{turn}", "name": "look_up", "args": {"query": f"question {turn}"}}
    return AIMessage(said, id=f"ai-{turn}", tool_calls=[call])


def _results(messages: Sequence[Any], found: str = "") -> list[ToolMessage]:
    """What the tool says to the calls of the last message."""
    calls = messages[-1].tool_calls
    return [
        ToolMessage(f"result of {call['id']}{found}", id=f"tool-{call['id']}", tool_call_id=call["id"])
        for call in calls
    ]


def agent_loop(rounds: int, variant: str, schema: type = Chat, *, said: str = "", found: str = "") -> StateGraph:
    """Build the loop: ``rounds`` tool calls and a last answer, so ``2 * rounds + 1`` supersteps.

    Args:
        rounds: how many tool calls.
        variant: "async" or "sync" nodes.
        schema: the state.
        said: the text beside each call.
        found: more text of each result.
    """

    def llm(state: dict[str, Any]) -> dict[str, Any]:
        return {"messages": [_answer(state["messages"], rounds, said)]}

    def tools(state: dict[str, Any]) -> dict[str, Any]:
        return {"messages": _results(state["messages"], found)}

    async def allm(state: dict[str, Any]) -> dict[str, Any]:
        return llm(state)

    async def atools(state: dict[str, Any]) -> dict[str, Any]:
        return tools(state)

    def route(state: dict[str, Any]) -> str:
        return "tools" if state["messages"][-1].tool_calls else END

    builder = StateGraph(schema)
    builder.add_node("llm", allm if variant == "async" else llm)
    builder.add_node("tools", atools if variant == "async" else tools)
    builder.add_edge(START, "llm")
    builder.add_conditional_edges("llm", route, ["tools", END])
    builder.add_edge("tools", "llm")
    return builder


def question() -> dict[str, Any]:
    """The input of a run."""
    return {"messages": [HumanMessage("hi?", id="human")]}


def _plain(variant: str) -> Workload:
    return whole_run(GraphRun(agent_loop(ROUNDS, variant).compile(), question, variant))


def _plain_first_event(variant: str) -> Workload:
    return until_first_event(GraphRun(agent_loop(ROUNDS, variant).compile(), question, variant))


def _with_saver(durability: str) -> Callable[[str], Workload]:
    def build(variant: str) -> Workload:
        saver = InMemorySaver()
        graph = agent_loop(ROUNDS, variant).compile(checkpointer=saver)
        run = GraphRun(graph, question, variant, options={"durability": durability})
        timed = whole_run(run, saver)

        def describe() -> dict[str, Any]:
            return {**run.describe(), "_stored": stored_bytes(saver)}

        return Timed(timed.work, describe, timed.reset)

    return build


def _floor(variant: str) -> Workload:
    """The same node functions called by hand: what no engine can go below."""

    def by_hand() -> list[Any]:
        messages: list[Any] = question()["messages"]
        while True:
            messages = [*messages, _answer(messages, ROUNDS)]
            if not messages[-1].tool_calls:
                return messages
            messages = [*messages, *_results(messages)]

    return Timed(by_hand, lambda: {"messages": len(by_hand())})


def counting_handler(counts: Counter[str], kind: type) -> Any:
    """A handler of the given base class that counts the events it is told.

    One that inherits its methods is no measure: our engine knows that these do nothing.
    """
    names = ("on_chain_start", "on_chain_end", "on_chain_error", "on_custom_event")

    def sync_method(name: str) -> Any:
        def method(self: Any, *args: Any, **kwargs: Any) -> None:
            counts[name] += 1

        return method

    def async_method(name: str) -> Any:
        async def method(self: Any, *args: Any, **kwargs: Any) -> None:
            counts[name] += 1

        return method

    make = async_method if kind is AsyncCallbackHandler else sync_method
    return type("Counting", (kind,), {name: make(name) for name in names})()


def _with_handler(*, kind: type | None = None) -> Callable[[str], Workload]:
    def build(variant: str) -> Workload:
        base = kind or (AsyncCallbackHandler if variant == "async" else BaseCallbackHandler)
        graph = agent_loop(ROUNDS, variant).compile()
        counts: Counter[str] = Counter()
        run = GraphRun(graph, question, variant, config={"callbacks": [counting_handler(counts, base)]})

        def describe() -> dict[str, Any]:
            counts.clear()
            return {**run.describe(), "events": dict(sorted(counts.items()))}

        return Timed(run.work, describe)

    return build


def _extend(current: list[Any], writes: Sequence[Any]) -> list[Any]:
    """A batch reducer for delta channels: append everything that was written."""
    longer = list(current)
    for write in writes:
        longer.extend(write)
    return longer


def _schema(storage: str) -> type:
    if storage == "full":
        return TypedDict("FullChat", {"messages": Annotated[list, operator.add]})
    from langgraph.channels import DeltaChannel

    # No snapshot falls into the measured rounds: their size would hide whether the rest is linear.
    return TypedDict("DeltaChat", {"messages": Annotated[list, DeltaChannel(_extend, snapshot_frequency=10_000)]})


def _stored(storage: str, rounds: int) -> Callable[[str], Workload]:
    """Runs the loop on a saver; its description is the number of bytes stored."""

    def build(variant: str) -> Workload:
        saver = InMemorySaver()
        graph = agent_loop(rounds, variant, _schema(storage)).compile(checkpointer=saver)
        run = GraphRun(graph, question, variant, options={"durability": "sync"})

        def describe() -> dict[str, Any]:
            run.work()
            return {"_stored": stored_bytes(saver)}

        return Timed(run.work, describe, forget_threads(saver))

    return build


WORKLOADS: dict[str, Callable[[str], Workload]] = {
    "plain_loop_100": _plain,
    "plain_loop_100_floor": _floor,
    "plain_loop_100_first_event": _plain_first_event,
    **{f"plain_loop_100_saver_{mode}": _with_saver(mode) for mode in ("async", "sync", "exit")},
    "plain_loop_100_handler": _with_handler(),
    "plain_loop_100_sync_handler": _with_handler(kind=BaseCallbackHandler),
    **{f"stored_{kind}_{n}": _stored(kind, n) for kind in ("full", "delta") for n in (25, 50, 100)},
}
