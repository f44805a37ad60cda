"""A2A by the client of `a2a-sdk`, over its three bindings."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any
from uuid import uuid4

import grpc.aio
import httpx
import pytest
from a2a.client import Client, ClientConfig, ClientFactory
from a2a.types import (
    AgentCard,
    CancelTaskRequest,
    GetTaskRequest,
    ListTasksRequest,
    Message,
    Part,
    Role,
    SendMessageRequest,
    StreamResponse,
    SubscribeToTaskRequest,
    Task,
    TaskState,
)
from a2a.utils.errors import A2AError
from a2a.utils.signing import create_signature_verifier
from google.protobuf.json_format import MessageToDict, ParseDict
from langchain_core.messages import AIMessage
from typing_extensions import TypedDict

from stategraph import START, MessagesState, StateGraph, get_stream_writer, interrupt
from stategraph.server.a2a import A2aSettings, SigningKey, grpc_server, routes
from stategraph.server.access.door import KEY
from stategraph.server.service.port import Caller, LoggedEvent
from tests.server.protocols.fake_service import FakeService
from tests.server.protocols.live import listening
from tests.server.protocols.serving import app_of, client_of

pytestmark = pytest.mark.anyio

BINDINGS = ("JSONRPC", "HTTP+JSON", "GRPC")
FILE = base64.b64encode(b"a,b").decode()


async def chat(state: MessagesState) -> dict[str, Any]:
    said = state["messages"][-1].content
    match said:
        case "ask":
            answer = interrupt({"question": "Which color?"})
            return {"messages": [AIMessage(f"You like {answer}")]}
        case "sign in":
            interrupt({"type": "auth_required", "message": "Please sign in"})
        case "fail":
            raise RuntimeError("the secret sauce")
        case "wait":
            await asyncio.sleep(600)
        case "file":
            block = {"type": "file", "base64": FILE, "mime_type": "text/csv", "extras": {"filename": "a.csv"}}
            return {"messages": [AIMessage([block])]}
        case "work":
            get_stream_writer()({"a2a": {"status": {"state": "TASK_STATE_WORKING", "message": {"parts": []}}}})
        case "reject":
            get_stream_writer()({"a2a": {"status": {"state": "TASK_STATE_REJECTED"}}})
            return {}
        case "reply":
            get_stream_writer()({"a2a": {"message": {"parts": [{"text": "just a message"}]}}})
            return {}
    return {"messages": [AIMessage(f"You said {said}")]}


class Numbers(TypedDict):
    """Two numbers and their sum."""

    a: int
    b: int
    sum: int


def graphs() -> dict[str, Any]:
    talking = StateGraph(MessagesState).add_node("chat", chat).add_edge(START, "chat").compile()
    adding = StateGraph(Numbers).add_node("add", lambda state: {"sum": state["a"] + state["b"]})
    return {"chat": talking, "adder": adding.add_edge(START, "add").compile()}


class Served:
    """A server over all bindings, and clients for it."""

    def __init__(self, url: str, grpc_url: str) -> None:
        self.url = url
        self.grpc_url = grpc_url

    @asynccontextmanager
    async def client(self, binding: str, assistant: str = "chat") -> AsyncIterator[Client]:
        async with httpx.AsyncClient(timeout=60) as http:
            answer = await http.get(f"{self.url}/a2a/{assistant}/.well-known/agent-card.json")
            card = ParseDict(answer.raise_for_status().json(), AgentCard())
            config = ClientConfig(
                httpx_client=http,
                grpc_channel_factory=grpc.aio.insecure_channel,
                supported_protocol_bindings=[binding],
            )
            async with ClientFactory(config).create(card) as client:
                yield client


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[Served]:
    """Serve the graphs over all bindings."""
    service = FakeService(graphs()).service()
    async with AsyncExitStack() as stack:
        server = await grpc_server(service, "127.0.0.1:0", A2aSettings(**options))
        stack.push_async_callback(server.stop, 0)
        address = f"127.0.0.1:{server.port}"
        settings = A2aSettings(grpc_url=address, **options)
        url = await stack.enter_async_context(listening(app_of(service, lambda each: routes(each, settings))))
        yield Served(url, address)


def request(text: str = "", *, task_id: str = "", context_id: str = "", now: bool = False, **part: Any) -> Any:
    message = Message(
        message_id=uuid4().hex,
        role=Role.ROLE_USER,
        parts=[Part(text=text) if text else ParseDict(part, Part())],
        task_id=task_id,
        context_id=context_id,
    )
    made = SendMessageRequest(message=message)
    made.configuration.return_immediately = now
    return made


async def sent(client: Client, text: str = "", **options: Any) -> list[StreamResponse]:
    async with asyncio.timeout(60):
        return [each async for each in client.send_message(request(text, **options))]


async def done(client: Client, task_id: str) -> Task:
    return await client.get_task(GetTaskRequest(id=task_id))


@pytest.mark.parametrize("binding", BINDINGS)
async def test_a_stream_begins_with_the_task_and_is_what_the_task_is_made_of(binding: str) -> None:
    async with serving() as served, served.client(binding) as client:
        first, *rest = await sent(client, "hello")
        task = await done(client, first.task.id)

    assert first.WhichOneof("payload") == "task"
    assert [each.parts[0].text for each in first.task.history] == ["hello"]
    text = "".join(each.artifact_update.artifact.parts[0].text for each in rest if each.HasField("artifact_update"))
    assert text == "You said hello" == task.artifacts[0].parts[0].text
    assert rest[-1].status_update.status.state == TaskState.TASK_STATE_COMPLETED == task.status.state
    assert rest[-1].status_update.status.timestamp == task.status.timestamp


@pytest.mark.parametrize("binding", BINDINGS)
async def test_a_task_asks_is_answered_and_takes_no_more_after_its_end(binding: str) -> None:
    async with serving() as served, served.client(binding) as client:
        first, *_, last = await sent(client, "ask")
        asking = last.status_update.status
        assert asking.state == TaskState.TASK_STATE_INPUT_REQUIRED
        assert asking.message.parts[0].text == "Which color?"

        *_, end = await sent(client, "blue", task_id=first.task.id)
        assert end.status_update.status.state == TaskState.TASK_STATE_COMPLETED
        task = await done(client, first.task.id)
        assert [each.parts[0].text for each in task.history] == ["ask", "Which color?", "blue"]
        assert task.artifacts[-1].parts[0].text == "You like blue"
        assert task.context_id == first.task.context_id
        with pytest.raises(A2AError, match="takes no more messages"):
            await sent(client, "green", task_id=first.task.id)


async def test_a_task_is_the_same_over_every_binding_and_read_to_its_end_from_another() -> None:
    async with serving() as served, AsyncExitStack() as stack:
        rpc, rest, calls = [await stack.enter_async_context(served.client(each)) for each in BINDINGS]
        first, *_ = await sent(rpc, "ask")
        task_id = first.task.id
        shown = [MessageToDict(await done(each, task_id)) for each in (rpc, rest, calls)]
        assert shown[0] == shown[1] == shown[2]

        async def read() -> list[StreamResponse]:
            return [each async for each in rest.subscribe(SubscribeToTaskRequest(id=task_id))]

        reading = asyncio.create_task(read())
        await sent(calls, "red", task_id=task_id)
        async with asyncio.timeout(60):
            events = await reading
        assert events[0].task.status.state == TaskState.TASK_STATE_INPUT_REQUIRED
        assert events[-1].status_update.status.state == TaskState.TASK_STATE_COMPLETED
        assert any("You like red" in str(each.artifact_update) for each in events[1:-1])
        with pytest.raises(A2AError, match="nothing more is told"):
            await read()


@pytest.mark.parametrize("binding", BINDINGS)
async def test_tasks_are_cancelled_while_they_work_and_while_they_wait(binding: str) -> None:
    async with serving() as served, served.client(binding) as client:
        (working, *_) = [each async for each in client.send_message(request("ask"))]
        waiting = await client.cancel_task(CancelTaskRequest(id=working.task.id))
        assert waiting.status.state == TaskState.TASK_STATE_CANCELED
        assert (await done(client, working.task.id)).status.state == TaskState.TASK_STATE_CANCELED
        with pytest.raises(A2AError):
            await sent(client, "blue", task_id=working.task.id)

        stream = client.send_message(request("wait"))
        begun = (await anext(stream)).task
        stopped = await client.cancel_task(CancelTaskRequest(id=begun.id))
        assert stopped.status.state == TaskState.TASK_STATE_CANCELED
        *_, end = [each async for each in stream]
        assert end.status_update.status.state == TaskState.TASK_STATE_CANCELED
        with pytest.raises(A2AError, match="cannot be cancelled"):
            await client.cancel_task(CancelTaskRequest(id=begun.id))


async def test_a_working_task_takes_no_message_and_its_context_takes_a_new_task() -> None:
    async with serving() as served, served.client("JSONRPC") as client:
        stream = client.send_message(request("wait"))
        begun = (await anext(stream)).task
        with pytest.raises(A2AError, match="once it waits for input"):
            await sent(client, "hello", task_id=begun.id)
        with pytest.raises(A2AError, match="not of the context"):
            await sent(client, "hello", task_id=begun.id, context_id="another")
        await client.cancel_task(CancelTaskRequest(id=begun.id))
        next_one, *_ = await sent(client, "hello", context_id=begun.context_id)
        assert next_one.task.context_id == begun.context_id
        assert next_one.task.id != begun.id


async def test_files_data_failures_and_words_of_nodes_are_the_protocols() -> None:
    async with serving() as served, served.client("HTTP+JSON") as client:
        first, *_ = await sent(client, "file")
        (part,) = (await done(client, first.task.id)).artifacts[0].parts
        assert (part.raw, part.filename, part.media_type) == (b"a,b", "a.csv", "text/csv")

        *_, end = await sent(client, "fail")
        assert end.status_update.status.state == TaskState.TASK_STATE_FAILED
        assert "sauce" not in json.dumps(MessageToDict(end))

        *_, end = await sent(client, "sign in")
        assert end.status_update.status.state == TaskState.TASK_STATE_AUTH_REQUIRED
        *_, end = await sent(client, "reject")
        assert end.status_update.status.state == TaskState.TASK_STATE_REJECTED

    async with serving() as served, served.client("JSONRPC", "adder") as adder:
        first, *_ = await sent(adder, data={"a": 1, "b": 2})
        artifact = (await done(adder, first.task.id)).artifacts[0]
        assert MessageToDict(artifact.parts[0].data) == {"a": 1, "b": 2, "sum": 3}
        with pytest.raises(A2AError, match="a data part with some of these keys: a, b"):
            await sent(adder, "no numbers")


async def test_a_node_may_answer_with_a_message_in_place_of_a_task() -> None:
    async with serving() as served, httpx.AsyncClient(timeout=60) as http:
        body = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "SendMessage",
            "params": {"message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "reply"}]}},
        }
        answer = await http.post(f"{served.url}/a2a/chat", json=body, headers={"A2A-Version": "1.0"})
        assert answer.json()["result"]["message"]["parts"] == [{"text": "just a message"}]


async def test_parts_of_other_kinds_and_other_versions_are_refused() -> None:
    async with serving() as served, httpx.AsyncClient(timeout=60) as http:
        part = {"text": "x", "mediaType": "application/x-unknown"}
        body = {"message": {"messageId": "m", "role": "ROLE_USER", "parts": [part]}}
        url = f"{served.url}/a2a/chat/message:send"
        refused = await http.post(url, json=body, headers={"A2A-Version": "1.0"})
        assert refused.status_code == 400
        assert refused.json()["error"]["details"][0]["reason"] == "CONTENT_TYPE_NOT_SUPPORTED"
        other = await http.post(url, json=body, headers={"A2A-Version": "7.0"})
        assert other.json()["error"]["details"][0]["reason"] == "VERSION_NOT_SUPPORTED"
        assert (await http.post(url, content=b"x", headers={"Content-Type": "text/plain"})).status_code == 415
        async with grpc.aio.insecure_channel(served.grpc_url) as channel:
            from a2a.types.a2a_pb2_grpc import A2AServiceStub

            with pytest.raises(grpc.aio.AioRpcError, match=r"7\.0"):
                await A2AServiceStub(channel).GetTask(GetTaskRequest(id="x"), metadata=[("a2a-version", "7.0")])


async def test_requests_that_are_none_are_refused_without_a_traceback_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving() as server, httpx.AsyncClient(timeout=60, headers={"A2A-Version": "1.0"}) as http:
        for body, code in (
            ("{", -32700),
            ("[" * 100_000, -32700),
            ("5", -32600),
            ('{"jsonrpc": "2.0", "id": 1, "method": 5}', -32600),
            ('{"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": 5}}', -32602),
        ):
            for path in ("/a2a/chat", "/a2a/chat/"):
                headers = {"Content-Type": "application/json"}
                answer = await http.post(f"{server.url}{path}", content=body, headers=headers)
                assert (answer.status_code, answer.json()["error"]["code"]) == (200, code)
        for body in ("{", "[" * 100_000, "5"):
            answer = await http.post(
                f"{server.url}/a2a/chat/message:send", content=body, headers={"Content-Type": "application/json"}
            )
            assert 400 <= answer.status_code < 500, body[:10]
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []


async def test_tasks_are_listed_by_pages_the_newest_first() -> None:
    async with serving() as served, served.client("JSONRPC") as client, served.client("GRPC", "adder") as other:
        ids = [(await sent(client, text))[0].task.id for text in ("one", "two", "three")]
        await sent(other, data={"a": 1, "b": 2})
        first = await client.list_tasks(ListTasksRequest(page_size=2))
        second = await client.list_tasks(ListTasksRequest(page_size=2, page_token=first.next_page_token))
        assert [each.id for each in (*first.tasks, *second.tasks)] == ids[::-1]
        assert (first.total_size, second.next_page_token) == (3, "")
        assert not first.tasks[0].artifacts
        whole = await client.list_tasks(ListTasksRequest(include_artifacts=True))
        assert whole.tasks[0].artifacts[0].parts[0].text == "You said three"
        none = await client.list_tasks(ListTasksRequest(status=TaskState.TASK_STATE_FAILED))
        assert not none.tasks
        with pytest.raises(A2AError, match="page token"):
            await client.list_tasks(ListTasksRequest(page_token="made up"))


async def test_tasks_are_listed_by_their_states() -> None:
    async with serving() as served, served.client("JSONRPC") as client:
        ids = {text: (await sent(client, text))[0].task.id for text in ("one", "ask", "reject", "fail")}
        for state, text in (
            (TaskState.TASK_STATE_COMPLETED, "one"),
            (TaskState.TASK_STATE_INPUT_REQUIRED, "ask"),
            (TaskState.TASK_STATE_REJECTED, "reject"),
            (TaskState.TASK_STATE_FAILED, "fail"),
        ):
            found = await client.list_tasks(ListTasksRequest(status=state))
            assert ([each.id for each in found.tasks], found.total_size) == ([ids[text]], 1)
        await client.cancel_task(CancelTaskRequest(id=ids["ask"]))
        found = await client.list_tasks(ListTasksRequest(status=TaskState.TASK_STATE_CANCELED))
        assert [each.id for each in found.tasks] == [ids["ask"]]


class Reading(FakeService):
    """Notes which logs are read from their beginning."""

    def __init__(self) -> None:
        super().__init__(graphs())
        self.whole: list[str] = []

    async def events(self, caller: Any, run_id: str, after_seq: int = 0) -> AsyncGenerator[LoggedEvent, None]:
        if after_seq == 0:
            self.whole.append(run_id)
        async with aclosing(super().events(caller, run_id, after_seq)) as events:
            async for each in events:
                yield each


async def test_a_page_of_tasks_reads_the_logs_of_its_own_tasks_alone() -> None:
    fake = Reading()
    service = fake.service()
    async with client_of(app_of(service, routes)) as http:
        for number in range(4):
            body = {"message": {"messageId": str(number), "role": "ROLE_USER", "parts": [{"text": "hello"}]}}
            await http.post("/a2a/chat/message:send", json=body, headers={"A2A-Version": "1.0"})
        fake.whole.clear()
        found = await http.get("/a2a/chat/tasks?pageSize=1", headers={"A2A-Version": "1.0"})
    assert (found.json()["totalSize"], len(found.json()["tasks"])) == (4, 1)
    assert fake.whole == [found.json()["tasks"][0]["id"]]


async def test_cards_are_made_of_graphs_kept_by_clients_and_signed() -> None:
    key = "a secret of more than thirty-two bytes"
    signing = [SigningKey(key=key, key_id="one", algorithm="HS256")]
    async with serving(signing=signing, needs_auth=True) as served, httpx.AsyncClient(timeout=60) as http:
        found = await http.get(f"{served.url}/.well-known/agent-card.json")
        card = ParseDict(found.json(), AgentCard())
        create_signature_verifier(lambda kid, jku: key, ["HS256"])(card)
        assert (card.name, card.description) == ("chat", "The chat.")
        assert [each.protocol_binding for each in card.supported_interfaces] == list(BINDINGS)
        assert card.capabilities.extended_agent_card
        assert "schemas" not in found.text
        again = await http.get(found.url, headers={"If-None-Match": found.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        named = await http.get(f"{served.url}/.well-known/agent-card.json?assistant_id=adder")
        assert named.json()["name"] == "adder"
        assert (await http.get(f"{served.url}/a2a/nobody/.well-known/agent-card.json")).status_code == 404
        extended = await http.get(f"{served.url}/a2a/chat/extendedAgentCard", headers={"A2A-Version": "1.0"})
        assert "credentials" in extended.json()["error"]["message"]


class As:
    """Gives every request the caller that its header names."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope["headers"])
        await self._app({**scope, KEY: Caller(headers.get(b"x-user", b"").decode())}, receive, send)


