"""Figures of what a database has: runs and queues, workers, graphs, plug-ins, budgets, agents elsewhere.

Each part is read where its tables are, and left out where they are not: a registry alone has no resources, a store of
resources alone no runs. Nothing is written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from stategraph.resources.manifests.describing import state_of
from stategraph.resources.model import Resource, ResourceKey

if TYPE_CHECKING:
    from stategraph.resources.store.port import ResourceStore
    from stategraph.workers.registry.overview import QueueInfo
    from stategraph.workers.registry.port import Database
    from stategraph.workers.registry.runs import RunRegistry
    from stategraph.workers.registry.values import RunInfo, WorkerInfo

#: The tables of runs, of resources, and of agents elsewhere.
RUNS: Final = "sg_run"
RESOURCES: Final = "sg_resource"
AGENTS: Final = "sg_agent_endpoint"

#: Runs of which tokens are counted at a time: their events are read for it.
_COUNTED: Final = 200
_ERRORS: Final = frozenset({"error", "timeout", "dead"})


@dataclass(frozen=True, slots=True)
class GraphFigures:
    """The runs of a graph in the window.

    Attributes:
        graph: The resource, or the target of runs that are of none.
        ready: Whether it is ready, as conditions say it; a dash for what is no resource.
        waiting: Runs that wait for a worker.
        running: Runs that are executed.
        ended: Runs that ended.
        errors: How many of them failed.
        p50_s: Seconds from the begin of a run to its end that half of them took at most; None: none ended.
        p95_s: The same of 95 in 100.
        tokens: Tokens that models used, as far as their events say; None: nothing is said.
    """

    graph: str
    ready: str
    waiting: int
    running: int
    ended: int
    errors: int
    p50_s: float | None
    p95_s: float | None
    tokens: int | None


@dataclass(frozen=True, slots=True)
class Doing:
    """A run that a worker executes.

    Attributes:
        run_id: The run.
        graph: The resource or the target.
        for_s: Seconds since it was begun.
    """

    run_id: str
    graph: str
    for_s: float


@dataclass(frozen=True, slots=True)
class PluginFigures:
    """A plug-in as its status says it."""

    name: str
    state: str
    pid: int | None
    restarts: int
    isolation: str
    ready: str
    reason: str


@dataclass(frozen=True, slots=True)
class BudgetFigures:
    """A unit of a budget of a run.

    Attributes:
        tenant: Whose it is.
        run_id: The run that it began with.
        unit: What is counted: `tokens`, `usd`, `tool_calls` or `wall_s`.
        cap: How much may be used; None: no limit.
        reserved: What is held for calls that are under way.
        spent: What was used.
    """

    tenant: str
    run_id: str
    unit: str
    cap: float | None
    reserved: float
    spent: float


@dataclass(frozen=True, slots=True)
class AgentFigures:
    """An endpoint of an agent elsewhere.

    Attributes:
        agent: Its name.
        url: Where it is.
        weight: Its share of requests; 0: it is drained.
        capabilities: What it can do.
    """

    agent: str
    url: str
    weight: int
    capabilities: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Figures:
    """All figures at a time.

    Attributes:
        at: The time, in seconds since 1970.
        window_s: The window of what has ended, in seconds.
        queues: The queues with runs.
        statuses: How many runs ended in the window, by their status.
        workers: The workers, and what they do.
        graphs: The graphs, those with the most runs first.
        ready: How many resources are ready; None: there are no resources.
        resources: How many there are.
        pools: Workers that are declared: name, replicas, busy, queued, whether they are ready.
        plugins: The plug-ins.
        budgets: The budgets used last.
        agents: The agents elsewhere.
    """

    at: float
    window_s: float
    queues: Sequence[QueueInfo] = ()
    statuses: Mapping[str, int] = field(default_factory=dict)
    workers: Sequence[tuple[WorkerInfo, Sequence[Doing]]] = ()
    graphs: Sequence[GraphFigures] = ()
    ready: int | None = None
    resources: int = 0
    pools: Sequence[tuple[str, int, int, int, str]] = ()
    plugins: Sequence[PluginFigures] = ()
    budgets: Sequence[BudgetFigures] = ()
    agents: Sequence[AgentFigures] = ()


async def tables_of(database: Database) -> frozenset[str]:
    """Return which of the tables a database has, and close it."""

    def look() -> frozenset[str]:
        with database.transaction(write=False) as session:
            exists = database.sql.exists
            return frozenset(each for each in (RUNS, RESOURCES, AGENTS) if session.execute(exists, (each,)))

    try:
        return await database.perform(look, write=False)
    finally:
        database.close()


class Collector:
    """Reads figures, again and again.

    Args:
        registry: The registry of the database; it stays open.
        store: The store of resources there; None: there are none.
        agents: Reads the endpoints of agents elsewhere; None: there is no directory.
        window_s: The window of what has ended, in seconds.
        clock: Returns the time, in seconds since 1970.
    """

    def __init__(
        self,
        registry: RunRegistry | None,
        store: ResourceStore | None,
        agents: Any = None,
        window_s: float = 900.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._registry = registry
        self._store = store
        self._agents = agents
        self._window_s = window_s
        self._clock = clock
        self._tokens: dict[str, int | None] = {}

    async def read(self) -> Figures:
        """Return the figures of now."""
        now = self._clock()
        resources = [] if self._store is None else (await self._store.snapshot()).resources
        agents = [] if self._agents is None else await self._agents.read()
        found: dict[str, Any] = {
            "ready": None if self._store is None else sum(each.is_ready for each in resources),
            "resources": len(resources),
            "plugins": [_plugin(each) for each in resources if each.key.kind == "plugin"],
            "pools": [_pool(each) for each in resources if each.key.kind == "worker"],
            "agents": [AgentFigures(e.agent, e.url, e.weight, tuple(sorted(e.capabilities))) for e in agents],
        }
        if self._registry is not None:
            found |= await self._of_runs(self._registry, resources, now)
        return Figures(now, self._window_s, **found)

    async def _of_runs(self, registry: RunRegistry, resources: Sequence[Resource], now: float) -> dict[str, Any]:
        overview = registry.overview
        runs = await overview.recent(self._window_s)
        begun = await overview.begun([each.run_id for each in runs])
        names = _names(resources)
        await self._count_tokens(registry, runs)
        doing: dict[str, list[Doing]] = {}
        for each in runs:
            if each.status == "running" and each.owner is not None:
                since = begun.get(each.run_id, each.created_at)
                doing.setdefault(each.owner, []).append(Doing(each.run_id, _graph(each, names), max(0.0, now - since)))
        statuses: dict[str, int] = {}
        for each in runs:
            if each.finished_at is not None:
                statuses[each.status.value] = statuses.get(each.status.value, 0) + 1
        return {
            "queues": await overview.queues(),
            "statuses": statuses,
            "workers": [(each, doing.get(each.worker_id, ())) for each in await registry.workers()],
            "graphs": self._graphs(runs, begun, names, resources),
            "budgets": [_budget(*row) for row in await overview.budgets()],
        }

    def _graphs(
        self,
        runs: Sequence[RunInfo],
        begun: Mapping[str, float],
        names: Mapping[str, ResourceKey],
        resources: Sequence[Resource],
    ) -> list[GraphFigures]:
        by_graph: dict[str, list[RunInfo]] = {str(key): [] for key in names.values()}
        for each in runs:
            by_graph.setdefault(_graph(each, names), []).append(each)
        states = {str(each.key): state_of(each)[0] for each in resources}
        found = [self._graph(name, own, begun, states.get(name, "-")) for name, own in by_graph.items()]
        return sorted(found, key=lambda each: (-(each.waiting + each.running + each.ended), each.graph))

    def _graph(self, name: str, runs: Sequence[RunInfo], begun: Mapping[str, float], ready: str) -> GraphFigures:
        ended = [each for each in runs if each.finished_at is not None]
        took = sorted((each.finished_at or 0.0) - begun[each.run_id] for each in ended if each.run_id in begun)
        tokens = [known for each in runs if (known := self._tokens.get(each.run_id)) is not None]
        return GraphFigures(
            name,
            ready,
            sum(each.status == "pending" for each in runs),
            sum(each.status == "running" for each in runs),
            len(ended),
            sum(each.status.value in _ERRORS for each in ended),
            _quantile(took, 0.5),
            _quantile(took, 0.95),
            sum(tokens) if tokens else None,
        )

    async def _count_tokens(self, registry: RunRegistry, runs: Sequence[RunInfo]) -> None:
        """Count the tokens of runs that have ended, once each."""
        known = {each.run_id for each in runs}
        self._tokens = {run_id: tokens for run_id, tokens in self._tokens.items() if run_id in known}
        wanted = [each.run_id for each in runs if each.finished_at is not None and each.run_id not in self._tokens]
        wanted = wanted[:_COUNTED]
        if not wanted:
            return
        counts: dict[str, dict[str, int]] = {}
        for run_id, data in await registry.overview.of_type(wanted, "updates"):
            for id, tokens in _used(registry.load(data)):
                counts.setdefault(run_id, {})[id] = tokens
        for run_id in wanted:
            own = counts.get(run_id)
            self._tokens[run_id] = sum(own.values()) if own else None


def _used(update: Any) -> list[tuple[str, int]]:
    """Return the messages in an update whose model said how many tokens it used."""
    found = []
    waiting = [update]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += value.values()
        elif isinstance(value, list | tuple):
            waiting += value
        elif usage := getattr(value, "usage_metadata", None):
            found.append((str(value.id or id(value)), int(usage.get("total_tokens") or 0)))
    return found


def _names(resources: Sequence[Resource]) -> dict[str, ResourceKey]:
    """Return the resources that have a graph by the targets of its runs."""
    from stategraph.cli.observing.selecting import targets_of
    from stategraph.resources import serving

    keys = [each.key for each in resources]
    return {target: key for key in keys if key.kind in serving.KINDS for target in targets_of(key, keys)}


def _graph(run: RunInfo, names: Mapping[str, ResourceKey]) -> str:
    key = names.get(run.target)
    return str(key) if key is not None else run.target.removeprefix("graph:")


def _quantile(values: Sequence[float], part: float) -> float | None:
    return max(0.0, values[min(len(values) - 1, int(part * len(values)))]) if values else None


def _plugin(resource: Resource) -> PluginFigures:
    status = resource.status
    ready, reason, _ = state_of(resource)
    pid = status.get("pid")
    return PluginFigures(
        str(resource.key),
        str(status.get("state") or "-"),
        pid if isinstance(pid, int) else None,
        int(status.get("restarts") or 0),
        str(status.get("isolation") or "-"),
        ready,
        reason,
    )


def _pool(resource: Resource) -> tuple[str, int, int, int, str]:
    counts = (int(resource.status.get(each) or 0) for each in ("replicas", "busy", "queued"))
    replicas, busy, queued = counts
    return str(resource.key), replicas, busy, queued, state_of(resource)[0]


def _budget(tenant: str, run_id: str, unit: str, cap: int | None, reserved: int, spent: int) -> BudgetFigures:
    size = {"usd": 1e9, "wall_s": 1e3}.get(unit, 1.0)
    return BudgetFigures(tenant, run_id, unit, None if cap is None else cap / size, reserved / size, spent / size)
