"""Upkeep that the service does by itself: schedules that are due, threads and items whose time is over.

Any number of processes may do so beside each other. While the database is away, nothing is done, and it is tried again.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

import anyio

from stategraph.server.service.crons import CronService
from stategraph.server.service.items import ItemStore
from stategraph.server.service.threads import ThreadService
from stategraph.server.service.values import UnavailableError

#: Seconds between two looks at the schedules.
CRONS_S: Final = 1.0

#: Seconds between two looks at what has expired.
SWEEP_S: Final = 60.0

_log = logging.getLogger(__name__)


async def keep_up(
    crons: CronService,
    threads: ThreadService,
    store: ItemStore | None = None,
    *,
    crons_s: float = CRONS_S,
    sweep_s: float = SWEEP_S,
) -> None:
    """Begin runs of schedules and delete what has expired, until it is cancelled.

    Args:
        crons: The schedules.
        threads: The threads.
        store: The store, if it is one whose items expire by this.
        crons_s: Seconds between two looks at the schedules.
        sweep_s: Seconds between two looks at threads and items.
    """
    async with anyio.create_task_group() as group:
        group.start_soon(_repeat, crons.begin_due, crons_s)
        group.start_soon(_repeat, threads.sweep, sweep_s)
        if store is not None:
            group.start_soon(_repeat, store.sweep, sweep_s)


async def _repeat(look: Callable[[], Awaitable[object]], seconds: float) -> None:
    while True:
        try:
            await look()
        except UnavailableError:
            _log.warning("The database cannot be reached: %s is done later", look.__qualname__)
        except Exception:
            _log.exception("%s failed, and is done again", look.__qualname__)
        await anyio.sleep(seconds)
