"""Admission of calls: reserves for them, waits for others that are under way, and asks a person at a cap.

Rules
-----
* Where only reservations of others are in the way, the call waits for their ends, which may leave room.
* Where a cap is reached by what was spent, `on_limit` decides. A person is asked once for each call: the question is
  stored, so a node that runs again asks the same, whatever others did to the budget meanwhile, and finds the answer.
* Answers are found by their place among the interrupts of a node. So a node that runs again asks nothing new before its
  earlier questions: their answers count from its start, and a call that they leave no room for is refused.
* Where nobody can be asked, outside of a node or without a checkpointer, the call is refused.

The order of steps is written once, as generators, for callers with an event loop and without one.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar

import anyio.to_thread

from stategraph.engine.config import environment
from stategraph.engine.config.procedures import adrive, drive
from stategraph.errors import InvalidAnswerError
from stategraph.governance.audit.event import AuditEvent, AuditEventType, AuditSink, Severity
from stategraph.governance.budget import questions
from stategraph.governance.budget.ledger import SqlBudgetLedger
from stategraph.governance.budget.port import NOTHING, Amounts, Asked, BudgetUnit, Reservation, Tree
from stategraph.governance.errors import BudgetExceeded
from stategraph.governance.session import ActiveSession

T = TypeVar("T")

Step: TypeAlias = Callable[[], object] | float
"""A call that may block, or a pause in seconds."""

Steps: TypeAlias = Generator[Step, Any, T]

_FIRST_PAUSE_S: Final = 0.01
_LONGEST_PAUSE_S: Final = 0.25


def _act(step: Step) -> object:
    """Perform a step in a thread without an event loop."""
    return environment.current().clock.sleep(step) if isinstance(step, float) else step()  # type: ignore[func-returns-value]


def _act_in_loop(step: Step) -> Awaitable[object]:
    """Perform a step in an event loop; calls that may block are made in threads."""
    return environment.current().clock.asleep(step) if isinstance(step, float) else anyio.to_thread.run_sync(step)


class _Asked:
    """A reservation that is made in a thread, whose caller may be cancelled meanwhile: then it is given back.

    Args:
        reserve: Makes it.
        ledger: Takes it back.
    """

    def __init__(self, reserve: Callable[[], Reservation], ledger: SqlBudgetLedger) -> None:
        self._reserve, self._ledger = reserve, ledger
        self._lock = threading.Lock()
        self._made: Reservation | None = None
        self._left = False

    def __call__(self) -> Reservation:
        """Make it."""
        made = self._reserve()
        with self._lock:
            self._made = made
            if self._left:
                self._ledger.settle_later(made, NOTHING)
        return made

    def leave(self) -> None:
        """Give it back, now or once it is made."""
        with self._lock:
            self._left = True
            if self._made is not None:
                self._ledger.settle_later(self._made, NOTHING)


@dataclass(frozen=True, slots=True)
class Admission:
    """Admits the calls of a tree of runs.

    Attributes:
        ledger: Keeps the budget.
        tree: The tree.
        session: The session in which calls are made.
        wait_s: Seconds that a call waits for others at most.
        holds_s: Seconds after which a reservation that is not settled counts as spent.
        audit: Is told of caps that are reached; None: nobody is.
        asked: Keys of calls about which a person was asked in this execution.
    """

    ledger: SqlBudgetLedger
    tree: Tree
    session: ActiveSession
    wait_s: float
    holds_s: float
    audit: AuditSink | None = None
    asked: set[str] = field(default_factory=set)

    async def admit(self, amounts: Amounts, key: str, place: str = "") -> Reservation:
        """Let a call begin.

        Args:
            amounts: The most that it may take.
            key: Names it within the tree; the same when its node runs again.
            place: Names the execution of its node; empty: as `key`.

        Raises:
            BudgetExceeded: It must not begin.
            GraphInterrupt: A person is asked.
            StoreUnavailableError: The database cannot be reached, so it must not begin.
        """
        try:
            return await adrive(self._steps(amounts, key, place or key), _act_in_loop)
        except BudgetExceeded as error:
            if self.audit is not None:
                await self.audit.record(self._event(error))
            raise

    def admit_sync(self, amounts: Amounts, key: str, place: str = "") -> Reservation:
        """Let a call begin, in a thread without an event loop; see `admit`."""
        try:
            return drive(self._steps(amounts, key, place or key), _act)
        except BudgetExceeded as error:
            if self.audit is not None:
                self.audit.record_sync(self._event(error))
            raise

    def _steps(self, amounts: Amounts, key: str, place: str) -> Steps[Reservation]:
        asks = self.tree.budget.on_limit == "interrupt" and questions.may_ask()
        earlier: list[Asked] = []
        if asks:
            earlier = yield partial(self.ledger.asked_sync, self.tree, place)
            yield from self._foreseen(earlier)
            for question in earlier:
                if question.key == key:
                    yield from self._answered(question)
        while True:
            try:
                return (yield from self._reserved(amounts, key))
            except BudgetExceeded as error:
                # A question that was not asked before would take the answer of a later one.
                if not asks or any(each.key not in self.asked for each in earlier if each.key != key):
                    raise
                reached = Asked(len(questions.answers_so_far()), key, BudgetUnit(error.unit), error.cap, error.spent)
            yield partial(self.ledger.ask_sync, self.tree, place, reached)
            yield from self._answered(reached)

    def _foreseen(self, earlier: Sequence[Asked]) -> Steps[None]:
        """Raise caps as a person has said about later calls of the node, which runs again from its start."""
        answers = questions.answers_so_far()
        for question in earlier:
            for answer in answers[question.position :]:  # one that makes no sense was asked again
                with suppress(InvalidAnswerError):
                    to = questions.read_answer(questions.question_of(self.tree, question), answer)
                    if to is not None:
                        yield partial(self.ledger.raise_sync, self.tree, question.unit, to)
                    break

    def _answered(self, question: Asked) -> Steps[None]:
        """Ask a person, and raise the cap as they say."""
        to = questions.ask(self.tree, question)
        self.asked.add(question.key)
        if to is None:
            unit, cap, spent = question.unit, question.cap, question.spent
            raise BudgetExceeded(
                f"The budget of this run and all that it started was used up ({unit}={cap:g}), and a person did not "
                "raise it",
                unit=str(unit),
                cap=cap,
                spent=spent,
            )
        yield partial(self.ledger.raise_sync, self.tree, question.unit, to)

    def _reserved(self, amounts: Amounts, key: str) -> Steps[Reservation]:
        """Reserve, once others leave room."""
        clock = environment.current().clock
        until, pause = clock.monotonic() + self.wait_s, _FIRST_PAUSE_S
        reserve = partial(self.ledger.reserve_sync, self.tree, amounts, key=key, holds_s=self.holds_s)
        while True:
            asked = _Asked(reserve, self.ledger)
            try:
                reservation: Reservation = yield asked
                return reservation
            except BudgetExceeded as error:
                if not error.may_pass or clock.monotonic() >= until:
                    raise
            except Exception:
                raise
            except BaseException:
                asked.leave()
                raise
            yield pause
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _event(self, error: BudgetExceeded) -> AuditEvent:
        surroundings, run = environment.current(), self.session.run
        return AuditEvent(
            AuditEventType.BUDGET_EXCEEDED,
            self.session.tenant,
            surroundings.datetime(),
            str(surroundings.ids.unique()),
            Severity.WARNING,
            run_id=run.run_id,
            thread_id=run.thread_id,
            principal=self.session.context.principal.name,
            data={
                "root_run_id": self.tree.root_run_id,
                "unit": error.unit,
                "cap": error.cap,
                "spent": error.spent,
                "reserved": error.reserved,
            },
        )
