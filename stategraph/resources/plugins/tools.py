"""Tools and hooks of plug-ins as agents and runs take them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from stategraph.run.json_safe import to_json

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

    from stategraph.resources.plugins.api import Json
    from stategraph.resources.plugins.host import PluginHost
    from stategraph.run.hooks.hook_registry import HookRegistry


def tools_of(host: PluginHost, plugin: str) -> list[BaseTool]:
    """Return the tools of a plug-in, sync and async, for agents and tool nodes.

    A tool belongs to the plug-in and not to one start of it: it can be used after a restart and a replacement.

    Args:
        host: The host.
        plugin: The plug-in.

    Raises:
        PluginUnavailable: There is no such plug-in.
    """
    from langchain_core.tools import StructuredTool  # 0.3 s, for those who have agents

    def made(name: str, description: str, parameters: Mapping[str, Json]) -> BaseTool:
        async def call(**arguments: Json) -> Json:
            return await host.ask(plugin, "tool", name, arguments)

        def call_sync(**arguments: Json) -> Json:
            return host.ask_sync(plugin, "tool", name, arguments)

        return StructuredTool(
            name=name,
            description=description or name,
            args_schema=dict(parameters),
            func=call_sync,
            coroutine=call,
            metadata={"plugin": plugin},
        )

    return [made(each.name, each.description, each.parameters) for each in host.offers(plugin).tools.values()]


def register_hooks(host: PluginHost, plugin: str, registry: HookRegistry) -> list[Callable[[], None]]:
    """Register the hooks of a plug-in with those of runs.

    A hook of a plug-in that does not run fails, and fails closed where it decides.

    Args:
        host: The host.
        plugin: The plug-in.
        registry: Where they are registered.

    Returns:
        What takes each of them away again, as `HookRegistry.register` returns it.

    Raises:
        PluginUnavailable: There is no such plug-in.
    """

    def made(name: str) -> Json:
        async def call(given: Json) -> Json:
            return await host.ask(plugin, "hook", name, json.loads(to_json(given)))

        return call

    return [registry.register(each.event, made(each.name), pattern=each.pattern) for each in host.offers(plugin).hooks]
