"""Wait until resources are ready, or until nothing changes any more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, Final

from stategraph.resources.model import Resource, ResourceKey
from stategraph.resources.store.following import changes_over_gaps

if TYPE_CHECKING:
    from stategraph.resources.runtime import Runtime

#: Seconds without a change, after which what is not ready is not waited for, unless it says that it goes on.
_QUIET_S: Final = 0.5


async def settle(runtime: Runtime, keys: Sequence[ResourceKey], limit_s: float) -> list[Resource]:
    """Return resources once they are ready, or once nothing changes any more.

    Args:
        runtime: A runtime that has started.
        keys: The resources; those that are gone are left out.
        limit_s: Seconds at most.
    """
    until = time.monotonic() + limit_s
    with suppress(TimeoutError):  # what is not ready then is told
        await runtime.settled(limit_s)
    changes: Any = changes_over_gaps(runtime.store, await runtime.store.version())
    async with aclosing(changes):
        change: asyncio.Task[Any] = asyncio.ensure_future(anext(changes))
        try:
            while True:
                found = [resource for key in keys if (resource := await runtime.get(key)) is not None]
                left = until - time.monotonic()
                if all(each.is_ready for each in found) or left <= 0:
                    return found
                patience = left if any(map(_goes_on, found)) else min(left, _QUIET_S)
                done, _ = await asyncio.wait({change}, timeout=patience)
                if not done:
                    return found
                change.result()
                change = asyncio.ensure_future(anext(changes))
        finally:
            change.cancel()
            await asyncio.wait({change})


def _goes_on(resource: Resource) -> bool:
    """Return whether something is done about a resource: no controller has seen it yet, or one is at work."""
    ready, progressing = resource.condition("Ready"), resource.condition("Progressing")
    is_seen = ready is not None and ready.observed_generation == resource.metadata.generation
    return not is_seen or (progressing is not None and progressing.status == "True")
