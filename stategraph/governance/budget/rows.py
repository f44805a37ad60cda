"""The rows of one tree within a transaction: read and locked together, changed one by one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from stategraph.governance.budget import amounts as rules
from stategraph.governance.budget.amounts import Stored, Unit
from stategraph.governance.budget.port import BudgetUnit, Tree
from stategraph.governance.budget.tables import BudgetSql
from stategraph.workers.registry.port import Session

LIVES_S: Final = 60.0
"""Seconds after its last sign of life at which the time of an execution stops running."""

_MOST: Final = 9 * 10**18

_HELD: Final = (BudgetUnit.TOKENS, BudgetUnit.USD, BudgetUnit.TOOL_CALLS, BudgetUnit.WALL_S)


class BudgetObserver(Protocol):
    """Is told what happens to budgets, once it is stored; for metrics."""

    def moved(self, unit: str, reserved: float, spent: float, /) -> None:
        """Take note of amounts that were reserved or given back, and spent."""

    def refused(self, unit: str, /) -> None:
        """Take note of a call that a cap kept from beginning."""

    def lapsed(self, unit: str, amount: float, /) -> None:
        """Take note of a reservation that was lost with its process, and counts as spent."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Amounts that are held for a call, or the time of an execution.

    Attributes:
        key: Of which call.
        id: Its own id.
        state: `held`, `running`, or `lapsed`: it counts as spent until a settlement comes.
        amounts: How much.
        since: When it began.
    """

    key: str
    id: str
    state: str
    amounts: Stored
    since: float


class TreeRows:
    """The rows of a tree; its budget is made if it is not there.

    Args:
        session: The transaction.
        sql: The statements.
        tree: The tree.
        lapses: Whether to move what was not settled in time.

    Attributes:
        at: The arguments that name the tree in statements.
        now: The time of the transaction, by the database's clock.
        units: The budget.
        moves: What was moved: unit, reserved and spent, to be told once it is stored.
        lapsed: What has lapsed.
    """

    def __init__(self, session: Session, sql: BudgetSql, tree: Tree, *, lapses: bool = True) -> None:
        self._session, self._sql = session, sql
        self.at = tree.tenant, tree.root_run_id
        self.moves: list[tuple[BudgetUnit, int, int]] = []
        self.lapsed: list[tuple[BudgetUnit, int]] = []
        rows = session.execute(sql.units, self.at)
        if not rows:
            for unit, cap in rules.caps(tree):
                session.change(sql.add_unit, (*self.at, str(unit), cap))
            rows = session.execute(sql.units, self.at)
        self.now = float(rows[0][4])
        self.units = {BudgetUnit(name): Unit(cap, reserved, spent) for name, cap, reserved, spent, _ in rows}
        if lapses:
            self._lapse()

    def check(self, wanted: Stored) -> None:
        """Let a call begin; see `amounts.check`. The time of executions that go on counts as spent."""
        time = self.units[BudgetUnit.WALL_S]
        if time.cap is None:
            return rules.check(self.units, wanted)
        running = self._session.execute(self._sql.running, self.at)
        spent = time.spent + sum(milliseconds(since, self.now) for (since,) in running)
        return rules.check({**self.units, BudgetUnit.WALL_S: Unit(time.cap, 0, spent)}, wanted)

    def hold(self, key: str) -> Hold | None:
        """Return what is held under a key; None: nothing is."""
        rows = self._session.execute(self._sql.hold, (*self.at, key))
        return _hold(rows[0]) if rows else None

    def move(self, amounts: Stored, *, reserved: int = 0, spent: int = 0) -> None:
        """Add amounts to what is reserved and to what was spent, so many times each."""
        for unit, amount in amounts.items():
            state = self.units[unit]
            held = _within(state.reserved, reserved * amount)
            taken = _within(state.spent, spent * amount)
            state.reserved += held
            state.spent += taken
            self._session.change(self._sql.move, (held, taken, *self.at, str(unit)))
            self.moves.append((unit, held, taken))

    def release(self, hold: Hold) -> None:
        """Take away a hold and what it counts as; the time of an execution counts as nothing until it ends."""
        if hold.state == "held":
            self.move(hold.amounts, reserved=-1)
        elif hold.state == "lapsed":
            self.move(hold.amounts, spent=-1)
        self.drop(hold)

    def drop(self, hold: Hold) -> None:
        """Take away a hold, and leave what it counts as."""
        self._session.change(self._sql.drop_hold, (*self.at, hold.key, hold.id))

    def _lapse(self) -> None:
        for *row, expires_at in self._session.execute(self._sql.lapsing, self.at):
            hold = _hold(row)
            took = dict(hold.amounts)
            if hold.state == "running":
                took[BudgetUnit.WALL_S] = milliseconds(hold.since, float(expires_at) - LIVES_S)
            self.move(took, reserved=-1 if hold.state == "held" else 0, spent=1)
            wall = took.get(BudgetUnit.WALL_S, 0)
            self._session.change(self._sql.lapse, (wall, *self.at, hold.key, hold.id))
            self.lapsed += took.items()


def _within(before: int, change: int) -> int:
    """Return a change as far as its sum fits into 64 bits, and is not below 0."""
    return max(0, min(before + change, _MOST)) - before


def _hold(row: list[object] | tuple[object, ...]) -> Hold:
    key, hold_id, state, *numbers, since = row
    held = {unit: int(str(number)) for unit, number in zip(_HELD, numbers, strict=True) if number}
    return Hold(str(key), str(hold_id), str(state), held, float(str(since)))


def milliseconds(since: float, until: float) -> int:
    """Return the time between two moments in milliseconds; never less than 0."""
    return max(0, round((until - since) * 1_000))
