"""The application: what it serves, what its document says, and how it ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest

pytest.importorskip("starlette")

import httpx
import jsonschema
from starlette.testclient import TestClient

from stategraph import START, StateGraph
from stategraph.errors import ConfigurationError
from stategraph.graph.message import add_messages
from stategraph.server import stopping
from stategraph.server.application import create_app
from stategraph.server.limits import Limits
from stategraph.server.openapi.document import document, page
from stategraph.server.openapi.notation import schema
from stategraph.server.openapi.operations import operations
from stategraph.server.service.runs.hosting import CAPACITY
from stategraph.server.service.threads import ThreadService
from stategraph.server.serving import serve
from stategraph.server.settings import PROTOCOLS, Settings
from stategraph.workers.registry.port import StoreUnavailableError
from tests.server.paths import listed
from tests.server.paths import operations as operations_of
from tests.server.protocols.serving import at_port

pytestmark = pytest.mark.anyio


class State(TypedDict):
    messages: Annotated[list, add_messages]


def say(state: State) -> Any:
    return {"messages": [("ai", "Hello.")]}


graph = StateGraph(State).add_node("say", say).add_edge(START, "say").compile()


def client(**options: Any) -> TestClient:
    return TestClient(create_app(config={"agent": graph}, **options), base_url="http://localhost:2024")


@pytest.fixture(scope="module")
def one() -> Iterator[TestClient]:
    with client() as made:
        yield made


def test_a_run_of_a_graph_is_begun_and_read(one: TestClient) -> None:
    thread = one.post("/threads", json={}).json()["thread_id"]
    asked = {"assistant_id": "agent", "input": {"messages": [{"role": "user", "content": "hi"}]}}
    assert one.post(f"/threads/{thread}/runs/wait", json=asked).json()["messages"][-1]["content"] == "Hello."
    assert one.get("/ok?check_db=1").json() == {"ok": True}
    assert one.get("/info").status_code == 200
    shown = one.get("/metrics").text
    for figure in ("runs_waiting 0", "runs_waiting_seconds 0", "worker_busy 0", f"worker_capacity {CAPACITY}"):
        assert f"\nstategraph_{figure}\n" in shown  # what autoscalers go by
    families = [line.split()[2] for line in shown.splitlines() if line.startswith("# TYPE ")]
    assert len(families) == len(set(families))


def test_without_a_target_there_is_no_run_api(one: TestClient) -> None:
    assert one.get("/v1/threads").status_code == 404
    assert one.get("/health").json() == {"status": "ok"}
    assert not [each for each in one.get("/openapi.json").json()["paths"] if each.startswith("/v1/threads")]


def test_the_document_has_all_operations_of_langgraphs_server() -> None:
    assert listed() <= operations_of(document(PROTOCOLS, secured=True))
    assert len(listed()) == 64


def test_the_document_is_valid_and_all_its_names_are_there() -> None:
    whole = document(PROTOCOLS, secured=True)
    schemas = whole["components"]["schemas"]
    for each in schemas.values():
        jsonschema.Draft202012Validator.check_schema(each)
    text = json.dumps(whole)
    names = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert names <= set(schemas)
    assert "security" not in document(PROTOCOLS, secured=False)
    ids = [each["operationId"] for path in whole["paths"].values() for each in path.values()]
    assert len(ids) == len(set(ids))


#: What `langgraph dev` lists, and our server has no route for.
MISSING = {
    "GET /threads/{thread_id}/stream",
}


def test_a_server_has_the_operations_of_langgraphs_and_describes_what_it_has() -> None:
    with TestClient(create_app(graph), base_url="http://localhost:2024") as made:
        described = operations_of(made.get("/openapi.json").json())
    assert listed() - described <= MISSING
    assert {"GET /v1/threads", "POST /agui/{assistant_id}", "GET /metrics"} <= described


def test_the_page_lists_routes_and_runs_nothing(one: TestClient) -> None:
    shown = one.get("/docs")
    assert "<script" not in shown.text and "default-src 'none'" in shown.headers["content-security-policy"]
    assert "/threads/{thread_id}/runs/stream" in shown.text
    assert "/v1/threads" in page(operations(frozenset(PROTOCOLS)))


def test_words_of_schemas() -> None:
    assert schema("0..10") == {"type": "integer", "minimum": 0, "maximum": 10}
    assert schema("a/b?") == {"anyOf": [{"type": "string", "enum": ["a", "b"]}, {"type": "null"}]}
    assert schema("[uuid]") == {"type": "array", "items": {"type": "string", "format": "uuid"}}
    assert schema("text + [text]")["anyOf"][1]["type"] == "array"
    assert schema("Thread") == {"$ref": "#/components/schemas/Thread"}


def test_the_log_has_the_traceback_of_a_run_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    def breaks(state: State) -> Any:
        raise RuntimeError("the printer burns")

    failing = StateGraph(State).add_node("breaks", breaks).add_edge(START, "breaks").compile()
    with TestClient(create_app(config={"agent": failing}), base_url="http://localhost:2024") as made:
        ended = made.post("/runs/wait", json={"assistant_id": "agent", "input": {"messages": []}}).json()
    assert ended["__error__"]["message"] == "the printer burns"
    (record,) = [each for each in caplog.records if each.name == "stategraph.workers"]
    assert "in breaks" in (caplog.handler.format(record)) and "the printer burns" in caplog.text


def test_a_protocol_that_is_not_asked_for_is_not_served() -> None:
    with client(settings=Settings(protocols=["agui"])) as made:
        assert made.post("/threads", json={}).status_code == 404
        assert made.get("/agui/agent").status_code == 200


def test_runs_beyond_the_queue_are_refused_and_none_begins_while_the_server_stops() -> None:
    with client(settings=Settings(limits=Limits(queue=0))) as made:
        asked = {"assistant_id": "agent", "input": {"messages": []}}
        busy = made.post("/runs", json=asked)
        assert (busy.status_code, busy.headers["retry-after"]) == (429, "5")
        made.app.state.stopping = True  # type: ignore[attr-defined]
        stopping_ = made.post("/runs/batch", json=[asked])
        assert (stopping_.status_code, "stopping" in stopping_.json()["detail"]) == (503, True)
        assert [made.get(path).status_code for path in ("/ok", "/health")] == [503, 503]


def test_nothing_is_made_while_the_server_stops_and_the_rest_is_answered() -> None:
    with client() as made:
        thread = made.post("/threads", json={}).json()["thread_id"]
        made.app.state.stopping = True  # type: ignore[attr-defined]
        for path, body in (
            ("/threads", {}),
            (f"/threads/{thread}/copy", {}),
            ("/assistants", {"graph_id": "agent"}),
            ("/runs/crons", {"assistant_id": "agent", "schedule": "0 0 1 1 *"}),
            (f"/threads/{thread}/runs", {"assistant_id": "agent"}),
            ("/v1/conversations", {}),
            ("/v1/responses", {"model": "agent", "input": "hi"}),
        ):
            answer = made.post(path, json=body)
            assert (answer.status_code, "stopping" in answer.text) == (503, True), path
            assert answer.headers["retry-after"]
        assert made.get(f"/threads/{thread}").status_code == 200
        assert made.post("/threads/count", json={}).json() == 1
        assert made.delete(f"/threads/{thread}").status_code == 204


def test_a_fault_of_the_server_is_answered_on_a_connection_that_stays_usable(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(*given: Any, **named: Any) -> Any:
        raise RuntimeError("hunter2")

    monkeypatch.setattr(ThreadService, "count", fails)
    with at_port(create_app(config={"agent": graph})) as address, httpx.Client(base_url=address, timeout=60) as http:
        for _ in range(2):
            answer = http.post("/threads/count", json={})
            assert (answer.status_code, "hunter2" in answer.text, "close" in str(answer.headers)) == (500, False, False)
            assert answer.json()["detail"]
            after = http.get("/ok")
            sockets = [each.extensions["network_stream"].get_extra_info("client_addr") for each in (answer, after)]
            assert sockets[0] == sockets[1]
    assert [record.exc_info[1].args for record in caplog.records if record.exc_info] == [("hunter2",)] * 2  # type: ignore[union-attr]


def test_a_configuration_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"langgraph\.json"):
        create_app(config=tmp_path)


def test_a_database_that_cannot_be_opened_ends_the_start_with_its_error(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text("from tests.server.test_application import graph\n")
    (tmp_path / "langgraph.json").write_text('{"graphs": {"agent": "./agent.py:graph"}}')
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailableError, match="unable to open"):
        serve(config=tmp_path, port=0, store=f"sqlite:///{tmp_path}/file/threads.db")


async def test_the_end_waits_for_runs_gives_back_those_that_stay_and_ends_streams() -> None:
    released, entered = asyncio.Event(), asyncio.Event()

    async def wait(state: State) -> Any:
        entered.set()
        await released.wait()
        return {"messages": [("ai", "It went.")]}

    waits = StateGraph(State).add_node("wait", wait).add_edge(START, "wait").compile()
    app = create_app(config={"agent": waits})
    said: list[str] = []
    async with app.router.lifespan_context(app):
        told: list[Any] = []
        asked = {"assistant_id": "agent", "input": {"messages": []}, "on_completion": "keep"}
        reading = asyncio.create_task(_posted(app, "/runs/stream", asked, told))
        await asyncio.wait_for(entered.wait(), 60)
        app.state.stopping = True
        await asyncio.wait_for(stopping.at_the_end(app, 0.0, asyncio.Event(), said.append), 60)
        await asyncio.wait_for(reading, 60)
        assert said[0].startswith("Stopping: a run has 0 s")
        assert said[1] == "Runs that were stopped: 1. Threads that can be continued: 1."
        assert told[-1] == {"type": "http.response.body", "body": b"retry: 1000\n\n", "more_body": False}
        released.set()


async def _posted(app: Any, path: str, body: Any, told: list[Any]) -> None:
    """Send a request as a server of ASGI does, and note what is answered."""
    sent = iter([{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}])

    async def receive() -> Any:
        for message in sent:
            return message
        return await asyncio.Future()

    async def send(message: Any) -> None:
        told.append(message)

    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    await app(
        {
            "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"",
            "headers": headers, "scheme": "http", "server": ("localhost", 2024), "client": ("127.0.0.1", 1),
            "root_path": "", "http_version": "1.1",
        },
        receive,
        send,
    )  # fmt: skip


@pytest.mark.parametrize("path", ["/a2a/agent", "/a2a/agent/message:stream"])
def test_a_message_to_an_agent_of_a_server_that_stops_may_go_to_another_one(path: str) -> None:
    """A2A has no error for that, so it is said by the status: a router sends the message elsewhere."""
    message = {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "hi"}]}
    called = {"jsonrpc": "2.0", "id": 1, "method": "SendStreamingMessage", "params": {"message": message}}
    body = called if path == "/a2a/agent" else {"message": message}
    with client() as made:
        made.app.state.stopping = True  # type: ignore[attr-defined]
        answer = made.post(path, json=body, headers={"A2A-Version": "1.0"})
        assert (answer.status_code, answer.headers["retry-after"], "stopping" in answer.text) == (503, "1", True)
