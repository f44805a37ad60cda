"""Two tenants in one database: apart by keys, and in PostgreSQL by row-level security as well.

Prints::

    acme's thread is acme:t1, and globex cannot execute on it
    acme finds [('memories', 'ann')], globex finds []
    policies: nothing is open
    acme sees threads of ['acme'], globex sees threads of ['globex'], nobody sees threads of []
"""

import asyncio
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from langgraph.store.memory import InMemoryStore
from typing_extensions import TypedDict

from stategraph import END, START, StateGraph, create_run
from stategraph.governance.context import AgentRef, Principal, RuntimeSessionContext
from stategraph.governance.session import Session, TenantMismatchError
from stategraph.governance.tenants.keys import thread_key
from stategraph.governance.tenants.own import OwnThreads, tenant_store
from stategraph.governance.tenants.policies import RowSecurity
from stategraph.governance.tenants.pools import tenant_saver
from stategraph.savers.postgres.saver import PostgresSaver


class State(TypedDict):
    text: str


builder = StateGraph(State)
builder.add_node("answer", lambda state: {"text": state["text"] + "!"})
builder.add_edge(START, "answer")
builder.add_edge("answer", END)
graph = builder.compile()


def session(tenant: str) -> Session:
    context = RuntimeSessionContext(Principal(tenant, "ann"), AgentRef("desk"), session_id="t1")
    return Session(context, parts=[OwnThreads()])


async def by_keys() -> None:
    thread = {"configurable": {"thread_id": thread_key("acme", "t1")}}
    run = await create_run(run_id="1", graph=graph, session=session("globex"))
    try:
        await run.process_stream({"text": "hi"}, thread)
    except TenantMismatchError:
        print(f"acme's thread is {thread_key('acme', 't1')}, and globex cannot execute on it")
    store = tenant_store(InMemoryStore())
    found = []
    async with session("acme").active():
        await store.aput(("memories", "ann"), "likes", {"text": "tides"})
        found.append([item.namespace for item in await store.asearch(())])
    async with session("globex").active():
        found.append([item.namespace for item in await store.asearch(())])
    print(f"acme finds {found[0]}, globex finds {found[1]}")


@contextmanager
def app_role(owner: str) -> Iterator[str]:
    """A role for the example, which an administrator makes once in a program."""
    name = f"app_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'x'")
        try:
            yield name
        finally:
            connection.execute(f"DROP OWNED BY {name}")
            connection.execute(f"DROP ROLE {name}")


async def by_policies(owner: str, role: str) -> None:
    with PostgresSaver.from_conn_string(owner) as saver:
        saver.setup()
    security = RowSecurity(role)
    with psycopg.connect(owner, autocommit=True) as connection:
        security.apply(connection)
        print(f"policies: {security.problems(connection) or 'nothing is open'}")
    app = re.sub("//[^@]*@", f"//{role}:x@", owner)
    seen = {}
    async with tenant_saver(app) as saver:
        for tenant in ("acme", "globex"):
            run = await create_run(run_id=tenant, graph=graph, checkpointer=saver, session=session(tenant))
            await run.process_stream({"text": "hi"}, {"configurable": {"thread_id": thread_key(tenant, "t1")}})
            async with session(tenant).active():
                threads = {item.config["configurable"]["thread_id"] async for item in saver.alist(None)}
            seen[tenant] = sorted(thread.partition(":")[0] for thread in threads)
    with psycopg.connect(app) as connection:  # names no tenant
        seen["nobody"] = [thread for (thread,) in connection.execute("SELECT thread_id FROM checkpoints")]
    print(", ".join(f"{who} sees threads of {threads}" for who, threads in seen.items()))


async def main(owner: str) -> None:
    await by_keys()
    with app_role(owner) as role:
        await by_policies(owner, role)


asyncio.run(main(os.environ["STATEGRAPH_POSTGRES"]))
