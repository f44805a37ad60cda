"""One task, tried until it succeeds or its policies give up.

Rules
-----
* An attempt starts with no writes; the interrupts it answers count from the
  first again. The graphs in it start over.
* The first policy that matches a failure decides: attempts, then
  ``min(max_interval, initial_interval * backoff_factor ** (attempt - 1))``
  seconds, varied by up to one second of jitter; ``max_interval`` is never exceeded.
* Interrupts and commands for a parent graph are no failures. A command from a graph inside is carried out behind the
  attempt: if its router fails, the task does, and is not tried again.
* An attempt writes into a separate draft, and how it ended is an outcome: neither is visible before the last attempt
  is over.
* A task runs in a copy of the driver's context. A sync function of an async
  run gets a thread; a sync router does not.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from typing import Any, Final, Protocol, TypeVar, cast

from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config

from stategraph.constants import NS_SEP, RETURN
from stategraph.core.moves import Failed, Interrupted, Left, Outcome
from stategraph.core.task import Draft, Task, Write
from stategraph.engine.compile.compiled_node import CompiledNode
from stategraph.engine.compile.functions import CallPlan, no_sync_function
from stategraph.engine.compile.protocol import AnyRunnable
from stategraph.engine.compile.validate import sync_timeout_unsupported
from stategraph.engine.compile.write import FastWriter
from stategraph.engine.config import environment, foreign_types, procedures
from stategraph.engine.config.context import await_in_context
from stategraph.engine.config.node_limits import NodeLimits
from stategraph.engine.config.runnable_config import recast_checkpoint_ns
from stategraph.engine.ports import Clock
from stategraph.engine.tasks import threads, timeouts, traced_attempt
from stategraph.engine.tasks.scope import TaskScope
from stategraph.errors import GraphBubbleUp, GraphInterrupt, NodeCancelledError, ParentCommand
from stategraph.types import Command, RetryPolicy

T = TypeVar("T")

logger = logging.getLogger(__name__)

_set_config = var_child_runnable_config.set

_ENDED: RunnableConfig = {}
"""The config of a scope whose attempt is over. The config holds the scope; together they would be garbage that only
the collector finds, which costs more than all else a small step needs."""

_NOT_AGAIN: Final = "_stategraph_not_again"
"""An attribute of an error: the task is not tried again, whatever its policies say. A graph around it may be."""

_PLAIN_RESULTS = frozenset((dict, type(None), list, tuple, str))
"""Types of results that need no look at whether they are Runnables."""


class Scopes(Protocol):
    """Opens the attempts of a run's tasks."""

    def scope(self, run: Any, task: Task, number: int, started_at: float, /) -> TaskScope:
        """Open an attempt; `started_at` is when the first one started, in seconds since the epoch."""


class AttemptContext(Protocol):
    """The context of a run that an attempt needs."""

    @property
    def retry_policy(self) -> Sequence[RetryPolicy]:
        """Policies for tasks without their own."""

    @property
    def traced(self) -> bool:
        """True if callbacks hear about every step of a node."""

    @property
    def whole(self) -> bool:
        """Tell whether a node runs as one Runnable, because callbacks or a wrapper of sequences need to see it so."""

    @property
    def streams_nodes(self) -> bool:
        """True if a callback wants a node's output piece by piece."""

    @property
    def takes_turns(self) -> bool:
        """True if something may run beside the run, such as another node of the run around it."""

    @property
    def clock(self) -> Clock:
        """Tells the time, and lets it pass between attempts."""

    @property
    def configs(self) -> Scopes:
        """Opens attempts."""


def policies_of(execution: AttemptContext, task: Task) -> Sequence[RetryPolicy]:
    """Return the retry policies that apply to a task."""
    if task.call is not None and task.call.retry_policy:
        return task.call.retry_policy  # type: ignore[no-any-return]
    return task.body.retry_policy or execution.retry_policy


