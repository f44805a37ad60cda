"""Properties of stores and of the loop, over random documents and operations."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from stategraph.resources import ConflictError, Metadata, Resource, Runtime, load_text
from stategraph.resources.model import ResourceKey
from stategraph.resources.store.opening import open_store
from tests.properties import examples
from tests.resources.kit import PART, CleaningParts, part, state

NAMES = "abcde"

SYSTEM = """apiVersion: stategraph.dev/v1
kind: System
metadata: {name: s}
spec:
  resources:
    - {kind: Part, name: x, spec: {value: 1}}
    - {kind: Part, name: y, spec: {needs: [x, a]}}
"""


@st.composite
def folders(draw: st.DrawFn) -> list[Resource]:
    """Documents of different names that need each other, in circles too, and of which some are bad."""
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, min_size=1))
    fields = st.fixed_dictionaries(
        {"value": st.integers(0, 3), "needs": st.lists(st.sampled_from(NAMES), max_size=2, unique=True)},
        optional={"fail": st.sampled_from(["invalid", "raise", "wait"]), "valu": st.just(1), "looks": st.just(["e"])},
    )
    found = [part(name, **draw(fields)) for name in names]
    return [*found, *(load_text(SYSTEM) if draw(st.booleans()) else [])]


async def end(batches: list[list[Resource]]) -> dict[str, Any]:
    """Apply documents and return what they come to."""
    runtime = Runtime.from_url("memory:", environment={})
    runtime.define_kind(PART, CleaningParts())
    async with runtime:
        for each in batches:
            await runtime.apply(each)
        await runtime.settled(60)
        return state(await runtime.list()) | {
            "compiled": {str(key): each.value for key, each in sorted(runtime._shared.compiled.items())}
        }


@examples(25)
@given(folders(), st.data())
def test_any_order_and_duplication_of_documents_ends_in_the_same_state(
    documents: list[Resource], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(documents + data.draw(st.lists(st.sampled_from(documents), max_size=4))))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(shuffled)), max_size=3)))
    batches = [shuffled[a:b] for a, b in zip([0, *cuts], [*cuts, len(shuffled)], strict=True)]

    async def both() -> tuple[dict[str, Any], dict[str, Any]]:
        return await end([documents]), await end(batches)

    expected, found = asyncio.run(both())
    assert found == expected


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["put", "apply", "status", "delete", "finalize"]), st.sampled_from(NAMES), st.integers(0, 2)
    ),
    min_size=1,
    max_size=20,
)


@examples(60)
@given(OPERATIONS)
def test_the_log_from_any_version_leads_to_what_is_stored(operations: list[tuple[str, str, int]]) -> None:
    async def run() -> None:
        store = open_store("memory:")
        known: list[dict[ResourceKey, int]] = [{}]

        async def snapshot() -> dict[ResourceKey, int]:
            return {each.key: each.metadata.resource_version for each in (await store.snapshot()).resources}

        try:
            for what, name, value in operations:
                await operate(store, what, name, value)
                while len(known) <= await store.version():  # each operation writes one version at most
                    known.append(await snapshot())
            last = len(known) - 1
            for first in range(len(known)):
                replayed, seen = dict(known[first]), first
                while seen < last:
                    async for changes in store.batches(seen):
                        for each in changes:
                            assert each.resource_version == seen + 1
                            seen += 1
                            if each.op == "deleted":
                                del replayed[each.key]
                            else:
                                replayed[each.key] = each.resource_version
                        break
                assert replayed == known[last]
        finally:
            await store.close()

    asyncio.run(run())


async def operate(store: Any, what: str, name: str, value: int) -> None:
    key = ResourceKey("Part", "default", name)
    stored = await store.get(key)
    try:
        match what:
            case "put":
                await store.put(part(name, value=value) if stored is None else replace(stored, spec={"value": value}))
            case "apply":
                await store.apply([part(name, value=value)], finalizers={"part": "f"} if value else {})
            case "status" if stored is not None:
                await store.put_status(replace(stored, status={"value": value}))
            case "finalize" if stored is not None:
                await store.put(stored.with_metadata(finalizers=()))
            case "delete":
                await store.delete(key)
    except ConflictError as error:
        raise AssertionError("nobody else writes") from error


def test_ten_thousand_resources_are_stored_listed_and_followed() -> None:
    async def run() -> None:
        store = open_store("memory:")
        try:
            labels = [{"app": f"l{number % 10}"} for number in range(10)]
            many = [
                Resource(
                    "test.dev/v1", "Part", Metadata(f"a{number}", f"n{number % 4}", labels[number % 10]), {"value": 1}
                )
                for number in range(10_000)
            ]
            await store.apply(many)
            listing = await store.snapshot()
            assert (len(listing.resources), listing.version) == (10_000, 10_000)
            assert len(await store.list("Part", "n1", {"app": "l1"})) == 500
            seen = 0
            async for changes in store.batches(0):
                seen += len(changes)
                if seen == 10_000:
                    break
            assert [each.action for each in await store.apply(many[:100])] == ["unchanged"] * 100
        finally:
            await store.close()

    asyncio.run(run())
