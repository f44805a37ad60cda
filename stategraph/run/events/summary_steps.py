"""The steps of summaries: what their model writes is part of no message."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import cast

from stategraph.agent.facts import Place
from stategraph.run.events.event_types import (
    GraphEvents,
    MessageCreation,
    MessageCreationDetails,
    Row,
    RunStep,
    Summary,
    SummaryBoundary,
    SummaryResult,
)
from stategraph.run.events.step_list import StepList


class SummarySteps:
    """The summaries that are being written, one of an agent at a time.

    Args:
        steps: The steps of the run.
    """

    def __init__(self, steps: StepList) -> None:
        self._steps = steps
        self._open: dict[str, RunStep] = {}

    def clear(self) -> None:
        """Forget everything."""
        self._open.clear()

    def open(self, at: Place, figures: Mapping[str, object]) -> Iterator[Row]:
        """Yield the rows for a summary that is about to be written.

        Args:
            at: Where.
            figures: The model and its provider, how many messages, and the summary's number.

        Yields:
            The step, and that it starts.
        """
        by = {key: figures[key] for key in ("model", "provider")}
        details = MessageCreationDetails(type="message_creation", message_creation=MessageCreation(message_id=""))
        step = self._steps.open(at, "message_creation", details, 0)
        details["message_creation"]["message_id"] = step["id"]
        step["summary"] = cast("Summary", {"type": "summary", **by})
        self._open[at.agent_id] = step
        yield GraphEvents.ON_RUN_STEP, cast("RunStep", dict(step))
        yield GraphEvents.ON_SUMMARIZE_START, {"agentId": at.agent_id, **figures}

    def text(self, at: Place, text: str) -> Iterator[Row]:
        """Yield the rows for a piece of a summary.

        Args:
            at: Where.
            text: The piece.

        Yields:
            The delta.
        """
        step = self._open[at.agent_id]
        piece = {**step.get("summary", {}), "content": [{"type": "text", "text": text}]}
        yield GraphEvents.ON_SUMMARIZE_DELTA, {"id": step["id"], "delta": {"summary": piece}}

    def close(self, at: Place, summary: Mapping[str, object] | None, error: str | None) -> Iterator[Row]:
        """Yield the rows for the end of a summary, made or failed.

        Args:
            at: Where.
            summary: The content part that it is, but for its place; None: there is none.
            error: Why not.

        Yields:
            The completion, the closing of the step, and that it is over.
        """
        step = self._open.pop(at.agent_id)
        over: dict[str, object] = {"id": step["id"], "agentId": at.agent_id}
        if summary is None:
            yield from self._steps.close(step, "failed")
            yield GraphEvents.ON_SUMMARIZE_COMPLETE, {**over, "error": error}
            return
        now = self._steps.now_ms()
        whole = cast(
            "Summary",
            {
                **summary,
                "boundary": SummaryBoundary(messageId=step["id"], contentIndex=step["index"]),
                "createdAt": _iso(now),
            },
        )
        step["summary"] = whole
        result = SummaryResult(id=step["id"], index=step["index"], type="summary", summary=whole, completed_at=now)
        yield GraphEvents.ON_RUN_STEP_COMPLETED, {"result": result}
        yield from self._steps.close(step, "completed")
        yield GraphEvents.ON_SUMMARIZE_COMPLETE, {**over, "summary": whole}


def _iso(time_ms: int) -> str:
    """Format a time in the form for front ends."""
    time = datetime.fromtimestamp(time_ms / 1000, UTC)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
