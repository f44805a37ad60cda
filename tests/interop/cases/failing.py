"""Threads left behind by a failure: what succeeded beside it must not run again."""

from __future__ import annotations

import operator
import time
from typing import Annotated, Any

from kit import Case, case, effect, first_time
from langgraph.errors import NodeError
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, RetryPolicy, Send, interrupt
from typing_extensions import TypedDict

# Long enough for the writes of a task that ended at once to reach the saver before its neighbour fails.
HEAD_START_S = 0.1


class Log(TypedDict):
    """A state that shows the order of things."""

    log: Annotated[list[str], operator.add]


class Job(TypedDict):
    """What one sent task gets."""

    number: int


def note(name: str) -> Any:
    """A node that notes its name."""

    def node(state: Any) -> dict[str, Any]:
        effect(name)
        return {"log": [name]}

    return node


def fails_once(name: str) -> Any:
    """A node that fails the first time it runs on a thread, a little later than others would end."""

    def node(state: Any) -> dict[str, Any]:
        effect(name)
        if first_time(name):
            time.sleep(HEAD_START_S)
            raise ValueError(f"{name} failed")
        return {"log": [name]}

    return node


@case
def failure_in_a_chain() -> Case:
    builder = StateGraph(Log)
    builder.add_sequence([("a", note("a")), ("b", fails_once("b")), ("c", note("c"))])
    builder.add_edge(START, "a")
    return Case(
        builder.compile,
        [
            lambda thread: thread.fails({"log": ["in"]}),
            lambda thread: thread.run(None),
            lambda thread: thread.run({"log": ["again"]}),
        ],
    )


@case
def failure_beside_a_finished_task() -> Case:
    builder = StateGraph(Log)
    for name, node in (("good", note("good")), ("bad", fails_once("bad")), ("join", note("join"))):
        builder.add_node(name, node)
    builder.add_edge(START, "good")
    builder.add_edge(START, "bad")
    builder.add_edge(["good", "bad"], "join")
    return Case(
        builder.compile,
        [lambda thread: thread.fails({"log": ["in"]}), lambda thread: thread.run(None)],
    )


@case
def failure_beside_a_finished_task_durability_exit() -> Case:
    builder = StateGraph(Log)
    for name, node in (("first", note("first")), ("good", note("good")), ("bad", fails_once("bad"))):
        builder.add_node(name, node)
    builder.add_edge(START, "first")
    builder.add_edge("first", "good")
    builder.add_edge("first", "bad")
    return Case(
        builder.compile,
        [lambda thread: thread.fails({"log": ["in"]}), lambda thread: thread.run(None)],
        durability="exit",
    )


@case
def failure_among_sent_tasks() -> Case:
    def build(checkpointer: Any) -> Any:
        def job(state: Job) -> dict[str, Any]:
            return (fails_once if state["number"] == 2 else note)(f"job {state['number']}")(state)

        builder = StateGraph(Log)
        builder.add_node("job", job)
        builder.add_node("end", note("end"))
        builder.add_conditional_edges(START, lambda _: [Send("job", {"number": n}) for n in range(4)], ["job"])
        builder.add_edge("job", "end")
        return builder.compile(checkpointer=checkpointer)

    return Case(build, [lambda thread: thread.fails({"log": ["in"]}), lambda thread: thread.run(None)])


@case
def failure_then_new_input() -> Case:
    builder = StateGraph(Log)
    builder.add_sequence([("a", note("a")), ("b", fails_once("b"))])
    builder.add_edge(START, "a")
    return Case(
        builder.compile,
        [lambda thread: thread.fails({"log": ["in"]}), lambda thread: thread.run({"log": ["fresh"]})],
    )


@case
def failure_in_a_subgraph() -> Case:
    inner = StateGraph(Log)
    inner.add_sequence([("one", note("one")), ("two", fails_once("two")), ("three", note("three"))])
    inner.add_edge(START, "one")
    builder = StateGraph(Log)
    builder.add_sequence([("before", note("before")), ("sub", inner.compile()), ("after", note("after"))])
    builder.add_edge(START, "before")
    return Case(builder.compile, [lambda thread: thread.fails({"log": ["in"]}), lambda thread: thread.run(None)])


