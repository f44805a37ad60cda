"""Configurations of agents as an organisation keeps them, and where a host looks them up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from stategraph.errors import ConfigurationError
from stategraph.governance.context import AgentRef, Budget, CapabilitySelector

_ALL: Final = CapabilitySelector()


@dataclass(frozen=True, slots=True)
class AgentConfiguration:
    """An agent, as its organisation has set it up. Secrets are in it by reference only.

    Attributes:
        agent: Its id and version.
        capabilities: What it may see at all.
        policies: Names of the policies that apply, in order.
        budget: Limits over the tree of each run; None: no limits.
        roles: Roles of which a user needs one to use it; none: everybody of the organisation may.
        mcp_servers: The organisation's MCP servers that it uses, by name, as `McpSessions` takes them. A value of `env`
            or `headers` is a reference: `{"secretRef": "github-token", "prefix": "Bearer "}`.
        settings: What the host keeps besides, such as instructions and models, as JSON.
    """

    agent: AgentRef
    capabilities: CapabilitySelector = _ALL
    policies: tuple[str, ...] = ()
    budget: Budget | None = None
    roles: frozenset[str] = frozenset()
    mcp_servers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for server, description in self.mcp_servers.items():
            for part in ("env", "headers"):
                for name, value in (description.get(part) or {}).items():
                    if not is_reference(value):
                        raise ConfigurationError(
                            f"The MCP server '{server}' of the agent '{self.agent.id}' has a value in "
                            f"{part}[{name!r}]; expected a reference to a secret, {{'secretRef': 'name'}}: "
                            "configurations are stored"
                        )


def is_reference(value: object) -> bool:
    """Return whether a value is a reference to a secret."""
    return (
        isinstance(value, Mapping)
        and isinstance(value.get("secretRef"), str)
        and bool(value["secretRef"])
        and isinstance(value.get("prefix", ""), str)
        and set(value) <= {"secretRef", "prefix"}
    )


class AgentConfigurations(Protocol):
    """Looks up the agents of organisations."""

    async def load(self, tenant: str, agent_id: str, /) -> AgentConfiguration | None:
        """Return an agent of an organisation; None: it has none of this id."""
