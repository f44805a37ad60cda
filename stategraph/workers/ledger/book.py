"""The ledger's rows in the registry's database: one transaction for each move, decided by `machine`.

All of it is synchronous and thread-safe.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from stategraph.workers.leases import LeaseLost, LeaseSettings
from stategraph.workers.ledger import machine
from stategraph.workers.ledger.holders import Dispatching, Name, may_go_on
from stategraph.workers.ledger.machine import Claimant, Decision, EffectRow, EffectState
from stategraph.workers.registry.operations import RegistryOperations
from stategraph.workers.registry.port import ConflictError, Session
from stategraph.workers.registry.pruning import check_age
from stategraph.workers.registry.values import Lease

T = TypeVar("T")

_TRIES: Final = 20

#: Effects that are forgotten in one transaction.
_FORGOTTEN_AT_ONCE: Final = 500


class EffectBook:
    """The rows of effects.

    Args:
        store: The registry's operations; the rows are in its database.
        lease_s: Seconds for which an attempt that dispatches a call has its run to itself from then on.
    """

    def __init__(self, store: RegistryOperations, lease_s: float = LeaseSettings().lease_s) -> None:
        self._store = store
        self.lease_s = lease_s
        self._sql = store.database.sql
        self._open = Dispatching(self._renew, lease_s / 3)

    def claim(self, scope: str, key: str, args_hash: str, claimant: Claimant, lease: Lease | None) -> Decision:
        """Claim an effect for an attempt that is about to dispatch it.

        Returns:
            The row, and what the attempt is to do.

        Raises:
            LeaseLost: The attempt's run belongs to another owner.
            EffectKeyReused: The key was used with other arguments.
        """

        def act(session: Session) -> Decision:
            if lease is not None:
                self._store.check_fence(session, lease)
            row = self._read(session, scope, key)
            lives = row is not None and self._lives(session, row, claimant)
            decision = self._write(session, row, machine.Claim(scope, key, args_hash, claimant, lives))
            if row is not None and decision.order == machine.Dispatch():
                session.change(self._sql.renew_effect, (scope, key, claimant.run_id, claimant.token))
            if lease is not None and decision.order == machine.Dispatch():
                # A process that was stopped may have a lease that has run out, and that nobody has taken yet.
                self._store.keep(session, lease, self.lease_s)
            return decision

        decision = self._transact(act)
        if decision.order == machine.Dispatch():
            self._open.add((scope, key), claimant)
        return decision

    def keep(self, scope: str, key: str, lease: Lease) -> None:
        """Check that an effect is still this attempt's to dispatch, and have its lease hold for `lease_s` from now on.

        Raises:
            LeaseLost: The attempt's run belongs to another owner, who may have dispatched the call.
        """
        try:
            with self._store.database.transaction(durable=True) as session:
                self._store.check_fence(session, lease)
                self._store.keep(session, lease, self.lease_s)
        except LeaseLost:
            self._open.discard((scope, key))
            raise

    def tell(self, scope: str, key: str, event: machine.Event) -> Decision:
        """Tell the ledger how a call went, or what came of a doubt.

        Raises:
            IllegalEffectMove: The effect's state has no such move.
        """
        if not isinstance(event, machine.Note):
            self._open.discard((scope, key))
        return self._transact(lambda session: self._write(session, self._read(session, scope, key), event))

    def read(self, scope: str, key: str) -> EffectRow | None:
        """Return what is known of an effect."""
        self._store.set_up()
        with self._store.database.transaction(write=False) as session:
            return self._read(session, scope, key)

    def is_under_way(self, scope: str, key: str) -> bool:
        """Return whether the call that has claimed an effect goes on, in this process or in another one."""
        self._store.set_up()
        with self._store.database.transaction(write=False) as session:
            row = self._read(session, scope, key)
            return row is not None and row.state is EffectState.CLAIMED and self._goes_on(session, row)

    def doubtful(self, limit: int = 100) -> list[EffectRow]:
        """List effects in doubt, the oldest first."""
        self._store.set_up()
        with self._store.database.transaction(write=False) as session:
            return [_row(found) for found in session.execute(self._sql.effects_in_doubt, (limit,))]

    def forget(self, older_than_s: float) -> int:
        """Delete committed effects, in transactions that hold up no worker; those in doubt are kept, however old.

        Returns:
            How many were deleted. A run that asks for one of them again makes the call again.

        Raises:
            ValueError: The age is no number of seconds.
        """
        check_age(older_than_s)
        self._store.set_up()
        database, deleted = self._store.database, 0
        last: tuple[Any, ...] = ("", "")
        while True:
            began = time.monotonic()
            with database.transaction(write=False) as session:
                found = session.execute(self._sql.old_effects, (*last, older_than_s, _FORGOTTEN_AT_ONCE))
            if not found:
                return deleted
            with database.transaction() as session:
                deleted += sum(session.change(self._sql.forget_effect, (*key, older_than_s)) for key in found)
            last = found[-1]
            time.sleep(time.monotonic() - began)  # for those who wait for a lock

    def _transact(self, act: Callable[[Session], T]) -> T:
        self._store.set_up()
        for _ in range(_TRIES):
            try:
                with self._store.database.transaction(durable=True) as session:
                    return act(session)
            except ConflictError:
                continue  # another attempt claimed the same effect at this moment
        raise ConflictError("An effect was claimed by others again and again; try it later")

    def _lives(self, session: Session, row: EffectRow, claimant: Claimant) -> bool:
        """Return whether the call that has claimed an effect goes on."""
        if row.claimant == claimant:
            return (row.scope, row.key) in self._open
        return self._goes_on(session, row)

    def _goes_on(self, session: Session, row: EffectRow) -> bool:
        """Return whether the call of a claimed effect goes on, by whomever: its claim holds, and its process lives."""
        name = (row.scope, row.key)
        if row.claimant.token == 0:
            if not may_go_on(name, row.claimant):
                return False
            return bool(session.execute(self._sql.effect_holds, (*name, self.lease_s)))
        return bool(session.execute(self._sql.lives, (row.claimant.run_id, row.claimant.token)))

    def _renew(self, claims: Mapping[Name, Claimant]) -> None:
        with self._store.database.transaction() as session:
            for name, claimant in claims.items():
                session.change(self._sql.renew_effect, (*name, claimant.run_id, claimant.token))

    def _read(self, session: Session, scope: str, key: str) -> EffectRow | None:
        found = session.execute(self._sql.effect, (scope, key))
        return _row(found[0]) if found else None

    def _write(self, session: Session, before: EffectRow | None, event: machine.Event) -> Decision:
        decision = machine.decide(before, event)
        row = decision.row
        if row == before:
            return decision
        if row is None:
            assert before is not None
            session.change(self._sql.delete_effect, (before.scope, before.key))
            return decision
        values = (
            row.args_hash,
            row.state,
            row.claimant.run_id,
            row.claimant.token,
            row.result,
            row.error,
            int(row.retryable),
            row.external_ref,
        )
        if before is not None:
            settled = row.state is EffectState.COMMITTED or row.state is EffectState.FAILED
            session.change(self._sql.change_effect, (*values, settled, row.scope, row.key))
        elif session.change(self._sql.add_effect, (row.scope, row.key, *values)) != 1:
            raise ConflictError(f"The effect '{row.key}' was claimed by another attempt")
        return decision


def _row(found: tuple[object, ...]) -> EffectRow:
    scope, key, args_hash, state, run_id, token, result, error, retryable, external_ref = found
    return EffectRow(
        str(scope),
        str(key),
        str(args_hash),
        EffectState(str(state)),
        Claimant(str(run_id), int(token)),  # type: ignore[call-overload]
        None if result is None else bytes(result),  # type: ignore[call-overload]
        None if error is None else str(error),
        bool(retryable),
        None if external_ref is None else str(external_ref),
    )