@case
def failure_beside_a_question() -> Case:
    def asks(state: Log) -> dict[str, Any]:
        effect("asks")
        return {"log": [f"answer {interrupt('name?')}"]}

    builder = StateGraph(Log)
    for name, node in (("asks", asks), ("bad", fails_once("bad")), ("join", note("join"))):
        builder.add_node(name, node)
    builder.add_edge(START, "asks")
    builder.add_edge(START, "bad")
    builder.add_edge(["asks", "bad"], "join")
    return Case(
        builder.compile,
        [
            lambda thread: thread.fails({"log": ["in"]}),
            lambda thread: thread.run(None),
            lambda thread: thread.run(Command(resume="Kim")),
        ],
    )


@case
def failure_of_a_router() -> Case:
    """The router behind a node that changes nothing.

    Behind one that does, LangGraph takes the node for done and never asks the router again, which an issue of theirs
    calls a bug.
    """

    def quiet(state: Log) -> dict[str, Any]:
        effect("a")
        return {}

    def route(state: Log) -> str:
        effect("route")
        if first_time("route"):
            raise ValueError("no idea where to go")
        return "b"

    builder = StateGraph(Log)
    builder.add_node("a", quiet)
    builder.add_node("b", note("b"))
    builder.add_edge(START, "a")
    builder.add_conditional_edges("a", route, ["b"])
    return Case(builder.compile, [lambda thread: thread.fails({"log": ["in"]}), lambda thread: thread.run(None)])


@case
def retries_then_fails_then_works() -> Case:
    def shaky(state: Log) -> dict[str, Any]:
        effect("shaky")
        if first_time("one") or first_time("two"):
            raise ValueError("not yet")
        return {"log": ["shaky"]}

    policy = RetryPolicy(max_attempts=2, initial_interval=0.001, jitter=False, retry_on=ValueError)
    builder = StateGraph(Log)
    builder.add_node("shaky", shaky, retry_policy=policy)
    builder.add_node("after", note("after"))
    builder.add_edge(START, "shaky")
    builder.add_edge("shaky", "after")
    return Case(builder.compile, [lambda thread: thread.fails({"log": ["in"]}), lambda thread: thread.run(None)])


def _always_fails(state: Log) -> dict[str, Any]:
    effect("always fails")
    raise ValueError("always")


@case
def error_handler_then_breakpoint() -> Case:
    def handler(state: Log, error: NodeError) -> Command[str]:
        effect("handler")
        return Command(update={"log": [f"{error.node}: {error.error}"]}, goto="rescue")

    builder = StateGraph(Log)
    builder.add_node("bad", _always_fails, error_handler=handler)
    builder.add_node("rescue", note("rescue"))
    builder.add_node("after", note("after"))
    builder.add_edge(START, "bad")
    builder.add_edge("rescue", "after")
    return Case(
        builder.compile,
        [
            lambda thread: thread.run({"log": ["in"]}, interrupt_before=["rescue"]),
            lambda thread: thread.run(None, interrupt_after=["rescue"]),
            lambda thread: thread.run(None),
        ],
    )


@case
def error_handler_beside_a_failure() -> Case:
    """The handler has done its work when its neighbour fails.

    How often the handler runs is not compared: LangGraph runs it again on resume, which an issue of theirs calls a bug.
    """

    def handler(state: Log, error: NodeError) -> dict[str, Any]:
        return {"log": [f"handled {error.node}"]}

    builder = StateGraph(Log)
    builder.add_node("handled", _always_fails, error_handler=handler)
    builder.add_node("bad", fails_once("bad"))
    builder.add_node("join", note("join"))
    builder.add_edge(START, "handled")
    builder.add_edge(START, "bad")
    builder.add_edge("bad", "join")
    return Case(builder.compile, [lambda thread: thread.fails({"log": ["in"]}), lambda thread: thread.run(None)])


@case
def error_handler_that_asks() -> Case:
    def handler(state: Log, error: NodeError) -> dict[str, Any]:
        effect("handler")
        return {"log": [f"handled with {interrupt('what now?')}"]}

    builder = StateGraph(Log)
    builder.add_node("bad", _always_fails, error_handler=handler)
    builder.add_node("after", note("after"))
    builder.add_edge(START, "bad")
    builder.add_edge("bad", "after")
    builder.add_edge("after", END)
    return Case(
        builder.compile,
        [lambda thread: thread.run({"log": ["in"]}), lambda thread: thread.run(Command(resume="carry on"))],
    )
