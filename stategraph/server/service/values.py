"""The values between the service and the protocols: callers, runs, assistants, threads, schedules, errors.

Rules
-----
* Values are plain data, messages, and what graphs make of them; ids are texts; times are aware, in UTC.
* Every error is a `ServiceError` with a sentence for the client, and no secret.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Final, Literal, TypeAlias

# Errors.


class ServiceError(Exception):
    """A request that is not done; the message is a sentence for the client.

    Attributes:
        status: The HTTP status that says the same.
    """

    status: ClassVar[int] = 500


class NotFoundError(ServiceError):
    """There is no such thing, or the caller may not see it."""

    status = 404


class ConflictError(ServiceError):
    """It is there already, or something else goes on."""

    status = 409


class InvalidError(ServiceError):
    """The request makes no sense."""

    status = 422


class MalformedError(InvalidError):
    """The parts of the request contradict each other, or the thing that it is about."""

    status = 400


class RefusedError(ServiceError):
    """The caller may not do that."""

    status = 403


class UnavailableError(ServiceError):
    """It is not possible now, and may be later.

    Attributes:
        retry_after_s: When to try again, in seconds.
    """

    status = 503

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NotBegunError(UnavailableError):
    """It is not possible now, and nothing of it was begun: it may be sent elsewhere."""


# Callers.

Filter: TypeAlias = Mapping[str, Any]
"""A condition on metadata: `{"owner": "ada"}`, `{"owner": {"$eq": "ada"}}`, `{"tags": {"$contains": "x"}}`."""

Authorize: TypeAlias = Callable[[str, str, dict[str, Any]], Awaitable[Filter | None]]
"""Decides on a resource and an action, named as `langgraph_sdk.Auth` does, such as `threads` and `create_run`.

It may change the value, which is what is stored, and returns the filter that everything looked at has to pass; None:
everything does. It raises a `RefusedError` if the caller may not do that.
"""


async def allow_all(resource: str, action: str, value: dict[str, Any]) -> Filter | None:
    """Let everybody do everything."""
    del resource, action, value
    return None


@dataclass(frozen=True, slots=True)
class Caller:
    """The one who asks.

    Attributes:
        identity: Name of the user; empty where there is no authentication.
        user: What graphs and handlers are told of the user: `identity`, `display_name`, `permissions` and whatever an
            authentication handler adds.
        permissions: What the user may do, in the application's words.
        authorize: Decides on each resource and action.
    """

    identity: str = ""
    user: Mapping[str, Any] = field(default_factory=dict)
    permissions: tuple[str, ...] = ()
    authorize: Authorize = allow_all


#: Where there is no authentication, and for what the server does by itself.
ANYONE: Final = Caller()


# Runs.

RunStatusName: TypeAlias = Literal["pending", "running", "success", "error", "timeout", "interrupted"]
CancelAction: TypeAlias = Literal["interrupt", "rollback"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """A run to be.

    Attributes:
        assistant_id: The assistant's id, or that of a graph.
        thread_id: The thread; None: one of its own, which is deleted with the end unless `on_completion` is `keep`.
        input: What the graph is called with; None: go on from the thread's checkpoint.
        command: In place of an input, `resume`, `update` and `goto`.
        checkpoint: Where to begin instead of at the newest one: `checkpoint_id`, `checkpoint_ns`, `checkpoint_map`.
        config: Merged over the assistant's: `configurable`, `tags`, `recursion_limit`, `metadata`.
        context: What the graph is given as its context; None: the assistant's.
        metadata: Kept with the run.
        stream_modes: The modes that are logged beside `messages`, `updates` and `custom`; `events` too.
        stream_subgraphs: Whether what graphs inside of the graph stream is logged too.
        stream_resumable: Whether a reader means to come back; all runs can be read again.
        interrupt_before: Nodes before which to stop, or `*`; None: none.
        interrupt_after: Nodes after which to stop, or `*`; None: none.
        multitask_strategy: What to do if the thread has runs that wait or run.
        if_not_exists: What to do if there is no such thread.
        on_disconnect: What becomes of the run when the reader that began it leaves.
        on_completion: What becomes of a thread of its own.
        after_seconds: Not begun before.
        webhook: Where the end is told by a POST; None: nowhere.
        durability: When checkpoints are stored; None: `async`.
        feedback_keys: Names under which the client may give feedback.
        run_id: Names the run: the same request twice is one run. Empty: a new id.
    """

    assistant_id: str
    thread_id: str | None = None
    input: Any = field(default=None, repr=False)
    command: Mapping[str, Any] | None = field(default=None, repr=False)
    checkpoint: Mapping[str, Any] | None = None
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    context: Any = field(default=None, repr=False)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    stream_modes: Sequence[str] = ("values",)
    stream_subgraphs: bool = False
    stream_resumable: bool = False
    interrupt_before: Sequence[str] | Literal["*"] | None = None
    interrupt_after: Sequence[str] | Literal["*"] | None = None
    multitask_strategy: Literal["reject", "enqueue", "interrupt", "rollback"] = "enqueue"
    if_not_exists: Literal["reject", "create"] = "reject"
    on_disconnect: Literal["cancel", "continue"] = "continue"
    on_completion: Literal["delete", "keep"] = "delete"
    after_seconds: float = 0.0
    webhook: str | None = None
    durability: Literal["sync", "async", "exit"] | None = None
    feedback_keys: Sequence[str] = ()
    run_id: str = ""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run as it is now.

    Attributes:
        run_id: The run.
        thread_id: Its thread.
        assistant_id: Its assistant.
        status: What has become of it.
        created_at: When it was asked for.
        updated_at: When its status changed last.
        metadata: What was given with it.
        kwargs: What it was asked for with: `input`, `command`, `config`, `context`, stream modes and so on.
        multitask_strategy: What it did with runs that were there.
        error: What it failed with, for the client; None if it did not.
    """

    run_id: str
    thread_id: str
    assistant_id: str
    status: RunStatusName
    created_at: datetime
    updated_at: datetime
    metadata: Mapping[str, Any]
    kwargs: Mapping[str, Any] = field(repr=False)
    multitask_strategy: str
    error: str | None = None


