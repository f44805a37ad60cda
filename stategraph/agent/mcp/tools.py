"""A tool of an MCP server as a LangChain tool."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from langchain_core.tools import BaseTool
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
    """

    server: str
    tool: str
    timeout_s: float | None = None
    response_format: Literal["content", "content_and_artifact"] = "content_and_artifact"
    _sessions: ToolCaller = PrivateAttr()

    # The parameters are those of the tool, under any names: so none may be named here.

    def _run(self, /, **arguments: Any) -> tuple[results.Content, dict[str, Any] | None]:
        return self._sessions.from_thread(lambda: self._arun(**arguments))

    async def _arun(self, /, **arguments: Any) -> tuple[results.Content, dict[str, Any] | None]:
        return await self._sessions.call_tool(self.server, self.tool, arguments, timeout_s=self.timeout_s)


def make_tool(sessions: ToolCaller, server: str, name: str, listed: wire.Tool) -> McpTool:
    """Make a tool of what a server lists.

    Args:
        sessions: The sessions that execute its calls.
        server: The server.
        name: The name for the model.
        listed: The server's description.

    Returns:
        The tool.
    """
    about: dict[str, Any] = {"server": server, "tool": listed.name, "digest": versions.digest(listed)}
    if listed.title:
        about["title"] = listed.title
    if listed.annotations:
        about["annotations"] = listed.annotations.model_dump(mode="json", by_alias=True, exclude_none=True)
    made = McpTool(
        name=name,
        description=listed.description or listed.title or "",
        args_schema={"type": "object", "properties": {}, **listed.input_schema},
        metadata={"mcp": about},
        server=server,
        tool=listed.name,
    )
    made._sessions = sessions
    return made
