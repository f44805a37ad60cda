"""Logs of real graphs become facts, each told once, whoever reads, from wherever, after whatever takeover."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import START, StateGraph
from stategraph.server.projection import (
    Custom,
    GraphStarted,
    Interrupted,
    MessageDiscarded,
    MessageEnded,
    MessageStarted,
    Projection,
    ReasoningDelta,
    RunEnded,
    StateValues,
    StepStarted,
    TextDelta,
    ToolCallEnded,
    ToolResult,
    Usage,
)
from stategraph.server.projection.reading import START as FROM_START
from stategraph.server.projection.reading import Position, position, wire_events
from stategraph.testing import call
from stategraph.types import Command
from tests.properties import examples
from tests.server.protocols import logs
from tests.server.protocols.logs import GRAPHS, SAY, THREAD, Logged, compiled, joined, log_of, numbered, said
from tests.server.protocols.wellformed import check, facts_of, texts, told

pytestmark = pytest.mark.anyio

TEXTS = {
    "agent": ["I look it up.", "It is a and b."],
    "subagents": ["I look it up.", "It is a and b.", "Bye, then."],
    "branches": [*(f"Here is branch {name} with some words." for name in ("one", "three", "two")), "Whole."],
    "spread": [f"This is number {number}." for number in range(3)],
    "agent as tool": ["I ask.", "I look it up.", "It is a and b.", "The expert knows."],
}

MODES = {
    "all": logs.MODES,
    "without tasks": ("messages", "updates", "custom", "values"),
    "the least": ("messages", "updates", "custom"),
}


@cache
def stored(name: str, modes: str = "all") -> tuple[Logged, ...]:
    """Return the log of a graph."""
    return tuple(asyncio.run(log_of(compiled(name), SAY, THREAD, modes=MODES[modes])))


def searched(facts: Sequence[Any]) -> list[str]:
    """Return what tools, which run at the same time, say that they search."""
    return sorted(each.data["searching"] for each in facts if isinstance(each, Custom))


@pytest.mark.parametrize("modes", MODES)
@pytest.mark.parametrize("name", GRAPHS)
def test_each_fact_of_a_run_is_told_once(name: str, modes: str) -> None:
    facts = facts_of(stored(name, modes))
    check(facts)
    assert sorted(texts(facts)) == sorted(TEXTS[name])


def test_an_agent_is_told_with_its_reasoning_calls_results_and_tokens() -> None:
    facts = facts_of(stored("agent"))
    assert "".join(each.text for each in facts if isinstance(each, ReasoningDelta)) == "What may it be?"
    assert [(each.name, each.arguments) for each in facts if isinstance(each, ToolCallEnded)] == [
        ("search", '{"word":"a"}'),
        ("search", '{"word":"b"}'),
    ]
    assert [each.text for each in facts if isinstance(each, ToolResult)] == ["a found", "b found"]
    assert searched(facts) == ["a", "b"]
    assert [each.at.node for each in facts if isinstance(each, StepStarted)] == ["think", "tools", "think"]
    assert facts[-1] == RunEnded("success", "", (Usage("scriptedchatmodel", "scripted", 20, 10),))


def test_a_graph_in_a_node_and_a_graph_in_a_tool_are_told_apart() -> None:
    (node,) = [each for each in facts_of(stored("subagents")) if isinstance(each, GraphStarted)]
    assert (node.name, node.in_tool, node.call_id) == ("helper", False, "")
    for modes in MODES:
        (inner,) = [each for each in facts_of(stored("agent as tool", modes)) if isinstance(each, GraphStarted)]
        assert (inner.name, inner.in_tool, inner.call_id) == ("ask_expert", True, "call_0_0")
    assert texts(facts_of(stored("agent as tool")), in_tools=False) == ["I ask.", "The expert knows."]


async def test_a_later_turn_tells_only_its_own_messages() -> None:
    graph = logs.tool_agent(said("First."), said("Second.")).compile(checkpointer=InMemorySaver())
    await log_of(graph, SAY, THREAD)
    facts = facts_of(await log_of(graph, {"messages": [("user", "more")]}, THREAD))
    check(facts)
    assert texts(facts) == ["Second."]


async def test_an_interrupt_is_told_with_the_calls_that_wait_and_the_resumed_run_tells_the_result() -> None:
    asking = said("I delete.", call("delete", name="a.txt", id="call-a"), call("delete", name="b.txt"))
    graph = logs.tool_agent(asking, said("Done."), asks=True).compile(checkpointer=InMemorySaver())
    facts = facts_of(await log_of(graph, SAY, THREAD, status="interrupted"))
    check(facts)
    (asked,) = [each for each in facts if isinstance(each, Interrupted)]
    assert asked.interrupt_id
    assert [(each.name, dict(each.args), each.description) for each in asked.approvals] == [
        ("delete", {"name": "a.txt"}, "Sure?"),
        ("delete", {"name": "b.txt"}, "Sure?"),
    ]
    assert len({each.call_id for each in asked.approvals}) == 2
    assert {each.call_id for each in asked.approvals} == {
        each.call_id for each in facts if isinstance(each, ToolCallEnded)
    }
    assert asked.approvals[0].decisions == ("approve", "edit", "reject")

    answer = Command(resume={"decisions": [{"type": "approve"}, {"type": "approve"}]})
    resumed = facts_of(await log_of(graph, answer, THREAD))
    check(resumed)
    assert texts(resumed) == ["Done."]
    assert [each.text for each in resumed if isinstance(each, ToolResult)] == ["deleted a.txt", "deleted b.txt"]
    assert [each.call_id for each in resumed if isinstance(each, ToolResult)] == [
        each.call_id for each in asked.approvals
    ]


async def test_a_breakpoint_is_an_interrupt_without_id() -> None:
    graph = logs.tool_agent(said("Hi.")).compile(checkpointer=InMemorySaver(), interrupt_before=["think"])
    facts = facts_of(await log_of(graph, SAY, THREAD, status="interrupted"))
    assert [each for each in facts if isinstance(each, Interrupted)] == [Interrupted("", None)]


async def test_what_a_node_returns_as_dict_tuple_or_message_is_told_with_and_without_values() -> None:
    forms: list[Any] = [("ai", "tuple"), {"role": "assistant", "content": "dict"}, AIMessage("message")]

    def answer(number: int) -> Any:
        return lambda state: {"messages": [forms[number]]}

    builder = StateGraph(logs.Talk)
    for number in range(3):
        builder.add_node(f"n{number}", answer(number))
        builder.add_edge(f"n{number - 1}" if number else START, f"n{number}")
    for modes in MODES.values():
        facts = facts_of(await log_of(builder.compile(), SAY, modes=modes))
        check(facts)
        assert texts(facts) == ["tuple", "dict", "message"]


# Takeovers.


def cut(name: str, modes: str) -> st.SearchStrategy[list[Logged]]:
    """Draw a log whose first attempt dies anywhere, and whose next begins at the step that was not stored."""
    log = stored(name, modes)[:-1]
    steps = [index for index, each in enumerate(log) if each.type == "values"] or [0]

    def dead(at: int) -> list[Logged]:
        step = max((each for each in steps if each < at), default=0)
        again = [Logged(0, "run.attempt", {"attempt": 2}), *renamed(log[step + 1 :])]
        return joined(log[:at], again, stored(name, modes)[-1:])

    return st.integers(2, len(log)).map(dead)


def renamed(log: Sequence[Logged]) -> list[Logged]:
    """Give the messages and the tasks of nested graphs other ids, as they get when they run again."""

    def of_type(kind: str) -> str:
        mode, *ns = kind.split("|")
        return "|".join([mode, *ns[:1], *(re.sub(r":.*", ":again", each) for each in ns[1:])])

    new = {each.data[0].id for each in log if isinstance(each.data, list | tuple) and each.type.startswith("messages")}

    def of_data(data: Any) -> Any:
        match data:
            case BaseMessage():
                return data.model_copy(update={"id": f"{data.id}-again"}) if data.id in new else data
            case list() | tuple():
                return [of_data(each) for each in data]
            case {"langgraph_checkpoint_ns": str(space)}:
                first, *inner = space.split("|")
                nested = [re.sub(r":(.*)", r":again-\1", each) for each in inner]
                return {**data, "langgraph_checkpoint_ns": "|".join([first, *nested])}
            case dict():
                return {key: of_data(each) for key, each in data.items()}
            case _:
                return data

    return [Logged(each.seq, of_type(each.type), of_data(each.data)) for each in log]


@pytest.mark.parametrize("modes", ["all", "without tasks"])
@pytest.mark.parametrize("name", ["agent", "spread", "branches"])
@given(data=st.data())
@examples(25)
def test_a_takeover_repeats_no_text_and_loses_none(name: str, modes: str, data: st.DataObject) -> None:
    log = data.draw(cut(name, modes))
    facts = facts_of(log)
    check(facts)
    assert sorted(texts(facts)) == sorted(TEXTS[name])
    assert not [each for each in facts if isinstance(each, MessageDiscarded)]
    assert searched(facts) == (["a", "b"] if name == "agent" else [])


def piece(text: str, message_id: str = "m", *, last: bool = False, **more: Any) -> tuple[str, Any]:
    """Return an event with a piece of a message."""
    chunk = AIMessageChunk(text, id=message_id, chunk_position="last" if last else None, **more)
    about = {"langgraph_checkpoint_ns": "say:1", "langgraph_node": "say", "langgraph_step": 1}
    return "messages", (chunk, about)


AGAIN = ("run.attempt", {"attempt": 2})
END = ("run.end", {"status": "success", "error": None})


@pytest.mark.parametrize("is_whole", [True, False], ids=["that was complete", "that was cut off"])
def test_another_answer_after_a_takeover_takes_the_place_of_one(is_whole: bool) -> None:
    first = [piece("Good "), piece("morning.", last=is_whole)]
    facts = facts_of(numbered([*first, AGAIN, piece("Good ", "n"), piece("evening.", "n", last=True), END]))
    check(facts, allows_cut_off=True)
    assert [each.message_id for each in facts if isinstance(each, MessageDiscarded)] == ["m"]
    assert texts(facts) == ["Good evening."]


def test_a_shorter_answer_after_a_takeover_takes_the_place_of_one() -> None:
    facts = facts_of(numbered([piece("Good "), piece("morning."), AGAIN, piece("Good ", "n", last=True), END]))
    check(facts, allows_cut_off=True)
    assert texts(facts) == ["Good "]


def test_a_message_is_gone_on_with_over_three_attempts() -> None:
    log = [piece("One "), AGAIN, piece("One ", "n"), piece("two ", "n"), AGAIN, piece("One two three", "o", last=True)]
    facts = facts_of(numbered([*log, END]))
    check(facts)
    assert texts(facts) == ["One two three"]
    assert [each.text for each in facts if isinstance(each, TextDelta)] == ["One ", "two ", "three"]
    assert {each.message_id for each in facts if isinstance(each, MessageStarted)} == {"m"}


def test_a_call_is_gone_on_with_after_a_takeover_unless_its_id_is_another() -> None:
    def calling(message_id: str, call_id: str, *args: str) -> list[tuple[str, Any]]:
        named = {"name": "search", "id": call_id, "index": 0}
        chunks = [{**named, "args": args[0]}, *({**named, "name": None, "id": None, "args": each} for each in args[1:])]
        return [piece("", message_id, tool_call_chunks=[each]) for each in chunks]

    start = [*calling("m", "c", '{"wo'), AGAIN]
    same = facts_of(numbered([*start, *calling("n", "c", '{"word"', ':"a"}'), piece("", "n", last=True), END]))
    check(same)
    assert [(each.message_id, each.arguments) for each in same if isinstance(each, ToolCallEnded)] == [
        ("m", '{"word":"a"}')
    ]
    other = facts_of(numbered([*start, *calling("n", "d", '{"word"', ':"a"}'), piece("", "n", last=True), END]))
    check(other, allows_cut_off=True)
    assert [each.call_id for each in other if isinstance(each, ToolCallEnded)] == ["c", "d"]
    assert [each.message_id for each in other if isinstance(each, MessageDiscarded)] == ["m"]


def test_the_question_of_the_last_attempt_is_the_one_that_is_told() -> None:
    def asks(name: str) -> tuple[str, Any]:
        return "updates", {"__interrupt__": [{"id": name, "value": "Sure?"}]}

    log = [asks("one"), AGAIN, asks("two"), ("run.end", {"status": "interrupted", "error": None})]
    facts = facts_of(numbered(log))
    assert [each for each in facts if isinstance(each, Interrupted)] == [Interrupted("two", "Sure?")]


# Ids.


def test_pieces_with_the_id_of_the_call_belong_to_the_message_that_began_with_the_provider_id() -> None:
    log = [piece("Good ", "msg_1"), piece("morning.", "lc_run--1"), piece("", "lc_run--1", last=True), END]
    facts = facts_of(numbered(log))
    check(facts)
    assert texts(facts) == ["Good morning."]


def test_a_second_message_with_the_id_of_another_gets_one_of_its_own() -> None:
    facts = facts_of(numbered([piece("One.", last=True), piece("Two.", last=True), END]))
    check(facts)
    assert texts(facts) == ["One.", "Two."]


def test_a_message_is_over_when_the_state_has_it_or_the_run_has_ended() -> None:
    update = ("updates", {"say": {"messages": [AIMessage("Hi", id="m")]}})
    facts = facts_of(numbered([piece("Hi"), update, piece("Cut o", "n"), END]))
    check(facts, allows_cut_off=True)
    assert [(each.message_id, each.is_complete) for each in facts if isinstance(each, MessageEnded)] == [
        ("m", True),
        ("n", False),
    ]


def test_the_result_of_a_call_of_an_earlier_run_is_told_and_messages_of_the_thread_are_not() -> None:
    before = [HumanMessage("hi", id="h"), AIMessage("Old.", id="o", tool_calls=[{"name": "t", "args": {}, "id": "c"}])]
    result = ToolMessage("fine", tool_call_id="c", id="r", name="t")
    log = [
        ("values", {"messages": before}),
        ("updates", {"tools": {"messages": [result]}}),
        ("values", {"messages": [*before, result, AIMessage("New.", id="n")]}),
        END,
    ]
    facts = facts_of(numbered(log))
    check(facts)
    assert texts(facts) == ["New."]
    assert [(each.call_id, each.name) for each in facts if isinstance(each, ToolResult)] == [("c", "t")]


def test_the_values_of_interrupts_are_no_part_of_the_state() -> None:
    log = [("values", {"x": 1, "__interrupt__": [{"id": "i", "value": "Sure?"}]})]
    facts = facts_of(numbered([*log, ("run.end", {"status": "interrupted", "error": None})]))
    assert [each.values for each in facts if isinstance(each, StateValues)] == [{"x": 1}]
    assert [each for each in facts if isinstance(each, Interrupted)] == [Interrupted("i", "Sure?")]


# Readers.


@pytest.mark.parametrize("name", GRAPHS)
@given(data=st.data())
@examples(15)
def test_a_reader_that_leaves_and_comes_back_gets_what_one_gets_that_stays(name: str, data: st.DataObject) -> None:
    log = list(stored(name))

    async def read(after: Position, most: int | None = None) -> list[tuple[Position, Any]]:
        async def events() -> Any:
            for each in log:
                yield each

        found = []
        async for each in wire_events(events(), Projection().take, after):
            found.append(each)
            if len(found) == most:
                break
        return found

    async def hop() -> list[tuple[Position, Any]]:
        got: list[tuple[Position, Any]] = []
        while not got or not isinstance(got[-1][1], RunEnded):
            last = got[-1][0] if got else FROM_START
            got += await read(position(str(last)), data.draw(st.integers(1, 40)))
        return got

    got = asyncio.run(hop())
    assert got == asyncio.run(read(FROM_START))
    ids = [each for each, _ in got]
    assert ids == sorted(set(ids))


@pytest.mark.parametrize("given_id", ["x", "1", "-1-2", "1-2-3", "99999999999999999999-1"])
def test_an_id_that_is_none_is_refused(given_id: str) -> None:
    with pytest.raises(ValueError, match="expected one of this stream"):
        position(given_id)


def test_readers_agree_whatever_modes_are_logged() -> None:
    for name in GRAPHS:
        all_modes, least = told(facts_of(stored(name))), told(facts_of(stored(name, "the least")))
        assert sorted(all_modes["texts"]) == sorted(least["texts"])
        assert all_modes.get("calls") == least.get("calls")
        assert all_modes.get("results") == least.get("results")
        assert sorted(all_modes["steps"]) == sorted(least["steps"])
