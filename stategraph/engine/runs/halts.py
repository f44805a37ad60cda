"""Runs that a limit of their caller stops: what is shown, asked or raised, and how an answer is taken.

Rules
-----
* The run that was given the limits decides what they come to; a graph inside of it stops and says so (`LimitHalt`).
* The question is recorded with the first task that waits, so that everybody who looks at the thread sees it. The answer
  is taken by the run: the task gets none, and begins as if nothing had been asked.
* Nothing here is asked of a run that ends by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, cast

from langgraph.checkpoint.base import CheckpointTuple
from xxhash import xxh3_128_hexdigest

from stategraph.constants import CONF, CONFIG_KEY_CHECKPOINT_NS, INTERRUPT
from stategraph.core import status
from stategraph.core.machine import Machine
from stategraph.core.moves import Interrupted
from stategraph.engine.config.runtime import RunControl
from stategraph.errors import ConfigurationError, GraphDrained, InvalidAnswerError
from stategraph.types import Command, Interrupt

if TYPE_CHECKING:
    from stategraph.engine.config.limits import GraphLimits, LimitReached
    from stategraph.engine.runs.run_plan import RunPlan

_KIND: Final = "limit_reached"


class Allowed(NamedTuple):
    """Steps that an answer allows.

    Attributes:
        steps: The steps of this run.
        before: Those that the runs before it have taken.
    """

    steps: int
    before: int


class HaltedRun(Protocol):
    """A run, as far as its limits look at it."""

    @property
    def plan(self) -> RunPlan:
        """All that was decided before."""

    @property
    def machine(self) -> Machine:
        """The run as the core knows it."""

    @property
    def allowed(self) -> Allowed | None:
        """The steps that an answer allows; None: as many as the config."""

    def flush(self) -> None:
        """Do what the machine asked for."""


def begin(plan: RunPlan) -> None:
    """Begin to measure.

    Raises:
        ConfigurationError: The limits are those of another run, or ask a question that could not be answered.
    """
    limits = cast("GraphLimits", plan.given.control)
    if limits.on_limit == "interrupt" and (plan.saver is None or plan.nested):
        missing = "a checkpointer" if plan.saver is None else "the outermost run, to be given the limits"
        raise ConfigurationError(f'on_limit="interrupt" needs {missing}: the thread waits for the answer there')
    limits.begin(plan.environment.clock)


def _limits_of(execution: HaltedRun) -> GraphLimits | None:
    control: RunControl | None = execution.plan.runtime.control
    return cast("GraphLimits", control) if control is not None and control.limited else None


def _reached_by(execution: HaltedRun) -> LimitReached | None:
    """Return the limit that has stopped this graph by itself; None: none has, or it raises its own error."""
    limits, machine = _limits_of(execution), execution.machine
    if limits is None:
        return None
    if machine.status == "draining":
        return limits.reached
    if machine.status == "out_of_steps" and limits.on_limit != "raise" and machine.tasks:
        from stategraph.engine.config.limits import LimitReached  # loaded, as there are limits

        own = execution.allowed
        steps = execution.plan.config["recursion_limit"] if own is None else own.steps + own.before
        return limits.note(LimitReached("steps", steps, steps, nested=not execution.plan.owns_limits))
    return None


def is_stopped(execution: HaltedRun) -> bool:
    """Return whether a limit has stopped this graph by itself."""
    return execution.machine.status != "done" and _reached_by(execution) is not None


def ask(execution: HaltedRun, error: BaseException | None) -> None:
    """Ask whether the run may go on, if a limit has stopped it and the caller wants that."""
    limits = _limits_of(execution) if execution.plan.owns_limits else None
    if limits is None or limits.on_limit != "interrupt":
        return
    reached = limits.reached if isinstance(error, GraphDrained) else _reached_by(execution) if error is None else None
    machine = execution.machine
    waiting = [task for task in machine.tasks.values() if not status.of(machine.pending.get(task.id, ())).output]
    if reached is None or not waiting:
        return
    question = Interrupt(reached.question(), _question_id(machine.checkpoint["id"], execution.plan.ns))
    asked = Interrupted(waiting[0].id, [], GraphDrained(), (question,))
    machine.outcomes.take_questions(waiting[0], asked, machine.tasks)
    execution.flush()


def pauses(execution: HaltedRun, error: GraphDrained) -> bool:
    """Return whether a run ends with the state so far, or a question, as a graph inside of it was stopped by a limit.

    Raises:
        GraphLimitError: The caller wants that.
    """
    limits = _limits_of(execution)
    if limits is None or limits.reached is None or not execution.plan.owns_limits:
        return False
    _refuse(limits, error)
    return True


def concludes(execution: HaltedRun) -> bool:
    """Return whether a run that a limit has stopped ends with the state so far, or a question.

    Raises:
        GraphLimitError: The caller wants that.
        LimitHalt: The run around it decides.
    """
    reached = _reached_by(execution)
    if reached is None:
        # A graph that ends with its last step has ended by itself: LangGraph's would raise.
        limits, state = _limits_of(execution), execution.machine.status
        return state == "paused" or (state == "out_of_steps" and limits is not None and limits.on_limit != "raise")
    if not execution.plan.owns_limits:
        from stategraph.engine.config.limits import LimitHalt

        raise LimitHalt(reached)
    _refuse(cast("GraphLimits", _limits_of(execution)), None)
    return True


def _refuse(limits: GraphLimits, cause: BaseException | None) -> None:
    if limits.on_limit == "raise" and limits.reached is not None:
        from stategraph.engine.config.limits import GraphLimitError

        raise GraphLimitError(limits.reached) from cause


# -- the answer ----------------------------------------------------------------


def _question_id(checkpoint_id: str, ns: str) -> str:
    return xxh3_128_hexdigest(f"{_KIND}|{ns}|{checkpoint_id}".encode())


def answered(plan: RunPlan, found: CheckpointTuple) -> tuple[CheckpointTuple, object, Allowed | None]:
    """Take the question of a limit out of what a thread waits for, and its answer out of the input.

    Args:
        plan: The run.
        found: What it starts from.

    Returns:
        The checkpoint without the question, the input without the answer, and the steps that it allows, if it does.

    Raises:
        InvalidAnswerError: The answer is none.
        ConfigurationError: There is an answer, and no limits that it could raise.
    """
    own_id = _question_id(found.checkpoint["id"], found.config[CONF].get(CONFIG_KEY_CHECKPOINT_NS, ""))
    pending = found.pending_writes or []
    asked = next((write for write in pending if write[1] == INTERRUPT and _is_question(write[2], own_id)), None)
    if asked is None:
        return found, plan.input, None
    found = found._replace(pending_writes=[write for write in pending if write is not asked])
    given = plan.input
    if not isinstance(given, Command) or given.resume is None:
        return found, given, None
    answer, rest = _parted(given.resume, own_id)
    if answer is None:
        return found, given, None
    left: object = replace(given, resume=rest)
    if rest is None and not given.update and not given.goto:
        left = None
    return found, left, _take(plan, asked[2][0].value, answer)


def _is_question(value: object, own_id: str) -> bool:
    return isinstance(value, list | tuple) and len(value) == 1 and getattr(value[0], "id", None) == own_id


def _parted(resume: Any, own_id: str) -> tuple[Any, Any]:
    """Return the answer to the question of a limit, and what is left of a resume value."""
    if not isinstance(resume, Mapping):
        return None, resume
    if own_id in resume:
        rest = {key: value for key, value in resume.items() if key != own_id}
        return resume[own_id], rest or None
    return (resume, None) if resume.get("type") in ("raise", "end") else (None, resume)


def _take(plan: RunPlan, question: Mapping[str, Any], answer: Any) -> Allowed | None:
    """Raise the limits of a run as an answer says; returns the steps that it allows."""
    control = plan.given.control
    if control is None or not control.limited:
        raise ConfigurationError(
            "The thread has stopped at a limit, and the answer needs limits to raise: pass control=GraphLimits(...)"
        )
    from stategraph.engine.config.limits import LimitReached

    limits = cast("GraphLimits", control)
    reached = LimitReached(question["limit"], question["allowed"], question["used"], question["nested"])
    kind, to = (answer.get("type"), answer.get("to")) if isinstance(answer, Mapping) else (None, None)
    if kind == "end":
        limits.end(reached)
        return None
    if kind != "raise" or not isinstance(to, int | float) or isinstance(to, bool) or not to > reached.used:
        raise InvalidAnswerError(
            f"The answer to the limit of {reached.limit} is {answer!r}; expected {{'type': 'raise', 'to': n}} with n "
            f"above {reached.used:g}, or {{'type': 'end'}}"
        )
    if reached.limit != "steps":
        limits.raise_to(reached, to)
        return None
    more = int(to - reached.used)
    # Graphs inside count their own steps, and take their limit from the config of the run.
    plan.config = {**plan.config, "recursion_limit": max(plan.config["recursion_limit"], more)}
    return None if reached.nested else Allowed(more, int(reached.used))
