"""Threads whose past is changed or visited: updates by hand, forks, replays, and questions asked again there."""

from __future__ import annotations

import operator
from typing import Annotated, Any

from kit import Case, case, effect
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Overwrite, StateUpdate, interrupt
from typing_extensions import TypedDict


class Log(TypedDict):
    """A state that shows the order of things."""

    log: Annotated[list[str], operator.add]
    last: str


def note(name: str) -> Any:
    """A node that notes its name."""

    def node(state: Log) -> dict[str, Any]:
        effect(name)
        return {"log": [name], "last": name}

    return node


def chain(**nodes: Any) -> StateGraph:
    """A chain of nodes."""
    builder = StateGraph(Log)
    builder.add_sequence(list(nodes.items()))
    builder.add_edge(START, next(iter(nodes)))
    return builder


def notes(*names: str) -> StateGraph:
    """A chain of noting nodes."""
    return chain(**{name: note(name) for name in names})


def asks(question: str) -> Any:
    """A node that asks."""

    def node(state: Log) -> dict[str, Any]:
        effect(question)
        return {"log": [f"{question} {interrupt(question)}"]}

    return node


@case
def update_then_continue() -> Case:
    return Case(
        notes("a", "b", "c").compile,
        [
            lambda thread: thread.run({"log": ["in"]}, interrupt_after=["a"]),
            lambda thread: thread.update({"log": ["by hand"], "last": "hand"}),
            lambda thread: thread.run(None, interrupt_after=["b"]),
            lambda thread: thread.update({"log": Overwrite(["all new"])}),
            lambda thread: thread.run(None),
        ],
    )


@case
def update_as_another_node() -> Case:
    return Case(
        notes("a", "b", "c").compile,
        [
            lambda thread: thread.run({"log": ["in"]}, interrupt_after=["a"]),
            lambda thread: thread.update({"log": ["as b"]}, as_node="b"),
            lambda thread: thread.run(None),
        ],
    )


@case
def update_of_a_thread_that_has_ended() -> Case:
    return Case(
        notes("a", "b").compile,
        [
            lambda thread: thread.run({"log": ["in"]}),
            lambda thread: thread.update({"log": ["late"]}, as_node="a"),
            lambda thread: thread.run(None),
        ],
    )


@case
def update_of_a_thread_that_has_not_begun() -> Case:
    return Case(
        notes("a", "b").compile,
        [
            lambda thread: thread.update({"log": ["early"]}, as_node="a"),
            lambda thread: thread.run(None),
            lambda thread: thread.run({"log": ["in"]}),
        ],
    )


@case
def update_as_input() -> Case:
    return Case(
        notes("a", "b").compile,
        [
            lambda thread: thread.update({"log": ["input"]}, as_node="__input__"),
            lambda thread: thread.run(None, interrupt_after=["a"]),
            lambda thread: thread.run(None),
        ],
    )


@case
def update_to_the_end() -> Case:
    return Case(
        notes("a", "b", "c").compile,
        [
            lambda thread: thread.run({"log": ["in"]}, interrupt_after=["a"]),
            lambda thread: thread.update(None, as_node=END),
            lambda thread: thread.run({"log": ["again"]}),
        ],
    )


@case
def update_of_several_supersteps() -> Case:
    return Case(
        notes("a", "b", "c").compile,
        [
            lambda thread: thread.bulk_update(
                [
                    [StateUpdate({"log": ["one"]}, "__input__")],
                    [StateUpdate({"log": ["two"], "last": "a"}, "a")],
                    [StateUpdate({"log": ["three"]}, "b")],
                ]
            ),
            lambda thread: thread.run(None),
        ],
    )


@case
def update_of_parallel_nodes() -> Case:
    builder = StateGraph(Log)
    for name in ("left", "right", "join"):
        builder.add_node(name, note(name) if name == "join" else lambda state, name=name: {"log": [name]})
    builder.add_edge(START, "left")
    builder.add_edge(START, "right")
    builder.add_edge(["left", "right"], "join")
    return Case(
        builder.compile,
        [
            lambda thread: thread.run({"log": ["in"]}, interrupt_before=["left", "right"]),
            lambda thread: thread.bulk_update(
                [[StateUpdate({"log": ["L"]}, "left"), StateUpdate({"log": ["R"]}, "right")]]
            ),
            lambda thread: thread.run(None),
        ],
    )


