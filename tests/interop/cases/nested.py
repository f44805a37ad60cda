"""Subgraphs: what they keep, where they keep it, and how they reach the graph above."""

from __future__ import annotations

import operator
from typing import Annotated, Any

from kit import Case, case, effect
from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.graph import START, StateGraph
from langgraph.prebuilt import create_react_agent
from langgraph.types import Command, interrupt
from typing_extensions import TypedDict


class Log(TypedDict):
    """A state that shows the order of things."""

    log: Annotated[list[str], operator.add]


class Inner(TypedDict):
    """A state that shares one key with the graph above and keeps another to itself."""

    log: Annotated[list[str], operator.add]
    visits: Annotated[int, operator.add]


def note(name: str) -> Any:
    """A node that notes its name."""

    def node(state: Any) -> dict[str, Any]:
        effect(name)
        return {"log": [name]}

    return node


def asks(question: str) -> Any:
    """A node that asks."""

    def node(state: Any) -> dict[str, Any]:
        effect(question)
        return {"log": [f"{question} {interrupt(question)}"]}

    return node


def chain(schema: Any, **nodes: Any) -> StateGraph:
    """A chain of nodes."""
    builder = StateGraph(schema)
    builder.add_sequence(list(nodes.items()))
    builder.add_edge(START, next(iter(nodes)))
    return builder


def visit(state: Inner) -> dict[str, Any]:
    """Count the visits of a subgraph, and note what it remembers."""
    effect("visit")
    return {"log": [f"visit {state.get('visits', 0)}"], "visits": 1}


def remembering(keeps: Any, *, question: str | None = None) -> StateGraph:
    """A graph with a subgraph that counts its visits."""
    nodes = {"visit": visit, **({"ask": asks(question)} if question else {})}
    inner = chain(Inner, **nodes).compile(checkpointer=keeps)
    return chain(Log, before=note("before"), sub=inner, after=note("after"))


@case
def subgraph_that_remembers() -> Case:
    return Case(
        remembering(True).compile,
        [lambda thread, n=n: thread.run({"log": [f"run {n}"]}) for n in range(3)],
    )


@case
def subgraph_that_remembers_and_asks() -> Case:
    return Case(
        remembering(True, question="sure?").compile,
        [
            lambda thread: thread.run({"log": ["one"]}),
            lambda thread: thread.run(Command(resume="yes")),
            lambda thread: thread.run({"log": ["two"]}),
            lambda thread: thread.run(Command(resume="no")),
        ],
    )


@case
def subgraph_that_forgets() -> Case:
    return Case(
        remembering(None, question="sure?").compile,
        [
            lambda thread: thread.run({"log": ["one"]}),
            lambda thread: thread.run(Command(resume="yes")),
            lambda thread: thread.run({"log": ["two"]}),
            lambda thread: thread.run(Command(resume="no")),
        ],
    )


@case
def subgraph_that_stores_nothing() -> Case:
    return Case(
        remembering(False).compile,
        [
            lambda thread: thread.run({"log": ["one"]}, interrupt_before=["after"]),
            lambda thread: thread.run(None),
            lambda thread: thread.run({"log": ["two"]}),
        ],
    )


@case
def breakpoint_inside_a_subgraph() -> Case:
    inner = chain(Inner, one=note("one"), two=note("two")).compile(interrupt_before=["two"])
    return Case(
        chain(Log, before=note("before"), sub=inner, after=note("after")).compile,
        [
            lambda thread: thread.run({"log": ["in"]}),
            lambda thread: thread.run(None, interrupt_after=["sub"]),
            lambda thread: thread.run(None),
        ],
    )


@case
def command_to_the_graph_above() -> Case:
    def leave(state: Log) -> Command[str]:
        effect("leave")
        answer = interrupt("where to?")
        return Command(graph=Command.PARENT, goto=answer, update={"log": [f"left for {answer}"]})

    def build(checkpointer: Any) -> Any:
        inner = chain(Log, inside=note("inside"), leave=leave).compile()
        builder = StateGraph(Log)
        builder.add_node("sub", inner, destinations=("left", "right"))
        builder.add_node("left", note("left"))
        builder.add_node("right", asks("really?"))
        builder.add_edge(START, "sub")
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
def subgraph_visited_in_a_loop() -> Case:
    def build(checkpointer: Any) -> Any:
        inner = chain(Inner, visit=visit, ask=asks("again?")).compile()
        builder = chain(Log, before=note("before"), sub=inner)
        builder.add_conditional_edges("sub", lambda state: "before" if state["log"][-1].endswith("yes") else "__end__")
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


class Scripted(FakeMessagesListChatModel):
    """A model that answers by the length of the conversation, so that it needs no memory of its own."""

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self

    def _generate(self, messages: Any, *args: Any, **kwargs: Any) -> Any:
        self.i = (len(messages) - 1) % len(self.responses)
        return super()._generate(messages, *args, **kwargs)


@tool
def look_up(word: str) -> str:
    """Look a word up, if somebody allows it."""
    effect(f"look_up {word}")
    return f"{word}: {interrupt({'allow': word})}"


def _agent(checkpointer: Any) -> Any:
    calls = [{"id": f"call-{word}", "name": "look_up", "args": {"word": word}} for word in ("cat", "dog")]
    script = [AIMessage("", id="ai-1", tool_calls=calls), AIMessage("-", id="x"), AIMessage("-", id="y")]
    model = Scripted(responses=[*script, AIMessage("both found", id="ai-2")])
    return create_react_agent(model, [look_up], checkpointer=checkpointer)


@case
def prebuilt_agent_with_tools_that_ask() -> Case:
    def answer(thread: Any) -> Any:
        waiting = thread.state().interrupts
        return thread.run(Command(resume={i.id: f"about {i.value['allow']}" for i in waiting}))

    return Case(
        _agent,
        [lambda thread: thread.run({"messages": [HumanMessage("hi", id="human")]}), answer],
    )


@case
def prebuilt_agent_as_a_node() -> Case:
    def build(checkpointer: Any) -> Any:
        from langgraph.graph import MessagesState

        def sums_up(state: MessagesState) -> dict[str, Any]:
            return {"messages": [AIMessage(f"{len(state['messages'])} messages", id="sum")]}

        return chain(MessagesState, agent=_agent(None), sums_up=sums_up).compile(checkpointer=checkpointer)

    return Case(
        build,
        [
            lambda thread: thread.run({"messages": [HumanMessage("hi", id="human")]}),
            lambda thread: thread.run(
                Command(resume={i.id: f"about {i.value['allow']}" for i in thread.state(subgraphs=True).interrupts})
            ),
        ],
    )
