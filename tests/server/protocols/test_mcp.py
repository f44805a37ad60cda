"""MCP by requests of 2026-07-28 as they are on the wire, and by the client of `mcp` with a session of 2025-11-25."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import mcp_types as wire
import pytest
from langchain_core.messages import AIMessage
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from typing_extensions import TypedDict

from stategraph import START, MessagesState, StateGraph, get_stream_writer, interrupt
from stategraph.server.access.door import KEY
from stategraph.server.mcp import McpSettings, ToolSettings, routes
from stategraph.server.service.port import Caller, UnavailableError
from stategraph.server.tasks.work import Tasks
from tests.server.planted import Failing
from tests.server.protocols.fake_service import FakeService
from tests.server.protocols.live import listening
from tests.server.protocols.serving import app_of

pytestmark = pytest.mark.anyio

VERSION = "2026-07-28"
TASKS = "io.modelcontextprotocol/tasks"
KNOWS_TASKS = {"elicitation": {}, "extensions": {TASKS: {}}}


def chat(state: MessagesState) -> dict[str, Any]:
    match state["messages"][-1].content:
        case "ask":
            return {
                "messages": [AIMessage(f"You like {interrupt({'question': 'Color?', 'options': ['red', 'blue']})}")]
            }
        case "approve":
            action = {"name": "delete", "args": {"path": "/"}}
            config = {"action_name": "delete", "allowed_decisions": ["approve", "reject"]}
            decided = interrupt({"action_requests": [action], "review_configs": [config]})
            return {"messages": [AIMessage(decided["decisions"][0]["type"])]}
        case "fail":
            raise RuntimeError("no luck")
    write = get_stream_writer()
    write({"type": "progress", "progress": 1, "total": 2, "message": "half"})
    return {"messages": [AIMessage(f"{len(state['messages'])}: {state['messages'][-1].content}")]}


class Numbers(TypedDict):
    """Two numbers and their sum."""

    a: int
    b: int
    sum: int


class Gate(TypedDict, total=False):
    """A graph that waits until the test lets it go on."""

    done: bool


def graphs() -> dict[str, Any]:
    talking = StateGraph(MessagesState).add_node("chat", chat).add_edge(START, "chat").compile()
    adding = StateGraph(Numbers).add_node("add", lambda state: {"sum": state["a"] + state["b"]})

    async def wait(state: Gate) -> dict[str, Any]:
        await asyncio.sleep(600)
        return {"done": True}

    waiting = StateGraph(Gate).add_node("wait", wait).add_edge(START, "wait").compile()
    return {"chat": talking, "adder": adding.add_edge(START, "add").compile(), "waiter": waiting}


class Wire:
    """Sends requests of 2026-07-28."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def __call__(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        knows: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        meta = {
            "io.modelcontextprotocol/protocolVersion": VERSION,
            "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}} if knows is None else dict(knows),
            "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        }
        given = dict(params or {})
        named = given.get("name") or given.get("taskId") or given.get("uri")
        sent = {"MCP-Protocol-Version": VERSION, "Mcp-Method": method, "Accept": "application/json, text/event-stream"}
        if named is not None:
            sent["Mcp-Name"] = str(named)
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**given, "_meta": meta}}
        answer = await self._http.post("/mcp", json=body, headers={**sent, **(headers or {})})
        text = answer.text
        if answer.headers["content-type"].startswith("text/event-stream"):
            text = [line for line in text.splitlines() if line.startswith("data:")][-1].removeprefix("data:")
        found: dict[str, Any] = json.loads(text)
        return found

    async def call(self, tool: str, arguments: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        knows = more.pop("knows", None)
        answer = await self("tools/call", {"name": tool, "arguments": dict(arguments), **more}, knows=knows)
        result: dict[str, Any] = answer["result"]
        return result

    async def task(self, task_id: str, status: str) -> dict[str, Any]:
        async with asyncio.timeout(60):
            while True:
                answer = await self("tasks/get", {"taskId": task_id}, knows=KNOWS_TASKS)
                if answer["result"]["status"] == status:
                    found: dict[str, Any] = answer["result"]
                    return found
                await asyncio.sleep(0.02)


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[Wire]:
    settings = McpSettings(**options)
    app = app_of(FakeService(graphs()).service(), lambda service: routes(service, settings))
    async with listening(app) as url, httpx.AsyncClient(base_url=url, timeout=60) as http:
        yield Wire(http)


async def test_assistants_are_tools_with_schemas_and_hints() -> None:
    async with serving(tools={"adder": ToolSettings(title="Adder", read_only=True)}, exposed=["chat", "adder"]) as send:
        found = (await send("tools/list"))["result"]
        assert found["ttlMs"] == 60_000
        chatting, adding = found["tools"]
        assert chatting["name"] == "chat"
        assert list(chatting["inputSchema"]["properties"]) == ["message", "thread_id"]
        assert chatting["outputSchema"]["required"] == ["text", "thread_id"]
        assert adding["annotations"] == {"title": "Adder", "readOnlyHint": True}
        assert set(adding["inputSchema"]["properties"]) == {"a", "b", "sum"}
        assert "waiter" not in str(found)
        assert (await send("tools/call", {"name": "waiter"}))["error"]["code"] == wire.INVALID_PARAMS


async def test_a_call_returns_text_and_structure_and_goes_on_with_its_thread() -> None:
    async with serving() as send:
        summed = await send.call("adder", {"a": 1, "b": 2})
        assert summed["structuredContent"] == {"a": 1, "b": 2, "sum": 3}
        first = await send.call("chat", {"message": "hello"})
        assert first["content"] == [{"type": "text", "text": "1: hello"}]
        thread_id = first["structuredContent"]["thread_id"]
        second = await send.call("chat", {"message": "again", "thread_id": thread_id})
        assert second["structuredContent"] == {"text": "3: again", "thread_id": thread_id}
        failed = await send.call("chat", {"message": "fail"})
        assert failed["isError"]


async def test_a_question_is_answered_by_the_repeated_call_and_by_no_other_state() -> None:
    async with serving() as send:
        asked = await send.call("chat", {"message": "ask"})
        assert asked["resultType"] == "input_required"
        ((key, question),) = asked["inputRequests"].items()
        assert question["params"]["requestedSchema"]["properties"]["answer"]["enum"] == ["red", "blue"]
        state = asked["requestState"]

        async def answered(value: str, **more: Any) -> dict[str, Any]:
            responses = {key: {"action": "accept", "content": {"answer": value}}}
            return await send.call("chat", {"message": "ask"}, inputResponses=responses, requestState=state, **more)

        unfit = await answered("green")
        assert unfit["requestState"] == state
        assert (await answered("red"))["structuredContent"]["text"] == "You like red"
        assert (await answered("blue"))["structuredContent"]["text"] == "You like red"  # the first answer counts
        made_up = {"name": "adder", "arguments": {}, "requestState": state}
        assert (await send("tools/call", made_up))["error"]["code"] == wire.INVALID_PARAMS
        refused = await send("tools/call", {"name": "chat", "arguments": {"message": "ask"}}, knows={})
        assert refused["error"]["code"] == wire.MISSING_REQUIRED_CLIENT_CAPABILITY


async def test_an_approval_is_a_form_with_the_decisions_that_are_allowed() -> None:
    async with serving() as send:
        asked = await send.call("chat", {"message": "approve"})
        ((key, question),) = asked["inputRequests"].items()
        assert question["params"]["requestedSchema"]["properties"]["decision"]["enum"] == ["approve", "reject"]
        responses = {key: {"action": "decline"}}
        done = await send.call("chat", {}, inputResponses=responses, requestState=asked["requestState"])
        assert done["structuredContent"]["text"] == "reject"


async def test_a_long_call_is_a_task_that_is_looked_at_answered_and_cancelled() -> None:
    async with serving(task_after_s=0.0) as send:
        task = await send.call("chat", {"message": "ask"}, knows=KNOWS_TASKS)
        assert (task["resultType"], task["status"]) == ("task", "working")
        waiting = await send.task(task["taskId"], "input_required")
        ((key, _),) = waiting["inputRequests"].items()
        responses = {key: {"action": "accept", "content": {"answer": "blue"}}}
        update = {"taskId": task["taskId"], "inputResponses": responses}
        assert (await send("tasks/update", update, knows=KNOWS_TASKS))["result"]["resultType"] == "complete"
        done = await send.task(task["taskId"], "completed")
        assert done["result"]["structuredContent"]["text"] == "You like blue"

        long = await send.call("waiter", {}, knows=KNOWS_TASKS)
        await send("tasks/cancel", {"taskId": long["taskId"]}, knows=KNOWS_TASKS)
        assert "result" not in await send.task(long["taskId"], "cancelled")
        plain = await send("tasks/get", {"taskId": long["taskId"]})
        assert plain["error"]["code"] == wire.MISSING_REQUIRED_CLIENT_CAPABILITY
        other = {"Mcp-Name": "another"}
        wrong = await send("tasks/get", {"taskId": long["taskId"]}, knows=KNOWS_TASKS, headers=other)
        assert wrong["error"]["code"] == wire.HEADER_MISMATCH


async def test_arguments_that_do_not_fit_are_told_to_the_model_and_begin_nothing() -> None:
    async with serving() as send:
        for tool, arguments, word in (
            ("chat", {"message": 5}, "['message']"),
            ("chat", {}, "'message' is a required property"),
            ("chat", {"message": "hello", "messages": 5}, "no argument 'messages'"),
            ("chat", {"message": "hello", "thread_id": 5}, "['thread_id']"),
            ("adder", {"a": "x", "b": 2}, "['a']"),
        ):
            answer = await send.call(tool, arguments)
            assert (answer["isError"], word in answer["content"][0]["text"]) == (True, True), answer


async def test_the_words_of_an_error_of_the_graph_stay_on_the_server() -> None:
    async with serving() as send:
        failed = await send.call("chat", {"message": "fail"})
        assert failed["content"] == [{"type": "text", "text": "The agent failed"}]


async def test_messages_that_are_none_are_refused_with_a_sentence() -> None:
    async with serving() as send:
        headers = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
        for body in ("{", "[" * 100_000, "5", "{}", '{"jsonrpc": "2.0", "id": 1}', '{"jsonrpc": "1.0", "method": 5}'):
            answer = await send._http.post("/mcp", content=body, headers=headers)
            assert answer.status_code == 400
            error = answer.json()["error"]
            assert error["code"] < -32000
            assert "pydantic" not in error["message"]
            assert "\n" not in error["message"]
        wrong = await send("tools/call", {"name": "chat", "arguments": 5})
        assert wrong["error"]["code"] == wire.INVALID_PARAMS
        assert "arguments" in wrong["error"]["message"]
        assert "pydantic" not in str(wrong)


async def test_hosts_and_origins_of_other_sites_are_refused() -> None:
    async with serving() as send:
        headers = {"MCP-Protocol-Version": VERSION, "Accept": "application/json, text/event-stream"}
        for bad in ({"Host": "evil.example.com"}, {"Origin": "https://evil.example.com"}):
            answer = await send._http.post("/mcp", json={}, headers={**headers, **bad})
            assert answer.status_code in (403, 421)


async def test_a_session_of_the_older_revision_is_asked_while_its_call_is_open_and_told_of_progress() -> None:
    app = app_of(FakeService(graphs()).service(), routes)
    asked: list[str] = []
    told: list[tuple[float, float | None, str | None]] = []

    async def elicit(context: Any, params: wire.ElicitRequestParams) -> wire.ElicitResult:
        asked.append(params.message)
        return wire.ElicitResult(action="accept", content={"answer": "red"})

    async def progress(done: float, total: float | None, message: str | None) -> None:
        told.append((done, total, message))

    async with listening(app) as url, asyncio.timeout(60):
        transport = streamable_http_client(f"{url}/mcp")
        async with Client(transport, mode="legacy", elicitation_callback=elicit) as client:
            done = await client.call_tool("chat", {"message": "ask"})
            assert done.structured_content is not None
            assert done.structured_content["text"] == "You like red"
            assert asked == ["Color?"]
            await client.call_tool("chat", {"message": "hello"}, progress_callback=progress)
            assert told == [(1, 2, "half")]


class As:
    """Gives every request the caller that its header names."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        user = dict(scope["headers"]).get(b"x-user", b"").decode()
        await self._app({**scope, KEY: Caller(user)}, receive, send)


async def test_calls_tasks_and_sessions_are_only_their_callers() -> None:
    app = As(app_of(FakeService(graphs()).service(), lambda service: routes(service, McpSettings(task_after_s=0.0))))
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(listening(app))
        clients = [httpx.AsyncClient(base_url=url, timeout=60, headers={"x-user": user}) for user in ("ada", "bob")]
        ada, bob = [await stack.enter_async_context(each) for each in clients]
        hers, his = Wire(ada), Wire(bob)
        task = await hers.call("chat", {"message": "ask"}, knows=KNOWS_TASKS)
        await hers.task(task["taskId"], "input_required")
        for method in ("tasks/get", "tasks/update", "tasks/cancel"):
            refused = await his(method, {"taskId": task["taskId"]}, knows=KNOWS_TASKS)
            assert refused["error"]["code"] == wire.INVALID_PARAMS
        asked = await hers.call("chat", {"message": "ask"})
        stolen = {"name": "chat", "arguments": {}, "requestState": asked["requestState"]}
        assert (await his("tools/call", stolen))["error"]["code"] == wire.INVALID_PARAMS

        begin = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "initialize",
            "params": {
                "protocolVersion": "2025-11-25",
                "capabilities": {},
                "clientInfo": {"name": "test", "version": "1"},
            },
        }
        accepting = {"Accept": "application/json, text/event-stream"}
        begun = await ada.post("/mcp", json=begin, headers=accepting)
        session = {**accepting, "Mcp-Session-Id": begun.headers["mcp-session-id"]}
        ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
        assert (await ada.post("/mcp", json=ping, headers=session)).status_code == 200
        assert (await bob.post("/mcp", json=ping, headers=session)).status_code == 404


async def test_a_task_that_cannot_be_looked_at_now_is_none_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    find = Tasks.find
    async with serving(task_after_s=0.0) as send:
        task = await send.call("chat", {"message": "ask"}, knows=KNOWS_TASKS)
        asked = {"taskId": task["taskId"]}
        await send.task(task["taskId"], "input_required")
        with monkeypatch.context() as patched:
            patched.setattr(Tasks, "find", Failing(find, UnavailableError("The database is away")))
            away = await send("tasks/get", asked, knows=KNOWS_TASKS)
        gone = await send("tasks/get", {"taskId": "none"}, knows=KNOWS_TASKS)
        assert (await send("tasks/get", asked, knows=KNOWS_TASKS))["result"]["status"] == "input_required"
    assert (away["error"]["code"], away["error"]["message"]) == (wire.INTERNAL_ERROR, "The database is away")
    assert gone["error"]["code"] == wire.INVALID_PARAMS


async def test_a_state_that_cannot_be_looked_at_now_is_none_that_is_not_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as send:
        asked = await send.call("chat", {"message": "ask"})
        responses = {key: {"action": "accept", "content": {"answer": "red"}} for key in asked["inputRequests"]}
        again = {"inputResponses": responses, "requestState": asked["requestState"]}
        with monkeypatch.context() as patched:
            patched.setattr(Tasks, "find", Failing(Tasks.find, UnavailableError("The database is away")))
            away = await send.call("chat", {"message": "ask"}, **again)
        done = await send.call("chat", {"message": "ask"}, **again)
    assert (away["isError"], away["content"][0]["text"]) == (True, "The database is away")
    assert done["structuredContent"]["text"] == "You like red"
