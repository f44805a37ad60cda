"""Two users, and every operation of every protocol: what one of them has is not there for the other.

The matrix is generated: each operation that the server describes is called by both, with ids of things that Ada has
made, and bodies that name them. Bob's answers may have none of Ada's ids, nor the words that only her things have; what
he is told of a thing of hers is what he is told of one that nobody has. Ada's own answers show that there was something
to see. Afterwards nothing of hers has changed.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any
from uuid import uuid4

import httpx
import pytest

pytest.importorskip("starlette")
pytest.importorskip("langgraph_sdk")

from langgraph_sdk import Auth
from starlette.testclient import TestClient
from typing_extensions import TypedDict

from stategraph import START, StateGraph, interrupt
from stategraph.graph.message import add_messages
from stategraph.server.access.handlers import Handlers
from stategraph.server.application import create_app
from stategraph.server.openapi.operations import Operation, operations
from stategraph.server.service.values import Caller
from stategraph.server.settings import PROTOCOLS, Settings
from tests.server.protocols.serving import at_port

pytestmark = pytest.mark.anyio

SECRET = "the-words-of-ada"
NOBODY = "00000000-0000-4000-8000-00000000dead"


class State(TypedDict):
    messages: Annotated[list, add_messages]


def echo(state: State) -> Any:
    return {"messages": [("ai", f"You said: {state['messages'][-1].content}")]}


def ask(state: State) -> Any:
    return {"messages": [("ai", str(interrupt({"question": SECRET})))]}


def _graph(node: Any) -> Any:
    return StateGraph(State).add_node("node", node).add_edge(START, "node").compile(name="talk")


class Names:
    """Knows callers by a header."""

    async def authenticate(self, connection: Any, /) -> Caller | None:
        name = connection.headers.get("x-name")
        return Caller(name, {"identity": name}) if name else None

    def challenge(self) -> str:
        return ""


def documented() -> Auth:
    """Handlers as LangGraph's documentation has them: each sees its own, in all resources."""
    auth = Auth()

    @auth.authenticate
    async def authenticate(headers: dict[bytes, bytes]) -> Any:
        name = headers.get(b"x-name", b"").decode()
        if not name:
            raise Auth.exceptions.HTTPException(status_code=401, detail="Who is it?")
        return {"identity": name, "permissions": []}

    @auth.on
    async def own(ctx: Any, value: Any) -> Any:
        value.setdefault("metadata", {})["owner"] = ctx.user.identity
        return {"owner": ctx.user.identity}

    @auth.on.assistants.read
    @auth.on.assistants.search
    async def of_all(ctx: Any, value: Any) -> Any:
        return {"$or": [{"owner": ctx.user.identity}, {"created_by": "system"}]}

    @auth.on.store
    async def stored(ctx: Any, value: Any) -> Any:
        namespace = tuple(value["namespace"]) if value.get("namespace") else ()
        value["namespace"] = namespace if namespace[:1] == (ctx.user.identity,) else (ctx.user.identity, *namespace)

    return auth