# What is kept.


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list.

    Attributes:
        limit: At most so many.
        offset: After so many.
        sort_by: Name of a field; None: when it was changed last.
        sort_order: None: `desc`.
    """

    limit: int = 10
    offset: int = 0
    sort_by: str | None = None
    sort_order: Literal["asc", "desc"] | None = None


#: What is listed where nothing is said.
FIRST_PAGE: Final = Page()


@dataclass(frozen=True, slots=True)
class Assistant:
    """A graph with its settings, in one version.

    Attributes:
        assistant_id: A UUID.
        graph_id: The graph.
        config: What its runs have as config.
        context: What its runs have as context.
        metadata: Free; its owner among others.
        name: For people.
        description: For people and for models.
        version: 1, 2, ...
        created_at: When it was made.
        updated_at: When it was changed last.
    """

    assistant_id: str
    graph_id: str
    config: Mapping[str, Any]
    context: Any
    metadata: Mapping[str, Any]
    name: str
    description: str | None
    version: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AssistantSettings:
    """Settings of an assistant that is made or changed; what is None is as it was, or empty.

    Attributes:
        config: What its runs have as config.
        context: What its runs have as context.
        metadata: Free; a change is merged into what is there.
        name: For people.
        description: For people and for models.
    """

    config: Mapping[str, Any] | None = None
    context: Any = None
    metadata: Mapping[str, Any] | None = None
    name: str | None = None
    description: str | None = None


#: Settings of which nothing is said.
UNSAID: Final = AssistantSettings()


@dataclass(frozen=True, slots=True)
class Thread:
    """A conversation.

    Attributes:
        thread_id: A UUID.
        created_at: When it was made.
        updated_at: When it was changed last.
        state_updated_at: When its values were changed last; None: never.
        metadata: Free; its owner among others, `graph_id` and `assistant_id` once it has had a run.
        config: What it was run with last.
        status: `idle`, `busy`, `interrupted` or `error`.
        values: The values of its newest checkpoint; None if it has none.
        interrupts: By task, what it waits for.
        error: What its last run failed with, as `{"error": kind, "message": text}`; None if it did not.
        has_state: Whether it has had a run, or was written to.
    """

    thread_id: str
    created_at: datetime
    updated_at: datetime
    state_updated_at: datetime | None
    metadata: Mapping[str, Any]
    config: Mapping[str, Any]
    status: str
    values: Any
    interrupts: Mapping[str, Any]
    error: Any = None
    has_state: bool = False


@dataclass(frozen=True, slots=True)
class Cron:
    """A run that is begun again and again.

    Attributes:
        cron_id: A UUID.
        assistant_id: What is run.
        thread_id: Where; None: each time on a new thread.
        schedule: Five or six fields as of cron(5), in UTC unless there is a time zone.
        timezone: Name of the time zone; None: UTC.
        payload: What the run is asked for with.
        metadata: Free; its owner among others.
        user_id: Who made it; empty where there is no authentication.
        on_completion: What becomes of the thread of a run; None for a thread that is named.
        enabled: Whether it is begun.
        end_time: When it stops; None: never.
        next_run_at: When it is begun next; None: never.
        created_at: When it was made.
        updated_at: When it was changed last.
    """

    cron_id: str
    assistant_id: str
    thread_id: str | None
    schedule: str
    timezone: str | None
    payload: Mapping[str, Any] = field(repr=False)
    metadata: Mapping[str, Any]
    user_id: str
    on_completion: str | None
    enabled: bool
    end_time: datetime | None
    next_run_at: datetime | None
    created_at: datetime
    updated_at: datetime
