"""A2A and MCP by the server's own application over a database: one thread, several protocols, two users."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import httpx
import pytest
from a2a.types import Message, Part, SendMessageRequest, TaskState
from a2a.types.a2a_pb2_grpc import A2AServiceStub

from stategraph.server.a2a import A2aSettings
from stategraph.server.access.tokens import Token
from stategraph.server.application import create_app
from stategraph.server.settings import Settings
from tests.server.protocols.live import listening
from tests.server.protocols.test_a2a import graphs
from tests.server.protocols.test_mcp import KNOWS_TASKS, Wire

pytestmark = pytest.mark.anyio

VERSION = {"A2A-Version": "1.0"}
TOKEN = "a-token-that-is-long-enough-to-be-one"


@asynccontextmanager
async def serving(folder: Path, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Serve the graphs by the server's application, over a database in a folder."""
    app = create_app(config=graphs(), store=f"sqlite:///{folder / 'runs.db'}", **options)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(app.router.lifespan_context(app))
        url = await stack.enter_async_context(listening(app))
        yield await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=60, headers=VERSION))


def message(text: str, **more: Any) -> dict[str, Any]:
    return {"message": {"messageId": text, "role": "ROLE_USER", "parts": [{"text": text}], **more}}


async def test_a_task_of_one_protocol_is_answered_in_another_and_seen_in_all(tmp_path: Path) -> None:
    async with serving(tmp_path) as http:
        begun = (await http.post("/a2a/chat/message:send", json=message("ask"))).json()["task"]
        assert begun["status"]["state"] == "TASK_STATE_INPUT_REQUIRED"

        mcp = Wire(http)
        waiting = await mcp.task(begun["id"], "input_required")
        ((key, _),) = waiting["inputRequests"].items()
        answers = {key: {"action": "accept", "content": {"answer": "blue"}}}
        await mcp("tasks/update", {"taskId": begun["id"], "inputResponses": answers}, knows=KNOWS_TASKS)
        done = await mcp.task(begun["id"], "completed")
        assert done["result"]["structuredContent"]["text"] == "You like blue"
        shown = (await http.get(f"/a2a/chat/tasks/{begun['id']}")).json()
        assert shown["status"]["state"] == "TASK_STATE_COMPLETED"
        assert shown["artifacts"][-1]["parts"] == [{"text": "You like blue"}]

        thread = (await http.get(f"/threads/{begun['contextId']}/state")).json()
        assert thread["values"]["messages"][-1]["content"] == "You like blue"
        ran = await http.post(
            f"/threads/{begun['contextId']}/runs/wait",
            json={"assistant_id": "chat", "input": {"messages": [{"role": "human", "content": "hello"}]}},
        )
        assert ran.json()["messages"][-1]["content"] == "You said hello"
        again = (await http.get(f"/a2a/chat/tasks?contextId={begun['contextId']}")).json()
        assert (again["totalSize"], again["tasks"][-1]["id"]) == (2, begun["id"])


async def test_a_working_task_is_cancelled_and_a_failed_one_says_so(tmp_path: Path) -> None:
    async with serving(tmp_path) as http:
        body = {**message("wait"), "configuration": {"returnImmediately": True}}
        begun = (await http.post("/a2a/chat/message:send", json=body)).json()["task"]
        stopped = (await http.post(f"/a2a/chat/tasks/{begun['id']}:cancel")).json()
        assert stopped["status"]["state"] == "TASK_STATE_CANCELED"
        failed = (await http.post("/a2a/chat/message:send", json=message("fail"))).json()["task"]
        assert failed["status"]["state"] == "TASK_STATE_FAILED"


async def test_grpc_is_served_beside_http_and_wants_the_same_credentials(tmp_path: Path) -> None:
    address = f"unix:{tmp_path / 'grpc'}"
    settings = Settings(auth=[Token(TOKEN)], grpc=address, options={"a2a": A2aSettings(organization="Ours")})
    async with serving(tmp_path, settings=settings) as http:
        card = (await http.get("/.well-known/agent-card.json")).json()
        assert [each["url"] for each in card["supportedInterfaces"]][-1] == address
        assert card["provider"]["organization"] == "Ours"
        assert (await http.post("/a2a/chat/message:send", json=message("hello"))).status_code == 401
        assert (await http.post("/mcp", json={})).status_code == 401
        async with grpc.aio.insecure_channel(address) as channel, asyncio.timeout(60):
            stub = A2AServiceStub(channel)
            sent = SendMessageRequest(message=Message(message_id="m", role="ROLE_USER", parts=[Part(text="hello")]))
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.SendMessage(sent)
            assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
            answer = await stub.SendMessage(sent, metadata=[("authorization", f"Bearer {TOKEN}")])
            assert answer.task.status.state == TaskState.TASK_STATE_COMPLETED
