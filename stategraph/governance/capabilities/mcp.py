"""Tools of MCP servers as capabilities, for a registry's `connect`.

Rules
-----
* A server is asked at each planning step, all of them at once, and waited for at most `wait_s`: one that starts slowly
  goes on starting, and its tools are there at a later step. One that failed is asked again after `retry_s`.
* What a server says of itself is a hint. The host's word (`risks`) wins; else a server whose trust is `trusted` or
  `internal` is believed, and another one only where it says that a tool is worse than `external`.
* The digest is over name, title, description, both schemas and annotations. Another digest is another version, in
  quarantine until a person releases it: see `stategraph.governance.capabilities.versions`.
* A server whose lists differ by user (`session="user"`) is of a registry that is that user's own, with versions of its
  own: lists of different users are no versions of each other.
"""

from __future__ import annotations

import asyncio
import fnmatch
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, Self

from stategraph.agent.mcp import McpError, McpListing, McpTool
from stategraph.errors import ConfigurationError
from stategraph.governance.capabilities import digests
from stategraph.governance.capabilities.functions import ToolExecutor
from stategraph.governance.capabilities.port import Offer, SourceListing
from stategraph.governance.capability import DEFAULT_TIMEOUT_S, RISKS, Capability, Risk, Trust, capability_id, in_id

_BELIEVED: Final = frozenset(("trusted", "internal"))
_UNVERSIONED: Final = "0"
"""Stands for a version until the registry gives one."""


class Sessions(Protocol):
    """Sessions with servers: `stategraph.agent.mcp.McpSessions` is one."""

    @property
    def servers(self) -> tuple[str, ...]:
        """The servers' names."""

    async def listing(self, *servers: str) -> McpListing:
        """List the tools of servers, and say which servers and tools are missing."""


@dataclass(slots=True)
class _Server:
    """State of a server, as it was heard last.

    Attributes:
        asking: The listing that goes on; None: none does.
        failed: Why the last one failed; empty if it did not.
        again_at: When to ask again after it failed, by the clock.
    """

    asking: asyncio.Task[McpListing] | None = None
    failed: str = ""
    again_at: float = 0.0


