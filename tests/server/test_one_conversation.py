"""One conversation, five clients: each continues what another began, on one thread, and reads what another was told.

Begun with `langgraph_sdk`, a tool call approved by a front end over AG-UI, continued by an agent over A2A, read as a
response of OpenAI's API, and ended as a task of MCP that asks. The server is the whole application at a port.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

pytest.importorskip("a2a")
pytest.importorskip("mcp")

from a2a.client import ClientConfig, ClientFactory
from a2a.types import AgentCard, Message, Part, Role, SendMessageRequest, TaskState
from google.protobuf.json_format import ParseDict
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph_sdk import get_client
from openai import AsyncOpenAI

from stategraph import START, MessagesState, StateGraph, interrupt
from stategraph.server.application import create_app
from stategraph.server.mcp import McpSettings
from stategraph.server.settings import Settings
from stategraph.testing import ScriptedChatModel, call, reply
from tests.server.protocols.serving import at_port, frames_of

pytestmark = pytest.mark.anyio

VERSION = "2026-07-28"
TASKS = "io.modelcontextprotocol/tasks"


@tool
def delete(name: str) -> str:
    """Delete a file."""
    return f"deleted {name}"


def desk() -> Any:
    """Return an agent that asks before it deletes, and that asks for a colour."""
    calling = reply("I would delete it.", call("delete", name="a.txt", id="call-1"))
    model = ScriptedChatModel(replies=[calling, "It is gone.", "You are welcome."]).bind_tools([delete])

    async def answer(state: MessagesState) -> Any:
        if state["messages"][-1].content == "ask":
            return {"messages": [AIMessage(f"Painted in {interrupt({'question': 'Which colour?'})}.")]}
        return {"messages": [await model.ainvoke(state["messages"])]}

    def act(state: MessagesState) -> Any:
        (made,) = state["messages"][-1].tool_calls  # type: ignore[union-attr]
        action = {"name": made["name"], "args": made["args"]}
        review = {"action_name": "delete", "allowed_decisions": ["approve", "reject"]}
        decided = interrupt({"action_requests": [action], "review_configs": [review]})
        assert decided["decisions"][0]["type"] == "approve"
        return {"messages": [delete.invoke(made)]}

    def next_of(state: MessagesState) -> str:
        return "act" if getattr(state["messages"][-1], "tool_calls", None) else "__end__"

    builder = StateGraph(MessagesState).add_node("answer", answer).add_node("act", act).add_edge(START, "answer")
    return builder.add_conditional_edges("answer", next_of, ["act", "__end__"]).add_edge("act", "answer").compile()


def increase(ids: Sequence[Any]) -> bool:
    """Return whether each id is greater than the one before it."""
    return len(ids) > 1 and all(before < after for before, after in pairwise(ids))


def numbers(event_id: str) -> tuple[int, ...]:
    """Return the numbers of an id such as `12-3`."""
    return tuple(int(each) for each in event_id.split("-"))


async def begin(address: str) -> str:
    """Begin with `langgraph_sdk`; return the thread, which then waits for an approval."""
    given: Any = {"messages": [{"role": "user", "content": "Delete a.txt."}]}
    modes: Any = ["messages-tuple", "updates"]
    async with get_client(url=address) as client:
        thread_id: str = (await client.threads.create())["thread_id"]
        stream = client.runs.stream(thread_id, "desk", input=given, stream_mode=modes, stream_resumable=True)
        parts = [each async for each in stream]
        assert (await client.threads.get(thread_id))["status"] == "interrupted"
    assert increase([numbers(each.id) for each in parts if each.id])
    assert "".join(each.data[0]["content"] for each in parts if each.event == "messages") == "I would delete it."
    updates = [each.data for each in parts if each.event == "updates"]
    (asked,) = [each["__interrupt__"] for each in updates if "__interrupt__" in each]
    assert asked[0]["value"]["action_requests"][0]["name"] == "delete"
    return thread_id


async def approve(http: httpx.AsyncClient, thread_id: str) -> None:
    """Read the run that waits over AG-UI, and approve its tool call."""
    (run,) = (await http.get(f"/threads/{thread_id}/runs")).json()
    read = frames_of((await http.get(f"/agui/desk/threads/{thread_id}/runs/{run['run_id']}")).text)
    assert increase([numbers(each) for each, _, _ in read])
    (asked,) = read[-1][2]["outcome"]["interrupts"]
    assert asked["toolCallId"] == "call-1"
    answer = {"interruptId": asked["id"], "status": "resolved", "payload": {"approved": True}}
    body = {"threadId": thread_id, "runId": str(uuid4()), "protocolVersion": "1.0", "messages": [], "resume": [answer]}
    frames = frames_of((await http.post("/agui/desk", json=body)).text)
    assert increase([numbers(each) for each, _, _ in frames])
    events = [each for _, _, each in frames]
    assert [each["content"] for each in events if each["type"] == "TOOL_CALL_RESULT"] == ["deleted a.txt"]
    assert "".join(each["delta"] for each in events if each["type"] == "TEXT_MESSAGE_CONTENT") == "It is gone."
    assert events[-1]["outcome"] == {"type": "success"}


async def thank(http: httpx.AsyncClient, thread_id: str) -> None:
    """Continue over A2A, where the thread is the context."""
    card = ParseDict((await http.get("/a2a/desk/.well-known/agent-card.json")).raise_for_status().json(), AgentCard())
    config = ClientConfig(httpx_client=http, supported_protocol_bindings=["JSONRPC"])
    async with ClientFactory(config).create(card) as client:
        message = Message(
            message_id=uuid4().hex, role=Role.ROLE_USER, parts=[Part(text="Thanks.")], context_id=thread_id
        )
        first, *rest = [each async for each in client.send_message(SendMessageRequest(message=message))]
    assert first.task.context_id == thread_id
    said = "".join(each.artifact_update.artifact.parts[0].text for each in rest if each.HasField("artifact_update"))
    assert said == "You are welcome."
    assert rest[-1].status_update.status.state == TaskState.TASK_STATE_COMPLETED


async def read(address: str, http: httpx.AsyncClient, thread_id: str) -> None:
    """Read what was said over A2A as a response of OpenAI's API, and the thread as a conversation."""
    newest = (await http.get(f"/threads/{thread_id}/runs")).json()[0]
    response_id = f"resp_{UUID(newest['run_id']).hex}"
    async with AsyncOpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
        response = await client.responses.retrieve(response_id)
        assert (response.status, response.output_text) == ("completed", "You are welcome.")
        assert response.conversation is not None
        assert response.conversation.id == f"conv_{UUID(thread_id).hex}"
        events = [each async for each in await client.responses.retrieve(response_id, stream=True)]
        assert increase([each.sequence_number for each in events])
        items = [each async for each in client.conversations.items.list(response.conversation.id, order="asc")]
    assert [each.type for each in items] == [
        "message", "message", "function_call", "function_call_output", "message", "message", "message",
    ]  # fmt: skip


