"""Controller of MCPServers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

from langchain_core.tools import BaseTool

from stategraph.agent.mcp import McpSessions
from stategraph.agent.mcp.errors import McpError
from stategraph.errors import ConfigurationError, MissingPackageError
from stategraph.resources.compile.data import Object
from stategraph.resources.controller import Ctx, ReconcileResult
from stategraph.resources.controllers import common
from stategraph.resources.errors import InvalidResource, NotReady, UnresolvedReference
from stategraph.resources.kinds.mcp_server import MCPServerSpec
from stategraph.resources.model import Resource, ResourceKey


@dataclass(frozen=True, slots=True)
class McpTools:
    """The sessions with a server, and the tools of it that may be used.

    Attributes:
        name: The server.
        sessions: The sessions.
        tools: Its tools.
    """

    name: str
    sessions: McpSessions
    tools: Sequence[BaseTool]

    def tool(self, name: str) -> BaseTool:
        """Return a tool by its name.

        Raises:
            UnresolvedReference: The server has none of that name, or it may not be used.
        """
        found = next((each for each in self.tools if _own_name(each) == name), None)
        if found is None:
            known = ", ".join(sorted(map(_own_name, self.tools))) or "none"
            raise UnresolvedReference(
                f"the MCP server '{self.name}' has no tool {name!r} that may be used; it has: {known}",
                path=("spec", "mcp", "tool"),
                reason="ToolNotFound",
            )
        return found

    def offers_the_same(self, other: McpTools) -> bool:
        """Return whether another listing has the same tools, of the same sessions."""
        return self.sessions is other.sessions and list(map(_told, self.tools)) == list(map(_told, other.tools))


def _own_name(tool: BaseTool) -> str:
    described = (tool.metadata or {}).get("mcp") or {}
    return str(described.get("tool") or described.get("name") or tool.name)


def _told(tool: BaseTool) -> tuple[object, ...]:
    """Return everything that users of a tool see of it."""
    return tool.name, _own_name(tool), tool.description, tool.args_schema, tool.metadata


class MCPServerController:
    """Keeps sessions with MCPServers, as long as they are declared."""

    everywhere: ClassVar[bool] = True
    kind: ClassVar[str] = "MCPServer"
    depends_on: ClassVar[tuple[str, ...]] = ("Secret",)

    def __init__(self) -> None:
        self._open: dict[ResourceKey, tuple[Object, McpSessions]] = {}

    async def reconcile(self, resource: Resource, ctx: Ctx) -> ReconcileResult:
        """Connect to a server and list its tools."""
        spec = cast("MCPServerSpec", ctx.parsed(resource))
        described = await self._described(spec, ctx)
        sessions = await self._sessions(resource, described)
        try:
            tools = await sessions.tools(resource.name)
        except McpError as error:
            raise NotReady(f"the server does not answer: {error}", reason="NotConnected") from None
        names = [_own_name(each) for each in tools]
        if spec.allow_tools is not None:
            missing = [each for each in spec.allow_tools if each not in names]
            if missing:
                raise NotReady(
                    f"the server has no tool {missing[0]!r}; it has: {', '.join(sorted(names)) or 'none'}",
                    path=("spec", "allowTools"),
                    reason="ToolNotFound",
                )
            tools = [each for each in tools if _own_name(each) in spec.allow_tools]
        status = {"connected": True, "tools": sorted(map(_own_name, tools))}
        compiled = McpTools(resource.name, sessions, tools)
        previous: McpTools | None = ctx.previous
        if previous is not None and previous.offers_the_same(compiled):
            compiled = previous  # nobody who uses it has to look again
        return ReconcileResult(status=status, requeue_after=spec.check_every, compiled=compiled)

    async def finalize(self, resource: Resource, ctx: Ctx) -> bool:
        """End the sessions with a server."""
        known = self._open.pop(resource.key, None)
        if known is not None:
            await known[1].aclose()
        return True

    async def aclose(self) -> None:
        """End all sessions."""
        opened, self._open = self._open, {}
        for _, sessions in opened.values():
            await sessions.aclose()

    async def _sessions(self, resource: Resource, described: Object) -> McpSessions:
        known = self._open.get(resource.key)
        if known is not None and known[0] == described:
            return known[1]
        try:
            sessions = McpSessions({resource.name: described})
            await sessions.open()
        except (ConfigurationError, MissingPackageError) as error:
            raise InvalidResource(str(error), path=("spec",)) from None
        self._open[resource.key] = (described, sessions)
        if known is not None:
            await known[1].aclose()
        return sessions

    async def _described(self, spec: MCPServerSpec, ctx: Ctx) -> Object:
        described: Object = {
            "session": spec.session,
            "connect_timeout_s": spec.connect_timeout,
            "call_timeout_s": spec.call_timeout,
        }
        if spec.command is not None:
            env = dict(spec.env)
            for name, ref in spec.env_from.items():
                env[name] = await common.secret(ctx, ref, ("spec", "envFrom", name)) or ""
            given = {"type": "stdio", "command": spec.command, "args": spec.args, "env": env, "cwd": spec.cwd}
            return described | {key: value for key, value in given.items() if value is not None}
        headers = dict(spec.headers)
        if spec.auth is not None:
            token = await common.secret(ctx, spec.auth.secret_ref, ("spec", "auth", "secretRef"))
            headers[spec.auth.header] = f"{spec.auth.scheme} {token}".strip()
        return described | {"type": "http", "url": spec.url, "headers": headers}
