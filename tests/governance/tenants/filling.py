"""Tables of every part in a PostgreSQL, and things of three tenants in them, put there by the calls of each part."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import psycopg
from langgraph.store.postgres import AsyncPostgresStore, PostgresStore

from stategraph.governance.approval.port import Approval
from stategraph.governance.approval.store import SqlApprovals
from stategraph.governance.audit.log import AuditLog
from stategraph.governance.audit.storages.urls import storage_at
from stategraph.governance.budget.ledger import SqlBudgetLedger
from stategraph.governance.budget.port import Amounts, Asked, BudgetUnit, Tree
from stategraph.governance.context import Budget, Principal
from stategraph.governance.errors import BudgetExceeded
from stategraph.governance.labels import SqlLabels
from stategraph.governance.policy.verdict import ApprovalTerms
from stategraph.governance.session import Session
from stategraph.governance.tenants.binding import TenantDatabase
from stategraph.governance.tenants.keys import label, thread_key, user_key
from stategraph.governance.tenants.policies import RowSecurity
from stategraph.governance.tenants.pools import AsyncTenantPool, tenant_saver
from stategraph.run.threads.indexes import index_of
from stategraph.savers.namespaced import NamespacedStore
from stategraph.savers.postgres.connections import pool_settings
from stategraph.savers.postgres.saver import AsyncPostgresSaver, PostgresSaver
from stategraph.workers.registry.databases import open_database
from stategraph.workers.registry.operations import RegistryOperations
from stategraph.workers.registry.runs import RunRegistry
from stategraph.workers.registry.tokens import RegistryTokens
from tests.governance.audit.events import event
from tests.governance.sessions import context, make_graph

TENANTS = ("acme", "acme:x", "a.c%me")
"""Three, of which one's name begins with another's."""


@dataclass(frozen=True)
class Place:
    owner: str
    app: str
    workers: str

    @property
    def as_app(self) -> str:
        return self.as_role(self.app)

    def as_role(self, role: str) -> str:
        return re.sub(r"//[^@]*@", f"//{role}:x@", self.owner)


def approval(tenant: str) -> Approval:
    digests = dict.fromkeys(("capability_digest", "arguments_hash", "policy_digest", "identity"), "a" * 64)
    return Approval(
        id="1",
        tenant=tenant,
        scope="t",
        run_id="r",
        thread_id="t",
        place="tools:1",
        call_id="c",
        capability_id="function:app/refund@1",
        preview={"of": tenant},
        requesters=("ann",),
        agent_id="support",
        terms=ApprovalTerms(),
        **digests,
    )


async def make_tables(place: Place) -> None:
    """Make the tables as their owner, and secure them."""
    with PostgresSaver.from_conn_string(place.owner) as saver:
        saver.setup()
    with PostgresStore.from_conn_string(place.owner) as store:
        store.setup()
    registry = RunRegistry.from_url(place.owner, bus="polling")
    await registry.set_up()
    await registry.aclose()
    tokens = RegistryTokens.from_url(place.owner)
    await tokens.load("nobody", "none")
    await tokens.aclose()
    for store in (SqlApprovals, SqlBudgetLedger, SqlLabels):
        made = store.from_url(place.owner)
        made.set_up()
        made.close()
    audit = storage_at(place.owner)
    audit.set_up()
    audit.close()
    async with AsyncPostgresSaver.from_conn_string(place.owner) as saver:
        await index_of(saver).open()
    with psycopg.connect(place.owner) as connection:
        RowSecurity(place.app, worker_role=place.workers).apply(connection)


async def fill(place: Place) -> None:
    """Have every part keep something for each tenant, through the app role where runs use it."""
    for tenant in TENANTS:
        async with Session(context(tenant)).active("run"):
            await _runs(place, tenant)
            await _threads(place, tenant)
            await _stores(place, tenant)
        _governance(place, tenant)
    with AuditLog(place.owner) as log:
        for tenant in TENANTS:
            log.record_sync(event(tenant=tenant), durable=True)
    with psycopg.connect(place.as_role(place.workers)) as connection:
        for tenant in TENANTS:
            thread = thread_key(tenant, "queued")
            connection.execute(
                "INSERT INTO sg_event (run_id, seq, attempt, type, at) VALUES (%s, 1, 1, 'x', 0)",
                (f"queued of {tenant}",),
            )
            connection.execute(
                "INSERT INTO sg_effect (scope, key, args_hash, state, run_id, token, retryable, claimed_at)"
                " VALUES (%s, 'k', 'h', 'claimed', %s, 1, 0, 0)",
                (tenant, f"queued of {tenant}"),
            )
            assert connection.execute("SELECT 1 FROM sg_thread_fence WHERE thread_id = %s", (thread,)).fetchall()
        connection.execute(
            "INSERT INTO sg_worker (worker_id, host, pid, capacity, version, started_at, seen_at)"
            " VALUES ('w', 'h', 1, 1, 'v', 0, 0)"
        )


async def _runs(place: Place, tenant: str) -> None:
    database = TenantDatabase(open_database(place.as_app))
    registry = RunRegistry(RegistryOperations(database))
    run_id = await registry.submit(
        thread_key(tenant, "queued"), {"x": 1}, target="a:b", tenant=tenant, run_id=f"queued of {tenant}"
    )
    assert (await registry.get(run_id)).tenant == tenant
    assert [each.tenant for each in await registry.list()] == [tenant]
    await registry.aclose()
    tokens = RegistryTokens(TenantDatabase(open_database(place.as_app)))
    await tokens.save(user_key(tenant, "ann"), "server", "{}")
    await tokens.aclose()


async def _threads(place: Place, tenant: str) -> None:
    async with tenant_saver(place.as_app) as saver:
        graph = make_graph(saver)
        config: Any = {"configurable": {"thread_id": thread_key(tenant, "t")}}
        await graph.ainvoke({"seen": "", "messages": [tenant] * 50}, config, context={"region": "eu"})
        assert (await graph.aget_state(config)).values["messages"] == [tenant] * 50
    with psycopg.connect(place.owner, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob)"
            " VALUES (%s, '', 'c', '1', 'null', NULL)",
            (thread_key(tenant, "t"),),
        )
        connection.execute(
            "INSERT INTO sg_thread_index (thread_id, created_at, updated_at, metadata, status, held_until, version,"
            " words) VALUES (%s, 0, 0, '{}', 'idle', 0, 1, '')",
            (thread_key(tenant, "t"),),
        )


async def _stores(place: Place, tenant: str) -> None:
    async with AsyncTenantPool(place.as_app, **pool_settings(place.as_app)) as pool:
        store = AsyncPostgresStore(pool)  # type: ignore[arg-type]
        part = NamespacedStore(store, lambda: (label(tenant),))
        await part.aput(("memories", "ann"), "k", {"of": tenant})
        found = await part.asearch(("memories",))
        assert [(each.namespace, each.value) for each in found] == [(("memories", "ann"), {"of": tenant})]
        assert await part.alist_namespaces() == [("memories", "ann")]


def _governance(place: Place, tenant: str) -> None:
    ledger = SqlBudgetLedger(open_database(place.as_app))
    tree = Tree("root", tenant, Budget(tokens=10))
    ledger.reserve_sync(tree, Amounts(tokens=10), key="m")
    try:
        ledger.reserve_sync(tree, Amounts(tokens=10), key="n")
    except BudgetExceeded as error:
        ledger.ask_sync(tree, "n", Asked(0, "n", BudgetUnit.TOKENS, error.cap, error.spent))
    ledger.close()
    approvals = SqlApprovals(TenantDatabase(open_database(place.as_app), tenant))
    made, _ = approvals.request(approval(tenant))
    denied = approvals.vote(tenant, made.id, Principal(tenant, "bob"), "deny")  # a vote keeps the roles of who votes
    approvals.note_told(tenant, made.id, denied.state)
    approvals.close()
    labels = SqlLabels(TenantDatabase(open_database(place.as_app), tenant))
    labels.add(tenant, "c", ["secret"])
    labels.close()
