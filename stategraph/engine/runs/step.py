"""Decisions of both drivers about a task that ended, and about the end of a step.

Rules
-----
* A failure stops the other tasks of the step, unless a node handles it. An
  interrupt does not: the others finish, then the run pauses with all of the
  step's interrupts.
* An answer a node finds invalid is raised once the others have finished: what
  they were answered in the same resume is not asked again.
* A failure of a called function is its caller's to handle.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from xxhash import xxh3_128_hexdigest

from stategraph.constants import RETURN
from stategraph.core.moves import Cached, Called, Failed, Interrupted, Left, Outcome
from stategraph.core.task import Call, Draft, Task
from stategraph.engine.checkpoints.pump import Ask, Procedure
from stategraph.engine.compile.compiled_node import of_call
from stategraph.engine.compile.task_functions import get_runnable_for_task
from stategraph.engine.config import foreign_types
from stategraph.engine.tasks import attempt
from stategraph.errors import is_invalid_resume
from stategraph.types import CachePolicy

if TYPE_CHECKING:
    from stategraph.engine.runs.execution import Execution

CacheKey = tuple[tuple[str, ...], str]
Asked = tuple[str, Sequence[Any]]
"""The path of a task and its questions."""

_BODY = "_stategraph_body"


@dataclass(slots=True)
class StepEnd:
    """The failures and questions of a step.

    Attributes:
        error: The failure that stops the step at once.
        late: A failure that waits for the other tasks.
        interrupts: What the step's tasks asked.
        paused: Whether any task asked.
    """

    error: BaseException | None = None
    late: BaseException | None = None
    interrupts: list[Any] = field(default_factory=list)
    paused: bool = False

    def add(self, outcome: Failed | Interrupted | Left, name: str) -> None:
        """Take in what a task of a node of this name ended with."""
        error = outcome.error
        if isinstance(outcome, Interrupted):
            self.paused = True
            self.interrupts.extend(outcome.interrupts)
        elif isinstance(error, asyncio.CancelledError):
            pass
        elif isinstance(outcome, Left) or is_invalid_resume(error):
            self.late = self.late or error
        elif self.error is None:
            self.error = error
            if isinstance(error, StopIteration):  # the drivers are generators
                self.error = attempt.as_failure(name, error)
                self.error.__cause__ = error

    def conclude(self, asked: list[Asked]) -> None:
        """Raise what the step's tasks raised, the gravest first.

        Args:
            asked: What tasks asked that the step's tasks called. The run around this one is told of all questions,
                also of those that the caller had not come to yet. Emptied.
        """
        for exception in (self.error, self.late):
            if exception is not None:
                raise exception
        if not self.paused:
            asked.clear()
            return
        questions = self.interrupts
        if asked:
            known = {question.id for question in questions}
            more = {question.id: question for _, of_one in sorted(asked, key=_path_of) for question in of_one}
            questions = questions + [question for key, question in more.items() if key not in known]
        raise foreign_types.pause(tuple(questions))


def _path_of(asked: Asked) -> str:
    return asked[0]


def asked_by(execution: Execution, task: Task, outcome: Outcome) -> tuple[Asked, ...]:
    """Return what a called task asked, if a run around this one is to hear of it."""
    if execution.plan.nested and isinstance(outcome, Interrupted):
        return ((task.path_key, outcome.interrupts),)
    return ()


def settle(execution: Execution, outcome: Outcome, end: StepEnd) -> tuple[Task, Task | None]:
    """Tell the machine how a task ended, and note what that means for the rest of the step.

    Returns:
        The task, and the one that handles its failure, if any.
    """
    task = execution.machine.tasks[outcome.task_id]
    handler = execution.tell(outcome)
    if handler is None and not isinstance(outcome, Draft) and not handled(task, outcome):
        end.add(outcome, task.name)
    return task, handler


def handled(task: Task, outcome: Failed | Interrupted | Left) -> bool:
    """Return whether a node handles what a task ended with."""
    return (
        isinstance(outcome, Failed)
        and task.node is not None
        and bool(task.node.error_handler)
        and isinstance(outcome.error, Exception)
    )


def result_of(task: Task) -> Any:
    """Return what a called function returned, by its recorded writes: what it failed with is not among them."""
    return next((value for channel, value in task.writes if channel == RETURN), None)


# -- caching -----------------------------------------------------------------


def look_in_cache(execution: Execution, tasks: Sequence[Task]) -> Procedure[None]:
    """Give tasks the writes that the run's cache has for them."""
    places = _places(execution, tasks)
    if not places:
        return
    hits = yield Ask(execution.plan.cache, "get", (tuple(places),))
    for key, writes in hits.items():
        found = foreign_types.ours(writes) if foreign_types.exist() else writes
        execution.tell(Cached(places[key].id, list(found)))


def to_cache(execution: Execution, task: Task) -> Procedure[None]:
    """Put the writes of a task into the cache. It ended well, and its node has a cache policy."""
    key, ttl = task.cache_key
    yield Ask(execution.plan.cache, "set", ({key: (task.writes, ttl)},))


def _places(execution: Execution, tasks: Sequence[Task]) -> dict[CacheKey, Task]:
    """Return the tasks whose results may be in the cache, by where they would be."""
    found: dict[CacheKey, Task] = {}
    for task in tasks:
        policy = _cache_policy(execution, task)
        if policy is None or task.writes:
            continue
        if task.call is not None:
            args, kwargs = task.call.input
            key = policy.key_func(*args, **kwargs)
        else:
            key = policy.key_func(task.input)
        digest = xxh3_128_hexdigest(key.encode() if isinstance(key, str) else key)
        task.cache_key = ((task.body.cache_ns(), digest), policy.ttl)
        found[task.cache_key[0]] = task
    return found


def _cache_policy(execution: Execution, task: Task) -> CachePolicy[Any] | None:
    own = task.call.cache_policy if task.call is not None else None
    return own or task.body.cache_policy or execution.plan.spec.cache_policy


# -- calls from a task to another ----------------------------------------------


def plan_call(
    execution: Execution,
    caller: Task,
    func: Any,
    input: Any,
    *,
    retry_policy: Any = None,
    cache_policy: Any = None,
    callbacks: Any = None,
    timeout: Any = None,
) -> Task:
    """Plan the task for a function that a running task calls."""
    runnable = get_runnable_for_task(func)
    body = getattr(runnable, _BODY, None)
    if body is None:
        body = of_call(func, runnable)
        setattr(runnable, _BODY, body)
    call = Call(func, input, retry_policy, cache_policy, callbacks, timeout, runnable.get_name(), body)
    task = execution.tell(Called(caller, caller.call_counter(), call))
    assert task is not None
    return task