def matches(policy: RetryPolicy, error: Exception) -> bool:
    """Return whether a policy retries this error.

    Raises:
        TypeError: If ``retry_on`` is neither an exception class, nor a sequence of
            them, nor a predicate.
    """
    retry_on: Any = policy.retry_on
    if isinstance(retry_on, Sequence):
        return isinstance(error, tuple(retry_on))
    if isinstance(retry_on, type) and issubclass(retry_on, Exception):
        return isinstance(error, retry_on)
    if callable(retry_on):
        return bool(retry_on(error))
    raise TypeError("retry_on must be an Exception class, a list or tuple of Exception classes, or a callable")


def delay_before_retry(policies: Sequence[RetryPolicy], error: Exception, attempts: int) -> float | None:
    """Return seconds to wait before the next attempt, or None to give up.

    Args:
        policies: The task's policies.
        error: What the last attempt failed with.
        attempts: How many attempts have failed.
    """
    policy = next((p for p in policies if matches(p, error)), None)
    if policy is None or attempts >= policy.max_attempts:
        return None
    grown = policy.initial_interval * policy.backoff_factor ** (attempts - 1)
    return _jittered(grown, policy.max_interval) if policy.jitter else min(policy.max_interval, grown)


def _jittered(pause: float, longest: float) -> float:
    """Add up to a second to a pause; at the longest one, take up to a second (at most half of it) off instead."""
    top = min(pause + 1, longest)
    bottom = min(pause, top - min(1, top / 2))
    return bottom + environment.current().ids.random() * (top - bottom)


def _name_task(task: Task, error: Exception) -> None:
    error.add_note(f"During task with name '{task.name}' and id '{task.id}'")


def _after_failure(execution: AttemptContext, task: Task, number: int, error: Exception) -> float:
    """Prepare the next attempt; returns the seconds to wait before it, or raises the error."""
    if vars(error).pop(_NOT_AGAIN, False):
        raise error
    _name_task(task, error)
    policies = policies_of(execution, task)
    delay = delay_before_retry(policies, error, number) if policies else None
    if delay is None:
        raise error
    logger.info(
        "Retrying task %s after %.2f seconds (attempt %d) after %s %s",
        task.name,
        delay,
        number,
        type(error).__name__,
        error,
        exc_info=error,
    )
    return delay


def parent_ns(ns: str) -> str:
    """Return the namespace of the graph around a task's own; numbers of repeated calls are no levels."""
    parts = ns.split(NS_SEP)
    for _ in range(2):
        while parts and parts[-1].isdigit():
            parts.pop()
        if _ == 0 and parts:
            parts.pop()
    return NS_SEP.join(parts)


def _after(
    execution: AttemptContext, scope: TaskScope, number: int, error: BaseException, cancelled: Callable[[], bool]
) -> Draft | float:
    """Decide what follows an attempt that raised something; called where that is handled.

    Args:
        execution: The run.
        scope: The attempt's.
        number: Its number, from 1.
        error: What it raised.
        cancelled: Tells whether a cancellation came from outside of the node.

    Returns:
        How the task ended, if a command for this graph ended it; else the seconds to wait before the next attempt.

    Raises:
        BaseException: What the task ends with.
    """
    task = scope.task
    try:
        if isinstance(error, ParentCommand):
            return _take_command(task, scope, error)
        if isinstance(error, asyncio.CancelledError) and not cancelled():
            raise NodeCancelledError(task.name) from error
        if isinstance(error, GeneratorExit):
            failure = as_failure(task.name, error)
            _name_task(task, failure)
            raise failure from error
        if isinstance(error, GraphBubbleUp) or not isinstance(error, Exception):
            raise error
        if (double := foreign_types.bubble(error)) is not None:
            return _leave(task, scope, double, error)
        return _after_failure(execution, task, number, error)
    finally:
        del error  # it refers to this frame; together they would be garbage that only the collector finds


def as_failure(name: str, error: StopIteration | GeneratorExit) -> RuntimeError:
    """Return what a node fails with in place of an exception that would end the coroutines and generators around it.

    A coroutine that really is being closed ends with this as well: nothing is awaited after it.
    """
    said = f": {error}" if str(error) else ""
    return RuntimeError(f"Node '{name}' raised {type(error).__name__}{said}. Raise another exception to fail")


def _never() -> bool:
    """Return False: a sync node is not cancelled from outside."""
    return False


