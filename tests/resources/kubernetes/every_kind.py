"""One folder with every kind, applied in three ways: what has to be the same is read here."""

from __future__ import annotations

import difflib
import json
import re
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from stategraph.resources import ModelRequest, Resource, Runtime, load
from stategraph.resources.custom_kinds import kinds_with
from stategraph.resources.kind_table import KINDS
from stategraph.resources.model import ResourceKey
from stategraph.testing import Script, ScriptedChatModel, call, reply
from stategraph.workers import RunRegistry

FOLDER = Path(__file__).parents[1] / "every_kind"
ROOT = Path(__file__).parents[3]

ENVIRONMENT = {
    "TOKEN": "hunter22",
    "PYTHON": sys.executable,
    "MCP_SERVER": str(ROOT / "tests/agent/mcp/server.py"),
    "SKILLS": str(ROOT / "examples/skills"),
}

ALLOW = ("tests.resources.",)

#: What is wrong in the folder, and what its `Ready` says.
WRONG = {
    "secret/default/missing": "SecretNotFound",
    "model/default/keyless": "SecretNotFound",
    "tool/default/forbidden": "Invalid",
    "plugin/default/greedy": "Invalid",
    "agent/default/lost": "ReferencesUnresolved",
    "schedule/default/nowhere": "ReferencesUnresolved",
    "worker/default/slow": "WorkersMissing",
}

#: What scripted models say, by who asks.
SCRIPTS: Mapping[str, Any] = {
    "agent/default/chef": ["Leek soup"],
    "agent/default/clerk": [reply("", call("plus", {"a": 2, "b": 3})), "It is 5"],
    "agent/default/waiter": ['{"table": 7}'],
    "network/default/restaurant": [
        reply("", call("route", {"agent": "chef", "task": "cook"})),
        reply("", call("route", {"agent": "bills", "task": "add"})),
        "Soup, for 5.",
    ],
    "agent/default/bartender": ["Cheers"],
}

_TIMES = frozenset({"lastTransitionTime", "nextRun", "lastRun", "at"})
_PROCESSES = frozenset({"pid", "startedAt", "uptimeSeconds", "lastHealthy"})
_PLACE = re.compile(r"\S*every_kind/\S+?:\d+:\d+: ")


def model_of(request: ModelRequest) -> ScriptedChatModel:
    """Return the scripted model of a resource, which begins anew with each use."""
    given = SCRIPTS.get(request.used_by, ["done"])
    return ScriptedChatModel(replies=Script([*given] * 8), model_name=request.name)


@asynccontextmanager
async def runtime_at(url: str, database: str | None = None) -> AsyncIterator[Runtime]:
    """Yield a runtime with what the folder needs from a program, which is not started yet.

    Args:
        url: Where resources are.
        database: Where runs, threads and states are; None: there too.
    """
    registry = RunRegistry.from_url(database or url)
    await registry.set_up()
    try:
        yield Runtime.from_url(
            url,
            allow=ALLOW,
            environment=ENVIRONMENT,
            model_factory=model_of,
            registry=registry,
            database=database or url,
        )
    finally:
        await registry.aclose()


def folder() -> list[Resource]:
    """Read the folder."""
    return load(FOLDER)


def keys(resources: list[Resource]) -> list[ResourceKey]:
    """Return the keys of the folder's resources, and of the members of its System."""
    found = [each.key for each in resources]
    return sorted([*found, ResourceKey("agent", "default", "bartender"), ResourceKey("workflow", "default", "round")])


def is_every_kind(resources: list[Resource]) -> bool:
    """Return whether no kind is missing."""
    kinds = {each.kind for each in resources}
    return kinds == {each.name for each in kinds_with(resources, KINDS)}


def comparable(value: Any) -> Any:
    """Return a status without times, processes and places in files."""
    if isinstance(value, Mapping):
        return {key: comparable(each) for key, each in sorted(value.items()) if key not in _TIMES | _PROCESSES}
    if isinstance(value, list | tuple):
        return [comparable(each) for each in value]
    return _PLACE.sub("", value) if isinstance(value, str) else value


async def statuses_of(runtime: Runtime, wanted: list[ResourceKey]) -> dict[str, Any]:
    """Return the statuses of resources of a runtime."""
    found = {}
    for key in wanted:
        resource = await runtime.get(key)
        found[str(key)] = comparable(None if resource is None else resource.status)
    return found


async def answers_of(runtime: Runtime) -> dict[str, Any]:
    """Ask everything that has a graph, and return what it answers."""
    found: dict[str, Any] = {}
    for name in ("chef", "clerk", "waiter", "bartender"):
        answer = await runtime.agent(name).generate("Soup?")
        found[f"agent/{name}"] = [answer.text, [each.type for each in answer.messages]]
    waiting = await runtime.get_workflow("dinner").execute({"dishes": ["leeks", "eggs"]}, thread_id="dinner")
    done = await runtime.get_workflow("dinner").resume("dinner", "gladly")
    found["workflow/dinner"] = [[each.step for each in waiting.history], done.output]
    round_ = await runtime.get_workflow("round").execute({})
    found["workflow/round"] = round_.output
    served = await runtime.get_network("restaurant").generate("Soup, and the bill?")
    found["network/restaurant"] = [served.text, list(served.agents)]
    greeter = runtime.compiled("plugin/greeter")
    found["plugin/greeter"] = await greeter.call("greet", {"name": "Ada"})
    return found


def difference(expected: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """Return a diff for people; empty if there is none."""
    left, right = (
        json.dumps(each, indent=1, sort_keys=True, ensure_ascii=False, default=str).splitlines()
        for each in (expected, found)
    )
    return "\n".join(difflib.unified_diff(left, right, "SQLite", "the other", lineterm="", n=6))
