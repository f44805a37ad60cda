"""LangGraph's API of runs, over ASGI, with frames as its clients read them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import httpx
import pytest
from langchain_core.messages import AIMessage, AIMessageChunk
from starlette.applications import Starlette

from stategraph.server.langgraph import runs, stream, wire
from stategraph.server.langgraph.frames import Frames, last_seq
from stategraph.server.service.port import LoggedEvent, ServiceError
from stategraph.server.service.runs.following import place_of
from stategraph.types import Command, Send
from tests.server.runs.graphs import ALL
from tests.server.runs.test_service_runs import begun, ended, until_it_waits
from tests.server.runs.world import World, world

LIMIT_S = 60

pytestmark = pytest.mark.anyio


async def refused(request: Any, error: Any) -> Any:
    return wire.answer({"detail": str(error)}, error.status)


def application(here: World) -> Starlette:
    service: Any = SimpleNamespace(runs=here.runs)
    return Starlette(routes=runs.routes(service), exception_handlers={ServiceError: refused})


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(f"sqlite:///{tmp_path / 'runs.db'}", ALL) as made:
        yield made


@pytest.fixture
async def client(here: World) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(application(here))
    async with httpx.AsyncClient(transport=transport, base_url="http://server", timeout=LIMIT_S) as made:
        yield made


def frames_in(body: str) -> list[dict[str, str]]:
    """Read the frames of a stream, less comments."""
    blocks = [block for block in body.split("\n\n") if block and not block.startswith(":")]
    return [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks]


async def test_a_run_is_begun_and_streamed(client: httpx.AsyncClient, here: World) -> None:
    thread = await here.thread()
    answer = await client.post(
        f"/threads/{thread}/runs/stream",
        json={"assistant_id": "steps", "input": {"log": []}, "stream_mode": ["updates"], "stream_resumable": True},
    )
    found = frames_in(answer.text)
    run_id = json.loads(found[0]["data"])["run_id"]
    assert [frame["event"] for frame in found] == ["metadata", "updates", "updates"]
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["content-location"] == f"/threads/{thread}/runs/{run_id}"
    assert answer.headers["location"] == f"/threads/{thread}/runs/{run_id}/stream"
    place = answer.headers["location"]
    again = await client.get(place, headers={"Last-Event-ID": found[1]["id"]})
    assert frames_in(again.text) == found[2:]
    for asked in ({"last_event_id": "-1"}, {"since": "0"}):
        assert frames_in((await client.get(place, params=asked)).text) == found
    assert frames_in((await client.get(place)).text) == []
    joined = await client.get(place, params={"stream_mode": "values"}, headers={"Last-Event-ID": "-1"})
    assert frames_in(joined.text) == []


async def test_a_run_without_a_thread_has_no_thread_in_its_address(client: httpx.AsyncClient) -> None:
    answer = await client.post("/runs/stream", json={"assistant_id": "steps", "input": {"log": []}})
    place = answer.headers["content-location"]
    assert place.startswith("/runs/")
    assert (await client.get(place)).json()["status"] == "success"
    assert "id" not in frames_in(answer.text)[0]


async def test_a_run_is_waited_for(client: httpx.AsyncClient, here: World) -> None:
    thread = await here.thread()
    path = f"/threads/{thread}/runs/wait"
    answer = await client.post(path, json={"assistant_id": "questions", "input": {"log": []}})
    assert answer.json()["log"] == ["first"]
    assert answer.json()["__interrupt__"][0]["value"] == "go on?"
    answered = await client.post(path, json={"assistant_id": "questions", "command": {"resume": "yes"}})
    assert answered.json() == {"log": ["first", "yes"]}
    assert (await client.get(answered.headers["location"])).json() == answered.json()
    failed = await client.post("/runs/wait", json={"assistant_id": "broken", "input": {}})
    assert failed.json() == {"__error__": {"error": "ValueError", "message": "it cannot be"}}
    streamed = await client.post("/runs/stream", json={"assistant_id": "broken", "input": {}})
    assert frames_in(streamed.text)[-1] == {
        "event": "error",
        "data": '{"error":"ValueError","message":"it cannot be"}',
    }


async def test_runs_are_listed_looked_at_and_deleted(client: httpx.AsyncClient, here: World) -> None:
    thread = await here.thread()
    made = (await client.post(f"/threads/{thread}/runs", json={"assistant_id": "steps", "input": {"log": []}})).json()
    await here.runs.wait(wire.ANYONE, made["run_id"])
    path = f"/threads/{thread}/runs"
    found = (await client.get(f"{path}/{made['run_id']}")).json()
    assert (found["status"], found["kwargs"]["input"]) == ("success", {"log": []})
    assert (await client.get(path)).json() == [found]
    assert (await client.get(path, params={"status": "error"})).json() == []
    assert (await client.get(path, params={"select": ["status"]})).json() == [{"status": "success"}]
    assert (await client.get(path, params={"limit": "many"})).status_code == 422
    assert (await client.post(f"{path}/{made['run_id']}/cancel")).status_code == 404
    assert (await client.delete(f"{path}/{made['run_id']}")).status_code == 204
    assert (await client.delete(f"{path}/{made['run_id']}")).status_code == 404


async def test_several_runs_are_begun_and_stopped(client: httpx.AsyncClient, here: World) -> None:
    asked = {"assistant_id": "stops", "input": {"wait": True}}
    made = (await client.post("/runs/batch", json=[asked, asked])).json()
    first, second = [await here.runs.get(wire.ANYONE, each["run_id"]) for each in made]
    for run in (first, second):
        await until_it_waits(here, run)
    path = f"/threads/{first.thread_id}/runs/{first.run_id}/cancel"
    assert (await client.post(path, params={"wait": 1})).json() == {}
    assert (await client.post(path, params={"action": "none"})).status_code == 422
    assert (await client.post("/runs/cancel", json={"status": "all"})).status_code == 204
    assert [(await ended(here, run)).status for run in (first, second)] == ["interrupted"] * 2
    assert (await client.post("/runs/batch", json={})).status_code == 422


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        {"assistant_id": 7},
        {"assistant_id": "steps", "stream_mode": ["nonsense"]},
        {"assistant_id": "steps", "stream_mode": 3},
        {"assistant_id": "steps", "multitask_strategy": "both"},
        {"assistant_id": "steps", "config": []},
        {"assistant_id": "steps", "interrupt_before": [1]},
        {"assistant_id": "steps", "run_id": "r1"},
        {"assistant_id": "steps", "after_seconds": "1"},
        {"assistant_id": "steps", "command": {"goto": 1}},
    ],
)
async def test_a_body_that_makes_no_sense_is_refused(client: httpx.AsyncClient, here: World, body: Any) -> None:
    answer = await client.post(f"/threads/{await here.thread()}/runs/stream", json=body)
    assert answer.status_code == 422
    assert answer.json()["detail"]


async def test_what_is_not_there_is_not_found(client: httpx.AsyncClient, here: World) -> None:
    thread, none = await here.thread(), "00000000-0000-4000-8000-00000000000f"
    for path in (f"/threads/{thread}/runs/{none}", f"/threads/{none}/runs", f"/runs/{none}/stream"):
        assert (await client.get(path)).status_code == 404
    assert (await client.get("/threads/t/runs")).status_code == 422
    assert (await client.post("/runs", content=b"{")).status_code == 422
    assert (await client.post(f"/threads/{none}/runs", json={"assistant_id": "steps"})).status_code == 404


@pytest.mark.parametrize("choice", ["cancel", "continue"])
async def test_a_reader_that_leaves_stops_the_run_or_not(here: World, choice: str) -> None:
    thread = await here.thread()
    body = {"assistant_id": "stops", "input": {"wait": True}, "stream_mode": "updates", "on_disconnect": choice}
    seen = anyio.Event()
    sent = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]

    async def receive() -> Any:
        if sent:
            return sent.pop()
        await seen.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if b"event: updates" in message.get("body", b""):
            seen.set()

    path = f"/threads/{thread}/runs/stream"
    scope = {"type": "http", "method": "POST", "path": path, "headers": [], "query_string": b"", "root_path": ""}
    with anyio.fail_after(LIMIT_S):
        await application(here)(scope, receive, send)
    (run,) = await here.runs.list(wire.ANYONE, thread)
    if choice == "continue":
        assert run.status == "running"
        await here.runs.cancel(wire.ANYONE, run.run_id)
    assert (await ended(here, run)).status == "interrupted"


async def test_a_stream_that_says_nothing_is_kept_alive(
    client: httpx.AsyncClient, here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_S", 0.01)
    run = await begun(here, "stops", {"wait": True}, await here.thread())
    await until_it_waits(here, run)
    answers: list[httpx.Response] = []
    async with anyio.create_task_group() as group:

        async def read() -> None:
            answers.append(await client.get(f"/threads/{run.thread_id}/runs/{run.run_id}/stream"))

        group.start_soon(read)
        await anyio.sleep(0.1)
        await here.runs.cancel(wire.ANYONE, run.run_id)
    assert ": heartbeat" in answers[0].text


def event(seq: int, type: str, data: Any) -> LoggedEvent:
    return LoggedEvent("run", seq, 1, type, data)


def made(*modes: str) -> Frames:
    run: Any = SimpleNamespace(
        run_id="run", kwargs={"temporary": False}, created_at=SimpleNamespace(timestamp=lambda: 1.5)
    )
    return Frames(run, modes, ids=True)


def test_messages_grow_and_have_their_metadata_once() -> None:
    several = made("messages")
    first = frames_in(several.of(event(2, "messages", (AIMessageChunk("Hel", id="m"), {"node": "n"}))).decode())
    assert [frame["event"] for frame in first] == ["messages/metadata", "messages/partial"]
    assert "id" not in first[0]
    assert first[1]["id"] == "1500-2"
    second = frames_in(several.of(event(3, "messages", (AIMessageChunk("lo", id="m"), {"node": "n"}))).decode())
    assert json.loads(second[0]["data"])[0]["content"] == "Hello"
    assert json.loads(second[0]["data"])[0]["type"] == "ai"
    whole = frames_in(several.of(event(4, "messages|a:1", (AIMessage("All", id="k"), {}))).decode())
    assert [frame["event"] for frame in whole] == ["messages/metadata|a:1", "messages/complete|a:1"]


def test_messages_are_told_as_they_are_if_that_is_asked_for() -> None:
    told = frames_in(
        made("messages-tuple").of(event(2, "messages", (AIMessageChunk("Hel", id="m"), {"a": 1}))).decode()
    )
    assert json.loads(told[0]["data"])[0]["type"] == "AIMessageChunk"
    assert json.loads(told[0]["data"])[1] == {"a": 1}
    assert made("updates").of(event(2, "messages", (AIMessageChunk("x"), {}))) == b""


@pytest.mark.parametrize(
    ("given", "number"),
    [(None, None), ("", None), ("nonsense", None), ("-1", 0), ("0", 0), ("7", 7), ("1796036538403-12", 12)],
)
def test_the_id_of_a_frame_says_which_event_it_was(given: str | None, number: int | None) -> None:
    assert last_seq(given) == number


def test_json_has_everything() -> None:
    assert json.loads(wire.encode({1: {2}, "e": ValueError("no"), "b": b"x"})) == {
        "1": [2],
        "e": {"error": "ValueError", "message": "no"},
        "b": "x",
    }
    assert (
        json.loads(wire.encode({"half": "\ud83d", "large": 2**70, "said": AIMessage("Hi", id="m")}))["large"] == 2**70
    )


async def test_debugging_tells_where_checkpoints_are(client: httpx.AsyncClient, here: World) -> None:
    thread = await here.thread()
    body = {"assistant_id": "nested", "input": {"log": []}, "stream_mode": ["debug", "checkpoints"]}
    answer = await client.post(f"/threads/{thread}/runs/stream", json=body)
    told = [json.loads(frame["data"]) for frame in frames_in(answer.text) if frame["event"] == "debug"]
    payloads = [each["payload"] for each in told if each["type"] == "checkpoint"]
    assert payloads[0]["parent_checkpoint"] is None
    assert payloads[1]["parent_checkpoint"] == payloads[0]["checkpoint"]
    assert payloads[0]["checkpoint"]["thread_id"] == thread
    below = [task for payload in payloads for task in payload["tasks"] if task["name"] == "below"]
    assert "state" not in below[0]
    assert below[0]["checkpoint"]["checkpoint_ns"].startswith("below:")
    temporary = await client.post("/runs/stream", json=body)
    assert {frame["event"] for frame in frames_in(temporary.text)} == {"metadata", "debug"}


async def test_commands_and_packets_are_json(client: httpx.AsyncClient) -> None:
    assert json.loads(wire.encode(Command(resume=1, goto=Send("n", {"a": 1})))) == {
        "graph": None,
        "resume": 1,
        "update": None,
        "goto": {"node": "n", "args": {"a": 1}},
    }


async def test_all_runs_of_a_thread_are_followed(here: World) -> None:
    thread = await here.thread()
    waiting = await begun(here, "stops", {"wait": True}, thread, stream_modes=["updates"])
    await until_it_waits(here, waiting)
    events: list[tuple[str, str]] = []
    async with anyio.create_task_group() as group:

        async def follow() -> None:
            async for run, event in here.runs.follow(wire.ANYONE, thread):
                events.append((run.run_id, event.type))
                if run.run_id != waiting.run_id and event.type == "run.end":
                    group.cancel_scope.cancel()

        group.start_soon(follow)
        queued = await begun(here, "steps", {}, thread, stream_modes=["updates"])
        await here.runs.cancel(wire.ANYONE, waiting.run_id)
        with anyio.fail_after(LIMIT_S):
            await anyio.sleep_forever()
    assert events[-1] == (queued.run_id, "run.end")
    assert (queued.run_id, "run.attempt") in events
    assert (waiting.run_id, "updates") not in events


async def test_a_run_that_waits_for_its_turn_is_followed_from_its_first_event_on(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow reader gets it too: it has begun, and ended, when the reader is through with the run before."""
    labelled, looked, wanted = here.runs.registry.labelled, anyio.Event(), list[str]()
    last_seq = labelled.last_seq

    async def look(run_id: str) -> int:
        found = await last_seq(run_id)
        if run_id in wanted:
            looked.set()
        return found

    monkeypatch.setattr(labelled, "last_seq", look)
    thread = await here.thread()
    waiting = await begun(here, "stops", {"wait": True}, thread, stream_modes=["updates"])
    await until_it_waits(here, waiting)
    queued = await begun(here, "steps", {}, thread, stream_modes=["updates"])
    wanted.append(queued.run_id)
    with anyio.fail_after(LIMIT_S):
        async with aclosing(here.runs.follow(wire.ANYONE, thread)) as events:
            first = asyncio.ensure_future(anext(events))
            await looked.wait()
            await here.runs.cancel(wire.ANYONE, waiting.run_id)
            found = [await first]
            while found[-1][1].type != "run.end":
                found.append(await anext(events))
            await ended(here, queued)
            run, event = await anext(events)
    assert (run.run_id, event.type) == (queued.run_id, "run.attempt")


async def test_a_thread_is_followed_from_an_event_on(client: httpx.AsyncClient, here: World) -> None:
    thread = await here.thread()
    first = await begun(here, "steps", {}, thread)
    await ended(here, first)
    found: list[dict[str, str]] = []
    done = anyio.Event()

    async def receive() -> Any:
        await done.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        found.extend(frames_in(message.get("body", b"").decode()))
        if found and "run_done" in found[-1]["data"]:
            done.set()

    began = place_of(first.run_id, 0)
    headers = [(b"last-event-id", b"%d-2" % began)]
    scope = {"type": "http", "method": "GET", "path": f"/threads/{thread}/stream", "headers": headers}
    with anyio.fail_after(LIMIT_S):
        await application(here)({**scope, "query_string": b"", "root_path": ""}, receive, send)
    assert [frame["event"] for frame in found] == ["values", "values", "metadata"]
    assert found[0]["id"].startswith(f"{began}-")
    assert (await client.get("/threads/00000000-0000-4000-8000-00000000000f/stream")).status_code == 404
