"""Threads with delta channels, whose value is spread over the history: each engine must find what the other left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from kit import Case, case, effect, register
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, RemoveMessage
from langgraph.channels import DeltaChannel
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.graph.message import _messages_delta_reducer
from langgraph.types import Command, Overwrite, Send, interrupt
from typing_extensions import TypedDict


def extend(current: list[Any], writes: Sequence[list[Any]]) -> list[Any]:
    """The batch reducer of a list."""
    return [*current, *(item for write in writes for item in write)]


class Log(TypedDict, total=False):
    """Two lists that are stored as what was added; one is snapshotted often, one hardly ever."""

    log: Annotated[list[Any], DeltaChannel(extend, snapshot_frequency=2)]
    all: Annotated[list[Any], DeltaChannel(extend)]


class Chat(TypedDict):
    """A conversation."""

    messages: Annotated[list[AnyMessage], DeltaChannel(_messages_delta_reducer, snapshot_frequency=4)]


class DeltaMessages(TypedDict):
    """What `compile(delta_messages=True)` makes of `MessagesState`."""

    messages: Annotated[list[AnyMessage], DeltaChannel(_messages_delta_reducer)]


def note(name: str) -> Any:
    """A node that notes its name in both lists."""

    def node(state: Any) -> dict[str, Any]:
        effect(name)
        return {"log": [name], "all": [name]}

    return node


def notes(*names: str, **others: Any) -> StateGraph:
    """A chain of noting nodes, with other nodes behind them."""
    builder = StateGraph(Log)
    nodes = {**{name: note(name) for name in names}, **others}
    builder.add_sequence(list(nodes.items()))
    builder.add_edge(START, next(iter(nodes)))
    return builder


def many_rounds(durability: str) -> Any:
    """Rounds enough for several snapshots."""

    def build() -> Case:
        return Case(
            notes("a", "b").compile,
            [lambda thread, n=n: thread.run({"log": [n], "all": [n]}) for n in range(4)],
            durability=durability,
        )

    return build


for _name in ("sync", "async", "exit"):
    register(f"deltas_many_rounds_{_name}", many_rounds(_name))


def asked(durability: str) -> Any:
    """A question in a fan-out, so that writes of finished tasks wait on the checkpoint."""

    def build() -> Case:
        def ask(state: Any) -> dict[str, Any]:
            effect("ask")
            answer = interrupt("well?")
            return {"log": [answer], "all": [answer]}

        builder = StateGraph(Log)
        for name, node in (("good", note("good")), ("ask", ask), ("join", note("join"))):
            builder.add_node(name, node)
        builder.add_edge(START, "good")
        builder.add_edge(START, "ask")
        builder.add_edge(["good", "ask"], "join")
        return Case(
            builder.compile,
            [
                lambda thread: thread.run({"log": ["in"], "all": ["in"]}),
                lambda thread: thread.run(Command(resume="yes")),
                lambda thread: thread.run({"log": ["again"]}),
                lambda thread: thread.run({"all": ["instead"]}),
                lambda thread: thread.run(Command(resume="no")),
            ],
            durability=durability,
        )

    return build


for _name in ("async", "exit"):
    register(f"deltas_and_a_question_{_name}", asked(_name))


@case
def deltas_updated_by_hand() -> Case:
    return Case(
        notes("a", "b").compile,
        [
            lambda thread: thread.update({"log": ["first"], "all": ["first"]}, as_node="b"),
            lambda thread: thread.run({"log": ["in"]}, interrupt_after=["a"]),
            lambda thread: thread.update({"log": ["by hand"]}),
            lambda thread: thread.run(None),
            lambda thread: thread.update({"log": Overwrite(["all new"])}, as_node="b"),
            lambda thread: thread.run({"log": ["on"], "all": ["on"]}),
            lambda thread: thread.update({"all": ["input"]}, as_node="__input__"),
            lambda thread: thread.run(None),
        ],
    )


@case
def deltas_forked() -> Case:
    return Case(
        notes("a", "b", "c").compile,
        [
            lambda thread: thread.run({"log": ["in"], "all": ["in"]}),
            lambda thread: thread.run(None, at=thread.checkpoint(1)),
            lambda thread: thread.update({"log": ["fork"]}, as_node="a", at=thread.checkpoint(1)),
            lambda thread: thread.run(None),
            lambda thread: thread.update(None, as_node="__copy__", at=thread.checkpoint(2)),
            lambda thread: thread.run(None),
            lambda thread: thread.update(None, as_node=END),
            lambda thread: thread.run({"all": ["again"]}),
        ],
    )


@case
def deltas_overwritten_in_a_run() -> Case:
    def clear(state: Any) -> dict[str, Any]:
        effect("clear")
        return {"log": Overwrite(["cleared"])}

    return Case(
        notes("a", clear=clear, b=note("b")).compile,
        [
            lambda thread: thread.run({"log": ["in"], "all": ["in"]}, interrupt_before=["clear"]),
            lambda thread: thread.run(None, interrupt_after=["clear"]),
            lambda thread: thread.run(None),
            lambda thread: thread.run({"all": ["again"]}),
        ],
    )


@case
def deltas_sent() -> Case:
    def work(job: dict[str, Any]) -> dict[str, Any]:
        effect(f"work {job['number']}")
        return {"log": [job["number"]], "all": [job["number"]]}

    builder = StateGraph(Log)
    builder.add_node("work", work)
    builder.add_node("end", note("end"))
    builder.add_conditional_edges(START, lambda state: [Send("work", {"number": n}) for n in range(4)], ["work"])
    builder.add_edge("work", "end")
    return Case(
        builder.compile,
        [
            lambda thread: thread.run({"log": ["in"]}, interrupt_before=["work"]),
            lambda thread: thread.run(None),
            lambda thread: thread.run({"log": ["again"]}),
        ],
    )


@case
def deltas_of_messages() -> Case:
    def answer(state: Chat) -> dict[str, Any]:
        effect("answer")
        turn = len(state["messages"])
        return {"messages": [AIMessage(f"answer {turn}", id=f"ai-{turn}")]}

    builder = StateGraph(Chat)
    builder.add_node("answer", answer)
    builder.add_edge(START, "answer")
    return Case(
        builder.compile,
        [
            lambda thread, n=n: thread.run({"messages": [HumanMessage(f"question {n}", id=f"human-{n}")]})
            for n in range(4)
        ],
    )


@case
def deltas_by_a_switch() -> Case:
    """Our `compile(delta_messages=True)`, and on LangGraph the state that it stands for."""

    def answer(state: Any) -> dict[str, Any]:
        effect("answer")
        turn = len(state["messages"])
        return {"messages": [AIMessage(f"answer {turn}", id=f"ai-{turn}")]}

    def build(**options: Any) -> Any:
        ours = StateGraph.__module__.startswith("stategraph")
        builder = StateGraph(MessagesState if ours else DeltaMessages)
        builder.add_node("answer", answer)
        builder.add_edge(START, "answer")
        return builder.compile(**options, **({"delta_messages": True} if ours else {}))

    def ask(number: int) -> Any:
        return {"messages": [HumanMessage(f"question {number}", id=f"human-{number}")]}

    return Case(
        build,
        [
            lambda thread: thread.run(ask(0)),
            lambda thread: thread.run(ask(1), interrupt_before=["answer"]),
            lambda thread: thread.run(None),
            lambda thread: thread.update({"messages": [RemoveMessage(id="ai-1")]}, as_node="answer"),
            lambda thread: thread.run(None, at=thread.checkpoint(1)),
            lambda thread: thread.run(ask(2)),
        ],
    )
