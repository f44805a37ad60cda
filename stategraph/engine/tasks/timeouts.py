"""Time limits of an attempt: how long it may take, and how long it may be silent.

Rules
-----
* A timed attempt works in a separate asyncio task. At a limit that task is cancelled and left behind, so code that
  ignores the cancellation cannot hold up what comes next.
* A task left behind has no effect any more: it writes into a list that is never read, its chunks are dropped, and it
  can start no further tasks.
* Code that blocks the event loop is not interrupted. If it is done when the loop gets to look, it was in time.
* An observer hears how an attempt ended before anything follows from it: a retry, a handler, the end of the run.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import RunnableConfig

from stategraph.constants import (
    CONF,
    CONFIG_KEY_CALL,
    CONFIG_KEY_RUNTIME,
    CONFIG_KEY_SEND,
    CONFIG_KEY_STREAM,
    CONFIG_KEY_TIMED_ATTEMPT_OBSERVER,
)
from stategraph.core.task import Task
from stategraph.engine.compile.protocol import StreamProtocol
from stategraph.engine.config import environment
from stategraph.engine.config.runnable_config import merge_callbacks
from stategraph.engine.config.runtime import Runtime
from stategraph.engine.tasks.scope import TaskScope
from stategraph.errors import GraphBubbleUp, NodeTimeoutError
from stategraph.types import TimeoutPolicy

logger = logging.getLogger(__name__)

Kind = Literal["idle", "run"]

_REPORTS_PER_SILENCE: Final = 4
"""Limit for reports of progress during one idle limit: a model may make progress a thousand times a second."""

_working: Final[set[asyncio.Task[Any]]] = set()
"""Keeps work alive that was left behind; the event loop itself holds tasks only weakly."""


async def run(
    task: Task,
    scope: TaskScope,
    policy: TimeoutPolicy,
    once: Callable[[Task, TaskScope], Coroutine[Any, Any, Any]],
) -> Any:
    """Make one attempt of a task within its time limits.

    Args:
        task: The task.
        scope: The attempt's, for its use alone: the config in it is changed.
        policy: The limits.
        once: Makes the attempt.

    Returns:
        What `once` returns.

    Raises:
        NodeTimeoutError: If a limit was reached. The task is then ready for another attempt.
        BaseException: What `once` raises.
    """
    limit = _Limit.of(policy)
    with _reported(task, scope.config, limit) as progressed:
        window = _Window(limit, progressed)
        _hand_out(window, scope)
        work = asyncio.get_running_loop().create_task(once(task, scope), name=task.name)
        _working.add(work)
        work.add_done_callback(_ended)
        try:
            exceeded = await window.outlast(work)
        except asyncio.CancelledError:
            work.cancel()
            await asyncio.wait((work,))
            raise
        finally:
            window.close()
        if exceeded is None:
            return work.result()
        work.cancel()
        # The writes are given up, and later writes of the work go nowhere.
        scope.writes = []
        raise NodeTimeoutError(
            task.name, window.elapsed_s, kind=exceeded, idle_timeout=limit.idle_s, run_timeout=limit.run_s
        )


def _ended(work: asyncio.Task[Any]) -> None:
    _working.discard(work)
    if not work.cancelled():
        # Asked for, so that asyncio does not report what work that was left behind failed with.
        work.exception()


@dataclass(frozen=True, slots=True)
class _Limit:
    """A `TimeoutPolicy` in plain seconds; None for no limit."""

    run_s: float | None
    idle_s: float | None
    refresh_on: Literal["auto", "heartbeat"] | None

    @classmethod
    def of(cls, policy: TimeoutPolicy) -> _Limit:
        coerced = TimeoutPolicy.coerce(policy)
        if coerced is None:
            return cls(None, None, None)
        idle = coerced.idle_timeout
        # A policy that has been coerced has its durations in seconds.
        return cls(coerced.run_timeout, idle, None if idle is None else coerced.refresh_on)  # type: ignore[arg-type]

    @property
    def is_refreshed(self) -> bool:
        """True if every sign of progress counts, not only a heartbeat."""
        return self.refresh_on == "auto"


class _Window:
    """The time in which an attempt may act.

    Args:
        limit: How long it stays open.
        progressed: Told about progress now and then, or None.
    """

    def __init__(self, limit: _Limit, progressed: Callable[[], None] | None) -> None:
        self.limit = limit
        self.is_open = True
        self._loop = asyncio.get_running_loop()
        self._exceeded: asyncio.Future[Kind | None] = self._loop.create_future()
        self._timers: dict[Kind, asyncio.TimerHandle] = {}
        self._opened_at = self._progress_at = self._loop.time()
        self._progressed = progressed
        self._report_from = self._opened_at

    @property
    def elapsed_s(self) -> float:
        """Seconds since the attempt began."""
        return self._loop.time() - self._opened_at

    def progress(self) -> None:
        """Note a sign of life. Any thread may call this: a lost race costs an instant of the limit, not more."""
        now = self._progress_at = self._loop.time()
        progressed = self._progressed  # another thread may be closing the window
        if progressed is not None and self.limit.idle_s is not None and now >= self._report_from:
            self._report_from = now + self.limit.idle_s / _REPORTS_PER_SILENCE
            progressed()

    async def outlast(self, work: asyncio.Future[object]) -> Kind | None:
        """Wait for the work; answers the limit that was reached before it was done, or None."""
        work.add_done_callback(lambda _: self._decide(None))
        if self.limit.run_s is not None:
            self._timers["run"] = self._loop.call_later(self.limit.run_s, self._check, work, "run")
        if self.limit.idle_s is not None:
            self._timers["idle"] = self._loop.call_later(self.limit.idle_s, self._check, work, "idle")
        return await self._exceeded

    def _check(self, work: asyncio.Future[object], kind: Kind) -> None:
        if work.done():
            return
        if kind == "idle" and self.limit.idle_s is not None:
            silent_until = self._progress_at + self.limit.idle_s
            if silent_until > self._loop.time():
                self._timers["idle"] = self._loop.call_at(silent_until, self._check, work, "idle")
                return
        self._decide(kind)

    def _decide(self, exceeded: Kind | None) -> None:
        if not self._exceeded.done():
            self._exceeded.set_result(exceeded)

    def close(self) -> None:
        """End the attempt's time."""
        self.is_open = False
        self._progressed = None
        for timer in self._timers.values():
            timer.cancel()

    # -- what the attempt is given --------------------------------------------

    def guarded(self, act: Callable[..., object], too_late: Callable[[], object] | None = None) -> Callable[..., Any]:
        """Wrap something the attempt may do: it is progress in time, and nothing happens after it.

        Args:
            act: What it does.
            too_late: Called instead once the window is closed.
        """

        def act_in_time(*args: object, **kwargs: object) -> object:
            if not self.is_open:
                return None if too_late is None else too_late()
            if self.limit.is_refreshed:
                self.progress()
            return act(*args, **kwargs)

        return act_in_time

    def beating(self, outer: Callable[[], None]) -> Callable[[], None]:
        """Return the attempt's heartbeat, which also refreshes the limit of a node around it."""

        def heartbeat() -> None:
            if self.is_open:
                self.progress()
                outer()

        return heartbeat


