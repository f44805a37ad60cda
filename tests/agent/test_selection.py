"""Which messages fit: what is kept, what is left out, and how much room remains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolMessage

from stategraph.agent.context.selection import Room, Selection, select

THOUGHT = {"type": "thinking", "thinking": "first the weather", "signature": "s"}
TEN = 10
BLOCK = 6
"""Tokens of a message with nothing but the thought."""


def count(message: AnyMessage) -> int:
    return BLOCK if message.content == [THOUGHT] else TEN


def calling(*ids: str, content: Any = "") -> AIMessage:
    return AIMessage(content, tool_calls=[{"name": "get", "args": {}, "id": each} for each in ids])


def result(call_id: str) -> ToolMessage:
    return ToolMessage(f"result {call_id}", tool_call_id=call_id)


def chosen(messages: Sequence[AnyMessage], available: int, start: str | None = None, **more: Any) -> Selection:
    """Select from messages of ten tokens each, with instructions and a primer beside what is available."""
    instructions = 0 if messages and isinstance(messages[0], SystemMessage) else 7
    room = Room(budget=available + instructions + 3, instructions=instructions, primer=3)
    counts = more.get("counts") or dict.fromkeys(range(len(messages)), TEN)
    return select(messages, counts, room, count, start, more.get("thinking", False))


def places(messages: Sequence[AnyMessage], found: Sequence[AnyMessage]) -> list[int]:
    """Return the positions of what was found, of what is not changed."""
    return [index for index, each in enumerate(messages) if any(each is one for one in found)]


TALK: list[AnyMessage] = [HumanMessage("a"), AIMessage("b"), HumanMessage("c"), AIMessage("d")]


@pytest.mark.parametrize(
    ("available", "kept", "left", "cut_at"),
    [(41, 4, 1, 0), (40, 4, 0, 0), (39, 3, 9, 1), (10, 1, 0, 3), (9, 0, 9, 4), (-1, 0, -1, 4)],
)
def test_the_newest_messages_are_kept_as_long_as_they_fit(available: int, kept: int, left: int, cut_at: int) -> None:
    selected = chosen(TALK, available)
    assert list(selected.context) == TALK[4 - kept :]
    assert list(selected.to_refine) == TALK[: 4 - kept]
    assert (selected.left, selected.cut_at, selected.orphans) == (left, cut_at, 0)


def test_of_no_messages_none_is_kept() -> None:
    assert chosen([], 20) == Selection((), (), 20, 0, 0)


def test_a_message_of_the_system_that_leads_is_kept_and_is_no_place_to_cut_at() -> None:
    messages = [SystemMessage("be kind"), *TALK]
    counts = {0: 4, 1: 10, 2: 10, 3: 10, 4: 10}
    for available, kept, cut_at in ((44, [0, 1, 2, 3, 4], 0), (24, [0, 3, 4], 3), (4, [0], 5)):
        selected = chosen(messages, available, counts=counts)
        assert places(messages, selected.context) == kept
        assert places(messages, selected.to_refine) == [each for each in range(5) if each not in kept]
        assert (selected.left, selected.cut_at) == (0, cut_at)


def test_results_do_not_begin_what_is_kept_and_their_room_is_free_again() -> None:
    messages: list[AnyMessage] = [HumanMessage("a"), calling("1", "2"), result("1"), result("2"), AIMessage("b")]
    counts = {0: 10, 1: 10, 2: 1, 3: 20, 4: 10}
    selected = chosen(messages, 31, counts=counts)
    assert places(messages, selected.context) == [4]
    assert places(messages, selected.to_refine) == [0, 1, 2, 3]
    assert (selected.left, selected.cut_at, selected.orphans) == (21, 4, 0)


@pytest.mark.parametrize(
    ("start", "kept", "refined"),
    [(None, [1, 2, 3], [0]), ("human", [2, 3], [0]), ("ai", [1, 2, 3], [0]), ("system", [1, 2, 3], [0])],
)
def test_what_a_start_type_skips_is_left_out_by_choice_and_not_refined(
    start: str | None, kept: list[int], refined: list[int]
) -> None:
    counts = {0: 10, 1: 7, 2: 10, 3: 10}
    selected = chosen(TALK, 30, start, counts=counts)
    assert places(TALK, selected.context) == kept
    assert places(TALK, selected.to_refine) == refined
    assert selected.left == 30 - sum(counts[index] for index in kept)
    assert selected.cut_at == kept[0]


def test_of_a_call_and_its_result_both_are_kept_or_neither() -> None:
    messages: list[AnyMessage] = [HumanMessage("a"), result("lost"), calling("no result"), AIMessage("b")]
    selected = chosen(messages, 100)
    assert places(messages, selected.context) == [0, 3]
    assert places(messages, selected.to_refine) == [1, 2]
    # Nothing was cut for want of room.
    assert (selected.left, selected.orphans, selected.cut_at) == (100 - 2 * TEN, 2, 0)


@pytest.mark.parametrize(("before", "freed"), [(25, 15), (4, 0)])
def test_an_answer_is_kept_without_its_calls_that_have_no_result(before: int, freed: int) -> None:
    half = calling("1", "2")
    messages: list[AnyMessage] = [HumanMessage("a"), half, result("1"), calling("3", content="I try.")]
    selected = chosen(messages, 100, counts={0: 10, 1: before, 2: 10, 3: 10})
    assert [[call["id"] for call in each.tool_calls] for each in selected.context if isinstance(each, AIMessage)] == [
        ["1"],
        [],
    ]
    assert len(half.tool_calls) == 2
    # What an answer takes now was counted; it is never more than before.
    assert (selected.left, selected.orphans) == (100 - 30 - before + freed, 0)


def thinking(content: Any = "", first: Any = THOUGHT) -> list[AnyMessage]:
    """Return a run of tool calls whose first answer has a thought."""
    return [
        HumanMessage("a"),
        calling("1", content=[{"type": "text", "text": "I see."}, first]),
        result("1"),
        calling("2"),
        result("2"),
        calling("3", content=content),
        result("3"),
    ]


@pytest.mark.parametrize("room_left", [BLOCK, BLOCK + 1])
@pytest.mark.parametrize("first", [HumanMessage("a"), AIMessage("a")], ids=["asked", "by itself"])
def test_a_thought_is_moved_to_the_oldest_answer_that_is_kept_where_there_is_room(
    room_left: int, first: AnyMessage
) -> None:
    messages = [first, *thinking()[1:]]
    selected = chosen(messages, 4 * TEN + room_left, thinking=True)
    assert [each.content for each in selected.context] == [[THOUGHT], "result 2", "", "result 3"]
    assert messages[3].content == ""
    assert places(messages, selected.to_refine) == [0, 1, 2]
    assert (selected.left, selected.cut_at) == (room_left - BLOCK, 3)


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        ("", [THOUGHT]),
        ("then", [THOUGHT, {"type": "text", "text": "then"}]),
        ([{"type": "text", "text": "so"}], [THOUGHT, {"type": "text", "text": "so"}]),
    ],
)
def test_messages_make_room_for_a_thought(content: Any, shown: Any) -> None:
    messages = thinking(content)
    available = 4 * TEN + BLOCK - 1
    selected = chosen(messages, available, thinking=True)
    assert [each.content for each in selected.context] == [shown, "result 3"]
    assert places(messages, selected.to_refine) == [0, 1, 2, 3, 4]
    assert (selected.left, selected.cut_at) == (available - BLOCK - 2 * TEN, 5)


@pytest.mark.parametrize(
    ("messages", "wanted"),
    [
        (thinking(), False),
        (thinking(first={"type": "text", "text": "no thought"}), True),
        ([*thinking(), HumanMessage("b"), AIMessage("c")], True),
        ([*thinking(), SystemMessage("b"), AIMessage("c")], True),
    ],
    ids=["no thinking", "no thought", "of an earlier turn", "before an instruction"],
)
def test_other_thoughts_are_not_moved(messages: list[AnyMessage], wanted: bool) -> None:
    for available in (20, 41, 60):
        selected = chosen(messages, available, thinking=wanted)
        assert all(any(each is one for one in messages) for each in selected.context)


def test_a_thought_that_is_kept_stays_where_it_is() -> None:
    messages = thinking()
    selected = chosen(messages, 60, thinking=True)
    assert list(selected.context) == messages[1:]
    assert selected.left == 0


def test_the_newest_thought_of_a_run_counts() -> None:
    newer = {"type": "reasoning_content", "reasoning_content": {"text": "then the time"}}
    messages = thinking()
    messages[3] = calling("2", content=[newer])
    kept = chosen(messages, 4 * TEN, thinking=True)
    assert [each.content for each in kept.context] == [[newer], "result 2", "", "result 3"]
    moved = chosen(messages, 3 * TEN + BLOCK, thinking=True)
    assert [each.content for each in moved.context] == [[newer], "result 3"]


def test_a_thought_needs_an_answer_to_stand_in() -> None:
    messages: list[AnyMessage] = [HumanMessage("a"), AIMessage([THOUGHT]), AIMessage("b")]
    selected = chosen(messages, 5, thinking=True)
    assert selected.context == ()
    assert selected.cut_at == 3
