"""Where we deliberately do not do as recorded: the exact expectation that takes the place of the recorded one.

Matching is the rule. Each entry is a quirk that no host can want, with what a host gets; `docs/run-api.md` lists
them by scenario. An entry that changes nothing any more fails the tests.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from stategraph.agent.context import context_window
from stategraph.agent.llm import summaries
from tests.golden.counting import compact
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


#: How a model is told the recorded summary.
_TOLD = context_window.summary_message("A short summary of things.").content


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


def _result(number: int, name: str, text: str) -> dict[str, Json]:
    return {"_msg": "tool", "content": text, "id": "<id>", "name": name, "tool_call_id": f"call_{number}"}


@dataclass(frozen=True, slots=True)
class _Handoff:
    """A call that hands over to another agent.

    Attributes:
        call_id: The call's id.
        giver: The agent that hands over, and its name.
        taker: The agent that goes on.
        text: What the giver says besides; None: nothing.
    """

    call_id: str
    giver: tuple[str, str]
    taker: str
    text: str | None = None

    @property
    def args(self) -> dict[str, Json]:
        return {} if self.text is None else {"instructions": self.text}

    @property
    def output(self) -> str:
        said = "" if self.text is None else f"\n\nInstructions: {self.text}"
        return f"Successfully transferred to {self.taker}{said}"

    @property
    def tool_call(self) -> dict[str, Json]:
        return {"name": f"lc_transfer_to_{self.taker}", "args": self.args, "id": self.call_id, "type": "tool_call"}

    @property
    def part(self) -> dict[str, Json]:
        """The call among the returned parts."""
        return {"type": "tool_call", "tool_call": {**self.tool_call, "output": self.output}}

    @property
    def completed(self) -> dict[str, Json]:
        """The call among the aggregated parts, and in the completion of its step."""
        return {**self.tool_call, "args": compact(self.args), "progress": 1, "output": self.output}

    @property
    def message(self) -> dict[str, Json]:
        told = {} if self.text is None else {"handoff_instructions": self.text}
        return {
            "_msg": "tool",
            "content": self.output,
            "name": self.tool_call["name"],
            "tool_call_id": self.call_id,
            "additional_kwargs": {"handoff_source_name": self.giver[1], **told},
        }

    def rows(self, run_id: str, step: int, index: int, *, step_index: int = 1) -> list[Json]:
        """The completion and the closing of its step."""
        call = {name: each for name, each in self.completed.items() if name != "type"}
        result = {"id": f"<step:{step}>", "index": 0, "type": "tool_call", "tool_call": call, "completed_at": "<ms>"}
        closed = {
            "id": f"<step:{step}>",
            "index": index,
            "type": "tool_calls",
            "status": "completed",
            "closed_at": "<ms>",
            "created_at": "<ms>",
            "runId": run_id,
            "agentId": self.giver[0],
            "stepIndex": step_index,
        }
        meta = {"run_id": run_id, "thread_id": "thread-1", "langgraph_step": 2}
        place = {"node": f"tools={self.giver[0]}", "meta": meta}
        return [
            {"event": "on_run_step_completed", **place, "data": {"result": result}},
            {"event": "on_run_step_closed", **place, "data": closed},
        ]

    def changes(self, end: int, part: int) -> tuple[Replaced, ...]:
        """What its `on_tool_end` at row `end` and its aggregated part say."""
        return (
            Replaced(("events", end, "data", "output", "update", "messages"), [self.message]),
            Replaced(("final", "contentParts", part, "tool_call"), self.completed),
        )


_TURN = "The index of a completion is always the turn of the call: recorded is the content index if the tool failed."
_KEPT = "What a failed run has said is kept, marked, and every call has a result: recorded is an empty list."
_WEATHER_IN_A = {"city": "A"}
_NOBODY = (
    "Agent 'agent_o' called get_weather, which only the host can execute, and no handler is registered for "
    "'on_tool_execute': register one, or give the agent tools in place of tool definitions"
)
_ASTRAY = (
    'MultiAgentGraph: edges reference agent(s) not present in agents: ["missing"]. Found them in x -> missing; the '
    "agents are x. Add what is missing to the agents, or leave the edges out"
)
_HANDLER = "The handler 'Rig.handlers.<locals>.handle' of 'on_message_delta' failed: RuntimeError: handler threw"

_HANDED_OVER = (
    "A step that hands over is completed and closed when it has; recorded is a call that never completes, whose "
    "step is closed at the end of the run. What a handoff adds to the conversation is its result alone."
)
_CALLS_STAY = "The answer keeps its calls, so that every result has one; recorded is a result without its call."
_BILLING = _Handoff("call_h", ("agent_one", "One"), "agent_two", "Handle billing.")
_TO_TWO = _Handoff("call_h1", ("one", "One"), "two")
_TO_ONE = _Handoff("call_h2", ("two", "Two"), "one")
_DO_A = _Handoff("call_h2", ("one", "One"), "two", "Do A.")
_DO_B = _Handoff("call_h3", ("one", "One"), "three", "Do B.")


def _transferring(text: str, model: str, *handoffs: _Handoff) -> dict[str, Json]:
    """The answer that hands over."""
    return {
        "_msg": "ai",
        "id": "<answer:1>",
        "content": text,
        "tool_calls": [each.tool_call for each in handoffs],
        "response_metadata": {"finish_reason": "tool_calls", "model_name": model, "model_provider": "openai"},
        "usage_metadata": {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15},
    }


def _beside(handoff: _Handoff) -> dict[str, Json]:
    """The result of one of two handoffs, as it is kept in the conversation."""
    told = {"handoff_parallel": {"agents": ["two", "three"], "groupId": "<random>"}}
    kept = handoff.message
    return {**kept, "id": "<id>", "additional_kwargs": {**kept["additional_kwargs"], **told}}


DIFFERENCES: dict[str, Difference] = {
    "e_tool_error_inprocess": Difference(_TURN, (Replaced(("events", 8, "data", "result", "index"), 0),)),
    "e3_unknown_tool": Difference(_TURN, (Replaced(("events", 7, "data", "result", "index"), 0),)),
    "e4_event_driven_reject": Difference(
        _KEPT, (_run_messages(_called(1, "boom", {"x": "y"}), _unfinished(1, "boom")),)
    ),
    "f_handoff": Difference(
        f"{_HANDED_OVER} {_CALLS_STAY}",
        (
            *_BILLING.changes(end=9, part=1),
            Removed(("events", 16)),
            Inserted(("events", 10), _BILLING.rows("run-f", step=2, index=1)),
            Replaced(("final", "run1", "runMessages", 0), _transferring("Transferring.", "m1", _BILLING)),
            Replaced(("final", "run1", "returned", 0, "tool_call_ids"), ["call_h"]),
            Removed(("final", "run1", "returned", 1)),
            Replaced(("final", "run1", "returned", 1), _BILLING.part),
        ),
    ),
    "f4_parallel_handoffs": Difference(
        f"{_HANDED_OVER} {_CALLS_STAY}",
        (
            *_DO_A.changes(end=13, part=1),
            *_DO_B.changes(end=14, part=2),
            Removed(("events", 27), 2),
            Inserted(
                ("events", 15),
                [*_DO_A.rows("run-f4", step=2, index=1), *_DO_B.rows("run-f4", step=3, index=2, step_index=2)],
            ),
            Inserted(
                ("final", "run1", "runMessages", 0),
                [
                    _transferring("", "m1", _DO_A, _DO_B),
                    _beside(_DO_A),
                    _beside(_DO_B),
                ],
            ),
            Inserted(
                ("final", "run1", "returned", 0),
                [{"type": "text", "text": "", "tool_call_ids": ["call_h2", "call_h3"]}, _DO_A.part, _DO_B.part],
            ),
        ),
    ),
    "f6_handoff_no_prompt_roundtrip": Difference(
        _HANDED_OVER,
        (
            *_TO_TWO.changes(end=8, part=1),
            *_TO_ONE.changes(end=17, part=3),
            Removed(("events", -3), 2),
            Inserted(("events", 18), _TO_ONE.rows("run-f6", step=4, index=3)),
            Inserted(("events", 9), _TO_TWO.rows("run-f6", step=2, index=1)),
        ),
    ),
    "h2_model_error_midstream_drop": Difference(_KEPT, (_run_messages(_cut_off("one two ", "failed")),)),
    "h3_model_error_midstream_event": Difference(_KEPT, (_run_messages(_cut_off("one two ", "failed")),)),
    "h4_recursion_limit": Difference(
        _KEPT,
        (
            _run_messages(
                _called(1, "get_weather", _WEATHER_IN_A),
                _result(1, "get_weather", "Sunny in A"),
                _called(2, "get_weather", _WEATHER_IN_A),
                _result(2, "get_weather", "Sunny in A"),
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
    "i2_hook_halt": Difference(
        _KEPT,
        (
            _run_messages(_called(1, "get_weather", {"city": "Paris"}), _result(1, "get_weather", "x")),
            Replaced(
                ("final", "run1", "returned"),
                [
                    {"type": "text", "text": "", "tool_call_ids": ["call_1"]},
                    {
                        "type": "tool_call",
                        "tool_call": {
                            "name": "get_weather",
                            "args": {"city": "Paris"},
                            "id": "call_1",
                            "type": "tool_call",
                            "output": "x",
                        },
                    },
                ],
            ),
        ),
    ),
    "k_summarization": Difference(
        "What a model is asked for, and how it is told a summary, is in words of this package; nothing is indexed.",
        (
            Removed(("events", 1, "data", "semanticIndexEntryCount")),
            Removed(("events", 1, "data", "semanticIndexCharCount")),
            Replaced(("events", 7, "data", "input", "messages", 0, 14, "content"), summaries.PROMPT),
            Replaced(("events", 15, "data", "input", "messages", 0, 1, "content"), _TOLD),
            Replaced(("requests", 0, "messages", 14, "content"), summaries.PROMPT),
            Replaced(("requests", 1, "messages", 1, "content"), _TOLD),
        ),
    ),
    "l2_create_errors": Difference(
        "The message says which edge leads astray and which agents there are.",
        (Replaced(("final", "badEdge"), {"message": _ASTRAY}),),
    ),
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
