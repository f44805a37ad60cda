"""Rules that the facts of every run keep."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from stategraph.server.projection import (
    Fact,
    GraphFinished,
    GraphStarted,
    MessageDiscarded,
    MessageEnded,
    MessageStarted,
    Projection,
    ReasoningDelta,
    RunEnded,
    RunStarted,
    StepFinished,
    StepStarted,
    TextDelta,
    ToolCallDelta,
    ToolCallEnded,
    ToolCallStarted,
    ToolResult,
)


def facts_of(log: Iterable[Any]) -> list[Fact]:
    """Return the facts of a log."""
    projection = Projection()
    return [fact for event in log for fact in projection.take(event)]


def texts(facts: Sequence[Fact], *, in_tools: bool = True) -> list[str]:
    """Return the texts of the messages that were not discarded, in the order in which they began."""
    found: dict[str, str] = {}
    for fact in facts:
        match fact:
            case MessageStarted(message_id, at):
                if in_tools or not at.in_tool:
                    found[message_id] = ""
            case TextDelta(message_id, text) if message_id in found:
                found[message_id] += text
            case MessageDiscarded(message_id):
                found.pop(message_id, None)
    return [each for each in found.values() if each]


def check(facts: Sequence[Fact], *, allows_cut_off: bool = False) -> None:
    """Raise an AssertionError unless every begin has one end, in order, with the pieces between."""
    assert isinstance(facts[0], RunStarted)
    assert isinstance(facts[-1], RunEnded)
    assert sum(isinstance(each, RunStarted | RunEnded) for each in facts) == 2
    began: set[str] = set()
    open_messages: dict[str, str] = {}
    open_calls: dict[str, str] = {}
    ended_calls: set[str] = set()
    answered: set[str] = set()
    open_places: dict[str, None] = {}
    places: set[str] = set()
    for fact in facts:
        match fact:
            case MessageStarted(message_id):
                assert message_id not in began, f"{message_id} begins twice"
                began.add(message_id)
                open_messages[message_id] = ""
            case TextDelta(message_id, text):
                assert text
                open_messages[message_id] += text
            case ReasoningDelta(message_id, text):
                assert text
                assert message_id in open_messages
            case ToolCallStarted(message_id, call_id, name):
                assert name
                assert message_id in open_messages
                assert call_id not in open_calls and call_id not in ended_calls, f"{call_id} begins twice"
                open_calls[call_id] = ""
            case ToolCallDelta(call_id, text):
                assert text
                open_calls[call_id] += text
            case ToolCallEnded(message_id, call_id, _, arguments):
                assert message_id in open_messages
                assert open_calls.pop(call_id) == arguments
                ended_calls.add(call_id)
                assert allows_cut_off or json.loads(arguments) is not None
            case MessageEnded(message_id, text, is_complete):
                assert open_messages.pop(message_id) == text
                assert allows_cut_off or is_complete
            case MessageDiscarded(message_id):
                assert allows_cut_off
                assert message_id in began and message_id not in open_messages
            case ToolResult(call_id=call_id):
                assert call_id not in answered, f"{call_id} is answered twice"
                assert call_id not in open_calls
                answered.add(call_id)
            case StepStarted(step_id) | GraphStarted(graph_id=step_id):
                assert step_id not in places
                places.add(step_id)
                open_places[step_id] = None
            case StepFinished(step_id) | GraphFinished(step_id):
                del open_places[step_id]
    assert not open_messages
    assert not open_calls
    assert not open_places


def told(facts: Sequence[Fact]) -> dict[str, list[Any]]:
    """Return what was told by kind, joined, without ids: what two readers must agree about."""
    found: dict[str, list[Any]] = defaultdict(list)
    for fact in facts:
        match fact:
            case ToolCallEnded(_, _, name, arguments):
                found["calls"].append((name, arguments))
            case ToolResult(name=name, text=text):
                found["results"].append((name, text))
            case StepStarted(_, at):
                found["steps"].append(at.node)
    found["texts"] = texts(facts)
    return dict(found)
