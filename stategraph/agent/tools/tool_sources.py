"""Tools from several sources as from one.

A source has a life: it is opened before the first run, may be asked for its tools at any time, and is closed after the
last run. MCP sessions are a source (`stategraph.agent.mcp`), functions are another one; further kinds implement
`stategraph.agent.ports.ToolSource` and are given to a runtime.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from langchain_core.tools import BaseTool
from typing_extensions import get_protocol_members

from stategraph.agent.ports import ToolSource
from stategraph.agent.tools.toolset import FunctionOrTool, made_tool
from stategraph.errors import ConfigurationError


class FunctionTools:
    """Tools made of functions, by the names of groups.

    Args:
        groups: Functions and LangChain tools by the name of their group.

    Raises:
        ConfigurationError: A function cannot be made a tool.
    """

    def __init__(self, groups: Mapping[str, Sequence[FunctionOrTool]]) -> None:
        self._groups = {
            name: [made_tool(each, f"the group '{name}'") for each in tools] for name, tools in groups.items()
        }

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the groups."""
        return tuple(self._groups)

    async def open(self) -> None:
        """Do nothing: functions are always there."""

    async def aclose(self) -> None:
        """Do nothing."""

    async def tools(self, *names: str) -> list[BaseTool]:
        """Return the tools of groups; without names, those of all groups."""
        return [tool for name in dict.fromkeys(names or self.names) for tool in self._groups[name]]


class ToolSources:
    """Several sources as one.

    Args:
        sources: The sources, in the order in which they are opened.

    Raises:
        ConfigurationError: One of them lacks a part of `ToolSource`, or two of them use the same name.
    """

    def __init__(self, sources: Sequence[ToolSource]) -> None:
        self._sources = tuple(sources)
        for source in self._sources:
            _check(source)
        names = self.names
        for name in names:
            if names.count(name) > 1:
                raise ConfigurationError(f"Two sources of tools are called {name!r}: rename one of them")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all sources."""
        return tuple(name for source in self._sources for name in source.names)

    async def open(self) -> None:
        """Open all sources; if one fails, those opened before are closed again."""
        for number, source in enumerate(self._sources):
            try:
                await source.open()
            except BaseException:
                await _close(self._sources[:number])
                raise

    async def aclose(self) -> None:
        """Close all sources, the last one first; the first error is raised when all are closed."""
        await _close(self._sources)

    async def tools(self, *names: str) -> list[BaseTool]:
        """Return the tools of the sources.

        Args:
            *names: The names to ask, of servers, groups and the like; none: all.

        Raises:
            ValueError: A name is of no source.
        """
        known = self.names
        for name in names:
            if name not in known:
                raise ValueError(f"There is no source of tools {name!r}; there are: {', '.join(known) or 'none'}")
        asked = [(source, [name for name in names if name in source.names]) for source in self._sources]
        work = [source.tools(*chosen) for source, chosen in asked if chosen or not names]
        return [tool for found in await asyncio.gather(*work) for tool in found]


def _check(source: object) -> None:
    """Refuse a source that would only fail when it is opened, asked or closed.

    Raises:
        ConfigurationError: It lacks a part of `ToolSource`.
    """
    parts = sorted(get_protocol_members(ToolSource))
    # A property that fails is there, and says by itself what is wrong.
    missing = [part for part in parts if not hasattr(source, part) and not hasattr(type(source), part)]
    if missing:
        raise ConfigurationError(
            f"A source of tools is a value of type {type(source).__name__} without {', '.join(map(repr, missing))}; "
            f"expected an object with {', '.join(parts)}, see stategraph.agent.ports.ToolSource. Functions become a "
            "source by stategraph.agent.tools.tool_sources.FunctionTools"
        )


async def _close(sources: Sequence[ToolSource]) -> None:
    errors: list[BaseException] = []
    for source in reversed(sources):
        try:
            await source.aclose()
        except BaseException as error:
            errors.append(error)
    if errors:
        raise errors[0]
