"""A conversation with graphs in graphs that keep histories of their own, and a host that carries it on after a crash.

Each graph counts what it has seen, so a step that is lost, or taken twice, shows in the values.
"""

from __future__ import annotations

import operator
from collections.abc import Generator
from typing import Annotated, Any, TypedDict

from stategraph import START, Command, StateGraph, interrupt

THREAD: dict[str, Any] = {"configurable": {"thread_id": "t"}}
TURNS = ("one", "two")


class Outer(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    said: str
    rounds: int


class Keeping(TypedDict, total=False):
    seen: Annotated[list[str], operator.add]
    said: str


class Passing(TypedDict, total=False):
    said: str


def build(saver: Any = None, *, asynchronous: bool = False) -> Any:
    """Build the conversation.

    In each turn two rounds go through a node that is a graph with a history, in which an ordinary graph asks something
    and calls another one with a history; then a function calls one more with a history twice.
    """
    deep = _chain(Keeping, True, note=_note, tell=_tell)
    plain = _chain(Passing, None, ask=_ask, deeper=_calls(deep, 1, asynchronous))
    keeper = _chain(Keeping, True, note=_note, plain=plain, tell=_tell)
    called = _chain(Keeping, True, note=_note, tell=_tell)
    builder = StateGraph(Outer)
    builder.add_node("begin", lambda state: {"rounds": 0})
    builder.add_node("keeper", keeper)
    builder.add_node("heard", lambda state: {"log": [state["said"]], "rounds": state["rounds"] + 1})
    builder.add_node("twice", _calls(called, 2, asynchronous))
    builder.add_node("end", lambda state: {"log": [state["said"]]})
    builder.add_edge(START, "begin")
    builder.add_edge("begin", "keeper")
    builder.add_edge("keeper", "heard")
    builder.add_conditional_edges("heard", lambda state: "keeper" if state["rounds"] < 2 else "twice")
    builder.add_edge("twice", "end")
    return builder.compile(checkpointer=saver)


def _chain(schema: type, checkpointer: bool | None, **nodes: Any) -> Any:
    builder = StateGraph(schema)
    builder.add_sequence(list(nodes.items()))
    builder.add_edge(START, next(iter(nodes)))
    return builder.compile(checkpointer=checkpointer)


def _note(state: Keeping) -> Keeping:
    return {"seen": [state["said"]]}


def _tell(state: Keeping) -> Keeping:
    return {"said": f"{state['said']} {len(state['seen'])}"}


def _ask(state: Passing) -> Passing:
    return {"said": state["said"] + interrupt("really?")} if state["said"] == "two" else {}


def _calls(graph: Any, times: int, asynchronous: bool) -> Any:
    def call(state: Passing) -> Passing:
        said = [graph.invoke({"said": f"{state['said']}/{number}"})["said"] for number in range(times)]
        return {"said": ",".join(said)}

    async def acall(state: Passing) -> Passing:
        said = [(await graph.ainvoke({"said": f"{state['said']}/{number}"}))["said"] for number in range(times)]
        return {"said": ",".join(said)}

    return acall if asynchronous else call


def carried_on() -> Generator[tuple[str, Any], Any, dict[str, Any]]:
    """Bring the conversation to its end, as a host does that does not know where it stopped.

    Yields:
        Methods of the graph, each with what it is called with if it runs the graph. Is sent what they return.

    Returns:
        The values in the end.
    """
    for _ in range(60):
        state = yield "get_state", None
        waiting = [turn for turn in TURNS if turn not in state.values.get("log", ())]
        if state.interrupts:
            yield "invoke", Command(resume={question.id: "!" for question in state.interrupts})
        elif (yield "has_work_left", None):
            yield "invoke", None
        elif waiting:
            yield "invoke", {"log": [waiting[0]], "said": waiting[0]}
        else:
            return dict(state.values)
    raise AssertionError("the conversation does not come to an end")


def converse(graph: Any, durability: str) -> dict[str, Any]:
    """Bring the conversation to its end; returns the values."""
    host = carried_on()
    found: Any = None
    while True:
        try:
            method, given = host.send(found)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        found = (
            graph.invoke(given, THREAD, durability=durability) if method == "invoke" else getattr(graph, method)(THREAD)
        )


async def aconverse(graph: Any, durability: str) -> dict[str, Any]:
    """Bring the conversation to its end; returns the values."""
    host = carried_on()
    found: Any = None
    while True:
        try:
            method, given = host.send(found)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        if method == "invoke":
            found = await graph.ainvoke(given, THREAD, durability=durability)
        else:
            found = await getattr(graph, "a" + method)(THREAD)
