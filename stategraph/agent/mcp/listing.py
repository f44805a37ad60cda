"""Listings of a server: how long they may be, and which tools of them an agent can have.

For its caller a listing is one request, however many pages it has: it has the time of one, and it has an end.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from stategraph.agent.mcp.errors import bounded

if TYPE_CHECKING:
    import mcp_types as wire

T = TypeVar("T")

MOST_PAGES: Final = 1000
MOST_ENTRIES: Final = 10_000
MOST_BYTES: Final = 16 * 1024 * 1024
"""Limits at which an endless listing is given up: pages, entries, and bytes of their JSON."""

DEEPEST: Final = 64
"""Levels of a schema: JSON encoders of providers give up on more."""


class EndlessListing(Exception):
    """A listing is too long, or does not end."""


async def all_pages(fetch: Callable[[str | None], Awaitable[tuple[Sequence[T], str | None]]]) -> tuple[T, ...]:
    """Fetch all pages of a listing.

    Args:
        fetch: Gets a page by its cursor, None for the first one: its entries, and the cursor of the next.

    Returns:
        All entries.

    Raises:
        EndlessListing: There are too many.
    """
    found: list[T] = []
    size = 0
    cursor: str | None = None
    seen: set[str] = set()
    for _ in range(MOST_PAGES):
        entries, cursor = await fetch(cursor)
        found += entries
        size += sum(
            len(entry.model_dump_json(exclude_unset=True)) for entry in entries if hasattr(entry, "model_dump_json")
        )
        if len(found) > MOST_ENTRIES or size > MOST_BYTES:
            raise EndlessListing(
                f"has {len(found)} entries of {size} bytes and more; at most {MOST_ENTRIES} and {MOST_BYTES} are taken"
            )
        if not cursor:
            return tuple(found)
        if cursor in seen and not entries:
            raise EndlessListing("comes back to a page that it had, with nothing new")
        seen.add(cursor)
    raise EndlessListing(f"has more than {MOST_PAGES} pages, {len(found)} entries so far: it does not seem to end")


def usable(tools: Sequence[wire.Tool]) -> tuple[list[wire.Tool], list[str]]:
    """Sort out the tools that no agent can have.

    A tool that a provider refuses costs the agent every call of its model, not only its own.

    Args:
        tools: As a server lists them.

    Returns:
        The usable ones, in order; and for each of the others, its name and the reason.
    """
    good: dict[str, wire.Tool] = {}
    dropped: list[str] = []
    for tool in tools:
        named = f"tool {bounded(repr(tool.name), 80)}" if tool.name.strip() else "a tool without a name"
        if not tool.name.strip():
            dropped.append(f"{named}: it cannot be called")
        elif tool.name in good:
            dropped.append(f"{named}: listed twice; the first one is taken")
        elif (why := next(_faults(tool.input_schema), None)) is not None:
            dropped.append(f"{named}: {why}")
        else:
            good[tool.name] = tool
    return list(good.values()), dropped


def _faults(schema: Mapping[str, Any]) -> Iterator[str]:
    """Find what keeps a provider from taking a schema of arguments."""
    if schema.get("type", "object") != "object":
        yield f"its arguments are of type {bounded(repr(schema['type']), 80)}, expected 'object'"
    if not isinstance(schema.get("properties", {}), Mapping):
        yield "the properties of its arguments are no object"
    required = schema.get("required", [])
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        yield "the required arguments are no list of names"
    try:
        json.dumps(schema).encode("utf-8")
    except (TypeError, ValueError, RecursionError):
        yield "its schema has no form in JSON"
    else:
        yield from _lost_references(schema, schema, 0)


def _lost_references(part: Any, schema: Mapping[str, Any], depth: int) -> Iterator[str]:
    if depth > DEEPEST:
        yield f"its schema has more than {DEEPEST} levels"
        return
    if isinstance(part, Mapping):
        target = part.get("$ref")
        if isinstance(target, str) and not _leads_somewhere(target, schema):
            yield f"its schema refers to {bounded(repr(target), 80)}, which is not in it"
    for inner in part.values() if isinstance(part, Mapping) else part if isinstance(part, list) else ():
        yield from _lost_references(inner, schema, depth + 1)


def _leads_somewhere(target: str, schema: Mapping[str, Any]) -> bool:
    """Return whether a reference leads to a part of the same schema (RFC 6901); names of anchors are taken on trust."""
    if not target.startswith("#"):
        return False
    if not target.startswith("#/"):
        return True
    at: Any = schema
    for step in target[2:].split("/"):
        step = step.replace("~1", "/").replace("~0", "~")
        if isinstance(at, Mapping) and step in at:
            at = at[step]
        elif isinstance(at, list) and step.isdecimal() and int(step) < len(at):
            at = at[int(step)]
        else:
            return False
    return True
