"""Long calls as tasks: the extension `io.modelcontextprotocol/tasks` of 2026-07-28 (SEP-2663).

A task is looked at with `tasks/get`, answered with `tasks/update`, and stopped with `tasks/cancel`. It is there as long
as its runs are kept.
"""

from __future__ import annotations

from typing import Any, Final

import mcp_types as wire
from mcp.shared.exceptions import MCPError
from pydantic import Field

from stategraph.server.mcp.callers import Context, caller_in, is_modern, knows_tasks, needs_tasks
from stategraph.server.mcp.calls import LEFT, Calls, base
from stategraph.server.mcp.questions import DeclinedError, Question, UnfitError, answer_to, questions_of
from stategraph.server.mcp.settings import McpSettings
from stategraph.server.mcp.tools import Tools
from stategraph.server.service.port import Caller, ConflictError, ServiceError, UnavailableError
from stategraph.server.tasks.chains import Task, TaskState
from stategraph.server.tasks.work import Tasks

_STATUSES: Final = {
    TaskState.SUBMITTED: "working",
    TaskState.WORKING: "working",
    TaskState.INPUT_REQUIRED: "input_required",
    TaskState.COMPLETED: "completed",
    TaskState.FAILED: "completed",
    TaskState.CANCELLED: "cancelled",
}


class TaskParams(wire.RequestParams):
    """Parameters of a request about a task."""

    task_id: str = Field(alias="taskId")


class UpdateParams(TaskParams):
    """Parameters of `tasks/update`."""

    input_responses: dict[str, Any] = Field(default_factory=dict, alias="inputResponses")


class TaskRequests:
    """Answers requests about tasks.

    Args:
        settings: Of the protocol.
        tools: The tools.
        calls: Makes results and gives answers.
        tasks: Finds tasks.
    """

    def __init__(self, settings: McpSettings, tools: Tools, calls: Calls, tasks: Tasks) -> None:
        self._settings = settings
        self._tools = tools
        self._calls = calls
        self._tasks = tasks

    async def get(self, context: Context, params: TaskParams) -> dict[str, Any]:
        """Return a task, with its questions, or its result."""
        caller, task = await self._found(context, params)
        shown = {**base(task, self._settings), "status": _STATUSES[task.state], "resultType": "complete"}
        open_questions = await self._open(caller, task)
        if open_questions:
            requests = {each.key: _dumped(each.request) for each in open_questions}
            return {**shown, "status": "input_required", "inputRequests": requests}
        if task.state in (TaskState.COMPLETED, TaskState.FAILED):
            return {**shown, **await self._ended(caller, task)}
        return shown

    async def update(self, context: Context, params: UpdateParams) -> dict[str, Any]:
        """Answer some or all questions of a task; what is none of them is left out."""
        caller, task = await self._found(context, params)
        open_questions = await self._open(caller, task)
        answered = [each for each in open_questions if each.key in params.input_responses]
        if not answered:
            return {"resultType": "complete"}
        try:
            answers = {each.interrupt_id: answer_to(each, params.input_responses[each.key]) for each in answered}
        except DeclinedError:
            await self._tasks.cancel(caller, task)
            return {"resultType": "complete"}
        except UnfitError as error:
            raise MCPError(wire.INVALID_PARAMS, str(error)) from error
        left = [each.key for each in open_questions if each not in answered]
        if task.is_active:  # it works on an answer to another question
            task = await self._tasks.wait(caller, task)
        await self._calls.answer(caller, task, answers, left=left)
        return {"resultType": "complete"}

    async def cancel(self, context: Context, params: TaskParams) -> dict[str, Any]:
        """Stop a task; one that has ended stays as it is."""
        caller, task = await self._found(context, params)
        try:
            if not task.has_ended:
                await self._tasks.cancel(caller, task)
        except ConflictError:
            pass  # it has ended meanwhile
        return {"resultType": "complete"}

    async def _found(self, context: Context, params: TaskParams) -> tuple[Caller, Task]:
        """Return who asks, and the task.

        Raises:
            MCPError: The client does not know tasks, the header names another task, or there is none.
        """
        if not is_modern(context):
            raise MCPError(wire.METHOD_NOT_FOUND, "Method not found", context.method)
        if not knows_tasks(context):
            raise needs_tasks()
        named = None if context.request is None else context.request.headers.get("mcp-name")
        if named != params.task_id:
            raise MCPError(wire.HEADER_MISMATCH, "The header Mcp-Name has to be the taskId of the request")
        caller = caller_in(context)
        try:
            return caller, await self._tasks.find(caller, params.task_id)
        except UnavailableError as error:  # a client that heard that there is no task would forget it
            raise MCPError(wire.INTERNAL_ERROR, str(error)) from error
        except ServiceError as error:
            raise MCPError(wire.INVALID_PARAMS, f"There is no task '{params.task_id}'") from error

    async def _open(self, caller: Caller, task: Task) -> list[Question]:
        """Return the questions that a client may answer now.

        While a task works on the answer to one of several, the others stay open.
        """
        if task.state is TaskState.INPUT_REQUIRED:
            return await self._calls.questions(caller, task)
        left = task.last.metadata.get(LEFT)
        if task.is_active and left and len(task.runs) > 1:
            before = await self._tasks.outcome(caller, task.runs[-2])
            return [each for each in questions_of(before.interrupts) if each.key in left]
        return []

    async def _ended(self, caller: Caller, task: Task) -> dict[str, Any]:
        tools = await self._tools.all(caller)
        tool = next((each for each in tools if each.assistant.assistant_id == task.runs[0].assistant_id), None)
        if tool is None:
            raise MCPError(wire.INVALID_PARAMS, f"There is no task '{task.task_id}'")
        try:
            return {"result": _dumped(await self._calls.result(caller, tool, task))}
        except MCPError as error:
            return {"status": "failed", "error": _dumped(error.error)}


def _dumped(value: Any) -> dict[str, Any]:
    found: dict[str, Any] = value.model_dump(by_alias=True, mode="json", exclude_none=True)
    return found
