"""The port of a running plug-in: one start of it, wherever it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from stategraph.resources.plugins.api import Json, Offers


@dataclass(frozen=True, slots=True)
class Usage:
    """Resources that a plug-in uses.

    Attributes:
        pid: Its process; None: that of the host.
        rss_bytes: Its resident memory; None: not known.
        cpu_s: Processor time of its process so far; None: not known.
    """

    pid: int | None = None
    rss_bytes: int | None = None
    cpu_s: float | None = None


class Watcher(Protocol):
    """Listener to what a running plug-in does by itself."""

    def published(self, topic: str, event: Mapping[str, Json]) -> None:
        """Take an event that it published, in the host's event loop."""

    def lost(self, instance: Instance, why: str) -> None:
        """Note that it is gone, although nobody stopped it."""


class Instance(Protocol):
    """One start of a plug-in. Belongs to the event loop that started it."""

    offers: Offers

    async def start(self) -> None:
        """Start it, within its time limit; `offers` is set then.

        Raises:
            PluginError: It did not start; nothing of it is left.
        """

    async def call(self, kind: str, name: str, payload: Json, timeout_s: float) -> Json:
        """Call a function of it, see `Served.call`.

        Raises:
            PluginCallError: The function raised.
            PluginTimeout: It took too long.
            PluginUnavailable: The plug-in is gone.
        """

    def tell(self, topic: str, event: Json) -> None:
        """Tell it an event, without waiting."""

    def usage(self) -> Usage:
        """Return what it uses."""

    async def stop(self) -> None:
        """End it, politely if it lets; whatever it does, it is gone afterwards or left behind. May be called again."""
