"""Errors between an agent and an MCP server.

    ToolException
    └── McpError
        ├── McpUnavailable    it cannot be started or reached, what stands before it answered in its place (HTTP status
        │   │                 500 and above, 404, 408, 425, 429), or it went away in the middle: try again later
        │   └── McpNotDone    the same, and it did nothing about the request, which was made once more without success
        ├── McpTimeout        it did not answer in time
        ├── McpRefused        it answered that it will not: unknown tool, wrong arguments, no such resource, no access
        │   └── McpUnauthorized   it wants an authorization that could not be had: nobody agreed, or something is wrong
        └── McpBadAnswer      what came is no answer: no message of the protocol, a page, half of one, another type, or
                              not what the tool's own schema says

All are tool errors, so that a tools node tells the model and the run goes on. What a tool itself reports as its failure
is a plain `ToolException` with the server's text. Misuse, such as a call after closing, is a `RuntimeError`.
"""

from __future__ import annotations

from typing import Final

from langchain_core.tools import ToolException
from pydantic import ValidationError

LONGEST: Final = 2000
"""Characters of what a server says that are repeated in an error."""


def bounded(text: str, most: int = LONGEST) -> str:
    """Return a text, or its beginning and how long it is.

    Args:
        text: A message from elsewhere.
        most: Characters that are repeated.
    """
    return text if len(text) <= most else f"{text[:most]}... ({len(text)} characters)"


def words(error: Exception) -> str:
    """Return what an error says.

    Of pydantic's errors the values are left out, also where another error repeats them: they are cut in the middle, and
    a secret cut in two is not found.

    Args:
        error: The error of an answer.
    """
    if not isinstance(error, ValidationError):
        cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if not isinstance(cause, ValidationError):
            return str(error)
        said, values = str(error), str(cause)
        return said.replace(values, words(cause)) if values in said else words(cause)
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in problems)


class McpError(ToolException):
    """A request to an MCP server failed.

    Attributes:
        server: The server's name.
        code: The code of its error, if it answered with one of JSON-RPC.
    """

    def __init__(self, message: str, *, server: str = "", code: int | None = None) -> None:
        super().__init__(message)
        self.server = server
        self.code = code


class McpUnavailable(McpError):
    """The server cannot be started or reached, or went away while it worked on the request."""


class McpNotDone(McpUnavailable):
    """The server did nothing about the request: it could not be reached, or did not know the session any more."""


class McpTimeout(McpError):
    """The server did not answer in time, be it to being started or to a request, which it was told to give up."""


class McpRefused(McpError):
    """The server answered with an error of the protocol."""


class McpUnauthorized(McpRefused):
    """The server wants an authorization, and there is none: a person refused, or a step of OAuth failed."""


class McpBadAnswer(McpError):
    """The server's answer breaks the protocol, or the schema that the tool itself declares."""
