"""Everything a state can be made of: messages, classes, models, reducers, joins, and serialisers."""

from __future__ import annotations

import enum
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Annotated, Any
from uuid import UUID

from kit import Case, case, effect
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, RemoveMessage, ToolMessage
from langgraph.channels import DeltaChannel, EphemeralValue, Topic, UntrackedValue
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.graph.message import REMOVE_ALL_MESSAGES, add_messages
from langgraph.managed import RemainingSteps
from langgraph.types import Command, Overwrite, Send, interrupt
from pydantic import BaseModel, Field
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


def chain(schema: Any, **nodes: Any) -> StateGraph:
    """A chain of nodes."""
    builder = StateGraph(schema)
    builder.add_sequence(list(nodes.items()))
    builder.add_edge(START, next(iter(nodes)))
    return builder


@case
def messages_with_ids() -> Case:
    def calls(state: MessagesState) -> dict[str, Any]:
        effect("calls")
        call = {"id": "call-1", "name": "look_up", "args": {"words": ["x", "y"]}}
        return {"messages": [AIMessage("", id="ai-1", tool_calls=[call])]}

    def tool(state: MessagesState) -> dict[str, Any]:
        call = state["messages"][-1].tool_calls[0]
        return {"messages": ToolMessage(f"{interrupt(call['args'])}", id="tool-1", tool_call_id=call["id"])}

    def tidy(state: MessagesState) -> dict[str, Any]:
        return {"messages": [RemoveMessage(id="human-1"), AIMessage("changed", id="ai-1"), ("ai", "done")]}

    return Case(
        chain(MessagesState, calls=calls, tool=tool, tidy=tidy).compile,
        [
            lambda thread: thread.run({"messages": [HumanMessage("hi", id="human-1")]}),
            lambda thread: thread.run(Command(resume="found"), interrupt_after=["tool"]),
            lambda thread: thread.run(None),
            lambda thread: thread.update({"messages": [RemoveMessage(id=REMOVE_ALL_MESSAGES)]}),
        ],
    )


@case
def messages_without_ids() -> Case:
    """Ids given by the engine must survive the switch: the second node replaces by them."""

    def answer(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage("first"), {"role": "assistant", "content": "second"}]}

    def shout(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(message.text.upper(), id=message.id) for message in state["messages"][-2:]]}

    return Case(
        chain(MessagesState, answer=answer, shout=shout).compile,
        [
            lambda thread: thread.run({"messages": ["hi"]}, interrupt_after=["answer"]),
            lambda thread: thread.run(None),
        ],
    )


@dataclass
class Part:
    """A class of the application's own inside a state."""

    name: str
    count: int = 0
    when: date = date(2024, 2, 29)


class Colour(enum.Enum):
    """An enumeration inside a state."""

    RED = "red"
    BLUE = "blue"


@dataclass(kw_only=True)
class Stock:
    """A dataclass as a state."""

    parts: Annotated[list[Part], operator.add] = field(default_factory=list)
    colour: Colour = Colour.RED
    seen: set[int] = field(default_factory=set)


@case
def state_as_dataclass() -> Case:
    def more(state: Stock) -> dict[str, Any]:
        effect(f"more {len(state.parts)} {state.colour}")
        return {
            "parts": [Part(f"part {len(state.parts)}", 2)],
            "colour": Colour.BLUE,
            "seen": state.seen | {len(state.parts)},
        }

    return Case(
        chain(Stock, one=more, two=more, three=more).compile,
        [
            lambda thread: thread.run(Stock(parts=[Part("first")]), interrupt_after=["one"]),
            lambda thread: thread.run(None, interrupt_after=["two"]),
            lambda thread: thread.run(None),
        ],
    )


class Address(BaseModel):
    """A model inside a state."""

    street: str
    number: int = 1


class Person(BaseModel):
    """A model as a state."""

    name: str
    age: int = 0
    addresses: Annotated[list[Address], operator.add] = Field(default_factory=list)
    log: Annotated[list[str], operator.add] = Field(default_factory=list)


@case
def state_as_pydantic_model() -> Case:
    def older(state: Person) -> dict[str, Any]:
        effect(f"older {type(state).__name__} {state.age!r}")
        return {"age": state.age + 1, "addresses": [Address(street=f"at {state.age}")], "log": [repr(state.age)]}

    return Case(
        chain(Person, one=older, two=older, three=older).compile,
        [
            lambda thread: thread.run({"name": "Kim", "age": "41"}, interrupt_after=["one"]),
            lambda thread: thread.run(None, interrupt_after=["two"]),
            lambda thread: thread.run(None),
            lambda thread: thread.run({"name": "Lee", "age": 7.0}),
        ],
    )


def _greater(old: int, new: int) -> int:
    return max(old, new)


