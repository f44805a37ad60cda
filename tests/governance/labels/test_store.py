"""Labels of conversations in a database: they grow, and stay apart."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from stategraph import AgentInputs, AgentRuntime
from stategraph.errors import ConfigurationError
from stategraph.governance.labels import SqlLabels, ThreadLabels
from stategraph.governance.tenants.keys import thread_key
from stategraph.testing import ScriptedChatModel


@pytest.fixture
def store(url: str) -> Iterator[SqlLabels]:
    made = SqlLabels.from_url(url)
    yield made
    made.close()


def test_labels_grow_and_stay_with_their_tenant_and_conversation(store: SqlLabels) -> None:
    assert store.read("acme", "t") == frozenset()
    store.add("acme", "t", ["internal"])
    store.add("acme", "t", ["secret", "internal", "secret"])
    store.add("acme", "t", [])
    store.add("acme", "other", ["public"])
    store.add("umbrella", "t", ["confidential"])
    assert store.read("acme", "t") == {"internal", "secret"}
    assert store.read("acme", "other") == {"public"}
    assert store.read("umbrella", "t") == {"confidential"}
    store.erase("acme", "t")
    assert store.read("acme", "t") == frozenset()
    assert store.read("umbrella", "t") == {"confidential"}


def test_another_process_finds_them(store: SqlLabels, url: str) -> None:
    store.add("acme", "t", ["secret"])
    other = SqlLabels.from_url(url)
    try:
        assert other.read("acme", "t") == {"secret"}
    finally:
        other.close()


def test_many_threads_add_at_once(store: SqlLabels) -> None:
    threads = [
        threading.Thread(target=store.add, args=("acme", "t", [f"l{n}", "shared"]), daemon=True) for n in range(6)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert store.read("acme", "t") == {"shared", *(f"l{n}" for n in range(6))}


def test_they_are_erased_with_their_thread_and_with_no_other_one(store: SqlLabels) -> None:
    for tenant in ("a.b", "acme"):
        for conversation in ("c:1", "c:2"):
            store.add(tenant, conversation, ["secret"])
    thread = thread_key("a.b", "c:1")

    async def main() -> None:
        async with AgentRuntime(checkpointer="sqlite:///:memory:") as runtime:
            agent = AgentInputs(agent_id="a", model=ScriptedChatModel(replies=["hi"]))
            run = await runtime.create_run(run_id="r", agents=[agent])
            await run.process_stream({"messages": [("user", "hi")]}, {"configurable": {"thread_id": thread}})
            await runtime.threads.erase(thread, also=[ThreadLabels(store)])
            # Of hosts that name their threads otherwise:
            with pytest.raises(ConfigurationError, match="'plain' is no key of a tenant"):
                await runtime.threads.erase("plain", also=[ThreadLabels(store)])
            await ThreadLabels(store, lambda thread_id: ("acme", thread_id)).erase_thread("c:2")

    asyncio.run(main())
    assert not store.read("a.b", "c:1") | store.read("acme", "c:2")
    assert store.read("a.b", "c:2") == store.read("acme", "c:1") == {"secret"}