def _hand_out(window: _Window, scope: TaskScope) -> None:
    """Put what belongs to this window into the attempt's hands."""
    config = scope.config
    conf = config[CONF]
    conf[CONFIG_KEY_SEND] = window.guarded(conf[CONFIG_KEY_SEND])
    if CONFIG_KEY_CALL in conf:
        conf[CONFIG_KEY_CALL] = window.guarded(conf[CONFIG_KEY_CALL], _call_too_late)
    stream = conf.get(CONFIG_KEY_STREAM)
    if stream is not None:
        conf[CONFIG_KEY_STREAM] = StreamProtocol(window.guarded(stream), stream.modes)
    runtime: Runtime[Any] = conf[CONFIG_KEY_RUNTIME].override(
        stream_writer=window.guarded(conf[CONFIG_KEY_RUNTIME].stream_writer)
    )
    if window.limit.idle_s is not None:
        runtime = runtime.override(heartbeat=window.beating(runtime.heartbeat))
    conf[CONFIG_KEY_RUNTIME] = runtime
    if window.limit.is_refreshed:
        scope.progress = window.progress
        config["callbacks"] = merge_callbacks(config.get("callbacks"), [_Listener(window)])


def _call_too_late() -> object:
    raise asyncio.CancelledError


class _Listener(BaseCallbackHandler):
    """Takes every callback event under a node for a sign of progress."""

    # In a thread of the callback manager's the sign would come late.
    run_inline = True

    def __init__(self, window: _Window) -> None:
        self._window = window

    def any_event(self, *_: object, **__: object) -> None:
        """Stand in for the method of every event."""
        self._window.progress()


