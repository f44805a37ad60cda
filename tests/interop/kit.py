"""What an interchange case is made of: a graph, and the steps that a thread goes through.

A case is written once and knows neither engines nor savers nor whether it runs synchronously:

    @case
    def answers_one_question() -> Case:
        builder = StateGraph(State) ...
        return Case(builder.compile, [
            lambda thread: thread.run({"log": []}),
            lambda thread: thread.run(Command(resume="yes")),
        ])

Between any two steps the thread may move to the other engine, in a new process or a process that has never seen it. The
graph is built anew for every step, so that nothing but the saver carries state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Step = Callable[["Thread"], Any]
BOTH = ("sync", "async")


@dataclass(frozen=True, slots=True)
class Case:
    """One case.

    Attributes:
        build: makes the compiled graph from a saver: ``build(checkpointer=saver)``.
        steps: what happens to the thread; what a step returns is compared as well.
        modes: "sync" and "async", where a case makes sense in both.
        encrypted: whether the saver encrypts what it stores.
        durability: the durability of every run of the case; None is the default of the engine.
    """

    build: Callable[..., Any]
    steps: Sequence[Step]
    modes: tuple[str, ...] = BOTH
    encrypted: bool = False
    durability: str | None = None


CASES: dict[str, Callable[[], Case]] = {}


def case(factory: Callable[[], Case]) -> Callable[[], Case]:
    """Register a case under the name of its factory."""
    register(factory.__name__, factory)
    return factory


def register(name: str, factory: Callable[[], Case]) -> None:
    """Register a case under a name of its own.

    Raises:
        ValueError: the name is taken.
    """
    if name in CASES:
        raise ValueError(f"two cases are called {name!r}")
    CASES[name] = factory


@dataclass(slots=True)
class Surroundings:
    """What nodes of the running step can reach beside their state.

    Attributes:
        scratch: a directory of the thread, shared by all processes that work on it.
        effects: which nodes ran in this step, as told by ``effect``.
        mode: "sync" or "async".
    """

    scratch: Path = Path()
    effects: list[str] = field(default_factory=list)
    mode: str = "sync"


HERE = Surroundings()


def effect(name: str) -> None:
    """Tell that a node runs. A finished node that runs again after a switch is a difference."""
    HERE.effects.append(name)


def first_time(name: str) -> bool:
    """Whether this is asked for the first time on this thread, on whichever engine."""
    marker = HERE.scratch / name
    if marker.exists():
        return False
    marker.touch()
    return True


class Thread:
    """A thread of checkpoints as a step sees it: the same calls in sync and async."""

    def __init__(self, graph: Any, thread_id: str, loop: asyncio.Runner | None, durability: str | None) -> None:
        self.graph = graph
        self._thread_id = thread_id
        self._loop = loop
        self._durability = durability

    def config(self, at: Any = None, **extra: Any) -> dict[str, Any]:
        """The config of a call, from the checkpoint ``at`` (a snapshot or a config) if given."""
        base = at.config if hasattr(at, "config") else at
        configurable = {"thread_id": self._thread_id, **(base or {}).get("configurable", {})}
        return {**extra, "configurable": {**configurable, **extra.get("configurable", {})}}

    def run(self, given: Any, *, at: Any = None, config: dict[str, Any] | None = None, **options: Any) -> Any:
        """Run to the end or to the next wait, and return the output."""
        options = self._options(options)
        if self._loop is None:
            return self.graph.invoke(given, self.config(at, **config or {}), **options)
        return self._wait(self.graph.ainvoke(given, self.config(at, **config or {}), **options))

    def stream(self, given: Any, *, mode: Any = "updates", stop_after: int | None = None, **options: Any) -> list[Any]:
        """Take chunks of a run, and break off after ``stop_after`` of them."""
        options = self._options(options)
        if self._loop is not None:
            return self._wait(self._astream(given, mode, stop_after, options))
        found: list[Any] = []
        with closing(self.graph.stream(given, self.config(), stream_mode=mode, **options)) as chunks:
            for chunk in chunks:
                found.append(chunk)
                if len(found) == stop_after:
                    break
        return found

    async def _astream(self, given: Any, mode: Any, stop_after: int | None, options: dict[str, Any]) -> list[Any]:
        found: list[Any] = []
        async with aclosing(self.graph.astream(given, self.config(), stream_mode=mode, **options)) as chunks:
            async for chunk in chunks:
                found.append(chunk)
                if len(found) == stop_after:
                    break
        return found

    def fails(self, given: Any, **options: Any) -> dict[str, str]:
        """Run, and demand that it raises; the class and the first sentence are compared.

        The engines' own errors begin alike; ours then say more.
        """
        try:
            found = self.run(given, **options)
        except Exception as error:
            return {
                "raised": type(error).__name__,
                "message": str(error).splitlines()[0].partition(". ")[0].rstrip("."),
            }
        raise AssertionError(f"the run was expected to fail, but returned {found!r}")

    def state(self, at: Any = None, *, subgraphs: bool = False) -> Any:
        """The snapshot of the thread, or of one of its checkpoints."""
        if self._loop is None:
            return self.graph.get_state(self.config(at), subgraphs=subgraphs)
        return self._wait(self.graph.aget_state(self.config(at), subgraphs=subgraphs))

    def history(self, at: Any = None) -> list[Any]:
        """All snapshots, the newest first."""
        if self._loop is None:
            return list(self.graph.get_state_history(self.config(at)))

        async def collect() -> list[Any]:
            return [snapshot async for snapshot in self.graph.aget_state_history(self.config(at))]

        found: list[Any] = self._wait(collect())
        return found

    def checkpoint(self, step: int, source: str = "loop") -> Any:
        """The oldest snapshot that was taken at ``step`` for the reason ``source``."""
        found = [s for s in self.history() if s.metadata.get("step") == step and s.metadata.get("source") == source]
        return found[-1]

    def update(self, values: Any, as_node: str | None = None, *, at: Any = None) -> None:
        """Change the state by hand."""
        if self._loop is None:
            self.graph.update_state(self.config(at), values, as_node)
        else:
            self._wait(self.graph.aupdate_state(self.config(at), values, as_node))

    def bulk_update(self, supersteps: Any) -> None:
        """Change the state by hand, in several supersteps."""
        if self._loop is None:
            self.graph.bulk_update_state(self.config(), supersteps)
        else:
            self._wait(self.graph.abulk_update_state(self.config(), supersteps))

    def interrupt_ids(self) -> dict[Any, str]:
        """The ids of the interrupts that are waited for, by the value they ask with."""
        return {interrupt.value: interrupt.id for interrupt in self.state(subgraphs=True).interrupts}

    def _options(self, options: dict[str, Any]) -> dict[str, Any]:
        if self._durability is not None:
            options.setdefault("durability", self._durability)
        return options

    def _wait(self, awaitable: Awaitable[Any]) -> Any:
        assert self._loop is not None

        async def wait() -> Any:
            return await awaitable

        return self._loop.run(wait())