class Kinds(TypedDict, total=False):
    """Values of many types."""

    log: Annotated[list[str], operator.add]
    merged: Annotated[dict[str, Any], operator.or_]
    greatest: Annotated[int, _greater]
    anything: Any
    unset: str


@case
def values_of_many_types() -> Case:
    rich = {
        "tuple": (1, (2, 3)),
        "set": {1, 2},
        "bytes": b"\x00\xff",
        "time": datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
        "uuid": UUID(int=5),
        "none": None,
        "deep": {"list": [{"x": 1.5}]},
        "part": Part("p"),
        "address": Address(street="s"),
    }

    def node(state: Kinds) -> dict[str, Any]:
        kinds = {key: type(value).__name__ for key, value in (state.get("anything") or {}).items()}
        return {"log": [str(kinds)], "merged": {f"step {len(state['log'])}": kinds}, "greatest": len(state["log"])}

    return Case(
        chain(Kinds, one=node, two=node).compile,
        [
            lambda thread: thread.run({"log": ["in"], "anything": rich, "greatest": 1}, interrupt_after=["one"]),
            lambda thread: thread.run(None),
            lambda thread: thread.run({"anything": {}, "log": []}),
        ],
    )


@case
def overwrite_past_a_reducer() -> Case:
    def replace(state: Log) -> dict[str, Any]:
        return {"log": Overwrite(["only this"])}

    return Case(
        chain(Log, a=note("a"), replace=replace, b=note("b")).compile,
        [
            lambda thread: thread.run({"log": ["in"]}, interrupt_after=["a"]),
            lambda thread: thread.run(None, interrupt_after=["replace"]),
            lambda thread: thread.run(None),
        ],
    )


@case
def sends_not_yet_done() -> Case:
    def build(checkpointer: Any) -> Any:
        def job(state: Job) -> dict[str, Any]:
            effect(f"job {state['number']}")
            return {"log": [f"job {state['number']}"]}

        def again(state: Log) -> Any:
            return [Send("job", {"number": n}) for n in range(10, 12)] if len(state["log"]) < 7 else END

        builder = StateGraph(Log)
        builder.add_node("plan", note("plan"))
        builder.add_node("job", job)
        builder.add_node("end", note("end"))
        builder.add_edge(START, "plan")
        builder.add_conditional_edges("plan", lambda _: [Send("job", {"number": n}) for n in range(3)], ["job"])
        builder.add_edge("job", "end")
        builder.add_conditional_edges("end", again, ["job", END])
        return builder.compile(checkpointer=checkpointer)

    return Case(
        build,
        [
            lambda thread: thread.run({"log": ["in"]}, interrupt_before=["job"]),
            lambda thread: thread.run(None, interrupt_after=["job"]),
            lambda thread: thread.run(None, interrupt_before=["job"]),
            lambda thread: thread.run(None),
        ],
    )


@case
def sends_from_a_command() -> Case:
    def build(checkpointer: Any) -> Any:
        def plan(state: Log) -> Command[str]:
            effect("plan")
            return Command(
                update={"log": ["plan"]}, goto=["other", Send("job", {"number": 1}), Send("job", {"number": 2})]
            )

        builder = StateGraph(Log)
        builder.add_node("plan", plan, destinations=("other", "job"))
        builder.add_node("job", lambda state: {"log": [f"job {state['number']}"]})
        builder.add_node("other", note("other"))
        builder.add_edge(START, "plan")
        return builder.compile(checkpointer=checkpointer)

    return Case(
        build,
        [
            lambda thread: thread.run({"log": ["in"]}, interrupt_after=["plan"]),
            lambda thread: thread.run(None),
            lambda thread: thread.run({"log": ["again"]}),
        ],
    )


@case
def join_that_waits_for_a_longer_branch() -> Case:
    builder = StateGraph(Log)
    for name in ("long_1", "long_2", "short", "join", "end"):
        builder.add_node(name, note(name))
    builder.add_edge(START, "long_1")
    builder.add_edge(START, "short")
    builder.add_edge("long_1", "long_2")
    builder.add_edge(["long_2", "short"], "join")
    builder.add_edge("join", "end")
    return Case(
        builder.compile,
        [
            lambda thread: thread.run({"log": ["in"]}, interrupt_after=["short"]),
            lambda thread: thread.run(None, interrupt_after=["long_2"]),
            lambda thread: thread.run(None, interrupt_after=["join"]),
            lambda thread: thread.run(None),
            lambda thread: thread.run({"log": ["again"]}, interrupt_after=["short"]),
            lambda thread: thread.run(None),
        ],
    )


