"""The database that an action on threads works on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stategraph.run.threads.port import ThreadIndex
    from stategraph.run.threads.threads import Threads


@dataclass(frozen=True, slots=True)
class Opened:
    """An open database.

    Attributes:
        threads: Its threads.
        saver: Its saver, which keeps values of classes that are not known here.
        index: The rows of its threads.
    """

    threads: Threads
    saver: Any
    index: ThreadIndex


@asynccontextmanager
async def opened(store: str) -> AsyncIterator[Opened]:
    """Open a database that is there.

    Raises:
        ConfigurationError: It is not there.
    """
    from stategraph.cli.foreign import keeping
    from stategraph.run.runtime import AgentRuntime
    from stategraph.run.threads.indexes import index_of
    from stategraph.savers.urls import saver_at

    async with saver_at(store, create=False) as plain_saver:
        saver = keeping(plain_saver)
        index = index_of(saver)
        await index.open()
        async with AgentRuntime(checkpointer=saver) as runtime:
            yield Opened(runtime.threads, saver, index)
