"""What both engines run under load: a chain of three nodes, and a node that streams a model's tokens."""

from __future__ import annotations

import operator
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from langchain_core.messages import HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from typing_extensions import TypedDict

from benchmarks.workloads.savers import saver_class
from benchmarks.workloads.tokens import Talker, graph_of

Run = Callable[[int], Awaitable[int]]
NAMES = ("first", "second", "third")


class Number(TypedDict):
    """The state: what each node added."""

    numbers: Annotated[list[int], operator.add]


def _builder(node: Any) -> Any:
    builder = StateGraph(Number)
    for before, name in zip((START, *NAMES), NAMES, strict=False):
        builder.add_node(name, node).add_edge(before, name)
    return builder.add_edge(NAMES[-1], END)


@asynccontextmanager
async def runs(saver: str) -> AsyncIterator[Run]:
    """Open the chain.

    Args:
        saver: "none", "memory", or "sqlite": the engine's own, on a file.

    Yields:
        A coroutine function that runs it once on a thread of that number, and returns how many nodes ran.
    """

    async def node(state: Number) -> Any:
        return {"numbers": [len(state["numbers"])]}

    async with AsyncExitStack() as exits:
        kept: Any = None
        if saver == "memory":
            kept = InMemorySaver()
        elif saver == "sqlite":
            folder = exits.enter_context(tempfile.TemporaryDirectory(prefix="stategraph-load-"))
            opening = saver_class("SqliteSaver", "sqlite", "async").from_conn_string(str(Path(folder) / "threads.db"))
            kept = await exits.enter_async_context(opening)
            await kept.setup()
        graph = _builder(node).compile(checkpointer=kept)

        async def run(number: int) -> int:
            config = {"configurable": {"thread_id": str(number)}}
            return len((await graph.ainvoke({"numbers": []}, config))["numbers"])

        yield run


def sync_runs() -> Callable[[int], int]:
    """Return a function that runs the chain once, by the sync API."""

    def node(state: Number) -> Any:
        return {"numbers": [len(state["numbers"])]}

    graph = _builder(node).compile()
    return lambda _: len(graph.invoke({"numbers": []})["numbers"])


def token_streams(tokens: int, apart_s: float) -> Callable[[], AsyncIterator[Any]]:
    """Return a function that streams a turn whose model sends so many tokens, so many seconds apart."""
    graph = graph_of(Talker(tokens=tokens, apart_s=apart_s), "async")
    question = [HumanMessage("hi?", id="human")]

    def stream() -> AsyncIterator[Any]:
        found: AsyncIterator[Any] = graph.astream({"messages": question}, stream_mode="messages")
        return found

    return stream
