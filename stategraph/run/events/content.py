"""Content parts, made from events: the form in which a chat backend stores an answer.

- A step's place is the one already given to its index, else the next free one, at least its index. So two steps may
  share a place, and a step that never received content leaves a hole (None), which hosts filter out.
- Tool calls have their parts at once; a message has one with its first delta.
- A tool call is found by its id, in its own step first: models number their calls as they like, so several may have the
  same. Else it is found by the position of its fragments, else because its step has only one.
- Streamed arguments are not shown piece by piece: the completed call brings them whole.
- What cannot be placed is logged and left out; aggregating never fails a run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from stategraph.run.events import event_types

_log = logging.getLogger(__name__)

#: Kinds of parts that grow with every token, where to look up a member of an enum takes as long as a call.
_TEXT: Final = str(event_types.ContentTypes.TEXT)
_THINK: Final = str(event_types.ContentTypes.THINK)

#: A content part, as JSON.
Part = dict[str, Any]


@dataclass(slots=True)
class _Step:
    """A step's place, and those of its tool calls: by their ids, by their position among the fragments, and all."""

    place: int
    stamps: Part
    by_id: dict[str, int] = field(default_factory=dict)
    calls: dict[int, int] = field(default_factory=dict)
    places: list[int] = field(default_factory=list)


