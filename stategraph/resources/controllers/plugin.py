"""Plugin: starts a plug-in as it is declared, replaces it when that changes, and tells how it is."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from stategraph.errors import ConfigurationError, MissingPackageError
from stategraph.resources.controller import Ctx, ReconcileResult
from stategraph.resources.errors import InvalidResource, NotReady, UnresolvedReference
from stategraph.resources.kind_table import DEFAULT_NAMESPACE
from stategraph.resources.kinds import plugin as kinds
from stategraph.resources.model import Condition, Resource
from stategraph.resources.plugins import configuration
from stategraph.resources.plugins.errors import IsolationUnavailable, PluginError, PluginPermissionError
from stategraph.resources.plugins.host import PluginHost
from stategraph.resources.plugins.lifecycle import PluginState
from stategraph.resources.plugins.spec import PluginLimits, PluginSpec
from stategraph.resources.plugins.tools import tools_of

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

    from stategraph.resources.plugins.api import Offers
    from stategraph.resources.plugins.statistics import PluginStatus

#: Seconds until a plug-in that comes and goes is looked at again.
_SOON_S: Final = 1.0


class RunningPlugin:
    """A Plugin, as others use it. It stays the same over restarts and replacements.

    Args:
        host: Runs it.
        name: Its name there.
    """

    def __init__(self, host: PluginHost, name: str) -> None:
        self.host = host
        self.name = name

    @property
    def offers(self) -> Offers:
        """Everything that it registered; nothing while it does not run."""
        return self.host.offers(self.name)

    def tools(self) -> list[BaseTool]:
        """Return its tools, for agents and tool nodes."""
        return tools_of(self.host, self.name)

    def tool(self, name: str) -> BaseTool:
        """Return one of its tools.

        Raises:
            NotReady: It does not run, so that nobody knows what it offers.
            UnresolvedReference: It offers no tool of that name.
        """
        found = next((each for each in self.tools() if each.name == name), None)
        if found is not None:
            return found
        status = self.host.status(self.name)
        if status.state is not PluginState.RUNNING:
            raise NotReady(
                f"the plug-in '{self.name}' is {status.state.value}: {status.detail or 'it does not run'}",
                path=("spec", "plugin", "pluginRef"),
                reason="NotRunning",
            )
        known = ", ".join(sorted(self.offers.tools)) or "none"
        raise UnresolvedReference(
            f"the plug-in '{self.name}' has no tool {name!r}; it has: {known}",
            path=("spec", "plugin", "tool"),
            reason="ToolNotFound",
        )

    async def call(self, tool: str, arguments: Mapping[str, Any], *, timeout_s: float | None = None) -> Any:
        """Call one of its tools, see `PluginHost.call`."""
        return await self.host.call(self.name, tool, arguments, timeout_s=timeout_s)


class PluginController:
    """Runs the plug-ins that are declared, in every process that has the store."""

    kind: ClassVar[str] = "Plugin"
    depends_on: ClassVar[tuple[str, ...]] = ("Secret",)
    everywhere: ClassVar[bool] = True

    def __init__(self) -> None:
        self._host: PluginHost | None = None
        self._opening = asyncio.Lock()
        self._listening: asyncio.Task[None] | None = None
        self._running: dict[str, RunningPlugin] = {}

    async def reconcile(self, resource: Resource, ctx: Ctx) -> ReconcileResult:
        """Have it run as declared."""
        declared = ctx.parsed(resource)
        assert isinstance(declared, kinds.PluginSpec)
        name = host_name(resource)
        try:
            spec = await _spec(resource, declared, ctx, name)
        except (ConfigurationError, MissingPackageError, PluginPermissionError) as error:
            raise InvalidResource(str(error), path=("spec",), reason=_reason(error)) from error
        host = await self._opened(ctx)
        try:
            status = await host.apply(spec)
        except PluginPermissionError as error:
            raise InvalidResource(str(error), path=("spec", "permissions"), reason="NotPermitted") from error
        except ConfigurationError as error:
            raise InvalidResource(str(error), path=("spec",)) from error
        except IsolationUnavailable as error:
            raise NotReady(str(error), path=("spec", "trust"), reason="IsolationUnavailable") from error
        except PluginError as error:
            raise NotReady(str(error), reason="NotStarted") from error
        running = self._running.setdefault(name, RunningPlugin(host, name))
        steady = status.state is PluginState.RUNNING
        return ReconcileResult(
            _conditions(status),
            _told(status, running.offers),
            requeue_after=declared.health_seconds if steady else min(_SOON_S, declared.health_seconds),
            compiled=running,
        )

    async def _opened(self, ctx: Ctx) -> PluginHost:
        async with self._opening:
            if self._host is None:
                host = PluginHost(allow=ctx.allow, publish=ctx.publish, audit=ctx.services.get("audit"))
                self._host = await host.__aenter__()
                bus = ctx.services.get("bus")
                if bus is not None:
                    self._listening = asyncio.create_task(_listen(bus, self._host))
            return self._host

    async def finalize(self, resource: Resource, ctx: Ctx) -> bool:
        """Stop it."""
        del ctx
        name = host_name(resource)
        if self._host is not None:
            await self._host.remove(name)
        self._running.pop(name, None)
        return True

    async def aclose(self) -> None:
        """Stop all plug-ins."""
        if self._listening is not None:
            self._listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._listening
            self._listening = None
        if self._host is not None:
            await self._host.aclose()
            self._host = None


async def _listen(bus: Any, host: PluginHost) -> None:
    async for event in bus.subscribe(">"):
        if not event.topic.startswith("plugin."):
            host.tell(event.topic, event.data)


def host_name(resource: Resource) -> str:
    """Return the name of a Plugin in its host and its topics: no two have the same."""
    name = resource.name.replace(".", "__")
    return name if resource.namespace == DEFAULT_NAMESPACE else f"{resource.namespace}_{name}"


async def _spec(resource: Resource, declared: kinds.PluginSpec, ctx: Ctx, name: str) -> PluginSpec:
    """Return the declaration of a plug-in, with its configuration and its secrets in place."""
    config: dict[str, Any] = {}
    if declared.config_file is not None:
        config = await asyncio.to_thread(configuration.read, _below_here(declared.config_file))
    config = {**config, **declared.config}
    secrets = []
    for field, value in declared.secrets.items():
        secret = await ctx.secret(value.secret, value.key, path=("spec", "secrets", field))
        secrets.append(secret)
        _put(config, field, secret)
    limits = declared.limits
    return PluginSpec(
        name,
        package=declared.package,
        module=declared.module,
        trust=declared.trust,
        isolation=declared.isolation,
        permissions=frozenset(declared.permissions),
        config=config,
        secrets=tuple(secrets),
        limits=PluginLimits(
            call_s=limits.call_seconds,
            start_s=limits.start_seconds,
            drain_s=limits.drain_seconds,
            memory_mb=limits.memory_mebibytes,
            cpu_s=limits.cpu_seconds,
            files=limits.files,
            processes=limits.processes,
            calls=limits.calls,
        ),
        health_s=declared.health_seconds,
        tenant=resource.namespace,
    )


def _below_here(name: str) -> Path:
    """Return the path of a configuration: below the current folder, so that a manifest cannot name any file.

    Raises:
        ConfigurationError: It is elsewhere.
    """
    here = Path.cwd().resolve()
    path = (here / name).resolve()
    if not path.is_relative_to(here):
        raise ConfigurationError(f"The configuration '{name}' is outside of the current folder; expected a file in it")
    return path


def _put(config: dict[str, Any], field: str, value: str) -> None:
    """Put a value into a field that is written with dots.

    Raises:
        ConfigurationError: A part of the way is no mapping.
    """
    *way, last = field.split(".")
    inner = config
    for part in way:
        found = inner.get(part, {})
        if not isinstance(found, Mapping):
            raise ConfigurationError(
                f"The secret '{field}' cannot be put into the configuration: '{part}' is no mapping"
            )
        deeper = dict(found)
        inner[part] = deeper
        inner = deeper
    inner[last] = value


def _reason(error: Exception) -> str:
    return "NotPermitted" if isinstance(error, PluginPermissionError) else "Invalid"


def _conditions(status: PluginStatus) -> list[Condition]:
    if status.state is PluginState.RUNNING:
        return [Condition("Ready", "True", "Running", "the plug-in runs and is well")]
    ready = Condition("Ready", "False", status.state.value, status.detail or f"the plug-in is {status.state.value}")
    if status.state in (PluginState.STARTING, PluginState.RESTARTING):
        return [ready, Condition("Progressing", "True", status.state.value, "it is being started again")]
    return [ready]


def _told(status: PluginStatus, offers: Offers) -> dict[str, Any]:
    """Return what the status says; figures that change with each call are left to `RunningPlugin.host`."""
    told: dict[str, Any] = {
        "state": status.state.value,
        "isolation": status.isolation,
        "restarts": status.restarts,
        "tools": sorted(offers.tools),
        "controllers": sorted(offers.controllers),
        "hooks": [each.event for each in offers.hooks],
    }
    if status.usage.pid is not None:
        told["pid"] = status.usage.pid
    return told
