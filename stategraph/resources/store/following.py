"""Changes of a store, followed also over a gap in its log, which keeps the newest ones alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from stategraph.resources.store.port import Change, ResourceStore, WatchGapError


async def changes_over_gaps(store: ResourceStore, version: int) -> AsyncIterator[Change | None]:
    """Yield every change behind a version; never ends by itself.

    Args:
        store: The store.
        version: The version that the reader knows.

    Yields:
        A change, or None where changes are missing: anything may have changed, so the reader lists again. What changes
        after that is yielded.
    """
    while True:
        try:
            changes: Any = store.watch(version)
            async with aclosing(changes):
                async for change in changes:
                    version = change.resource_version
                    yield change
            return  # the store is closed
        except WatchGapError:
            version = await store.version()
            yield None
