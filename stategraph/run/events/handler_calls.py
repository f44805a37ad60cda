"""Calls of a host's handlers: each is waited for, and what it costs is counted, as it slows the run.

- A handler that raises fails the run, under its own name. Only one that is told of a closing does not: that is logged.
"""

from __future__ import annotations

import inspect
import logging
from dataclasses import dataclass
from types import CoroutineType
from typing import Any

from stategraph.engine.config import environment
from stategraph.run.events import handler_registry
from stategraph.run.events.event_types import GraphEvents
from stategraph.run.events.execution_graph import ExecutionGraph
from stategraph.run.events.handler_registry import HandlersInTurn

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HandlerStatistics:
    """The cost of one event's handler.

    Attributes:
        event: The event.
        calls: How often it was called.
        total_s: Seconds in all.
        longest_s: Seconds of the slowest call.
    """

    event: str
    calls: int
    total_s: float
    longest_s: float


@dataclass(slots=True)
class _Cost:
    """Statistics that grow."""

    calls: int = 0
    total_s: float = 0.0
    longest_s: float = 0.0


class HandlerCalls:
    """Calls the handlers of one run.

    Args:
        run_id: The run.
        graph: Its graph, which handlers are given.
    """

    def __init__(self, run_id: str, graph: ExecutionGraph) -> None:
        self._run_id = run_id
        self._graph = graph
        self._costs: dict[str, _Cost] = {}

    async def call(
        self, handle: handler_registry.Handle, event: str, data: Any, metadata: dict[str, object] | None
    ) -> None:
        """Call a handler and wait for it.

        Raises:
            HandlerError: It failed.
        """
        monotonic = environment.current().clock.monotonic
        began = monotonic()
        # Handlers may change what they are given, so each gets its own; those that were made one share it.
        metadata = metadata and metadata.copy()
        answer: Any = None
        call = handle
        try:
            for call in handle.calls if type(handle) is HandlersInTurn else (handle,):
                said = call(event, data, metadata, self._graph)
                if said is not None and (type(said) is CoroutineType or inspect.isawaitable(said)):
                    said = await said
                if said is not None:
                    answer = said
            if answer is not None and event == GraphEvents.ON_TOOL_EXECUTE:
                call = handle
                data.resolve(answer)
        except Exception as error:
            failure = handler_registry.failure(call, event, error)
            if event != GraphEvents.ON_RUN_STEP_CLOSED:
                raise failure from (error if failure is not error else error.__cause__)
            # The reported event is past, and there may be no caller left to raise to.
            _log.warning("Run '%s' is still running. %s", self._run_id, failure, exc_info=error)
        took_s = monotonic() - began
        cost = self._costs.get(event)
        if cost is None:
            cost = self._costs[event] = _Cost()
        cost.calls += 1
        cost.total_s += took_s
        if took_s > cost.longest_s:
            cost.longest_s = took_s

    def statistics(self) -> tuple[HandlerStatistics, ...]:
        """Return the cost of each handler so far, the most expensive first."""
        found = [HandlerStatistics(event, c.calls, c.total_s, c.longest_s) for event, c in self._costs.items()]
        return tuple(sorted(found, key=lambda each: -each.total_s))
