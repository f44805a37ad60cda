"""A server in the directory of a fleet: from its start to the end, and while the directory is away."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette")

from starlette.testclient import TestClient

from stategraph import START, MessagesState, StateGraph
from stategraph.errors import ConfigurationError
from stategraph.fleet import AgentEndpoint, DatabaseSource, StaticSource
from stategraph.server import stopping
from stategraph.server.application import Served, application
from stategraph.server.configuring import settings_of
from stategraph.server.network import announcing
from stategraph.server.network.announcing import Announcer, directory_at
from stategraph.server.settings import Announcement, Settings
from tests.workers.waiting import until

pytestmark = pytest.mark.anyio

graph = StateGraph(MessagesState).add_node("answer", lambda state: {}).add_edge(START, "answer").compile()


class Away(StaticSource):
    """A directory that may be away."""

    def __init__(self) -> None:
        super().__init__()
        self.is_away = False
        self.tried = 0

    async def register(self, endpoint: AgentEndpoint, ttl_s: float | None = None) -> None:
        self.tried += 1
        if self.is_away:
            raise ConnectionError("nobody answers")
        await super().register(endpoint, ttl_s)


async def test_agents_are_registered_as_they_come_and_go_and_withdrawn_at_the_end() -> None:
    source, agents = Away(), ["one", "other"]
    announcer = Announcer(source, Announcement(url="http://10.0.0.1:2024/", weight=3), lambda: agents, ttl_s=0.06)
    announcer.begin()

    async def urls() -> list[str]:
        return [each.url for each in await source.read() if each.weight == 3]

    await until(lambda: source.tried >= 2)
    assert await urls() == ["http://10.0.0.1:2024/a2a/one", "http://10.0.0.1:2024/a2a/other"]
    agents.remove("one")
    seen = source.tried
    await until(lambda: source.tried >= seen + 3)
    assert await urls() == ["http://10.0.0.1:2024/a2a/other"]
    await announcer.withdraw()
    assert await urls() == []
    await announcer.aclose()


async def test_a_directory_that_is_away_is_tried_again_and_told_of_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(announcing, "RETRY_S", 0.01)
    source = Away()
    source.is_away = True
    announcer = Announcer(source, Announcement(url="http://10.0.0.1:2024"), lambda: ["one"])
    with caplog.at_level(logging.WARNING, "stategraph.server"):
        announcer.begin()
        await until(lambda: source.tried >= 3)
        source.is_away = False
        await until(lambda: len(caplog.records) == 2)
    assert [each.getMessage() for each in caplog.records] == [
        "The agents of this server could not be registered, which is tried again: nobody answers",
        "The agents of this server are registered again",
    ]
    await announcer.aclose()
    assert await source.read() == []


def test_a_server_is_in_the_table_of_its_database_until_it_stops(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'agents.db'}"
    settings = Settings(announce=Announcement(url="http://127.0.0.1:2024"))
    app = application(Served(None, {"agent": graph}, "", settings), store)

    async def registered() -> list[str]:
        source = DatabaseSource.from_url(store)
        try:
            return [each.key for each in await source.read()]
        finally:
            await source.close()

    with TestClient(app) as client:
        assert client.portal is not None

        async def come() -> None:
            async with asyncio.timeout(60):
                while await registered() != ["agent@http://127.0.0.1:2024/a2a/agent"]:  # noqa: ASYNC110 (another loop)
                    await asyncio.sleep(0.01)

        client.portal.call(come)
        said: list[str] = []
        app.state.stopping = True
        client.portal.call(stopping.at_the_end, app, 0.0, asyncio.Event(), said.append)
        assert client.portal.call(registered) == []  # before the server itself ends


def test_a_server_that_has_no_directory_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="has no directory for that: give it the address of a NATS server"):
        directory_at(None, "")
    app = application(Served(None, {"agent": graph}, "", Settings(announce=Announcement(url="http://h:1"))), None)
    with pytest.raises(ConfigurationError, match="has no directory"), TestClient(app):
        pass


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({}, r"\[announce\] has no 'url'"),
        ({"url": "agents.example.com"}, r"\[announce\]: .*expected an address such as"),
        ({"url": "https://a.example.com", "weight": 0.5}, r"has the weight 0.5"),
        ({"url": "https://a.example.com", "port": 1}, r"\[announce\]: port is not known"),
    ],
)
def test_announcements_that_make_no_sense_are_named(said: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        settings_of({"announce": said}, Path())
