"""A plug-in in the host's process, in a thread with an event loop of its own.

Code that blocks blocks that loop and not the host's. Such a thread cannot be ended: it is left behind, and the plug-in
started anew in another one. What ends the process, such as a fault in a C extension, ends the host too.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from stategraph.resources.plugins.api import Json, Offers
from stategraph.resources.plugins.errors import (
    PluginCallError,
    PluginError,
    PluginStartError,
    PluginTimeout,
    PluginUnavailable,
)
from stategraph.resources.plugins.instance import Usage, Watcher
from stategraph.resources.plugins.serving import Served, plain
from stategraph.resources.plugins.spec import PluginSpec

T = TypeVar("T")

_STOP_S: Final = 2.0

_log = logging.getLogger(__name__)


class ThreadInstance:
    """A plug-in in a thread of this process.

    Args:
        spec: Its declaration.
        target: `package.module:Class`, which was checked.
        watcher: Who is told its events.
    """

    def __init__(self, spec: PluginSpec, target: str, watcher: Watcher) -> None:
        self.offers = Offers()
        self._spec = spec
        self._target = target
        self._watcher = watcher
        self._host = asyncio.get_running_loop()
        self._served = Served(spec.name, spec.permissions, self._publish)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=f"plugin {spec.name}", daemon=True)
        self._stopped = False

    def _run(self) -> None:
        try:
            self._loop.run_forever()
        finally:
            for task in asyncio.all_tasks(self._loop):
                task.cancel()
            self._loop.run_until_complete(asyncio.sleep(0))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    def _publish(self, topic: str, event: dict[str, Json]) -> None:
        if not self._host.is_closed():
            self._host.call_soon_threadsafe(self._watcher.published, topic, event)

    async def _begun(self, work: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    async def _within(self, work: Coroutine[Any, Any, T], timeout_s: float) -> T:
        async with asyncio.timeout(timeout_s):
            return await self._begun(work)

    async def start(self) -> None:
        """Start it, see `Instance.start`."""
        self._thread.start()
        try:
            self.offers = await self._within(
                self._served.begin(self._target, self._spec.config), self._spec.limits.start_s
            )
        except TimeoutError:
            await self.stop()
            raise PluginStartError(
                f"Plugin '{self._spec.name}' did not start within {self._spec.limits.start_s:g} s"
            ) from None
        except PluginError:
            await self.stop()
            raise
        except Exception as error:  # any error of the plug-in's code
            await self.stop()
            raise PluginStartError(
                f"Plugin '{self._spec.name}' did not start: {type(error).__name__}: {error}"
            ) from error
        except BaseException:
            await self.stop()
            raise

    async def call(self, kind: str, name: str, payload: Json, timeout_s: float) -> Json:
        """Call a function of it, see `Instance.call`."""
        if self._stopped:
            raise PluginUnavailable(f"Plugin '{self._spec.name}' was stopped")
        given = plain(payload, f"The argument of the {kind} '{name}'")
        limit = asyncio.timeout(timeout_s)
        try:
            async with limit:
                return await self._begun(self._served.call(kind, name, given))
        except asyncio.CancelledError:
            raise
        except Exception as error:  # any error of the plug-in's code
            if isinstance(error, TimeoutError) and limit.expired():
                raise PluginTimeout(
                    f"The {kind} '{name}' of plugin '{self._spec.name}' took longer than {timeout_s:g} s"
                ) from None
            raise PluginCallError(f"{type(error).__name__}: {error}", type(error).__name__) from error

    def tell(self, topic: str, event: Json) -> None:
        """Tell it an event."""
        if not self._stopped:
            asyncio.run_coroutine_threadsafe(self._served.hear(topic, plain(event, "An event")), self._loop)

    def usage(self) -> Usage:
        """Return what it uses: of a thread, nothing is known."""
        return Usage()

    async def stop(self) -> None:
        """End it; a thread that is blocked is left behind."""
        if self._stopped or not self._thread.is_alive():
            self._stopped = True
            return
        self._stopped = True
        try:
            await self._within(self._served.end(), _STOP_S)
        except TimeoutError:
            _log.warning("Plugin '%s' does not stop: its thread is left behind", self._spec.name)
        except Exception:  # any error of the plug-in's code
            _log.exception("Plugin '%s' did not stop as it should", self._spec.name)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
        for _ in range(20):  # it ends at once, unless it is blocked
            if not self._thread.is_alive():
                return
            await asyncio.sleep(0.01)
