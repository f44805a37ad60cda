"""`on_subagent_update`: what subagents do, told beside the steps of the run's own agents.

- Each subagent has steps of its own, numbered from 0. Their events are the `data` of updates, by their phase; its
  beginning and its end are updates too. Content parts are made of the run's own steps alone.
- Other events of a subagent are told as they are, with its agent id, and its name in the metadata: usage of its models
  is counted like any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final

from stategraph.agent.facts import (
    Delegation,
    Fact,
    ModelEnded,
    ModelFailed,
    ModelStarted,
    ModelStreamed,
    SubagentEnded,
    SubagentStarted,
)
from stategraph.agent.messages import problems
from stategraph.engine.config import environment
from stategraph.run.events.event_types import GraphEvents, Row, SubagentPhase, SubagentUpdate
from stategraph.run.events.step_list import Status
from stategraph.run.events.steps import StepTracker

_PHASES: Final[Mapping[str, SubagentPhase]] = MappingProxyType(
    {
        GraphEvents.ON_RUN_STEP: "run_step",
        GraphEvents.ON_RUN_STEP_DELTA: "run_step_delta",
        GraphEvents.ON_RUN_STEP_COMPLETED: "run_step_completed",
        GraphEvents.ON_RUN_STEP_CLOSED: "run_step_closed",
        GraphEvents.ON_MESSAGE_DELTA: "message_delta",
        GraphEvents.ON_REASONING_DELTA: "reasoning_delta",
    }
)

#: Events about the context that the run's readers follow: that of a subagent is another one.
_OF_ITS_OWN: Final = frozenset(
    {
        GraphEvents.ON_CONTEXT_USAGE,
        GraphEvents.ON_SUMMARIZE_START,
        GraphEvents.ON_SUMMARIZE_DELTA,
        GraphEvents.ON_SUMMARIZE_COMPLETE,
    }
)


def told_within(rows: Iterable[Row], subagent: Delegation, run_id: str) -> Iterator[Row]:
    """Yield the rows of a subagent as readers of the run are told them.

    Args:
        rows: The rows.
        subagent: Whose they are.
        run_id: The run.
    """
    for event, data in rows:
        if (phase := _PHASES.get(event)) is not None:
            yield _update(subagent, run_id, phase, data)
        elif event not in _OF_ITS_OWN:
            yield event, data


def started(fact: SubagentStarted, tracker: StepTracker, run_id: str) -> Iterator[Row]:
    """Yield the beginning of a subagent; none if its steps are known, because it continues after a pause.

    Args:
        fact: The beginning.
        tracker: The steps of the run.
        run_id: The run.
    """
    if fact.subagent.id not in tracker.subagents:
        tracker.below(fact.subagent)
        yield _update(fact.subagent, run_id, "start", {"task": fact.task}, f"Subagent '{fact.subagent.type}' started")


def subagent_of(fact: Fact) -> Delegation | None:
    """Return the subagent that does what a fact tells; None for an agent of the run."""
    if isinstance(fact, ModelStarted | ModelStreamed | ModelEnded | ModelFailed):
        return fact.call.at.within
    return fact.subagent if isinstance(fact, SubagentEnded) else fact.at.within


def ended(fact: SubagentEnded, tracker: StepTracker, run_id: str) -> Iterator[Row]:
    """Yield the end of a subagent, whose steps are closed and forgotten.

    Args:
        fact: The end.
        tracker: The steps of the run.
        run_id: The run.
    """
    status: Status = "completed" if fact.error is None else "failed"
    yield from _end(fact.subagent, tracker, run_id, status, fact.error)


def sweep(tracker: StepTracker, run_id: str, status: Status) -> Iterator[Row]:
    """Yield the ends of the subagents that are still at work when their run, or the call, has ended.

    Args:
        tracker: The steps of the run.
        run_id: The run.
        status: How it ended.
    """
    for subagent, _ in reversed(list(tracker.subagents.values())):
        yield from _end(subagent, tracker, run_id, status)


def of_call(tracker: StepTracker, call_id: str | None, above: Delegation | None) -> list[Delegation]:
    """Return the subagents that a call has started and that have not ended."""
    known = [subagent for subagent, _ in tracker.subagents.values()]
    return [each for each in known if each.call_id == call_id and each.above == above]


def _end(
    subagent: Delegation, tracker: StepTracker, run_id: str, status: Status, error: Exception | None = None
) -> Iterator[Row]:
    known = tracker.subagents.pop(subagent.id, None)
    if known is None:
        return
    yield from told_within(known[1].sweep(status), subagent, run_id)
    if status == "completed":
        yield _update(subagent, run_id, "stop", None, f"Subagent '{subagent.type}' finished")
        return
    message = status if error is None else problems.said(error)
    yield _update(subagent, run_id, "error", {"message": message}, f"Subagent '{subagent.type}' {status}")


def _update(subagent: Delegation, run_id: str, phase: SubagentPhase, data: object, label: str | None = None) -> Row:
    lineage = subagent.lineage
    update = SubagentUpdate(
        runId=run_id,
        parentRunId=run_id if subagent.above is None else subagent.above.id,
        subagentRunId=subagent.id,
        parentToolCallId=subagent.call_id,
        subagentType=subagent.type,
        subagentKind="agent",
        subagentAgentId=subagent.agent_id,
        memberAgentId=subagent.agent_id,
        depth=len(lineage),
        ancestry=[_entry(each, run_id) for each in lineage],
        parentAgentId=subagent.caller_id,
        phase=phase,
        timestamp=datetime.fromtimestamp(environment.current().clock.time(), UTC).isoformat(),
    )
    if data is not None:
        update["data"] = data
    if label is not None:
        update["label"] = label
    return GraphEvents.ON_SUBAGENT_UPDATE, update


def _entry(subagent: Delegation, run_id: str) -> dict[str, Any]:
    return {
        "subagentRunId": subagent.id,
        "subagentType": subagent.type,
        "subagentKind": "agent",
        "subagentAgentId": subagent.agent_id,
        "parentRunId": run_id if subagent.above is None else subagent.above.id,
        "parentAgentId": subagent.caller_id,
        "parentToolCallId": subagent.call_id,
    }
