"""State by key: get, set, update, all, watch.

Rules
-----
* Values are JSON. A value with a time to live is gone after it, for readers at once; nobody is told of that.
* `update` is atomic: the function sees the value that its result replaces, also with other writers in other processes.
* Every change has the next version of its scope. A watch tells the newest change of each key, in their order: who is
  slow sees the last value of a key and not each one in between. Deletions are told while they are among the last
  100,000 changes of the scope.
* In a file or on a server, state outlives the process; in memory it does not.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

from stategraph.resources.model import ResourceKey
from stategraph.resources.state.blocking import SIGNAL, BlockingStateStore, StateChange, StateTables
from stategraph.resources.store.opening import MEMORY, open_parts

#: How often a watch looks by itself, in seconds: while the bus is live, and while it is not.
_LOOK_S: Final = 5.0
_LOOK_ALONE_S: Final = 0.5


class StateStores:
    """The state of all scopes in a database.

    Args:
        url: `memory:`, `sqlite:///...`, `libsql:///...` or `postgresql://...`; nothing is opened before its first use.
    """

    def __init__(self, url: str = MEMORY) -> None:
        self._kept = StateTables(*open_parts(url))
        self._in_memory: StateTables | None = None

    def scope(self, name: str, *, ttl: float | None = None) -> StateStore:
        """Return the state of a scope; values are gone after `ttl` seconds, None for never."""
        return StateStore(BlockingStateStore(self._kept, name, ttl))

    def network(
        self, network: ResourceKey | str, *, persistence: bool = True, ttl: float | None = None
    ) -> NetworkStateStore:
        """Return the state that the agents of a network share.

        Args:
            network: The network, or its key as text.
            persistence: Whether it is kept in the database; if not, in the memory of this process.
            ttl: Seconds after which a value is gone; None for never.
        """
        tables = self._kept
        if not persistence:
            if self._in_memory is None:
                self._in_memory = StateTables(*open_parts(MEMORY))
            tables = self._in_memory
        return NetworkStateStore(BlockingStateStore(tables, str(network), ttl))

    async def close(self) -> None:
        """End watches and close the database."""
        for each in (self._kept, self._in_memory):
            if each is not None:
                await asyncio.to_thread(each.close)


class StateStore:
    """The state of one scope.

    Args:
        blocking: The same for callers that cannot await.

    Attributes:
        blocking: The same for callers that cannot await.
    """

    def __init__(self, blocking: BlockingStateStore) -> None:
        self.blocking = blocking

    async def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, or a default if there is none."""
        return await asyncio.to_thread(self.blocking.get, key, default)

    async def set(self, key: str, value: Any, ttl: float | None = None) -> int:
        """Set the value of a key; see `BlockingStateStore.set`."""
        return await asyncio.to_thread(self.blocking.set, key, value, ttl)

    async def update(
        self, key: str, function: Callable[[Any], Any | Awaitable[Any]], default: Any = None, ttl: float | None = None
    ) -> Any:
        """Set a key to what a function, sync or async, makes of its value; see `BlockingStateStore.update`."""
        while True:
            found = await asyncio.to_thread(self.blocking.find, key)
            new = function(default if found is None else found.value)
            if inspect.isawaitable(new):
                new = await new
            version = None if found is None else found.version
            if await asyncio.to_thread(self.blocking.swap, key, new, version, ttl):
                return new

    async def delete(self, key: str) -> bool:
        """Delete a key, and return whether it had a value."""
        return await asyncio.to_thread(self.blocking.delete, key)

    async def all(self, prefix: str = "") -> dict[str, Any]:
        """Return all values whose keys begin with a prefix, by key."""
        return await asyncio.to_thread(self.blocking.all, prefix)

    async def clear(self) -> None:
        """Delete everything."""
        await asyncio.to_thread(self.blocking.clear)

    async def version(self) -> int:
        """Return the version of the newest change; 0 if there was none."""
        return await asyncio.to_thread(self.blocking.version)

    async def watch(self, prefix: str = "", from_version: int | None = None) -> AsyncIterator[StateChange]:
        """Yield changes of keys that begin with a prefix; waits for more and never ends by itself.

        Args:
            prefix: The beginning of the keys.
            from_version: Changes behind this version; None for those from now on.
        """
        bus = self.blocking.bus
        with bus.watch([SIGNAL.topic]) as wakes:
            position = await self.version() if from_version is None else from_version
            while True:
                changes = await asyncio.to_thread(self.blocking.changes, position)
                for each in changes:
                    position = each.version
                    if each.key.startswith(prefix):
                        yield each
                if not changes:
                    await wakes.wait(_LOOK_S if bus.is_live else _LOOK_ALONE_S)


class NetworkStateStore(StateStore):
    """The state that the agents of a network share."""