class ContentAggregator:
    """Content parts that grow with every event.

    Attributes:
        content_parts: The parts so far: a live list, with None where a step has no content.
        step_map: Every step seen, by its id.
    """

    def __init__(self, content_parts: list[Part | None] | None = None) -> None:
        self.content_parts: list[Part | None] = [] if content_parts is None else content_parts
        self.step_map: dict[str, Mapping[str, Any]] = {}
        self._steps: dict[str, _Step] = {}
        self._place_of_index: dict[int, int] = {}
        self._next_free = len(self.content_parts)
        self._place_of_call: dict[str, int] = {
            part["tool_call"]["id"]: place
            for place, part in enumerate(self.content_parts)
            if part is not None and part.get("type") == "tool_call" and (part.get("tool_call") or {}).get("id")
        }
        #: Calls of an earlier part of the answer that have no result, until a step says that it is theirs.
        self._unclaimed = {
            call_id: place
            for call_id, place in self._place_of_call.items()
            if (self.content_parts[place] or {})["tool_call"].get("progress") != 1
        }

    def aggregate_content(self, event: str, data: Mapping[str, Any]) -> None:
        """Apply one event; events that carry no content are ignored.

        Args:
            event: The event's name on the wire.
            data: Its payload.
        """
        aggregate = _AGGREGATE.get(event)
        if aggregate is not None:
            aggregate(self, data)

    def _new_place(self, at_least: int) -> int:
        place = max(self._next_free, at_least)
        self._next_free = place + 1
        return place

    def _put(self, place: int, part: Part) -> None:
        parts = self.content_parts
        if place >= len(parts):
            parts.extend([None] * (place + 1 - len(parts)))
        parts[place] = part

    def _at(self, place: int) -> Part | None:
        return self.content_parts[place] if place < len(self.content_parts) else None

    def _open(self, data: Mapping[str, Any]) -> None:
        index = data["index"]
        place = self._place_of_index.get(index)
        if place is None:
            place = self._place_of_index[index] = self._new_place(index)
        stamps = {key: data[key] for key in ("agentId", "groupId") if data.get(key) is not None}
        step = _Step(place=place, stamps=stamps)
        if (told_before := self._steps.get(data["id"])) is not None:
            step.by_id = told_before.by_id
        self.step_map[data["id"]] = data
        self._steps[data["id"]] = step
        if data["stepDetails"]["type"] == event_types.StepTypes.TOOL_CALLS:
            for position, call in enumerate(data["stepDetails"].get("tool_calls") or ()):
                self._declare(step, position, call)

    def _declare(self, step: _Step, position: int, call: Mapping[str, Any]) -> int:
        """Find or make the part of a call, and remember it as one of the step's."""
        call_id = call.get("id") or ""
        place = step.by_id.get(call_id, self._unclaimed.pop(call_id, None))
        if place is None:
            is_free = not step.places and self._at(step.place) is None
            place = step.place if is_free else self._new_place(step.place)
            declared = {key: call[key] for key in ("id", "name", "args") if call.get(key) is not None}
            self._put(place, {"type": "tool_call", "tool_call": {**declared, "type": "tool_call"}, **step.stamps})
        if call_id:
            step.by_id[call_id] = self._place_of_call[call_id] = place
        step.calls[position] = place
        if place not in step.places:
            step.places.append(place)
        return place

    def _append_text(self, data: Mapping[str, Any]) -> None:
        self._append(data, "message delta")

    def _append_thought(self, data: Mapping[str, Any]) -> None:
        self._append(data, "reasoning delta")

    def _append(self, data: Mapping[str, Any], what: str) -> None:
        step = self._steps.get(data["id"])
        if step is None:
            _log.warning("No run step or runId found for %s event", what)
            return
        delta = data["delta"]
        for piece in _pieces(delta.get("content")):
            self._append_piece(step, piece, delta.get("tool_call_ids"))

    def _append_piece(self, step: _Step, piece: Mapping[str, Any], tool_call_ids: Sequence[str] | None) -> None:
        kind = piece.get("type")
        part = self._at(step.place)
        if part is not None and part["type"] != kind:
            _log.warning("Content type mismatch")
            return
        if kind == _TEXT:
            longer = _longer_text(part or {}, piece, tool_call_ids)
        elif kind == _THINK:
            longer = {"type": "think", "think": (part or {}).get("think", "") + (piece.get("think") or "")}
        elif isinstance(kind, str):
            # The stored part marks that something of this kind was here; its payload does not come as deltas.
            longer = dict(part or {"type": str(kind)})
        else:
            return
        longer.update(step.stamps)
        self._put(step.place, longer)

    def _fragments(self, data: Mapping[str, Any]) -> None:
        step = self._steps.get(data["id"])
        if step is None:
            _log.warning("No run step or runId found for run step delta event")
            return
        delta = data["delta"]
        if delta.get("type") != event_types.StepTypes.TOOL_CALLS:
            return
        signing_in = {key: delta[key] for key in ("auth", "expires_at") if delta.get(key) is not None}
        for fragment in delta.get("tool_calls") or ():
            place = self._place_of_fragment(step, fragment)
            if place is not None:
                self._apply_fragment(place, fragment, signing_in)

    def _place_of_fragment(self, step: _Step, fragment: Mapping[str, Any]) -> int | None:
        call_id = fragment.get("id") or ""
        known = step.by_id.get(call_id, self._unclaimed.get(call_id))
        if known is not None:
            return known
        position = fragment.get("index")
        if fragment.get("id") and fragment.get("name"):
            return self._declare(step, len(step.calls) if position is None else position, {**fragment, "args": ""})
        if position in step.calls:
            return step.calls[position]
        return step.places[0] if len(step.places) == 1 else None

    def _apply_fragment(self, place: int, fragment: Mapping[str, Any], signing_in: Part) -> None:
        part = self._at(place)
        if part is None or part["tool_call"].get("progress") == 1:
            return
        call = {**part["tool_call"], **signing_in}
        if fragment.get("name"):
            call["args"] = _longer_arguments(call.get("args"), fragment.get("args") or "")
        self._put(place, {**part, "tool_call": call})

    def _complete(self, data: Mapping[str, Any]) -> None:
        result = data["result"]
        if result.get("type") == event_types.ContentTypes.SUMMARY:
            self._put_summary(result)
            return
        call = result["tool_call"]
        place = self._place_of_result(self._steps.get(result.get("id") or ""), call.get("id") or "")
        before = None if place is None else self._at(place)
        if place is None or before is None:
            _log.warning("No run step or tool call found for completed step event")
            return
        self._put(place, {**before, "tool_call": _completed(call, before["tool_call"])})

    def _place_of_result(self, step: _Step | None, call_id: str) -> int | None:
        """Find the part of a completed call."""
        if step is None:
            return self._place_of_call.get(call_id)
        place = step.by_id.get(call_id, self._place_of_call.get(call_id))
        return step.places[0] if place is None and len(step.places) == 1 else place

    def _put_update(self, data: Mapping[str, Any]) -> None:
        update = data["agent_update"]
        self._put(self._new_place(update["index"]), {"type": "agent_update", "agent_update": dict(update)})

    def _put_output(self, data: Mapping[str, Any]) -> None:
        step = self._steps.get(data["id"])
        if step is None:
            _log.warning("No run step or runId found for output event")
            return
        output = {"type": data["type"], "value": data["value"]}
        self._put(step.place, {"type": "output", "output": output, **step.stamps})

    def _append_summary(self, data: Mapping[str, Any]) -> None:
        step = self._steps.get(data["id"])
        piece = data["delta"].get("summary")
        if step is None or piece is None:
            _log.warning("No run step or runId found for summarize delta event")
            return
        part = self._at(step.place)
        if part is not None and part["type"] != event_types.ContentTypes.SUMMARY:
            _log.warning("Content type mismatch")
            return
        so_far = list((part or {}).get("content") or ())
        self._put(step.place, {**(part or {}), **piece, "content": [*so_far, *(piece.get("content") or ())]})

    def _put_summary(self, data: Mapping[str, Any]) -> None:
        """Replace the pieces by the whole; without a boundary it is not the whole."""
        step, summary = self._steps.get(data.get("id") or ""), data.get("summary")
        if step is not None and summary is not None and summary.get("boundary"):
            self._put(step.place, {**summary, **step.stamps})