def _is_asked_to_stop() -> bool:
    current = asyncio.current_task()
    return current is None or current.cancelling() > 0


def _take_command(task: Task, scope: TaskScope, bubble: ParentCommand) -> Draft:
    """Write a command that addresses this graph, which ends the task; send any other on its way, and raise it."""
    command: Command[Any] = bubble.args[0]
    if command.graph in (task.ns, recast_checkpoint_ns(task.ns), task.name):
        try:
            for writer in task.body.command_writers:
                writer.invoke(command, scope.config)
        except Exception as error:
            _name_task(task, error)
            raise
        return scope
    if command.graph == Command.PARENT:
        bubble.args = (replace(command, graph=parent_ns(task.ns)),)
    raise bubble


def _leave(task: Task, scope: TaskScope, bubble: GraphBubbleUp, error: Exception) -> Draft:
    """End a task as another engine's exception says."""
    if not isinstance(bubble, ParentCommand):
        raise bubble from error
    return _take_command(task, scope, bubble)


def raised(task: Task, writes: list[Write], error: BaseException) -> Outcome:
    """Describe the outcome of an attempt that raised something."""
    # Code that was given up may still write to the list.
    written = writes.copy()
    if isinstance(error, GraphInterrupt):
        return Interrupted(task.id, written, error, error.args[0] if error.args else ())
    if isinstance(error, GraphBubbleUp):
        return Left(task.id, written, error)
    return Failed(task.id, written, error)


_NO_SCOPE: Any = Draft(cast(Any, None))
"""Stands for the scope of an attempt that did not get one."""


def _again(
    execution: AttemptContext,
    task: Task,
    scope: TaskScope,
    started_at: float,
    failed: BaseException | None,
    cancelled: Callable[[], bool],
) -> Generator[TaskScope | float, object, Outcome]:
    """Decide how a task ends whose first attempt has failed.

    Args:
        execution: The run.
        task: The task.
        scope: The attempt's; `_NO_SCOPE` if it was not made.
        started_at: When it started.
        failed: What it failed with.
        cancelled: Tells whether a cancellation came from outside of the node.

    Yields:
        How many seconds to wait, then the scope of a further attempt, which is answered with what that returned.
    """
    number = 1
    if scope is _NO_SCOPE:
        assert failed is not None
        return raised(task, scope.writes, failed)
    try:
        while True:
            try:
                if failed is not None:
                    raise failed
                scope.value = yield scope
                return scope
            except BaseException as error:
                failed = None  # it refers to this frame; together they would be garbage that only the collector finds
                after = _after(execution, scope, number, error, cancelled)
            finally:
                scope.config = _ENDED
            if isinstance(after, Draft):
                return after
            yield after
            task.restart()
            number += 1
            scope = execution.configs.scope(execution, task, number, started_at)
    except GeneratorExit:
        raise
    except BaseException as error:
        return raised(task, scope.writes, error)


def _act(attempt: Callable[[TaskScope], T], wait: Callable[[float], T], request: TaskScope | float) -> T:
    """Do what `_again` asks for; an async run awaits the result."""
    return attempt(request) if isinstance(request, TaskScope) else wait(request)


# -- sync ---------------------------------------------------------------------


def run(execution: AttemptContext, task: Task) -> Outcome:
    """Run a task to its end.

    Returns:
        How it ended; what the node raised, or a signal handler in its place, is part of that.
    """
    scope, started_at = _NO_SCOPE, 0.0
    try:
        body: CompiledNode = task.body
        if body.copies and (done := _copy(task)) is not None:
            return done
        if task.timeout is not None or body.timeout is not None:
            raise sync_timeout_unsupported(task.name)
        started_at = execution.clock.time()
        scope = execution.configs.scope(execution, task, 1, started_at)
        writers = body.writers
        if writers is None or execution.whole or body.limits is not None:
            scope.value = _attempt(execution, scope)
        else:
            # There are no listeners and all writers are our own.
            scope.value = copy_context().run(_direct, body, writers, task.input, scope)
        scope.config = _ENDED
        return scope
    except BaseException as error:
        again = _again(execution, task, scope, started_at, error, _never)
    return procedures.drive(again, partial(_act, partial(_attempt, execution), execution.clock.sleep))


