"""The port for what a host serves beside the tools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from stategraph.server.service.port import Caller

if TYPE_CHECKING:
    import mcp_types as wire


class Catalogue(Protocol):
    """Resources, prompts and completions, in the values of the package `mcp`.

    Every method is told who asks. One that does not know what it is asked for raises `LookupError`.
    """

    async def resources(self, caller: Caller) -> list[wire.Resource]:
        """List the resources."""

    async def templates(self, caller: Caller) -> list[wire.ResourceTemplate]:
        """List templates of the addresses of resources."""

    async def read(self, caller: Caller, uri: str) -> list[wire.TextResourceContents | wire.BlobResourceContents]:
        """Read a resource.

        Raises:
            LookupError: There is none.
        """

    async def prompts(self, caller: Caller) -> list[wire.Prompt]:
        """List the prompts."""

    async def prompt(
        self, caller: Caller, params: wire.GetPromptRequestParams
    ) -> wire.GetPromptResult | wire.InputRequiredResult:
        """Return a prompt, or ask for what it needs.

        Raises:
            LookupError: There is none.
        """

    async def complete(self, caller: Caller, params: wire.CompleteRequestParams) -> wire.Completion:
        """Complete an argument of a prompt or template."""
