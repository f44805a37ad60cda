"""Runs that stop half-way: at a breakpoint, because of the consumer, the recursion limit, or a dead process."""

from __future__ import annotations

import operator
import os
from typing import Annotated, Any

from kit import Case, case, effect, first_time, register
from langgraph.graph import END, START, StateGraph
from typing_extensions import TypedDict


class Log(TypedDict):
    """A state that shows the order of things."""

    log: Annotated[list[str], operator.add]
    last: str


def note(name: str) -> Any:
    """A node that notes its name, and what it saw."""

    def node(state: Log) -> dict[str, Any]:
        effect(name)
        return {"log": [f"{name} after {state.get('last')}"], "last": name}

    return node


def chain(*names: str) -> StateGraph:
    """A chain of noting nodes."""
    builder = StateGraph(Log)
    before = START
    for name in names:
        builder.add_node(name, note(name))
        builder.add_edge(before, name)
        before = name
    builder.add_edge(before, END)
    return builder


@case
def breakpoints_after() -> Case:
    return Case(
        chain("a", "b", "c").compile,
        [
            lambda thread: thread.run({"log": ["in"]}, interrupt_after=["a"]),
            lambda thread: thread.run(None, interrupt_after=["b"]),
            lambda thread: thread.run(None),
        ],
    )


@case
def breakpoints_before_compiled_in() -> Case:
    def build(checkpointer: Any) -> Any:
        return chain("a", "b", "c").compile(checkpointer=checkpointer, interrupt_before=["b", "c"])

    return Case(
        build,
        [
            lambda thread: thread.run({"log": ["in"]}),
            lambda thread: thread.run(None),
            lambda thread: thread.run(None),
        ],
    )


@case
def breakpoints_everywhere() -> Case:
    return Case(
        chain("a", "b").compile,
        [
            lambda thread: thread.run({"log": []}, interrupt_before="*"),
            lambda thread: thread.run(None, interrupt_before="*"),
            lambda thread: thread.run(None, interrupt_after="*"),
            lambda thread: thread.run(None),
        ],
    )


def _durable(durability: str) -> Any:
    def factory() -> Case:
        return Case(
            chain("a", "b", "c", "d").compile,
            [
                lambda thread: thread.run({"log": ["in"]}, interrupt_after=["b"]),
                lambda thread: thread.run(None, interrupt_before=["d"]),
                lambda thread: thread.run(None),
                lambda thread: thread.run({"log": ["again"]}),
            ],
            durability=durability,
        )

    return factory


for _name in ("sync", "async", "exit"):
    register(f"durability_{_name}", _durable(_name))


@case
def consumer_leaves_after_values() -> Case:
    return Case(
        chain("a", "b", "c").compile,
        [
            lambda thread: thread.stream({"log": ["in"]}, mode="values", stop_after=2, durability="sync"),
            lambda thread: thread.stream(None, mode="values", stop_after=2, durability="sync"),
            lambda thread: thread.run(None),
        ],
    )


@case
def consumer_leaves_after_updates() -> Case:
    return Case(
        chain("a", "b", "c").compile,
        [
            lambda thread: thread.stream({"log": ["in"]}, mode="updates", stop_after=2, durability="sync"),
            lambda thread: thread.stream(None, mode="updates"),
        ],
    )


@case
def recursion_limit() -> Case:
    def build(checkpointer: Any) -> Any:
        builder = chain("a", "b")
        builder.add_node("again", note("again"))
        builder.add_conditional_edges("b", lambda state: "again" if len(state["log"]) < 9 else END, ["again", END])
        builder.add_edge("again", "a")
        return builder.compile(checkpointer=checkpointer)

    return Case(
        build,
        [
            lambda thread: thread.fails({"log": []}, config={"recursion_limit": 2}),
            lambda thread: thread.fails(None, config={"recursion_limit": 3}),
            lambda thread: thread.run(None),
        ],
    )


@case
def process_dies_in_a_node() -> Case:
    def build(checkpointer: Any) -> Any:
        def dies(state: Log) -> dict[str, Any]:
            if first_time("death"):
                os._exit(7)
            return note("dies")(state)

        builder = chain("a", "b")
        builder.add_node("dies", dies)
        builder.add_node("after", note("after"))
        builder.add_edge("b", "dies")
        builder.add_edge("dies", "after")
        return builder.compile(checkpointer=checkpointer)

    return Case(
        build,
        [
            lambda thread: thread.run({"log": ["in"]}),
            lambda thread: thread.run(None),
            lambda thread: thread.run({"log": ["more"]}),
        ],
        durability="sync",
    )


@case
def conversation() -> Case:
    return Case(
        chain("a", "b").compile,
        [
            lambda thread: thread.run({"log": ["one"]}),
            lambda thread: thread.run({"log": ["two"]}),
            lambda thread: thread.run({"log": ["three"]}, interrupt_after=["a"]),
            lambda thread: thread.run({"log": ["four"]}),
        ],
    )


@case
def metadata_of_the_caller() -> Case:
    return Case(
        chain("a", "b").compile,
        [
            lambda thread: thread.run(
                {"log": ["one"]},
                config={"metadata": {"user": "kim", "attempt": 1}, "tags": ["x"], "configurable": {"flavour": "mild"}},
                interrupt_after=["a"],
            ),
            lambda thread: thread.run(None, config={"metadata": {"user": "lee"}}),
        ],
    )
