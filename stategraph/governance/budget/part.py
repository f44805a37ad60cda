"""The budget of a run, as a part of its session: models are admitted and time runs while the session is active."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial

import anyio
import anyio.to_thread

from stategraph.agent.limits.prices import PriceBook
from stategraph.agent.settings.limits import Prices
from stategraph.governance.actions import ActionRequest
from stategraph.governance.audit.event import AuditSink
from stategraph.governance.budget import models
from stategraph.governance.budget.admission import Admission
from stategraph.governance.budget.ledger import SqlBudgetLedger
from stategraph.governance.budget.models import Estimates, ModelBudget
from stategraph.governance.budget.port import NOTHING, ONE_ACTION, BudgetUnit, Reservation, Tree
from stategraph.governance.budget.rows import LIVES_S
from stategraph.governance.context import Budget, check_amount
from stategraph.governance.session import ActiveSession
from stategraph.workers.registry.port import StoreUnavailableError

_current: ContextVar[Admission | None] = ContextVar("stategraph_budget_admission", default=None)
"""The admission of the execution that goes on."""


@dataclass(frozen=True, slots=True)
class RunBudget:
    """Keeps the budget of a session's context over the tree of its run; a part of a `Session`.

    Attributes:
        ledger: Keeps budgets; one for all runs of a program.
        prices: The prices by which US dollars are counted; None: known ones, and only if they are limited.
        assumed_tokens: Tokens that a call of a model is assumed to read or write, where that has no known bound.
        wait_s: Seconds that a call waits for others that are under way and may leave room.
        holds_s: Seconds after which the reservation of a call that is not settled counts as spent: more than any call
            takes.
        audit: Is told of caps that are reached; None: nobody is.

    Raises:
        ConfigurationError: A number is none that it may be.
    """

    ledger: SqlBudgetLedger
    prices: Prices | None = None
    assumed_tokens: int = 8_192
    wait_s: float = 60.0
    holds_s: float = 600.0
    audit: AuditSink | None = None

    def __post_init__(self) -> None:
        check_amount("RunBudget: assumed_tokens", BudgetUnit.TOKENS, self.assumed_tokens)
        check_amount("RunBudget: wait_s", BudgetUnit.WALL_S, self.wait_s)
        check_amount("RunBudget: holds_s", BudgetUnit.WALL_S, self.holds_s)

    # Actions.

    async def begin_action(self, session: ActiveSession, request: ActionRequest) -> Reservation | None:
        """Admit an action; None: it is not limited.

        Raises:
            BudgetExceeded: It must not begin.
            GraphInterrupt: A person is asked.
        """
        admission = self._admission_here(session, request.context.budget)
        return None if admission is None else await admission.admit(ONE_ACTION, *_names(request))

    def begin_action_sync(self, session: ActiveSession, request: ActionRequest) -> Reservation | None:
        """Admit an action, in a thread without an event loop."""
        admission = self._admission_here(session, request.context.budget)
        return None if admission is None else admission.admit_sync(ONE_ACTION, *_names(request))

    def end_action(self, reservation: Reservation | None, *, executed: bool) -> None:
        """Settle an action, without waiting for the database.

        Args:
            reservation: What `begin_action` returned.
            executed: Whether it was executed, or may have been.
        """
        if reservation is not None:
            self.ledger.settle_later(reservation, ONE_ACTION if executed else NOTHING)

    # The part of a session.

    @asynccontextmanager
    async def entered(self, session: ActiveSession) -> AsyncIterator[None]:
        """Keep the budget while the session is active."""
        admission = self._admission(session, session.context.budget)
        if admission is None:
            yield
            return
        with self._admitting(admission) as budget:
            execution = None
            if self._times(session, admission.tree.budget):
                execution = await anyio.to_thread.run_sync(partial(self._begin, admission))
            beating = None if execution is None else asyncio.create_task(self._beat(execution), name="budget of a run")
            try:
                yield
            finally:
                budget.close()
                with anyio.CancelScope(shield=True):
                    if beating is not None:
                        beating.cancel()
                        await asyncio.wait((beating,))
                    await anyio.to_thread.run_sync(partial(self._end, execution))

    @contextmanager
    def entered_sync(self, session: ActiveSession) -> Iterator[None]:
        """Keep the budget while the session is active; its time lapses unless its calls come more often than that."""
        admission = self._admission(session, session.context.budget)
        if admission is None:
            yield
            return
        with self._admitting(admission) as budget:
            execution = self._begin(admission) if self._times(session, admission.tree.budget) else None
            try:
                yield
            finally:
                budget.close()
                self._end(execution)

    def _admission(self, session: ActiveSession, budget: Budget | None) -> Admission | None:
        if budget is None or (budget.tokens, budget.usd, budget.tool_calls, budget.wall_s) == (None,) * 4:
            return None
        tree = Tree(session.run.root, session.tenant, budget)
        return Admission(self.ledger, tree, session, self.wait_s, self.holds_s, self.audit)

    def _admission_here(self, session: ActiveSession, budget: Budget | None) -> Admission | None:
        """Return the admission of the execution that goes on, which knows what was asked in it."""
        made, going_on = self._admission(session, budget), _current.get()
        if made is None or going_on is None or going_on.ledger is not self.ledger or going_on.tree != made.tree:
            return made
        return going_on

    @contextmanager
    def _admitting(self, admission: Admission) -> Iterator[ModelBudget]:
        """Admit the calls of models in the block."""
        book = None
        if admission.tree.budget.usd is not None:
            book = PriceBook.of(self.prices or Prices())
        budget = ModelBudget(admission, Estimates(book, self.assumed_tokens))
        variables = models.first, models.second, models.last
        outer = _current.set(admission)
        tokens = [variable.set(each) for variable, each in zip(variables, budget.handlers(), strict=True)]
        try:
            yield budget
        finally:
            for variable, token in zip(variables, tokens, strict=True):
                variable.reset(token)
            _current.reset(outer)

    @staticmethod
    def _times(session: ActiveSession, budget: Budget) -> bool:
        """Return whether the time of an execution counts: only that of the root does."""
        return budget.wall_s is not None and session.run.root == session.run.run_id

    def _begin(self, admission: Admission) -> Reservation:
        return self.ledger.begin_sync(admission.tree, f"execution/{admission.session.run.run_id}")

    def _end(self, execution: Reservation | None) -> None:
        self.ledger.flush_sync()
        if execution is not None:
            self.ledger.end_sync(execution)

    async def _beat(self, execution: Reservation) -> None:
        while True:
            await anyio.sleep(LIVES_S / 4)
            with contextlib.suppress(StoreUnavailableError):
                await anyio.to_thread.run_sync(partial(self.ledger.beat_sync, execution))


def _names(request: ActionRequest) -> tuple[str, str]:
    """Return the key of an action within its tree, and the place of its node; empty: it has none."""
    key = f"action/{request.run.run_id}/{request.place}/{request.call_id}"
    return key, models.place_of(request.place) if request.place else ""
