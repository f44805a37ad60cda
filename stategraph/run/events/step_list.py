"""The steps of a run in the order in which they were opened: each is closed exactly once, and the first close wins.

A process that goes on with a run is told of the steps that are open, and how many there were. Closed ones are told only
where a run has paused: with every state of a thread, all of them would be stored again and again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, TypeAlias, cast

from stategraph.agent.facts import Place
from stategraph.run.events.event_types import GraphEvents, MessageCreationDetails, Row, RunStep, ToolCallsDetails

Status: TypeAlias = Literal["completed", "cancelled", "failed"]

_STAMP: dict[Status, str] = {"completed": "completed_at", "cancelled": "cancelled_at", "failed": "failed_at"}


class StepList:
    """The steps.

    Args:
        run_id: The run.
        new_id: Makes an id with the given prefix.
        now_ms: The time as epoch milliseconds.
        several_agents: Whether steps say which agent they are of.
    """

    def __init__(
        self, run_id: str, *, new_id: Callable[[str], str], now_ms: Callable[[], int], several_agents: bool = False
    ) -> None:
        self.new_id = new_id
        self.now_ms = now_ms
        self._run_id = run_id
        self._several_agents = several_agents
        self.clear()

    def below(self, run_id: str) -> StepList:
        """Return an empty list for the steps of a subagent.

        Args:
            run_id: The subagent's name.
        """
        return StepList(run_id, new_id=self.new_id, now_ms=self.now_ms, several_agents=True)

    def clear(self) -> None:
        """Forget everything; indices start at 0 again."""
        self._steps: list[RunStep] = []
        self._by_id: dict[str, RunStep] = {}
        self._open: dict[str, RunStep] = {}
        self._opened = 0

    def __iter__(self) -> Iterator[RunStep]:
        return iter(self._steps)

    def get(self, step_id: str) -> RunStep | None:
        """Return a step by its id."""
        return self._by_id.get(step_id)

    def open(
        self,
        at: Place,
        kind: Literal["message_creation", "tool_calls"],
        details: MessageCreationDetails | ToolCallsDetails,
        position: int,
    ) -> RunStep:
        """Begin a step.

        Args:
            at: Where.
            kind: Its kind.
            details: Its details.
            position: Its place within a phase of a model's answer.
        """
        step = RunStep(
            stepIndex=position,
            id=self.new_id("step_"),
            type=kind,
            index=self._opened,
            stepDetails=details,
            usage=None,
            status="in_progress",
            runId=self._run_id,
            created_at=self.now_ms(),
        )
        if self._several_agents:
            step["agentId"] = at.agent_id
        if at.group_id is not None:
            step["groupId"] = at.group_id
        self._opened += 1
        self._add(step)
        return step

    def _add(self, step: RunStep) -> None:
        self._steps.append(step)
        self._by_id[step["id"]] = self._open[step["id"]] = step

    def is_open(self, step_id: str) -> bool:
        """Return whether a step exists and is not closed."""
        return step_id in self._open

    def close(self, step: RunStep | None, status: Status) -> Iterator[Row]:
        """Close a step.

        Args:
            step: The step; None, or one that is closed, changes nothing.
            status: How it ended.

        Yields:
            The closing.
        """
        if step is None or self._open.pop(step["id"], None) is None:
            return
        now = self.now_ms()
        step["status"] = status
        cast("dict[str, Any]", step)[_STAMP[status]] = now
        closed: dict[str, Any] = {
            "id": step["id"],
            "index": step["index"],
            "type": step["type"],
            "status": status,
            "closed_at": now,
            "created_at": step.get("created_at"),
            "runId": self._run_id,
            "stepIndex": step.get("stepIndex"),
        }
        for key in ("agentId", "groupId"):
            if key in step:
                closed[key] = step[key]
        yield GraphEvents.ON_RUN_STEP_CLOSED, closed

    def sweep(self, status: Status) -> Iterator[Row]:
        """Close all open steps, in the order in which it was opened."""
        for step in list(self._open.values()):
            yield from self.close(step, status)

    def follow(self, event: str, data: Mapping[str, Any]) -> RunStep | None:
        """Take up a step that another process opened or closed.

        Args:
            event: What happened.
            data: The event's payload.

        Returns:
            The step; None if it is not known.
        """
        if event == GraphEvents.ON_RUN_STEP:
            step = cast("RunStep", dict(data))
            self._add(step)
            self._opened = max(self._opened, step["index"] + 1)
            return step
        closed = self._open.pop(data["id"], None)
        if closed is not None:
            closed["status"] = data["status"]
            cast("dict[str, Any]", closed)[_STAMP[data["status"]]] = data["closed_at"]
        return closed

    def note_closed(self, step_ids: Iterable[str]) -> None:
        """Take note of steps that another process closed and told of."""
        for step_id in step_ids:
            self._open.pop(step_id, None)

    @property
    def closed(self) -> list[str]:
        """The ids of steps that are closed."""
        return [step_id for step_id in self._by_id if step_id not in self._open]

    def memory(self) -> dict[str, Any]:
        """Return the state that another process needs to continue, as JSON."""
        return {"steps": [dict(step) for step in self._open.values()], "opened": self._opened}

    def closed_steps(self) -> list[dict[str, Any]]:
        """Return the steps that are closed, as JSON."""
        return [dict(step) for step in self._steps if step["id"] not in self._open]

    def recall(self, memory: Mapping[str, Any], closed: Iterable[Mapping[str, Any]] = ()) -> None:
        """Take up what `memory` returned; steps that are known already stay.

        Args:
            memory: The open steps, and how many there were.
            closed: Steps that another process closed; those that are open here are closed.
        """
        for step in (*closed, *memory["steps"]):
            if step["id"] not in self._by_id:
                self._add(cast("RunStep", dict(step)))
        for step in closed:
            self._by_id[step["id"]].update(cast("RunStep", dict(step)))
            self._open.pop(step["id"], None)
        self._steps.sort(key=lambda step: step["index"])
        self._opened = max(self._opened, memory["opened"])
