"""Runs that the page has begun: their events, and the way that they took through the drawing.

A run is kept until `KEPT` others have begun. It is executed on a thread of its own, and waits there for answers.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

from stategraph.dev.inspector.graphs import path_of
from stategraph.drawing.picture import Picture
from stategraph.run.json_safe import to_json
from stategraph.types import Command

#: Runs that are kept.
KEPT: Final = 50

#: Events that are kept of a run.
_EVENTS: Final = 5_000

_MODES: Final = ["tasks", "messages", "custom"]


@dataclass(slots=True)
class Run:
    """A run, as far as it has come.

    Attributes:
        graph: What is executed.
        picture: Its drawing.
        config: Names its thread.
        status: `running`, `waits`, `done`, `failed` or `stopped`.
        visits: How often each node of the drawing ran.
        current: The nodes that run.
        asking: The nodes that wait for an answer.
        edges: The edges that were taken.
        result: Its last values; the questions that it waits with; the error.
        events: What it told, in order.
    """

    graph: Any
    picture: Picture
    config: dict[str, Any]
    status: str = "running"
    visits: Counter[str] = field(default_factory=Counter)
    current: Counter[str] = field(default_factory=Counter)
    asking: set[str] = field(default_factory=set)
    edges: dict[tuple[str, str], None] = field(default_factory=dict)
    result: Any = None
    events: list[dict[str, Any]] = field(default_factory=list)
    task: asyncio.Task[None] | None = None
    _ended: dict[str, None] = field(default_factory=dict)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def path(self) -> dict[str, Any]:
        """Return the way through the drawing, as the page marks it."""
        edges = [{"source": source, "target": target} for source, target in self.edges]
        upcoming = sorted(self.asking)
        return {"visits": dict(self.visits), "current": sorted(+self.current), "upcoming": upcoming, "edges": edges}

    def told(self) -> dict[str, Any]:
        """Return how it is."""
        return {"status": self.status, "path": self.path(), "result": self.result}

    def tell(self, event: dict[str, Any]) -> None:
        """Add an event, and wake those who read."""
        if len(self.events) < _EVENTS or event.get("event") == "end":
            self.events.append(event)
        self._changed.set()
        self._changed = asyncio.Event()

    async def after(self, number: int) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the events behind a number, until the run ends or waits."""
        while True:
            changed = self._changed
            while number < len(self.events):
                yield {**self.events[number], "number": number + 1}
                number += 1
            if self.status != "running":
                return
            await changed.wait()

    def take(self, namespace: tuple[str, ...], task: dict[str, Any]) -> None:
        """Take the beginning or the end of a task."""
        outer = path_of("|".join(namespace))
        node = f"{outer}:{task['name']}" if outer else str(task["name"])
        known = {each.id for each in self.picture.nodes}
        if node not in known:
            return
        if "triggers" in task:
            self.current[node] += 1
            self.asking.discard(node)
            before = [each for each in self._ended if any(_leads(edge, each, node) for edge in self.picture.edges)]
            starts = [e.source for e in self.picture.edges if e.target == node and e.source.endswith("__start__")]
            for source in before or starts:
                self.edges[source, node] = None
        else:
            self.current[node] -= 1
            if task.get("interrupts"):
                self.asking.add(node)
                return
            self.visits[node] += 1
            self._ended.pop(node, None)
            self._ended[node] = None

    def finish(self) -> None:
        """Mark the edges to the end."""
        for edge in self.picture.edges:
            if edge.target.endswith("__end__") and self._ended and edge.source == next(reversed(self._ended)):
                self.edges[edge.source, edge.target] = None
                self.visits[edge.target] = 1


def _leads(edge: Any, source: str, target: str) -> bool:
    return bool(edge.source == source and edge.target == target)


class Runs:
    """The runs of a console."""

    def __init__(self) -> None:
        self._runs: OrderedDict[str, Run] = OrderedDict()

    def get(self, run_id: str) -> Run:
        """Return a run.

        Raises:
            LookupError: There is none.
        """
        found = self._runs.get(run_id)
        if found is None:
            raise LookupError(f"There is no run '{run_id}' of this console: others are in the inspector")
        return found

    def begin(self, graph: Any, picture: Picture, given: Any) -> str:
        """Begin a run in the background, and return its id."""
        from stategraph.engine.checkpoints.memory import in_memory_saver

        if not graph.checkpointer:
            graph = graph.copy({"checkpointer": in_memory_saver()})
        run_id = uuid.uuid4().hex
        run = Run(graph, picture, {"configurable": {"thread_id": f"console-{run_id}"}})
        self._runs[run_id] = run
        self._go(run, given)
        for old, each in list(self._runs.items())[:-KEPT]:
            if each.status != "running":
                del self._runs[old]
        return run_id

    def answer(self, run: Run, answer: Any) -> None:
        """Go on with a run that waits.

        Raises:
            LookupError: It does not wait.
        """
        if run.status != "waits":
            raise LookupError("The run does not wait for an answer")
        run.status = "running"
        self._go(run, Command(resume=answer))

    def stop(self, run: Run) -> None:
        """Stop a run."""
        if run.task is not None:
            run.task.cancel()

    def _go(self, run: Run, given: Any) -> None:
        run.task = asyncio.create_task(_execute(run, given))

    async def close(self) -> None:
        """Stop all runs."""
        tasks = [each.task for each in self._runs.values() if each.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._runs.clear()


async def _execute(run: Run, given: Any) -> None:
    try:
        stream = run.graph.astream(given, run.config, stream_mode=_MODES, subgraphs=True)
        async with aclosing(stream) as parts:
            async for namespace, mode, data in parts:
                _tell(run, namespace, mode, data)
        state = await run.graph.aget_state(run.config)
        waits = [{"id": each.id, "value": _plain(each.value)} for each in state.interrupts]
        run.status = "waits" if waits else "done"
        run.result = {"values": _plain(state.values), "questions": waits}
        if not waits:
            run.finish()
    except asyncio.CancelledError:
        run.status = "stopped"
        raise
    except Exception as error:
        run.status, run.result = "failed", {"error": f"{type(error).__name__}: {error}"}
    finally:
        run.current.clear()
        run.tell({"event": "end", **run.told()})


def _tell(run: Run, namespace: tuple[str, ...], mode: str, data: Any) -> None:
    match mode:
        case "tasks":
            run.take(namespace, data)
            run.tell({"event": "path", "path": run.path()})
        case "messages":
            message, _ = data
            if text := str(getattr(message, "text", "") or ""):
                run.tell({"event": "text", "node": namespace[-1].partition(":")[0] if namespace else "", "text": text})
        case _:
            run.tell({"event": "custom", "data": _plain(data)})


def _plain(value: Any) -> Any:
    import json

    return json.loads(to_json(value))
