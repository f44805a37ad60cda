"""A directory: its sources, who is present, cards and health."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from stategraph.errors import ConfigurationError
from stategraph.fleet import (
    AgentEndpoint,
    CardCache,
    DatabaseSource,
    Directory,
    EndpointError,
    HealthChecks,
    NatsSource,
    NoEndpointError,
    StaticSource,
)
from stategraph.fleet.directory import Wanted
from tests.fleet.scripted import serving
from tests.sqlite import connection

pytestmark = pytest.mark.anyio

ONE = AgentEndpoint(agent="one", url="http://one.example")
OTHER = AgentEndpoint(agent="other", url="http://other.example", weight=5, capabilities=frozenset({"search"}))
LIMIT_S = 60


async def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def known(directory: Directory) -> list[str]:
    return [each.endpoint.key for each in directory.endpoints()]


async def test_a_table_is_shared(url: str) -> None:
    async with Directory(DatabaseSource.from_url(url)) as here, Directory(DatabaseSource.from_url(url)) as there:
        await here.register(ONE)
        await here.register(OTHER)
        assert known(there) == []
        await there.refresh()
        assert [each.endpoint for each in there.endpoints()] == [ONE, OTHER]
        await there.register(AgentEndpoint(agent="one", url="http://one.example", weight=0))
        await here.refresh()
        assert here.endpoints()[0].endpoint.weight == 0
        assert await here.deregister(OTHER.key)
        assert not await here.deregister(OTHER.key)
        await there.refresh()
        assert known(there) == [ONE.key]


async def test_a_row_is_gone_after_its_time(url: str) -> None:
    async with Directory(DatabaseSource.from_url(url)) as directory:
        await directory.register(ONE, ttl_s=0.05)
        await directory.register(OTHER, ttl_s=600)
        await asyncio.sleep(0.1)
        await directory.refresh()
        assert known(directory) == [OTHER.key]


async def test_many_register_at_once(url: str) -> None:
    sources = [DatabaseSource.from_url(url) for _ in range(4)]
    many = [AgentEndpoint(agent="many", url=f"http://h{at}.example") for at in range(20)]
    await asyncio.gather(*(sources[at % 4].register(each, ttl_s=600) for at, each in enumerate(many)))
    for source in sources:
        assert {each.key for each in await source.read()} == {each.key for each in many}
        await source.close()


async def test_a_bad_row_hides_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with Directory(DatabaseSource.from_url(f"sqlite:///{tmp_path / 'agents.db'}")) as directory:
        await directory.register(ONE)
        with connection(tmp_path / "agents.db") as bad:
            bad.execute("INSERT INTO sg_agent_endpoint VALUES ('x', '{\"agent\": \"x\"}', NULL)")
            bad.commit()
        for _ in range(3):
            await directory.refresh()
        assert known(directory) == [ONE.key]
        assert [each.getMessage() for each in caplog.records] == [
            "An entry of the directory is left out: An endpoint has no 'url'"
        ]


@pytest.mark.parametrize("kind", ["database", "nats"])
async def test_an_agent_is_present_as_long_as_it_says_so(kind: str, request: pytest.FixtureRequest) -> None:
    if kind == "nats":
        address = request.getfixturevalue("nats_url")
        sources = [NatsSource(address, ttl_s=2.0) for _ in range(2)]
    else:
        address = f"sqlite:///{request.getfixturevalue('tmp_path') / 'agents.db'}"
        sources = [DatabaseSource.from_url(address) for _ in range(2)]
    async with Directory(sources[0], refresh_s=0.05) as here, Directory(sources[1], refresh_s=0.05) as there:
        async with here.present(ONE, ttl_s=1.0):
            await until(lambda: known(there) == [ONE.key])
            await asyncio.sleep(2.5)  # it is heard of again and again
            assert known(there) == [ONE.key]
        await until(lambda: not known(there))  # it said that it goes
        assert known(here) == []


class Slow(StaticSource):
    """A source whose next reading, once it has read, waits to be let go."""

    def __init__(self) -> None:
        super().__init__()
        self.holds = False
        self.has_read, self.go = asyncio.Event(), asyncio.Event()

    async def read(self) -> Sequence[AgentEndpoint]:
        found = await super().read()
        if self.holds:
            self.holds = False
            self.has_read.set()
            await self.go.wait()
        return found


async def test_a_reading_that_began_earlier_and_comes_later_does_not_count() -> None:
    source = Slow()
    async with Directory(source, refresh_s=3600) as directory:
        await directory.register(ONE)
        source.holds = True
        late = asyncio.create_task(directory.refresh())
        await source.has_read.wait()
        await directory.deregister(ONE.key)
        source.go.set()
        await late
        assert known(directory) == []


async def test_one_that_died_is_gone_from_nats_after_a_while(nats_url: str) -> None:
    async with Directory(NatsSource(nats_url, ttl_s=1.0), refresh_s=0.05) as directory:
        await directory.register(OTHER, ttl_s=1.0)
        assert [each.endpoint for each in directory.endpoints()] == [OTHER]
        await until(lambda: not known(directory))
        with pytest.raises(
            ConfigurationError, match="cannot be registered in NATS for good: entries are gone after 1 s"
        ):
            await directory.register(ONE)
        assert not await directory.deregister(ONE.key)


class Failing:
    """A source that can be away."""

    def __init__(self) -> None:
        self.is_away = False

    async def read(self) -> Sequence[AgentEndpoint]:
        if self.is_away:
            raise ConnectionError("The database is away")
        return [ONE]

    async def close(self) -> None:
        """Do nothing."""


async def test_what_was_known_stays_when_a_source_is_away(caplog: pytest.LogCaptureFixture) -> None:
    source = Failing()
    async with Directory(source, StaticSource([OTHER])) as directory:
        source.is_away = True
        for _ in range(3):
            await directory.refresh()
        assert known(directory) == [ONE.key, OTHER.key]
        assert len(caplog.records) == 1  # once
        await directory.register(AgentEndpoint(agent="new", url="http://new.example"))  # the first that takes it
        assert known(directory)[0] == "new@http://new.example"


async def test_a_database_that_is_away_at_the_beginning_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "agents.db").mkdir()
    async with Directory(DatabaseSource.from_url(f"sqlite:///{tmp_path / 'agents.db'}")) as directory:
        assert known(directory) == []
        assert "Agents cannot be read" in caplog.text
        with pytest.raises(
            NoEndpointError, match=r"There is no endpoint of any agent. Agents that are registered: none"
        ):
            directory.pick(Wanted(), "round_robin")
        with pytest.raises((ConnectionError, sqlite3.Error)):
            await directory.register(ONE)


async def test_how_an_endpoint_does_is_kept_when_it_is_registered_again() -> None:
    async with Directory(StaticSource([ONE])) as directory:
        (standing,) = directory.endpoints()
        standing.begin()
        assert directory.pick(Wanted("one"), "weighted") is standing
        await directory.register(AgentEndpoint(agent="one", url="http://one.example", weight=7))
        assert directory.endpoints()[0] is standing
        assert standing.endpoint.weight == 7
        assert standing.outstanding == 1


async def test_a_directory_without_sources_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="A directory needs a source"):
        Directory()
    async with Directory(Failing()) as directory:
        with pytest.raises(ConfigurationError, match="None of the directory's sources takes registrations"):
            await directory.register(OTHER)


async def test_a_drained_endpoint_is_named_with_its_reason() -> None:
    drained = AgentEndpoint(agent="one", url="http://one.example", weight=0)
    async with Directory(StaticSource([drained])) as directory:
        with pytest.raises(NoEndpointError, match=r"takes requests now: http://one.example is drained"):
            directory.pick(Wanted("one"), "round_robin")


async def test_a_card_is_asked_for_by_its_etag() -> None:
    now = [0.0]
    async with serving("one", skills=("search",)) as (agent,), httpx.AsyncClient() as client:
        cards = CardCache(client, clock=lambda: now[0])
        where = agent.url + "/.well-known/agent-card.json"
        first, second = await asyncio.gather(cards.get(where), cards.get(where))
        assert first is second
        assert agent.cards == 1
        now[0] = 299.0
        assert await cards.get(where) is first
        now[0] = 301.0
        assert await cards.get(where) is first
        assert (agent.cards, agent.unchanged) == (2, 1)
        agent.etag, agent.name = '"2"', "new"
        assert (await cards.get(where)) is first
        assert (await cards.get(where, fresh=True)).name == "new"
        assert (await cards.raw(where))["name"] == "new"
        assert agent.cards == 3


async def test_a_server_says_for_how_long_its_card_counts() -> None:
    now = [0.0]
    async with serving("one") as (agent,), httpx.AsyncClient() as client:
        cards = CardCache(client, clock=lambda: now[0])
        agent.max_age = 10
        await cards.get(agent.url)
        now[0] = 9.0
        await cards.get(agent.url)
        assert agent.cards == 1
        now[0] = 10.5
        agent.max_age = 10**8
        await cards.get(agent.url)
        now[0] = 10.5 + 3_600
        await cards.get(agent.url)
        assert agent.cards == 3


async def test_the_oldest_card_goes_first() -> None:
    async with serving("one", "two", "three") as agents, httpx.AsyncClient() as client:
        cards = CardCache(client, most=2)
        for at in (0, 1, 0, 2, 0, 1):
            await cards.get(agents[at].url)
        assert [each.cards for each in agents] == [1, 2, 1]


def _refuse(card: object) -> None:
    raise ValueError("no signature")


async def test_what_is_no_card_is_told() -> None:
    async with serving("one") as (agent,), httpx.AsyncClient() as client:
        with pytest.raises(EndpointError, match="is not to be trusted: no signature"):
            await CardCache(client, verify=_refuse).get(agent.url)
        cards = CardCache(client)
        agent.card = lambda: {"name": ["x"]}  # type: ignore[method-assign]
        with pytest.raises(EndpointError, match="is no card of an agent"):
            await cards.get(agent.url)
        agent.card = lambda: {"name": "x" * 2**20}  # type: ignore[method-assign]
        with pytest.raises(EndpointError, match="has more than 1,048,576 bytes"):
            await cards.get(agent.url)
        await agent.kill()
        with pytest.raises(EndpointError, match="could not be read"):
            await cards.get(agent.url)
        await agent.start()


async def test_health_checks_find_out_who_is_there_and_what_it_can_do(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "stategraph.fleet")
    async with serving("one", "other", skills=("search",)) as agents, httpx.AsyncClient() as client:
        source = StaticSource(AgentEndpoint(agent=each.name, url=each.url) for each in agents)
        async with Directory(source) as directory:
            checks = HealthChecks(directory, CardCache(client))
            await checks.check()
            search = Wanted(capabilities=frozenset({"search", "scripted"}))
            assert {directory.pick(search, "round_robin").endpoint.agent for _ in range(2)} == {"one", "other"}
            await agents[0].kill()
            await checks.check()
            assert [each.healthy for each in directory.endpoints()] == [True, True]  # once is not enough
            await checks.check()
            assert {directory.pick(search, "round_robin").endpoint.agent for _ in range(4)} == {"other"}
            with pytest.raises(NoEndpointError, match="is unhealthy"):
                directory.pick(Wanted("one"), "round_robin")
            await agents[0].start()
            await checks.check()
            assert directory.pick(Wanted("one"), "round_robin").healthy
            assert agents[1].unchanged >= 3  # by its ETag
            assert "is unhealthy" in caplog.text
            assert "is healthy again" in caplog.text


async def test_health_checks_go_on_until_the_block_ends() -> None:
    async with (
        serving("one") as (agent,),
        httpx.AsyncClient() as client,
        Directory(StaticSource([AgentEndpoint(agent="one", url=agent.url)])) as directory,
    ):
        async with HealthChecks(directory, CardCache(client), every_s=0.02):
            await until(lambda: agent.cards >= 3)
        seen = agent.cards
        await asyncio.sleep(0.1)
        assert agent.cards == seen


class _Odd(StaticSource):
    """A source that raises what no source should, some times."""

    def __init__(self, *errors: Exception) -> None:
        super().__init__([OTHER])
        self.left = list(errors)

    async def read(self) -> Sequence[AgentEndpoint]:
        if self.left:
            raise self.left.pop(0)
        return await super().read()


async def test_agents_are_read_again_after_whatever_error_of_a_source(caplog: pytest.LogCaptureFixture) -> None:
    odd = _Odd()
    async with Directory(odd, StaticSource([ONE]), refresh_s=0.01) as directory:
        odd.left = [TypeError("planted"), KeyError("planted")]
        await until(lambda: not odd.left and known(directory) == [ONE.key, OTHER.key])
    logged = [record.exc_info[1] for record in caplog.records if record.exc_info]
    assert [type(each) for each in logged] == [TypeError, KeyError]


async def test_the_other_sources_are_read_where_one_fails() -> None:
    odd = _Odd()
    more = StaticSource([ONE])
    async with Directory(odd, more, refresh_s=LIMIT_S) as directory:
        odd.left = [TypeError("planted")]
        await more.register(AgentEndpoint(agent="third", url="http://third.example"))
        with pytest.raises(TypeError):
            await directory.refresh()
        assert len(known(directory)) == 3


async def test_health_checks_go_on_after_whatever_a_card_does(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving("one", "other") as agents, httpx.AsyncClient() as client:
        source = StaticSource(AgentEndpoint(agent=each.name, url=each.url) for each in agents)
        cards = CardCache(client)
        get = cards.get

        async def odd(url: str, **options: Any) -> Any:
            if url.startswith(agents[0].url):
                raise TypeError("planted")
            return await get(url, **options)

        monkeypatch.setattr(cards, "get", odd)
        async with Directory(source) as directory, HealthChecks(directory, cards, every_s=0.01):
            await until(lambda: agents[1].cards >= 4)
            assert {each.endpoint.agent: each.healthy for each in directory.endpoints()} == {
                "one": False,
                "other": True,
            }
    assert "could not be read" in caplog.text


async def test_an_endpoint_stays_present_after_whatever_error_of_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = DatabaseSource.from_url(f"sqlite:///{folder}/agents.db")
        async with Directory(source) as directory, directory.present(ONE, ttl_s=0.03):
            register, calls = source.register, []

            async def odd(*arguments: Any) -> None:
                calls.append(arguments)
                if len(calls) == 1:
                    raise TypeError("planted")
                await register(*arguments)

            monkeypatch.setattr(source, "register", odd)
            await until(lambda: len(calls) >= 3)
