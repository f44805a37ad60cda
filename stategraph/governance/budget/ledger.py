"""Budgets in a database, SQLite or PostgreSQL: one transaction for each reservation and settlement.

Rules, beside those of `port`
-----
* The rows of a tree are locked by the transaction that changes them: its calls are admitted one after the other, and
  two trees never wait for each other.
* Whatever is not settled in time lapses with the next reservation of its tree: held amounts count as spent in full,
  time as far as the process said that it lived. Evidence that comes later, a settlement, replaces that.
* A settlement names the reservation by its id: one that lapsed and was made anew under its key changes nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Final, Self, TypeVar

import anyio.to_thread

from stategraph.engine.config import environment
from stategraph.governance.budget import amounts as rules
from stategraph.governance.budget.amounts import Unit
from stategraph.governance.budget.port import Amounts, Asked, BudgetUnit, BudgetUsage, Reservation, Tree
from stategraph.governance.budget.rows import LIVES_S, BudgetObserver, TreeRows, milliseconds
from stategraph.governance.budget.tables import BudgetSql
from stategraph.governance.context import check_amount
from stategraph.governance.errors import BudgetExceeded
from stategraph.governance.tenants.binding import bind
from stategraph.workers.registry.databases import open_database
from stategraph.workers.registry.own_tables import OwnTables
from stategraph.workers.registry.port import ConflictError, Database, Rows, Session

T = TypeVar("T")

_TRIES: Final = 20


class SqlBudgetLedger:
    """A `BudgetLedger` in a database.

    Args:
        database: The database, see `from_url`.
        observer: Is told what happens; None: nobody is.
    """

    def __init__(self, database: Database, *, observer: BudgetObserver | None = None) -> None:
        self._database = database
        self._sql = BudgetSql(database.sql)
        self._observer = observer
        self._tables = OwnTables(database, self._sql.tables)
        # SQLite has one writer at a time, and has others wait with pauses that grow: here they queue instead.
        is_sqlite = database.sql.dialect.name == "sqlite"
        self._one_writer: AbstractContextManager[object] = threading.Lock() if is_sqlite else nullcontext()
        self._later = ThreadPoolExecutor(1, thread_name_prefix="stategraph budget")

    @classmethod
    def from_url(cls, url: str, *, observer: BudgetObserver | None = None) -> Self:
        """Make one; nothing is opened before its first use.

        Args:
            url: `sqlite:///budgets.db` or `postgresql://...`; the database of the registry, or one of its own.
            observer: Is told what happens.

        Raises:
            ConfigurationError: The address is not understood.
            MissingPackageError: `psycopg` is not installed.
        """
        return cls(open_database(url), observer=observer)

    def __repr__(self) -> str:
        return f"<SqlBudgetLedger in {self._database.sql.dialect.name}>"

    # Reservations.

    def reserve_sync(self, tree: Tree, amounts: Amounts, /, *, key: str, holds_s: float = 300.0) -> Reservation:
        """Hold amounts for a call; see `BudgetLedger`."""
        wanted = rules.of_call(amounts)
        reservation_id = environment.current().ids.unique().hex
        held = [wanted.get(unit, 0) for unit in (BudgetUnit.TOKENS, BudgetUnit.USD, BudgetUnit.TOOL_CALLS)]

        def act(session: Session, rows: TreeRows) -> None:
            before = rows.hold(key)
            if before is not None and before.state == "held":
                rows.release(before)  # the same call, which begins again
            elif before is not None:
                rows.drop(before)
            rows.check(wanted)
            rows.move(wanted, reserved=1)
            session.change(self._sql.add_hold, (*rows.at, key, reservation_id, "held", *held, holds_s))

        try:
            self._change(tree, act)
        except BudgetExceeded as error:
            if self._observer is not None and not error.may_pass:
                self._observer.refused(error.unit)
            raise
        return Reservation(tree, key, amounts, reservation_id)

    def settle_sync(self, reservation: Reservation, amounts: Amounts, /) -> None:
        """Replace what was held by what the call took; see `BudgetLedger`."""
        taken = rules.of_call(amounts)

        def act(_: Session, rows: TreeRows) -> None:
            hold = rows.hold(reservation.key)
            if hold is not None and hold.id == reservation.id:
                rows.release(hold)
                rows.move(taken, spent=1)

        self._change(reservation.tree, act, lapses=False)

    async def reserve(self, tree: Tree, amounts: Amounts, /, *, key: str, holds_s: float = 300.0) -> Reservation:
        """Hold amounts for a call; see `BudgetLedger`."""
        return await _in_thread(partial(self.reserve_sync, tree, amounts, key=key, holds_s=holds_s))

    async def settle(self, reservation: Reservation, amounts: Amounts, /) -> None:
        """Replace what was held by what the call took; see `BudgetLedger`."""
        await _in_thread(self.settle_sync, reservation, amounts)

    def settle_later(self, reservation: Reservation, amounts: Amounts, /) -> Future[None]:
        """Settle without waiting for the database, in order; `flush` waits for all of them."""
        return self._later.submit(self.settle_sync, reservation, amounts)

    def flush_sync(self) -> None:
        """Wait until settlements that were to be made later are stored."""
        self._later.submit(lambda: None).result()

    # Time.

    def begin_sync(self, tree: Tree, key: str) -> Reservation:
        """Let the time of an execution of the root run.

        Args:
            tree: Of which budget.
            key: Names the run. Its time runs once, though a host and its worker both say so, and goes on where another
                process takes the run over.
        """
        reservation_id = environment.current().ids.unique().hex
        known: list[str] = []

        def act(session: Session, rows: TreeRows) -> None:
            before = rows.hold(key)
            known[:] = [] if before is None or before.state != "running" else [before.id]
            if known:
                session.change(self._sql.beat, (LIVES_S, *rows.at, key, known[0]))
                return
            if before is not None:
                rows.drop(before)
            session.change(self._sql.add_hold, (*rows.at, key, reservation_id, "running", 0, 0, 0, LIVES_S))

        self._change(tree, act)
        return Reservation(tree, key, Amounts(), known[0] if known else reservation_id)

    def beat_sync(self, execution: Reservation) -> None:
        """Say that an execution goes on; to be called more often than every `LIVES_S`."""

        def act(session: Session, rows: TreeRows) -> None:
            session.change(self._sql.beat, (LIVES_S, *rows.at, execution.key, execution.id))

        self._change(execution.tree, act, lapses=False)

    def end_sync(self, execution: Reservation) -> None:
        """Stop the time of an execution: it ended, or waits for a person."""

        def act(_: Session, rows: TreeRows) -> None:
            hold = rows.hold(execution.key)
            if hold is not None and hold.id == execution.id:
                rows.release(hold)
                rows.move({BudgetUnit.WALL_S: milliseconds(hold.since, rows.now)}, spent=1)

        self._change(execution.tree, act, lapses=False)

    # Persons.

    def raise_sync(self, tree: Tree, unit: BudgetUnit, cap: float) -> None:
        """Raise a cap; one that is as high already stays as it is.

        Args:
            tree: Of which budget.
            unit: The unit.
            cap: What is allowed from now on.

        Raises:
            ConfigurationError: The cap is none that a `Budget` may have.
        """
        unit = BudgetUnit(unit)
        check_amount(f"The raised cap of {unit}", unit, cap)
        number = rules.stored(unit, cap)

        def act(session: Session, rows: TreeRows) -> None:
            session.change(self._sql.raise_cap, (number, *rows.at, str(unit), number))

        self._change(tree, act)

    def ask_sync(self, tree: Tree, place: str, asked: Asked) -> None:
        """Keep what a person is asked before a call; a question that is there already stays as it is.

        Args:
            tree: Of which budget.
            place: Names the node's execution; the same when the node runs again.
            asked: The question.
        """
        unit = asked.unit
        figures = str(unit), rules.stored(unit, asked.cap), rules.stored(unit, asked.spent)

        def act(session: Session, rows: TreeRows) -> None:
            session.change(self._sql.add_question, (*rows.at, place, asked.position, asked.key, *figures))

        self._change(tree, act, lapses=False)

    def asked_sync(self, tree: Tree, place: str) -> list[Asked]:
        """Return what a person was asked before the calls of a node's execution, in order."""
        rows = self._look(tree.tenant, self._sql.questions, (tree.tenant, tree.root_run_id, place))
        found = [(position, key, BudgetUnit(unit), cap, spent) for position, key, unit, cap, spent in rows]
        return [
            Asked(position, key, unit, float(rules.shown(unit, cap)), float(rules.shown(unit, spent)))
            for position, key, unit, cap, spent in found
        ]

    # Views, and the end.

    def usage_sync(self, tenant: str, root_run_id: str) -> BudgetUsage:
        """Return the state of a tree's budget, as it is stored."""
        at = tenant, root_run_id
        rows = self._look(tenant, self._sql.look, at)
        units = {BudgetUnit(name): Unit(cap, reserved, spent) for name, cap, reserved, spent in rows}
        told = {unit: each.usage(unit) for unit, each in units.items() if each.cap is not None or each.spent}
        return BudgetUsage(told, tuple(key for (key,) in self._look(tenant, self._sql.waiting, at)))

    async def usage(self, tenant: str, root_run_id: str) -> BudgetUsage:
        """Return the state of a tree's budget, as it is stored."""
        return await _in_thread(partial(self.usage_sync, tenant, root_run_id))

    def erase_sync(self, tenant: str, root_run_id: str) -> None:
        """Delete what is kept of a tree."""

        def act(session: Session) -> None:
            for statement in self._sql.erase:
                session.change(statement, (tenant, root_run_id))

        self._transact(tenant, act)

    def prune_sync(self, tenant: str, older_than_s: float) -> int:
        """Delete the trees of a tenant of which nothing has moved for so many seconds; return how many those were.

        Raises:
            ConfigurationError: That is no number of seconds from 0 to 10**15.
        """
        check_amount("older_than_s", BudgetUnit.WALL_S, older_than_s)
        count = 0
        while roots := self._look(tenant, self._sql.old, (tenant, older_than_s)):
            for (root,) in roots:
                self.erase_sync(tenant, root)
            count += len(roots)
        return count

    def close(self) -> None:
        """Store what is to be settled, and close every connection to the database."""
        self._later.shutdown(wait=True)
        self._database.close()

    async def aclose(self) -> None:
        """Store what is to be settled, and close every connection to the database."""
        await _in_thread(self.close)

    # Transactions.

    def _change(self, tree: Tree, act: Callable[[Session, TreeRows], None], *, lapses: bool = True) -> None:
        """Change the rows of a tree, and tell what was moved."""
        moved: list[TreeRows] = []

        def change(session: Session) -> None:
            rows = TreeRows(session, self._sql, tree, lapses=lapses)
            moved[:] = [rows]
            act(session, rows)

        try:
            self._transact(tree.tenant, change)
        except BudgetExceeded:
            if moved[0].lapsed:  # which stays, whatever was refused
                self._change(tree, lambda *_: None)
            raise
        if self._observer is not None:
            for unit, reserved, spent in moved[0].moves:
                self._observer.moved(str(unit), float(rules.shown(unit, reserved)), float(rules.shown(unit, spent)))
            for unit, amount in moved[0].lapsed:
                self._observer.lapsed(str(unit), float(rules.shown(unit, amount)))

    def _look(self, tenant: str, statement: str, parameters: tuple[object, ...]) -> Rows:
        return self._transact(tenant, lambda session: session.execute(statement, parameters), write=False)

    def _transact(self, tenant: str, act: Callable[[Session], T], *, write: bool = True) -> T:
        """Perform a transaction of a tenant; again if another one was faster."""
        self._tables.set_up()
        for tries in range(_TRIES):
            try:
                with self._one_writer if write else nullcontext(), self._database.transaction(write=write) as session:
                    bind(session, self._database.sql, tenant)
                    return act(session)
            except ConflictError:
                if tries == _TRIES - 1:
                    raise
        raise AssertionError

    def set_up(self) -> None:
        """Make the tables, unless they are there: an app role on PostgreSQL may not, and need not.

        The first operation does so too.
        """
        self._tables.set_up()


async def _in_thread(function: Callable[..., T], *arguments: object) -> T:
    return await anyio.to_thread.run_sync(function, *arguments)
