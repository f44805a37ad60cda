"""Runs over HTTP: a backend begins a turn, reads its events, approves and reads on; nobody without the token.

Prints::

    without the token: 401
    Desk: I pay it back.
    asks: pay {'amount': 7}
    Desk: It is paid.
    the thread has 2 turns and is idle
"""

import asyncio
import json
import socket

import httpx
import uvicorn
from langchain_core.tools import tool

from stategraph import AgentInputs, HookOutput, HookRegistry
from stategraph.server.application import create_app
from stategraph.testing import ScriptedChatModel, call, reply

TOKEN = "a-token-of-16-characters"


@tool
def pay(amount: int) -> str:
    """Pay money back."""
    return f"paid {amount}"


def ask(_):
    return HookOutput(decision="ask", reason="Money leaves the account.")


hooks = HookRegistry()
hooks.register("PreToolUse", ask, pattern="^pay")
model = ScriptedChatModel(replies=[reply("I pay it back. ", call("pay", amount=7)), "It is paid."])
desk = {"agents": [AgentInputs(agent_id="desk", name="Desk", model=model, tools=[pay])], "hooks": hooks}


async def read(client, run_id, after):
    """Print what a run says, and return the number of its last event, with that event."""
    async with client.stream("GET", f"/v1/runs/{run_id}/events", params={"after_seq": after}) as response:
        said, last = "", None
        async for line in response.aiter_lines():
            if line.startswith("id: "):
                after = int(line[4:])
            elif line.startswith("data: "):
                last = json.loads(line[6:])
                if last["event"] == "on_message_delta":
                    said += "".join(part["text"] for part in last["data"]["delta"]["content"])
    print(f"Desk: {said.strip()}")
    return after, last["data"]


async def talk(client):
    print(f"without the token: {(await client.get('/v1/threads')).status_code}")
    client.headers["Authorization"] = f"Bearer {TOKEN}"
    thread = (await client.post("/v1/threads", json={"title": "Order 7"})).json()["id"]
    turn = {"run_id": "turn-1", "text": "I want my money back."}
    await client.post(f"/v1/threads/{thread}/turns", json=turn)
    seen, end = await read(client, "turn-1", 0)
    for question in end["interrupts"]:
        asked = question["payload"]["action_requests"][0]
        print(f"asks: {asked['name']} {asked['arguments']}")
        answers = {question["interruptId"]: [{"type": "approve"}]}
        await client.post(f"/v1/threads/{thread}/answers", json={"answers": answers})
    await read(client, "turn-1", seen)
    view = (await client.get(f"/v1/threads/{thread}")).json()
    print(f"the thread has {len(view['turns'])} turns and is {view['thread']['status']}")


async def main():
    """Serve and talk in one program; `stategraph serve` is the server alone."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        server = uvicorn.Server(uvicorn.Config(create_app(desk, token=TOKEN), log_level="error"))
        serving = asyncio.create_task(server.serve([listening]))
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}") as client:
                await talk(client)
        finally:
            server.should_exit = True
            await serving


asyncio.run(main())
