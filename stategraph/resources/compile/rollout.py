"""Rollout of workflows and agents: a thread that is under way is finished on the version that it began with.

- Each checkpoint of a thread has the workflow or agent and its version in its metadata.
- The specs of all versions are kept, old ones for `rollout.maxAge`; each process compiles those that it may need.
- A new thread takes the newest version, as does one that had ended. One that has work left goes on with its own.
- Where there is one version, nothing is looked up.
- A version that was removed, or whose time is over, ends its threads: going on with them raises
  `VersionRemovedError`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from langchain_core.runnables import RunnableConfig

from stategraph.constants import CONF, CONFIG_KEY_CHECKPOINT_NS, CONFIG_KEY_THREAD_ID, INTERRUPT
from stategraph.engine.config.procedures import adrive, drive
from stategraph.graph.compiled import CompiledStateGraph
from stategraph.resources.compile.data import Data, Fields, Graph, Object
from stategraph.resources.errors import ResourceError

WORKFLOW: Final = "workflow"
VERSION: Final = "workflow_version"

_SHOWN: Final = 12

#: Seconds for which it is known that a version was removed: threads that wait on it are told so for as long.
REMOVED_S: Final = 365 * 86_400.0


class VersionRemovedError(ResourceError):
    """A thread cannot go on: the version that it began with was removed.

    Attributes:
        reason: `version_removed`.
    """

    reason = "version_removed"


class VersionInUseError(ResourceError):
    """A version is not removed, because threads wait on it."""


class Records(Protocol):
    """Store of the versions of one workflow or agent."""

    async def all(self) -> Fields:
        """Return everything."""

    async def set(self, key: str, value: Data, /, ttl: float | None = None) -> object:
        """Keep a value."""

    async def update(
        self, key: str, function: Callable[[Any], Any], default: Any = None, ttl: float | None = None
    ) -> Any:
        """Keep what a function makes of a value, with no other write in between."""

    async def get(self, key: str, /) -> Data:
        """Return a value; None if there is none."""

    @property
    def blocking(self) -> Data:
        """The same for callers that cannot await."""


@dataclass(frozen=True, slots=True)
class VersionThreads:
    """The threads of one version.

    Attributes:
        number: The version, counted from 1.
        version: The version itself, see `plan.version_of`.
        is_current: Whether new threads take it.
        threads: How many threads are on it.
        waiting: How many of them wait for an answer.
    """

    number: int
    version: str
    is_current: bool
    threads: int
    waiting: int

    def __str__(self) -> str:
        return f"{self.threads} threads on v{self.number}, {self.waiting} waiting"


@dataclass(slots=True)
class Rollout:
    """The versions of a workflow or an agent.

    Attributes:
        key: Its namespace and name, as `default/recipes`.
        version: The newest version.
        numbers: The numbers of versions.
        graphs: The graphs of older versions.
        removed: Versions that were removed.
        records: Store of the versions; None: they are not kept.
        current: The graph of the newest version; set when it is made.
        what: The word for its kind: `workflow`, `agent`.
    """

    key: str
    version: str
    numbers: Mapping[str, int] = field(default_factory=dict)
    graphs: Mapping[str, Graph] = field(default_factory=dict)
    removed: frozenset[str] = frozenset()
    records: Records | None = None
    current: Graph = None
    what: str = "workflow"

    @property
    def mark(self) -> str:
        """The mark of its threads in the metadata of their checkpoints."""
        return self.key if self.what == "workflow" else f"{self.what}/{self.key}"

    def stamped(self, graph: Graph, version: str) -> Graph:
        """Return a graph whose checkpoints have its mark and a version in their metadata."""
        return graph.with_config(metadata={WORKFLOW: self.mark, VERSION: version})

    def rolled(self, graph: Graph) -> Graph:
        """Return the graph of the newest version, which hands threads of older ones to these."""
        made = self.stamped(graph, self.version)
        if self.graphs or self.removed or self.numbers.get(self.version, 1) > 1:
            made.builder.rollout = self
            made.__class__ = RolledGraph  # a compiled graph is made by its builder alone
        self.current = made
        return made

    async def threads(self, saver: Data) -> list[VersionThreads]:
        """Return how many threads are on each version, the newest version first."""
        found: dict[str, list[int]] = {self.version: [0, 0]}
        async for version, waits in self._threads(saver):
            counts = found.setdefault(version, [0, 0])
            counts[0] += 1
            counts[1] += waits
        several = [
            VersionThreads(self.numbers.get(version, 0), version, version == self.version, *counts)
            for version, counts in found.items()
        ]
        return sorted(several, key=lambda each: -each.number)

    async def _threads(self, saver: Data) -> AsyncIterator[tuple[str, bool]]:
        """Yield the version of each thread, and whether it waits."""
        seen = set[str]()
        async for each in saver.alist(None, filter={WORKFLOW: self.mark}):
            conf = each.config[CONF]
            thread = conf[CONFIG_KEY_THREAD_ID]
            if conf.get(CONFIG_KEY_CHECKPOINT_NS) or thread in seen:
                continue
            seen.add(thread)
            yield each.metadata[VERSION], _waits(each)

    async def remove(self, version: str, saver: Data, *, force: bool = False) -> VersionThreads:
        """Remove an old version.

        Args:
            version: The version, or its number as `v1`.
            saver: Keeps the threads.
            force: Whether threads that wait on it may be lost: they end as `error: version_removed`.

        Returns:
            The threads that were on it.

        Raises:
            VersionInUseError: Threads wait on it.
            ResourceError: There is no such version, or it is the newest.
        """
        names = {f"v{number}": each for each, number in self.numbers.items()}
        chosen = names.get(version, version)
        gone = self.removed | {self.version}
        if chosen not in self.numbers or chosen in gone:
            old = ", ".join(sorted(name for name, each in names.items() if each not in gone)) or "none"
            raise ResourceError(f"The {self.what} {self.key} has no old version {version!r}; old versions: {old}")
        known = {each.version: each for each in await self.threads(saver)}
        found = known.get(chosen, VersionThreads(self.numbers[chosen], chosen, False, 0, 0))
        if found.waiting and not force:
            wait = "thread waits" if found.waiting == 1 else "threads wait"
            raise VersionInUseError(
                f"{found.waiting} {wait} on v{found.number} of the {self.what} {self.key}: answer them first, or "
                "remove it with force, which ends them as 'error: version_removed'"
            )
        if self.records is not None:
            kept = {"number": self.numbers[chosen], "old": True, "removed": True}
            await self.records.set(chosen, kept, ttl=REMOVED_S)
        self.removed |= {chosen}
        self.graphs = {each: graph for each, graph in self.graphs.items() if each != chosen}
        return found

    def describe(self, several: list[VersionThreads]) -> Object:
        """Return the versions as a status tells them."""
        shown = [each for each in several if each.threads or each.is_current][:_SHOWN]
        return {
            "threads": "; ".join(map(str, shown)),
            "versions": [
                {"number": each.number, "version": each.version, "threads": each.threads, "waiting": each.waiting}
                for each in shown
            ],
        }


def _waits(found: Data) -> bool:
    return any(channel == INTERRUPT for _, channel, _ in found.pending_writes or ())


@dataclass(frozen=True, slots=True)
class _Ask:
    """A question to a saver, a graph or the records, by the name of its sync method."""

    whom: Data
    method: str
    about: Data

    def in_thread(self) -> Data:
        """Return the answer."""
        return getattr(self.whom, self.method)(self.about)

    async def in_loop(self) -> Data:
        """Return the answer, async."""
        return await getattr(self.whom, f"a{self.method}")(self.about)


@dataclass(frozen=True, slots=True)
class _Kept:
    """The records, with the names of methods that savers and graphs have."""

    records: Records

    def get(self, version: str) -> Data:
        """Return what is kept of a version."""
        return self.records.blocking.get(version)

    async def aget(self, version: str) -> Data:
        """Return what is kept of a version, async."""
        return await self.records.get(version)


class RolledGraph(CompiledStateGraph[Any, Any, Any, Any]):
    """A graph that hands threads which are under way to the version that they began with."""

    def stream(self, input: Data, config: RunnableConfig | None = None, **options: Data) -> Iterator[Data]:
        """Stream a run, see `StateGraphEngine.stream`.

        Raises:
            VersionRemovedError: The thread's version was removed.
        """
        other = drive(self._steps(config), _Ask.in_thread)
        begin = super().stream if other is None else other.stream
        chunks: Iterator[Data] = begin(input, config, **self._options(other, options))
        return chunks

    async def astream(self, input: Data, config: RunnableConfig | None = None, **options: Data) -> AsyncIterator[Data]:
        """Stream a run, see `StateGraphEngine.astream`.

        Raises:
            VersionRemovedError: The thread's version was removed.
        """
        other = await adrive(self._steps(config), _Ask.in_loop)
        if other is None:
            chunks = super().astream(input, config, **options)
        else:
            chunks = other.astream(input, config, **self._options(other, options))
        async for chunk in chunks:
            yield chunk

    def _options(self, other: Graph, options: Object) -> Object:
        """Return the options of a run for another version, whose output has other fields; None: this one."""
        if other is None or options.get("output_keys") != self.output_channels:
            return options
        return {**options, "output_keys": other.output_channels}

    def get_state(self, config: RunnableConfig, *, subgraphs: bool = False) -> Data:
        """Return the state of a thread as the version sees it that it is on."""
        other = drive(self._steps(config), _Ask.in_thread)
        if other is None:
            return super().get_state(config, subgraphs=subgraphs)
        return other.get_state(config, subgraphs=subgraphs)

    async def aget_state(self, config: RunnableConfig, *, subgraphs: bool = False) -> Data:
        """Return the state of a thread as the version sees it that it is on, async."""
        other = await adrive(self._steps(config), _Ask.in_loop)
        state = super().aget_state if other is None else other.aget_state
        return await state(config, subgraphs=subgraphs)

    def _steps(self, config: RunnableConfig | None) -> Generator[_Ask, Any, Graph]:
        """Return the graph of a thread's version; None: this one.

        Raises:
            VersionRemovedError: The version was removed, and the thread has work left.
        """
        rollout: Rollout = self.builder.rollout  # type: ignore[attr-defined]
        thread = ((config or {}).get(CONF) or {}).get(CONFIG_KEY_THREAD_ID)
        if thread is None or not hasattr(self.checkpointer, "get_tuple"):
            return None
        place = RunnableConfig(configurable={CONFIG_KEY_THREAD_ID: thread, CONFIG_KEY_CHECKPOINT_NS: ""})
        found = yield _Ask(self.checkpointer, "get_tuple", place)
        version = None if found is None else found.metadata.get(VERSION)
        if version is None or version == rollout.version:
            return None
        graph = rollout.graphs.get(version)
        if graph is not None and rollout.records is not None:
            kept = yield _Ask(_Kept(rollout.records), "get", version)
            if kept is not None and kept.get("removed"):  # by another process, since this one looked last
                graph = None
        if graph is None:
            if not _waits(found):
                return None
            raise VersionRemovedError(
                f"error: version_removed: thread {thread!r} began on a version of the {rollout.what} {rollout.key} "
                f"that was removed ({version[:12]}); begin a new thread"
            )
        state = yield _Ask(graph, "get_state", place)
        return graph if state.next else None
