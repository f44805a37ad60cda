"""Row-level security on PostgreSQL: policies for every table of this package and of the savers, and a check of them.

Rules
-----
* The app role, under which runs execute, sees the rows of the tenant that its transaction names, and no others; without
  one it sees none. It owns no table, is no superuser, and does not pass policies by (`BYPASSRLS`).
* A table belongs to a tenant by its column `tenant`, by the key of a thread or a user, by its namespace, or by another
  table. Tables of operators, such as workers, and tables without a known tenant are closed to the app role; it reads
  its audit rows and writes none.
* Tables are made by their owner, before: an app role has no right to make any. The owner sees everything, and so does a
  role of workers, which claim runs of all tenants, in the tables of the registry.
* Policies keep the mistakes of a program from showing one tenant's rows to another. Whoever can execute any statement
  as the app role can also name another tenant: keep the role's password, and SQL of users, out of each other's reach.

https://www.postgresql.org/docs/current/ddl-rowsecurity.html
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from stategraph.errors import ConfigurationError, MissingPackageError
from stategraph.governance.tenants import drift
from stategraph.governance.tenants.binding import LABEL_SETTING, TENANT_SETTING

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.sql import Composed

POLICY: Final = drift.POLICY
WORKERS_POLICY: Final = "sg_workers"

_TENANT: Final = f"nullif(current_setting('{TENANT_SETTING}', true), '')"
_LABEL: Final = f"nullif(current_setting('{LABEL_SETTING}', true), '')"


def _key(column: str) -> str:
    return f"starts_with({column}, {_LABEL} || ':')"


def _namespace(column: str) -> str:
    return f"({column} = {_LABEL} OR starts_with({column}, {_LABEL} || '.'))"


#: Tables without a column `tenant`, and which of their rows are the tenant's.
_OWN: Final = {
    "checkpoints": _key("thread_id"),
    "checkpoint_blobs": _key("thread_id"),
    "checkpoint_writes": _key("thread_id"),
    "sg_threads": _key("thread_id"),
    "sg_values": "sg_own_thread(thread)",
    "sg_thread_index": _key("thread_id"),
    "sg_thread_fence": _key("thread_id"),
    "sg_event": "EXISTS (SELECT 1 FROM sg_run AS r WHERE r.run_id = sg_event.run_id)",
    "sg_effect": f"scope = {_TENANT}",
    "sg_mcp_token": _key("of_user"),
    "store": _namespace("prefix"),
    "store_vectors": _namespace("prefix"),
}

#: Versions of tables, which hold nothing of anybody.
_SHARED: Final = frozenset({"sg_schema", "checkpoint_migrations", "store_migrations", "vector_migrations"})

#: Tables that the app role reads and never writes: the audit log has a connection of its own, as the tables' owner.
_READ_ONLY: Final = frozenset({"sg_audit", "sg_audit_head", "sg_audit_signed_head"})

#: Tables of operators.
_CLOSED: Final = frozenset({"sg_worker"})

_ALL: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")

_REGISTRY: Final = ("sg_run", "sg_event", "sg_thread_fence", "sg_effect", "sg_worker")

#: Volatile, so that it sees a thread that the statement itself has made.
_FUNCTION: Final = """CREATE OR REPLACE FUNCTION sg_own_thread(number BIGINT) RETURNS BOOLEAN
LANGUAGE plpgsql VOLATILE AS $$ BEGIN RETURN EXISTS (SELECT 1 FROM sg_threads WHERE id = number); END $$"""

#: Notes in each policy what it says, so that a change of it is seen.
_NOTE: Final = f"""DO $do$ DECLARE made RECORD; BEGIN
FOR made IN SELECT c.relname, {drift.DIGEST} AS digest FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
    WHERE p.polname = '{POLICY}' AND c.relnamespace = current_schema()::regnamespace
