"""Row-level security: no statement of the app role reads or writes a row of a tenant that it does not name."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import errors, sql

import stategraph
from stategraph.errors import ConfigurationError
from stategraph.governance.session import NoSessionError, Session
from stategraph.governance.tenants.binding import BIND, TenantDatabase, parameters
from stategraph.governance.tenants.keys import label, thread_key, user_key
from stategraph.governance.tenants.policies import RowSecurity
from stategraph.governance.tenants.pools import AsyncTenantPool
from stategraph.governance.tenants.sync_pools import TenantPool
from stategraph.savers.postgres.connections import pool_settings
from stategraph.savers.postgres.saver import PostgresSaver
from stategraph.workers.registry.databases import open_database
from tests.governance.sessions import CANARY, context, make_graph
from tests.governance.tenants.filling import TENANTS, Place
from tests.properties import examples

PACKAGE = Path(stategraph.__file__).parent
SHARED = {"sg_schema", "checkpoint_migrations", "store_migrations", "vector_migrations"}
CLOSED = {"sg_worker"}
READ_ONLY = {"sg_audit", "sg_audit_head", "sg_audit_signed_head"}


def rows_of(owner: Any, table: str, tenant: str) -> int:
    """The rows of a tenant, as the owner counts them."""
    key, run = thread_key(tenant, ""), f"queued of {tenant}"
    conditions: dict[str, tuple[str, tuple[Any, ...]]] = {
        "sg_values": ("thread IN (SELECT id FROM sg_threads WHERE starts_with(thread_id, %s))", (key,)),
        "sg_event": ("run_id = %s", (run,)),
        "sg_effect": ("scope = %s", (tenant,)),
        "sg_mcp_token": ("of_user = %s", (user_key(tenant, "ann"),)),
        "store": ("prefix LIKE %s", (label(tenant) + ".memories%",)),
    }
    by_thread = ("starts_with(thread_id, %s)", (key,))
    columns = {
        each[0] for each in owner.execute("SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass", (table,))
    }
    default = ("tenant = %s", (tenant,)) if "tenant" in columns else by_thread
    condition, values = conditions.get(table, default)
    (count,) = owner.execute(f"SELECT count(*) FROM {table} WHERE {condition}", values).fetchone()
    return int(count)


def tables(owner: Any) -> list[str]:
    found = owner.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
        " AND NOT relispartition"
    )
    return sorted(name for (name,) in found)


def test_nothing_of_a_session_is_in_any_table(connections: Any) -> None:
    owner, _ = connections
    names = owner.execute("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'")
    texts = "\n".join(
        row for (table,) in names.fetchall() for (row,) in owner.execute(f"SELECT t::text FROM {table} AS t").fetchall()
    )
    assert "queued of acme" in texts
    assert b"acme".hex() in texts  # bytes are shown in hex
    assert CANARY not in texts
    assert CANARY.encode().hex() not in texts


def bind(app: Any, tenant: str | None) -> None:
    app.rollback()
    if tenant is not None:
        app.execute(BIND, parameters(tenant))


def test_every_table_has_things_of_every_tenant(connections: Any) -> None:
    owner, _ = connections
    empty = {"store_vectors", "vector_migrations", "sg_audit_signed_head"}
    for table in set(tables(owner)) - SHARED - CLOSED - empty:
        for tenant in TENANTS:
            assert rows_of(owner, table, tenant) > 0, table


def test_the_app_role_reads_the_rows_of_the_tenant_that_it_names_and_no_others(connections: Any) -> None:
    owner, app = connections
    for table in set(tables(owner)) - SHARED - CLOSED:
        for tenant in (*TENANTS, "nobody"):
            bind(app, tenant)
            assert app.execute(f"SELECT count(*) FROM {table}").fetchone()[0] == rows_of(owner, table, tenant), table
        bind(app, None)
        assert app.execute(f"SELECT count(*) FROM {table}").fetchone()[0] == 0, table
    app.rollback()
    parts = owner.execute("SELECT relname FROM pg_class WHERE relispartition AND relkind = 'r'").fetchall()
    assert parts
    for table in (*CLOSED, *(name for (name,) in parts)):
        with pytest.raises(errors.InsufficientPrivilege):
            app.execute(f"SELECT count(*) FROM {table}")
        app.rollback()


def test_the_app_role_changes_deletes_and_copies_no_row_of_another(connections: Any) -> None:
    owner, app = connections
    for table in READ_ONLY:
        update, insert = f"UPDATE {table} SET tenant = tenant", f"INSERT INTO {table} DEFAULT VALUES"
        for statement in (f"DELETE FROM {table}", update, insert):
            bind(app, TENANTS[0])
            with pytest.raises(errors.InsufficientPrivilege):
                app.execute(statement)
    app.rollback()
    for table in set(tables(owner)) - SHARED - CLOSED - READ_ONLY:
        (column,) = owner.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum = 1", (table,)
        ).fetchone()
        before = [rows_of(owner, table, tenant) for tenant in TENANTS]
        for statement in (f"UPDATE {table} SET {column} = {column}", f"DELETE FROM {table}"):
            if "UPDATE" in statement and column in ("position", "id"):
                continue  # identities, which no role may set
            bind(app, TENANTS[1])
            assert app.execute(statement).rowcount == before[1], table
            app.rollback()
        row = owner.execute(f"SELECT row_to_json(t)::text FROM {table} AS t WHERE true LIMIT 1").fetchone()
        if row is not None and column not in ("position", "id"):
            bind(app, "nobody")
            with pytest.raises(errors.InsufficientPrivilege, match="row-level security"):
                app.execute(
                    sql.SQL("INSERT INTO {0} SELECT * FROM json_populate_record(NULL::{0}, %s::json)").format(
                        sql.Identifier(table)
                    ),
                    row,
                )
            app.rollback()


@given(st.data())
@examples(30)
def test_no_statement_finds_a_row_of_another(place: Place, data: st.DataObject) -> None:
    with psycopg.connect(place.owner, autocommit=True) as owner, psycopg.connect(place.as_app) as app:
        no_row_of_another(owner, app, data)


def no_row_of_another(owner: Any, app: Any, data: st.DataObject) -> None:
    known = sorted(set(tables(owner)) - SHARED - CLOSED)
    first, second = data.draw(st.sampled_from(known)), data.draw(st.sampled_from(known))
    tenant = data.draw(st.sampled_from(TENANTS))
    shape = data.draw(
        st.sampled_from(
            [
                "SELECT row_to_json(a)::text FROM {0} AS a",
                "SELECT row_to_json(b)::text FROM {0} AS a RIGHT JOIN {1} AS b ON true",
                "WITH x AS MATERIALIZED (SELECT * FROM {1}) SELECT row_to_json(x)::text FROM x LIMIT 100",
                "SELECT row_to_json(a)::text FROM {0} AS a WHERE EXISTS (SELECT 1 FROM {1})",
                "TABLE {0}",
            ]
        )
    )
    bind(app, tenant)
    found = app.execute(shape.format(first, second)).fetchall()
    app.rollback()
    others = [key for each in TENANTS if each != tenant for key in (thread_key(each, "t"), f"queued of {each}")]
    text = str(found)
    assert not any(f"'{key}'" in text or f'"{key}"' in text for key in others)
    if shape.startswith(("SELECT row_to_json(a)::text FROM {0} AS a", "TABLE")) and "WHERE" not in shape:
        assert len(found) == rows_of(owner, first, tenant)


def test_a_session_reaches_its_own_threads_through_a_pool_and_those_of_others_not_at_all(place: Place) -> None:
    with TenantPool(place.as_app, **pool_settings(place.as_app)) as pool:
        saver = PostgresSaver(pool)
        graph = make_graph(saver)
        for tenant in TENANTS:
            with Session(context(tenant)).active_sync("run"):
                for other in TENANTS:
                    state = graph.get_state({"configurable": {"thread_id": thread_key(other, "t")}})
                    assert (state.values != {}) == (other == tenant)
                assert {each.config["configurable"]["thread_id"] for each in saver.list(None)} == {
                    thread_key(tenant, "t")
                }
        with Session(context("acme")).active_sync("run"), pytest.raises(errors.InsufficientPrivilege):
            graph.invoke({"seen": ""}, {"configurable": {"thread_id": thread_key("acme:x", "new")}}, context={})
        with pytest.raises(NoSessionError):
            graph.get_state({"configurable": {"thread_id": thread_key("acme", "t")}})


def test_a_connection_that_is_given_back_knows_no_tenant(place: Place) -> None:
    settings = {**pool_settings(place.as_app), "min_size": 1, "max_size": 1}
    with TenantPool(place.as_app, **settings) as pool:
        with Session(context("acme")).active_sync("run"), pool.connection() as connection:
            assert connection.execute("SELECT count(*) FROM sg_run").fetchone()["count"] == 1
        raw = pool.getconn()
        try:
            assert raw.execute("SELECT count(*) FROM sg_run").fetchone()["count"] == 0
        finally:
            pool.putconn(raw)
        with pytest.raises(ZeroDivisionError), Session(context("acme")).active_sync("run"), pool.connection():
            raise ZeroDivisionError
        with Session(context("acme:x")).active_sync("run"), pool.connection() as connection:
            assert connection.execute("SELECT tenant FROM sg_run").fetchall() == [{"tenant": "acme:x"}]


def test_a_connection_of_an_async_pool_that_is_given_back_knows_no_tenant(place: Place) -> None:
    async def main() -> None:
        settings = {**pool_settings(place.as_app), "min_size": 1, "max_size": 1}
        async with AsyncTenantPool(place.as_app, **settings) as pool:
            async with Session(context("acme")).active("run"), pool.connection() as connection:
                assert await (await connection.execute("SELECT tenant FROM sg_run")).fetchall() == [{"tenant": "acme"}]
            raw = await pool.getconn()
            try:
                assert await (await raw.execute("SELECT tenant FROM sg_run")).fetchall() == []
            finally:
                await pool.putconn(raw)
            with pytest.raises(NoSessionError):
                async with pool.connection():
                    pass

    asyncio.run(main())


def test_a_transaction_of_the_registry_needs_a_session(place: Place) -> None:
    database = TenantDatabase(open_database(place.as_app))
    with pytest.raises(NoSessionError), database.transaction():
        pass
    database.close()


def test_workers_see_the_runs_of_all_tenants_and_no_threads(place: Place) -> None:
    with psycopg.connect(place.as_role(place.workers)) as connection:
        assert connection.execute("SELECT count(*) FROM sg_run").fetchone() == (len(TENANTS),)
        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute("SELECT count(*) FROM checkpoints")


def test_the_check_finds_what_is_open(place: Place, connections: Any) -> None:
    owner, _ = connections
    security = RowSecurity(place.app, worker_role=place.workers)
    assert security.problems(owner) == []
    found = []
    with owner.transaction(force_rollback=True):
        owner.execute("ALTER TABLE sg_budget DISABLE ROW LEVEL SECURITY")
        owner.execute("DROP POLICY sg_tenant ON sg_approval")
        owner.execute("CREATE TABLE sg_new (tenant TEXT)")
        owner.execute(f"GRANT SELECT ON sg_new TO {place.app}")
        owner.execute(f"ALTER TABLE sg_threads OWNER TO {place.app}")
        owner.execute(f"ALTER ROLE {place.app} BYPASSRLS")
        found = security.problems(owner)
    for words in (
        *("'sg_budget' has no row-level", "'sg_approval' has no policy", "'sg_new' has no row-level"),
        *("owns the table 'sg_threads'", "has BYPASSRLS"),
    ):
        assert any(words in each for each in found), words
    assert RowSecurity("no_such_role").problems(owner) == [
        "There is no role 'no_such_role': CREATE ROLE no_such_role LOGIN"
    ]
    assert RowSecurity(place.app, worker_role="no_such_role").problems(owner) == [
        "There is no role 'no_such_role': CREATE ROLE no_such_role LOGIN"
    ]
    with pytest.raises(ConfigurationError):
        RowSecurity("a", worker_role="a")
    with owner.transaction(force_rollback=True):
        owner.execute("DROP TABLE store CASCADE")
        owner.execute("CREATE TABLE store (shelf TEXT)")  # a table of the program's own
        assert not any('"store"' in each for each in security.apply(owner))
    assert security.apply(owner)  # once more changes nothing
    assert security.problems(owner) == []


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        (["CREATE POLICY debug ON sg_budget USING (true)"], "'sg_budget' has the policy 'debug' for the role"),
        (["CREATE POLICY debug ON sg_budget TO {app} USING (true)"], "DROP POLICY debug ON sg_budget"),
        (["ALTER POLICY sg_tenant ON sg_audit USING (true)"], "policy of the table 'sg_audit' is not as"),
        (["ALTER POLICY sg_tenant ON sg_audit TO PUBLIC"], "policy of the table 'sg_audit' is not as"),
        (["GRANT {workers} TO {app}"], "has the policy 'sg_workers' for the role"),
        (["CREATE ROLE {app}_b BYPASSRLS", "GRANT {app}_b TO {app}"], "is a member of '{app}_b', which policies"),
        (["CREATE ROLE {app}_s SUPERUSER", "GRANT {app}_s TO {app}"], "is a member of '{app}_s', which policies"),
        (
            ["CREATE ROLE {app}_o", "ALTER TABLE sg_budget OWNER TO {app}_o", "GRANT {app}_o TO {app}"],
            "is a member of '{app}_o', which owns tables",
        ),
        (["ALTER ROLE {app} SUPERUSER"], "'{app}' is a superuser"),
        (
            ["CREATE VIEW v AS SELECT * FROM sg_audit", "GRANT SELECT ON v TO {app}"],
            "The view 'v' reads with the rights",
        ),
        (
            ["CREATE VIEW u AS TABLE sg_run", "CREATE VIEW v AS TABLE u", "GRANT SELECT ON v TO PUBLIC"],
            "The view 'v' reads with the rights",
        ),
        (
            ["CREATE MATERIALIZED VIEW v AS TABLE sg_run", "GRANT SELECT ON v TO {app}"],
            "The view 'v' holds a copy of rows",
        ),
        (["GRANT INSERT ON sg_audit TO {app}"], "may write the table 'sg_audit'"),
        (["GRANT UPDATE (tenant) ON sg_audit_head TO {app}"], "may write the table 'sg_audit_head'"),
        (["GRANT DELETE ON sg_audit_signed_head TO PUBLIC"], "may write the table 'sg_audit_signed_head'"),
        (["GRANT UPDATE ON sg_schema TO {app}"], "may write the table 'sg_schema'"),
        (["GRANT TRUNCATE ON sg_budget TO {app}"], "may TRUNCATE the table 'sg_budget'"),
        (["GRANT TRUNCATE ON sg_worker TO PUBLIC"], "may TRUNCATE the table 'sg_worker'"),
        (["COMMENT ON POLICY sg_tenant ON sg_budget IS NULL"], "policy of the table 'sg_budget' has no note"),
        (
            [
                # As a version of this package noted that had other conditions.
                (
                    "DO $$ DECLARE note TEXT; BEGIN"
                    " SELECT split_part(obj_description(oid, 'pg_policy'), ' ', 1) || ' 0123456789abcdef' INTO note"
                    " FROM pg_policy WHERE polrelid = 'sg_budget'::regclass AND polname = 'sg_tenant';"
                    " EXECUTE format('COMMENT ON POLICY sg_tenant ON sg_budget IS %L', note); END $$"
                ),
            ],
            "policy of the table 'sg_budget' was made by another version of stategraph",
        ),
        (["REVOKE INSERT, DELETE ON sg_label FROM {app}"], "lacks INSERT, DELETE on the table 'sg_label'"),
        (
            ["CREATE TABLE sg_later (tenant TEXT)"],
            "'{app}' lacks SELECT, INSERT, UPDATE, DELETE on the table 'sg_later', which it works with: call",
        ),
        (["REVOKE SELECT ON sg_audit FROM {app}"], "lacks SELECT on the table 'sg_audit'"),
        (["DROP POLICY sg_workers ON sg_event"], "'sg_event' has no policy for the role '{workers}'"),
        (["REVOKE UPDATE ON sg_run FROM {workers}"], "'{workers}' lacks UPDATE on the table 'sg_run'"),
    ],
)
def test_the_check_finds_what_makes_policies_useless(
    place: Place, connections: Any, statements: list[str], words: str
) -> None:
    owner, _ = connections
    security = RowSecurity(place.app, worker_role=place.workers)
    names = {"app": place.app, "workers": place.workers}
    with owner.transaction(force_rollback=True):
        for statement in statements:
            owner.execute(statement.format(**names))
        found = security.problems(owner)
    assert any(words.format(**names) in each for each in found), found
    assert security.problems(owner) == []


def test_a_view_that_asks_the_policies_of_who_reads_it_is_no_problem(place: Place, connections: Any) -> None:
    owner, _ = connections
    with owner.transaction(force_rollback=True):
        owner.execute("CREATE VIEW v WITH (security_invoker = true) AS TABLE sg_audit")
        owner.execute("CREATE VIEW closed AS TABLE sg_audit")
        owner.execute(f"GRANT SELECT ON v TO {place.app}")
        assert RowSecurity(place.app).problems(owner) == []


def test_the_app_role_is_left_with_the_rights_that_it_should_have(place: Place, connections: Any) -> None:
    owner, app = connections
    security = RowSecurity(place.app, worker_role=place.workers)
    with owner.transaction(force_rollback=True):
        owner.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {place.app}, PUBLIC")
        owner.execute(f"GRANT UPDATE (tenant) ON sg_audit TO {place.app}")
        assert len([each for each in security.problems(owner) if "may TRUNCATE" in each]) > 10
        security.apply(owner)
        assert security.problems(owner) == []
        for right in ("INSERT", "UPDATE", "DELETE", "TRUNCATE"):
            ask = "SELECT has_table_privilege(%s, 'sg_audit', %s)"
            assert owner.execute(ask, (place.app, right)).fetchone() == (False,)
        assert owner.execute("SELECT has_table_privilege(%s, 'sg_run', 'UPDATE')", (place.workers,)).fetchone() == (
            True,
        )
    app.rollback()


#: Names in statements that are none of tables: of policies, of a savepoint, and the beginning of names.
NO_TABLES = {"sg_audit_", "sg_rollback", "sg_tenant", "sg_workers"}
#: Tables that are in SQLite alone.
IN_FILES = {"sg_capability_version"}
#: Some of `stategraph serve`, which works as their owner: they are closed to the app role, as all without a tenant.
OF_SERVER = {"sg_assistant", "sg_assistant_version", "sg_cron", "sg_item", "sg_server_schema", "sg_thread"}
#: Those of resources and of the directory of agents, which are their owner's too.
OF_OPERATORS = {
    "sg_agent_endpoint",
    "sg_network_state",
    "sg_network_state_version",
    "sg_resource",
    "sg_resource_lease",
    "sg_resource_log",
    "sg_resource_version",
}


def test_no_table_of_this_package_is_left_out_of_these_tests(connections: Any) -> None:
    owner, _ = connections
    named = re.compile(r"TABLE (?:IF NOT EXISTS )?(sg_[a-z0-9_]+)|Final = \"(sg_[a-z0-9_]+)\"")
    files = [each for each in PACKAGE.rglob("*.py") if PACKAGE / "server" not in each.parents]
    source = "".join(each.read_text(encoding="utf-8") for each in files)
    found = {name for names in named.findall(source) for name in names if name} - NO_TABLES - IN_FILES - OF_OPERATORS
    assert found >= {"sg_run", "sg_label", "sg_budget", "sg_audit", "sg_approval_vote"}
    assert found - set(tables(owner)) == set()


def test_a_table_without_a_tenant_is_closed_to_the_app_role(place: Place, connections: Any) -> None:
    owner, _ = connections
    security, closed = RowSecurity(place.app, worker_role=place.workers), OF_SERVER | OF_OPERATORS
    with owner.transaction(force_rollback=True):
        for name in closed:
            owner.execute(f"CREATE TABLE {name} (id TEXT)")
            owner.execute(f"GRANT ALL ON {name} TO {place.app}, PUBLIC")
        assert sum("has no row-level security" in each for each in security.problems(owner)) == len(closed)
        security.apply(owner)
        assert security.problems(owner) == []
        for name in closed:
            ask = "SELECT has_any_column_privilege(%s, %s, 'SELECT, INSERT, UPDATE')"
            assert owner.execute(ask, (place.app, name)).fetchone() == (False,)
