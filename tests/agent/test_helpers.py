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
