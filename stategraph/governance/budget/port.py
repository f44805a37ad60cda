"""Port of budgets: amounts are reserved for a call before it begins, and settled when it has ended.

Rules
-----
* A call may begin if what was spent and what is reserved is below each cap; then its amounts are reserved. So the two
  together are never above a cap by more than the last reservation, however many calls begin at once, in any process.
* What a call took replaces what was reserved for it. One that never began, or failed before it took anything, is
  settled with `NOTHING`.
* A reservation has a key. Asked for again under the same key (a node that runs again, a process that goes on after a
  crash) it is the same one.
* A reservation that is not settled in time was lost with its process. What the call took is not known, so it counts as
  spent in full; a settlement that comes later replaces that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Protocol

from stategraph.governance.context import LARGEST_LIMITS, Budget, check_amount


class BudgetUnit(StrEnum):
    """The units of a budget, by their fields of `Budget`."""

    TOKENS = "tokens"
    USD = "usd"
    TOOL_CALLS = "tool_calls"
    WALL_S = "wall_s"


@dataclass(frozen=True, slots=True)
class Amounts:
    """Amounts that a call may take, or took.

    Attributes:
        tokens: Tokens read and written.
        usd: US dollars.
        tool_calls: Actions that are executed.

    Raises:
        ConfigurationError: An amount is no number from 0 to that of `LARGEST_LIMITS`.
    """

    tokens: int = 0
    usd: Decimal = Decimal(0)
    tool_calls: int = 0

    def __post_init__(self) -> None:
        for unit, amount in self.items():
            check_amount(f"Amounts: {unit}", unit, amount)

    @classmethod
    def reported(cls, tokens: int, usd: Decimal) -> Amounts:
        """Return what a provider says that a call took, within what may be stored."""
        most = LARGEST_LIMITS
        return cls(max(0, min(tokens, most["tokens"])), max(Decimal(0), min(usd, Decimal(most["usd"]))))

    def items(self) -> Iterator[tuple[BudgetUnit, int | Decimal]]:
        """Yield the units of which it is something."""
        if self.tokens:
            yield BudgetUnit.TOKENS, self.tokens
        if self.usd:
            yield BudgetUnit.USD, self.usd
        if self.tool_calls:
            yield BudgetUnit.TOOL_CALLS, self.tool_calls


NOTHING = Amounts()
ONE_ACTION = Amounts(tool_calls=1)


@dataclass(frozen=True, slots=True)
class Tree:
    """The tree of a run whose budget is meant.

    Attributes:
        root_run_id: The run at its root.
        tenant: The organisation that it belongs to.
        budget: Its limits, as the session's context has them. The first ones that the ledger is told for a root stay,
            until a person raises them.
    """

    root_run_id: str
    tenant: str
    budget: Budget


@dataclass(frozen=True, slots=True)
class Reservation:
    """Amounts that are held for a call.

    Attributes:
        tree: Of which budget.
        key: Of which call; unique within the tree.
        amounts: How much.
        id: Its own id.
    """

    tree: Tree
    key: str
    amounts: Amounts
    id: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that a person was asked before a call.

    Attributes:
        position: How many answers the node had been given when it asked.
        key: Of which call.
        unit: The unit that was used up.
        cap: What was allowed, in that unit.
        spent: What had been taken.
    """

    position: int
    key: str
    unit: BudgetUnit
    cap: float
    spent: float


@dataclass(frozen=True, slots=True)
class UnitUsage:
    """The state of one unit of a budget.

    Attributes:
        cap: What is allowed; None: it has no limit.
        reserved: What is held for calls that are under way.
        spent: What was taken.
    """

    cap: Decimal | None
    reserved: Decimal
    spent: Decimal


@dataclass(frozen=True, slots=True)
class BudgetUsage:
    """The state of a tree's budget.

    Attributes:
        units: By unit; those that have a cap or of which something was taken.
        waiting: Keys of calls that wait for a person.
    """

    units: Mapping[BudgetUnit, UnitUsage] = field(default_factory=dict)
    waiting: tuple[str, ...] = ()


class BudgetLedger(Protocol):
    """Keeps the budgets of trees of runs; safe in threads and for several processes."""

    async def reserve(self, tree: Tree, amounts: Amounts, /, *, key: str, holds_s: float = 300.0) -> Reservation:
        """Hold amounts for a call.

        Args:
            tree: Of which budget.
            amounts: The most that the call may take.
            key: Names the call within the tree, such as `run_id/call_id`.
            holds_s: Seconds after which a reservation that is not settled counts as spent.

        Raises:
            BudgetExceeded: A unit is used up, or would be if all calls that are under way took what they may.
            StoreUnavailableError: The database cannot be reached, so the call must not begin.
        """

    async def settle(self, reservation: Reservation, amounts: Amounts, /) -> None:
        """Replace what was held by what the call took; the same settlement once more changes nothing."""

    def reserve_sync(self, tree: Tree, amounts: Amounts, /, *, key: str, holds_s: float = 300.0) -> Reservation:
        """Hold amounts for a call, in a thread without an event loop."""

    def settle_sync(self, reservation: Reservation, amounts: Amounts, /) -> None:
        """Replace what was held by what the call took, in a thread without an event loop."""