@dataclass
class User:
    """A user, and ids of what is looked at: Ada's things, or things that nobody has."""

    client: TestClient
    name: str
    ids: dict[str, str] = field(default_factory=dict)

    def call(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        given = {"json": body} if body is not None else {}
        return self.client.request(method, path, headers={"X-Name": self.name}, **given, **options)

    def rpc(self, method: str, params: Any) -> Any:
        """Call a method of A2A."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        headers = {"X-Name": self.name, "A2A-Version": "1.0"}
        return self.client.post("/a2a/talk", headers=headers, json=body)

    def mcp(self, method: str, **params: Any) -> Any:
        """Call a method of MCP, in its revision 2026-07-28."""
        about = {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": self.name, "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}},
        }
        headers = {"X-Name": self.name, "MCP-Protocol-Version": "2026-07-28", "Mcp-Method": method}
        headers |= {"Accept": "application/json, text/event-stream"}
        if name := params.get("name") or params.get("taskId"):
            headers["Mcp-Name"] = name
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": about}}
        return self.client.post("/mcp", headers=headers, json=body)

    def made(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.call(method, path, body)
        assert answer.status_code < 300, (path, answer.status_code, answer.text)
        return answer.json() if answer.content and "json" in answer.headers.get("content-type", "") else answer.text


def message(text: str, **names: str) -> dict[str, Any]:
    """Return a message of A2A."""
    return {"role": "ROLE_USER", "messageId": "m", "parts": [{"text": text}], **names}


def furnish(user: User) -> None:
    """Make something of each kind that says the secret."""
    said = {"messages": [{"role": "user", "content": SECRET}]}
    labelled = {"metadata": {"note": SECRET}}
    assistant = user.made("POST", "/assistants", {"graph_id": "talk", "name": SECRET, **labelled})["assistant_id"]
    thread = user.made("POST", "/threads", labelled)["thread_id"]
    run = user.made("POST", f"/threads/{thread}/runs", {"assistant_id": assistant, "input": said})["run_id"]
    user.made("GET", f"/threads/{thread}/runs/{run}/join")
    state = user.made("GET", f"/threads/{thread}/state")
    far = {"schedule": "0 0 1 1 *", "input": said, **labelled}
    cron = user.made("POST", f"/threads/{thread}/runs/crons", {"assistant_id": assistant, **far})["cron_id"]
    user.made("PUT", "/store/items", {"namespace": ["notes"], "key": "k", "value": {"note": SECRET}})
    chat = user.made("POST", "/v1/threads", {"title": SECRET})["id"]
    user.made("POST", f"/v1/threads/{chat}/turns", {"run_id": "turn-of-ada", "text": SECRET})
    user.made("GET", "/v1/runs/turn-of-ada/events")
    asked = {"model": "talk", "input": SECRET}
    response = user.made("POST", "/v1/responses", asked)["id"]
    item = {"type": "message", "role": "user", "content": SECRET}
    conversation = user.made("POST", "/v1/conversations", {"metadata": {"note": SECRET}, "items": [item]})["id"]
    items = user.made("GET", f"/v1/conversations/{conversation}/items")["data"]
    task = user.rpc("SendMessage", {"message": message("hi, " + SECRET)}).json()["result"]["task"]["id"]
    user.ids = {
        "assistant_id": assistant,
        "thread_id": thread,
        "run_id": run,
        "cron_id": cron,
        "checkpoint_id": state["checkpoint"]["checkpoint_id"],
        "chat": chat,
        "turn": "turn-of-ada",
        "namespace": "node",
        "model": "talk",
        "response_id": response,
        "conversation_id": conversation,
        "item_id": items[0]["id"],
        "task": task,
    }


def bodies(ids: Mapping[str, str]) -> dict[str, Any]:
    """Return bodies of requests, by their schemas, that name things."""
    run = {"assistant_id": ids["assistant_id"], "input": {"messages": []}}
    command = {"id": 1, "method": "state.get", "params": {}}
    return {
        "AssistantCreate": {"graph_id": "talk", "assistant_id": ids["assistant_id"], "if_exists": "do_nothing"},
        "AssistantPatch": {"name": "taken", "metadata": {"note": "taken"}},
        "AssistantVersionChange": {"version": 1},
        "ThreadCreate": {"thread_id": ids["thread_id"], "if_exists": "do_nothing"},
        "ThreadPatch": {"metadata": {"note": "taken"}},
        "ThreadSearchRequest": {"ids": [ids["thread_id"]], "limit": 100},
        "ThreadPruneRequest": {"thread_ids": [ids["thread_id"]]},
        "ThreadStateUpdate": {"values": {"messages": [{"role": "user", "content": "taken"}]}},
        "ThreadStateCheckpointRequest": {"checkpoint": {"checkpoint_id": ids["checkpoint_id"]}},
        "RunCreateStateful": run,
        "RunCreateStateless": run,
        "RunBatchCreate": [run],
        "RunsCancel": {"thread_id": ids["thread_id"], "run_ids": [ids["run_id"]]},
        "CronCreate": {**run, "schedule": "0 0 1 1 *"},
        "ThreadCronCreate": {**run, "schedule": "0 0 1 1 *"},
        "CronPatch": {"enabled": False},
        "CronSearch": {"thread_id": ids["thread_id"]},
        "StorePutRequest": {"namespace": ["of-bob"], "key": "k", "value": {}},
        "StoreDeleteRequest": {"namespace": ["notes"], "key": "k"},
        "StoreSearchRequest": {"namespace_prefix": [], "limit": 100},
        "ProtocolCommand": command,
        "ProtocolEventStreamRequest": {"channels": ["values", "messages"]},
        "ChatTitle": {"title": "taken"},
        "ChatTurn": {"run_id": "turn-of-bob", "text": "hi"},
        "ChatAnswers": {"answers": {"x": True}},
        "agui": {
            "threadId": ids["thread_id"],
            "runId": ids["run_id"],
            "messages": [{"id": "m", "role": "user", "content": "hi"}],
            "tools": [],
            "context": [],
            "state": {},
            "forwardedProps": {},
        },
        "vercel": {
            "id": ids["thread_id"],
            "messages": [{"id": "m", "role": "user", "parts": [{"type": "text", "text": "hi"}]}],
        },
        "openai": {
            "model": "talk",
            "input": "hi",
            "messages": [{"role": "user", "content": "hi"}],
            "previous_response_id": ids["response_id"],
        },
        "a2a": {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "SendMessage",
            "params": {"message": message("hi", contextId=ids["thread_id"])},
        },
        "mcp": {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}},
        "runs": {},
    }


#: They last until something is said that never is.
ENDLESS = {
    ("GET", "/v1/events"),
    ("GET", "/v1/threads/{thread_id}/events"),
    ("GET", "/threads/{thread_id}/stream"),
    ("POST", "/threads/{thread_id}/stream/events"),
}

#: They are asked of Bob alone: Ada's own would change what she has.
HARM = ("DELETE", "PATCH", "PUT")
HARMFUL = ("/threads/prune", "/threads/{thread_id}/state")


def filled(operation: Operation, ids: Mapping[str, str]) -> tuple[str, Any]:
    """Return the path of an operation with ids, and its body."""
    own = {**ids, "thread_id": ids["chat"], "run_id": ids["turn"]} if operation.protocol == "runs" else ids
    path = re.sub(r"\{(\w+)\}", lambda found: own[found[1]], operation.path)
    known = bodies(ids)
    body = known.get(operation.body, known.get(operation.protocol, {})) if operation.body else None
    if operation.path == "/store/items" and operation.method == "GET":
        path += "?key=k&namespace=notes"
    return path, body


@pytest.fixture(scope="module", params=["owners", "handlers"])
def users(request: pytest.FixtureRequest) -> Iterator[tuple[User, User, list[Operation]]]:
    auth: Any = Names() if request.param == "owners" else Handlers(documented())
    app = create_app(
        _graph(echo),
        config={"talk": _graph(echo), "ask": _graph(ask)},
        settings=Settings(auth=[auth], webhook_hosts=["127.0.0.1"]),
    )
    with TestClient(app, base_url="http://agents.example") as client:
        ada, bob = User(client, "ada"), User(client, "bob")
        furnish(ada)
        described = ada.made("GET", "/openapi.json")["paths"]
        found = [
            each
            for each in operations(frozenset(PROTOCOLS))
            if each.method.lower() in described.get(each.path, ()) and (each.method, each.path) not in ENDLESS
        ]
        yield ada, bob, found


def refused(operation: Operation, answer: Any) -> bool:
    """Whether nothing was done; the protocol of threads says so in the answer."""
    if operation.path.endswith("/commands") and answer.status_code == 200:
        return bool(answer.json()["type"] == "error")
    return bool(answer.status_code >= 400)


def test_nothing_of_one_user_is_there_for_the_other(users: tuple[User, User, list[Operation]]) -> None:
    ada, bob, found = users
    before = seen_by(ada)
    nobodys = dict.fromkeys(ada.ids, NOBODY) | {"model": "talk", "namespace": "node", "response_id": "resp_dead"}
    nobodys |= {"conversation_id": f"conv_{'0' * 32}", "item_id": f"msg_{'0' * 32}"}
    problems, seen = [], 0
    for operation in found:
        names = re.findall(r"\{(\w+)\}", operation.path)
        path, body = filled(operation, ada.ids)
        answer = bob.call(operation.method, path, body)
        where = f"{operation.method} {operation.path}"
        if SECRET in answer.text or tells(answer.text, ada.ids, path, body):
            problems.append(f"{where}: Bob reads what is Ada's: {answer.text[:300]}")
        if answer.status_code >= 500:
            problems.append(f"{where}: {answer.status_code} {answer.text[:300]}")
        if operation.protocol in ("langgraph", "runs") and set(names) & set(ada.ids):
            other = bob.call(operation.method, *filled(operation, nobodys))
            if answer.status_code != other.status_code or not refused(operation, answer):
                problems.append(f"{where}: {answer.status_code} for Ada's, {other.status_code} for nobody's")
    assert problems == []
    assert seen_by(ada) == before
    for operation in found:
        if operation.method not in HARM and not (operation.method == "POST" and operation.path in HARMFUL):
            answer = ada.call(operation.method, *filled(operation, ada.ids))
            seen += SECRET in answer.text or tells(answer.text, ada.ids, "", None)
    assert seen >= 20, f"only {seen} answers to Ada had something of hers"
    print(f"two users: {len(found)} operations, {seen} of which show Ada something of hers")


def tells(text: str, ids: Mapping[str, str], path: str, body: Any) -> bool:
    """Return whether an answer has an id that the request did not have."""
    sent = path + json.dumps(body)
    return any(value in text and value not in sent for value in ids.values() if len(value) > 20)


def seen_by(user: User) -> dict[str, Any]:
    """Return what a user sees of its own things."""
    ids = user.ids
    return {
        "assistant": user.made("GET", f"/assistants/{ids['assistant_id']}"),
        "metadata": user.made("GET", f"/threads/{ids['thread_id']}")["metadata"],
        "cron": user.made("GET", f"/runs/crons/{ids['cron_id']}"),
        "item": user.made("GET", "/store/items?key=k&namespace=notes"),
        "history": user.made("POST", f"/threads/{ids['thread_id']}/history", {"limit": 100})[-1],
        "runs": len(user.made("GET", f"/threads/{ids['thread_id']}/runs")),
        "chat": user.made("GET", f"/v1/threads/{ids['chat']}")["thread"]["title"],
    }


def calls_of_tasks(user: User, ids: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    """Call what A2A and MCP have for tasks and contexts of others; yield the names and the answers."""
    named, push = {"id": ids["task"]}, {"taskId": ids["task"], "id": "p"}
    config = {"taskId": ids["task"], "url": "https://example.com/told", "id": "p"}
    for method, params in (
        ("GetTask", named),
        ("ListTasks", {}),
        ("ListTasks", {"contextId": ids["thread_id"]}),
        ("CancelTask", named),
        ("SubscribeToTask", named),
        ("CreateTaskPushNotificationConfig", config),
        ("GetTaskPushNotificationConfig", push),
        ("ListTaskPushNotificationConfigs", {"taskId": ids["task"]}),
        ("DeleteTaskPushNotificationConfig", push),
        ("SendMessage", {"message": message("hi", taskId=ids["task"])}),
        ("SendMessage", {"message": message("hi", contextId=ids["thread_id"])}),
    ):
        yield f"a2a {method} {sorted(params)}", user.rpc(method, params)
    for method, path in (
        ("GET", f"/a2a/talk/tasks/{ids['task']}"),
        ("GET", "/a2a/talk/tasks"),
        ("POST", f"/a2a/talk/tasks/{ids['task']}:cancel"),
        ("GET", f"/a2a/talk/tasks/{ids['task']}:subscribe"),
        ("GET", f"/a2a/talk/tasks/{ids['task']}/pushNotificationConfigs"),
    ):
        headers = {"X-Name": user.name, "A2A-Version": "1.0"}
        yield f"a2a {method} {path}", user.client.request(method, path, headers=headers)
    for each in (ids["task"], ids["run_id"], f"{ids['thread_id']}.{ids['run_id']}"):
        yield f"mcp tasks/get {each}", user.mcp("tasks/get", taskId=each)
        yield f"mcp tasks/cancel {each}", user.mcp("tasks/cancel", taskId=each)
        yield f"mcp tasks/update {each}", user.mcp("tasks/update", taskId=each, inputResponses={})


def test_tasks_of_one_user_are_not_there_for_the_other(users: tuple[User, User, list[Operation]]) -> None:
    ada, bob, _ = users
    before, number = seen_by(ada), 0
    for name, answer in calls_of_tasks(bob, ada.ids):
        number += 1
        assert answer.status_code < 500, (name, answer.text)
        assert SECRET not in answer.text, (name, answer.text)
        if name.startswith("a2a GetTask"):
            assert "error" in answer.json(), answer.text
    assert seen_by(ada) == before
    assert ada.rpc("GetTask", {"id": ada.ids["task"]}).json()["result"]["id"] == ada.ids["task"]
    assert SECRET in ada.rpc("ListTasks", {"includeArtifacts": True}).text
    assert ada.mcp("tools/list").json()["result"]["tools"]
    print(f"two users: {number} calls for tasks")


def commands(ids: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return every command of the protocol of threads, about things of somebody."""
    run, ask = {"run_id": ids["run_id"]}, {"interrupt_id": "x", "response": SECRET}
    told = {"message": {"role": "user", "content": "taken"}}
    methods: list[tuple[str, dict[str, Any]]] = [
        ("run.start", {"assistant_id": "talk", "input": {"messages": [{"role": "user", "content": "taken"}]}}),
        ("input.respond", ask),
        ("input.inject", told),
        ("agent.getTree", run),
        ("state.get", {}),
        ("state.listCheckpoints", {}),
        ("state.fork", {"checkpoint_id": ids["checkpoint_id"]}),
        ("subscription.reconnect", run),
    ]
    return [{"id": number, "method": method, "params": params} for number, (method, params) in enumerate(methods)]


def test_the_protocol_of_threads_tells_and_does_nothing_of_the_others(
    users: tuple[User, User, list[Operation]],
) -> None:
    ada, bob, _ = users
    before, path = seen_by(ada), f"/threads/{ada.ids['thread_id']}"
    everything = {"channels": ["values", "updates", "messages", "tools", "custom", "lifecycle", "input", "tasks"]}
    with bob.client.websocket_connect(f"{path}/stream/events", headers={"X-Name": "bob"}) as socket:
        socket.send_json({"id": 100, "method": "subscription.subscribe", "params": everything})
        assert socket.receive_json()["id"] == 100
        for command in commands(ada.ids):
            for answer in (bob.call("POST", f"{path}/commands", command).json(), _sent(socket, command)):
                # Events of hers would come in between.
                assert (answer["type"], answer["id"]) == ("error", command["id"]), (command["method"], answer)
    assert seen_by(ada) == before
    state = ada.call("POST", f"{path}/commands", commands(ada.ids)[4]).json()
    assert SECRET in json.dumps(state["result"])


def _sent(socket: Any, command: Mapping[str, Any]) -> dict[str, Any]:
    socket.send_json(command)
    answer: dict[str, Any] = socket.receive_json()
    return answer


def test_a_tool_call_does_not_go_on_with_the_thread_of_another(users: tuple[User, User, list[Operation]]) -> None:
    ada, bob, _ = users
    before = seen_by(ada)
    arguments = {"message": "taken", "thread_id": ada.ids["thread_id"]}
    answer = bob.mcp("tools/call", name="talk", arguments=arguments)
    assert SECRET not in answer.text
    assert "error" in answer.json() or answer.json()["result"].get("isError"), answer.text
    assert seen_by(ada) == before


def test_addresses_that_a_task_is_told_at_are_not_there_for_another(users: tuple[User, User, list[Operation]]) -> None:
    ada, bob, _ = users
    task = {"taskId": ada.ids["task"]}
    given = {**task, "id": "push", "url": f"http://127.0.0.1:9/{SECRET}", "token": SECRET}
    assert "result" in ada.rpc("CreateTaskPushNotificationConfig", given).json()
    for method, params in (
        ("GetTaskPushNotificationConfig", {**task, "id": "push"}),
        ("ListTaskPushNotificationConfigs", task),
        ("DeleteTaskPushNotificationConfig", {**task, "id": "push"}),
        ("CreateTaskPushNotificationConfig", {**given, "url": "http://127.0.0.1:9/taken", "token": "taken"}),
    ):
        answer = bob.rpc(method, params)
        assert "error" in answer.json(), (method, answer.text)
        assert SECRET not in answer.text
    found = ada.rpc("ListTaskPushNotificationConfigs", task).json()["result"]["configs"]
    assert [each["url"] for each in found] == [given["url"]]


async def test_streams_without_an_end_tell_nothing_of_the_others() -> None:
    told: dict[tuple[str, str], str] = {}
    app = create_app(_graph(echo), config={"talk": _graph(echo)}, settings=Settings(auth=[Names()]))

    async def read(client: httpx.AsyncClient, name: str, method: str, path: str) -> None:
        body = {"json": {"channels": ["values", "messages"]}} if method == "POST" else {}
        async with client.stream(method, path, headers={"X-Name": name}, **body) as answer:
            async for piece in answer.aiter_text():
                told[name, path] = told.get((name, path), "") + piece

    with at_port(app) as address:
        async with httpx.AsyncClient(base_url=address, timeout=60) as client, asyncio.timeout(60):
            ada = {"X-Name": "ada"}
            thread = (await client.post("/threads", json={}, headers=ada)).json()["thread_id"]
            chat = (await client.post("/v1/threads", json={"title": "x"}, headers=ada)).json()["id"]
            paths = [
                (method, path.format(thread_id=chat if path.startswith("/v1/") else thread)) for method, path in ENDLESS
            ]
            readers = [
                asyncio.create_task(read(client, name, method, path))
                for name in ("bob", "ada")
                for method, path in sorted(paths)
            ]
            said = {"assistant_id": "talk", "input": {"messages": [{"role": "user", "content": SECRET}]}}
            command = {"id": 1, "method": "run.start", "params": said}
            telling = [path for _, path in paths if path != "/v1/events"]  # that one tells that something changed
            while not all(SECRET in told.get(("ada", path), "") for path in telling):
                # Until her streams, which open at their own time, have told her.
                await client.post(f"/threads/{thread}/commands", json=command, headers=ada)
                turn = {"run_id": str(uuid4()), "text": SECRET}
                await client.post(f"/v1/threads/{chat}/turns", json=turn, headers=ada)
                await asyncio.sleep(0.2)
            for each in readers:
                each.cancel()
            await asyncio.gather(*readers, return_exceptions=True)
    ids = [thread, chat]
    for (name, path), text in told.items():
        if name == "bob":
            assert SECRET not in text, path
            assert not any(each in text and each not in path for each in ids), path


def test_lists_have_only_what_is_ones_own(users: tuple[User, User, list[Operation]]) -> None:
    ada, bob, _ = users
    for path in ("/threads/search", "/runs/crons/search", "/assistants/search"):
        everything = {"limit": 1000}
        theirs, own = json.dumps(bob.made("POST", path, everything)), json.dumps(ada.made("POST", path, everything))
        assert SECRET not in theirs and SECRET in own
    for path in ("/threads/count", "/runs/crons/count"):
        assert ada.made("POST", path, {}) > 0
    searched = bob.made("POST", "/store/items/search", {"namespace_prefix": [], "limit": 100})
    assert SECRET not in json.dumps(searched)
    assert "notes" not in json.dumps(bob.made("POST", "/store/namespaces", {}))
    assert SECRET in json.dumps(ada.made("POST", "/store/items/search", {"namespace_prefix": []}))


def test_an_owner_cannot_be_chosen(users: tuple[User, User, list[Operation]]) -> None:
    ada, bob, _ = users
    thread = bob.made("POST", "/threads", {"metadata": {"owner": "ada"}})
    assert thread["metadata"]["owner"] == "bob"
    assert ada.call("GET", f"/threads/{thread['thread_id']}").status_code == 404
    taken = bob.made("PATCH", f"/threads/{thread['thread_id']}", {"metadata": {"owner": "ada"}})
    assert taken["metadata"]["owner"] == "bob"


def test_nobody_gets_in_without_a_name(users: tuple[User, User, list[Operation]]) -> None:
    ada, _, found = users
    for operation in found:
        path, body = filled(operation, ada.ids)
        answer = ada.client.request(operation.method, path, json=body)
        opened = path in ("/ok", "/health") or path.startswith("/.well-known/")
        assert answer.status_code == (200 if opened else 401), (operation.method, path, answer.status_code)
