"""Fenced saves that are stored together: all of them in one transaction with the check of the lease, or none."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.base.id import uuid6

from stategraph.workers.fencing.saver import FencedSaver
from stategraph.workers.leases import LeaseLost
from stategraph.workers.registry.values import Event
from tests.savers.drivers import loop
from tests.workers.savers import OWN, async_saver, sync_saver
from tests.workers.test_fencing import Box, claim, graph_of, place, store_of, take_over, wrap

KINDS = [
    "sqlite-sync",
    "sqlite-async",
    "postgres-sync",
    "postgres-sync-pool",
    "postgres-async",
    "postgres-async-pool",
    "plain-sync-pool",
    "plain-async-pool",
]


class Site:
    """A database with a registry, and savers of ours on it."""

    def __init__(self, url: str, api: str, pool: bool, run: Any) -> None:
        self.url, self._api, self._pool, self.run = url, api, pool, run
        self.saver: Any = None

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """Open a saver, by its API."""
        if self._api == "sync":
            with sync_saver(self.url, pool=self._pool) as saver:
                yield saver
            return
        context = async_saver(self.url, pool=self._pool)
        saver = self.run(context.__aenter__())
        try:
            yield saver
        finally:
            self.run(context.__aexit__(None, None, None))

    def store(self, fenced: FencedSaver, saves: list[Any]) -> int:
        """Store saves together; called in the thread or in the loop of the saver."""
        if self._api == "sync":
            assert fenced.put_together is not None
            return fenced.put_together(saves)

        async def stored() -> int:
            assert fenced.aput_together is not None
            return await fenced.aput_together(saves)

        found: int = self.run(stored())
        return found

    def ids(self, saver: Any) -> list[str]:
        """The checkpoints of the thread, the oldest first."""
        if self._api == "sync":
            found = list(saver.list(place()))
        else:

            async def listed() -> list[Any]:
                return [each async for each in saver.alist(place())]

            found = self.run(listed())
        return [each.checkpoint["id"] for each in reversed(found)]

    def newest(self, saver: Any) -> Any:
        """The newest checkpoint."""
        return saver.get_tuple(place()) if self._api == "sync" else self.run(saver.aget_tuple(place()))


@pytest.fixture(params=KINDS)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    kind, api, *pool = request.param.split("-")
    if kind == "sqlite":
        url = f"sqlite:///{tmp_path / 'own.db'}"
    else:
        address = request.getfixturevalue("postgres")
        url = address + OWN
        if kind == "plain":  # the tables of langgraph-checkpoint-postgres, which are kept as they are
            with sync_saver(address):
                pass
    with loop() as run:
        yield Site(url, api, bool(pool), run)


def saved(parent: str | None = None, **values: Any) -> tuple[str, Any]:
    """A save of a checkpoint."""
    made_id = str(uuid6())
    versions = dict.fromkeys(values, made_id)
    made = {**empty_checkpoint(), "id": made_id, "channel_values": values, "channel_versions": versions}
    return "put", (place(checkpoint_id=parent), made, {"source": "loop", "step": 1}, versions)


def written(checkpoint_id: str, value: Any, task: str = "task") -> tuple[str, Any]:
    """A save of what a task has written."""
    return "put_writes", (place(checkpoint_id=checkpoint_id), [("done", value)], task)


def id_of(save: tuple[str, Any]) -> str:
    found: str = save[1][1]["id"]
    return found


LONG = "x" * 300


def test_saves_are_stored_together_with_the_events_before_them(site: Site) -> None:
    with store_of(site.url) as store, site.opened() as saver:
        claimed, outbox = claim(store), Box()
        fenced = wrap(saver, claimed, outbox=outbox)
        outbox.events = [(2, Event("told", b"1")), (3, Event("told", b"2"))]
        first = saved(done=[LONG])
        second = saved(id_of(first), done=[LONG, LONG + "y"])
        assert site.store(fenced, [first, written(id_of(first), LONG), second]) == 3
        assert site.ids(saver) == [id_of(first), id_of(second)]
        assert site.newest(saver).checkpoint["channel_values"] == {"done": [LONG, LONG + "y"]}
        assert outbox.events == []
        assert [seq for seq, *_ in store.events(claimed.lease.run_id, 1, 10)] == [2, 3]
        third = saved(id_of(second), done=[LONG, LONG + "y", LONG])
        assert site.store(fenced, [written(id_of(second), LONG), third]) == 2
        assert site.newest(saver).checkpoint["channel_values"] == {"done": [LONG, LONG + "y", LONG]}


def test_of_saves_together_nothing_is_stored_once_the_thread_is_lost(site: Site) -> None:
    with store_of(site.url) as store, site.opened() as saver:
        claimed, outbox = claim(store), Box()
        stale = wrap(saver, claimed, outbox=outbox)
        first = saved(done=[LONG])
        site.store(stale, [first])
        taken = take_over(store)
        outbox.events = [(9, Event("told", b"late"))]
        second = saved(id_of(first), done=[LONG, "late" * 100])
        for saves in ([written(id_of(first), "late" * 100), second], [second, written(id_of(second), "late")]):
            with pytest.raises(LeaseLost, match="Nothing was written"):
                site.store(stale, saves)
        found = site.newest(saver)
        assert found.checkpoint["id"] == id_of(first)
        assert found.pending_writes == []
        assert [event for *_, event in store.events(claimed.lease.run_id, 8, 10)] == []
        assert outbox.events != []
        # The saver remembers nothing that was not stored.
        assert site.store(wrap(saver, taken), [written(id_of(first), LONG), second]) == 2
        with site.opened() as other:
            assert site.newest(other).checkpoint["channel_values"] == {"done": [LONG, "late" * 100]}


def test_of_saves_together_the_first_is_stored_if_a_later_one_cannot_be(site: Site) -> None:
    with store_of(site.url) as store, site.opened() as saver:
        fenced = wrap(saver, claim(store))
        first = saved(done=[LONG])
        bad = written(id_of(first), object())
        third = saved(id_of(first), done=[LONG, LONG])
        assert site.store(fenced, [first, bad, third]) == 1
        with pytest.raises(TypeError):
            site.store(fenced, [bad, third])
        assert site.ids(saver) == [id_of(first)]
        assert site.store(fenced, [third]) == 1
        with site.opened() as other:
            assert site.newest(other).checkpoint["channel_values"] == {"done": [LONG, LONG]}


def test_a_saver_that_knows_less_than_the_database_stores_all_the_same(site: Site) -> None:
    """What this saver has planned holds for what it knew of the thread; the events are stored once, with the saves."""
    with store_of(site.url) as store, site.opened() as saver, site.opened() as other:
        claimed, outbox = claim(store), Box()
        fenced, elsewhere = wrap(saver, claimed, outbox=outbox), wrap(other, claimed)
        first = saved(done=[LONG])
        site.store(fenced, [first])
        second = saved(id_of(first), done=[LONG, "second" * 100])
        site.store(elsewhere, [second])
        outbox.events = [(5, Event("told", b"1"))]
        third = saved(id_of(second), done=[LONG, "second" * 100, "third" * 100])
        assert site.store(fenced, [written(id_of(second), "third" * 100), third]) == 2
        assert outbox.events == []
        assert len(store.events(claimed.lease.run_id, 4, 10)) == 1
        for each in (saver, other):
            found = site.newest(each).checkpoint["channel_values"]
            assert found == {"done": [LONG, "second" * 100, "third" * 100]}


def test_runs_store_their_saves_together(site: Site) -> None:
    with store_of(site.url) as store, site.opened() as saver:
        fenced = wrap(saver, claim(store))
        graph = graph_of(fenced)
        if site._api == "sync":
            done = [graph.invoke({"done": [d]}, place(), durability=d) for d in ("sync", "async", "exit")]
        else:

            async def ran() -> list[Any]:
                return [await graph.ainvoke({"done": [d]}, place(), durability=d) for d in ("sync", "async", "exit")]

            done = site.run(ran())
        nodes = ["n0", "n1", "n2"]
        assert done[-1]["done"] == ["sync", *nodes, "async", *nodes, "exit", *nodes]
        with site.opened() as other:
            assert site.newest(other).checkpoint["channel_values"]["done"] == done[-1]["done"]


def test_an_async_saver_takes_saves_together_from_other_threads(postgres: str) -> None:
    async def scenario() -> None:
        with store_of(postgres) as store:
            async with async_saver(postgres + OWN, pool=True) as saver:
                fenced = wrap(saver, claim(store))
                first = saved(done=[LONG])
                assert fenced.put_together is not None
                assert await asyncio.to_thread(fenced.put_together, [first, written(id_of(first), 1)]) == 2
                assert (await saver.aget_tuple(place())).pending_writes == [("task", "done", 1)]

    asyncio.run(scenario())


def test_a_sync_saver_has_no_async_way_to_store_together(postgres: str) -> None:
    with store_of(postgres) as store, sync_saver(postgres + OWN) as saver:
        fenced = wrap(saver, claim(store))
        assert fenced.put_together is not None
        assert fenced.aput_together is None
        with pytest.raises(NotImplementedError):
            asyncio.run(fenced.aput(*saved(done=[1])[1]))