class McpCapabilities:
    """The tools of MCP servers as a source of capabilities; an async context manager, to be left before the sessions.

    Args:
        sessions: The sessions with the servers; the host opens and closes them.
        risks: The risk of tools, by a pattern of `server/tool` as of `fnmatch`; the first one that matches counts.
        idempotent: Patterns of tools whose calls may be repeated. What a server says of this is not believed.
        trust: Who answers for servers, by name; one that is not named is `public`.
        timeout_s: Seconds until a call is stopped.
        wait_s: Seconds in which servers have to answer at a planning step.
        retry_s: Seconds after which a server that failed is asked again.
        clock: Returns seconds that only grow.

    Raises:
        ConfigurationError: A risk is none, or a server that is trusted is not there.
    """

    def __init__(
        self,
        sessions: Sessions,
        *,
        risks: Mapping[str, Risk] | None = None,
        idempotent: tuple[str, ...] = (),
        trust: Mapping[str, Trust] | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        wait_s: float = 5.0,
        retry_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sessions = sessions
        self._risks = dict(risks or {})
        self._idempotent = tuple(idempotent)
        self._trust: dict[str, Trust] = dict(trust or {})
        self._timeout_s, self._wait_s, self._retry_s, self._clock = timeout_s, wait_s, retry_s, clock
        self._servers = {name: _Server() for name in sessions.servers}
        for pattern, risk in self._risks.items():
            if risk not in RISKS:
                raise ConfigurationError(
                    f"McpCapabilities: the risk of {pattern!r} is {risk!r}; it must be one of {', '.join(RISKS)}"
                )
        if unknown := sorted(set(self._trust) - set(self._servers)):
            raise ConfigurationError(
                f"McpCapabilities: trust names {unknown[0]!r}, and there is no such server; there are: "
                f"{', '.join(self._servers) or 'none'}"
            )

    @property
    def sources(self) -> tuple[str, ...]:
        """The servers' names."""
        return tuple(self._servers)

    async def listing(self) -> SourceListing:
        """Return the tools of the servers that are connected."""
        asked = {name: self._asked(server, name) for name, server in self._servers.items()}
        pending = [task for task in asked.values() if task is not None]
        if pending:
            await asyncio.wait(pending, timeout=self._wait_s)
        offers: list[Offer] = []
        away: dict[str, str] = {}
        left_out: list[str] = []
        for name, task in asked.items():
            server = self._servers[name]
            if task is None or (listed := self._heard(name, server, task)) is None:
                away[name] = server.failed
                continue
            offers += [self._offer(tool) for tool in listed.tools if isinstance(tool, McpTool)]
            left_out += [f"{name}: {why}" for whys in listed.dropped.values() for why in whys]
        return SourceListing(tuple(offers), away, tuple(left_out))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop listings that go on; close the sessions afterwards."""
        tasks = [server.asking for server in self._servers.values() if server.asking is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._servers = {name: _Server() for name in self._servers}

    def _asked(self, server: _Server, name: str) -> asyncio.Task[McpListing] | None:
        """Return the listing that goes on, which planners share, or begin one; None: it is too early."""
        if server.asking is None and self._clock() >= server.again_at:
            server.asking = asyncio.ensure_future(self._sessions.listing(name))
        return server.asking

    def _heard(self, name: str, server: _Server, task: asyncio.Task[McpListing]) -> McpListing | None:
        """Return what a server has listed; None if it has not."""
        if not task.done():
            server.failed = f"it has not answered within {self._wait_s:g} s, and may be starting"
            return None
        if server.asking is task:
            server.asking = None
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is None:
            listed = task.result()
            error = listed.failed.get(name)
            if error is None:
                server.failed, server.again_at = "", 0.0
                return listed
        elif not isinstance(error, McpError):
            raise error  # misuse, such as sessions that are not open
        server.failed, server.again_at = str(error), self._clock() + self._retry_s
        return None

    def _offer(self, tool: McpTool) -> Offer:
        about: Mapping[str, Any] = (tool.metadata or {}).get("mcp", {})
        hints: Mapping[str, Any] = about.get("annotations", {})
        schema = tool.args_schema if isinstance(tool.args_schema, dict) else tool.get_input_jsonschema()
        output = None if tool.result_schema is None else dict(tool.result_schema)
        digest, parts = digests.of_parts(
            {
                "name": tool.tool,
                "title": about.get("title"),
                "description": tool.description,
                "input_schema": schema,
                "output_schema": output,
                "annotations": dict(hints),
            }
        )
        where = f"{tool.server}/{tool.tool}"
        trust = self._trust.get(tool.server, "public")
        made = Capability(
            id=capability_id("mcp", in_id(tool.server), in_id(tool.tool), _UNVERSIONED),
            kind="mcp",
            name=tool.tool,
            title=about.get("title"),
            description=tool.description,
            input_schema=schema,
            output_schema=output,
            version=_UNVERSIONED,
            source=tool.server,
            digest=digest,
            risk=self._risk(where, hints, trust),
            idempotent=any(fnmatch.fnmatchcase(where, each) for each in self._idempotent),
            trust=trust,
            timeout_s=self._timeout_s,
        )
        return Offer(made, ToolExecutor(tool), described_elsewhere=True, parts=parts)

    def _risk(self, where: str, hints: Mapping[str, Any], trust: Trust) -> Risk:
        for pattern, risk in self._risks.items():
            if fnmatch.fnmatchcase(where, pattern):
                return risk
        hinted = hinted_risk(hints)
        return hinted if trust in _BELIEVED or hinted == "destructive" else "external"


def hinted_risk(hints: Mapping[str, Any]) -> Risk:
    """Return the risk that the annotations of an MCP tool hint at.

    Args:
        hints: As of `ToolAnnotations` of the protocol. Without any, the protocol takes a tool for one that writes,
            perhaps destructively, in an open world: `external`, as nobody has said that it destroys.
    """
    if hints.get("readOnlyHint") is True:
        return "read"
    if hints.get("destructiveHint") is True:
        return "destructive"
    return "write" if hints.get("destructiveHint") is False and hints.get("openWorldHint") is False else "external"
