"""One folder with every kind, on SQLite, on PostgreSQL, and through the operator: equal statuses, equal answers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from stategraph.resources import Resource
from stategraph.resources.crds import definition, definitions
from stategraph.resources.custom_kinds import kinds_with
from stategraph.resources.kind_table import KINDS
from stategraph.resources.model import ResourceKey
from tests.resources.kubernetes import every_kind
from tests.resources.kubernetes.api_server import ApiServer
from tests.resources.kubernetes.operating import Running, key_of, operating

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


async def on_database(url: str, resources: list[Resource]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return statuses and answers of the folder on a database."""
    async with every_kind.runtime_at(url) as made, made as runtime:
        await runtime.apply(resources)
        await runtime.settled(60)
        answers = await every_kind.answers_of(runtime)
        return await every_kind.statuses_of(runtime, every_kind.keys(resources)), answers


async def applied(server: ApiServer, resources: list[Resource]) -> None:
    """Make objects of resources, in the wrong order: what others need comes last."""
    kinds = kinds_with(resources)
    for each in reversed(resources):
        kind = kinds.get(each.kind)
        key = key_of(kind, each.name, each.namespace)
        meta: dict[str, Any] = {"name": each.name, "labels": dict(each.metadata.labels)}
        if each.namespace:
            meta["namespace"] = each.namespace
        document = {"apiVersion": each.api_version, "kind": each.kind, "metadata": meta, "spec": dict(each.spec)}
        if server.schemas.get(key[:2]) is None and kind is not None:
            server.define(definition(kind))
        assert not server._problems(key, document), f"the API server refuses {each.key}"
        await server.put(key, document, None)


def statuses_in(running: Running, wanted: list[ResourceKey]) -> dict[str, Any]:
    """Return the statuses that the API server has."""
    kinds = running.operator.runtime.kinds
    found = {}
    for key in wanted:
        kind = kinds.get(key.kind)
        there = None if kind is None else running.server.objects.get(key_of(kind, key.name, key.namespace))
        found[str(key)] = every_kind.comparable(None if there is None else there.get("status"))
    return found


async def test_one_folder_is_the_same_on_sqlite_on_postgresql_and_in_a_cluster(
    tmp_path: Path, postgres_url: str
) -> None:
    resources = every_kind.folder()
    assert every_kind.is_every_kind(resources), "the folder lacks a kind"
    wanted = every_kind.keys(resources)
    expected, answers = await on_database(f"sqlite:///{tmp_path}/app.db", resources)
    _are_meant(expected, answers)

    statuses, said = await on_database(postgres_url, resources)
    assert not every_kind.difference(expected, statuses)
    assert not every_kind.difference(answers, said)

    server = ApiServer(definitions())
    database = f"sqlite:///{tmp_path}/threads.db"
    async with (
        every_kind.runtime_at("memory:", database) as runtime,
        operating(server, runtime=runtime, kinds=(), defines=True) as running,
    ):
        await applied(server, resources)
        found: dict[str, Any] = {}
        try:
            async with asyncio.timeout(60):
                while (found := statuses_in(running, wanted)) != expected:  # noqa: ASYNC110 - it happens in other tasks
                    await asyncio.sleep(0.05)
        except TimeoutError:
            pytest.fail(every_kind.difference(expected, found))
        said = await every_kind.answers_of(running.operator.runtime)
    assert not every_kind.difference(answers, said)
    assert "hunter22" not in repr(server.objects)


def _are_meant(statuses: dict[str, Any], answers: dict[str, Any]) -> None:
    """Check that what the others are compared with is not nothing."""
    for name, status in statuses.items():
        ready = next(each for each in status["conditions"] if each["type"] == "Ready")
        if name in every_kind.WRONG:
            assert (ready["status"], ready["reason"]) == ("False", every_kind.WRONG[name]), (name, ready)
        else:
            assert ready["status"] == "True", (name, ready)
    assert answers["agent/chef"][0] == "Leek soup"
    assert answers["agent/clerk"] == ["It is 5", ["ai", "tool", "ai"]]
    assert answers["workflow/dinner"][1]["verdict"] == "gladly"
    assert answers["network/restaurant"] == ["Soup, for 5.", ["chef", "bills"]]
    assert answers["plugin/greeter"] == {"text": "hello Ada"}
    graphs = {each.key for each in KINDS if each.name in ("Agent", "Workflow", "Network")}
    ready_graphs = {
        name.replace("/default", "")
        for name in statuses
        if name.partition("/")[0] in graphs and name not in every_kind.WRONG
    }
    assert ready_graphs <= set(answers), "a graph was not asked"


def test_a_difference_is_printed() -> None:
    told = every_kind.difference({"agent/a": {"phase": "Ready"}}, {"agent/a": {"phase": "Failed"}})
    assert '-  "phase": "Ready"' in told and '+  "phase": "Failed"' in told
    assert every_kind.difference({"a": 1}, {"a": 1}) == ""
