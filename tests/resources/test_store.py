"""The contract of a store, on each database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import anyio
import pytest

from stategraph.errors import ConfigurationError
from stategraph.resources import Change, ConflictError, Metadata, Resource, ResourceKey, WatchGapError
from stategraph.resources.model import OwnerReference
from stategraph.resources.store.database import DatabaseStore
from stategraph.resources.store.opening import open_store

pytestmark = pytest.mark.anyio

Stores = Callable[[str], DatabaseStore]


def resource(name: str, spec: dict[str, Any] | None = None, kind: str = "Agent", **metadata: Any) -> Resource:
    return Resource("stategraph.dev/v1", kind, Metadata(name, **metadata), spec or {})


READY = {"conditions": [{"type": "Ready", "status": "True", "observedGeneration": 1}]}


async def changes(store: DatabaseStore, number: int, after: int = 0) -> list[Change]:
    found: list[Change] = []
    if number:
        with anyio.fail_after(60):
            async for each in store.watch(after):
                found.append(each)
                if len(found) == number:
                    break
    return found


async def test_a_resource_is_written_read_changed_and_deleted(url: str, stores: Stores) -> None:
    store = stores(url)
    owner = OwnerReference("System", "s", "u1")
    made = await store.put(resource("a", {"x": [1, {"y": None}]}, labels={"app": "k"}, owner_references=(owner,)))
    assert (made.metadata.generation, made.metadata.resource_version) == (1, 1)
    assert len(made.metadata.uid) == 32
    assert await store.get(made.key) == made
    assert await store.put(made) == made  # nothing changed
    changed = await store.put(replace(made, spec={"x": 2}))
    assert (changed.metadata.generation, changed.metadata.resource_version) == (2, 2)
    labelled = await store.put(changed.with_metadata(labels={}))
    assert (labelled.metadata.generation, labelled.metadata.resource_version) == (2, 3)
    assert await store.delete(made.key) is None
    assert await store.get(made.key) is None
    assert await store.delete(made.key) is None
    key = ResourceKey("Agent", "default", "a")
    expected = [("added", 1), ("modified", 2), ("modified", 3), ("deleted", 4)]
    assert await changes(store, 4) == [Change(op, version, key) for op, version in expected]  # type: ignore[arg-type]


async def test_a_writer_of_an_old_version_is_refused(url: str, stores: Stores) -> None:
    store = stores(url)
    old = await store.put(resource("a", {"x": 1}))
    new = await store.put(replace(old, spec={"x": 2}))
    with pytest.raises(
        ConflictError, match="agent/default/a was changed meanwhile: it has version 2, this was made from 1"
    ):
        await store.put(replace(old, spec={"x": 3}))
    with pytest.raises(ConflictError, match="changed meanwhile"):
        await store.put_status(replace(old, status=READY))
    with pytest.raises(ConflictError, match="is there already"):
        await store.put(resource("a"))
    with pytest.raises(ConflictError, match="changed meanwhile"):
        await store.delete(old.key, resource_version=1)
    await store.delete(old.key, resource_version=2)
    for write in (store.put, store.put_status):
        with pytest.raises(ConflictError, match="was deleted meanwhile"):
            await write(replace(new, spec={}, status=READY))
    assert [each.op for each in await changes(store, 3)] == ["added", "modified", "deleted"]


async def test_status_and_spec_do_not_touch_each_other(url: str, stores: Stores) -> None:
    store = stores(url)
    made = await store.put(resource("a", {"x": 1}))
    ready = await store.put_status(replace(made, spec={"lost": True}, status=READY))
    assert ready.is_ready
    stored = await store.get(made.key)
    assert stored is not None
    assert (stored.spec, stored.status) == ({"x": 1}, READY)
    assert await store.put_status(replace(stored, status=READY)) == stored
    assert [each.op for each in await changes(store, 2)] == ["added", "status"]
    changed = await store.put(replace(stored, spec={"x": 2}, status={}))
    assert changed.status == READY
    assert not changed.is_ready  # that was the generation before
    good = await store.last_good(made.key)
    assert good is not None
    assert (good.spec, good.metadata.generation) == ({"x": 1}, 1)
    assert await store.last_good(ResourceKey("Agent", "default", "none")) is None


async def test_finalizers_hold_up_a_deletion(url: str, stores: Stores) -> None:
    store = stores(url)
    made = await store.put(resource("a", finalizers=("x",)))
    going = await store.delete(made.key)
    assert going is not None
    assert going.is_deleting
    assert await store.delete(made.key) == going
    await store.put(going.with_metadata(finalizers=()))
    assert await store.get(made.key) is None
    assert [each.op for each in await changes(store, 3)] == ["added", "deleting", "deleted"]


async def test_resources_are_listed_by_kind_namespace_and_labels(url: str, stores: Stores) -> None:
    store = stores(url)
    for kind, namespace, name, labels in (
        ("Agent", "default", "b", {"app": "x"}),
        ("Agent", "default", "a", {"app": "x", "tier": "1"}),
        ("Agent", "cooking", "a", {}),
        ("Model", "default", "a", {}),
    ):
        await store.put(resource(name, kind=kind, namespace=namespace, labels=labels))

    async def names(*arguments: Any, **options: Any) -> list[str]:
        return [str(each.key) for each in await store.list(*arguments, **options)]

    everything = ["agent/cooking/a", "agent/default/a", "agent/default/b", "model/default/a"]
    assert await names() == everything
    assert await names("AGENT") == everything[:3]
    assert await names("agent", "default") == everything[1:3]
    assert await names(None, "cooking") == everything[:1]
    assert await names(labels={"app": "x"}) == everything[1:3]
    assert await names(labels={"app": "x", "tier": "1"}) == everything[1:2]
    listing = await store.snapshot()
    assert ([str(each.key) for each in listing.resources], listing.version) == (everything, 4)


async def test_applying_keeps_what_others_set_and_removes_what_the_manifest_dropped(url: str, stores: Stores) -> None:
    store = stores(url)
    first = resource("a", {"x": 1, "scaling": {"min": 1, "max": 2}, "gone": 1}, labels={"app": "k"})
    (made,) = await store.apply([first], finalizers={"agent": "f"})
    assert (made.action, made.resource.metadata.finalizers) == ("created", ("f",))
    assert [each.action for each in await store.apply([first, first])] == ["unchanged"] * 2
    assert await store.version() == 1
    scaled = await store.put(replace(made.resource, spec={**made.resource.spec, "replicas": 7}))
    second = resource("a", {"x": 2, "scaling": {"max": 2}}, labels={})
    (changed,) = await store.apply([second])
    assert changed.action == "configured"
    assert changed.resource.spec == {"x": 2, "scaling": {"max": 2}, "replicas": 7}
    assert changed.resource.metadata.labels == {}
    assert changed.resource.metadata.finalizers == ("f",)
    assert changed.resource.metadata.generation == scaled.metadata.generation + 1


async def test_applying_over_the_change_of_another_writer_is_a_conflict_unless_forced(url: str, stores: Stores) -> None:
    store = stores(url)
    (made,) = await store.apply([resource("a", {"x": {"y": 1}, "z": 1})])
    await store.put(replace(made.resource, spec={"x": {"y": 2}, "z": 1}))
    new = resource("a", {"x": {"y": 3}, "z": 2})
    (refused,) = await store.apply([new])
    assert (refused.action, refused.conflicts) == ("unchanged", ((("spec", "x", "y"), 2),))
    stored = await store.get(made.resource.key)
    assert stored is not None
    assert stored.spec == {"x": {"y": 2}, "z": 1}
    (same,) = await store.apply([resource("a", {"x": {"y": 2}, "z": 2})])  # no conflict: it wants what is there
    assert same.action == "configured"
    (forced,) = await store.apply([new], force=True)
    assert forced.resource.spec == {"x": {"y": 3}, "z": 2}


async def test_racing_writers_lose_nothing(url: str, stores: Stores) -> None:
    store = stores(url)
    other = store if url == "memory:" else stores(url)
    key = (await store.put(resource("a", {"count": 0, "by": []}))).key

    async def count(which: DatabaseStore, name: str) -> None:
        for number in range(10):
            while True:
                found = await which.get(key)
                assert found is not None
                spec = {"count": found.spec["count"] + 1, "by": [*found.spec["by"], f"{name}{number}"]}
                try:
                    await which.put(replace(found, spec=spec))
                except ConflictError:
                    continue
                break

    with anyio.fail_after(60):
        await asyncio.gather(count(store, "a"), count(other, "b"), count(store, "c"), count(other, "d"))
    found = await store.get(key)
    assert found is not None
    assert found.spec["count"] == 40
    assert len(set(found.spec["by"])) == 40
    assert [each.resource_version for each in await changes(store, 41)] == list(range(1, 42))


async def test_a_watch_from_any_version_sees_each_change_once_also_of_another_opening(url: str, stores: Stores) -> None:
    store = stores(url)
    writer = store if url == "memory:" else stores(url)
    for number in range(5):
        await store.put(resource(f"a{number}"))
    watches = [asyncio.create_task(changes(store, 15 - after, after)) for after in range(6)]
    await asyncio.sleep(0)
    for number in range(5, 15):
        await writer.put(resource(f"a{number}"))
    with anyio.fail_after(60):
        found = await asyncio.gather(*watches)
    for after, seen in enumerate(found):
        assert [each.resource_version for each in seen] == list(range(after + 1, 16))


async def test_a_watch_from_before_the_log_or_behind_its_end_says_so(url: str, stores: Stores) -> None:
    store = stores(url)
    store._log_rows = 10
    for number in range(3):
        await store.apply([resource(f"a{number}-{each}") for each in range(10)])
    with pytest.raises(WatchGapError, match="does not go on from version 3 any more, the store is at 30"):
        await changes(store, 1, 3)
    with pytest.raises(WatchGapError):
        await changes(store, 1, 31)
    assert [each.resource_version for each in await changes(store, 10, 20)] == list(range(21, 31))


async def test_a_lease_has_one_holder_until_it_is_past_given_back_or_its_holder_is_gone(
    url: str, stores: Stores
) -> None:
    store = stores(url)
    assert await store.take_lease("leader", "a", 60) == "a"
    assert await store.take_lease("leader", "b", 60) == "a"
    assert await store.take_lease("leader", "b", 60, instead_of="c") == "a"
    assert await store.take_lease("leader", "b", 0.0, instead_of="a") == "b"
    with anyio.fail_after(60):
        while await store.take_lease("leader", "c", 60) != "c":
            await anyio.lowlevel.checkpoint()
    await store.drop_lease("leader", "b")
    assert await store.take_lease("leader", "a", 60) == "c"
    await store.drop_lease("leader", "c")
    assert await store.take_lease("leader", "a", 60) == "a"


async def test_what_is_stored_is_there_for_the_next_opening(tmp_path: Any, stores: Stores) -> None:
    url = f"sqlite:///{tmp_path}/resources.db"
    made = await stores(url).put(resource("a", {"x": 1}))
    assert await stores(url).get(made.key) == made
    assert await stores(f"libsql:///{tmp_path}/resources.db").get(made.key) == made


@pytest.mark.parametrize("url", ["mysql://x", "memory:x", "libsql://host/x", "sqlite://x", ""])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        open_store(url)
