"""Begin, answer, follow, cancel and list tasks."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final

import anyio

from stategraph.server.service.port import (
    Caller,
    ConflictError,
    InvalidError,
    LoggedEvent,
    RunRecord,
    RunRequest,
    Service,
)
from stategraph.server.tasks.chains import BY_END, CANCELLED, TASK, Task, TaskState, chains, state_of
from stategraph.server.tasks.logs import Outcome, interrupt_id

#: How often a reader of a task that waits for an answer looks whether there is one, in seconds: at first and at most.
LOOK_S: Final = 0.1
LONGEST_LOOK_S: Final = 2.0

#: Runs of a thread that are read at a time.
PAGE: Final = 100

_ANSWERS: Final = uuid.UUID("6d9c1a3e-7c1f-5c0b-9a6d-3f0c2f0f9f11")


class Tasks:
    """The tasks of a service.

    Args:
        service: Has the runs and threads.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    async def begin(self, caller: Caller, request: RunRequest) -> Task:
        """Begin a task by its first run.

        Raises:
            ServiceError: The service refuses the run.
        """
        run = await self._service.runs.create(caller, request)
        return Task((run,), state_of((run,)))

    async def find(self, caller: Caller, task_id: str) -> Task:
        """Look at a task.

        Args:
            caller: Who asks.
            task_id: The id of its first run.

        Raises:
            NotFoundError: There is none.
        """
        first = await self._service.runs.get(caller, task_id)
        later = await self._since(caller, first)
        runs = next(each for each in chains(later) if each[0].run_id == first.run_id)
        return await self.settled(caller, Task(runs, state_of(runs)))

    async def outcome(self, caller: Caller, run: RunRecord) -> Outcome:
        """Read the whole log of a run, to its end."""
        outcome = Outcome()
        async with aclosing(self._service.runs.events(caller, run.run_id)) as events:
            async for event in events:
                outcome.add(event)
        return outcome

    async def answer(
        self, caller: Caller, task: Task, answers: Any, request: RunRequest, *, answer_id: str = ""
    ) -> Task:
        """Continue a task that waits, by a run with the answer.

        Args:
            caller: Who answers.
            task: The task.
            answers: The answer, or several by the ids of the questions; see `by_question`.
            request: The run's other options; its input, thread and command are filled in here.
            answer_id: Names the answer: given twice, it counts once. Empty: it may not be repeated.

        Raises:
            ConflictError: The task does not wait, or another answer was faster.
            ServiceError: The service refuses the run.
        """
        last = task.last
        if task.state is not TaskState.INPUT_REQUIRED:
            raise ConflictError(
                f"Task '{task.task_id}' is {task.state}: it takes an answer only while it waits for one"
            )
        run_id = str(uuid.uuid5(_ANSWERS, f"{last.run_id} {answer_id}")) if answer_id else ""
        open_questions = (await self.outcome(caller, last)).interrupts
        command = {"resume": by_question(open_questions, answers)} if open_questions else None
        run = await self._service.runs.create(
            caller,
            replace(
                request,
                assistant_id=last.assistant_id,
                thread_id=task.thread_id,
                input=None,
                command=command,
                metadata={**request.metadata, TASK: task.task_id},
                multitask_strategy="reject",
                run_id=run_id,
            ),
        )
        runs = (*task.runs, run)
        return Task(runs, state_of(runs))

    async def follow(
        self, caller: Caller, task: Task, *, to_the_end: bool, after_last: bool = False
    ) -> AsyncGenerator[tuple[RunRecord, LoggedEvent], None]:
        """Read the events of a task's last run and of those after it, as they come.

        Args:
            caller: Who reads.
            task: The task.
            to_the_end: Whether to wait for the answer where the task waits for one; otherwise that is the last event.
            after_last: Whether to leave out the events of the last run, which has ended.

        Yields:
            The run and its next event.
        """
        run: RunRecord | None = task.last
        if after_last:
            run = await self._following(caller, task.task_id, task.last) if to_the_end else None
        while run is not None:
            status = None
            async with aclosing(self._service.runs.events(caller, run.run_id)) as events:
                async for event in events:
                    yield run, event
                    if event.type == "run.end":
                        status = event.data.get("status")
            if status != "interrupted" or not to_the_end:
                return
            run = await self._following(caller, task.task_id, run)

    async def _following(self, caller: Caller, task_id: str, run: RunRecord) -> RunRecord | None:
        """Wait for the run after one that waits for an answer; None: the task was cancelled."""
        wait_s = LOOK_S
        while True:
            task = await self.find(caller, task_id)
            ids = [each.run_id for each in task.runs]
            if run.run_id in ids[:-1]:
                return task.runs[ids.index(run.run_id) + 1]
            if task.has_ended:
                return None
            await anyio.sleep(wait_s)
            wait_s = min(LONGEST_LOOK_S, wait_s * 1.5)

    async def wait(self, caller: Caller, task: Task) -> Task:
        """Wait until a task has ended or waits for an answer."""
        if task.is_active:
            await self._service.runs.wait(caller, task.last.run_id)
        return await self.find(caller, task.task_id)

    async def run_ended(self, caller: Caller, task: Task) -> Task:
        """Wait for the end of a task's last run, and return the task with the state that its status stands for.

        For who reads the run's log next, which says the rest: see `settled`.
        """
        if not task.is_active:
            return task
        runs = (*task.runs[:-1], await self._service.runs.wait(caller, task.last.run_id))
        return Task(runs, state_of(runs))

    async def cancel(self, caller: Caller, task: Task) -> Task:
        """Cancel a task.

        Raises:
            ConflictError: It has ended.
        """
        if task.has_ended:
            raise ConflictError(f"Task '{task.task_id}' is {task.state} and cannot be cancelled")
        if task.is_active:
            await self._service.runs.cancel(caller, task.last.run_id, wait=True)
        else:
            mark = {f"{CANCELLED}{task.task_id}": task.last.run_id}
            await self._service.threads.update(caller, task.thread_id, mark)
        return await self.find(caller, task.task_id)

    async def of_thread(self, caller: Caller, thread_id: str) -> list[Task]:
        """List the tasks of a thread, the oldest first, with the states that the statuses of their runs stand for.

        Whether one that is `COMPLETED` waits for an answer or was cancelled, `settled` says.

        Raises:
            NotFoundError: There is no such thread.
        """
        runs: list[RunRecord] = []
        while len(page := await self._page(caller, thread_id, len(runs))) == PAGE:
            runs += page
        runs += page
        return [Task(each, state_of(each)) for each in chains(reversed(runs))]

    async def _since(self, caller: Caller, first: RunRecord) -> list[RunRecord]:
        """Return the runs of a thread from one on, the oldest first."""
        runs: list[RunRecord] = []
        while page := await self._page(caller, first.thread_id, len(runs)):
            for run in page:
                runs.append(run)
                if run.run_id == first.run_id:  # not by its time: a run that was scheduled comes when it begins
                    return _from(runs, first)
            if len(page) < PAGE:
                break
        return _from(runs, first)

    async def _page(self, caller: Caller, thread_id: str, offset: int) -> list[RunRecord]:
        return await self._service.runs.list(caller, thread_id, limit=PAGE, offset=offset)

    async def settled(self, caller: Caller, task: Task) -> Task:
        """Tell a task that waits for an answer from one that has ended, and from one that was cancelled meanwhile.

        It reads the last event of its last run, however long that is.
        """
        if task.state is not TaskState.COMPLETED:
            return task
        state = BY_END.get(await self._end(caller, task.last), TaskState.COMPLETED)
        if state is TaskState.INPUT_REQUIRED:
            thread = await self._service.threads.get(caller, task.thread_id)
            if thread.metadata.get(f"{CANCELLED}{task.task_id}") == task.last.run_id:
                state = TaskState.CANCELLED
        return replace(task, state=state)

    async def _end(self, caller: Caller, run: RunRecord) -> str:
        """Return how the registry ended a run."""
        outcome = Outcome()
        last = await self._service.runs.last_seq(caller, run.run_id)
        async with aclosing(self._service.runs.events(caller, run.run_id, max(0, last - 1))) as events:
            async for event in events:
                outcome.add(event)
        return outcome.status or ""


def _from(newest_first: Sequence[RunRecord], first: RunRecord) -> list[RunRecord]:
    """Return the runs from one on, the oldest first; that one is there even if a page has moved meanwhile."""
    ordered = list(reversed(newest_first))
    ids = [run.run_id for run in ordered]
    return ordered[ids.index(first.run_id) :] if first.run_id in ids else [first, *ordered]


def by_question(questions: Sequence[Any], answers: Any) -> Any:
    """Return what a thread is resumed with.

    Args:
        questions: The open interrupts.
        answers: The answer to the only one, or answers by the ids of interrupts, some of them or all.

    Raises:
        InvalidError: There are several questions, and it is not said which of them are answered.
    """
    ids = [interrupt_id(each) for each in questions]
    if isinstance(answers, Mapping) and answers and all(key in ids for key in answers):
        return dict(answers)
    if len(ids) == 1:
        return {ids[0]: answers} if ids[0] else answers
    raise InvalidError(
        f"The task has {len(ids)} open questions: answer with an object whose keys are their ids, "
        f"some or all of {', '.join(ids)}"
    )
