"""Names under which a model sees the tools of MCP servers.

1. The tool's own name, if no other server has a tool of that name.
2. `server_tool` for every tool whose name several servers have (or for all, if asked for).
3. Both with a short digest of the two, in the rare case that this still clashes.

Model providers accept up to 64 letters, digits, `_` and `-`: anything else becomes `_`, and longer names are cut.
The order of servers and tools makes no difference.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from hashlib import blake2s
from typing import TypeAlias

LONGEST = 64

Tool: TypeAlias = tuple[str, str]
"""A server's name, and a name of one of its tools."""

_REFUSED = re.compile(r"[^a-zA-Z0-9_-]")


def visible_names(tools: Collection[Tool], *, prefix: bool = False) -> dict[Tool, str]:
    """Name tools so that no two have the same name.

    Args:
        tools: All of them, each once.
        prefix: Put the server's name before every tool's, not only where names clash.

    Returns:
        The name of each tool.
    """
    named: dict[Tool, str] = {}
    left = set(tools)
    for candidates in (_qualified,) if prefix else (_own, _qualified):
        proposed = {tool: candidates(tool) for tool in left}
        uses = Counter((*proposed.values(), *named.values()))
        named |= {tool: name for tool, name in proposed.items() if uses[name] == 1}
        left -= named.keys()
    return named | {tool: _digested(tool) for tool in left}


def _own(tool: Tool) -> str:
    return _accepted(tool[1])


def _qualified(tool: Tool) -> str:
    return _accepted("_".join(tool))


def _digested(tool: Tool) -> str:
    digest = blake2s("\0".join(tool).encode(), digest_size=4).hexdigest()
    return f"{_qualified(tool)[: LONGEST - len(digest) - 1]}_{digest}"


def _accepted(name: str) -> str:
    return _REFUSED.sub("_", name)[:LONGEST]
