"""Calls of tools.

Rules
-----
* A call begins a run, on a thread of its own unless it goes on with a conversation.
* 2026-07-28: where the graph asks, the call returns the questions, and is made again with the answers and its
  `requestState`: the names of the task and of the run that asked. It holds no secret and gives no right, as runs are
  looked at for the caller; a state that names nothing of this caller and tool is refused.
* 2025-11-25: the client is asked while the call stays open.
* A call that takes longer than `task_after_s` becomes a task, for clients that know them; see `tasks`.
* A call that its client gives up stops its run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import anyio
import anyio.to_thread
import mcp_types as wire
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from pydantic import BaseModel

from stategraph.server.mcp.callers import Context, caller_in, can_be_asked, is_modern, knows_tasks, lacking, needs_tasks
from stategraph.server.mcp.questions import DeclinedError, Question, UnfitError, answer_to, questions_of
from stategraph.server.mcp.settings import McpSettings
from stategraph.server.mcp.tools import AssistantTool, Tools, error_of, problem_of, result_of, run_input
from stategraph.server.mcp.watching import Watching
from stategraph.server.service.port import (
    Caller,
    ConflictError,
    InvalidError,
    NotFoundError,
    RunRequest,
    Service,
    ServiceError,
    UnavailableError,
)
from stategraph.server.tasks.chains import Task, TaskState
from stategraph.server.tasks.work import Tasks

#: The kind of error with which a graph fails a call as a request, not as a tool.
_PROTOCOL_ERROR: Final = "MCPError"

#: What a client is told of a graph that failed.
FAILED: Final = "The agent failed"

_RESULTS: Final[Mapping[str, type[BaseModel]]] = {
    "elicitation/create": wire.ElicitResult,
    "sampling/createMessage": wire.CreateMessageResult,
    "roots/list": wire.ListRootsResult,
}


class Calls:
    """Calls tools.

    Args:
        service: Has the runs.
        settings: Of the protocol.
        tools: The tools.
        tasks: Calls as tasks.
    """

    def __init__(self, service: Service, settings: McpSettings, tools: Tools, tasks: Tasks) -> None:
        self._service = service
        self._settings = settings
        self._tools = tools
        self._tasks = tasks

    async def call(
        self, context: Context, params: wire.CallToolRequestParams
    ) -> wire.CallToolResult | wire.InputRequiredResult | dict[str, Any]:
        """Call a tool.

        Raises:
            MCPError: There is none of that name, or the client cannot what it needs.
        """
        caller = caller_in(context)
        tool = await self._tools.find(caller, params.name)
        if tool is None:
            raise MCPError(wire.INVALID_PARAMS, f"Unknown tool: {params.name}")
        if tool.settings.task == "required" and is_modern(context) and not knows_tasks(context):
            raise needs_tasks()
        try:
            return await self._called(context, caller, tool, params)
        except NotFoundError as error:
            raise MCPError(wire.INVALID_PARAMS, str(error)) from error
        except ServiceError as error:
            return error_of(str(error))

    async def _called(
        self, context: Context, caller: Caller, tool: AssistantTool, params: wire.CallToolRequestParams
    ) -> wire.CallToolResult | wire.InputRequiredResult | dict[str, Any]:
        state = params.request_state if is_modern(context) else None
        if state is None:
            task = await self._begin(caller, tool, params.arguments or {})
        else:
            task = await self._continued(caller, tool, state)
        given = {key: _as_json(value) for key, value in (params.input_responses or {}).items()}
        may_be_task = tool.settings.task != "never" and knows_tasks(context)
        as_task = may_be_task and not tool.settings.asks_first
        try:
            begins_task = may_be_task and not as_task and state is not None
            task = await self._worked_on(context, caller, task, given, as_task=as_task, only_once=begins_task)
            as_task = as_task or (begins_task and task.is_active)  # what was asked first is answered
        except DeclinedError:
            return error_of("The person did not answer the question of the agent")
        if task.has_ended:
            return await self.result(caller, tool, task)
        return created(task, self._settings) if as_task else await self._asking(context, caller, task)

    async def _worked_on(
        self,
        context: Context,
        caller: Caller,
        task: Task,
        given: dict[str, Any],
        *,
        as_task: bool,
        only_once: bool,
    ) -> Task:
        """Wait for a call, and answer what it asks as far as that is possible.

        Args:
            context: The call.
            caller: Who calls.
            task: What became of it so far.
            given: Answers that came with it.
            as_task: Whether it is not waited for longer than calls are that may become tasks.
            only_once: Whether it is not waited for once it has got an answer.

        Raises:
            DeclinedError: The client does not want to answer.
        """
        while True:
            task = await self._watched(context, caller, task, self._settings.task_after_s if as_task else None)
            if task.state is not TaskState.INPUT_REQUIRED:
                return task
            answered = await self._answered(context, caller, task, given)
            if answered is None:
                return task
            task = answered
            if only_once:
                return task

    async def _answered(self, context: Context, caller: Caller, task: Task, given: dict[str, Any]) -> Task | None:
        """Answer what a graph asks: with what came with the call, or by asking the client while the call stays open.

        Returns:
            The task; None: the client has to be asked by the result of the call.

        Raises:
            DeclinedError: It does not want to answer.
        """
        if not is_modern(context):
            return await self._asked(context, caller, task)
        questions = await self.questions(caller, task)
        asked = [each for each in questions if can_be_asked(context, each.capability)]
        if not asked or any(each.key not in given for each in asked):
            return None
        try:
            answers = {each.interrupt_id: answer_to(each, given.pop(each.key)) for each in asked}
        except UnfitError:
            return None
        return await self.answer(caller, task, answers, answer_id="mcp")

    async def _begin(self, caller: Caller, tool: AssistantTool, arguments: Mapping[str, Any]) -> Task:
        problem = await anyio.to_thread.run_sync(problem_of, tool, arguments)
        if problem is not None:
            raise InvalidError(problem)
        given, thread_id = run_input(tool, arguments)
        if thread_id is None:
            thread_id = (await self._service.threads.create(caller)).thread_id
        request = RunRequest(assistant_id=tool.assistant.assistant_id, thread_id=thread_id, input=given)
        return await self._tasks.begin(caller, request)

    async def _watched(self, context: Context, caller: Caller, task: Task, wait_s: float | None) -> Task:
        """Tell of a call until it has ended, waits, or has taken too long to be waited for."""
        if wait_s == 0 or not task.is_active:
            return task
        try:
            with anyio.move_on_after(wait_s):
                await Watching(context).follow(self._service, caller, task.last)
        except asyncio.CancelledError:
            with anyio.CancelScope(shield=True):
                await self._give_up(caller, task)
            raise
        return await self._tasks.find(caller, task.task_id)

    async def _give_up(self, caller: Caller, task: Task) -> None:
        try:
            await self._service.runs.cancel(caller, task.last.run_id)
        except (ConflictError, NotFoundError):
            pass  # it has ended

    async def _continued(self, caller: Caller, tool: AssistantTool, state: str) -> Task:
        """Return the call that a state names, as it is now.

        Raises:
            MCPError: The state is none of this server, caller and tool.
        """
        task_id, _, run_id = state.partition(".")
        try:
            task = await self._tasks.find(caller, task_id)
        except UnavailableError:
            raise  # the state may be valid, and the call is repeated
        except ServiceError:
            raise MCPError(wire.INVALID_PARAMS, "The requestState is not valid") from None
        ids = [each.run_id for each in task.runs]
        if run_id not in ids or task.runs[0].assistant_id != tool.assistant.assistant_id:
            raise MCPError(wire.INVALID_PARAMS, "The requestState is not valid")
        return task

    async def questions(self, caller: Caller, task: Task) -> list[Question]:
        """Return what a task waits for."""
        outcome = await self._tasks.outcome(caller, task.last)
        return questions_of(outcome.interrupts)

    async def answer(
        self,
        caller: Caller,
        task: Task,
        answers: Mapping[str, Any],
        *,
        left: list[str] | None = None,
        answer_id: str = "",
    ) -> Task:
        """Give a task that waits answers by the ids of its interrupts.

        Args:
            caller: Who answers.
            task: The task.
            answers: The answers.
            left: Names of questions that are not answered.
            answer_id: Names the answers, which then count once.
        """
        request = RunRequest(
            assistant_id=task.last.assistant_id, thread_id=task.thread_id, metadata={LEFT: left} if left else {}
        )
        return await self._tasks.answer(caller, task, _single(answers), request, answer_id=answer_id)

    async def _asking(self, context: Context, caller: Caller, task: Task) -> wire.InputRequiredResult:
        """Return the questions of a call.

        Raises:
            MCPError: The client cannot be asked any of them.
        """
        questions = await self.questions(caller, task)
        asked = {each.key: each.request for each in questions if can_be_asked(context, each.capability)}
        if not asked and questions:
            wanted = wire.ClientCapabilities.model_validate({each.capability: {} for each in questions})
            raise lacking("The agent asks what the client cannot be asked", wanted)
        state = f"{task.task_id}.{task.last.run_id}"
        return wire.InputRequiredResult(input_requests=asked or None, request_state=state)

    async def _asked(self, context: Context, caller: Caller, task: Task) -> Task:
        """Ask the client while the call stays open.

        Raises:
            DeclinedError: It does not answer.
        """
        answers: dict[str, Any] = {}
        for each in await self.questions(caller, task):
            if not can_be_asked(context, each.capability):
                raise DeclinedError
            try:
                given = await context.session.send_request(
                    each.request,
                    _RESULTS[each.request.method],
                    metadata=ServerMessageMetadata(related_request_id=context.request_id),
                )
                answers[each.interrupt_id] = answer_to(each, _as_json(given))
            except (MCPError, UnfitError) as error:
                raise DeclinedError from error
        return await self.answer(caller, task, answers)

    async def result(self, caller: Caller, tool: AssistantTool, task: Task) -> wire.CallToolResult:
        """Return the result of a call that has ended.

        Raises:
            MCPError: It failed as a request.
        """
        run = task.last
        if task.state is TaskState.CANCELLED:
            return error_of("The call was cancelled")
        if task.state is TaskState.FAILED:
            kind, _, said = (run.error or "").partition(":")
            if kind == _PROTOCOL_ERROR:
                raise MCPError(wire.INTERNAL_ERROR, said.strip() or FAILED)
            if run.status == "timeout":
                raise MCPError(wire.INTERNAL_ERROR, "The call took too long")
            return error_of(FAILED)  # the words of other errors are for the host, whose log has them
        return result_of(tool, await self._service.runs.output(caller, run.run_id), run.thread_id)


#: The key in the metadata of a run under which it names the questions that its answers leave open.
LEFT: Final = "mcp_left"


def created(task: Task, settings: McpSettings) -> dict[str, Any]:
    """Return the result of a call that has become a task."""
    status = {TaskState.INPUT_REQUIRED: "input_required"}.get(task.state, "working")
    return {"resultType": "task", **base(task, settings), "status": status}


def base(task: Task, settings: McpSettings) -> dict[str, Any]:
    """Return what is said of every task."""
    return {
        "taskId": task.task_id,
        "createdAt": task.runs[0].created_at.isoformat(),
        "lastUpdatedAt": task.updated_at.isoformat(),
        "ttlMs": None,
        "pollIntervalMs": settings.poll_interval_ms,
    }


def _single(answers: Mapping[str, Any]) -> Any:
    """Return answers by interrupt; a question without an id, as a breakpoint is, has none."""
    return None if list(answers) == [""] else dict(answers)


def _as_json(value: Any) -> Any:
    return value.model_dump(by_alias=True, mode="json", exclude_none=True) if isinstance(value, BaseModel) else value
