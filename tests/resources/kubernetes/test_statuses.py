"""Statuses as the API server takes them: bounded, merged without remains, and events that do not flood it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest

from stategraph.resources.crds import definitions
from stategraph.resources.operator import connecting, statuses
from stategraph.resources.operator.cluster import Cluster
from stategraph.resources.operator.events import BURST, Events, Subject
from stategraph.resources.runtime import Runtime
from stategraph.testing import Script, ScriptedChatModel
from tests.resources.kubernetes.api_server import ApiServer, serving
from tests.resources.kubernetes.operating import eventually, operating

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

READY = {"type": "Ready", "status": "False", "reason": "Bad", "message": "m", "observedGeneration": 3}


def merged(before: Any, patch: Any) -> Any:
    """Return a merge patch applied (RFC 7386)."""
    if not isinstance(patch, dict):
        return patch
    found = dict(before) if isinstance(before, dict) else {}
    for name, value in patch.items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = merged(found.get(name), value)
    return found


def test_a_message_that_is_too_long_is_cut_and_says_how_long_it_was() -> None:
    told = statuses.of_cluster({"conditions": [{**READY, "message": "x" * 100_000}]}, 1, 1)
    message = told["conditions"][0]["message"]
    assert len(message) == statuses.LONGEST_MESSAGE and message.endswith("(100,000 characters)")


def test_a_status_that_is_too_large_loses_its_largest_fields_and_says_which() -> None:
    given = {
        "conditions": [READY],
        "phase": "Failed",
        "mermaid": "x" * 600_000,
        "nodes": ["a"],
        "observedGeneration": 3,
    }
    told = statuses.of_cluster(given, 3, 3)
    assert len(json.dumps(told)) < statuses.LARGEST_STATUS
    assert told["nodes"] == ["a"] and "mermaid" not in told
    assert told["conditions"][-1]["reason"] == "StatusTooLarge" and "mermaid" in told["conditions"][-1]["message"]
    assert statuses.of_cluster({**given, "mermaid": "x"}, 3, 3)["mermaid"] == "x"


def test_generations_are_those_of_the_cluster() -> None:
    given = {"conditions": [{**READY, "observedGeneration": 2}], "observedGeneration": 2}
    told = statuses.of_cluster(given, own=2, cluster=7)
    assert (told["observedGeneration"], told["conditions"][0]["observedGeneration"]) == (7, 7)
    assert statuses.of_cluster(given, own=4, cluster=7)["observedGeneration"] == 5


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"a": 1, "b": 2}, {"a": 1, "c": {"d": 1}}),
        ({"a": {"x": 1, "y": {"p": 1}}}, {"a": {"y": {"q": 2}}}),
        ({"a": {"x": 1}}, {"a": [1, 2]}),
        ({"a": [1]}, {"a": {}}),
        ({}, {}),
    ],
)
def test_what_is_merged_leaves_nothing_behind(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert merged(before, statuses.changes_of(after, before)) == after


async def test_a_large_status_reaches_the_api_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statuses, "LARGEST_STATUS", 4096)
    runtime = Runtime.from_url("memory:", model_factory=lambda _: ScriptedChatModel(replies=Script(["ok"])))
    names = [f"step-{number}-{'x' * 200}" for number in range(20)]
    steps = [{"id": each, "set": {"text": "a"}, "next": after} for each, after in pairwise([*names, "END"])]
    async with operating(ApiServer(definitions()), runtime=runtime, kinds=("Workflow",)) as running:
        await running.create("Workflow", "long", {"state": {"text": {"type": "string"}}, "steps": steps})
        await eventually(lambda: running.status("Workflow", "long").get("phase") == "Ready")
        kinds = [each["type"] for each in running.status("Workflow", "long")["conditions"]]
        assert "Truncated" in kinds


async def test_an_object_that_has_many_events_is_heard_rarely() -> None:
    now = [0.0]
    subject = Subject("stategraph.dev/v1", "Secret", "default", "keys", "u1")
    server = ApiServer()
    async with serving(server) as address, Cluster(connecting.at(address)) as cluster:
        events = Events(cluster, clock=lambda: now[0], now=lambda: datetime(2026, 1, 1, tzinfo=UTC))
        told = [await events.tell(subject, "Warning", "Bad", f"for the {number}. time") for number in range(40)]
        assert sum(told) == BURST
        assert await events.tell(
            Subject("stategraph.dev/v1", "Secret", "default", "other", "u2"), "Normal", "Ready", ""
        )
        now[0] += 300.0
        assert await events.tell(subject, "Warning", "Bad", "x" * 5000)
        assert not await events.tell(subject, "Warning", "Bad", "and again")
    longest = max(len(each["message"]) for key, each in server.objects.items() if key[1] == "events")
    assert longest == 1024


async def test_an_event_that_is_gone_is_written_anew() -> None:
    subject = Subject("stategraph.dev/v1", "Secret", "", "keys", "u1")
    server = ApiServer()
    async with serving(server) as address, Cluster(connecting.at(address)) as cluster:
        events = Events(cluster)
        assert await events.tell(subject, "Warning", "Bad", "it is")
        server.objects.clear()  # after an hour
        assert not await events.tell(subject, "Warning", "Bad", "it is")
        assert await events.tell(subject, "Warning", "Bad", "it is")
        (event,) = server.objects.values()
        assert event["count"] == 1
