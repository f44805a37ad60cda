"""Tasks of the service as tasks of the protocol: at once, and as they go on."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

from a2a import types as wire
from a2a.types import Artifact, Message

from stategraph.server.a2a.contexts import context_of
from stategraph.server.a2a.events import Event, RunEvents, collect, status
from stategraph.server.a2a.messages import sent_with
from stategraph.server.projection import Projection
from stategraph.server.service.port import Caller, LoggedEvent, RunRecord, Service
from stategraph.server.tasks.chains import Task, TaskState
from stategraph.server.tasks.work import Tasks

SUBMITTED = wire.TaskState.TASK_STATE_SUBMITTED
WORKING = wire.TaskState.TASK_STATE_WORKING
CANCELED = wire.TaskState.TASK_STATE_CANCELED


@dataclass(slots=True)
class _Read:
    """A run whose log has been read to its end."""

    events: RunEvents
    end: wire.TaskStatus
    artifacts: dict[str, Artifact] = field(default_factory=dict)


class Views:
    """Shows tasks.

    Args:
        service: Has the runs.
        tasks: Finds those of a task.
    """

    def __init__(self, service: Service, tasks: Tasks) -> None:
        self._service = service
        self._tasks = tasks

    async def answer(self, caller: Caller, task: Task, history_length: int | None) -> wire.Task | Message:
        """Return the task, or the message that the graph answers with in its place."""
        if not task.is_active:
            read = await self._read(caller, task, task.last)
            if read.events.reply is not None:
                return read.events.reply
            return await self._show(caller, task, history_length, read)
        return await self._show(caller, task, history_length)

    async def show(
        self, caller: Caller, task: Task, history_length: int | None = None, *, artifacts: bool = True
    ) -> wire.Task:
        """Return a task as it is.

        Args:
            caller: Who asks.
            task: The task.
            history_length: How many of the newest messages it has; None: all.
            artifacts: Whether it has its artifacts: those of runs that have ended; others are read with the stream.
        """
        shown = await self._show(caller, task, history_length)
        if not artifacts:
            shown.ClearField("artifacts")
        return shown

    async def _show(
        self, caller: Caller, task: Task, history_length: int | None = None, last: _Read | None = None
    ) -> wire.Task:
        """Return a task as it is; `last`: its last run, whose log has been read."""
        shown = wire.Task(id=task.task_id, context_id=context_of(task.runs[0]))
        found: dict[str, Artifact] = {}
        history: list[Message] = []
        current = status(SUBMITTED if task.state is TaskState.SUBMITTED else WORKING, task.updated_at)
        for run in task.runs:
            if (sent := sent_with(run, shown.id, shown.context_id)) is not None:
                history.append(sent)
            if run is task.last and task.is_active:
                break
            read = last if last is not None and run is task.last else await self._read(caller, task, run)
            found |= read.artifacts
            if run is not task.last:
                if read.end.HasField("message"):
                    history.append(read.end.message)
            else:
                current = read.end
        if task.state is TaskState.CANCELLED:
            current = status(CANCELED, task.updated_at)
        shown.status.CopyFrom(current)
        shown.artifacts.extend(found.values())
        if history_length is None or history_length > 0:
            shown.history.extend(history if history_length is None else history[-history_length:])
        return shown

    async def stream(
        self, caller: Caller, task: Task, history_length: int | None = None, *, to_the_end: bool
    ) -> AsyncGenerator[Event, None]:
        """Read a task as it goes on; the first event is the task itself.

        Args:
            caller: Who reads.
            task: The task.
            history_length: How many messages the task has.
            to_the_end: Whether to wait for answers of others where the task waits for one.

        Yields:
            The task, then artifacts and statuses; the last status is an end, or that the task waits.
        """
        shown = await self.show(caller, task, history_length)
        yield shown
        state = shown.status.state
        run_id, read = "", Projection()
        events = RunEvents(shown.id, shown.context_id, task.last)
        follow = self._tasks.follow(caller, task, to_the_end=to_the_end, after_last=not task.is_active)
        async with aclosing(follow) as logged:
            async for run, event in logged:
                if run.run_id != run_id:
                    run_id, read = run.run_id, Projection()
                    events = RunEvents(shown.id, shown.context_id, run)
                    if state != WORKING:
                        yield _update(shown, status(WORKING, run.created_at))
                for each in _events(events, read, event):
                    yield each
                if event.type == "run.end":
                    ended = await self._service.runs.get(caller, run.run_id)
                    end = _end(events, event, ended)
                    state = end.state
                    yield _update(shown, end)
                else:
                    state = WORKING
        if to_the_end and state != CANCELED:
            last = await self._tasks.find(caller, task.task_id)
            if last.state is TaskState.CANCELLED:
                yield _update(shown, status(CANCELED, last.updated_at))

    async def _read(self, caller: Caller, task: Task, run: RunRecord) -> _Read:
        """Read the log of a run that has ended."""
        events = RunEvents(task.task_id, context_of(task.runs[0]), run)
        projection = Projection()
        artifacts: dict[str, Artifact] = {}
        end = status(WORKING, run.updated_at)
        async with aclosing(self._service.runs.events(caller, run.run_id)) as logged:
            async for event in logged:
                collect(artifacts, _events(events, projection, event))
                if event.type == "run.end":
                    end = _end(events, event, run)
        return _Read(events, end, artifacts)


def _events(events: RunEvents, projection: Projection, event: LoggedEvent) -> list[Event]:
    return [each for fact in projection.take(event) for each in events.add(fact)]


def _end(events: RunEvents, event: LoggedEvent, run: RunRecord) -> wire.TaskStatus:
    end = events.end(event.data["status"], run.updated_at)
    if events.reply is not None and end.state == wire.TaskState.TASK_STATE_COMPLETED:
        end.message.CopyFrom(events.reply)
    return end


def _update(task: wire.Task, at: wire.TaskStatus) -> wire.TaskStatusUpdateEvent:
    return wire.TaskStatusUpdateEvent(task_id=task.id, context_id=task.context_id, status=at)
