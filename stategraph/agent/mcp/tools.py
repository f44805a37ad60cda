"""Tools of MCP servers as LangChain tools, and a tool that reads their resources."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from langchain_core.tools import BaseTool, ToolException
from pydantic import PrivateAttr

from stategraph.agent.mcp import results, versions

if TYPE_CHECKING:
    import mcp_types as wire

T = TypeVar("T")


class ToolCaller(Protocol):
    """Calls the tools of servers; `stategraph.agent.mcp.sessions.McpSessions` is one."""

    async def call_tool(
        self, server: str, tool: str, arguments: Mapping[str, Any], *, timeout_s: float | None = None
    ) -> tuple[results.Content, dict[str, Any] | None]:
        """Call a tool and return its result."""

    async def read_resource(self, server: str, uri: str) -> list[results.ResourceContents]:
        """Read a resource."""

    def from_thread(self, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Make a request from a thread without an event loop."""


class McpTool(BaseTool):
    """A tool that a server runs; `McpSessions.tools` makes them.

    `metadata["mcp"]` says which server and tool it is, has the digest of its description and schemas, and the server's
    annotations (hints such as `readOnlyHint`, to be believed as far as the server is).

    It is asynchronous. `invoke` works in a thread without an event loop while that of the sessions runs, and says so
    otherwise.

    Attributes:
        server: The server.
        tool: The tool's name there; `name` is what the model sees.
        timeout_s: Seconds in which a call has to be answered; None: the server's `call_timeout_s`.
        result_schema: The JSON schema of its structured results; None: the server says none.
    """

    server: str
    tool: str
    result_schema: Mapping[str, Any] | None = None
    timeout_s: float | None = None
    response_format: Literal["content", "content_and_artifact"] = "content_and_artifact"
    _sessions: ToolCaller = PrivateAttr()

    # The parameters are those of the tool, under any names: so none may be named here.

    def _run(self, /, **arguments: Any) -> tuple[results.Content, dict[str, Any] | None]:
        return self._sessions.from_thread(lambda: self._arun(**arguments))

    async def _arun(self, /, **arguments: Any) -> tuple[results.Content, dict[str, Any] | None]:
        return await self._sessions.call_tool(self.server, self.tool, arguments, timeout_s=self.timeout_s)


class McpResourceTool(BaseTool):
    """A tool with which a model reads resources, such as those that results of tools link to.

    `McpSessions.resource_tool` makes one. The content is what was read; the artifact has the addresses and types.

    Attributes:
        servers: Those whose resources may be read.
    """

    name: str = "read_resource"
    description: str = ""
    servers: tuple[str, ...]
    response_format: Literal["content", "content_and_artifact"] = "content_and_artifact"
    _sessions: ToolCaller = PrivateAttr()

    def _run(self, /, uri: str, server: str | None = None) -> tuple[results.Content, dict[str, Any]]:
        return self._sessions.from_thread(lambda: self._arun(uri, server))

    async def _arun(self, /, uri: str, server: str | None = None) -> tuple[results.Content, dict[str, Any]]:
        if server is None and len(self.servers) == 1:
            server = self.servers[0]
        if server not in self.servers:
            raise ToolException(f"There is no server {server!r}; expected one of {', '.join(map(repr, self.servers))}")
        return results.resource_result(await self._sessions.read_resource(server, uri))


def make_resource_tool(sessions: ToolCaller, servers: tuple[str, ...]) -> McpResourceTool:
    """Make a tool that reads resources.

    Args:
        sessions: The sessions with the servers.
        servers: Whose resources may be read.
    """
    properties: dict[str, Any] = {"uri": {"type": "string", "description": "The resource's address on its server."}}
    required = ["uri"]
    if len(servers) > 1:
        properties["server"] = {"type": "string", "enum": list(servers)}
        required.append("server")
    made = McpResourceTool(
        description="Read a resource of a server by its address, such as one that the result of a tool links to. "
        f"Servers: {', '.join(servers)}.",
        args_schema={"type": "object", "properties": properties, "required": required},
        servers=servers,
    )
    made._sessions = sessions
    return made


def make_tool(
    sessions: ToolCaller, server: str, name: str, listed: wire.Tool, endpoint: Mapping[str, Any] | None = None
) -> McpTool:
    """Make a tool of what a server lists.

    Args:
        sessions: The sessions that execute its calls.
        server: The server.
        name: The name for the model.
        listed: The server's description.
        endpoint: How the server is reached, and which version of the protocol it speaks.

    Returns:
        The tool.
    """
    about: dict[str, Any] = {"server": server, "tool": listed.name, "digest": versions.digest(listed)}
    if listed.title:
        about["title"] = listed.title
    if listed.annotations:
        about["annotations"] = listed.annotations.model_dump(mode="json", by_alias=True, exclude_none=True)
    if endpoint:
        about["endpoint"] = dict(endpoint)
    made = McpTool(
        name=name,
        description=listed.description or listed.title or "",
        args_schema={"type": "object", "properties": {}, **listed.input_schema},
        metadata={"mcp": about},
        server=server,
        tool=listed.name,
        result_schema=listed.output_schema,
    )
    made._sessions = sessions
    return made
