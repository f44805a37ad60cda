"""A server for several users, with handlers of `langgraph_sdk.Auth` as LangGraph's documentation has them.

The program is a `langgraph.json` with a graph and an `auth`; `stategraph serve` serves it as it is. Each user sees what
it made; what others have is not there.

Prints::

    nobody: 401
    ann made a thread, and was answered: Hello ann.
    ann sees 1 thread
    bob sees 0 threads
    bob asks for ann's thread: 404
"""

import asyncio
import json
import tempfile
from pathlib import Path
from textwrap import dedent

import httpx
from langgraph_sdk import get_client

from stategraph.server.application import create_app

PROGRAM = {
    "langgraph.json": json.dumps({"graphs": {"agent": "./agent.py:graph"}, "auth": {"path": "./auth.py:auth"}}),
    "agent.py": """
        from typing import Annotated
        from typing_extensions import TypedDict
        from langchain_core.runnables import RunnableConfig
        from stategraph import START, StateGraph
        from stategraph.graph.message import add_messages

        class State(TypedDict):
            messages: Annotated[list, add_messages]

        def greet(state: State, config: RunnableConfig) -> dict:
            user = config["configurable"]["langgraph_auth_user"]["identity"]
            return {"messages": [("ai", f"Hello {user}.")]}

        graph = StateGraph(State).add_node("greet", greet).add_edge(START, "greet").compile()
    """,
    "auth.py": """
        from langgraph_sdk import Auth

        auth = Auth()
        USERS = {"Bearer ann-s-token": "ann", "Bearer bob-s-token": "bob"}  # a program asks its identity provider

        @auth.authenticate
        async def authenticate(authorization: str | None) -> Auth.types.MinimalUserDict:
            user = USERS.get(authorization or "")
            if user is None:
                raise Auth.exceptions.HTTPException(status_code=401, detail="Who is it?")
            return {"identity": user}

        @auth.on.threads
        async def own(ctx: Auth.types.AuthContext, value: dict) -> dict:
            value.setdefault("metadata", {})["owner"] = ctx.user.identity
            return {"owner": ctx.user.identity}
    """,
}


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, text in PROGRAM.items():
            (Path(folder) / name).write_text(dedent(text), encoding="utf-8")
        app = create_app(config=folder)
        async with app.router.lifespan_context(app):
            await use(httpx.ASGITransport(app))


async def use(server: httpx.ASGITransport) -> None:
    """Talk to the server; a program has the address of one in place of the transport."""
    clients = {name: client_of(name, server) for name in ("ann", "bob")}
    ann, bob = (get_client_of(each) for each in clients.values())
    async with clients["ann"], clients["bob"]:
        nobody = await clients["ann"].get("/threads/none", headers={"Authorization": ""})
        print("nobody:", nobody.status_code)
        thread = (await ann.threads.create())["thread_id"]
        said = await ann.runs.wait(thread, "agent", input={"messages": [{"role": "user", "content": "Hi"}]})
        print("ann made a thread, and was answered:", said["messages"][-1]["content"])
        print("ann sees", len(await ann.threads.search()), "thread")
        print("bob sees", len(await bob.threads.search()), "threads")
        try:
            await bob.threads.get(thread)
        except httpx.HTTPStatusError as error:
            print("bob asks for ann's thread:", error.response.status_code)


def client_of(name: str, server: httpx.ASGITransport) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {name}-s-token"}
    return httpx.AsyncClient(transport=server, base_url="http://agents.example", headers=headers)


def get_client_of(client: httpx.AsyncClient):
    """Return LangGraph's client over one of HTTP."""
    made = get_client(url="http://agents.example", api_key=None)
    for each in (made.threads, made.runs):
        each.http.client = client
    return made


asyncio.run(main())
