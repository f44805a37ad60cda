"""What a client does in each scenario: the same for ours and for the reference."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

RAN = "ran"
"""What a client says with the name of the scenario, once it is through."""

REDIRECT = "http://localhost:3000/callback"
CLIENT_PAGE = "https://conformance-test.local/client-metadata.json"
"""The client's description, which the suite knows."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A scenario as the suite tells a client of it.

    Attributes:
        name: Its name.
        context: What the client is given to know: its id, secrets, calls to make.
    """

    name: str
    context: dict[str, Any]

    @classmethod
    def told(cls) -> Scenario:
        """Read it from the environment."""
        return cls(os.environ["MCP_CONFORMANCE_SCENARIO"], json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT", "{}")))

    def calls(self, listed: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
        """Return the calls to make.

        Args:
            listed: The tools of the server that can be called.
        """
        if given := self.context.get("toolCalls"):
            return [(each["name"], each["arguments"]) for each in given if each["name"] in listed]
        if self.name == "tools_call":
            return [("add_numbers", {"a": 5, "b": 3})]
        if self.name == "json-schema-ref-no-deref":
            return []
        return [(name, _arguments(name)) for name in listed]


def _arguments(name: str) -> dict[str, Any]:
    return {"region": "us-west1"} if name == "valid_tool" else {}


def answer(schema: dict[str, Any] | None) -> dict[str, Any]:
    """Return the values with which a question of a server is accepted: those without a default."""
    fields = (schema or {}).get("properties", {})
    return {name: True for name, field in fields.items() if field.get("type") == "boolean" and "default" not in field}
