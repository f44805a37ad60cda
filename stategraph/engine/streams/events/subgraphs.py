"""The projection that hands out a handle for each nested run directly below its own.

A handle has separate transformers, made for the namespace of the nested run, and gets every event from there and
below; so the next level of nested runs is found on the handle. It is let go when the run ends: its holder may still
read what had arrived.
"""

from __future__ import annotations

from typing import Any, ClassVar

from stategraph.engine.checkpoints import pump
from stategraph.engine.checkpoints.pump import Ask, Procedure
from stategraph.engine.streams.events.mux import StreamMux
from stategraph.engine.streams.events.nested import NestedRunTransformer, SubgraphStatus, ending
from stategraph.engine.streams.events.queue import StreamChannel
from stategraph.engine.streams.events.run import AsyncSubgraphRunStream, SubgraphRunStream
from stategraph.engine.streams.events.transformer import Namespace, ProtocolEvent

Handle = SubgraphRunStream | AsyncSubgraphRunStream


class SubgraphTransformer(NestedRunTransformer):
    """Follows nested runs, one handle for each."""

    _native: ClassVar[bool] = True
    supports_sync: ClassVar[bool] = True

    def __init__(self, scope: Namespace = ()) -> None:
        """Follow the runs directly below this namespace."""
        super().__init__(scope)
        self._log: StreamChannel[Handle] = StreamChannel()
        self._handles: dict[Namespace, Handle] = {}  # of runs that have not ended
        self._mux: StreamMux | None = None

    def init(self) -> dict[str, Any]:
        """Return one queue of handles, `subgraphs`."""
        return {"subgraphs": self._log}

    def process(self, event: ProtocolEvent) -> bool:
        """Start and end handles by the events of tasks, and pass each event on to the run it comes from."""
        return self._is_for_others(event) or pump.run(self._taking(event))

    async def aprocess(self, event: ProtocolEvent) -> bool:
        """Like `process`, waiting for the transformers of the nested run."""
        return self._is_for_others(event) or await pump.arun(self._taking(event))

    def finalize(self) -> None:
        """Complete all nested runs that are still running."""
        pump.run(self._ending_all("completed", None, None))

    async def afinalize(self) -> None:
        """Like `finalize`."""
        await pump.arun(self._ending_all("completed", None, None))

    def fail(self, err: BaseException) -> None:
        """End all nested runs that are still running, with the error of the run around them."""
        pump.run(self._ending_all(*ending(err), err))

    async def afail(self, err: BaseException) -> None:
        """Like `fail`."""
        await pump.arun(self._ending_all(*ending(err), err))

    def _on_register(self, mux: StreamMux) -> None:
        self._mux = mux

    def _should_track(self, ns: Namespace) -> bool:
        return len(ns) == len(self.scope) + 1 and ns[:-1] == self.scope

    def _on_started(self, ns: Namespace, graph_name: str | None, trigger_call_id: str | None) -> None:
        if self._mux is None or self._mux._factories is None:
            return  # the run has no reader
        kind = AsyncSubgraphRunStream if self._mux.is_async else SubgraphRunStream
        handle = kind(self._mux._make_child(ns), path=ns, graph_name=graph_name, trigger_call_id=trigger_call_id)
        self._handles[ns] = handle
        self._log.push(handle)

    def _on_terminal(self, ns: Namespace, status: SubgraphStatus, error: str | None) -> None:
        self._handles[ns]._mark(status, error)

    def _is_for_others(self, event: ProtocolEvent) -> bool:
        """Return whether an event comes from the run itself and is not about nested ones, as most are."""
        return len(event["params"]["namespace"]) <= len(self.scope) and event["method"] != "tasks"

    def _taking(self, event: ProtocolEvent) -> Procedure[bool]:
        of_task = event["method"] == "tasks"
        for ns, status, error in self._learn(event) if of_task else ():
            if ns in self._handles:
                self._on_terminal(ns, status, error)
                yield from self._closing(ns, RuntimeError(error or "The run failed") if status == "failed" else None)
        handle = self._handles.get(tuple(event["params"]["namespace"][: len(self.scope) + 1]))
        if handle is not None and not handle._mux._events._closed:
            handle._observe_event(event)
            yield Ask(handle._mux, "push", (event,))
        return not of_task

    def _ending_all(self, status: SubgraphStatus, text: str | None, error: BaseException | None) -> Procedure[None]:
        self._open.clear()
        first: BaseException | None = None
        for ns in list(self._handles):
            self._on_terminal(ns, status, text)
            try:
                yield from self._closing(ns, error)
            except BaseException as raised:  # raised when the others have ended
                first = first or raised
        if first is not None:
            raise first

    def _closing(self, ns: Namespace, error: BaseException | None) -> Procedure[None]:
        mux = self._handles.pop(ns)._mux
        if not mux._events._closed:
            yield Ask(mux, "close", ()) if error is None else Ask(mux, "fail", (error,))
