"""Threads that are kept: agents of many rounds, the n-th turn of a chat, a turn on a long thread, and their bytes.

Each engine uses its own saver (see `savers.py`): LangGraph the one that it is deployed with, ours the one of this
project.
"""

from __future__ import annotations

import operator
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import END, START, MessagesState, StateGraph
from typing_extensions import TypedDict

from benchmarks.workloads import agent
from benchmarks.workloads.base import LOOP, Timed, Workload
from benchmarks.workloads.runs import GraphRun
from benchmarks.workloads.savers import OURS, Opened, opened

ROUNDS = 100
LONG = 10_000
SAID, FOUND = "thinking about it " * 15, "something that was found " * 40
"""The texts of an agent whose answers have 270 bytes and whose results have 1,000."""

TURNS_A_SAMPLE, RUNS_AT_ONCE = 3, 20
THREAD = "thread"


def _data(messages: list[Any]) -> int:
    """Return the bytes of messages that are each stored once."""
    serializer = JsonPlusSerializer()
    return sum(len(serializer.dumps_typed(message)[1]) for message in messages)


# Agents.


def _agent(kind: str, durability: str) -> Callable[[str], Workload]:
    def build(variant: str) -> Workload:
        kept = opened(kind, variant)
        graph = agent.agent_loop(ROUNDS, variant, said=SAID, found=FOUND).compile(checkpointer=kept.saver)
        run = GraphRun(graph, agent.question, variant, options={"durability": durability}, thread_id=THREAD)
        forget = partial(kept.forget, THREAD)
        return Timed(run.work, lambda: {**run.describe(), "_saver": kept.name}, forget, close=kept.close)

    return build


def _agent_bytes(kind: str, *, delta: bool = False) -> Callable[[str], Workload]:
    """Store one run; its description is what is stored, and what its messages take by themselves.

    Args:
        kind: The saver.
        delta: Whether our engine stores messages as deltas, by its switch.
    """

    def build(variant: str) -> Workload:
        kept = opened(kind, variant)
        graph = agent.agent_loop(ROUNDS, variant, said=SAID, found=FOUND).compile(
            checkpointer=kept.saver, **_switch(delta)
        )
        run = GraphRun(graph, agent.question, variant, options={"durability": "async"}, thread_id=THREAD)

        def describe() -> dict[str, Any]:
            values: list[Any] = []
            run.drain(values.append, stream_mode="values")
            messages = values[-1]["messages"]
            return {"messages": len(messages), **_of_storage(kept, messages)}

        return Timed(run.work, describe, partial(kept.forget, THREAD), close=kept.close)

    return build


def _switch(delta: bool) -> dict[str, Any]:
    return {"delta_messages": True} if OURS and delta else {}


def _of_storage(kept: Opened, messages: list[Any]) -> dict[str, Any]:
    return {"_stored": kept.stored(), "_data": _data(messages), "_saver": kept.name}


# Chats.


class Thread:
    """A chat of one node on one thread; each turn adds a question and an answer."""

    def __init__(self, kept: Opened, variant: str, thread_id: str = THREAD, *, delta: bool = False) -> None:
        self._variant = variant
        self._config = {"configurable": {"thread_id": thread_id}}
        self.turns = 0

        def answer(state: dict[str, Any]) -> dict[str, Any]:
            number = len(state["messages"])
            return {"messages": [AIMessage(f"answer {number}", id=f"ai-{number}")]}

        async def aanswer(state: dict[str, Any]) -> dict[str, Any]:
            return answer(state)

        builder = StateGraph(MessagesState)
        builder.add_node("answer", aanswer if variant == "async" else answer)
        builder.add_edge(START, "answer").add_edge("answer", END)
        self.graph = builder.compile(checkpointer=kept.saver, **_switch(delta))

    def say(self, messages: list[Any]) -> dict[str, Any]:
        """Run one turn; returns the state."""
        given = {"messages": messages}
        if self._variant == "async":
            return LOOP.run(self.graph.ainvoke(given, self._config))
        return self.graph.invoke(given, self._config)

    def turn(self) -> dict[str, Any]:
        """Ask the next short question."""
        self.turns += 1
        return self.say([HumanMessage(f"question {self.turns}", id=f"human-{self.turns}")])


def _described(values: dict[str, Any]) -> dict[str, Any]:
    messages = values["messages"]
    return {"messages": len(messages), "last": [message.content for message in messages[-2:]]}


