"""The registry's tables and statements, in the words that SQLite and PostgreSQL share.

Rules
-----
* A statement that both understand is written once; what they spell differently is in a `Dialect`.
* Times are seconds since 1970 as floating point numbers, by the database's clock (`to_timestamp(lease_until)` shows one
  in PostgreSQL). No statement takes the time as an argument.
* A statement changes a run only as long as its token and status are those that were read.
* Tables are never changed by hand: `sg_schema` has one row with their version.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SCHEMA_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Dialect:
    """Differences in the spelling of the two databases.

    Attributes:
        name: `sqlite` or `postgres`.
        parameter: Stands for an argument.
        now: The time of the statement, in seconds.
        blob: The type of bytes.
        real: The type of times.
        serial: The type of a number that grows with each row.
        next_position: The number that a new row would have.
        lock_candidate: Locks a run and its thread's fence, and passes over those that others have locked.
        lock_row: Locks rows and waits for those that others have locked.
        lock_free: Locks a run, and passes over it if others have locked it.
        members: The elements of a JSON array of text, as a table.
        lock_thread: Lets only one transaction at a time look at what a thread has; None if one is alone anyway.
        lock_schema: Lets only one transaction at a time create tables; None if one is alone anyway.
        exists: Returns a row if there is a table or an index of a name.
        column: Returns a row if a table has a column.
        share: Locks a row against change, not against others who read it.
        functions: Statements that define functions.
    """

    name: str
    parameter: str
    now: str
    blob: str
    real: str
    serial: str
    next_position: str
    lock_candidate: str
    lock_row: str
    lock_free: str
    members: str
    lock_thread: str | None
    lock_schema: str | None
    exists: str
    column: str
    share: str
    functions: tuple[str, ...] = ()


SQLITE: Final = Dialect(
    name="sqlite",
    parameter="?",
    now="((julianday('now') - 2440587.5) * 86400.0)",
    blob="BLOB",
    real="REAL",
    serial="INTEGER PRIMARY KEY AUTOINCREMENT",
    next_position="(SELECT MAX(position) + 1 FROM sg_run)",
    lock_candidate="",
    lock_row="",
    lock_free="",
    members="SELECT value FROM json_each(?)",
    lock_thread=None,
    lock_schema=None,
    exists="SELECT 1 FROM sqlite_master WHERE name = ?",
    column="SELECT 1 FROM pragma_table_info(?) WHERE name = ?",
    share="",
)

#: The error that PostgreSQL raises in a transaction whose lease is lost.
LEASE_LOST: Final = "SGL01"

#: Time that a transaction that has checked its lease may stall before the server ends it and lets others claim.
STALL_MS: Final = 3_000

#: Checks a lease in the same round trip as the statements after it: an error makes the server skip those.
_CHECK_LEASE: Final = f"""CREATE FUNCTION sg_check_lease(of_thread TEXT, with_token BIGINT) RETURNS VOID
LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('server_version_num')::int >= 170000 THEN
        PERFORM set_config('transaction_timeout', '{STALL_MS}', true);
    END IF;
    PERFORM 1 FROM sg_thread_fence WHERE thread_id = of_thread AND token = with_token FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING MESSAGE = 'the lease is lost', ERRCODE = '{LEASE_LOST}';
    END IF;
