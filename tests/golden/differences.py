"""Where we deliberately do not do as recorded: the exact expectation that takes the place of the recorded one.

Matching is the rule. Each entry is a quirk that no host can want, with what a host gets; `docs/run-api.md` lists
them by scenario. An entry that changes nothing any more fails the tests.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from tests.golden.projection import Json

Place: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Replaced:
    """What stands at `place` in the projection of a recording is expected to be `value`."""

    place: Place
    value: Json


@dataclass(frozen=True, slots=True)
class Inserted:
    """Rows that come before what is at `place`."""

    place: Place
    rows: list[Json]


@dataclass(frozen=True, slots=True)
class Removed:
    """What is at `place` is not expected; or, of a list, `count` entries from there."""

    place: Place
    count: int = 1


@dataclass(frozen=True, slots=True)
class Difference:
    """A deliberate difference.

    Attributes:
        reason: Why, in a sentence.
        changes: How the expectation differs, applied in order.
    """

    reason: str
    changes: tuple[Replaced | Inserted | Removed, ...]


def _run_messages(*messages: Json) -> Replaced:
    return Replaced(("final", "run1", "runMessages"), list(messages))


def _raised(facts: dict[str, Json]) -> tuple[Replaced, ...]:
    """What `process_stream` raises, wherever the recorder noted it."""
    places: tuple[Place, ...] = (("events", -2, "data"), ("events", -1, "data", "thrown"), ("final", "run1", "thrown"))
    return tuple(Replaced(place, facts) for place in places)


def _cut_off(text: str, why: str) -> dict[str, Json]:
    return {"_msg": "ai", "id": "<answer:1>", "content": text, "additional_kwargs": {"incomplete": why}}


def _called(number: int, name: str, args: dict[str, Json]) -> dict[str, Json]:
    """The answer that made a call."""
    return {
        "_msg": "ai",
        "id": f"<answer:{number}>",
        "content": "",
        "tool_calls": [{"name": name, "args": args, "id": f"call_{number}", "type": "tool_call"}],
        "response_metadata": {"finish_reason": "tool_calls", "model_name": "m", "model_provider": "openai"},
        "usage_metadata": {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15},
    }


def _unfinished(number: int, name: str) -> dict[str, Json]:
    """The result of a call that never had one, so that every provider accepts the history."""
    return {
        "_msg": "tool",
        "content": "The call did not finish: the run was stopped before it had a result.",
        "name": name,
        "tool_call_id": f"call_{number}",
        "additional_kwargs": {"synthetic": True},
        "status": "error",
    }


def _sunny(number: int) -> dict[str, Json]:
    found = {"_msg": "tool", "content": "Sunny in A", "id": "<id>"}
    return {**found, "name": "get_weather", "tool_call_id": f"call_{number}"}


_TURN = "The index of a completion is always the turn of the call: recorded is the content index if the tool failed."
_KEPT = "What a failed run has said is kept, marked, and every call has a result: recorded is an empty list."
_WEATHER_IN_A = {"city": "A"}
_NOBODY = (
    "Agent 'agent_o' called get_weather, which only the host can execute, and no handler is registered for "
    "'on_tool_execute': register one, or give the agent tools in place of tool definitions"
)
_HANDLER = "The handler 'Rig.handlers.<locals>.handle' of 'on_message_delta' failed: RuntimeError: handler threw"

DIFFERENCES: dict[str, Difference] = {
    "e_tool_error_inprocess": Difference(_TURN, (Replaced(("events", 8, "data", "result", "index"), 0),)),
    "e3_unknown_tool": Difference(_TURN, (Replaced(("events", 7, "data", "result", "index"), 0),)),
    "e4_event_driven_reject": Difference(
        _KEPT, (_run_messages(_called(1, "boom", {"x": "y"}), _unfinished(1, "boom")),)
    ),
    "h2_model_error_midstream_drop": Difference(_KEPT, (_run_messages(_cut_off("one two ", "failed")),)),
    "h3_model_error_midstream_event": Difference(_KEPT, (_run_messages(_cut_off("one two ", "failed")),)),
    "h4_recursion_limit": Difference(
        _KEPT,
        (
            _run_messages(
                _called(1, "get_weather", _WEATHER_IN_A),
                _sunny(1),
                _called(2, "get_weather", _WEATHER_IN_A),
                _sunny(2),
                _called(3, "get_weather", _WEATHER_IN_A),
                _unfinished(3, "get_weather"),
            ),
        ),
    ),
    "h5_handler_throws": Difference(
        f"An error of a handler says which handler failed, and on which event. {_KEPT}",
        (*_raised({"message": _HANDLER}), _run_messages(_cut_off("Hello ", "failed"))),
    ),
    "i_abort_midstream": Difference(_KEPT, (_run_messages(_cut_off("one two three ", "aborted")),)),
    "o_event_driven_no_execute_handler": Difference(
        f"Tools that nobody executes fail the run at once: recorded is a run that hangs until it is aborted. {_KEPT}",
        (
            Removed(("events", 7)),
            Replaced(("events", 7, "data", "status"), "failed"),
            *_raised({"message": _NOBODY}),
            _run_messages(_called(1, "get_weather", {"city": "Paris"}), _unfinished(1, "get_weather")),
        ),
    ),
}


def expected(name: str, recorded: Mapping[str, Json]) -> dict[str, Json]:
    """The projection of a recording with its deliberate differences.

    Raises:
        ValueError: A change changes nothing, so it is not a difference any more.
    """
    changed: dict[str, Json] = copy.deepcopy(dict(recorded))
    for change in DIFFERENCES[name].changes if name in DIFFERENCES else ():
        before = copy.deepcopy(changed)
        _apply(changed, change)
        if changed == before:
            raise ValueError(f"{name}: {change} changes nothing; take it out of the table")
    return changed


def _apply(recording: Any, change: Replaced | Inserted | Removed) -> None:
    *path, last = change.place
    holder = recording
    for step in path:
        holder = holder[step]
    match change:
        case Replaced(value=value):
            holder[last] = copy.deepcopy(value)
        case Inserted(rows=rows):
            holder[last:last] = copy.deepcopy(rows)
        case Removed(count=count) if isinstance(last, int):
            del holder[last : last + count]
        case Removed():
            del holder[last]