def _copy(task: Task) -> Draft | None:
    """Write a pass-through node's input straight to its channels; None if the input is no dict."""
    if type(task.input) is not dict:
        return None
    draft = Draft(task, None, task.input)
    for writer in task.body.writers:
        writer.write_into(task.input, draft)
    return draft


def _attempt(execution: AttemptContext, scope: TaskScope) -> object:
    """Make an attempt, when the node's limits let it begin; returns what the node's work returned."""
    if (body := scope.task.body).limits is None:
        return _unlimited(execution, scope)
    return body.limits.in_thread(scope.task.input, execution.clock, partial(_unlimited, execution, scope))


def _unlimited(execution: AttemptContext, scope: TaskScope) -> object:
    task, body = scope.task, scope.task.body
    if execution.whole or body.writers is None:
        return traced_attempt.run(body, task.input, scope, _direct)
    return copy_context().run(_direct, body, body.writers, task.input, scope)


def _direct(body: CompiledNode, writers: Sequence[FastWriter], value: object, scope: TaskScope) -> object:
    _set_config(scope.config)
    call = body.call
    result = _work(body, value, scope) if call is None else call(value)
    if type(result) not in _PLAIN_RESULTS and (goes_on := _following(body, result)) is not None:
        result = goes_on.invoke(value, scope.config)
    for writer in writers:
        writer.write_into(result, scope)
    return result


def _work(body: CompiledNode, value: object, scope: TaskScope) -> object:
    plan = body.plan
    if plan is None:
        return value if body.inner is None else body.inner.invoke(value, scope.config)
    if plan.func is None:
        raise no_sync_function(plan.name)
    return _call(plan, plan.func, value, scope)


def _call(plan: CallPlan, func: Any, value: Any, scope: TaskScope) -> Any:
    if plan.explode:
        args, kwargs = value
        return func(*args, **plan.arguments(scope.config, kwargs))
    return func(value, **plan.arguments(scope.config))


def _following(body: CompiledNode, result: object) -> AnyRunnable | None:
    """Return a Runnable that a function returned, to be run in its place; None for any other value."""
    if body.plan is None or not body.plan.recurse or not isinstance(result, Runnable):
        return None
    return result


# -- async --------------------------------------------------------------------


def begin(execution: AttemptContext, task: Task) -> Draft | Coroutine[Any, Any, Outcome]:
    """Run a task of an async run until it waits for something.

    Most tasks of graphs that only compute never do, and a coroutine that could wait, or try again, would take longer
    than they.

    Returns:
        How it ended, if it has ended well; else what to await for that, which is :func:`arun`.
    """
    body: CompiledNode = task.body
    if body.copies and (done := _copy(task)) is not None:
        return done
    if body.timeout is not None or task.timeout is not None or execution.streams_nodes or body.limits is not None:
        return arun(execution, task)
    started_at = execution.clock.time()
    scope = execution.configs.scope(execution, task, 1, started_at)
    try:
        if execution.whole or body.writers is None:
            whole = traced_attempt.arun(body, task.input, scope, _adirect, takes_turns=execution.takes_turns)
            rest: Awaitable[object] = await_in_context(None, whole, whole.send(None))
        else:
            work, context = _adirect(body, body.writers, task.input, scope), copy_context()
            rest = await_in_context(context, work, context.run(work.send, None))
    except StopIteration as ended:
        scope.config = _ENDED
        scope.value = ended.value
        return scope
    except BaseException as error:
        return _aagain(execution, _again(execution, task, scope, started_at, error, _is_asked_to_stop))
    return arun(execution, task, (scope, started_at, rest))


async def arun(
    execution: AttemptContext, task: Task, begun: tuple[TaskScope, float, Awaitable[object]] | None = None
) -> Outcome:
    """Like :func:`run`, for async runs; time limits apply.

    A cancellation is part of the outcome as well: the code that cancelled the task must propagate it.

    Args:
        execution: The run.
        task: The task.
        begun: Of a first attempt that was begun: its scope, when it started, and what goes on where it waits.
    """
    scope, started_at = _NO_SCOPE, 0.0
    try:
        if begun is None:
            started_at = execution.clock.time()
            scope = execution.configs.scope(execution, task, 1, started_at)
            scope.value = await _aattempt(execution, scope)
        else:
            scope, started_at, rest = begun
            scope.value = await rest
        scope.config = _ENDED
        return scope
    except BaseException as error:
        again = _again(execution, task, scope, started_at, error, _is_asked_to_stop)
    return await _aagain(execution, again)


