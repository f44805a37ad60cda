"""Truncation and usage on recorded cases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stategraph.agent import reporting
from stategraph.agent.messages import truncation
from stategraph.agent.reporting import ToolLog, ToolProgress, ToolReport
from stategraph.agent.settings import usage

HELPERS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "golden" / "vectors" / "helpers.json").read_text(encoding="utf-8")
)
#: The inputs of the recordings, of which those keep the lengths.
LINES = "a" * 300 + "\n" + "b" * 700
INPUTS = ({"code": "x" * 500}, "x" * 30, "x" * 500)


@pytest.mark.vector
@pytest.mark.parametrize("case", HELPERS["truncateToolResultContent"])
def test_a_tool_result_is_cut_as_recorded(case: dict[str, Any]) -> None:
    text = LINES if case["inLen"] == len(LINES) else "x" * case["inLen"]
    assert truncation.truncate_tool_result(text, case["max"]) == case["out"]


@pytest.mark.vector
@pytest.mark.parametrize(("arguments", "case"), list(zip(INPUTS, HELPERS["truncateToolInput"], strict=True)))
def test_a_tool_input_is_cut_as_recorded(arguments: object, case: dict[str, Any]) -> None:
    assert truncation.truncate_tool_input(arguments, case["max"]) == case["out"]


@pytest.mark.vector
@pytest.mark.parametrize(("tokens", "chars"), HELPERS["calculateMaxToolResultChars"])
def test_the_longest_result_depends_on_the_context(tokens: int | None, chars: int) -> None:
    assert truncation.max_tool_result_chars(tokens) == chars


@pytest.mark.vector
@pytest.mark.parametrize(("reported", "total"), HELPERS["calculateTotalTokens"])
def test_usage_is_added_up_as_recorded(reported: Any, total: dict[str, int]) -> None:
    assert usage.total_usage(reported) == total


@pytest.mark.vector
@pytest.mark.parametrize(("given", "expected"), HELPERS["shouldTriggerSummarization"])
def test_summaries_are_triggered_as_recorded(given: dict[str, Any], expected: bool) -> None:
    trigger = given.get("trigger")
    assert (
        usage.should_summarise(
            given["messagesToRefineCount"],
            trigger=trigger and usage.SummaryTrigger(trigger["type"], trigger["value"]),
            max_context_tokens=given.get("maxContextTokens"),
            context_tokens=given.get("prePruneContextTokens"),
        )
        is expected
    )


def test_an_unknown_trigger_never_fires() -> None:
    trigger = usage.SummaryTrigger("moon_phase", 0)
    assert not usage.should_summarise(9, trigger=trigger, max_context_tokens=100, context_tokens=99)


def test_the_end_of_a_result_begins_at_a_line() -> None:
    text = "x" * 900 + "\nlast line"
    assert truncation.truncate_tool_result(text, 400).endswith("] …\n\nlast line")


NOTICE = "… [truncated: {} chars exceeded {} limit] …"


def test_a_result_keeps_two_pieces_where_both_can_be_read() -> None:
    text = "x" * 700 + "y" * 300
    assert truncation.truncate_tool_result(text, 1000) == text
    room = len(NOTICE.format(1000, 100)) + 4
    short, split = room + 199, room + 200
    assert truncation.truncate_tool_result(text, short) == "x" * 199 + "\n\n" + NOTICE.format(1000, short)
    both = "x" * 140 + f"\n\n{NOTICE.format(1000, split)}\n\n" + "y" * 60
    assert truncation.truncate_tool_result(text, split) == both
    assert len(both) == split
    smaller = len(NOTICE.format(1000, 10)) + 4
    assert truncation.truncate_tool_result(text, smaller + 1) == "x\n\n" + NOTICE.format(1000, smaller + 1)
    for limit in (smaller, 1, 0, -1):
        assert truncation.truncate_tool_result(text, limit) == "x" * max(0, limit)


def test_pieces_of_a_result_end_and_begin_at_lines_that_are_near() -> None:
    limit = 1000 + len(NOTICE.format(3000, 1000)) + 4
    for at, kept in ((500, 500), (499, 700), (0, 700)):
        text = "x" * at + "\n" + "x" * (2999 - at)
        assert truncation.truncate_tool_result(text, limit).index("\n\n…") == kept
    for at, kept in ((199, 100), (200, 300), (0, 299)):
        text = "x" * (2700 + at) + "\n" + "x" * (299 - at)
        assert len(truncation.truncate_tool_result(text, limit).rpartition("\n\n")[2]) == kept
    # A line end right at the beginning would leave nothing.
    limit = 200 + len(NOTICE.format(1000, 100)) + 4
    assert truncation.truncate_tool_result("\n" + "x" * 999, limit).startswith("\n" + "x" * 139 + "\n\n…")


def test_an_input_keeps_two_pieces_where_both_can_be_read() -> None:
    text = "x" * 700 + "y" * 300
    room = len(NOTICE.format(1000, 100)) + 2
    for limit, shown in (
        (1000, text),
        (room + 99, "x" * (room + 99) + "\n" + NOTICE.format(1000, room + 99)),
        (room + 100, "x" * 70 + f"\n{NOTICE.format(1000, room + 100)}\n" + "y" * 30),
    ):
        assert truncation.truncate_tool_input(text, limit) == {"_truncated": shown, "_originalChars": 1000}
    assert truncation.truncate_tool_input({"ä": [1, None]}, 99) == {
        "_truncated": '{"ä":[1,null]}',
        "_originalChars": 14,
    }


def test_a_context_of_unknown_size_takes_the_longest_results_and_a_large_one_no_longer() -> None:
    assert [truncation.max_tool_result_chars(tokens) for tokens in (None, 0, -5)] == [400_000] * 3
    assert [truncation.max_tool_result_chars(tokens) for tokens in (1, 9, 10, 333_333, 10**9)] == [
        0,
        8,
        12,
        399_996,
        400_000,
    ]


def test_texts_of_a_result_share_its_limit() -> None:
    blocks = [
        "a" * 60,
        {"type": "text", "text": "b" * 60},
        {"type": "text", "text": ""},
        {"type": "image", "text": "c"},
    ]
    assert truncation.text_of(blocks) == "a" * 60 + "b" * 60
    assert truncation.shorten_content(blocks, 120) is blocks
    assert truncation.shorten_content(blocks, 41) == ["a" * 20, {"type": "text", "text": "b" * 20}, *blocks[2:]]
    assert truncation.shorten_content("a" * 60, 41) == "a" * 41


@pytest.mark.parametrize(
    ("kind", "value", "about", "fires"),
    [
        ("token_ratio", 0.75, {"max_context_tokens": 100, "context_tokens": 75}, True),
        ("token_ratio", 0.75, {"max_context_tokens": 100, "context_tokens": 74}, False),
        ("token_ratio", 0.75, {"max_context_tokens": 100, "context_tokens": 70, "instruction_tokens": 5}, True),
        ("remaining_tokens", 25, {"max_context_tokens": 100, "context_tokens": 75}, True),
        ("remaining_tokens", 25, {"max_context_tokens": 100, "context_tokens": 74}, False),
        ("remaining_tokens", 25, {"max_context_tokens": 100, "context_tokens": 74, "instruction_tokens": 1}, True),
        ("remaining_tokens", 25, {"context_tokens": 100}, False),
        ("remaining_tokens", 25, {"max_context_tokens": 10}, False),
        ("remaining_tokens", 25, {"max_context_tokens": 10, "context_tokens": 0}, True),
        ("messages_to_refine", 2, {}, True),
        ("messages_to_refine", 3, {}, False),
    ],
)
def test_a_limit_fires_when_it_is_reached(kind: str, value: float, about: Any, fires: bool) -> None:
    trigger = usage.SummaryTrigger(kind, value)
    assert usage.should_summarise(2, trigger=trigger, **about) is fires
    assert not usage.should_summarise(0, trigger=trigger, **about)
    assert usage.should_summarise(1)
    assert not usage.should_summarise(0)


def test_cached_tokens_are_added_only_where_they_cannot_be_part_of_the_input() -> None:
    def total(read: int, **details: int) -> Any:
        reported: Any = {"input_tokens": read, "output_tokens": 3, "total_tokens": 0, "input_token_details": details}
        return usage.total_usage(reported)["input_tokens"]

    assert [total(10), total(10, cache_read=10), total(10, cache_read=7, cache_creation=4)] == [10, 10, 21]


def test_blocks_of_other_kinds_stay() -> None:
    image = {"type": "image_url", "image_url": {"url": "u"}}
    shorter = truncation.shorten_content([{"type": "text", "text": "x" * 300}, image], 100)
    assert isinstance(shorter, list)
    assert shorter[1] == image
    assert len(shorter[0]["text"]) <= 100


@pytest.mark.anyio
async def test_a_report_is_heard_by_who_runs_the_tool_and_by_nobody_else() -> None:
    heard: list[ToolReport] = []

    async def hear(report: ToolReport) -> None:
        heard.append(report)

    await reporting.report(ToolProgress(0))
    mark = reporting.reporter.set(hear)
    try:
        await reporting.report(ToolProgress(1, total=2))
        await reporting.report(ToolLog("info", {"at": "half"}))
    finally:
        reporting.reporter.reset(mark)
    await reporting.report(ToolProgress(2))
    assert heard == [ToolProgress(1, 2, None), ToolLog("info", {"at": "half"}, None)]
