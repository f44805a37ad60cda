"""Requests for approval in SQLite or PostgreSQL: each change is one transaction, and one conditional update.

Rules
-----
* Times are those of the database's clock, so processes on several machines agree when a request expires.
* A tenant is part of every key and every condition. `newest`, `waiting` and `expire` alone can be asked about all
  tenants.
* Who may vote is decided here, by `voting`, whichever way a vote comes in.
* The tables may stand in the database of the registry of runs, or in another one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any, Final

from stategraph.governance.approval import voting
from stategraph.governance.approval.machine import OPEN, ApprovalState, Move
from stategraph.governance.approval.port import MOST_PENDING, Approval, Vote, VoteWord, Waiting
from stategraph.governance.approval.tables import COLUMNS, STATEMENTS
from stategraph.governance.context import Principal
from stategraph.governance.errors import ApprovalError
from stategraph.governance.policy.verdict import ApprovalTerms
from stategraph.workers.registry.databases import open_database
from stategraph.workers.registry.own_tables import OwnTables
from stategraph.workers.registry.port import Database, Session


class SqlApprovals:
    """Requests in a database; thread-safe, for any number of processes.

    Args:
        database: The database.
        clock: Returns the time in seconds since 1970, for tests; None: the database's clock.
        most_pending: Requests of one tenant that may wait at a time.
    """

    def __init__(
        self, database: Database, *, clock: Callable[[], float] | None = None, most_pending: int = MOST_PENDING
    ) -> None:
        self._database = database
        self._sql = STATEMENTS[database.sql.dialect.name]
        self._clock = clock
        self._most_pending = most_pending
        self._tables = OwnTables(database, self._sql.tables)

    @classmethod
    def from_url(cls, url: str, *, create: bool = True) -> SqlApprovals:
        """Open a store.

        Args:
            url: `sqlite:///approvals.db`, or `postgresql://...`.
            create: Whether a file that is not there is made.

        Raises:
            ConfigurationError: The address is not understood.
            MissingPackageError: `psycopg` is not installed.
        """
        return cls(open_database(url, create=create))

    def set_up(self) -> None:
        """Create the tables, unless they are there.

        Raises:
            StoreUnavailableError: The database cannot be reached.
        """
        self._tables.set_up()

    def close(self) -> None:
        """Close every connection."""
        self._database.close()

    # Requests.

    def request(self, approval: Approval, /) -> tuple[Approval, bool]:
        """Keep a request, unless one with its id is there; see `ApprovalStore.request`."""
        voting.check_terms(approval.terms)
        self.set_up()
        with self._database.transaction() as session:
            if self._sql.lock_tenant is not None:
                session.execute(self._sql.lock_tenant, (f"approvals of {approval.tenant}",))
            now = self._now(session)
            if (known := self._read(session, self._sql.get, approval.tenant, approval.id)) is not None:
                return _as_of(known, now), False
            waiting = session.execute(self._sql.pending, (approval.tenant, now, self._most_pending))[0][0]
            if waiting >= self._most_pending:
                raise ApprovalError(
                    f"{waiting} requests of this tenant wait for approval, and no more may: decide some, or deny them"
                )
            new = replace(
                approval,
                state=ApprovalState.REQUESTED,
                requested_at=now,
                expires_at=now + approval.terms.expires_s,
                resolved_at=None,
                used_by=None,
                votes=(),
            )
            session.change(self._sql.add, _values(new))
            return new, True

    def get(self, tenant: str, id: str, /) -> Approval | None:
        """Return a request; None: the tenant has none with this id."""
        self.set_up()
        with self._database.transaction(write=False) as session:
            found = self._read(session, self._sql.get, tenant, id)
            return None if found is None else _as_of(found, self._now(session))

    def of_call(self, tenant: str, scope: str, place: str, call_id: str, /) -> Sequence[Approval]:
        """Return the requests about one call, the oldest first."""
        return self._found(self._sql.of_call, tenant, scope, place, call_id)

    def equal(self, tenant: str, scope: str, identity: str, /) -> Sequence[Approval]:
        """Return the approved, unused requests for an equal action, the oldest first."""
        self.set_up()
        with self._database.transaction(write=False) as session:
            found = session.execute(self._sql.equal, (tenant, scope, identity, self._now(session)))
            return [self._with_votes(session, _approval(row)) for row in found]

    def newest(
        self, tenant: str | None = None, states: Collection[ApprovalState] = (), limit: int = 100
    ) -> Sequence[Approval]:
        """Return requests, the newest first; see `ApprovalStore.newest`."""
        self.expire(tenant)
        return self._found(self._sql.newest, tenant or "", tenant or "", _list(states or list(ApprovalState)), limit)

    def waiting(self, tenant: str | None = None, /) -> Waiting:
        """Count the requests that wait for a person; see `ApprovalStore.waiting`."""
        self.set_up()
        with self._database.transaction(write=False) as session:
            now = self._now(session)
            ((count, oldest),) = session.execute(self._sql.waiting, (tenant or "", tenant or "", now))
            return Waiting(count, 0.0 if oldest is None else max(0.0, now - oldest))

    def _found(self, statement: str, *parameters: object) -> list[Approval]:
        self.set_up()
        with self._database.transaction(write=False) as session:
            now = self._now(session)
            found = [_as_of(_approval(row), now) for row in session.execute(statement, parameters)]
            return [self._with_votes(session, each) for each in found]

    # Moves.

    def vote(self, tenant: str, id: str, voter: Principal, word: VoteWord, comment: str | None = None, /) -> Approval:
        """Count a vote; see `ApprovalStore.vote`."""
        self.set_up()
        with self._database.transaction() as session:
            found = self._read(session, self._sql.get_locked, tenant, id)
            if found is None:
                raise ApprovalError(f"There is no request for approval '{id}' of this tenant")
            now = self._now(session)
            _check_open(_as_of(found, now), word)
            if (why := voting.objection(found, voter, word)) is not None:
                raise ApprovalError(f"The vote about '{id}' does not count: {why}")
            given = (tenant, id, voter.user_id, word, _list(sorted(voter.roles)), comment, now)
            session.change(self._sql.vote, given)
            voted = self._with_votes(session, found)
            move = voting.outcome(voted.terms, voted.votes)
            if move is Move.GRANT and found.state is ApprovalState.APPROVED:
                move = None
            if move is not None:
                session.change(self._sql.move[move], (now, tenant, id))
            moved = self._read(session, self._sql.get, tenant, id)
            assert moved is not None
            return moved

    def consume(self, tenant: str, id: str, identity: str, used_by: str, /) -> bool:
        """Use an approved request up; see `ApprovalStore.consume`."""
        self.set_up()
        with self._database.transaction() as session:
            now = self._now(session)
            if session.change(self._sql.consume, (used_by, now, tenant, id, identity, now)):
                return True
            return bool(session.execute(self._sql.used, (tenant, id, identity, used_by)))

    def give_back(self, tenant: str, id: str, used_by: str, /) -> bool:
        """Make a request usable again whose action has paused; see `ApprovalStore.give_back`."""
        self.set_up()
        with self._database.transaction() as session:
            return bool(session.change(self._sql.give_back, (tenant, id, used_by)))

    def supersede(self, tenant: str, id: str, /) -> bool:
        """Set aside a request that waits or is approved; return whether this call did."""
        self.set_up()
        with self._database.transaction() as session:
            return bool(session.change(self._sql.move[Move.REPLACE], (self._now(session), tenant, id)))

    def note_told(self, tenant: str, id: str, state: ApprovalState, /, *, told: bool = True) -> bool:
        """Note that the audit log is told of a decision; see `ApprovalStore.note_told`."""
        self.set_up()
        statement = self._sql.note_told if told else self._sql.forget_told
        with self._database.transaction() as session:
            return bool(session.change(statement, (tenant, id, str(state))))

    def expire(self, tenant: str | None = None, /) -> int:
        """Mark requests whose time has come, and return how many."""
        self.set_up()
        with self._database.transaction() as session:
            return session.change(self._sql.expire, (tenant or "", tenant or "", self._now(session)))

    # Rows.

    def _now(self, session: Session) -> float:
        return float(session.execute(self._sql.now)[0][0]) if self._clock is None else self._clock()

    def _read(self, session: Session, statement: str, tenant: str, id: str) -> Approval | None:
        found = session.execute(statement, (tenant, id))
        return self._with_votes(session, _approval(found[0])) if found else None

    def _with_votes(self, session: Session, approval: Approval) -> Approval:
        found = session.execute(self._sql.votes, (approval.tenant, approval.id))
        return replace(approval, votes=tuple(map(_vote, found))) if found else approval


def _check_open(approval: Approval, word: VoteWord) -> None:
    able = {ApprovalState.REQUESTED} if word == "approve" else OPEN
    if approval.state not in able:
        raise ApprovalError(
            f"The request '{approval.id}' is {approval.state}, and is not decided any more: an action that is asked "
            "for again has a request of its own"
        )


_FIELDS: Final = COLUMNS.split(", ")


def _as_of(approval: Approval, now: float) -> Approval:
    """Return a request as it is at a time: one whose time has come is expired, whether or not it is marked so."""
    if approval.state in OPEN and approval.expires_at <= now:
        return replace(approval, state=ApprovalState.EXPIRED, resolved_at=approval.expires_at)
    return approval


def _list(values: Collection[str]) -> str:
    return json.dumps(list(values), ensure_ascii=False)


def _values(approval: Approval) -> tuple[object, ...]:
    terms = approval.terms
    return (
        approval.id,
        approval.tenant,
        approval.scope,
        approval.run_id,
        approval.thread_id,
        approval.place,
        approval.call_id,
        approval.capability_id,
        approval.capability_digest,
        approval.arguments_hash,
        json.dumps(dict(approval.preview), ensure_ascii=False),
        _list(approval.requesters),
        approval.agent_id,
        approval.policy_digest,
        approval.identity,
        _list(terms.approvers),
        terms.quorum,
        terms.expires_s,
        int(terms.self_approval),
        approval.rule,
        approval.reason,
        str(approval.state),
        approval.requested_at,
        approval.expires_at,
        approval.resolved_at,
        approval.used_by,
    )


def _approval(row: Sequence[Any]) -> Approval:
    found: dict[str, Any] = dict(zip(_FIELDS, row, strict=True))
    terms = [found.pop(name) for name in ("approvers", "quorum", "lasts_s", "self_approval")]
    found["terms"] = ApprovalTerms(tuple(json.loads(terms[0])), int(terms[1]), float(terms[2]), bool(terms[3]))
    found["preview"] = json.loads(found["preview"])
    found["requesters"] = tuple(json.loads(found["requesters"]))
    found["state"] = ApprovalState(found["state"])
    return Approval(**found)


def _vote(row: Sequence[Any]) -> Vote:
    _, approver, word, roles, comment, at = row
    return Vote(approver, word, frozenset(json.loads(roles)), comment, at)
