"""Versions of tools: a tool whose description or schema changed is another tool, and that is told.

A server may describe a tool harmlessly while a person looks at it, and otherwise later; what the model reads is the
description. So each listing of a pool is compared with the one before, and a host may pin what it has looked at.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeAlias

from stategraph.agent.mcp.errors import McpRefused, bounded

if TYPE_CHECKING:
    import mcp_types as wire

logger = logging.getLogger("stategraph.agent.mcp")

_PARTS = ("title", "description", "inputSchema", "outputSchema", "annotations")


@dataclass(frozen=True, slots=True)
class ToolChange:
    """A tool that is not what it was.

    Attributes:
        server: The server's name.
        tool: The tool's name there.
        before: The digest of what was listed before.
        now: That of what is listed now.
        parts: What changed: some of `title`, `description`, `inputSchema`, `outputSchema` and `annotations`.
    """

    server: str
    tool: str
    before: str
    now: str
    parts: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it as the data of a line of a log."""
        return {
            "change": "tool_changed",
            "server": self.server,
            "tool": self.tool,
            "before": self.before,
            "now": self.now,
            "parts": list(self.parts),
        }


OnChange: TypeAlias = Callable[[ToolChange], None]


def digest(tool: wire.Tool) -> str:
    """Return the digest of what a model is told of a tool: names, description, schemas and annotations.

    Args:
        tool: As a server lists it.

    Returns:
        `sha256:` and 64 hexadecimal digits; the order of keys makes no difference.
    """
    return _of({"name": tool.name, **_parts(tool)})


def _parts(tool: wire.Tool) -> dict[str, Any]:
    listed = tool.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {name: listed[name] for name in _PARTS if name in listed}


def _of(value: object) -> str:
    said = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=str)
    return f"sha256:{sha256(said.encode()).hexdigest()}"


class Versions:
    """The versions of tools that a pool has seen.

    Args:
        on_change: Told of changes.
    """

    def __init__(self, on_change: OnChange | None) -> None:
        self._on_change = on_change
        self._known: dict[tuple[str, str], tuple[str, dict[str, str]]] = {}
        self._untold: dict[tuple[str, str], ToolChange] = {}

    def note(self, server: str, listed: Sequence[wire.Tool]) -> list[ToolChange]:
        """Compare a listing with the one before, and tell of what changed.

        Args:
            server: Whose.
            listed: Its tools.
        """
        changes = []
        for tool in listed:
            now, parts = digest(tool), {name: _of(value) for name, value in _parts(tool).items()}
            before = self._known.get((server, tool.name))
            self._known[server, tool.name] = (now, parts)
            if before is None or before[0] == now:
                continue
            changed = tuple(name for name in _PARTS if before[1].get(name) != parts.get(name))
            changes.append(ToolChange(server, tool.name, before[0], now, changed))
        for change in changes:
            logger.warning(
                "Tool %s of MCP server %r changed (%s): %s, before %s",
                bounded(repr(change.tool), 80),
                server,
                ", ".join(change.parts),
                change.now,
                change.before,
            )
            self._untold[server, change.tool] = change
            if self._on_change is not None:
                self._on_change(change)
        return changes

    def untold(self, server: str, tool: str) -> ToolChange | None:
        """Return a change that no call has told of yet; once."""
        return self._untold.pop((server, tool), None) if self._untold else None

    @staticmethod
    def split(
        pins: Mapping[str, str] | None, listed: Sequence[wire.Tool]
    ) -> tuple[Sequence[wire.Tool], tuple[str, ...]]:
        """Sort out the tools that are not pinned.

        Args:
            pins: Digests by name; None: all tools may be used.
            listed: The tools of a server.

        Returns:
            The tools that may be used, and for each of the others, its name and the reason.
        """
        if pins is None:
            return listed, ()
        reasons = {tool.name: _objection(tool, pins) for tool in listed}
        return (
            [tool for tool in listed if reasons[tool.name] is None],
            tuple(f"tool {bounded(repr(name), 80)}: {why}" for name, why in reasons.items() if why is not None),
        )

    @staticmethod
    def check(server: str, tool: str, pins: Mapping[str, str], listed: Sequence[wire.Tool]) -> None:
        """Refuse to call a tool that is not the pinned version.

        Args:
            server: The server.
            tool: The tool's name there.
            pins: Digests by name.
            listed: What the server lists now.

        Raises:
            McpRefused: It is not.
        """
        found = next((each for each in listed if each.name == tool), None)
        why = "it is not listed" if found is None else _objection(found, pins)
        if why is not None:
            message = f"Tool {bounded(repr(tool), 80)} of MCP server {server!r} is not called: {why}"
            raise McpRefused(message, server=server)


def _objection(tool: wire.Tool, pins: Mapping[str, str]) -> str | None:
    if (pinned := pins.get(tool.name)) is None:
        return "it is not pinned"
    return None if (found := digest(tool)) == pinned else f"its digest is {found}, pinned is {pinned}"
