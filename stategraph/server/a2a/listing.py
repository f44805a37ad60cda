"""Pages of tasks, those whose status changed last first.

Rules
-----
* A page token is the time and id after which it begins, so tasks that come meanwhile move no others between pages.
* Threads are read newest first, at most `MOST_THREADS` of them.
* Logs are read of the tasks of the page alone; if a status is asked for, of those that may be in it.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC
from typing import Final

from a2a import types as wire
from a2a.utils.errors import InvalidParamsError

from stategraph.server.a2a.views import Views
from stategraph.server.service.port import Assistant, Caller, NotFoundError, Page, Service
from stategraph.server.tasks.chains import Task, TaskState
from stategraph.server.tasks.work import Tasks

DEFAULT_SIZE: Final = 50
LARGEST_SIZE: Final = 100

#: Threads of an assistant that are looked through for its tasks.
MOST_THREADS: Final = 1_000

_PAGE: Final = 100

#: States of tasks that the statuses of their runs tell; the others are in logs.
_PLAIN: Final[Mapping[TaskState, wire.TaskState]] = {
    TaskState.SUBMITTED: wire.TaskState.TASK_STATE_SUBMITTED,
    TaskState.WORKING: wire.TaskState.TASK_STATE_WORKING,
    TaskState.FAILED: wire.TaskState.TASK_STATE_FAILED,
}


class Listing:
    """Lists tasks.

    Args:
        service: Has the threads.
        tasks: Finds the tasks of each.
        views: Shows them.
    """

    def __init__(self, service: Service, tasks: Tasks, views: Views) -> None:
        self._service = service
        self._tasks = tasks
        self._views = views

    async def page(
        self, caller: Caller, assistant: Assistant, params: wire.ListTasksRequest, thread_id: str | None
    ) -> wire.ListTasksResponse:
        """Return a page of the tasks of an assistant.

        Args:
            caller: Who asks.
            assistant: The assistant.
            params: What is asked for.
            thread_id: The only thread to look at; None: all.

        Raises:
            InvalidParamsError: The size, the token or the history length is none.
        """
        size = _size(params)
        history = _history_length(params)
        begin = _read_token(params.page_token) if params.page_token else None
        found = [each async for each in self._all(caller, assistant, thread_id)]
        if params.HasField("status_timestamp_after"):
            after = params.status_timestamp_after.ToDatetime(tzinfo=UTC)
            found = [each for each in found if each.updated_at >= after]
        if params.status:
            found = [each for each in found if await self._is_in(caller, each, params.status)]
        found.sort(key=_place, reverse=True)
        later = [each for each in found if begin is None or _place(each) < begin]
        page, with_them = later[:size], params.include_artifacts
        return wire.ListTasksResponse(
            tasks=[
                await self._views.show(caller, await self._tasks.settled(caller, each), history, artifacts=with_them)
                for each in page
            ],
            next_page_token=_token(page[-1]) if len(later) > size else "",
            page_size=size,
            total_size=len(found),
        )

    async def _is_in(self, caller: Caller, task: Task, state: wire.TaskState) -> bool:
        """Return whether a task is in a state."""
        if task.state in _PLAIN:
            return _PLAIN[task.state] == state
        if state in _PLAIN.values():
            return False
        shown = await self._views.show(caller, await self._tasks.settled(caller, task), 0, artifacts=False)
        return bool(shown.status.state == state)

    async def _all(self, caller: Caller, assistant: Assistant, thread_id: str | None) -> AsyncIterator[Task]:
        if thread_id is not None:
            threads = [thread_id]
        else:
            threads = await self._threads(caller, assistant)
        for each in threads:
            try:
                tasks = await self._tasks.of_thread(caller, each)
            except NotFoundError:
                continue  # deleted meanwhile, or never there
            for task in tasks:
                if task.runs[0].assistant_id == assistant.assistant_id:
                    yield task

    async def _threads(self, caller: Caller, assistant: Assistant) -> list[str]:
        found: list[str] = []
        while len(found) < MOST_THREADS:
            page = await self._service.threads.search(
                caller, metadata={"assistant_id": assistant.assistant_id}, page=Page(_PAGE, len(found))
            )
            found += [each.thread_id for each in page]
            if len(page) < _PAGE:
                break
        return found


def _size(params: wire.ListTasksRequest) -> int:
    size = params.page_size if params.HasField("page_size") else DEFAULT_SIZE
    if not 1 <= size <= LARGEST_SIZE:
        raise InvalidParamsError(f"pageSize is {size}; expected 1 to {LARGEST_SIZE}")
    return int(size)


def _history_length(params: wire.ListTasksRequest) -> int | None:
    if not params.HasField("history_length"):
        return None
    if params.history_length < 0:
        raise InvalidParamsError(f"historyLength is {params.history_length}; expected 0 or more")
    return int(params.history_length)


def _place(task: Task) -> tuple[str, str]:
    return task.updated_at.isoformat(), task.task_id


def _token(task: Task) -> str:
    return base64.urlsafe_b64encode(json.dumps(_place(task)).encode()).decode()


def _read_token(token: str) -> tuple[str, str]:
    try:
        at, task_id = json.loads(base64.urlsafe_b64decode(token.encode()))
    except (ValueError, binascii.Error, TypeError):
        raise InvalidParamsError("The page token is none of this server") from None
    return str(at), str(task_id)
