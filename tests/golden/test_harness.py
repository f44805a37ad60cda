"""The harness itself: it lets no difference of ours pass, and none of the languages through."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessageChunk, ToolMessage

from tests.golden import comparison, differences, projection
from tests.golden.rig import plain

TRACES = Path(__file__).parent / "traces"
UUID = "01a1fd65-8ee3-772e-a09e-a316bc542fdb"


def trace(name: str) -> dict[str, Any]:
    return projection.project(json.loads((TRACES / f"{name}.json").read_text(encoding="utf-8")))


def parted(recorded: dict[str, Any], seen: dict[str, Any], *, side_by_side: bool = False) -> list[str]:
    return comparison.first_differences(recorded, seen, side_by_side=side_by_side)


@pytest.mark.parametrize(
    "place",
    [
        ("events", 1, "data", "delta", "content", 0, "text"),
        ("events", 0, "data", "index"),
        ("events", 0, "node"),
        ("events", 4, "data", "output", "usage_metadata", "input_tokens"),
        ("events", 5, "data", "status"),
        ("final", "run1", "returned", 0, "text"),
        ("final", "contentParts", 0, "type"),
        ("requests", 0, "messages", 0, "content"),
    ],
)
def test_a_changed_value_is_found_and_named(place: tuple[str | int, ...]) -> None:
    recorded = trace("a_text")
    seen = copy.deepcopy(recorded)
    holder: Any = seen
    for step in place[:-1]:
        holder = holder[step]
    holder[place[-1]] = "another"
    (text,) = parted(recorded, seen)
    assert "'another'" in text
    assert str(place[-1]) in text


def test_a_missing_and_a_further_row_are_found() -> None:
    recorded = trace("a_text")
    for seen_rows in (recorded["events"][:-1], [*recorded["events"], recorded["events"][0]]):
        (text,) = parted(recorded, {**recorded, "events": seen_rows})
        assert "the end" in text


def test_rows_in_another_order_are_found() -> None:
    recorded = trace("b_tool_call_inprocess")
    seen = copy.deepcopy(recorded)
    seen["events"][0], seen["events"][1] = seen["events"][1], seen["events"][0]
    assert parted(recorded, seen)


def test_a_streamed_row_may_stray_by_two_rows_and_not_by_three() -> None:
    recorded = trace("a_text")
    (position,) = (index for index, row in enumerate(recorded["events"]) if row["event"] == "on_chat_model_end")
    for by, found in ((2, False), (3, True)):
        rows = list(recorded["events"])
        rows.insert(position - by, rows.pop(position))
        assert bool(parted(recorded, {**recorded, "events": rows})) is found


def test_agents_side_by_side_are_compared_one_by_one() -> None:
    recorded = trace("f2_direct_parallel")
    by_agent = sorted(recorded["events"], key=lambda row: str(row["node"]))
    seen = {**recorded, "events": by_agent, "requests": recorded["requests"][::-1]}
    assert parted(recorded, seen, side_by_side=True) == []
    assert parted(recorded, seen)


def test_a_step_keeps_its_name_wherever_it_is_mentioned() -> None:
    one, two = (f"step_{letter * 21}" for letter in "ab")
    rows = [{"event": "e", "data": {"id": each}} for each in (two, one, two)]
    projected = projection.project({"events": rows, "final": {}, "requests": []})
    assert [row["data"]["id"] for row in projected["events"]] == ["<step:1>", "<step:2>", "<step:1>"]


def test_messages_of_both_languages_come_to_the_same() -> None:
    python = AIMessageChunk(
        content="",
        id=f"lc_run--{UUID}",
        tool_call_chunks=[{"name": "add", "args": '{"a":1}', "id": "call_1", "index": 0, "type": "tool_call_chunk"}],
        response_metadata={"model_provider": "openai", "finish_reason": "tool_calls", "model_name": "m", "logprobs": 0},
        usage_metadata={
            "input_tokens": 3,
            "output_tokens": 4,
            "total_tokens": 7,
            "input_token_details": {"cache_read": 0},
        },
    )
    javascript = {
        "_msg": "ai",
        "id": "chatcmpl-7",
        "content": "",
        "tool_calls": [{"name": "add", "args": {"a": 1}, "id": "call_1", "type": "tool_call"}],
        "tool_call_chunks": [{"name": "add"}],
        "additional_kwargs": {"tool_calls": [{"index": 0}]},
        "response_metadata": {
            "prompt": 0,
            "model_provider": "openai",
            "finish_reason": "tool_calls",
            "model_name": "m",
        },
        "usage_metadata": {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7, "input_token_details": {}},
    }
    assert of_both(plain(python), javascript)
    assert not of_both(plain(python), {**javascript, "content": "text"})
    assert not of_both(plain(python), {**javascript, "additional_kwargs": {"reasoning_content": "hm"}})


def test_only_a_failed_tool_says_how_it_ended() -> None:
    recorded = {"_msg": "tool", "content": "x", "tool_call_id": "c", "name": "n"}
    assert of_both(plain(ToolMessage("x", tool_call_id="c", name="n")), recorded)
    assert not of_both(plain(ToolMessage("x", tool_call_id="c", name="n", status="error")), recorded)


def of_both(ours: Any, theirs: Any) -> bool:
    one, other = (projection.project({"events": [], "final": {"it": it}, "requests": []}) for it in (ours, theirs))
    return one == other


def test_what_no_front_end_could_be_sent_is_refused() -> None:
    with pytest.raises(TypeError, match="carries a object"):
        plain({"data": object()})


def test_a_difference_that_changes_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = trace("a_text")
    same = differences.Replaced(("final", "run1", "calibration"), 1)
    table = {"a_text": differences.Difference("none", (same,))}
    monkeypatch.setattr(differences, "DIFFERENCES", table)
    with pytest.raises(ValueError, match="changes nothing"):
        differences.expected("a_text", recorded)


def test_differences_replace_insert_and_remove(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = trace("a_text")
    row = {"event": "more", "node": None, "data": None}
    changes = (
        differences.Removed(("final", "run1", "runMessages")),
        differences.Removed(("events", 0), 2),
        differences.Inserted(("events", 0), [row]),
        differences.Replaced(("events", 1, "data", "id"), "other"),
    )
    monkeypatch.setattr(differences, "DIFFERENCES", {"a_text": differences.Difference("why", changes)})
    changed = differences.expected("a_text", recorded)
    assert "runMessages" not in changed["final"]["run1"]
    assert changed["events"][0] == row
    assert changed["events"][1]["data"]["id"] == "other"
    assert len(changed["events"]) == len(recorded["events"]) - 1
    assert recorded == trace("a_text")
