"""The runs of a resource: those whose target is its graph, and of a tool those of what uses it.

| resource | its runs |
|---|---|
| agent, workflow, network | those of its graph, served (`graph:ID`) or begun by a Schedule |
| schedule | those that it has begun |
| tool | those of the agents, workflows and networks that use it, with the events that are about it |
| system | those of what it owns |
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import NAMESPACE_URL, UUID, uuid5

from stategraph.resources import serving
from stategraph.resources.model import Resource, ResourceKey

if TYPE_CHECKING:
    from stategraph.resources.manifests.describing import Around
    from stategraph.workers.registry.values import RunInfo

KINDS: Final = (*serving.KINDS, "schedule", "tool", "system")

#: Begins the target of runs that Schedules submit; see `controllers.schedule`.
_DECLARED: Final = "stategraph.resources:"

#: How long after it was due a run may have been submitted to be known as that of a Schedule.
_LATE: Final = timedelta(minutes=30)
_STEPS: Final = 3_600


@dataclass(frozen=True, slots=True)
class Selection:
    """The runs of a resource.

    Attributes:
        key: The resource.
        targets: The targets of its runs, each with the resource whose graph that is.
        schedule: The Schedule that has to have begun them; None: whoever has.
        tools: Names of tools that an event has to be about; empty: events about anything.
        nodes: Nodes whose events are about it too.
    """

    key: ResourceKey
    targets: dict[str, ResourceKey] = field(default_factory=dict)
    schedule: Resource | None = None
    tools: frozenset[str] = frozenset()
    nodes: frozenset[str] = frozenset()

    def takes(self, run: RunInfo) -> bool:
        """Return whether a run with one of the targets is meant."""
        return self.schedule is None or _is_of(run, self.schedule)


def targets_of(key: ResourceKey, keys: Iterable[ResourceKey]) -> list[str]:
    """Return the targets that runs of a graph have had.

    Args:
        key: The resource that has a graph.
        keys: All resources: which of them share a name decides how a graph is called.
    """
    name = serving.name_of(key)
    same = {each for each in keys if each.kind in serving.KINDS and serving.name_of(each) == name}
    qualified = f"{key.kind}.{name}"
    names = [name] if same <= {key} else []
    names += [qualified] if not any(serving.name_of(each) == qualified for each in keys) else []
    return [*(f"graph:{each}" for each in names), f"{_DECLARED}{key}"]


def selection_of(
    key: ResourceKey, resource: Resource | None, everything: Sequence[Resource], around: Around
) -> Selection:
    """Return the runs of a resource.

    Args:
        key: The resource.
        resource: It; None: it is gone, and its runs may be there yet.
        everything: All resources.
        around: What uses what.
    """
    keys = [each.key for each in everything]
    if key.kind == "tool" and resource is not None:
        users = _users(resource, around)
        return _of_tool(key, users, keys, around)
    if key.kind == "schedule" and resource is not None:
        graphs = [used for used, _ in around.used(resource) if used.kind in serving.KINDS]
        return Selection(key, {f"{_DECLARED}{each}": each for each in graphs}, schedule=resource)
    if key.kind == "system" and resource is not None:
        graphs = [each.key for each in around.owned(resource) if each.key.kind in serving.KINDS]
        return Selection(key, {target: each for each in graphs for target in targets_of(each, keys)})
    return Selection(key, dict.fromkeys(targets_of(key, keys), key))


def _users(resource: Resource, around: Around) -> list[Resource]:
    """Return what uses a resource, also through others, such as a network whose agent has a tool."""
    found: dict[ResourceKey, Resource] = {}
    waiting = [resource]
    while waiting:
        for each in around.users(waiting.pop()):
            if each.key not in found:
                found[each.key] = each
                waiting.append(each)
    return list(found.values())


def _of_tool(key: ResourceKey, users: Sequence[Resource], keys: Sequence[ResourceKey], around: Around) -> Selection:
    tools, nodes = {_called(key.name)}, set()
    for user in users:
        for path in around.places(user, key):
            at = _element(user.spec, path)
            if user.key.kind == "workflow" and isinstance(at.get("id"), str):
                nodes.add(at["id"])
            elif isinstance(at.get("name"), str):
                tools.add(_called(at["name"]))
    graphs = [each.key for each in users if each.key.kind in serving.KINDS]
    targets = {target: each for each in graphs for target in targets_of(each, keys)}
    return Selection(key, targets, tools=frozenset(tools), nodes=frozenset(nodes))


def _element(spec: Any, path: Sequence[str | int]) -> dict[str, Any]:
    """Return the element of a list that a field is in; empty if it is in none."""
    found: dict[str, Any] = {}
    value = spec
    for part in path[1:]:
        value = value[part]
        if isinstance(part, int) and isinstance(value, dict):
            found = value
    return found


def _called(name: str) -> str:
    """Return the name by which models call a tool."""
    from stategraph.resources.compile.tools import model_name  # LangChain, and only tools need it

    return model_name(name)


def _is_of(run: RunInfo, schedule: Resource) -> bool:
    """Return whether a Schedule has begun a run: its id is made of the Schedule and the time that it was due."""
    if run.run_id == schedule.status.get("lastRunId"):
        return True
    try:
        if UUID(run.run_id).version != 5:
            return False
    except ValueError:
        return False
    created = datetime.fromtimestamp(run.created_at, UTC)
    uid = schedule.metadata.uid
    return any(run.run_id == str(uuid5(NAMESPACE_URL, f"{uid}/{due.isoformat()}")) for due in _due(schedule, created))


def _due(schedule: Resource, until: datetime) -> Iterator[datetime]:
    """Yield the times before one at which a Schedule was due."""
    from stategraph.workers.registry import cron_times

    spec = schedule.spec
    at = until - _LATE
    for _ in range(_STEPS):
        try:
            at = cron_times.next_after(str(spec.get("cron")), spec.get("timezone"), at)
        except (cron_times.CronError, cron_times.NeverDue):
            return
        if at > until:
            return
        yield at
