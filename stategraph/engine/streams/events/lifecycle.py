"""The projection that tells when nested runs at any depth start and end.

Unlike the handles of nested runs it is plain data, so it is an event too and can leave the process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from stategraph.engine.streams.events.nested import NestedRunTransformer, SubgraphStatus
from stategraph.engine.streams.events.queue import StreamChannel
from stategraph.engine.streams.events.transformer import Namespace

if TYPE_CHECKING:
    from stategraph.engine.streams.events.payload import LifecyclePayload


class LifecycleTransformer(NestedRunTransformer):
    """Tells of all runs below its own."""

    _native: ClassVar[bool] = True

    def __init__(self, scope: Namespace = ()) -> None:
        """Tell of the runs below this namespace."""
        super().__init__(scope)
        self._channel: StreamChannel[LifecyclePayload] = StreamChannel("lifecycle")

    def init(self) -> dict[str, Any]:
        """Return one queue, `lifecycle`."""
        return {"lifecycle": self._channel}

    def _should_track(self, ns: Namespace) -> bool:
        depth = len(self.scope)
        return len(ns) > depth and ns[:depth] == self.scope

    def _on_started(self, ns: Namespace, graph_name: str | None, trigger_call_id: str | None) -> None:
        if trigger_call_id is None:
            return  # nothing would tell of its end
        payload: LifecyclePayload = {"event": "started", "namespace": list(ns)}
        if graph_name:
            payload["graph_name"] = graph_name
        payload["trigger_call_id"] = trigger_call_id
        if self._pending_cause is not None:
            payload["cause"] = self._pending_cause
        self._channel.push(payload)

    def _on_terminal(self, ns: Namespace, status: SubgraphStatus, error: str | None) -> None:
        payload: LifecyclePayload = {"event": status, "namespace": list(ns)}
        if error is not None:
            payload["error"] = error
        self._channel.push(payload)
