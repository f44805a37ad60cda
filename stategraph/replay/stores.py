"""A store whose operations are recorded: what a thread finds there may be of others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from stategraph.engine.checkpoints.store_interfaces import BaseStore
from stategraph.replay import asking, codec
from stategraph.replay.asking import Ask
from stategraph.replay.errors import RecordingError


class TapedStore(BaseStore):
    """A store in a run that is recorded or replayed; outside of runs it is the store itself.

    Args:
        store: The store; None in a replay, where none is asked.
    """

    def __init__(self, store: BaseStore | None) -> None:
        self._store = store
        self.supports_ttl = store is not None and store.supports_ttl
        self.ttl_config = None if store is None else store.ttl_config

    def batch(self, ops: Iterable[Any]) -> list[Any]:
        """Perform operations."""
        given = list(ops)
        return asking.tape().through(_of(given), lambda: self._there().batch(given))  # type: ignore[no-any-return]

    async def abatch(self, ops: Iterable[Any]) -> list[Any]:
        """Perform operations on an event loop."""
        asked = list(ops)
        return await asking.tape().athrough(_of(asked), lambda: self._there().abatch(asked))  # type: ignore[no-any-return]

    def __getattr__(self, name: str) -> Any:
        """Return what a store of somebody's own has beside the interface; a recording does not hold its calls."""
        if name.startswith("_"):
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")
        if self._store is None:
            raise RecordingError(
                f"A node asks the store for '{name}', which is not of BaseStore, so that the recording does not hold "
                "what it returned: call it in a function that is marked with @recorded"
            )
        return getattr(self._store, name)

    def _there(self) -> BaseStore:
        if self._store is None:
            raise RuntimeError("A replay has no store outside of its runs")
        return self._store


def _of(operations: list[Any]) -> Ask:
    return Ask("store", "store", lambda: [[type(each).__name__, codec.encode(each)] for each in operations])