async def paint(http: httpx.AsyncClient, thread_id: str) -> None:
    """End with a call over MCP that becomes a task, asks, and is answered."""

    async def send(method: str, params: dict[str, Any]) -> dict[str, Any]:
        meta = {
            "io.modelcontextprotocol/protocolVersion": VERSION,
            "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}, "extensions": {TASKS: {}}},
            "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        }
        headers = {
            "MCP-Protocol-Version": VERSION,
            "Mcp-Method": method,
            "Mcp-Name": str(params.get("name") or params.get("taskId")),
            "Accept": "application/json, text/event-stream",
        }
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}
        answer = await http.post("/mcp", json=body, headers=headers)
        text = answer.text
        if answer.headers["content-type"].startswith("text/event-stream"):
            text = [line for line in text.splitlines() if line.startswith("data:")][-1].removeprefix("data:")
        found: dict[str, Any] = json.loads(text)["result"]
        return found

    async def until(task_id: str, status: str) -> dict[str, Any]:
        while (found := await send("tasks/get", {"taskId": task_id}))["status"] != status:  # noqa: ASYNC110 # as a client does
            await asyncio.sleep(0.05)
        return found

    arguments = {"message": "ask", "thread_id": thread_id}
    task = await send("tools/call", {"name": "desk", "arguments": arguments})
    assert task["resultType"] == "task"
    async with asyncio.timeout(60):
        asked = await until(task["taskId"], "input_required")
        ((key, question),) = asked["inputRequests"].items()
        assert "Which colour?" in json.dumps(question)
        answers = {key: {"action": "accept", "content": {"answer": "blue"}}}
        await send("tasks/update", {"taskId": task["taskId"], "inputResponses": answers})
        done = await until(task["taskId"], "completed")
    assert done["result"]["structuredContent"] == {"text": "Painted in blue.", "thread_id": thread_id}


async def test_five_clients_hold_one_conversation() -> None:
    app = create_app(config={"desk": desk()}, settings=Settings(options={"mcp": McpSettings(task_after_s=0.0)}))
    with at_port(app) as address:
        async with httpx.AsyncClient(base_url=address, timeout=60) as http:
            thread_id = await begin(address)
            await approve(http, thread_id)
            await thank(http, thread_id)
            await read(address, http, thread_id)
            await paint(http, thread_id)
        async with get_client(url=address) as client:
            state: Any = await client.threads.get_state(thread_id)
            threads = await client.threads.search()
            runs = await client.runs.list(thread_id)
    assert [each["content"] for each in state["values"]["messages"]] == [
        "Delete a.txt.",
        "I would delete it.",
        "deleted a.txt",
        "It is gone.",
        "Thanks.",
        "You are welcome.",
        "ask",
        "Painted in blue.",
    ]
    assert [each["thread_id"] for each in threads] == [thread_id]
    assert [each["status"] for each in runs] == ["success"] * 5