async def test_tasks_and_contexts_are_only_their_callers() -> None:
    service = FakeService(graphs()).service()
    app = As(app_of(service, lambda each: routes(each, A2aSettings(needs_auth=True))))
    async with listening(app) as url, httpx.AsyncClient(base_url=f"{url}/a2a/chat", timeout=60) as http:

        def of(user: str) -> dict[str, str]:
            return {"x-user": user, "A2A-Version": "1.0"}

        message = {"messageId": "m", "role": "ROLE_USER", "contextId": "chat-1", "parts": [{"text": "hello"}]}
        answer = await http.post("/message:send", json={"message": message}, headers=of("ada"))
        task = answer.json()["task"]
        assert task["contextId"] == "chat-1"
        assert (await http.get(f"/tasks/{task['id']}", headers=of("ada"))).status_code == 200
        assert (await http.get(f"/tasks/{task['id']}", headers=of("bob"))).status_code == 404
        assert (await http.post(f"/tasks/{task['id']}:cancel", headers=of("bob"))).status_code == 404
        assert (await http.get("/tasks", headers=of("bob"))).json()["tasks"] == []
        his = await http.post("/message:send", json={"message": message}, headers=of("bob"))
        assert (his.status_code, his.json()["task"]["contextId"]) == (200, "chat-1")
        mine = await http.get("/tasks?contextId=chat-1", headers=of("ada"))
        assert [each["id"] for each in mine.json()["tasks"]] == [task["id"]]
        card = await http.get("/extendedAgentCard", headers=of("ada"))
        assert "messages" in json.dumps(card.json()["capabilities"]["extensions"])


async def test_calls_over_grpc_need_the_credentials_that_the_server_knows() -> None:
    from a2a.types.a2a_pb2_grpc import A2AServiceStub
    from starlette.requests import HTTPConnection

    from stategraph.server.access import AuthenticationError

    async def authenticate(connection: HTTPConnection) -> Caller:
        if (token := connection.headers.get("authorization")) != "Bearer right":
            raise AuthenticationError(f"Not known: {bool(token)}")
        return Caller("ada")

    service = FakeService(graphs()).service()
    server = await grpc_server(service, "127.0.0.1:0", authenticate=authenticate)
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            stub = A2AServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.SendMessage(request("hello"))
            assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
            answer = await stub.SendMessage(request("hello"), metadata=[("authorization", "Bearer right")])
            assert answer.task.status.state == TaskState.TASK_STATE_COMPLETED
    finally:
        await server.stop(0)
