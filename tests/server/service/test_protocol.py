"""The protocol of threads: commands and events, by HTTP and by WebSocket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AIMessageChunk
from starlette.applications import Starlette
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from stategraph.server.langgraph import routes
from stategraph.server.langgraph.protocol.events import Event, RunEvents
from stategraph.server.langgraph.protocol.messages import Messages
from stategraph.server.langgraph.protocol.numbering import number_of, run_of
from stategraph.server.langgraph.protocol.reading import thread_events
from stategraph.server.langgraph.protocol.wanted import CHANNELS, Wanted
from stategraph.server.service.port import LoggedEvent
from stategraph.server.service.values import ANYONE, MalformedError, UnavailableError
from tests.server.protocols.fake_service import FakeService
from tests.server.service.assembly import Assembly, assembled
from tests.server.service.conftest import steps

pytestmark = pytest.mark.anyio

LIMIT_S = 60
ALL = ["values", "updates", "messages", "tools", "lifecycle", "input", "tasks", "custom"]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Assembly]:
    async with assembled(f"sqlite:///{tmp_path / 'runs.db'}", {"steps": steps}, works=True) as assembly:
        yield assembly


async def command(world: Assembly, thread: str, method: str, **params: Any) -> dict[str, Any]:
    async with world.client() as client:
        body = {"id": 7, "method": method, "params": params}
        answer = (await client.post(f"/threads/{thread}/commands", json=body)).json()
    assert answer["id"] == 7
    return answer


async def read(world: Assembly, thread: str, last: Any, **wanted: Any) -> list[dict[str, Any]]:
    """Read events up to the first of a kind: `(method, event)`."""
    found = []
    async with asyncio.timeout(LIMIT_S):
        asked = Wanted.of({"channels": ALL, **wanted})
        async with aclosing(thread_events(world.service, ANYONE, thread, asked)) as events:
            async for event in events:
                found.append(event)
                if (event["method"], event["params"]["data"].get("event")) == last:
                    return found
    return found


async def test_a_run_is_begun_read_and_answered(world: Assembly):
    thread = str(uuid4())
    reading = asyncio.ensure_future(read(world, thread, ("lifecycle", "interrupted")))
    started = await command(world, thread, "run.start", assistant_id="steps", input={"log": []})
    events = await reading
    assert started["type"] == "success"
    assert [each["params"]["data"] for each in events if each["method"] == "values"][-1] == {"log": ["first"]}
    (asked,) = [each["params"]["data"] for each in events if each["method"] == "input.requested"]
    assert asked["payload"] == "which?"
    answered = await command(
        world, thread, "input.respond", namespace=[], interrupt_id=asked["interrupt_id"], response="this"
    )
    assert answered["type"] == "success"
    rest = await read(world, thread, ("lifecycle", "completed"), since=events[-1]["seq"])
    assert [each["params"]["data"] for each in rest if each["method"] == "values"][-1] == {"log": ["first", "this"]}
    again = await read(world, thread, ("lifecycle", "completed"))
    assert [each["event_id"] for each in again] == [each["event_id"] for each in (*events, *rest)]
    numbers = [each["seq"] for each in again]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] < 2**53


async def test_a_thread_that_waits_takes_the_input_for_an_answer(world: Assembly):
    thread = str(uuid4())
    await command(world, thread, "run.start", assistant_id="steps", input={"log": []})
    await read(world, thread, ("lifecycle", "interrupted"))
    await command(world, thread, "run.start", assistant_id="steps", input="that")
    await read(world, thread, ("lifecycle", "completed"))
    assert (await command(world, thread, "state.get", namespace=[]))["result"]["values"] == {"log": ["first", "that"]}


async def test_states_are_looked_at_and_forked(world: Assembly):
    thread = str(uuid4())
    await command(world, thread, "run.start", assistant_id="steps", input={"log": ["given"]})
    await read(world, thread, ("lifecycle", "interrupted"))
    found = (await command(world, thread, "state.listCheckpoints", limit=2))["result"]["checkpoints"]
    assert [each["step"] for each in found] == [1, 0]
    state = (await command(world, thread, "state.get", namespace=[], keys=["none"]))["result"]
    assert state == {"values": {}, "checkpoint": {"id": found[0]["id"], "ns": ""}}
    forked = (await command(world, thread, "state.fork", checkpoint_id=found[1]["id"]))["result"]
    assert forked["thread_id"] == thread
    await world.runs.wait(ANYONE, forked["run_id"])
    assert (await command(world, thread, "state.get", namespace=[]))["result"]["values"] == {"log": ["given", "first"]}
    unknown = await command(world, thread, "state.fork", checkpoint_id=str(uuid4()))
    assert unknown["error"] == "no_such_checkpoint"


@pytest.mark.parametrize(
    ("method", "params", "error"),
    [
        ("bogus", {}, "unknown_command"),
        ("run.start", {}, "invalid_argument"),
        ("run.start", {"assistant_id": "none"}, "unknown_error"),
        ("run.start", {"assistant_id": "steps", "config": 3}, "invalid_argument"),
        ("input.respond", {}, "invalid_argument"),
        ("input.respond", {"interrupt_id": "0" * 32}, "no_such_run"),
        ("input.inject", {"message": "x"}, "invalid_argument"),
        ("agent.getTree", {}, "no_such_run"),
        ("state.get", {"namespace": "x"}, "invalid_argument"),
        ("state.get", {"namespace": []}, "no_such_run"),
        ("state.listCheckpoints", {"limit": 0}, "invalid_argument"),
        ("state.fork", {}, "invalid_argument"),
        ("subscription.unsubscribe", {}, "no_such_subscription"),
        ("subscription.reconnect", {"run_id": "none"}, "no_such_run"),
    ],
)
async def test_a_command_that_makes_no_sense_is_answered(world: Assembly, method: str, params: Any, error: str):
    assert (await command(world, str(uuid4()), method, **params))["error"] == error


@pytest.mark.parametrize("body", [{}, [], {"id": "x", "method": "run.start"}, {"id": 1}, {"id": True, "method": "x"}])
async def test_what_is_no_command_is_refused(world: Assembly, body: Any):
    async with world.client() as client:
        answer = await client.post(f"/threads/{uuid4()}/commands", json=body)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_argument")


@pytest.mark.parametrize(
    "body",
    [
        *(
            {},
            {"channels": []},
            {"channels": ["none"]},
            {"channels": ["custom:"]},
            {"channels": ["values"], "since": -1},
        ),
        *({"channels": ["values"], "depth": "x"}, {"channels": ["values"], "namespaces": ["x"]}, []),
    ],
)
def test_what_cannot_be_read_is_refused(body: Any):
    with pytest.raises(MalformedError):
        Wanted.of(body)


@pytest.mark.parametrize(
    ("body", "has"),
    [
        ({"channels": ["values"]}, True),
        ({"channels": ["updates"]}, False),
        ({"channels": ["values"], "namespaces": [["a:1"]]}, True),
        ({"channels": ["values"], "namespaces": [["a"]]}, True),
        ({"channels": ["values"], "namespaces": [["a:2"]]}, False),
        ({"channels": ["values"], "namespaces": [["a", "b", "c"]]}, False),
        ({"channels": ["values"], "namespaces": [["x"], ["a", "b:1"]]}, True),
        ({"channels": ["values"], "depth": 1}, False),
        ({"channels": ["values"], "namespaces": [["a"]], "depth": 1}, True),
    ],
)
def test_readers_choose_channels_and_places(body: Any, has: bool):
    assert Wanted.of(body).has(Event("values", ("a:1", "b:1"), {})) is has


def test_clients_that_want_everything_ask_for_checkpoints_too():
    everything = Wanted.of({"channels": [*CHANNELS, "checkpoints"]})
    assert all(everything.has(Event(each, (), {})) for each in CHANNELS)


def test_custom_events_have_channels_by_their_names():
    event = Event("custom", (), {"name": "progress"})
    assert Wanted.of({"channels": ["custom:progress"]}).has(event)
    assert not Wanted.of({"channels": ["custom:other"]}).has(event)


@given(st.lists(st.tuples(st.integers(0, 2**25 - 1), st.integers(0, 2**20 - 1), st.integers(0, 255)), min_size=2))
def test_numbers_are_in_the_order_of_events(places: list[tuple[int, int, int]]):
    ordered = sorted(set(places))
    numbers = [number_of(*each) for each in ordered]
    assert numbers == sorted(set(numbers))
    assert [run_of(number) for number in numbers] == [each[0] for each in ordered]
    assert numbers[-1] < 2**53


@given(st.lists(st.sampled_from(["a", "b", " c"]), min_size=1, max_size=6))
def test_the_pieces_of_a_message_are_its_text(words: list[str]):
    messages, events = Messages(), []
    for number, word in enumerate(words):
        last = "last" if number == len(words) - 1 else None
        events += messages.told(AIMessageChunk(word, id="m", chunk_position=last), {})
    events += messages.told(AIMessage("".join(words), id="m"), {"ls_provider": "x"})
    events += messages.ended()
    deltas = [each["delta"]["text"] for each in events if each["event"] == "content-block-delta"]
    assert "".join(deltas) == "".join(words)
    (whole,) = [each["content"] for each in events if each["event"] == "content-block-finish"]
    assert whole["text"] == "".join(words)
    assert [each["event"] for each in events][:2] == ["message-start", "content-block-start"]
    assert events[-1]["event"] == "message-finish"


def test_the_arguments_of_a_call_are_whole_at_the_end():
    messages, events = Messages(), []
    for part in ('{"a"', ": 1}"):
        chunk = {
            "type": "tool_call_chunk",
            "name": "add" if part[0] == "{" else None,
            "args": part,
            "id": "c",
            "index": 0,
        }
        events += messages.told(AIMessageChunk("", id="m", tool_call_chunks=[chunk]), {})
    events += messages.ended()
    (whole,) = [each["content"] for each in events if each["event"] == "content-block-finish"]
    assert whole == {"type": "tool_call", "id": "c", "name": "add", "args": {"a": 1}}


def test_graphs_inside_begin_and_end():
    made = RunEvents("outer")

    def of(seq: int, type: str, data: Any) -> list[tuple[str, Any, Any]]:
        found = made.of(LoggedEvent("r", seq, 1, type, data), "ValueError: no")
        return [(each.method, each.namespace, each.data.get("event")) for each in found]

    assert of(1, "run.attempt", {}) == [("lifecycle", (), "running")]
    begun = of(2, "values|a:1|b:2", {"x": 1})
    assert begun == [
        ("lifecycle", ("a:1",), "started"),
        ("lifecycle", ("a:1", "b:2"), "started"),
        ("values", ("a:1", "b:2"), None),
    ]
    assert made.tree == {(): "running", ("a:1",): "running", ("a:1", "b:2"): "running"}
    ended = of(3, "run.end", {"status": "error"})
    assert [each[1:] for each in ended] == [(("a:1", "b:2"), "failed"), (("a:1",), "failed"), ((), "failed")]


async def test_events_are_sent_as_frames(world: Assembly):
    thread = str(uuid4())
    await command(world, thread, "run.start", assistant_id="steps", input={"log": []})
    app, frames = world.app(), []
    body = json.dumps({"channels": ["values", "lifecycle"]}).encode()
    sent: asyncio.Queue[Any] = asyncio.Queue()
    given: asyncio.Queue[Any] = asyncio.Queue()
    given.put_nowait({"type": "http.request", "body": body, "more_body": False})
    scope = {"type": "http", "method": "POST", "path": f"/threads/{thread}/stream/events", "headers": []}
    serving = asyncio.ensure_future(app({**scope, "query_string": b""}, given.get, sent.put))
    async with asyncio.timeout(LIMIT_S):
        while not (frames and b'"interrupted"' in frames[-1]):
            message = await sent.get()
            frames += [message["body"]] if message["type"] == "http.response.body" else []
        given.put_nowait({"type": "http.disconnect"})
        await serving
    name, data, number, *_ = frames[0].decode().split("\n")
    assert (name, number) == ("event: lifecycle", f"id: {json.loads(data[6:])['seq']}")


def test_a_websocket_has_commands_and_events(tmp_path: Path):
    """In a loop of its own, as the test client has one for the application."""

    @asynccontextmanager
    async def opened(app: Starlette) -> AsyncIterator[None]:
        async with assembled(f"sqlite:///{tmp_path / 'runs.db'}", {"steps": steps}, works=True) as assembly:
            app.router.routes.extend(routes(assembly.service))
            yield

    app = Starlette(lifespan=opened)
    with TestClient(app) as client, client.websocket_connect(f"/threads/{uuid4()}/stream/events") as socket:
        socket.send_json({"id": 1, "method": "subscription.subscribe", "params": {"channels": ["lifecycle"]}})
        name = socket.receive_json()["result"]["subscription_id"]
        socket.send_text("no JSON")
        assert socket.receive_json()["error"] == "invalid_argument"
        socket.send_json({"id": 2, "method": "run.start", "params": {"assistant_id": "steps", "input": {"log": []}}})
        told = [socket.receive_json() for _ in range(3)]
        assert sorted(each["type"] for each in told) == ["event", "event", "success"]
        assert [each["params"]["data"]["event"] for each in told if each["type"] == "event"] == [
            "running",
            "interrupted",
        ]
        for params, kind in (({"subscription_id": name}, "success"), ({"subscription_id": name}, "error")):
            socket.send_json({"id": 3, "method": "subscription.unsubscribe", "params": params})
            assert socket.receive_json()["type"] == kind
        socket.send_json({"id": 4, "method": "subscription.subscribe", "params": {}})
        assert socket.receive_json()["error"] == "invalid_argument"


def test_a_subscription_that_fails_ends_the_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def failing(*_: Any) -> AsyncIterator[Any]:
        raise UnavailableError("The database is away")
        yield

    module = import_module("stategraph.server.langgraph.protocol.routes")
    monkeypatch.setattr(module, "thread_events", failing)
    app = Starlette(routes=routes(FakeService({}).service()))
    with (
        TestClient(app) as client,
        client.websocket_connect(f"/threads/{uuid4()}/stream/events") as socket,
    ):
        socket.send_json({"id": 1, "method": "subscription.subscribe", "params": {"channels": ["values"]}})
        assert socket.receive_json()["type"] == "success"
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_json()
    assert closed.value.code == 1011
    assert "A subscription to thread" in caplog.text
