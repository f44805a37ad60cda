"""The console in the terminal, driven as a person would."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable, Static

from stategraph.cli.console.app import ResourceConsole
from stategraph.resources.loading import load_text
from stategraph.resources.model import Condition, Resource, ResourceKey
from stategraph.resources.store.database import DatabaseStore
from stategraph.resources.store.opening import open_store
from tests.cli.programs import stategraph

pytestmark = pytest.mark.anyio
LIMIT_S = 60

TWO = """
apiVersion: stategraph.dev/v1
kind: Tool
metadata: {name: finder}
spec: {id: finder}
---
apiVersion: stategraph.dev/v1
kind: Agent
metadata: {name: chef}
spec: {tools: [finder, missing]}
"""


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[DatabaseStore]:
    """A store of a tool that is ready and an agent that is not."""
    store = open_store(f"sqlite:///{tmp_path}/app.db")
    for each in await store.apply(load_text(TWO)):
        ready = each.resource.kind == "Tool"
        await say(store, each.resource, ready=ready, reason="Ready" if ready else "NotFound")
    yield store
    await store.close()


async def say(store: DatabaseStore, resource: Resource, *, ready: bool, reason: str) -> None:
    told = Condition("Ready", "True" if ready else "False", reason, "" if ready else "there is no tool 'missing'")
    condition = replace(told, observed_generation=resource.metadata.generation)
    await store.put_status(replace(resource, status={"conditions": [condition.to_dict()]}))


def rows(app: ResourceConsole) -> list[list[str]]:
    table = app.query_one("#table", DataTable)
    return [[str(cell) for cell in table.get_row_at(number)][:3] for number in range(table.row_count)]


def words(app: ResourceConsole) -> str:
    return str(app.query_one("#words", Static).render())


async def until(pilot: Pilot[None], is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not is_so():
            await pilot.pause(0.02)


CHEF = ["agent/default/chef", "False", "NotFound"]
FINDER = ["tool/default/finder", "True", "Ready"]


async def test_resources_are_listed_and_the_one_that_is_chosen_is_explained(store: DatabaseStore) -> None:
    app = ResourceConsole(store)
    async with app.run_test(size=(120, 40)) as pilot:
        assert rows(app) == [CHEF, FINDER]
        assert "there is no tool 'missing'" in words(app)
        assert app.sub_title == "1 of 2 ready"
        await pilot.press("down")
        await until(pilot, lambda: "Name:         finder" in words(app))
        assert "agent/default/chef" in words(app)  # it is used by the agent
        await pilot.press("n")
        assert "Name:         chef" in words(app)


async def test_changes_are_seen_as_they_come(store: DatabaseStore) -> None:
    app = ResourceConsole(store)
    async with app.run_test(size=(120, 40)) as pilot:
        chef = await store.get(ResourceKey("agent", "default", "chef"))
        assert chef is not None
        await say(store, chef, ready=True, reason="Ready")
        await until(pilot, lambda: rows(app) == [["agent/default/chef", "True", "Ready"], FINDER])
        await store.delete(ResourceKey("tool", "default", "finder"))
        await until(pilot, lambda: len(rows(app)) == 1)


async def test_a_search_leaves_what_has_the_words(store: DatabaseStore) -> None:
    app = ResourceConsole(store)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("slash", *"notf", "enter")
        await until(pilot, lambda: rows(app) == [CHEF])
        await pilot.press("escape")
        await until(pilot, lambda: rows(app) == [CHEF, FINDER])


async def test_nothing_is_deleted_unless_it_was_started_for_that(store: DatabaseStore) -> None:
    app = ResourceConsole(store)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("d", "y")
        assert rows(app) == [CHEF, FINDER]
    app = ResourceConsole(store, writes=True)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("d", "n")
        assert rows(app) == [CHEF, FINDER]
        await pilot.press("d", "y")
        await until(pilot, lambda: rows(app) == [FINDER])


async def test_other_namespaces_are_left_out(store: DatabaseStore) -> None:
    app = ResourceConsole(store, "kitchen")
    async with app.run_test(size=(120, 40)):
        assert rows(app) == []
        assert "Nothing is applied yet" in words(app)


def test_without_a_terminal_it_says_what_follows_resources_elsewhere(tmp_path: Path) -> None:
    done = stategraph(tmp_path, "console")
    assert (done.returncode, done.stderr) == (
        2,
        "stategraph: The console needs a terminal: 'stategraph get -w' follows resources elsewhere\n",
    )
