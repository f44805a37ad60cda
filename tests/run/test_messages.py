"""Stored histories as messages, on recorded cases."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, ToolMessage

from stategraph.run.history import stored_messages
from stategraph.run.history.stored_summaries import HistorySummary, TokenAdjustment

RECORDED = Path(__file__).parents[1] / "golden" / "vectors"
#: These were recorded with all that the original returns.
WHOLE: dict[str, Any] = json.loads((RECORDED / "format_agent_messages_more.json").read_text(encoding="utf-8"))
VECTORS: dict[str, Any] = {
    **json.loads((RECORDED / "format_agent_messages.json").read_text(encoding="utf-8")),
    **WHOLE,
}

#: Recorded cases of which this package makes something else, see the deliberate differences in `docs/run-api.md`.
DIFFERENT = {"arguments_of_calls", "user_with_media", "anthropic_calls"}
_OPTIONS = {
    "legacyContent": "legacy_content",
    "preserveReasoningContent": "preserve_reasoning_content",
    "provider": "provider",
    "skipSkillBodyNames": "skip_skill_body_names",
}


def shown(message: AnyMessage) -> dict[str, Any]:
    row: dict[str, Any] = {
        "type": message.type,
        "content": message.content,
        "additional_kwargs": message.additional_kwargs,
    }
    if message.id is not None:
        row["id"] = message.id
    if message.name is not None:
        row["name"] = message.name
    if isinstance(message, AIMessage) and message.tool_calls:
        row["tool_calls"] = [
            {"id": call["id"], "name": call["name"], "args": call["args"]} for call in message.tool_calls
        ]
    if isinstance(message, ToolMessage):
        row["tool_call_id"] = message.tool_call_id
    return row


def recorded(row: dict[str, Any]) -> dict[str, Any]:
    """A recorded message; `progress`, which was copied into one call, is no field of a tool call here."""
    calls = [{key: call[key] for key in ("id", "name", "args")} for call in row.get("tool_calls", ())]
    return {**row, "tool_calls": calls} if calls else row


@pytest.mark.vector
@pytest.mark.parametrize("name", [name for name in VECTORS if name not in DIFFERENT])
def test_a_recorded_history_gives_the_recorded_messages(name: str) -> None:
    vector = VECTORS[name]
    result = played(vector)
    assert [shown(message) for message in result.messages] == [recorded(row) for row in vector["messages"]]
    assert result.index_token_count_map == {int(key): count for key, count in vector["indexTokenCountMap"].items()}
    summary = vector.get("summary")
    assert result.summary == (summary and HistorySummary(summary["text"], summary["tokenCount"]))
    adjusted, told = result.boundary_token_adjustment, vector.get("boundaryTokenAdjustment")
    assert name not in WHOLE or adjusted == (told and TokenAdjustment(*told.values()))


def played(vector: dict[str, Any]) -> stored_messages.FormattedHistory:
    """Format the history of a recorded case."""
    assert vector["counts_in"] == "each 100"
    options = {_OPTIONS[name]: value for name, value in vector.get("options", {}).items()}
    counts = dict.fromkeys(range(len(vector["payload"])), 100)
    given = copy.deepcopy(vector["payload"])
    result = stored_messages.format_agent_messages(given, counts, vector.get("tools"), vector.get("skills"), **options)
    assert given == vector["payload"]  # the original changes it
    return result


def test_what_differs_from_the_recordings_on_purpose() -> None:
    answer = played(VECTORS["arguments_of_calls"]).messages[0]
    assert isinstance(answer, AIMessage)
    assert [made["args"] for made in answer.tool_calls] == [{"input": "Paris"}, {"a": 1}, {}, {}]
    # The original loses the text of a message with media.
    assert [message.text for message in played(VECTORS["user_with_media"]).messages] == ["look", "look"]
    first, _, second, _ = played(VECTORS["anthropic_calls"]).messages
    assert isinstance(first, AIMessage)
    assert isinstance(second, AIMessage)
    assert [made["id"] for made in (*first.tool_calls, *second.tool_calls)] == ["c1", "c2"]
    assert [block["type"] for block in first.content if isinstance(block, dict)] == ["text", "image_url", "text"]


def test_without_a_role_the_sender_decides() -> None:
    stored: list[dict[str, Any]] = [
        {"sender": "User", "text": "hi"},
        {"sender": "Bot", "text": "hello"},
        {"content": "so"},
    ]
    made = stored_messages.format_agent_messages(stored).messages
    assert [(message.type, message.text) for message in made] == [("human", "hi"), ("ai", "hello"), ("ai", "so")]


def call(call_id: str, args: object, **more: Any) -> dict[str, Any]:
    return {"type": "tool_call", "tool_call": {"id": call_id, "name": "get", "args": args, **more}}


def test_arguments_that_are_no_json_object_are_handed_on_whole() -> None:
    stored = [{"role": "assistant", "content": [call("c1", "Paris"), call("c2", "[1]"), call("c3", {"a": 1})]}]
    first = stored_messages.format_agent_messages(stored).messages[0]
    assert isinstance(first, AIMessage)
    assert [made["args"] for made in first.tool_calls] == [{"input": "Paris"}, {"input": "[1]"}, {"a": 1}]


def test_every_call_is_followed_by_its_result() -> None:
    stored = [{"role": "assistant", "content": [call("c1", "{}", output="one"), call("c2", "{}")]}]
    made = stored_messages.format_agent_messages(stored).messages
    assert [message.type for message in made] == ["ai", "tool", "tool"]
    assert [message.content for message in made[1:]] == ["one", ""]


def test_without_counts_none_are_returned() -> None:
    assert stored_messages.format_agent_messages([{"role": "user", "content": "hi"}]).index_token_count_map is None


def test_an_unknown_role_is_named() -> None:
    with pytest.raises(ValueError, match="Stored message 0 has the role 'critic'"):
        stored_messages.format_agent_messages([{"role": "critic", "content": "no"}])


@pytest.mark.parametrize(
    ("args", "shares"),
    [("not json", {0: 88, 1: 12}), ('{"query":"paris"}', {0: 86, 1: 14}), ('{ "query" : "paris" }', {0: 86, 1: 14})],
)
def test_tokens_are_shared_out_by_the_arguments_that_the_message_has(args: str, shares: dict[int, int]) -> None:
    stored = [{"role": "assistant", "content": [call("c1", args, output="res")]}]
    assert stored_messages.format_agent_messages(stored, {0: 100}).index_token_count_map == shares


def text(words: str, *ids: str) -> dict[str, Any]:
    return {"type": "text", "text": words, **({"tool_call_ids": list(ids)} if ids else {})}


def named(name: str, call_id: str, output: str = "") -> dict[str, Any]:
    return {"type": "tool_call", "tool_call": {"id": call_id, "name": name, "args": "{}", "output": output}}


def test_calls_of_tools_that_the_agent_does_not_have_are_left_out_with_their_results() -> None:
    parts = [text("I look.", "c1", "c2"), named("theirs", "c1", "R1"), named("own", "c2", "R2"), text("So.")]
    stored = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": parts}]
    result = stored_messages.format_agent_messages(stored, {1: 100}, {"own"})
    assert [(each.type, each.content) for each in result.messages[1:3]] == [("ai", "I look."), ("tool", "R2")]
    assert "R1" not in str(result.messages)
    assert sum((result.index_token_count_map or {}).values()) == 100
    kept = stored_messages.format_agent_messages(stored, None, {"own", "theirs"}).messages
    assert kept == stored_messages.format_agent_messages(stored).messages


def test_without_any_tools_only_texts_and_transfers_are_left() -> None:
    parts = [text("I look.", "c1"), named("theirs", "c1", "R"), text("So."), named("lc_transfer_to_b", "c2", "Done")]
    made = stored_messages.format_agent_messages([{"role": "assistant", "content": parts}], None, set()).messages
    assert [(each.type, each.text) for each in made] == [("ai", ""), ("tool", "Done"), ("ai", "I look.So.")]


def test_tools_that_a_stored_search_has_found_count_as_the_agents() -> None:
    found = 'Note: {"tools": [{"name": "late"}, {"id": 1}]}'
    first = [named("late", "c0", "too early"), named("tool_search", "c1", found), named("late", "c2", "R")]
    stored = [{"role": "assistant", "content": first}, {"role": "assistant", "content": [named("late", "c3", "S")]}]
    made = stored_messages.format_agent_messages(stored, None, {"tool_search"}).messages
    assert [each.content for each in made if each.type == "tool"] == [found, "R", "S"]
