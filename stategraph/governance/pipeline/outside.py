"""Ports of the pipeline that are small enough to be met by other things than this package's own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from stategraph.governance.actions import ActionOutcome, ActionRequest
from stategraph.governance.budget.port import Reservation
from stategraph.governance.capability import Capability
from stategraph.governance.policy.verdict import Policy
from stategraph.governance.session import ActiveSession


class Redacting(Protocol):
    """Hides secrets, as `stategraph.governance.redaction.Redactor` does."""

    def clean(self, value: Any, /) -> Any:
        """Return JSON or text without secrets; never raises."""


class Selecting(Protocol):
    """Returns the policy of a session, as `stategraph.governance.policy.combination.Policies` does."""

    def select(self, names: Iterable[str] = (), /) -> Policy:
        """Return the policy for the names that a context has; none: the default."""


class Budgeting(Protocol):
    """Admits actions to budgets, as `stategraph.governance.budget.part.RunBudget` does."""

    async def begin_action(self, session: ActiveSession, request: ActionRequest, /) -> Reservation | None:
        """Admit an action; None: it is not limited.

        Raises:
            BudgetExceeded: It must not begin.
            GraphInterrupt: A person is asked.
        """

    def begin_action_sync(self, session: ActiveSession, request: ActionRequest, /) -> Reservation | None:
        """Admit an action, in a thread without an event loop."""

    def end_action(self, reservation: Reservation | None, *, executed: bool) -> None:
        """Settle an action that has ended; `executed` says whether it was, or may have been."""


class Metrics(Protocol):
    """Counts actions, as `stategraph.governance.metrics` does."""

    def action(self, outcome: ActionOutcome, capability: Capability | None, /) -> None:
        """Count an action that has ended."""
