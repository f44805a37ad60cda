"""What can go wrong between an agent and an MCP server.

    ToolException
    └── McpError
        ├── McpUnavailable    it cannot be started or reached, or went away in the middle; the next call starts it again
        │   └── McpForgotten  it was started anew behind its address, and did nothing: the call is made once more
        ├── McpTimeout        it did not answer in time
        ├── McpRefused        it answered that it will not: unknown tool, wrong arguments, no such resource
        └── McpBadAnswer      it answered something that the protocol or the tool's own schema does not allow

All are tool errors, so that a tools node tells the model and the run goes on. What a tool itself reports as its failure
is a plain `ToolException` with the server's text. Misuse, such as a call after closing, is a `RuntimeError`.
"""

from __future__ import annotations

from langchain_core.tools import ToolException


class McpError(ToolException):
    """A request to an MCP server failed.

    Attributes:
        server: The server's name.
    """

    def __init__(self, message: str, *, server: str = "") -> None:
        super().__init__(message)
        self.server = server


class McpUnavailable(McpError):
    """The server cannot be started or reached, or went away while it worked on the request."""


class McpForgotten(McpUnavailable):
    """The server does not know the session any more, so it did nothing."""


class McpTimeout(McpError):
    """The server did not answer in time, be it to being started or to a request, which it was told to give up."""


class McpRefused(McpError):
    """The server answered with an error of the protocol."""


class McpBadAnswer(McpError):
    """The server's answer breaks the protocol, or the schema that the tool itself declares."""