def _chat_turn(number: int, kind: str, *, delta: bool = False) -> Callable[[str], Workload]:
    """The n-th turn of a chat, and those after it."""

    def build(variant: str) -> Workload:
        kept = opened(kind, variant)
        thread = Thread(kept, variant, delta=delta)
        for _ in range(number - 1):
            thread.turn()

        def describe() -> dict[str, Any]:
            values = thread.turn()
            return {**_described(values), **_of_storage(kept, values["messages"])}

        return Timed(thread.turn, describe, iterations=TURNS_A_SAMPLE, close=kept.close)

    return build


# Long threads.


def _long(kept: Opened, variant: str) -> Thread:
    thread = Thread(kept, variant)
    thread.say([HumanMessage(f"message {number} " + "with words " * 5, id=f"old-{number}") for number in range(LONG)])
    return thread


def _long_turn(kind: str) -> Callable[[str], Workload]:
    """A turn on a long thread, in the process that served the turn before."""

    def build(variant: str) -> Workload:
        kept = opened(kind, variant)
        thread = _long(kept, variant)
        return Timed(thread.turn, lambda: _described(thread.turn()), iterations=TURNS_A_SAMPLE, close=kept.close)

    return build


def _long_fresh(variant: str) -> Workload:
    """Prepare a long thread in a folder; `once` does the turn, in a process that has not seen it."""
    folder = Path(tempfile.mkdtemp(prefix="stategraph-bench-"))
    kept = opened("sqlite", variant, folder)
    described = _described(_long(kept, variant).turn())
    kept.stored()  # so that everything is in one file
    kept.close()
    return Timed(lambda: None, lambda: {**described, "_folder": str(folder)}, close=lambda: shutil.rmtree(folder))


def _first_turn_elsewhere(variant: str, folder: Path) -> Timed:
    kept = opened("sqlite", variant, folder)
    Thread(kept, variant, "another").turn()  # what any first run loads is no part of it
    return Timed(Thread(kept, variant).turn, dict, close=kept.close)


# Short runs.


class Number(TypedDict):
    """The state of a short run."""

    numbers: Annotated[list[int], operator.add]


def _short_run(kind: str | None) -> Callable[[str], Workload]:
    """Three nodes in a row, called as a backend calls them."""

    def build(variant: str) -> Workload:
        kept = None if kind is None else opened(kind, variant)

        def one(state: dict[str, Any]) -> dict[str, Any]:
            return {"numbers": [len(state["numbers"])]}

        async def aone(state: dict[str, Any]) -> dict[str, Any]:
            return one(state)

        builder = StateGraph(Number)
        names = ["first", "second", "third"]
        for before, name in zip([START, *names], names, strict=False):
            builder.add_node(name, aone if variant == "async" else one).add_edge(before, name)
        graph = builder.add_edge("third", END).compile(checkpointer=kept and kept.saver)
        threads = [str(number) for number in range(RUNS_AT_ONCE)]

        def given(thread: str) -> tuple[Any, Any]:
            return {"numbers": []}, {"configurable": {"thread_id": thread}} if kept else {}

        async def in_turn() -> None:
            for thread in threads:
                await graph.ainvoke(*given(thread))

        def work() -> None:
            if variant == "async":
                LOOP.run(in_turn())
            else:
                for thread in threads:
                    graph.invoke(*given(thread))

        def describe() -> dict[str, Any]:
            if variant == "async":
                return {"result": LOOP.run(graph.ainvoke(*given("0")))}
            return {"result": graph.invoke(*given("0"))}

        if kept is None:
            return Timed(work, describe)
        return Timed(work, describe, partial(kept.forget, *threads), close=kept.close)

    return build


WORKLOADS: dict[str, Callable[[str], Workload]] = {
    "short_run": _short_run(None),
    "long_thread_fresh": _long_fresh,
    **{f"short_run_{kind}": _short_run(kind) for kind in ("memory", "sqlite")},
    **{
        f"agent_{kind}_{durability}": _agent(kind, durability)
        for kind in ("memory", "sqlite", "their_sqlite", "postgres")
        for durability in ("async", "sync")
    },
    "agent_delta_bytes": _agent_bytes("their_sqlite", delta=True),
    "chat_turn_800_delta": _chat_turn(800, "their_sqlite", delta=True),
    **{f"agent_{kind}_bytes": _agent_bytes(kind) for kind in ("memory", "sqlite")},
    **{
        f"chat_turn_{number}_{kind}": _chat_turn(number, kind)
        for kind in ("memory", "sqlite")
        for number in (10, 100, 400, 800)
    },
    **{f"long_thread_{kind}": _long_turn(kind) for kind in ("memory", "sqlite")},
}

ONCE: dict[str, Callable[[str, Path], Timed]] = {"long_thread_fresh": _first_turn_elsewhere}
"""Work that is done once, in a new process, on a folder that the workload of the same name prepared."""
