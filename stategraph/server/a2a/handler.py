"""The operations of the protocol.

Rules
-----
* Every operation is of an assistant and a caller, which the binding has put into the call's context.
* Errors of the service become errors of the protocol with the same sentence; others are the SDK's.
* A task that waits is continued by a message with its id. One that works takes none: a message with its context alone
  is a new task, which runs after those of the thread.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Final

from a2a import types as wire
from a2a.server.context import ServerCallContext
from a2a.server.request_handlers.request_handler import RequestHandler, validate_request_params
from a2a.utils.errors import (
    A2AError,
    ExtendedAgentCardNotConfiguredError,
    InternalError,
    InvalidParamsError,
    PushNotificationNotSupportedError,
    TaskNotCancelableError,
    TaskNotFoundError,
    UnsupportedOperationError,
)

from stategraph.server.a2a.cards import Cards
from stategraph.server.a2a.contexts import CONTEXT, context_of, thread_of
from stategraph.server.a2a.events import Event
from stategraph.server.a2a.listing import Listing
from stategraph.server.a2a.messages import MESSAGE_KEY, answer_in, as_json, check_modes, run_input
from stategraph.server.a2a.pushes import Pushes
from stategraph.server.a2a.settings import A2aSettings
from stategraph.server.a2a.views import Views
from stategraph.server.service.port import (
    ANYONE,
    Caller,
    ConflictError,
    InvalidError,
    NotFoundError,
    RefusedError,
    RunRequest,
    Service,
    ServiceError,
    UnavailableError,
)
from stategraph.server.tasks.chains import Task, TaskState
from stategraph.server.tasks.work import Tasks
from stategraph.workers.registry.port import StoreUnavailableError

logger = logging.getLogger(__name__)

#: Keys of a call's state: the assistant's id, the caller, and the server's address as the client sees it.
ASSISTANT: Final = "assistant"
CALLER: Final = "caller"
BASE_URL: Final = "base_url"

_AWAY: Final = "The database cannot be reached now: try again"

#: Errors of a request over HTTP that say that it is not possible now.
REFUSALS: Final[ContextVar[list[UnavailableError]]] = ContextVar("refusals")


class Handler(RequestHandler):
    """Answers requests of all bindings.

    Args:
        service: Has the runs.
        settings: Of the protocol.
        cards: Makes cards.
        pushes: Tells clients of tasks; None: not supported.
    """

    def __init__(self, service: Service, settings: A2aSettings, cards: Cards, pushes: Pushes | None) -> None:
        self._settings = settings
        self._cards = cards
        self._tasks = Tasks(service)
        self._views = Views(service, self._tasks)
        self._listing = Listing(service, self._tasks, self._views)
        self._pushes = pushes

    @validate_request_params
    async def on_get_task(self, params: wire.GetTaskRequest, context: ServerCallContext) -> wire.Task | None:
        """Return a task."""
        caller = _caller(context)
        with _told(TaskNotFoundError):
            task = await self._of_assistant(caller, context, params.id)
            return await self._views.show(caller, task, _history_length(params))

    @validate_request_params
    async def on_list_tasks(self, params: wire.ListTasksRequest, context: ServerCallContext) -> wire.ListTasksResponse:
        """List tasks of the assistant, those changed last first."""
        caller = _caller(context)
        with _told(InvalidParamsError):
            described = await self._cards.describe(caller, _assistant(context))
            thread_id = thread_of(caller, params.context_id) if params.context_id else None
            return await self._listing.page(caller, described.assistant, params, thread_id)

    @validate_request_params
    async def on_cancel_task(self, params: wire.CancelTaskRequest, context: ServerCallContext) -> wire.Task | None:
        """Cancel a task that has not ended."""
        caller = _caller(context)
        with _told(TaskNotFoundError, conflict=TaskNotCancelableError):
            task = await self._of_assistant(caller, context, params.id)
            return await self._views.show(caller, await self._tasks.cancel(caller, task))

    @validate_request_params
    async def on_message_send(
        self, params: wire.SendMessageRequest, context: ServerCallContext
    ) -> wire.Task | wire.Message:
        """Begin or continue a task; wait for its end, or until it waits, unless asked to return at once."""
        caller = _caller(context)
        with _told(TaskNotFoundError):
            task = await self._take(caller, params, context)
            if not params.configuration.return_immediately:
                task = await self._tasks.run_ended(caller, task)
            return await self._views.answer(caller, task, _history_length(params.configuration))

    @validate_request_params
    async def on_message_send_stream(
        self, params: wire.SendMessageRequest, context: ServerCallContext
    ) -> AsyncGenerator[Event, None]:
        """Begin or continue a task, and read it until it ends or waits."""
        caller = _caller(context)
        with _told(TaskNotFoundError):
            task = await self._take(caller, params, context)
            stream = self._views.stream(caller, task, _history_length(params.configuration), to_the_end=False)
            async with aclosing(stream) as events:
                async for event in events:
                    yield event

    @validate_request_params
    async def on_subscribe_to_task(
        self, params: wire.SubscribeToTaskRequest, context: ServerCallContext
    ) -> AsyncGenerator[Event, None]:
        """Read a task until its end, over all answers that it gets meanwhile."""
        caller = _caller(context)
        with _told(TaskNotFoundError):
            task = await self._of_assistant(caller, context, params.id)
            if task.has_ended:
                raise UnsupportedOperationError(f"Task '{task.task_id}' is {task.state}: nothing more is told of it")
            async with aclosing(self._views.stream(caller, task, to_the_end=True)) as events:
                async for event in events:
                    yield event

    @validate_request_params
    async def on_create_task_push_notification_config(
        self, params: wire.TaskPushNotificationConfig, context: ServerCallContext
    ) -> wire.TaskPushNotificationConfig:
        """Have a client told of a task."""
        pushes, caller = self._pushing(), _caller(context)
        with _told(TaskNotFoundError):
            task = await self._of_assistant(caller, context, params.task_id)
            return await pushes.add(caller, task, params)

    @validate_request_params
    async def on_get_task_push_notification_config(
        self, params: wire.GetTaskPushNotificationConfigRequest, context: ServerCallContext
    ) -> wire.TaskPushNotificationConfig:
        """Return where a client is told, without its secrets."""
        pushes, caller = self._pushing(), _caller(context)
        with _told(TaskNotFoundError):
            task = await self._of_assistant(caller, context, params.task_id)
            return await pushes.get(task, params.id)

    @validate_request_params
    async def on_list_task_push_notification_configs(
        self, params: wire.ListTaskPushNotificationConfigsRequest, context: ServerCallContext
    ) -> wire.ListTaskPushNotificationConfigsResponse:
        """List where clients are told of a task."""
        pushes, caller = self._pushing(), _caller(context)
        with _told(TaskNotFoundError):
            task = await self._of_assistant(caller, context, params.task_id)
            return wire.ListTaskPushNotificationConfigsResponse(configs=await pushes.list(task))

    @validate_request_params
    async def on_delete_task_push_notification_config(
        self, params: wire.DeleteTaskPushNotificationConfigRequest, context: ServerCallContext
    ) -> None:
        """Tell a client no more; one that is not told is no error."""
        pushes, caller = self._pushing(), _caller(context)
        with _told(TaskNotFoundError):
            task = await self._of_assistant(caller, context, params.task_id)
            await pushes.delete(task, params.id)

    async def on_get_extended_agent_card(
        self, params: wire.GetExtendedAgentCardRequest, context: ServerCallContext
    ) -> wire.AgentCard:
        """Return the card with the schemas, for callers with credentials."""
        del params
        caller = _caller(context)
        if not self._settings.needs_auth:
            raise UnsupportedOperationError("The agent has no extended card: the server knows no users")
        if not caller.identity:
            raise ExtendedAgentCardNotConfiguredError("The extended card needs credentials")
        with _told(InvalidParamsError):
            base = context.state.get(BASE_URL, "")
            return await self._cards.card(caller, _assistant(context), base, extended=True)

    async def _take(self, caller: Caller, params: wire.SendMessageRequest, context: ServerCallContext) -> Task:
        """Begin or continue the task of a message."""
        message = params.message
        described = await self._cards.describe(caller, _assistant(context))
        check_modes(message, described.assistant.metadata.get("input_modes") or self._settings.input_modes)
        wanted = params.configuration
        push = wanted.task_push_notification_config if wanted.HasField("task_push_notification_config") else None
        if push is not None:
            await self._pushing().check(push)
        configurable = {MESSAGE_KEY: as_json(message)}
        metadata = {CONTEXT: message.context_id} if message.context_id else {}
        request = RunRequest(
            assistant_id=described.assistant.assistant_id,
            thread_id=thread_of(caller, message.context_id),
            config={"configurable": configurable},
            metadata=metadata,
            if_not_exists="create",
        )
        if message.task_id:
            task = await self._continued(caller, message, request, context)
        else:
            given = run_input(message, described.input_schema)
            task = await self._tasks.begin(caller, replace(request, input=given))
        if push is not None:
            await self._pushing().add(caller, task, push)
        return task

    async def _continued(
        self, caller: Caller, message: wire.Message, request: RunRequest, context: ServerCallContext
    ) -> Task:
        task = await self._of_assistant(caller, context, message.task_id)
        if message.context_id and message.context_id not in (context_of(task.runs[0]), task.thread_id):
            raise InvalidParamsError(f"Task '{task.task_id}' is not of the context '{message.context_id}'")
        if task.has_ended:
            raise UnsupportedOperationError(f"Task '{task.task_id}' is {task.state} and takes no more messages")
        if task.state is not TaskState.INPUT_REQUIRED:
            raise UnsupportedOperationError(
                f"Task '{task.task_id}' is {task.state}: it takes a message once it waits for input. A message with "
                "its context and without its id begins a task after it"
            )
        return await self._tasks.answer(caller, task, answer_in(message), request, answer_id=message.message_id)

    async def _of_assistant(self, caller: Caller, context: ServerCallContext, task_id: str) -> Task:
        """Look at a task of the assistant that a request is for."""
        task = await self._tasks.find(caller, task_id)
        assistant_id = _assistant(context)
        if assistant_id:
            described = await self._cards.describe(caller, assistant_id)
            if task.runs[0].assistant_id != described.assistant.assistant_id:
                raise TaskNotFoundError
        return task

    def _pushing(self) -> Pushes:
        if self._pushes is None:
            raise PushNotificationNotSupportedError
        return self._pushes


def _caller(context: ServerCallContext) -> Caller:
    found: Caller = context.state.get(CALLER, ANYONE)
    return found


def _assistant(context: ServerCallContext) -> str:
    return str(context.state.get(ASSISTANT) or context.tenant)


def _history_length(params: wire.GetTaskRequest | wire.SendMessageConfiguration) -> int | None:
    """Return how many messages are wanted; None: all.

    Raises:
        InvalidParamsError: It is negative.
    """
    if not params.HasField("history_length"):
        return None
    if params.history_length < 0:
        raise InvalidParamsError(f"historyLength is {params.history_length}; expected 0 or more")
    return params.history_length


@contextmanager
def _told(missing: type[A2AError], *, conflict: type[A2AError] = UnsupportedOperationError) -> Iterator[None]:
    """Raise errors of the service as errors of the protocol."""
    try:
        yield
    except NotFoundError as error:
        raise missing(str(error)) from error
    except ConflictError as error:
        raise conflict(str(error)) from error
    except (InvalidError, RefusedError) as error:
        raise InvalidParamsError(str(error)) from error
    except ServiceError as error:
        if isinstance(error, UnavailableError):
            REFUSALS.get([]).append(error)
        raise InternalError(str(error)) from error
    except StoreUnavailableError as error:
        REFUSALS.get([]).append(UnavailableError(_AWAY))
        raise InternalError(_AWAY) from error
    except A2AError:
        raise
    except Exception as error:
        logger.exception("A request of A2A failed")
        raise InternalError("The server failed") from error