@case
def deferred_node_waits_for_all() -> Case:
    builder = StateGraph(Log)
    for name in ("long_1", "long_2", "short"):
        builder.add_node(name, note(name))
    builder.add_node("last", note("last"), defer=True)
    builder.add_edge(START, "long_1")
    builder.add_edge(START, "short")
    builder.add_edge("long_1", "long_2")
    builder.add_edge("long_2", "last")
    builder.add_edge("short", "last")
    return Case(
        builder.compile,
        [
            lambda thread: thread.run({"log": ["in"]}, interrupt_after=["short"]),
            lambda thread: thread.run(None, interrupt_before=["last"]),
            lambda thread: thread.run(None),
        ],
    )


@case
def deferred_join_waits_for_all() -> Case:
    builder = StateGraph(Log)
    for name in ("long_1", "long_2", "short", "shorter"):
        builder.add_node(name, note(name))
    builder.add_node("last", note("last"), defer=True)
    for name in ("long_1", "short", "shorter"):
        builder.add_edge(START, name)
    builder.add_edge("long_1", "long_2")
    builder.add_edge(["short", "shorter"], "last")
    return Case(
        builder.compile,
        [
            lambda thread: thread.run({"log": ["in"]}, interrupt_after=["short"]),
            lambda thread: thread.run(None, interrupt_after=["long_2"]),
            lambda thread: thread.run(None),
        ],
    )


class Special(TypedDict):
    """Channels that behave differently from one step to the next."""

    log: Annotated[list[str], operator.add]
    fleeting: Annotated[str, EphemeralValue]
    topic: Annotated[Sequence[str], Topic(str, accumulate=True)]
    untracked: Annotated[str, UntrackedValue]
    left: RemainingSteps


@case
def special_channels() -> Case:
    def node(state: Special) -> dict[str, Any]:
        kept = {key: value for key, value in state.items() if key != "log"}
        return {"log": [str(sorted(kept.items()))], "fleeting": "now", "topic": "t", "untracked": "secret"}

    return Case(
        chain(Special, one=node, two=node, three=node).compile,
        [
            lambda thread: thread.run({"log": ["in"], "fleeting": "input"}, interrupt_after=["one"]),
            lambda thread: thread.run(None, interrupt_after=["two"]),
            lambda thread: thread.run(None),
        ],
    )


class Public(TypedDict):
    """What goes in and out."""

    log: Annotated[list[str], operator.add]


class Private(TypedDict):
    """What two nodes share."""

    secret: str


@case
def private_state_between_nodes() -> Case:
    def writes(state: Public) -> Private:
        return {"secret": f"after {len(state['log'])}"}

    def reads(state: Private) -> Public:
        return {"log": [state["secret"]]}

    return Case(
        chain(Public, writes=writes, reads=reads, end=note("end")).compile,
        [
            lambda thread: thread.run({"log": ["in"]}, interrupt_after=["writes"]),
            lambda thread: thread.run(None, interrupt_after=["reads"]),
            lambda thread: thread.run(None),
        ],
    )


@case
def encrypted_checkpoints() -> Case:
    def ask(state: Stock) -> dict[str, Any]:
        effect("ask")
        return {"parts": [Part(f"answer {interrupt(Part('question'))}")]}

    def more(state: Stock) -> dict[str, Any]:
        return {"parts": [Part("more")], "colour": Colour.BLUE}

    return Case(
        chain(Stock, one=more, ask=ask, two=more).compile,
        [
            lambda thread: thread.run({"parts": [Part("first")]}),
            lambda thread: thread.run(Command(resume="yes"), interrupt_after=["ask"]),
            lambda thread: thread.run(None),
        ],
        encrypted=True,
    )


def _extend(current: list[Any], writes: Sequence[Any]) -> list[Any]:
    return [*current, *(item for write in writes for item in write)]


class Delta(TypedDict):
    """A list that is stored as what was added."""

    log: Annotated[list[str], DeltaChannel(_extend, snapshot_frequency=3)]


@case
def delta_channel() -> Case:
    return Case(
        chain(Delta, a=note("a"), b=note("b"), c=note("c")).compile,
        [
            lambda thread: thread.run({"log": ["in"]}, interrupt_after=["a"]),
            lambda thread: thread.run(None, interrupt_after=["b"]),
            lambda thread: thread.run(None),
            lambda thread: thread.run({"log": ["again"]}),
        ],
    )


class Mixed(TypedDict):
    """Messages under another name, beside a counter."""

    history: Annotated[list[AnyMessage], add_messages]
    turns: int


@case
def messages_under_another_name() -> Case:
    def turn(state: Mixed) -> dict[str, Any]:
        turns = state.get("turns", 0)
        return {"history": [AIMessage(f"turn {turns}", id=f"ai-{turns}")], "turns": turns + 1}

    return Case(
        chain(Mixed, one=turn, two=turn).compile,
        [
            lambda thread: thread.run({"history": [HumanMessage("one", id="h1")]}, interrupt_after=["one"]),
            lambda thread: thread.run(None),
            lambda thread: thread.run({"history": [HumanMessage("two", id="h2")]}),
        ],
    )
