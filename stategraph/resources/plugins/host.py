"""Plug-ins of a program: started by their declarations, called by name, told of events, and reported.

    async with PluginHost(allow=("app.",), publish=bus.publish) as host:
        await host.apply(PluginSpec("weather", module="app.weather:Weather", trust="verified"))
        await host.call("weather", "forecast", {"city": "Oslo"})

Nothing that a plug-in does reaches the host but results, events and log lines: it may crash, block, print without end
or fill its memory.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from stategraph.errors import ConfigurationError
from stategraph.resources.plugins.discovery import target_of
from stategraph.resources.plugins.errors import PluginError, PluginPermissionError, PluginUnavailable
from stategraph.resources.plugins.lifecycle import PluginState, RestartBudget
from stategraph.resources.plugins.process import ProcessInstance
from stategraph.resources.plugins.supervisor import HEALTH_S, Supervised
from stategraph.resources.plugins.threads import ThreadInstance

if TYPE_CHECKING:
    from stategraph.governance.audit.event import AuditSink
    from stategraph.resources.plugins.api import Json, Offers
    from stategraph.resources.plugins.instance import Instance
    from stategraph.resources.plugins.spec import PluginSpec
    from stategraph.resources.plugins.statistics import PluginStatus

_log = logging.getLogger(__name__)

#: Events that wait to be published; with more, the oldest are lost.
_MOST_WAITING: Final = 10_000

_BAD: Final = (PluginState.UNHEALTHY, PluginState.RESTARTING, PluginState.FAILED)


class PluginHost:
    """Runs plug-ins. An async context manager; belongs to the event loop in which it is entered.

    Calls may come from any event loop or thread; everything else belongs to that loop.

    Args:
        allow: Prefixes of modules that may be imported, see `stategraph.resources.plugins.discovery`.
        publish: Takes topics and events, `plugin.<state>` and those of plug-ins; sync or async. None: nobody hears
            them.
        audit: Takes a row for every move and every refusal, of the types `plugin.moved` and `plugin.refused`; None:
            there is no audit log.
        tenant: Whose audit log, for plug-ins that name none.
        budget: Makes the budget of restarts of a plug-in.
        health_s: Seconds that a health check may take.
    """

    def __init__(
        self,
        *,
        allow: Iterable[str] = (),
        publish: Callable[[str, Mapping[str, Json]], Json] | None = None,
        audit: AuditSink | None = None,
        tenant: str = "default",
        budget: Callable[[], RestartBudget] = RestartBudget,
        health_s: float = HEALTH_S,
    ) -> None:
        self._allow = tuple(allow)
        self._publish = publish
        self._audit = audit
        self._tenant = tenant
        self._budget = budget
        self._health_s = health_s
        self._plugins: dict[str, Supervised] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._reports: asyncio.Queue[tuple[str, Mapping[str, Json], str | None]] = asyncio.Queue(_MOST_WAITING)
        self._reporting: asyncio.Task[None] | None = None
        self._unreported = 0

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._reporting = asyncio.create_task(self._report())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop all plug-ins, and report what is left. May be called again."""
        await asyncio.gather(*(each.stop() for each in self._plugins.values()))
        if self._reporting is not None:
            # Whoever runs this loop may have cancelled the task that reports: nobody would take what is left.
            told = asyncio.create_task(self._reports.join())
            await asyncio.wait((told, self._reporting), return_when=asyncio.FIRST_COMPLETED)
            for each in (told, self._reporting):
                each.cancel()
            await asyncio.wait((told, self._reporting))
            self._reporting = None

    # Plug-ins.

    async def apply(self, spec: PluginSpec) -> PluginStatus:
        """Have a plug-in as it is declared: start it, or replace it if its declaration has changed.

        Args:
            spec: The declaration.

        Raises:
            PluginPermissionError: It needs, or registers, what it may not.
            IsolationUnavailable: This machine cannot isolate it.
            PluginStartError: It did not start. A new one is tried again by itself; one that was to take the place of
                another leaves that in place.
            ConfigurationError: There is no such code.
        """
        known = self._plugins.get(spec.name)
        try:
            target_of(spec, self._allow)  # before anything that runs is touched
            if known is None:
                known = self._plugins[spec.name] = Supervised(
                    spec, self._make, self, budget=self._budget(), health_s=self._health_s
                )
                await known.start()
            elif known.spec != spec:
                await known.update(spec)
            elif known.state in (PluginState.STOPPED, PluginState.REGISTERED):
                await known.start()
        except PluginPermissionError as error:
            self._put("plugin.refused", {"plugin": spec.name, "reason": str(error)}, spec.tenant or self._tenant)
            raise
        return known.status()

    def _make(self, spec: PluginSpec, watcher: Supervised) -> Instance:
        target = target_of(spec, self._allow)
        kind = ThreadInstance if spec.runs_in == "none" else ProcessInstance
        return kind(spec, target, watcher)

    async def restart(self, name: str) -> PluginStatus:
        """Replace a plug-in by a new instance of itself, also one that has failed.

        Raises:
            PluginUnavailable: There is no such plug-in.
            PluginError: It did not start; one that runs goes on.
        """
        found = self._found(name)
        await found.update(found.spec)
        return found.status()

    async def remove(self, name: str) -> None:
        """Stop a plug-in and forget it; one that is not there is forgotten already."""
        found = self._plugins.get(name)
        if found is not None:
            await found.stop()
            self._plugins.pop(name, None)

    def _found(self, name: str) -> Supervised:
        found = self._plugins.get(name)
        if found is None:
            known = ", ".join(sorted(self._plugins)) or "none"
            raise PluginUnavailable(f"There is no plug-in '{name}'; there are: {known}")
        return found

    def status(self, name: str) -> PluginStatus:
        """Return the figures of a plug-in.

        Raises:
            PluginUnavailable: There is no such plug-in.
        """
        return self._found(name).status()

    def statuses(self) -> list[PluginStatus]:
        """Return the figures of all plug-ins, by name."""
        return [self._plugins[each].status() for each in sorted(self._plugins)]

    def offers(self, name: str) -> Offers:
        """Return what a plug-in registered; nothing while it does not run.

        Raises:
            PluginUnavailable: There is no such plug-in.
        """
        return self._found(name).offers

    def controlling(self, kind: str) -> str | None:
        """Return the name of the plug-in that reconciles a kind; None if there is none."""
        return next((name for name in sorted(self._plugins) if kind in self._plugins[name].offers.controllers), None)

    # Calls.

    async def call(
        self, plugin: str, tool: str, arguments: Mapping[str, Json], *, timeout_s: float | None = None
    ) -> Json:
        """Call a tool of a plug-in.

        Args:
            plugin: The plug-in.
            tool: The tool.
            arguments: Its arguments by name, as JSON.
            timeout_s: Seconds that it may take, at most those of the declaration; None: those.

        Raises:
            PluginUnavailable: There is no such plug-in, or it does not run.
            PluginTimeout: It took too long.
            PluginCallError: The tool raised, or there is none.
        """
        return await self.ask(plugin, "tool", tool, dict(arguments), timeout_s)

    async def ask(self, plugin: str, kind: str, name: str, payload: Json, timeout_s: float | None = None) -> Json:
        """Call anything that a plug-in registered, see `Supervised.call`."""
        if self._loop is None:
            raise PluginError("A PluginHost is used before it was entered: write 'async with PluginHost(...) as host:'")
        work = self._found(plugin).call
        if asyncio.get_running_loop() is self._loop:
            return await work(kind, name, payload, timeout_s)
        return await asyncio.wrap_future(
            asyncio.run_coroutine_threadsafe(work(kind, name, payload, timeout_s), self._loop)
        )

    def ask_sync(self, plugin: str, kind: str, name: str, payload: Json, timeout_s: float | None = None) -> Json:
        """Call anything that a plug-in registered, from a thread other than the host's, see `Supervised.call`.

        Raises:
            PluginError: It is called in the host's event loop, which would wait for itself.
        """
        if self._loop is None:
            raise PluginError("A PluginHost is used before it was entered: write 'async with PluginHost(...) as host:'")
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is self._loop:
            raise PluginError(
                f"The {kind} '{name}' of plugin '{plugin}' was called without await in the event loop of its host, "
                "which would wait for itself; call it with await, or in a thread"
            )
        work = self._found(plugin).call(kind, name, payload, timeout_s)
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    # Events.

    def tell(self, topic: str, event: Mapping[str, Json]) -> None:
        """Tell plug-ins of an event of the bus: those that listen to its topic."""
        for each in self._plugins.values():
            if each.offers.topics:
                each.tell(topic, dict(event))

    def moved(self, plugin: Supervised, before: PluginState, detail: str) -> None:
        """Report a move, see `Reporter`."""
        name, state = plugin.spec.name, plugin.state
        level = logging.WARNING if state in _BAD else logging.INFO
        _log.log(level, "Plugin '%s' is %s%s", name, state, f": {detail}" if detail else "")
        event = {"plugin": name, "from": before.value, "to": state.value, "detail": detail}
        self._put(f"plugin.{state.value.lower()}", event, plugin.spec.tenant or self._tenant)

    def published(self, plugin: Supervised, topic: str, event: Mapping[str, Json]) -> None:
        """Take an event of a plug-in, which stays below the topic of its name."""
        self._put(f"plugin.{plugin.spec.name}.{topic}", event, None)

    def _put(self, topic: str, event: Mapping[str, Json], tenant: str | None) -> None:
        if self._reporting is None or (self._publish is None and (self._audit is None or tenant is None)):
            return
        if self._reports.full():
            self._reports.get_nowait()
            self._reports.task_done()
            self._unreported += 1
            _log.warning("%d events of plug-ins were lost: nobody takes them fast enough", self._unreported)
        self._reports.put_nowait((topic, event, tenant))

    async def _report(self) -> None:
        while True:
            topic, event, tenant = await self._reports.get()
            try:
                if tenant is not None and self._audit is not None:
                    await self._record(topic, event, tenant)
                if self._publish is not None:
                    done = self._publish(topic, event)
                    if inspect.isawaitable(done):
                        await done
            except Exception:  # any error of a bus or an audit log: reports go on
                _log.exception("An event of the topic '%s' was not reported", topic)
            finally:
                self._reports.task_done()

    async def _record(self, topic: str, event: Mapping[str, Json], tenant: str) -> None:
        from stategraph.governance.audit.event import AuditEvent, Severity

        assert self._audit is not None
        refused = topic == "plugin.refused"
        bad = refused or event["to"] in _BAD
        await self._audit.record(
            AuditEvent(
                "plugin.refused" if refused else "plugin.moved",
                tenant,
                datetime.now(UTC),
                uuid.uuid4().hex,
                Severity.WARNING if bad else Severity.INFO,
                capability_id=f"plugin:{event['plugin']}",
                data=dict(event),
            )
        )


def check_name(name: str) -> str:
    """Return the name of a plug-in.

    Raises:
        ConfigurationError: It cannot be a part of a topic.
    """
    if not name or not all(each.isalnum() or each in "-_" for each in name):
        raise ConfigurationError(f"The name of a plug-in is {name!r}; expected letters, digits, - and _")
    return name
