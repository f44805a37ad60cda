"""Amounts as the ledger stores them, and the rule that lets a call begin; without clock or database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Final

from stategraph.governance.budget.port import Amounts, BudgetUnit, Tree, UnitUsage
from stategraph.governance.errors import BudgetExceeded

SCALE: Final[Mapping[BudgetUnit, int]] = {
    BudgetUnit.TOKENS: 1,
    BudgetUnit.USD: 1_000_000_000,
    BudgetUnit.TOOL_CALLS: 1,
    BudgetUnit.WALL_S: 1_000,
}
"""Whole numbers that a unit is stored as: US dollars in billionths, seconds in milliseconds."""

Stored = Mapping[BudgetUnit, int]


def stored(unit: BudgetUnit, amount: float | Decimal) -> int:
    """Return an amount as it is stored; fractions are rounded up."""
    return int((Decimal(str(amount)) * SCALE[unit]).to_integral_value(ROUND_CEILING))


def shown(unit: BudgetUnit, number: int) -> Decimal:
    """Return a stored amount in its unit."""
    return Decimal(number) / SCALE[unit]


def of_call(amounts: Amounts) -> Stored:
    """Return what a call may take, or took, as it is stored."""
    return {unit: stored(unit, amount) for unit, amount in amounts.items()}


def caps(tree: Tree) -> Iterator[tuple[BudgetUnit, int | None]]:
    """Yield each unit with its cap as it is stored; None: it has no limit."""
    for unit in BudgetUnit:
        cap = getattr(tree.budget, unit)
        yield unit, None if cap is None else stored(unit, cap)


@dataclass(slots=True)
class Unit:
    """One unit of a tree's budget, as it is stored.

    Attributes:
        cap: What is allowed; None: it has no limit.
        reserved: What is held for calls that are under way.
        spent: What was taken.
    """

    cap: int | None
    reserved: int
    spent: int

    def usage(self, unit: BudgetUnit) -> UnitUsage:
        """Return it in its unit."""
        cap = None if self.cap is None else shown(unit, self.cap)
        return UnitUsage(cap, shown(unit, self.reserved), shown(unit, self.spent))


_OF_MODELS: Final = (BudgetUnit.TOKENS, BudgetUnit.USD)


def check(units: Mapping[BudgetUnit, Unit], wanted: Stored) -> None:
    """Let a call begin if what was spent and what is reserved is below each cap that it counts towards.

    Args:
        units: The budget.
        wanted: What is to be reserved. Calls of models count towards tokens and cost, actions towards their number,
            and both towards time.

    Raises:
        BudgetExceeded: A cap is reached. Of several, one that was reached by what was spent comes first.
    """
    concerned = {BudgetUnit.WALL_S, *wanted}
    if not concerned.isdisjoint(_OF_MODELS):
        concerned.update(_OF_MODELS)
    reached = [
        (unit, each)
        for unit, each in units.items()
        if unit in concerned and each.cap is not None and each.spent + each.reserved >= each.cap
    ]
    for unit, each in sorted(reached, key=lambda pair: pair[1].spent < (pair[1].cap or 0)):
        raise exceeded(unit, each)


def exceeded(unit: BudgetUnit, state: Unit) -> BudgetExceeded:
    """Return the error of a cap that is reached."""
    cap, reserved, spent = (float(shown(unit, each or 0)) for each in (state.cap, state.reserved, state.spent))
    held = f", and {reserved:g} is reserved for calls that are under way" if reserved else ""
    return BudgetExceeded(
        f"The budget of this run and all that it started has reached its cap {unit}={cap:g}: {spent:g} was "
        f"spent{held}. Raise Budget({unit}=...), or have a person raise it with on_limit='interrupt'",
        unit=str(unit),
        cap=cap,
        spent=spent,
        reserved=reserved,
    )