END $$"""

POSTGRES: Final = Dialect(
    name="postgres",
    parameter="%s",
    now="(extract(epoch from statement_timestamp())::double precision)",
    blob="BYTEA",
    real="DOUBLE PRECISION",
    serial="BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    next_position="DEFAULT",
    lock_candidate="FOR UPDATE OF r, f SKIP LOCKED",
    lock_row="FOR UPDATE",
    lock_free="FOR UPDATE OF r SKIP LOCKED",
    members="SELECT jsonb_array_elements_text(CAST(? AS jsonb))",
    lock_thread="SELECT pg_advisory_xact_lock(hashtextextended(?, 7326))",
    lock_schema="SELECT pg_advisory_xact_lock(7326001)",
    # Not `to_regclass`: it may answer from before the lock was had, for a name that was asked for before.
    exists="SELECT 1 FROM pg_class WHERE relname = ? AND relnamespace IN "
    "(SELECT oid FROM pg_namespace WHERE nspname = ANY (current_schemas(false)))",
    column="SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass(?) AND attname = ? AND NOT attisdropped",
    share="FOR SHARE",
    functions=(_CHECK_LEASE,),
)

#: The name of the one table that all versions have.
SCHEMA_TABLE: Final = "sg_schema"

#: The table of `tokens`, which whoever uses it makes.
TOKENS_TABLE: Final = "sg_mcp_token"

#: An index that came later, and the statement that makes it; older versions of this package need not know of it.
LATER_INDEX: Final = "sg_rollback"
_LATER_INDEX: Final = f"CREATE INDEX {LATER_INDEX} ON sg_run (rollback_of) WHERE rollback_of IS NOT NULL"

#: Columns that came later, by their tables; older versions of this package leave them empty.
LATER_COLUMNS: Final = (
    ("sg_run", "options", "TEXT"),
    ("sg_run", "labels", "TEXT"),
    ("sg_run", "kept_s", "{real}"),
    ("sg_worker", "queues", "TEXT"),
)

#: Indexes that came later: of runs with threads that are not kept, of those that were asked to stop, and of all by what
#: executes them, the newest first.
_LATER_INDEXES: Final = {
    LATER_INDEX: _LATER_INDEX,
    "sg_temporary": "CREATE INDEX sg_temporary ON sg_run (finished_at) WHERE kept_s IS NOT NULL",
    "sg_stopped": "CREATE INDEX sg_stopped ON sg_run (cancel_requested) WHERE cancel_requested IS NOT NULL",
    "sg_of_target": "CREATE INDEX sg_of_target ON sg_run (target, position)",
}

_TABLES: Final = (
    """CREATE TABLE sg_run (
        position {serial},
        run_id TEXT NOT NULL UNIQUE,
        thread_id TEXT NOT NULL,
        queue TEXT NOT NULL,
        priority INTEGER NOT NULL,
        status TEXT NOT NULL CHECK (status IN
            ('pending', 'running', 'interrupted', 'success', 'error', 'timeout', 'cancelled', 'dead')),
        target TEXT NOT NULL,
        graph_version TEXT,
        input {blob},
        config TEXT NOT NULL,
        context {blob},
        attempt INTEGER NOT NULL,
        max_attempts INTEGER NOT NULL,
        token BIGINT NOT NULL,
        owner TEXT,
        lease_until {real},
        heartbeat_at {real},
        available_at {real} NOT NULL,
        deadline {real},
        cancel_requested TEXT,
        error TEXT,
        began INTEGER NOT NULL DEFAULT 0,
        base_checkpoint TEXT,
        rollback_of TEXT,
        tenant TEXT NOT NULL,
        created_at {real} NOT NULL,
        finished_at {real},
        options TEXT,
        labels TEXT,
        kept_s {real}
    )""",
    "CREATE UNIQUE INDEX sg_one_active ON sg_run (thread_id) WHERE status = 'running'",
    "CREATE INDEX sg_claim ON sg_run (queue, priority DESC, available_at, position) WHERE status = 'pending'",
    "CREATE INDEX sg_orphan ON sg_run (lease_until) WHERE status = 'running'",
    "CREATE INDEX sg_of_thread ON sg_run (thread_id, position)",
    "CREATE TABLE sg_thread_fence (thread_id TEXT PRIMARY KEY, token BIGINT NOT NULL)",
    """CREATE TABLE sg_event (
        run_id TEXT NOT NULL,
        seq BIGINT NOT NULL,
        attempt INTEGER NOT NULL,
        type TEXT NOT NULL,
        data {blob},
        at {real} NOT NULL,
        PRIMARY KEY (run_id, seq)
    )""",
    """CREATE TABLE sg_effect (
        scope TEXT NOT NULL,
        key TEXT NOT NULL,
        args_hash TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('claimed', 'committed', 'failed', 'in_doubt')),
        run_id TEXT NOT NULL,
        token BIGINT NOT NULL,
        result {blob},
        error TEXT,
        retryable INTEGER NOT NULL,
        external_ref TEXT,
        claimed_at {real} NOT NULL,
        settled_at {real},
        PRIMARY KEY (scope, key)
    )""",
    """CREATE TABLE sg_worker (
        worker_id TEXT PRIMARY KEY,
        host TEXT NOT NULL,
        pid INTEGER NOT NULL,
        capacity INTEGER NOT NULL,
        version TEXT NOT NULL,
        started_at {real} NOT NULL,
        seen_at {real} NOT NULL,
        queues TEXT
    )""",
)

#: The columns that decide what may happen to a run and who is told, in the order of `leases.RunRow`.
_LIFE: Final = (
    "run_id, thread_id, status, attempt, max_attempts, token, owner, lease_until, available_at, deadline, "
    "cancel_requested, error, queue, tenant"
)

#: Columns that hosts are shown of a run: no input, no context.
SHOWN: Final = (
    "run_id, thread_id, queue, priority, status, target, attempt, owner, cancel_requested, error, tenant, created_at, "
    "finished_at, lease_until"
)

_WORK: Final = "target, input, config, context, options, began, rollback_of, created_at"

_EFFECT: Final = "scope, key, args_hash, state, run_id, token, result, error, retryable, external_ref"

#: Condition of a run `o` that was submitted for later, and whose time has not come. It has no token: no worker has had
#: it yet. Not one that takes back another: what ran in between would be taken back as well.
SCHEDULED: Final = "o.status = 'pending' AND o.token = 0 AND o.available_at > {now} AND o.rollback_of IS NULL"

#: No other run of the thread is active, and none that comes first waits: those that have been begun come before those
#: that have not, and else the older before the newer. Runs that are scheduled come when their time does.
_FIRST_OF_THREAD: Final = f"""NOT EXISTS (
        SELECT 1 FROM sg_run AS o WHERE o.thread_id = r.thread_id AND o.run_id <> r.run_id
        AND (o.status = 'running' OR (o.status = 'pending' AND (o.token = 0, o.position) < (r.token = 0, r.position)
            AND (o.deadline IS NULL OR o.deadline >= {{now}}) AND NOT ({SCHEDULED}))))"""

#: A run that has ended for so long, in one of some statuses, and is needed no more: it does not wait for an answer,
#: unless such are meant as well, and no run that may begin is to take it back.
_PRUNABLE: Final = """r.finished_at < {now} - ? AND r.status IN ({members})
    AND (r.status <> 'interrupted' OR ? = 1 OR EXISTS (
        SELECT 1 FROM sg_run AS o WHERE o.thread_id = r.thread_id AND o.position > r.position AND o.began >= 1))
    AND NOT EXISTS (
        SELECT 1 FROM sg_run AS o WHERE o.rollback_of = r.run_id AND o.began = 0
        AND o.status IN ('pending', 'running', 'dead'))"""


class Sql:
    """Every statement, in the words of one database.

    Args:
        dialect: Those words.
    """

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self._render_schema()
        self._render_claims()
        self._render_moves()
        self._render_views()
        self._render_events()
        self._render_pruning()
        self._render_effects()
        self._render_workers()
        self._render_tokens()

    def _render_schema(self) -> None:
        say, dialect = self._render, self.dialect
        self.tables = (*map(say, _TABLES), *_LATER_INDEXES.values(), *dialect.functions)
        self.later_indexes = _LATER_INDEXES
        self.create_schema = f"CREATE TABLE IF NOT EXISTS {SCHEMA_TABLE} (version INTEGER NOT NULL)"
        self.version = f"SELECT version FROM {SCHEMA_TABLE}"
        self.set_version = say(f"INSERT INTO {SCHEMA_TABLE} (version) VALUES (?)")
        self.now = say("SELECT {now}")
        self.schema_lock = dialect.lock_schema
        self.exists = say(dialect.exists)
        self.column = say(dialect.column)
        self.later_columns = {
            (table, name): say(f"ALTER TABLE {table} ADD COLUMN {name} {kind}") for table, name, kind in LATER_COLUMNS
        }
        self.thread_lock = None if dialect.lock_thread is None else say(dialect.lock_thread)

    def _render_claims(self) -> None:
        """Render the statements that find a run to claim and give it a new token, and those that check a token."""
        say = self._render
        life = ", ".join(f"r.{column.strip()}" for column in _LIFE.split(","))
        work = ", ".join(f"r.{column.strip()}" for column in _WORK.split(","))
        candidate = f"SELECT {life}, {work}, f.token AS fence, {{now}} AS now FROM sg_run AS r JOIN sg_thread_fence AS f ON f.thread_id = r.thread_id"  # noqa: E501
        #: A run to claim: one whose owner is gone, of this queue or without attempts left, or else one that waits. Not
        #: one that the claimer executes, whose lease may have run out while the claim waited for the database.
        self.candidate = say(
            f"""WITH orphan AS (
                {candidate} WHERE r.status = 'running' AND r.lease_until < {{now}}
                AND ((r.queue = ? AND (r.graph_version IS NULL OR r.graph_version = ?))
                    OR r.attempt >= r.max_attempts OR r.cancel_requested IS NOT NULL)
                AND r.run_id NOT IN ({{members}})
                ORDER BY r.lease_until LIMIT 1 {{lock_candidate}}
            ), waiting AS (
                {candidate} WHERE r.status = 'pending' AND r.queue = ? AND r.available_at <= {{now}}
                AND (r.graph_version IS NULL OR r.graph_version = ?)
                AND NOT EXISTS (SELECT 1 FROM orphan) AND {_FIRST_OF_THREAD}
                ORDER BY r.priority DESC, r.available_at, r.position LIMIT 1 {{lock_candidate}}
            ) SELECT * FROM orphan UNION ALL SELECT * FROM waiting"""
        )
        #: The same of one run.
        self.candidate_run = say(
            f"""{candidate} WHERE r.run_id = ? AND ((r.status = 'pending' AND r.available_at <= {{now}})
                OR (r.status = 'running' AND r.lease_until < {{now}})) AND {_FIRST_OF_THREAD} {{lock_candidate}}"""
        )
        #: Puts a run behind all others, as if it were submitted now.
        self.put_last = say("UPDATE sg_run SET position = {next_position} WHERE run_id = ?")
        self.raise_fence = say("UPDATE sg_thread_fence SET token = ? WHERE thread_id = ?")
        self.add_fence = say(
            "INSERT INTO sg_thread_fence (thread_id, token) VALUES (?, 0) ON CONFLICT (thread_id) DO NOTHING"
        )
        self.check_fence = say("SELECT token FROM sg_thread_fence WHERE thread_id = ? {share}")
        #: PostgreSQL only.
        self.require_fence = say("SELECT sg_check_lease(?, ?)")
        #: Whether an attempt has its lease.
        self.lives = say(
            "SELECT 1 FROM sg_run WHERE run_id = ? AND token = ? AND status = 'running' AND lease_until >= {now}"
        )

    def _render_moves(self) -> None:
        """Render the statements that begin and change the life of a run."""
        say = self._render
        self.life = say(f"SELECT {_LIFE}, {{now}} FROM sg_run WHERE run_id = ? {{lock_row}}")
        self.lives_of_thread = say(
            f"""SELECT {_LIFE}, {{now}}, rollback_of, began FROM sg_run
                WHERE thread_id = ? AND status IN ('pending', 'running') ORDER BY position {{lock_row}}"""
        )
        self.swap = say(
            """UPDATE sg_run SET status = ?, attempt = ?, token = ?, owner = ?, lease_until = ?, available_at = ?,
                cancel_requested = ?, error = ?, heartbeat_at = {now}, finished_at = CASE WHEN ? THEN {now} END
                WHERE run_id = ? AND status = ? AND token = ?"""
        )
        self.add_run = say(
            """INSERT INTO sg_run (run_id, thread_id, queue, priority, status, target, graph_version, input, config,
                context, attempt, max_attempts, token, available_at, deadline, rollback_of, tenant, options, labels,
                kept_s, created_at)
                VALUES (?, ?, ?, ?, 'pending', ?, ?, ?, ?, ?, 0, ?, 0, {now} + ?, {now} + ?, ?, ?, ?, ?, ?, {now})"""
        )
        self.heartbeat = say(
            """UPDATE sg_run SET lease_until = {now} + ?, heartbeat_at = {now}
                WHERE owner = ? AND status = 'running' AND run_id IN ({members})
                AND run_id || ':' || CAST(token AS TEXT) IN ({members})
                RETURNING run_id, token, cancel_requested"""
        )
        #: An attempt that is about to do what no other may: its lease is made to hold for some time to come.
        self.keep = say(
            """UPDATE sg_run SET lease_until = CASE WHEN lease_until > {now} + ? THEN lease_until ELSE {now} + ? END
                WHERE run_id = ? AND token = ? AND status = 'running'"""
        )
        #: `began` is 1 when a run has stored something, and 2 when it got past what its thread waited for.
        self.begin = say("UPDATE sg_run SET began = 1, base_checkpoint = ? WHERE run_id = ? AND began = 0")
        self.settle = say("UPDATE sg_run SET began = 2 WHERE run_id = ? AND began < 2")

    def _render_views(self) -> None:
        """Render the statements that read runs and change nothing."""
        say = self._render
        self.show = say(f"SELECT {SHOWN} FROM sg_run WHERE run_id = ?")
        self.list = say(
            f"""SELECT {SHOWN} FROM sg_run WHERE (CAST(? AS TEXT) IS NULL OR status = ?)
                AND (CAST(? AS TEXT) IS NULL OR thread_id = ?) AND (CAST(? AS TEXT) IS NULL OR tenant = ?)
                ORDER BY position DESC LIMIT ?"""
        )
        labelled = f"""SELECT labels, input, config, context, COALESCE(finished_at, heartbeat_at, created_at), {SHOWN}
            FROM sg_run"""
        self.labelled = say(f"{labelled} WHERE run_id = ?")
        self.labelled_of_thread = say(
            f"{labelled} WHERE thread_id = ? AND status IN ({{members}}) ORDER BY position DESC LIMIT ? OFFSET ?"
        )
        self.temporary_threads = say(
            "SELECT DISTINCT thread_id FROM sg_run WHERE kept_s IS NOT NULL AND finished_at < {now} - kept_s LIMIT ?"
        )
        self.labelled_by_reason = say(
            f"{labelled} WHERE cancel_requested = ? AND finished_at IS NOT NULL ORDER BY position LIMIT ?"
        )
        self.scheduled_of_thread = say(f"SELECT o.run_id FROM sg_run AS o WHERE o.thread_id = ? AND {SCHEDULED}")
        self.labelled_in_status = say(f"{labelled} WHERE status IN ({{members}}) ORDER BY position DESC LIMIT ?")
        self.again = say(
            """SELECT target, graph_version, config, context, queue, priority, tenant, max_attempts, options, labels
                FROM sg_run WHERE run_id = ?"""
        )
        self.base = say("SELECT began, base_checkpoint FROM sg_run WHERE run_id = ?")
        #: The last run that took a thread past what a run asks. Not one that failed before that, as its answer may have
        #: to be given again, nor one that was taken back, nor a process that holds the thread, which may have edited
        #: the state alone.
        self.went_on = say(
            """SELECT o.run_id, o.status FROM sg_run AS r JOIN sg_run AS o
                ON o.thread_id = r.thread_id AND o.position > r.position
                WHERE r.run_id = ? AND o.target <> ?
                AND (o.began = 2 OR (o.began = 1 AND o.status IN ('success', 'interrupted')))
                AND NOT EXISTS (SELECT 1 FROM sg_run AS b WHERE b.rollback_of = o.run_id AND b.began >= 1)
                ORDER BY o.position DESC LIMIT 1"""
        )
        self.count_waiting = say(
            "SELECT count(*), COALESCE({now} - min(available_at), 0) FROM sg_run WHERE status = 'pending'"
        )
        #: By queue: runs that may begin, runs whose time has not come, and for how long the first has been able to.
        self.queues = say(
            """SELECT queue, count(CASE WHEN available_at <= {now} THEN 1 END),
                count(CASE WHEN available_at > {now} THEN 1 END), COALESCE({now} - min(available_at), 0)
                FROM sg_run WHERE status = 'pending' GROUP BY queue ORDER BY queue"""
        )
        #: Runs that are executed, and those of them whose leases have run out.
        self.held = say(
            "SELECT count(*), count(CASE WHEN lease_until < {now} THEN 1 END) FROM sg_run WHERE status = 'running'"
        )

    def _render_events(self) -> None:
        say = self._render
        #: Adds an event behind the last one, and returns its number.
        self.tell_event = say(
            """INSERT INTO sg_event (run_id, seq, attempt, type, data, at)
                SELECT CAST(? AS TEXT), COALESCE(MAX(seq), 0) + 1, CAST(? AS INTEGER), CAST(? AS TEXT),
                CAST(? AS {blob}), {now} FROM sg_event WHERE run_id = ? RETURNING seq"""
        )
        #: Adds an event of an attempt, which numbers them and may have stored it already.
        self.keep_event = say(
            """INSERT INTO sg_event (run_id, seq, attempt, type, data, at) VALUES (?, ?, ?, ?, ?, {now})
                ON CONFLICT (run_id, seq) DO NOTHING"""
        )
        self.last_seq = say("SELECT COALESCE(MAX(seq), 0) FROM sg_event WHERE run_id = ?")
        self.last_events = say("SELECT data FROM sg_event WHERE run_id = ? AND type = ? ORDER BY seq DESC LIMIT ?")
        self.events = say(
            "SELECT seq, attempt, type, data FROM sg_event WHERE run_id = ? AND seq > ? ORDER BY seq LIMIT ?"
        )

    def _render_pruning(self) -> None:
        say = self._render
        self.prunable = say(
            f"""SELECT r.run_id, r.position FROM sg_run AS r WHERE r.position > ? AND {_PRUNABLE}
                ORDER BY r.position LIMIT ?"""
        )
        self.lock_prunable = say(f"SELECT 1 FROM sg_run AS r WHERE r.run_id = ? AND {_PRUNABLE} {{lock_free}}")
        #: Deletes so many of the oldest events of a run, whose numbers have no holes.
        self.delete_events = say(
            """DELETE FROM sg_event WHERE run_id = ?
                AND seq < CAST(? AS INTEGER) + (SELECT MIN(seq) FROM sg_event WHERE run_id = ?)"""
        )
        self.delete_events_of_run = say("DELETE FROM sg_event WHERE run_id = ?")
        self.delete_run = say("DELETE FROM sg_run WHERE run_id = ?")
        self.delete_events_of_thread = say(
            "DELETE FROM sg_event WHERE run_id IN (SELECT run_id FROM sg_run WHERE thread_id = ?)"
        )
        self.delete_runs_of_thread = say("DELETE FROM sg_run WHERE thread_id = ?")
        self.count_events = say("SELECT count(*) FROM sg_event WHERE run_id IN ({members})")

    def _render_effects(self) -> None:
        """Render the statements of the ledger."""
        say = self._render
        self.effect = say(f"SELECT {_EFFECT} FROM sg_effect WHERE scope = ? AND key = ? {{lock_row}}")
        self.add_effect = say(
            f"""INSERT INTO sg_effect ({_EFFECT}, claimed_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, {{now}})
                ON CONFLICT (scope, key) DO NOTHING"""
        )
        self.change_effect = say(
            """UPDATE sg_effect SET args_hash = ?, state = ?, run_id = ?, token = ?, result = ?, error = ?,
                retryable = ?, external_ref = ?, settled_at = CASE WHEN ? THEN {now} END WHERE scope = ? AND key = ?"""
        )
        #: For claims without a run's lease: whether one holds, and its renewal.
        self.effect_holds = say(
            """SELECT 1 FROM sg_effect WHERE scope = ? AND key = ? AND state = 'claimed' AND claimed_at >= {now} - ?"""
        )
        self.renew_effect = say(
            """UPDATE sg_effect SET claimed_at = {now} WHERE scope = ? AND key = ? AND state = 'claimed' AND run_id = ?
                AND token = ?"""
        )
        self.delete_effect = say("DELETE FROM sg_effect WHERE scope = ? AND key = ?")
        self.effects_in_doubt = say(
            f"SELECT {_EFFECT} FROM sg_effect WHERE state = 'in_doubt' ORDER BY claimed_at LIMIT ?"
        )
        #: Committed effects of a page, in the order of their keys, so that all pages together are one pass.
        self.old_effects = say(
            """SELECT scope, key FROM sg_effect WHERE (scope, key) > (?, ?) AND state = 'committed'
                AND settled_at < {now} - ? ORDER BY scope, key LIMIT ?"""
        )
        self.forget_effect = say(
            "DELETE FROM sg_effect WHERE scope = ? AND key = ? AND state = 'committed' AND settled_at < {now} - ?"
        )

    def _render_workers(self) -> None:
        say = self._render
        self.see_worker = say(
            """INSERT INTO sg_worker (worker_id, host, pid, capacity, version, started_at, seen_at, queues)
                VALUES (?, ?, ?, ?, ?, {now}, {now}, ?)
                ON CONFLICT (worker_id) DO UPDATE SET seen_at = excluded.seen_at, capacity = excluded.capacity,
                    queues = excluded.queues"""
        )
        self.forget_worker = say("DELETE FROM sg_worker WHERE worker_id = ?")
        self.forget_workers = say("DELETE FROM sg_worker WHERE seen_at < {now} - ?")
        self.workers = say(
            """SELECT w.worker_id, w.host, w.pid, w.capacity, w.version, w.started_at, w.seen_at,
                (SELECT count(*) FROM sg_run AS r WHERE r.owner = w.worker_id AND r.status = 'running'),
                CASE WHEN w.seen_at < {now} - ? THEN 1 ELSE 0 END, w.queues
                FROM sg_worker AS w ORDER BY w.started_at, w.worker_id"""
        )

    def _render_tokens(self) -> None:
        """Render the statements of `tokens`, whose table is made by whoever uses it."""
        say = self._render
        self.create_tokens = say(
            """CREATE TABLE sg_mcp_token (
                of_user TEXT NOT NULL,
                server TEXT NOT NULL,
                document {blob},
                locked_by TEXT,
                locked_until {real} NOT NULL,
                PRIMARY KEY (of_user, server)
            )"""
        )
        self.load_tokens = say("SELECT document FROM sg_mcp_token WHERE of_user = ? AND server = ?")
        self.save_tokens = say(
            """INSERT INTO sg_mcp_token (of_user, server, document, locked_until) VALUES (?, ?, ?, 0)
                ON CONFLICT (of_user, server) DO UPDATE SET document = excluded.document RETURNING server"""
        )
        self.forget_tokens = say("DELETE FROM sg_mcp_token WHERE of_user = ? RETURNING server")
        self.lock_tokens = say(
            """INSERT INTO sg_mcp_token (of_user, server, locked_by, locked_until) VALUES (?, ?, ?, {now} + ?)
                ON CONFLICT (of_user, server) DO UPDATE
                SET locked_by = excluded.locked_by, locked_until = excluded.locked_until
                WHERE sg_mcp_token.locked_until < {now} RETURNING locked_by"""
        )
        holder = "of_user = ? AND server = ? AND locked_by = ? RETURNING server"
        self.hold_tokens = say(f"UPDATE sg_mcp_token SET locked_until = {{now}} + ? WHERE {holder}")
        self.unlock_tokens = say(f"UPDATE sg_mcp_token SET locked_until = 0 WHERE {holder}")

    def _render(self, statement: str) -> str:
        d = self.dialect
        words = {
            "now": d.now,
            "blob": d.blob,
            "real": d.real,
            "serial": d.serial,
            "next_position": d.next_position,
            "lock_candidate": d.lock_candidate,
            "lock_row": d.lock_row,
            "lock_free": d.lock_free,
            "members": d.members,
            "share": d.share,
        }
        return statement.format_map(words).replace("?", d.parameter)