LOOP EXECUTE format('COMMENT ON POLICY {POLICY} ON %I IS %L', made.relname,
    made.digest || ' ' || ({{}}::jsonb ->> made.relname)); END LOOP; END $do$"""

_TABLES: Final = """SELECT c.relname, c.relrowsecurity, c.relispartition,
    EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant' AND NOT a.attisdropped),
    EXISTS (SELECT 1 FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname = 'sg_tenant'),
    has_table_privilege(%s, c.oid, 'SELECT, INSERT, UPDATE, DELETE'), pg_get_userbyid(c.relowner), c.oid
    FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')
    AND (c.relname LIKE 'sg\\_%%' OR c.relname = ANY(%s))
    AND (c.relname NOT LIKE 'store%%' OR c.relname LIKE '%%migrations' OR EXISTS (
        SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'prefix' AND NOT a.attisdropped))
    ORDER BY c.relname"""

_WORKERS: Final = "SELECT polrelid FROM pg_policy WHERE polname = %s AND polrelid = ANY(%s)"

_ROLE: Final = "SELECT rolsuper, rolbypassrls, rolcreaterole FROM pg_roles WHERE rolname = %s"


@dataclass(frozen=True, slots=True)
class Table:
    """A table of this package or of the savers, as it is.

    Attributes:
        name: Its name.
        secured: Whether row-level security is on.
        is_partition: Whether it is a part of another table, through which it is reached.
        has_tenant: Whether it has a column `tenant`.
        has_policy: Whether it has the policy of tenants.
        is_open: Whether the app role may read or write it.
        owner: The role that owns it.
        oid: Its number in the database.
    """

    name: str
    secured: bool
    is_partition: bool
    has_tenant: bool
    has_policy: bool
    is_open: bool
    owner: str
    oid: int

    @property
    def condition(self) -> str | None:
        """The condition for rows of the tenant; None: no row is."""
        if self.name in _OWN:
            return _OWN[self.name]
        return f"tenant = {_TENANT}" if self.has_tenant and self.name not in _CLOSED else None

    @property
    def is_read_only(self) -> bool:
        """True if the app role writes none of it: rows of the audit log, and versions of tables."""
        return (
            self.name in _SHARED or self.name in _READ_ONLY or (self.is_partition and self.name.startswith("sg_audit"))
        )

    @property
    def rights(self) -> tuple[str, ...]:
        """The rights that the app role has to it; none: it is closed, or reached through another table."""
        if self.name in _SHARED:
            return ("SELECT",)
        if self.condition is None or self.is_partition:
            return ()
        return ("SELECT",) if self.is_read_only else _ALL


class RowSecurity:
    """The row-level security of a database.

    Args:
        app_role: The role under which runs execute.
        worker_role: The role under which workers claim runs, which sees those of all tenants; None: their owner's.

    Raises:
        ConfigurationError: A role has no name.
        MissingPackageError: `psycopg` is not installed.
    """

    def __init__(self, app_role: str, *, worker_role: str | None = None) -> None:
        if not app_role or worker_role == "" or app_role == worker_role:
            raise ConfigurationError(
                f"RowSecurity: app_role is {app_role!r} and worker_role {worker_role!r}; they must be two names"
            )
        try:
            from psycopg import sql  # an extra
        except ImportError as error:
            raise MissingPackageError("psycopg[binary,pool]", "Row-level security") from error
        self._sql: Any = sql
        self.app_role = app_role
        self.worker_role = worker_role

    def tables(self, connection: Connection[Any]) -> list[Table]:
        """Return the tables that are to be kept apart, as they are."""
        named = sorted({*_OWN, *_SHARED})
        return [Table(*row) for row in connection.execute(_TABLES, (self.app_role, named)).fetchall()]

    def apply(self, connection: Connection[Any]) -> list[str]:
        """Give every table its policy, and the app role its rights; to be called again when there are new tables.

        Args:
            connection: A connection of the tables' owner, or of a superuser.

        Returns:
            The statements that were executed, in one transaction.
        """
        done = []
        with connection.transaction():
            tables = self.tables(connection)
            for statement in self._statements(tables):
                connection.execute(statement)
                done.append(statement.as_string(connection))
        return done

    def problems(self, connection: Connection[Any]) -> list[str]:
        """Return a sentence for everything by which rows could be seen by another tenant, or by nobody.

        Each names the role, the table or the policy, what is missing or too much there, and the way out. None: all is
        as `apply` of this version makes it.
        """
        found = []
        role = connection.execute(_ROLE, (self.app_role,)).fetchone()
        if role is None:
            return [f"There is no role '{self.app_role}': CREATE ROLE {self.app_role} LOGIN"]
        for has, what in zip(role, ("is a superuser", "has BYPASSRLS", "may make roles"), strict=True):
            if has:
                found.append(f"The role '{self.app_role}' {what}: policies do not keep it from anything")
        tables = self.tables(connection)
        found += drift.of_roles(connection, self.app_role, sorted({table.owner for table in tables}))
        for table in tables:
            if table.owner == self.app_role:
                found.append(f"The role '{self.app_role}' owns the table '{table.name}': give it to another one")
            if table.name in _SHARED or not table.is_open:
                continue
            if not table.secured:
                found.append(f"The table '{table.name}' has no row-level security: call RowSecurity.apply")
            elif table.condition is not None and not table.has_policy:
                found.append(f"The table '{table.name}' has no policy: call RowSecurity.apply")
        writable = {table.oid: not table.is_read_only for table in tables}
        found += drift.of_rights(connection, self.app_role, writable)
        found += drift.of_policies(connection, self.app_role, {table.oid: table.condition for table in tables})
        found += drift.of_views(connection, self.app_role, list(writable))
        found += drift.of_lacking(connection, self.app_role, {each.oid: (each.name, each.rights) for each in tables})
        found += self._problems_of_workers(connection, tables)
        return found

    def _problems_of_workers(self, connection: Connection[Any], tables: Sequence[Table]) -> Iterator[str]:
        if self.worker_role is None:
            return
        if connection.execute(_ROLE, (self.worker_role,)).fetchone() is None:
            yield f"There is no role '{self.worker_role}': CREATE ROLE {self.worker_role} LOGIN"
            return
        registry = [table for table in tables if table.name in _REGISTRY]
        policies = connection.execute(_WORKERS, (WORKERS_POLICY, [table.oid for table in registry])).fetchall()
        having = {oid for (oid,) in policies}
        for table in registry:
            if table.oid not in having:
                yield (
                    f"The table '{table.name}' has no policy for the role '{self.worker_role}', which sees no run in "
                    "it: call RowSecurity.apply"
                )
        wanted = {table.oid: (table.name, _ALL) for table in registry}
        yield from drift.of_lacking(connection, self.worker_role, wanted)

    def _statements(self, tables: Sequence[Table]) -> Iterator[Composed]:
        names = {table.name for table in tables}
        if "sg_threads" in names:
            yield self._sql.SQL(_FUNCTION).format()
        app = self._sql.Identifier(self.app_role)
        for table in tables:
            name = self._sql.Identifier(table.name)
            yield self._sql.SQL("REVOKE ALL ON {} FROM {}, PUBLIC").format(name, app)
            if table.name in _SHARED:
                yield self._sql.SQL("GRANT SELECT ON {} TO {}").format(name, app)
                continue
            yield self._sql.SQL("ALTER TABLE {} ENABLE ROW LEVEL SECURITY").format(name)
            yield self._sql.SQL("DROP POLICY IF EXISTS {} ON {}").format(self._sql.Identifier(POLICY), name)
            if table.condition is not None:
                yield self._sql.SQL("CREATE POLICY {} ON {} TO {} USING ({}) WITH CHECK ({})").format(
                    self._sql.Identifier(POLICY), name, app, *[self._sql.SQL(table.condition)] * 2
                )
                if not table.is_partition:
                    yield self._sql.SQL(f"GRANT {', '.join(table.rights)} ON {{}} TO {{}}").format(name, app)
        notes = {table.name: drift.note_of(table.condition) for table in tables if table.condition is not None}
        yield self._sql.SQL(_NOTE).format(self._sql.Literal(json.dumps(notes)))
        yield from self._for_workers(names)

    def _for_workers(self, names: set[str]) -> Iterator[Composed]:
        if self.worker_role is None:
            return
        workers, policy = self._sql.Identifier(self.worker_role), self._sql.Identifier(WORKERS_POLICY)
        for each in _REGISTRY:
            if each in names:
                name = self._sql.Identifier(each)
                yield self._sql.SQL("DROP POLICY IF EXISTS {} ON {}").format(policy, name)
                yield self._sql.SQL("CREATE POLICY {} ON {} TO {} USING (true)").format(policy, name, workers)
                yield self._sql.SQL(f"GRANT {', '.join(_ALL)} ON {{}} TO {{}}").format(name, workers)
        if "sg_schema" in names:
            yield self._sql.SQL("GRANT SELECT ON sg_schema TO {}").format(workers)