@case
def fork_from_an_older_checkpoint() -> Case:
    return Case(
        notes("a", "b", "c").compile,
        [
            lambda thread: thread.run({"log": ["in"]}),
            lambda thread: thread.update({"log": ["forked"]}, at=thread.checkpoint(1)),
            lambda thread: thread.run(None, interrupt_after=["b"]),
            lambda thread: thread.run(None),
        ],
    )


@case
def copy_of_an_older_checkpoint() -> Case:
    return Case(
        notes("a", "b", "c").compile,
        [
            lambda thread: thread.run({"log": ["in"]}),
            lambda thread: thread.update(None, as_node="__copy__", at=thread.checkpoint(1)),
            lambda thread: thread.run(None),
        ],
    )


@case
def replay_from_an_older_checkpoint() -> Case:
    return Case(
        notes("a", "b", "c").compile,
        [
            lambda thread: thread.run({"log": ["in"]}),
            lambda thread: thread.run(None, at=thread.checkpoint(1)),
            lambda thread: thread.run({"log": ["more"]}, at=thread.checkpoint(2)),
            lambda thread: thread.run({"log": ["at the end"]}),
        ],
    )


@case
def answered_question_is_asked_again_in_the_past() -> Case:
    return Case(
        chain(before=note("before"), ask=asks("name?"), after=note("after")).compile,
        [
            lambda thread: thread.run({"log": ["in"]}),
            lambda thread: thread.run(Command(resume="Kim")),
            lambda thread: thread.run(None, at=thread.checkpoint(1)),
            lambda thread: thread.run(Command(resume="Lee")),
        ],
    )


@case
def answer_given_to_the_past() -> Case:
    return Case(
        chain(before=note("before"), ask=asks("name?"), after=note("after")).compile,
        [
            lambda thread: thread.run({"log": ["in"]}),
            lambda thread: thread.run(Command(resume="Kim")),
            lambda thread: thread.run(Command(resume="Lee"), at=thread.checkpoint(1)),
        ],
    )


@case
def question_of_a_subgraph_in_the_past() -> Case:
    inner = chain(one=note("one"), ask=asks("inner?"), two=note("two")).compile()
    return Case(
        chain(before=note("before"), sub=inner, after=note("after")).compile,
        [
            lambda thread: thread.run({"log": ["in"]}),
            lambda thread: thread.run(Command(resume="first")),
            lambda thread: thread.run(None, at=thread.checkpoint(1)),
            lambda thread: thread.run(Command(resume="second")),
        ],
    )


@case
def update_of_a_waiting_subgraph() -> Case:
    inner = chain(one=note("one"), ask=asks("inner?"), two=note("two")).compile()

    def inside(thread: Any) -> Any:
        return thread.state(subgraphs=True).tasks[0].state

    return Case(
        chain(before=note("before"), sub=inner, after=note("after")).compile,
        [
            lambda thread: thread.run({"log": ["in"]}),
            lambda thread: thread.update({"log": ["put inside"]}, at=inside(thread)),
            lambda thread: thread.run(Command(resume="yes")),
        ],
    )


@case
def update_while_a_question_is_open() -> Case:
    return Case(
        chain(before=note("before"), ask=asks("name?"), after=note("after")).compile,
        [
            lambda thread: thread.run({"log": ["in"]}),
            lambda thread: thread.update({"log": ["meanwhile"]}),
            lambda thread: thread.run(None),
            lambda thread: thread.run(Command(resume="Kim")),
        ],
    )


@case
def two_forks_of_one_checkpoint() -> Case:
    return Case(
        notes("a", "b", "c").compile,
        [
            lambda thread: thread.run({"log": ["in"]}, interrupt_after=["a"]),
            lambda thread: thread.update({"log": ["left"]}, at=thread.checkpoint(1)),
            lambda thread: thread.run(None),
            lambda thread: thread.update({"log": ["right"]}, at=thread.checkpoint(1)),
            lambda thread: thread.run(None),
        ],
    )