def _aagain(
    execution: AttemptContext, again: Generator[TaskScope | float, object, Outcome]
) -> Coroutine[Any, Any, Outcome]:
    return procedures.adrive(again, partial(_act, partial(_aattempt, execution), execution.clock.asleep))


def _aattempt(execution: AttemptContext, scope: TaskScope) -> Awaitable[object]:
    """Make an attempt, when the node's limits let it begin; returns what to await for what the node's work returns."""
    limits: NodeLimits | None = scope.task.body.limits
    if limits is not None:
        return limits.on_loop(scope.task.input, execution.clock, partial(_atimed, execution, scope))
    return _atimed(execution, scope)


def _atimed(execution: AttemptContext, scope: TaskScope) -> Awaitable[object]:
    """Make an attempt, with its time limit."""
    task, body = scope.task, scope.task.body
    limit = body.timeout if task.timeout is None else task.timeout
    if limit is not None:
        return timeouts.run(task, scope, limit, partial(_within_limit, execution))
    return _aonce(execution, task, scope)


async def _within_limit(execution: AttemptContext, task: Task, scope: TaskScope) -> Any:
    """Make an attempt that has a time limit, and carry out a command from a graph inside: after it no write counts."""
    try:
        return await _aonce(execution, task, scope)
    except Exception as error:
        bubble = error if isinstance(error, ParentCommand) else foreign_types.bubble(error)
        if not isinstance(bubble, ParentCommand):
            raise
        try:
            _take_command(task, scope, bubble)
        except GraphBubbleUp:
            raise
        except Exception as refused:
            setattr(refused, _NOT_AGAIN, True)
            raise
    finally:
        scope.config = _ENDED


def _aonce(execution: AttemptContext, task: Task, scope: TaskScope) -> Awaitable[object]:
    body: CompiledNode = task.body
    if body.writers is not None and not execution.whole:
        # There are no listeners and all writers are our own.
        return await_in_context(copy_context(), _adirect(body, body.writers, task.input, scope))
    if not execution.streams_nodes:
        return traced_attempt.arun(body, task.input, scope, _adirect)
    return _stream(body, task, scope)


async def _stream(body: CompiledNode, task: Task, scope: TaskScope) -> object:
    """Make an attempt whose output a handler wants piece by piece."""
    async for _ in body.runnable.astream(task.input, scope.config):
        if scope.progress is not None:
            scope.progress()
    return next((value for channel, value in scope.writes if channel == RETURN), None)


async def _adirect(body: CompiledNode, writers: Sequence[FastWriter], value: object, scope: TaskScope) -> object:
    _set_config(scope.config)
    call = body.acall
    result = await (_awork(body, value, scope) if call is None else call(value))
    if type(result) not in _PLAIN_RESULTS and (goes_on := _following(body, result)) is not None:
        result = await goes_on.ainvoke(value, scope.config)
    if body.awaits:
        await _write_awaiting(writers, result, scope)
        return result
    for writer in writers:
        writer.write_into(result, scope)
    return result


async def _write_awaiting(writers: Sequence[FastWriter], result: object, scope: TaskScope) -> None:
    """Write the result down with writers of which some are awaited."""
    if scope.progress is not None:
        scope.progress()
    for writer in writers:
        if writer.needs_await:
            await writer.awrite_into(result, scope)
        else:
            writer.write_into(result, scope)


async def _awork(body: CompiledNode, value: object, scope: TaskScope) -> object:
    plan = body.plan
    if plan is None:
        return value if body.inner is None else await body.inner.ainvoke(value, scope.config)
    if plan.afunc is not None:
        return await _call(plan, plan.afunc, value, scope)
    call = partial(_call, plan, plan.func, value, scope)
    return await threads.pool().submit(copy_context().run, call)
