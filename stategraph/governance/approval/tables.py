"""The tables of requests, votes, and what the audit log was told, in the words that SQLite and PostgreSQL share."""

from __future__ import annotations

from typing import Final

from stategraph.governance.approval.machine import OPEN, ApprovalState, Move, sources, target
from stategraph.workers.registry.sql import POSTGRES, SQLITE, Dialect

COLUMNS: Final = (
    "id, tenant, scope, run_id, thread_id, place, call_id, capability_id, capability_digest, arguments_hash, preview, "
    "requesters, agent_id, policy_digest, identity, approvers, quorum, lasts_s, self_approval, rule, reason, state, "
    "requested_at, expires_at, resolved_at, used_by"
)
VOTE_COLUMNS: Final = "approval_id, approver, word, roles, comment, at"

_STATES: Final = ", ".join(f"'{state}'" for state in ApprovalState)
_OPEN: Final = ", ".join(sorted(f"'{state}'" for state in OPEN))

_TABLES: Final = (
    f"""CREATE TABLE IF NOT EXISTS sg_approval (
        id TEXT NOT NULL,
        tenant TEXT NOT NULL,
        scope TEXT NOT NULL,
        run_id TEXT NOT NULL,
        thread_id TEXT,
        place TEXT NOT NULL,
        call_id TEXT NOT NULL,
        capability_id TEXT NOT NULL,
        capability_digest TEXT NOT NULL,
        arguments_hash TEXT NOT NULL,
        preview TEXT NOT NULL,
        requesters TEXT NOT NULL,
        agent_id TEXT NOT NULL,
        policy_digest TEXT NOT NULL,
        identity TEXT NOT NULL,
        approvers TEXT NOT NULL,
        quorum INTEGER NOT NULL,
        lasts_s {{real}} NOT NULL,
        self_approval INTEGER NOT NULL,
        rule TEXT,
        reason TEXT,
        state TEXT NOT NULL CHECK (state IN ({_STATES})),
        requested_at {{real}} NOT NULL,
        expires_at {{real}} NOT NULL,
        resolved_at {{real}},
        used_by TEXT,
        PRIMARY KEY (tenant, id)
    )""",
    "CREATE INDEX IF NOT EXISTS sg_approval_call ON sg_approval (tenant, scope, place, call_id)",
    f"CREATE INDEX IF NOT EXISTS sg_approval_open ON sg_approval (tenant, state, expires_at) WHERE state IN ({_OPEN})",
    "CREATE INDEX IF NOT EXISTS sg_approval_newest ON sg_approval (tenant, requested_at)",
    """CREATE TABLE IF NOT EXISTS sg_approval_vote (
        tenant TEXT NOT NULL,
        approval_id TEXT NOT NULL,
        approver TEXT NOT NULL,
        word TEXT NOT NULL CHECK (word IN ('approve', 'deny')),
        roles TEXT NOT NULL,
        comment TEXT,
        at {real} NOT NULL,
        PRIMARY KEY (tenant, approval_id, approver)
    )""",
    """CREATE TABLE IF NOT EXISTS sg_approval_told (
        tenant TEXT NOT NULL,
        approval_id TEXT NOT NULL,
        state TEXT NOT NULL,
        PRIMARY KEY (tenant, approval_id, state)
    )""",
)


class Statements:
    """The statements in one database's words.

    Args:
        dialect: The database.
    """

    def __init__(self, dialect: Dialect) -> None:
        def spell(text: str) -> str:
            return text.replace("?", dialect.parameter)

        self.lock_tenant = None if dialect.lock_thread is None else spell(dialect.lock_thread)
        self.tables = tuple(table.format(real=dialect.real) for table in _TABLES)
        self.now = f"SELECT {dialect.now}"
        marks = ", ".join("?" * len(COLUMNS.split(", ")))
        self.add = spell(f"INSERT INTO sg_approval ({COLUMNS}) VALUES ({marks}) ON CONFLICT (tenant, id) DO NOTHING")
        shown = f"SELECT {COLUMNS} FROM sg_approval WHERE"
        self.get = spell(f"{shown} tenant = ? AND id = ?")
        self.get_locked = spell(f"{shown} tenant = ? AND id = ? {dialect.lock_row}")
        self.of_call = spell(
            f"{shown} tenant = ? AND scope = ? AND place = ? AND call_id = ? ORDER BY requested_at, id"
        )
        self.equal = spell(
            f"{shown} tenant = ? AND scope = ? AND identity = ? AND state = '{ApprovalState.APPROVED}' "
            "AND expires_at > ? ORDER BY requested_at, id"
        )
        self.newest = spell(
            f"{shown} (? = '' OR tenant = ?) AND state IN ({dialect.members}) ORDER BY requested_at DESC, id LIMIT ?"
        )
        self.pending = spell(
            "SELECT count(*) FROM (SELECT 1 FROM sg_approval WHERE tenant = ? AND state = "
            f"'{ApprovalState.REQUESTED}' AND expires_at > ? LIMIT ?) AS waiting"
        )
        self.waiting = spell(
            "SELECT count(*), min(requested_at) FROM sg_approval WHERE (? = '' OR tenant = ?) AND state = "
            f"'{ApprovalState.REQUESTED}' AND expires_at > ?"
        )
        self.consume = spell(
            f"UPDATE sg_approval SET state = '{ApprovalState.CONSUMED}', used_by = ?, resolved_at = ? WHERE tenant = ? "
            f"AND id = ? AND identity = ? AND expires_at > ? AND {_from(Move.CONSUME)}"
        )
        self.used = spell(
            "SELECT 1 FROM sg_approval WHERE tenant = ? AND id = ? AND identity = ? AND used_by = ? AND state = "
            f"'{ApprovalState.CONSUMED}'"
        )
        self.give_back = spell(
            f"UPDATE sg_approval SET state = '{target(Move.RETURN)}', used_by = NULL, resolved_at = NULL WHERE "
            f"tenant = ? AND id = ? AND used_by = ? AND {_from(Move.RETURN)}"
        )
        self.move = {
            move: spell(
                f"UPDATE sg_approval SET state = '{target(move)}', resolved_at = ? WHERE tenant = ? AND id = ? AND "
                f"{_from(move)}"
            )
            for move in (Move.GRANT, Move.REFUSE, Move.REPLACE)
        }
        self.expire = spell(
            f"UPDATE sg_approval SET state = '{ApprovalState.EXPIRED}', resolved_at = expires_at WHERE (? = '' OR "
            f"tenant = ?) AND expires_at <= ? AND {_from(Move.LAPSE)}"
        )
        self.votes = spell(
            f"SELECT {VOTE_COLUMNS} FROM sg_approval_vote WHERE tenant = ? AND approval_id = ? ORDER BY at, approver"
        )
        self.vote = spell(
            f"INSERT INTO sg_approval_vote (tenant, {VOTE_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (tenant, approval_id, approver) DO UPDATE SET word = excluded.word, roles = excluded.roles, "
            "comment = excluded.comment, at = excluded.at"
        )
        self.note_told = spell(
            "INSERT INTO sg_approval_told (tenant, approval_id, state) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
        )
        self.forget_told = spell("DELETE FROM sg_approval_told WHERE tenant = ? AND approval_id = ? AND state = ?")


def _from(move: Move) -> str:
    """Return the condition that a request has a move."""
    return "state IN ({})".format(", ".join(sorted(f"'{state}'" for state in sources(move))))


STATEMENTS: Final = {dialect.name: Statements(dialect) for dialect in (SQLITE, POSTGRES)}
