"""Events in this process and over NATS."""

from __future__ import annotations

from collections.abc import Iterator

import anyio
import pytest

from stategraph.resources import EventBus, ResourceError
from stategraph.resources.bus import MOST_WAITING, Event, matches
from tests.workers import nats_server

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("pattern", "topic", "fits"),
    [
        ("agent.reconciled", "agent.reconciled", True),
        ("agent.*", "agent.reconciled", True),
        ("*.reconciled", "workflow.reconciled", True),
        ("*", "agent", True),
        (">", "agent.reconciled", True),
        ("agent.>", "agent.a.b", True),
        ("agent.>", "agent", False),
        ("agent.*", "agent.a.b", False),
        ("agent.*", "agent", False),
        ("*.reconciled", "agent.deleted", False),
        ("agent", "agent.reconciled", False),
    ],
)
def test_patterns_match_words(pattern: str, topic: str, fits: bool) -> None:
    assert matches(tuple(pattern.split(".")), tuple(topic.split("."))) is fits


async def test_subscribers_hear_their_topics_and_nothing_from_before() -> None:
    bus = EventBus()
    await bus.publish("agent.reconciled", {"n": 0})
    with bus.listening("agent.*") as agents, bus.listening() as everything:
        for topic, number in (("agent.reconciled", 1), ("tool.deleted", 2), ("agent.deleted", 3)):
            await bus.publish(topic, {"n": number})
        assert [await anext(agents) for _ in range(2)] == [
            Event("agent.reconciled", {"n": 1}),
            Event("agent.deleted", {"n": 3}),
        ]
        assert [(await anext(everything)).data["n"] for _ in range(3)] == [1, 2, 3]
    await bus.publish("agent.reconciled", {"n": 4})  # nobody listens


async def test_who_does_not_keep_up_loses_the_oldest_and_holds_nobody_up() -> None:
    bus = EventBus()
    with bus.listening() as events:
        for number in range(MOST_WAITING + 5):
            await bus.publish("a", {"n": number})
        assert (await anext(events)).data["n"] == 5


@pytest.mark.parametrize("topic", ["", "a..b", "a.*", "a b", "ä", ">"])
async def test_what_is_no_topic_is_refused(topic: str) -> None:
    with pytest.raises(ResourceError, match="is no topic"):
        await EventBus().publish(topic, {})


@pytest.mark.parametrize("pattern", ["", "a.>.b", "a**"])
async def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ResourceError, match="is no pattern"):
        async for _ in EventBus().subscribe(pattern):
            pass


async def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(TypeError):
        await EventBus().publish("a", {"x": object()})


@pytest.fixture(scope="module")
def nats() -> Iterator[nats_server.NatsServer]:
    try:
        nats_server.program()
    except nats_server.UnavailableError as error:
        pytest.skip(str(error))
    with nats_server.serving() as server:
        yield server


async def test_events_reach_other_processes_over_nats_once(nats: nats_server.NatsServer) -> None:
    first, second = (EventBus(f"{nats.url}?namespace=resources-test") for _ in range(2))
    other = EventBus(f"{nats.url}?namespace=resources-other")
    try:
        with anyio.fail_after(60):
            for each in (first, second, other):
                await each.start()
                await each.connected()
            with first.listening() as here, second.listening("agent.*") as there, other.listening() as elsewhere:
                await first.publish("tool.reconciled", {"n": 1})
                await first.publish("agent.reconciled", {"n": 2, "text": "ü"})
                await second.publish("agent.deleted", {"n": 3})
                assert [(await anext(here)).data["n"] for _ in range(3)] == [1, 2, 3]
                heard = [await anext(there) for _ in range(2)]
                assert sorted(each.data["n"] for each in heard) == [2, 3]
                await other.publish("last", {"n": 4})
                assert (await anext(elsewhere)).data["n"] == 4
    finally:
        for each in (first, second, other):
            await each.stop()


async def test_without_its_server_a_bus_tells_this_process(caplog: pytest.LogCaptureFixture) -> None:
    bus = EventBus("nats://127.0.0.1:1")
    await bus.start()
    try:
        with bus.listening() as events, anyio.fail_after(60):
            await bus.publish("a", {"n": 1})
            assert (await anext(events)).data["n"] == 1
            while "Events of resources stay in this process" not in caplog.text:
                await anyio.lowlevel.checkpoint()
    finally:
        await bus.stop()
