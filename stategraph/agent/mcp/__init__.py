"""Tools of MCP servers, for agents: stdio and streamable HTTP through the official `mcp` package.

- The host says which servers there are, in code; nothing here starts a program because stored data names it.
- `McpSessions` owns the sessions and gives LangChain tools. The code that opens it decides its scope: one for all runs,
  or one for each run whose servers keep state.
- A server that dies costs the calls it was working on, each a tool error; the next call finds it started again.

This package must never know the caller of its tools or the listener. `mcp` (0.57 s to import, and an extra) is loaded
when the first session is opened, not by importing this package.
"""

from stategraph.agent.mcp.elicitation import Elicitation, ElicitationAnswer
from stategraph.agent.mcp.errors import (
    McpBadAnswer,
    McpError,
    McpRefused,
    McpTimeout,
    McpUnauthorized,
    McpUnavailable,
)
from stategraph.agent.mcp.oauth import (
    AuthorizationCode,
    ClientCredentials,
    MemoryTokens,
    TokenStorage,
    UserTokenStorage,
)
from stategraph.agent.mcp.oauth.files import FileTokens
from stategraph.agent.mcp.results import (
    Prompt,
    PromptArgument,
    PromptText,
    Resource,
    ResourceContents,
    ResourceTemplate,
)
from stategraph.agent.mcp.servers import HttpServer, McpServer, StdioServer
from stategraph.agent.mcp.sessions import McpListing, McpSessions
from stategraph.agent.mcp.tools import McpTool
from stategraph.agent.mcp.versions import ToolChange

__all__ = [
    "AuthorizationCode",
    "ClientCredentials",
    "Elicitation",
    "ElicitationAnswer",
    "FileTokens",
    "HttpServer",
    "McpBadAnswer",
    "McpError",
    "McpListing",
    "McpRefused",
    "McpServer",
    "McpSessions",
    "McpTimeout",
    "McpTool",
    "McpUnauthorized",
    "McpUnavailable",
    "MemoryTokens",
    "Prompt",
    "PromptArgument",
    "PromptText",
    "Resource",
    "ResourceContents",
    "ResourceTemplate",
    "StdioServer",
    "TokenStorage",
    "ToolChange",
    "UserTokenStorage",
]
