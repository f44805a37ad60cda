"""The handle of a nested run: read like the run around it, which it is a part of and pulls."""

from __future__ import annotations

from stategraph.engine.streams.events.mux import StreamMux
from stategraph.engine.streams.events.nested import SubgraphStatus
from stategraph.engine.streams.events.run import AsyncGraphRunStream, GraphRunStream, RunHandle
from stategraph.engine.streams.events.transformer import Namespace


class NestedRun(RunHandle):
    """What is known of a nested run.

    Attributes:
        path: Its namespace.
        graph_name: Name of the agent that runs there, else of the node.
        trigger_call_id: Id of the task that runs it.
        status: `started` until it ends.
        error: Text of the error it failed with.
    """

    path: Namespace
    graph_name: str | None
    trigger_call_id: str | None
    status: SubgraphStatus
    error: str | None
    _seen_terminal: bool

    def _describe(self, path: Namespace, graph_name: str | None, trigger_call_id: str | None) -> None:
        self.status, self.error = "started", None
        self._seen_terminal = False
        self.trigger_call_id = trigger_call_id
        self.path, self.graph_name = path, graph_name

    def _mark(self, status: SubgraphStatus, error: str | None) -> None:
        """It has ended, if it had not."""
        if not self._seen_terminal:
            self._seen_terminal = True
            self.status = status
            self.error = error

    @property
    def _over(self) -> bool:
        return self._exhausted or self._mux._events._closed


class SubgraphRunStream(GraphRunStream, NestedRun):
    """A nested run of a synchronous run. Aborting it only stops following it."""

    def __init__(
        self,
        mux: StreamMux,
        *,
        path: Namespace,
        graph_name: str | None = None,
        trigger_call_id: str | None = None,
    ) -> None:
        """Hold a nested run; see `NestedRun`."""
        super().__init__(None, mux, wire_pump=False)
        self._describe(path, graph_name, trigger_call_id)

    def _pump_next(self) -> bool:
        pull = self._mux._pump_fn
        return not self._over and pull is not None and pull()


class AsyncSubgraphRunStream(AsyncGraphRunStream, NestedRun):
    """A nested run of an asynchronous run. Aborting it only stops following it."""

    def __init__(
        self,
        mux: StreamMux,
        *,
        path: Namespace,
        graph_name: str | None = None,
        trigger_call_id: str | None = None,
    ) -> None:
        """Hold a nested run; see `NestedRun`."""
        super().__init__(None, mux, wire_pump=False)
        self._describe(path, graph_name, trigger_call_id)

    async def _apump_next(self) -> bool:
        pull = self._mux._apump_fn
        return not self._over and pull is not None and await pull()
