"""Threads that wait for an answer: one question or several, in parallel tasks, in subgraphs, asked again on replay."""

from __future__ import annotations

import operator
from typing import Annotated, Any

from kit import Case, case, effect
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send, interrupt
from typing_extensions import TypedDict


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


def asks(*questions: Any) -> Any:
    """A node that asks its questions one after the other and notes the answers."""

    def node(state: Any) -> dict[str, Any]:
        effect(f"asks {questions[0]}")
        return {"log": [f"{question}: {interrupt(question)}" for question in questions]}

    return node


def around(asking: Any, *, name: str = "ask") -> StateGraph:
    """Something that asks, between two nodes that do not."""
    builder = StateGraph(Log)
    builder.add_node("before", note("before"))
    builder.add_node(name, asking)
    builder.add_node("after", note("after"))
    builder.add_edge(START, "before")
    builder.add_edge("before", name)
    builder.add_edge(name, "after")
    builder.add_edge("after", END)
    return builder


def side_by_side(**nodes: Any) -> StateGraph:
    """Nodes that run in one superstep, and one that runs when all of them are done."""
    builder = StateGraph(Log)
    builder.add_node("join", note("join"))
    for name, node in nodes.items():
        builder.add_node(name, node)
        builder.add_edge(START, name)
    builder.add_edge(list(nodes), "join")
    builder.add_edge("join", END)
    return builder


@case
def one_question() -> Case:
    return Case(
        around(asks("name?")).compile,
        [lambda thread: thread.run({"log": ["in"]}), lambda thread: thread.run(Command(resume="Kim"))],
    )


@case
def one_question_with_a_structured_answer() -> Case:
    return Case(
        around(asks({"type": "form", "fields": ["a", "b"]})).compile,
        [
            lambda thread: thread.run({"log": ["in"]}),
            lambda thread: thread.run(Command(resume={"a": [1, 2], "b": None})),
        ],
    )


@case
def three_questions_in_one_node() -> Case:
    return Case(
        around(asks("first?", "second?", "third?")).compile,
        [
            lambda thread: thread.run({"log": ["in"]}),
            lambda thread: thread.run(Command(resume="1")),
            lambda thread: thread.run(Command(resume="2")),
            lambda thread: thread.run(Command(resume="3")),
        ],
    )


@case
def question_left_open_for_a_while() -> Case:
    """Running without an answer only asks again."""
    return Case(
        around(asks("name?")).compile,
        [
            lambda thread: thread.run({"log": ["in"]}),
            lambda thread: thread.run(None),
            lambda thread: thread.run(None),
            lambda thread: thread.run(Command(resume="Kim")),
        ],
    )


@case
def question_dropped_by_new_input() -> Case:
    return Case(
        around(asks("name?")).compile,
        [
            lambda thread: thread.run({"log": ["in"]}),
            lambda thread: thread.run({"log": ["never mind"]}),
            lambda thread: thread.run(Command(resume="Kim")),
        ],
    )


@case
def answer_that_also_updates() -> Case:
    return Case(
        around(asks("name?")).compile,
        [
            lambda thread: thread.run({"log": ["in"]}),
            lambda thread: thread.run(Command(resume="Kim", update={"log": ["by hand"]})),
        ],
    )


@case
def goto_on_a_thread_that_has_ended() -> Case:
    return Case(
        around(note("middle")).compile,
        [
            lambda thread: thread.run({"log": ["in"]}),
            lambda thread: thread.run(Command(goto="ask", update={"log": ["jump"]})),
        ],
    )


@case
def parallel_questions_answered_at_once() -> Case:
    def answer(thread: Any) -> Any:
        ids = thread.interrupt_ids()
        return thread.run(Command(resume={ids["left?"]: "L", ids["right?"]: "R"}))

    return Case(
        side_by_side(left=asks("left?"), right=asks("right?")).compile,
        [lambda thread: thread.run({"log": ["in"]}), answer],
    )


@case
def parallel_questions_answered_one_by_one() -> Case:
    def answer(question: str) -> Any:
        return lambda thread: thread.run(Command(resume={thread.interrupt_ids()[question]: question.upper()}))

    return Case(
        side_by_side(left=asks("left?"), middle=asks("middle?"), right=asks("right?")).compile,
        [lambda thread: thread.run({"log": ["in"]}), answer("middle?"), answer("right?"), answer("left?")],
    )


@case
def parallel_questions_answered_without_saying_which() -> Case:
    return Case(
        side_by_side(left=asks("left?"), right=asks("right?")).compile,
        [
            lambda thread: thread.run({"log": ["in"]}),
            lambda thread: thread.fails(Command(resume="both?")),
            lambda thread: thread.run(Command(resume=dict.fromkeys(thread.interrupt_ids().values(), "yes"))),
        ],
    )


@case
def question_beside_a_finished_task() -> Case:
    """The task that finished beside the question must not run again."""
    return Case(
        side_by_side(left=note("left"), right=asks("right?")).compile,
        [
            lambda thread: thread.run({"log": ["in"]}),
            lambda thread: thread.run(None),
            lambda thread: thread.run(Command(resume="R")),
        ],
    )


@case
def questions_of_sent_tasks() -> Case:
    def build(checkpointer: Any) -> Any:
        def job(state: Job) -> dict[str, Any]:
            effect(f"job {state['number']}")
            if state["number"] == 1:
                return {"log": ["job 1"]}
            return {"log": [f"job {state['number']}: {interrupt(state['number'])}"]}

        builder = StateGraph(Log)
        builder.add_node("job", job)
        builder.add_node("end", note("end"))
        builder.add_conditional_edges(START, lambda _: [Send("job", {"number": n}) for n in range(4)], ["job"])
        builder.add_edge("job", "end")
        return builder.compile(checkpointer=checkpointer)

    return Case(
        build,
        [
            lambda thread: thread.run({"log": ["in"]}),
            lambda thread: thread.run(Command(resume={thread.interrupt_ids()[2]: "two"})),
            lambda thread: thread.run(
                Command(resume={key: f"answer {value}" for value, key in thread.interrupt_ids().items()})
            ),
        ],
    )


