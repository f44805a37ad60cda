"""State that networks share, on each database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from stategraph.resources import ResourceError, ResourceKey, StateChange, StateStores

pytestmark = pytest.mark.anyio

Opens = Callable[[str], StateStores]


@pytest.fixture
async def states() -> AsyncIterator[Opens]:
    """Opens states that are closed at the end of the test."""
    opened: list[StateStores] = []

    def open_one(url: str) -> StateStores:
        opened.append(StateStores(url))
        return opened[-1]

    yield open_one
    for each in opened:
        await each.close()


async def test_values_are_set_read_listed_and_deleted_in_their_scope(url: str, states: Opens) -> None:
    opened = states(url)
    store, other = opened.scope("a"), opened.scope("b")
    assert await store.get("x", 7) == 7
    assert await store.set("x", {"y": [1, None, "ü"]}) == 1
    assert await store.set("z/1", 1) == 2
    assert await other.set("x", "other") == 1
    assert await store.get("x") == {"y": [1, None, "ü"]}
    assert store.blocking.get("x") == {"y": [1, None, "ü"]}
    assert await store.all() == {"x": {"y": [1, None, "ü"]}, "z/1": 1}
    assert await store.all("z/") == {"z/1": 1}
    assert await store.delete("x")
    assert not await store.delete("x")
    assert await store.get("x") is None
    assert await other.all() == {"x": "other"}
    await store.clear()
    assert await store.all() == {}
    assert await store.version() == 4


async def test_updates_of_many_writers_lose_nothing(url: str, states: Opens) -> None:
    first = states(url).scope("n")
    second = first if url == "memory:" else states(url).scope("n")

    async def slowly(value: int) -> int:
        await asyncio.sleep(0)
        return value + 1

    async def count(which: Any, function: Any) -> None:
        for _ in range(10):
            await which.update("count", function, 0)

    with anyio.fail_after(60):
        await asyncio.gather(
            count(first, lambda value: value + 1),
            count(second, lambda value: value + 1),
            count(first, slowly),
            asyncio.to_thread(lambda: [second.blocking.update("count", lambda value: value + 1, 0) for _ in range(10)]),
        )
    assert await first.get("count") == 40
    assert await second.version() == 40


async def test_a_value_is_gone_after_its_time(url: str, states: Opens) -> None:
    opened = states(url)
    store = opened.scope("n", ttl=60)
    await store.set("long", 1)
    await store.set("short", 2, ttl=0.0)
    await store.set("short2", 3, ttl=0.0)
    with anyio.fail_after(60):
        while await store.all() != {"long": 1}:
            await anyio.lowlevel.checkpoint()
    assert await store.get("short") is None
    assert await store.update("short", lambda value: value, "new") == "new"
    assert await store.get("short") == "new"
    assert not await store.delete("short2")


async def test_a_watch_tells_the_newest_change_of_each_key(url: str, states: Opens) -> None:
    store = states(url).scope("n")
    writer = store if url == "memory:" else states(url).scope("n")
    await store.set("a", 1)
    await store.set("a", 2)
    await store.set("other", 3)
    found: list[StateChange] = []
    came = asyncio.Event()

    async def watch() -> None:
        async for each in store.watch("a", 0):
            found.append(each)
            came.set()

    async def until(number: int) -> None:
        with anyio.fail_after(60):
            while len(found) < number:
                came.clear()
                await came.wait()

    watching = asyncio.create_task(watch())
    await until(1)
    await writer.set("a1", {"x": 1})
    await until(2)
    await writer.delete("a")
    await until(3)
    watching.cancel()
    assert found == [
        StateChange("a", 2, 2),
        StateChange("a1", {"x": 1}, 4),
        StateChange("a", None, 5, is_deleted=True),
    ]


async def test_state_outlives_the_process_if_it_is_to(tmp_path: Path, states: Opens) -> None:
    url = f"sqlite:///{tmp_path}/state.db"
    key = ResourceKey("Network", "default", "n")
    first, second = states(url), states(url)
    await first.network(key).set("a", 1)
    await first.network(key, persistence=False).set("a", 2)
    assert await second.network("network/default/n").get("a") == 1
    assert await second.network(key, persistence=False).get("a") is None
    assert await first.network(key, persistence=False).get("a") == 2


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("", 1, "A key of state is a text of 1 to 512 characters"),
        ("k" * 513, 1, "A key of state is a text of 1 to 512 characters"),
        ("a", {1, 2}, "The value of 'a' is no JSON"),
        ("a", float("nan"), "The value of 'a' is no JSON"),
        ("a", "x" * (1024 * 1024), "The value of 'a' is larger than 1,048,576 bytes as JSON"),
    ],
)
async def test_what_cannot_be_kept_is_refused(key: str, value: Any, told: str, states: Opens) -> None:
    store = states("memory:").scope("n")
    with pytest.raises(ResourceError, match=told):
        await store.set(key, value)
    assert await store.all() == {}
