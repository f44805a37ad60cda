"""A langgraph.json program, served and called by langgraph-sdk: a thread, a stream, a question, its answer, a reader.

The graph, its configuration and the client are what LangGraph's own server takes; the application is called in process.

Prints::

    an assistant stands for the graph: refund
    told: checking order 7
    asks: Pay 30 back?
    the thread is interrupted
    answered: paid 30
    the thread is idle, after 2 runs
    read again from the start: metadata, custom, updates
"""

import asyncio
import json
import tempfile
from pathlib import Path

import httpx
from langgraph_sdk.client import LangGraphClient

from stategraph.server.application import create_app

PROGRAM = """
from typing import TypedDict

from langgraph.config import get_stream_writer
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt


class Refund(TypedDict, total=False):
    order: int
    amount: int
    outcome: str


def check(state: Refund):
    get_stream_writer()(f"checking order {state['order']}")
    return {"amount": 30}


def pay(state: Refund):
    agreed = interrupt(f"Pay {state['amount']} back?")
    return {"outcome": f"paid {state['amount']}" if agreed else "refused"}


graph = StateGraph(Refund).add_node(check).add_node(pay).add_edge(START, "check").add_edge("check", "pay").compile()
"""

CONFIGURATION = {"graphs": {"refund": "./refund.py:graph"}, "dependencies": ["."], "env": {}}


async def talk(client):
    (assistant,) = await client.assistants.search(graph_id="refund")
    print(f"an assistant stands for the graph: {assistant['graph_id']}")
    thread = (await client.threads.create())["thread_id"]
    modes = ["custom", "updates"]
    begun = client.runs.stream(thread, "refund", input={"order": 7}, stream_mode=modes, stream_resumable=True)
    async for part in begun:
        if part.event == "custom":
            print(f"told: {part.data}")
        elif "__interrupt__" in (part.data or {}):
            print(f"asks: {part.data['__interrupt__'][0]['value']}")
    print(f"the thread is {(await client.threads.get(thread))['status']}")
    values = await client.runs.wait(thread, "refund", command={"resume": True})
    print(f"answered: {values['outcome']}")
    answered, asked = await client.runs.list(thread)
    print(f"the thread is {(await client.threads.get(thread))['status']}, after {len([answered, asked])} runs")
    again = [part.event async for part in client.runs.join_stream(thread, asked["run_id"], last_event_id="-1")]
    print(f"read again from the start: {', '.join(dict.fromkeys(again))}")


async def main(app):
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            await talk(LangGraphClient(http))


with tempfile.TemporaryDirectory() as folder:
    Path(folder, "refund.py").write_text(PROGRAM)
    Path(folder, "langgraph.json").write_text(json.dumps(CONFIGURATION))
    asyncio.run(main(create_app(config=folder, store=f"sqlite:///{folder}/runs.db")))
