"""The threads of chat completions, which are deleted at their end: what is told where that fails."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Annotated, Any, TypedDict

import pytest

pytest.importorskip("starlette")

from starlette.testclient import TestClient

from stategraph import START, StateGraph
from stategraph.graph.message import add_messages
from stategraph.server.application import create_app
from stategraph.server.service.port import ConflictError, NotFoundError
from stategraph.server.service.threads import ThreadService
from stategraph.workers.registry.port import StoreUnavailableError


class Talk(TypedDict):
    messages: Annotated[list[Any], add_messages]


graph = (
    StateGraph(Talk).add_node("say", lambda state: {"messages": [("ai", "Hello.")]}).add_edge(START, "say").compile()
)


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(create_app(config={"agent": graph}), base_url="http://localhost:2024") as made:
        yield made


def completed(client: TestClient, *, stream: bool) -> str:
    body = {"model": "agent", "messages": [{"role": "user", "content": "hi"}], "stream": stream}
    answer = client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200
    return answer.text


def threads(client: TestClient) -> int:
    return len(client.post("/threads/search", json={"limit": 100}).json())


@pytest.mark.parametrize("stream", [False, True])
def test_the_thread_of_a_completion_is_gone_after_it(client: TestClient, stream: bool) -> None:
    before = threads(client)
    assert "Hello." in completed(client, stream=stream)
    assert threads(client) == before


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("error", [StoreUnavailableError("the database is away"), ConflictError("it still runs")])
def test_a_thread_that_stays_is_told_to_the_log_and_the_answer_is_whole(
    client: TestClient,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    stream: bool,
    error: Exception,
) -> None:
    async def fail(self: ThreadService, caller: object, thread_id: str) -> None:
        raise error

    monkeypatch.setattr(ThreadService, "delete", fail)
    with caplog.at_level(logging.WARNING, "stategraph.server.openai"):
        said = completed(client, stream=stream)
    assert "Hello." in said
    assert not stream or said.endswith("data: [DONE]\n\n")
    (record,) = caplog.records
    assert record.getMessage().startswith("The thread '")
    assert record.getMessage().endswith(f"was not deleted, and stays until somebody does: {error}")


def test_a_thread_that_somebody_has_deleted_already_is_nothing_to_tell(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(self: ThreadService, caller: object, thread_id: str) -> None:
        raise NotFoundError("it is gone")

    monkeypatch.setattr(ThreadService, "delete", fail)
    with caplog.at_level(logging.WARNING, "stategraph.server.openai"):
        assert "Hello." in completed(client, stream=False)
    assert not caplog.records
