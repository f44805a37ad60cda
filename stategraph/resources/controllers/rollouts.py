"""Rollout of what becomes a graph: the versions that threads may be on are kept, and compiled beside the newest one."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from stategraph.resources.compile.data import Fields, Graph, Object
from stategraph.resources.compile.programs import Place, Program
from stategraph.resources.compile.rollout import Records, Rollout
from stategraph.resources.controller import Ctx
from stategraph.resources.errors import ResourceError
from stategraph.resources.model import Resource

_log = logging.getLogger(__name__)

#: Seconds after which the threads of old versions are counted again.
LOOK_AGAIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Version:
    """The newest version of a resource.

    Attributes:
        resource: The resource.
        what: The word for its kind in messages: `agent`, `workflow`.
        version: SHA-256 of what its graph is made of, in hex.
        spec: What that is compiled from, to be kept.
        max_age: Seconds that older versions are kept.
    """

    resource: Resource
    what: str
    version: str
    spec: Fields
    max_age: float


def scope_of(what: str, key: str) -> str:
    """Return the name of the scope in which the versions of a resource are kept.

    Args:
        what: The word for its kind, `workflow` or `agent`.
        key: Its namespace and name, as `default/recipes`.
    """
    return f"rollout/{key}" if what == "workflow" else f"rollout/{what}/{key}"


async def of(newest: Version, place: Place, ctx: Ctx, compiled: Callable[[Fields], Awaitable[Graph]]) -> Rollout:
    """Keep the version of a resource, and compile the older ones that threads may be on.

    Args:
        newest: The version.
        place: Where it runs; without a saver there are no threads.
        ctx: What the controller may look at.
        compiled: Returns the graph of a spec that was kept.
    """
    resource, version = newest.resource, newest.version
    key = f"{resource.namespace}/{resource.name}"
    states = ctx.services.get("states")
    if states is None or place.saver is None:
        return Rollout(key, version, {version: 1}, what=newest.what)
    records = states.scope(scope_of(newest.what, key))
    known = await records.all()
    numbers = {each: int(kept["number"]) for each, kept in known.items()}
    numbers.setdefault(version, max(numbers.values(), default=0) + 1)
    removed = frozenset(each for each, kept in known.items() if kept.get("removed") and each != version)
    rollout = Rollout(key, version, numbers, removed=removed, records=records, what=newest.what)
    if ctx.leads:
        await _record(newest, numbers[version], known, records)
    old = {each: kept for each, kept in known.items() if each != version and each not in removed}
    rollout.graphs = await _compiled(rollout, old, compiled)
    return rollout


async def _record(newest: Version, number: int, known: Fields, records: Records) -> None:
    """Keep the newest version, and the others for as long as threads may be on them."""
    for each, kept in known.items():
        if each != newest.version and not kept.get("old"):
            await records.update(each, lambda now: {**now, "old": True}, default=kept, ttl=newest.max_age)
    if newest.version not in known or known[newest.version].get("old"):
        await records.set(newest.version, {"number": number, "spec": newest.spec})


async def _compiled(rollout: Rollout, old: Fields, compiled: Callable[[Fields], Awaitable[Graph]]) -> Object:
    """Return the graphs of older versions, without those that cannot be compiled any more."""
    graphs: Object = {}
    for each, kept in old.items():
        try:
            graphs[each] = rollout.stamped(await compiled(kept["spec"]), each)
        except ResourceError as error:
            told = "Version %s of the %s %s cannot be compiled any more: %s"
            _log.warning(told, each[:12], rollout.what, rollout.key, error)
    return graphs


async def told(rollout: Rollout, program: Program) -> Object:
    """Return what a status says of the versions of a resource; nothing where there is one."""
    return rollout.describe(await program.versions()) if rollout.graphs else {}
