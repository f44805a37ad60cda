"""Tenants by their keys: random calls of three tenants in one database, none of which finds a thing of another."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.store.memory import InMemoryStore

from stategraph.errors import ConfigurationError
from stategraph.governance.budget.ledger import SqlBudgetLedger
from stategraph.governance.budget.port import Amounts, Tree
from stategraph.governance.context import Budget
from stategraph.governance.errors import BudgetExceeded
from stategraph.governance.session import NoSessionError, Session, TenantMismatchError
from stategraph.governance.tenants import keys
from stategraph.governance.tenants.own import OwnThreads, TenantRuns, tenant_store
from stategraph.run.runtime import create_run
from stategraph.workers.registry.runs import RunRegistry
from stategraph.workers.registry.values import ThreadBusy, UnknownRunError
from tests.governance.sessions import context, make_graph
from tests.properties import examples

TENANTS = ("acme", "acme:x", "ac%2Eme")


@given(st.text(min_size=1), st.text(min_size=1), st.text(), st.text())
@examples(200)
def test_keys_of_two_tenants_never_meet(one: str, other: str, first: str, second: str) -> None:
    for tenant in (one, other):
        try:
            made = keys.label(tenant)
        except ConfigurationError:
            assert any(0xD800 <= ord(each) < 0xE000 for each in tenant)
            return
        assert keys.tenant_of_label(made) == tenant
        assert not set(made) & set(":.%")
        assert made.isascii()
    assert keys.own_part(one, keys.thread_key(one, first)) == first
    assert keys.own_namespace(one, keys.namespace(one, first)) == (first,)
    if one != other:
        assert keys.thread_key(one, first) != keys.thread_key(other, second)
        with pytest.raises(TenantMismatchError):
            keys.own_part(other, keys.thread_key(one, first))
        with pytest.raises(TenantMismatchError):
            keys.own_namespace(other, keys.namespace(one, first))


def test_a_tenant_without_a_name_is_refused() -> None:
    for wrong in ("", None, 7):
        with pytest.raises(ConfigurationError, match="not empty"):
            keys.label(wrong)  # type: ignore[arg-type]


CALLS = st.lists(
    st.tuples(
        st.sampled_from(["put", "search", "names", "delete", "submit", "get", "list", "cancel", "erase", "reserve"]),
        st.integers(0, 2),
        st.integers(0, 2),
    ),
    max_size=25,
)


class World:
    """What each tenant has, by hand."""

    def __init__(self) -> None:
        self.items: dict[str, dict[str, str]] = {each: {} for each in TENANTS}
        self.runs: dict[str, dict[str, str]] = {each: {} for each in TENANTS}
        self.reserved: dict[str, int] = dict.fromkeys(TENANTS, 0)


@given(CALLS)
@examples(25)
def test_random_calls_find_what_their_tenant_has_and_nothing_else(calls: list[tuple[str, int, int]]) -> None:
    async def main(folder: str) -> None:
        registry = RunRegistry.from_url(f"sqlite:///{Path(folder) / 'runs.db'}", bus="polling")
        ledger = SqlBudgetLedger.from_url(f"sqlite:///{Path(folder) / 'runs.db'}")
        parts = tenant_store(InMemoryStore()), TenantRuns(registry), ledger
        world = World()
        for call, who, name in calls:
            async with Session(context(TENANTS[who])).active():
                await act(world, parts, call, TENANTS[who], f"n{name}")
        await registry.aclose()
        ledger.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(folder))


async def act(world: World, parts: Any, call: str, tenant: str, name: str) -> None:
    """Make a call as a tenant, and compare what it finds with what the tenant has."""
    store, runs, ledger = parts
    items, own = world.items[tenant], world.runs[tenant]
    match call:
        case "put":
            await store.aput(("notes", name), "k", {"of": tenant})
            items[name] = tenant
        case "delete":
            await store.adelete(("notes", name), "k")
            items.pop(name, None)
        case "search":
            found = {each.namespace: each.value["of"] for each in await store.asearch(())}
            assert found == {("notes", each): tenant for each in items}
            assert (await store.aget(("notes", name), "k") is not None) == (name in items)
        case "names":
            names = set(await store.alist_namespaces(prefix=("notes",), max_depth=2))
            # A store in memory lists namespaces that were merely asked for as well.
            assert {("notes", each) for each in items} <= names <= {("notes", f"n{number}") for number in range(3)}
        case "submit":
            try:
                own[name] = await runs.submit(name, {"x": 1}, target="a:b", run_id=name)
            except (ThreadBusy, ValueError):
                assert name in own
        case "list":
            assert {each.run_id for each in await runs.list()} == set(own.values())
            of_thread = {each.run_id for each in await runs.list(thread_id=name)}
            assert of_thread == ({own[name]} if name in own else set())
        case "erase":
            if name not in own:
                assert await runs.erase_thread(name) == 0
        case "reserve":
            tree = Tree("root", tenant, Budget(tokens=3))
            try:
                await ledger.reserve(tree, Amounts(tokens=1), key=str(world.reserved[tenant]))
                world.reserved[tenant] += 1
            except BudgetExceeded:
                assert world.reserved[tenant] == 3
        case _:
            for other in TENANTS:
                for run_id in world.runs[other].values():
                    if other == tenant:
                        assert (await runs.get(run_id)).tenant == tenant
                        continue
                    for refused in (runs.get, runs.cancel, runs.resume, runs.requeue):
                        with pytest.raises(UnknownRunError):
                            await refused(run_id)
                    with pytest.raises(UnknownRunError):
                        async for _ in runs.events(run_id):
                            pass


def test_without_a_session_nothing_is_found() -> None:
    store = tenant_store(InMemoryStore())
    with pytest.raises(NoSessionError):
        store.put(("a",), "k", {"x": 1})
    with Session(context("acme")).active_sync():
        store.put(("a",), "k", {"x": 1})
        item = store.get(("a",), "k")
        assert item is not None
        assert item.namespace == ("a",)
        assert store.get(("a",), "k") is not None  # the item that the store keeps is as it was
    with Session(context("acme:x")).active_sync():
        assert store.get(("a",), "k") is None
        assert store.search(("a",)) == []


def test_a_session_executes_on_threads_of_its_tenant_alone() -> None:
    async def main() -> None:
        limited = Session(context("acme"), parts=[OwnThreads()])
        run = await create_run(run_id="r", graph=make_graph(), session=limited)
        await run.process_stream({"seen": ""}, {"configurable": {"thread_id": keys.thread_key("acme", "t")}})
        for wrong in ("t", keys.thread_key("acme:x", "t"), "acme"):
            with pytest.raises(TenantMismatchError):
                await run.process_stream({"seen": ""}, {"configurable": {"thread_id": wrong}})
        with pytest.raises(TenantMismatchError), limited.active_sync("r", "t"):
            pass

    asyncio.run(main())
