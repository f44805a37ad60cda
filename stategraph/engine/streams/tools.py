"""``stream_mode="tools"``: when tools start, what they show meanwhile, and how they end.

Rules
-----
* Every event names its call. A tool that was not called by a model goes by the id of its run.
* A tool that asks something, or that stops because the run is drained, has not ended: it will start again.
* While a tool runs, its runtime finds the writer of its partial output in the context.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from contextvars import Token
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from stategraph.engine.tracing.stream_handler import Namespace, Put, StreamFeed
from stategraph.engine.tracing.tool_events import ToolCallWriter, tool_call_writer
from stategraph.errors import GraphDrained, GraphInterrupt


@dataclass(frozen=True, slots=True)
class _Call:
    """A tool call that is running, and the writer that its context had before."""

    ns: Namespace
    id: str
    before: Token[ToolCallWriter | None]


class StreamToolCallHandler(StreamFeed):
    """Shows the tool calls of a run."""

    def __init__(self, put: Put, subgraphs: bool, *, parent_ns: Namespace | None = None) -> None:
        super().__init__(put, subgraphs, parent_ns=parent_ns)
        self._running: dict[UUID, _Call] = {}

    def on_tool_start(
        self,
        serialized: Mapping[str, object] | None,
        input_str: str,
        *,
        run_id: UUID,
        tags: list[str] | None = None,
        metadata: dict[str, object] | None = None,
        inputs: dict[str, object] | None = None,
        **kwargs: object,
    ) -> None:
        """Show that a tool starts."""
        ns = self.place(metadata, tags)
        if ns is None:
            return
        call_id = str(kwargs.get("tool_call_id") or run_id)
        before = tool_call_writer.set(partial(self._show_delta, ns, call_id))
        self._running[run_id] = _Call(ns, call_id, before)
        name = (serialized or {}).get("name") or kwargs.get("name") or ""
        given = {} if inputs is None else {"input": inputs}
        self._show(ns, call_id, "tool-started", tool_name=name, **given)

    def on_tool_end(self, output: object, *, run_id: UUID, **kwargs: object) -> None:
        """Show what a tool returned."""
        call = self._close(run_id)
        if call is not None:
            self._show(call.ns, call.id, "tool-finished", output=output)

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **kwargs: object) -> None:
        """Show what a tool failed with."""
        call = self._close(run_id)
        if call is not None and not isinstance(error, (GraphInterrupt, GraphDrained)):
            self._show(call.ns, call.id, "tool-error", message=str(error))

    def _close(self, run_id: UUID) -> _Call | None:
        call = self._running.pop(run_id, None)
        if call is not None:
            # The end may be told in another context than the start; then the writer goes with that context.
            with suppress(ValueError):
                tool_call_writer.reset(call.before)
        return call

    def _show_delta(self, ns: Namespace, call_id: str, delta: object) -> None:
        self._show(ns, call_id, "tool-output-delta", delta=delta)

    def _show(self, ns: Namespace, call_id: str, event: str, **details: object) -> None:
        self.put((ns, "tools", {"event": event, "tool_call_id": call_id, **details}))