for _name in dir(BaseCallbackHandler):
    if _name.startswith("on_"):
        setattr(_Listener, _name, _Listener.any_event)


# -- observing ------------------------------------------------------------------


class AttemptContext(NamedTuple):
    """Context of the attempt that an observer hears about.

    Attributes:
        task_id: The task.
        task_name: Its name.
        attempt: 1 for the first attempt.
        run_id: The run, or None if it has no id.
        thread_id: The thread, or None without a saver.
        checkpoint_ns: The task's namespace.
        started_at: When the attempt began.
        run_timeout_secs: The limit of the whole attempt in seconds, or None.
        idle_timeout_secs: The limit of a silence in seconds, or None.
        refresh_on: What ends a silence; None if no silence is limited.
    """

    task_id: str
    task_name: str
    attempt: int
    run_id: str | None
    thread_id: str | None
    checkpoint_ns: str | None
    started_at: datetime
    run_timeout_secs: float | None
    idle_timeout_secs: float | None
    refresh_on: Literal["auto", "heartbeat"] | None


@dataclass(frozen=True, slots=True)
class AttemptEvent:
    """An event of a timed attempt, for observers.

    Attributes:
        context: The attempt; the same object in all its events.
        event: What happened.
        progress_at: When the attempt made progress.
        finished_at: When the attempt ended.
        status: How it ended. An interrupt and a command for a parent graph are successes.
        error_type: The name of the class of what it failed with.
        error_message: Its message.
    """

    context: AttemptContext
    event: Literal["start", "progress", "finish"]
    progress_at: datetime | None = None
    finished_at: datetime | None = None
    status: Literal["success", "error"] | None = None
    error_type: str | None = None
    error_message: str | None = None


@contextmanager
def _reported(task: Task, config: RunnableConfig, limit: _Limit) -> Iterator[Callable[[], None] | None]:
    """Tell an observer, if there is one, about the attempt made in the `with` block.

    Yields:
        The function to call on progress, or None without observers.
    """
    observer = config[CONF].get(CONFIG_KEY_TIMED_ATTEMPT_OBSERVER)
    if observer is None:
        yield None
        return
    info = config[CONF][CONFIG_KEY_RUNTIME].execution_info
    context = AttemptContext(
        task.id,
        task.name,
        info.node_attempt,
        info.run_id,
        info.thread_id,
        info.checkpoint_ns,
        environment.current().datetime(),
        limit.run_s,
        limit.idle_s,
        limit.refresh_on,
    )

    def tell(event: Literal["start", "progress", "finish"], **facts: Any) -> None:
        try:
            observer(AttemptEvent(context, event, **facts))
        except Exception:
            logger.warning("The observer of timed attempts failed on %r of %s", event, task.name, exc_info=True)

    def finish(status: Literal["success", "error"], **facts: object) -> None:
        tell("finish", finished_at=environment.current().datetime(), status=status, **facts)

    tell("start")
    try:
        yield lambda: tell("progress", progress_at=environment.current().datetime())
    except GraphBubbleUp:
        finish("success")
        raise
    except BaseException as error:
        finish("error", error_type=type(error).__name__, error_message=str(error))
        raise
    finish("success")