@case
def question_in_a_subgraph() -> Case:
    return Case(
        around(around(asks("inner?")).compile(), name="sub").compile,
        [lambda thread: thread.run({"log": ["in"]}), lambda thread: thread.run(Command(resume="yes"))],
    )


@case
def question_in_a_nested_subgraph() -> Case:
    inner = around(asks("first?", "second?")).compile()
    return Case(
        around(around(inner, name="inner").compile(), name="outer").compile,
        [
            lambda thread: thread.run({"log": ["in"]}),
            lambda thread: thread.run(Command(resume="one")),
            lambda thread: thread.run(Command(resume="two")),
        ],
    )


@case
def questions_in_parallel_subgraphs() -> Case:
    def answer(question: str) -> Any:
        return lambda thread: thread.run(Command(resume={thread.interrupt_ids()[question]: "ok"}))

    return Case(
        side_by_side(left=around(asks("left?")).compile(), right=around(asks("right?")).compile()).compile,
        [lambda thread: thread.run({"log": ["in"]}), answer("right?"), answer("left?")],
    )


@case
def question_in_a_graph_called_from_a_node() -> Case:
    inner = around(asks("inner?")).compile()

    def calls(state: Log) -> dict[str, Any]:
        effect("calls")
        return {"log": [f"{len(inner.invoke({'log': ['called']})['log'])} inner entries"]}

    return Case(
        around(calls).compile,
        [lambda thread: thread.run({"log": ["in"]}), lambda thread: thread.run(Command(resume="yes"))],
        modes=("sync",),
    )


@case
def question_in_sent_subgraphs() -> Case:
    def build(checkpointer: Any) -> Any:
        def job(state: Job) -> dict[str, Any]:
            effect(f"job {state['number']}")
            return {"log": [f"job {state['number']}: {interrupt(state['number'])}"]}

        class Inner(TypedDict):
            number: int
            log: Annotated[list[str], operator.add]

        inner = StateGraph(Inner)
        inner.add_node("job", job)
        inner.add_edge(START, "job")
        builder = StateGraph(Log)
        builder.add_node("sub", inner.compile())
        builder.add_conditional_edges(START, lambda _: [Send("sub", {"number": n}) for n in range(2)], ["sub"])
        return builder.compile(checkpointer=checkpointer)

    return Case(
        build,
        [
            lambda thread: thread.run({"log": ["in"]}),
            lambda thread: thread.run(Command(resume={thread.interrupt_ids()[1]: "one"})),
            lambda thread: thread.run(Command(resume={thread.interrupt_ids()[0]: "zero"})),
        ],
    )


@case
def breakpoint_then_question() -> Case:
    return Case(
        around(asks("name?")).compile,
        [
            lambda thread: thread.run({"log": ["in"]}, interrupt_before=["ask"]),
            lambda thread: thread.run(None, interrupt_after=["ask"]),
            lambda thread: thread.run(Command(resume="Kim"), interrupt_after=["ask"]),
            lambda thread: thread.run(None),
        ],
    )


@case
def question_with_durability_exit() -> Case:
    return Case(
        around(around(asks("inner?")).compile(), name="sub").compile,
        [lambda thread: thread.run({"log": ["in"]}), lambda thread: thread.run(Command(resume="yes"))],
        durability="exit",
    )


@case
def question_in_a_loop() -> Case:
    def build(checkpointer: Any) -> Any:
        builder = around(asks("more?"))
        builder.add_conditional_edges("after", lambda state: "before" if state["log"][-2] == "more?: yes" else END)
        return builder.compile(checkpointer=checkpointer)

    return Case(
        build,
        [
            lambda thread: thread.run({"log": ["in"]}),
            lambda thread: thread.run(Command(resume="yes")),
            lambda thread: thread.run(Command(resume="yes")),
            lambda thread: thread.run(Command(resume="no")),
        ],
    )


@case
def command_from_the_node_that_asked() -> Case:
    def build(checkpointer: Any) -> Any:
        def decide(state: Log) -> Command[str]:
            effect("decide")
            return Command(goto=interrupt("where to?"), update={"log": ["decided"]})

        builder = StateGraph(Log)
        builder.add_node("decide", decide, destinations=("left", "right"))
        builder.add_node("left", note("left"))
        builder.add_node("right", asks("sure?"))
        builder.add_edge(START, "decide")
        return builder.compile(checkpointer=checkpointer)

    return Case(
        build,
        [
            lambda thread: thread.run({"log": ["in"]}),
            lambda thread: thread.run(Command(resume="right")),
            lambda thread: thread.run(Command(resume="yes")),
        ],
    )


@case
def question_asked_by_coroutines() -> Case:
    def build(checkpointer: Any) -> Any:
        async def ask(state: Log) -> dict[str, Any]:
            effect("ask")
            return {"log": [f"answer {interrupt('name?')}"]}

        async def quick(state: Log) -> dict[str, Any]:
            effect("quick")
            return {"log": ["quick"]}

        return side_by_side(ask=ask, quick=quick).compile(checkpointer=checkpointer)

    return Case(
        build,
        [lambda thread: thread.run({"log": ["in"]}), lambda thread: thread.run(Command(resume="Kim"))],
        modes=("async",),
    )
