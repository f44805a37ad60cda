"""Budgets that policies set, and the one that a session is under if several do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from stategraph.governance.context import Budget
from stategraph.governance.policy.verdict import Policy

_STRICTNESS: Final = ("interrupt", "deny", "raise")


def budget_of(policy: Policy) -> Budget | None:
    """Return the limits over the tree of a run that a policy sets; None: it sets none."""
    budget: Any = getattr(policy, "budget", None)
    return budget if isinstance(budget, Budget) else None


def tightest(budgets: Iterable[Budget | None]) -> Budget | None:
    """Return one budget that keeps to all of some.

    Args:
        budgets: The budgets; None stands for no limits.

    Returns:
        Of each amount the smallest, and the strictest of what happens at a limit: `raise`, then `deny`, then
        `interrupt`. None: all are None.
    """
    given = [each for each in budgets if each is not None]
    if not given:
        return None

    def least(name: str) -> Any:
        return min((amount for each in given if (amount := getattr(each, name)) is not None), default=None)

    return Budget(
        tokens=least("tokens"),
        usd=least("usd"),
        tool_calls=least("tool_calls"),
        wall_s=least("wall_s"),
        on_limit=max((each.on_limit for each in given), key=_STRICTNESS.index),
    )