_AGGREGATE: Final[Mapping[str, Callable[[ContentAggregator, Mapping[str, Any]], None]]] = {
    event_types.GraphEvents.ON_RUN_STEP: ContentAggregator._open,
    event_types.GraphEvents.ON_RUN_STEP_DELTA: ContentAggregator._fragments,
    event_types.GraphEvents.ON_RUN_STEP_COMPLETED: ContentAggregator._complete,
    event_types.GraphEvents.ON_MESSAGE_DELTA: ContentAggregator._append_text,
    event_types.GraphEvents.ON_REASONING_DELTA: ContentAggregator._append_thought,
    event_types.GraphEvents.ON_AGENT_UPDATE: ContentAggregator._put_update,
    event_types.GraphEvents.ON_OUTPUT: ContentAggregator._put_output,
    event_types.GraphEvents.ON_SUMMARIZE_DELTA: ContentAggregator._append_summary,
    event_types.GraphEvents.ON_SUMMARIZE_COMPLETE: ContentAggregator._put_summary,
}

#: The events that make up the content of an answer.
CONTENT_EVENTS: Final = tuple(_AGGREGATE)


def create_content_aggregator(content_parts: list[Part | None] | None = None) -> ContentAggregator:
    """Create an aggregator for one run.

    Args:
        content_parts: Parts of an earlier part of the same answer, such as before a pause; new ones come after them,
            and results find the tool calls among them. The list is the one that grows. None: an empty one.

    Returns:
        The aggregator, whose method is called with every event.
    """
    return ContentAggregator(content_parts)


def _pieces(content: object) -> list[Mapping[str, Any]]:
    if isinstance(content, list):
        if len(content) == 1 and isinstance(content[0], dict):  # once per token
            return content
        # Asked about dicts first: it is quicker than to ask about mappings.
        return [piece for piece in content if isinstance(piece, (dict, Mapping))]
    return [content] if isinstance(content, Mapping) else []


def _longer_text(part: Part, piece: Mapping[str, Any], tool_call_ids: Sequence[str] | None) -> Part:
    """Append a piece to the text; the ids are those of the last piece, none if it has none."""
    longer: Part = {"type": "text", "text": part.get("text", "") + (piece.get("text") or "")}
    ids = piece.get("tool_call_ids") or tool_call_ids
    if ids:
        longer["tool_call_ids"] = list(ids)
    if "citations" in part or "citations" in piece:
        citations = [*(part.get("citations") or ()), *(piece.get("citations") or ())]
        if citations:
            longer["citations"] = citations
    return longer


def _completed(call: Mapping[str, Any], before: Mapping[str, Any]) -> Part:
    """Return a call with its result, and where to sign in, if that was told before."""
    completed = {key: call[key] for key in ("id", "name", "args") if key in call}
    completed |= {"type": "tool_call", "progress": 1, "output": call.get("output", "")}
    completed |= {key: before[key] for key in ("auth", "expires_at") if key in before}
    if call.get("outcome") is not None:
        completed["outcome"] = call["outcome"]
    return completed


def _longer_arguments(so_far: object, fragment: str) -> object:
    """Append a fragment of arguments: text grows, text replaces an empty object, a parsed object is complete."""
    if isinstance(so_far, str):
        return so_far + fragment
    return so_far or fragment
