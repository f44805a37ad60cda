"""One graph, two kinds of clients: a front end speaks AG-UI with it, and a script calls it as OpenAI's model.

The front end is asked before a file is deleted, and the script reads the same conversation and goes on with it.

Prints::

    AG-UI: I delete it.
    AG-UI asks: delete {'name': 'draft.txt'}
    AG-UI: It is gone.
    OpenAI reads: user, assistant, function_call, function_call_output, assistant
    OpenAI: Nothing is left.
    OpenAI, without a thread: Hello.
"""

import asyncio
import json
import uuid

import httpx
from langchain_core.tools import tool

from stategraph import START, MessagesState, StateGraph, interrupt
from stategraph.server.application import create_app
from stategraph.testing import ScriptedChatModel, call, reply


@tool
def delete(name: str) -> str:
    """Delete a file."""
    return f"deleted {name}"


CALL = reply("I delete it.", call("delete", name="draft.txt", id="call-1"))
model = ScriptedChatModel(replies=[CALL, "It is gone.", "Nothing is left.", "Hello."]).bind_tools([delete])


async def answer(state: MessagesState):
    return {"messages": [await model.ainvoke(state["messages"])]}


def act(state: MessagesState):
    """Ask a person about each call, in the form of LangChain's middleware, and make those that are approved."""
    calls = state["messages"][-1].tool_calls
    decisions = interrupt({"action_requests": [{"name": each["name"], "args": each["args"]} for each in calls]})
    approved = [each["type"] == "approve" for each in decisions["decisions"]]
    return {"messages": [delete.invoke(each) for each, may in zip(calls, approved, strict=True) if may]}


builder = StateGraph(MessagesState).add_node("answer", answer).add_node("act", act).add_edge(START, "answer")
builder.add_conditional_edges("answer", lambda state: "act" if state["messages"][-1].tool_calls else "__end__")
graph = builder.add_edge("act", "answer").compile()


async def front_end(client, thread_id, **given):
    """Run an agent as a front end does; return the last event."""
    body = {"threadId": thread_id, "runId": str(uuid.uuid4()), "protocolVersion": "1.0", "messages": [], **given}
    answer = await client.post("/agui/desk", json=body)
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
    print("AG-UI:", "".join(each["delta"] for each in events if each["type"] == "TEXT_MESSAGE_CONTENT"))
    return events[-1]


async def main():
    app = create_app(config={"desk": graph})
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client,
    ):
        thread_id = str(uuid.uuid4())
        asked = [{"id": "m1", "role": "user", "content": "Delete my draft."}]
        end = await front_end(client, thread_id, messages=asked)
        (question,) = end["outcome"]["interrupts"]
        print("AG-UI asks:", question["metadata"]["tool"], question["metadata"]["args"])
        approval = {"interruptId": question["id"], "status": "resolved", "payload": {"approved": True}}
        await front_end(client, thread_id, resume=[approval])

        items = (await client.get(f"/v1/conversations/{thread_id}/items", params={"order": "asc"})).json()["data"]
        print("OpenAI reads:", ", ".join(each.get("role", each["type"]) for each in items))
        body = {"model": "desk", "input": "And now?", "conversation": thread_id}
        response = (await client.post("/v1/responses", json=body)).json()
        print("OpenAI:", response["output"][-1]["content"][0]["text"])
        body = {"model": "desk", "messages": [{"role": "user", "content": "Hi"}]}
        completion = (await client.post("/v1/chat/completions", json=body)).json()
        print("OpenAI, without a thread:", completion["choices"][0]["message"]["content"])


asyncio.run(main())
