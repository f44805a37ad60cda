"""The aggregator on recorded events."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from stategraph.run.events import content

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "golden" / "vectors" / "aggregator.json").read_text(encoding="utf-8")
)


@pytest.mark.vector
@pytest.mark.parametrize("name", VECTORS)
def test_recorded_events_give_the_recorded_parts(name: str, caplog: pytest.LogCaptureFixture) -> None:
    vector = VECTORS[name]
    aggregator = content.create_content_aggregator()
    with caplog.at_level(logging.WARNING):
        for row in vector["events"]:
            aggregator.aggregate_content(row["event"], row["data"])
    assert aggregator.content_parts == vector["contentParts"]
    assert [record.getMessage() for record in caplog.records] == vector["warnings"]


def step(step_id: str, index: int, *calls: dict[str, Any], **more: Any) -> dict[str, Any]:
    kind = "tool_calls" if calls else "message_creation"
    details = {"type": kind, "tool_calls": list(calls)} if calls else {"type": kind, kind: {"message_id": "m"}}
    return {"id": step_id, "index": index, "type": kind, "stepDetails": details, "usage": None, **more}


def said(step_id: str, text: str, **more: Any) -> dict[str, Any]:
    return {"id": step_id, "delta": {"content": [{"type": "text", "text": text, **more}]}}


def done(step_id: str, call_id: str) -> dict[str, Any]:
    call = {"id": call_id, "name": "n", "args": "{}", "output": "o", "progress": 1}
    return {"result": {"id": step_id, "index": 0, "type": "tool_call", "tool_call": call}}


def test_a_step_without_content_leaves_a_hole() -> None:
    aggregator = content.create_content_aggregator()
    aggregator.aggregate_content("on_run_step", step("s1", 0))
    aggregator.aggregate_content("on_run_step", step("s2", 1, {"id": "c", "name": "n", "args": {}}))
    assert aggregator.content_parts[0] is None
    assert list(aggregator.step_map) == ["s1", "s2"]


def test_the_agent_and_group_of_a_step_are_on_its_part() -> None:
    aggregator = content.create_content_aggregator()
    aggregator.aggregate_content("on_run_step", step("s1", 0, agentId="a", groupId=1))
    aggregator.aggregate_content("on_message_delta", said("s1", "x"))
    assert aggregator.content_parts == [{"type": "text", "text": "x", "agentId": "a", "groupId": 1}]


def test_seeded_parts_stay_and_their_calls_are_completed() -> None:
    seed: list[content.Part | None] = [{"type": "tool_call", "tool_call": {"id": "c1", "name": "n", "args": ""}}]
    aggregator = content.create_content_aggregator(seed)
    aggregator.aggregate_content("on_run_step_completed", done("", "c1"))
    aggregator.aggregate_content("on_run_step", step("s1", 0))
    aggregator.aggregate_content("on_message_delta", said("s1", "x"))
    assert aggregator.content_parts is seed
    assert [part and part["type"] for part in seed] == ["tool_call", "text"]
    assert seed[0] is not None and seed[0]["tool_call"]["output"] == "o"


def outputs(aggregator: content.ContentAggregator) -> list[Any]:
    return [part and part["tool_call"].get("output") for part in aggregator.content_parts]


def test_calls_with_the_same_id_in_several_steps_have_parts_of_their_own() -> None:
    aggregator = content.create_content_aggregator()
    call = {"id": "call_0", "name": "n", "args": {}}
    for number, step_id in enumerate(("s1", "s2")):
        aggregator.aggregate_content("on_run_step", step(step_id, number, call, agentId=step_id))
    for step_id in ("s2", "s1"):
        completed = done(step_id, "call_0")
        completed["result"]["tool_call"]["output"] = step_id
        aggregator.aggregate_content("on_run_step_completed", completed)
    assert outputs(aggregator) == ["s1", "s2"]
    assert [part and part["agentId"] for part in aggregator.content_parts] == ["s1", "s2"]


def test_a_call_that_takes_the_id_of_one_that_has_its_result_is_another() -> None:
    seed: list[content.Part | None] = [
        {"type": "tool_call", "tool_call": {"id": "call_0", "name": "n", "args": "{}", "progress": 1, "output": "old"}}
    ]
    aggregator = content.create_content_aggregator(seed)
    aggregator.aggregate_content("on_run_step", step("s1", 0, {"id": "call_0", "name": "n", "args": {}}))
    aggregator.aggregate_content("on_run_step_completed", done("s1", "call_0"))
    assert outputs(aggregator) == ["old", "o"]


def test_a_step_that_is_told_again_takes_the_part_that_it_has() -> None:
    seed: list[content.Part | None] = [{"type": "tool_call", "tool_call": {"id": "c1", "name": "n", "args": ""}}]
    aggregator = content.create_content_aggregator(seed)
    for _ in range(2):
        aggregator.aggregate_content("on_run_step", step("s1", 0, {"id": "c1", "name": "n", "args": {}}))
    aggregator.aggregate_content("on_run_step_completed", done("s1", "c1"))
    assert outputs(aggregator) == ["o"]


def test_further_calls_of_a_step_move_later_steps_on() -> None:
    aggregator = content.create_content_aggregator()
    calls = [{"id": call, "name": "n", "args": {}} for call in ("c1", "c2")]
    aggregator.aggregate_content("on_run_step", step("s1", 0, *calls))
    aggregator.aggregate_content("on_run_step", step("s2", 1))
    aggregator.aggregate_content("on_message_delta", said("s2", "x"))
    assert [part and part["type"] for part in aggregator.content_parts] == ["tool_call", "tool_call", "text"]


def test_fragments_after_completion_change_nothing() -> None:
    aggregator = content.create_content_aggregator()
    aggregator.aggregate_content("on_run_step", step("s1", 0, {"id": "c1", "name": "n", "args": {}}))
    aggregator.aggregate_content("on_run_step_completed", done("s1", "c1"))
    before = aggregator.content_parts[0]
    late = {"id": "c1", "name": "n", "args": "late", "index": 0}
    aggregator.aggregate_content(
        "on_run_step_delta", {"id": "s1", "delta": {"type": "tool_calls", "tool_calls": [late]}}
    )
    assert aggregator.content_parts == [before]


def test_citations_add_up() -> None:
    aggregator = content.create_content_aggregator()
    aggregator.aggregate_content("on_run_step", step("s1", 0))
    aggregator.aggregate_content("on_message_delta", said("s1", "a", citations=[1]))
    aggregator.aggregate_content("on_message_delta", said("s1", "b", citations=[2]))
    assert aggregator.content_parts == [{"type": "text", "text": "ab", "citations": [1, 2]}]


def test_citations_stay_when_further_text_has_none() -> None:
    aggregator = content.create_content_aggregator()
    aggregator.aggregate_content("on_run_step", step("s1", 0))
    for number, more in enumerate(({}, {"citations": ["a"]}, {}, {"citations": ["b"]}, {"citations": []})):
        aggregator.aggregate_content("on_message_delta", said("s1", str(number), **more))
    assert aggregator.content_parts == [{"type": "text", "text": "01234", "citations": ["a", "b"]}]


def test_a_whole_summary_replaces_its_pieces() -> None:
    aggregator = content.create_content_aggregator()
    aggregator.aggregate_content("on_run_step", step("s1", 0))
    for text in ("A", "B"):
        piece = {"type": "summary", "content": [{"type": "text", "text": text}]}
        aggregator.aggregate_content("on_summarize_delta", {"id": "s1", "delta": {"summary": piece}})
    pieces = aggregator.content_parts[0]
    assert pieces is not None and [block["text"] for block in pieces["content"]] == ["A", "B"]
    whole = {"type": "summary", "content": [], "boundary": {"messageId": "s1", "contentIndex": 0}}
    aggregator.aggregate_content("on_summarize_complete", {"id": "s1", "agentId": "a", "summary": whole})
    assert aggregator.content_parts == [whole]


def test_a_summary_that_is_told_as_the_result_of_its_step_is_its_part() -> None:
    aggregator = content.create_content_aggregator()
    aggregator.aggregate_content("on_run_step", step("s1", 0, agentId="a"))
    whole = {"type": "summary", "content": [{"type": "text", "text": "S"}], "boundary": {"messageId": "s1"}}
    result = {"id": "s1", "index": 0, "type": "summary", "summary": whole}
    aggregator.aggregate_content("on_run_step_completed", {"result": result})
    assert aggregator.content_parts == [{**whole, "agentId": "a"}]


def test_a_step_of_calls_that_names_none_yet_gets_them_by_their_fragments() -> None:
    aggregator = content.create_content_aggregator()
    opened = step("s1", 0, {"id": "c"})
    opened["stepDetails"]["tool_calls"] = None
    aggregator.aggregate_content("on_run_step", opened)
    assert aggregator.content_parts == []
    fragment = {"id": "c1", "name": "n", "args": "{}", "index": 0}
    aggregator.aggregate_content(
        "on_run_step_delta", {"id": "s1", "delta": {"type": "tool_calls", "tool_calls": [fragment]}}
    )
    call = {"id": "c1", "name": "n", "args": "{}", "type": "tool_call"}
    assert aggregator.content_parts == [{"type": "tool_call", "tool_call": call}]


def test_a_part_has_the_place_of_its_index_or_the_next_free_one() -> None:
    aggregator = content.create_content_aggregator()
    for step_id, index in (("s1", 2), ("s2", 0)):
        aggregator.aggregate_content("on_run_step", step(step_id, index))
        aggregator.aggregate_content("on_message_delta", said(step_id, step_id))
    assert [part and part["text"] for part in aggregator.content_parts] == [None, None, "s1", "s2"]


def test_a_result_of_a_call_of_another_step_is_on_the_part_of_that_call() -> None:
    aggregator = content.create_content_aggregator()
    for number in (0, 1):
        aggregator.aggregate_content("on_run_step", step(f"s{number}", number, {"id": f"c{number}", "name": "n"}))
    aggregator.aggregate_content("on_run_step_completed", done("s1", "c0"))
    first, second = (part and part["tool_call"] for part in aggregator.content_parts)
    assert (first or {})["output"] == "o"
    assert "output" not in (second or {})


def test_a_fragment_may_have_a_name_and_no_arguments() -> None:
    aggregator = content.create_content_aggregator()
    aggregator.aggregate_content("on_run_step", step("s", 0, {"id": "c", "name": "n", "args": ""}))
    for args in (None, '{"x"', ":1}"):
        fragments = {"type": "tool_calls", "tool_calls": [{"id": "c", "name": "n", "args": args, "index": 0}]}
        aggregator.aggregate_content("on_run_step_delta", {"id": "s", "delta": fragments})
    (part,) = aggregator.content_parts
    assert (part or {})["tool_call"]["args"] == '{"x":1}'
