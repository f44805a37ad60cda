"""Secrets by reference: resolved where they are used, hidden from everything that is told meanwhile, and accounted for.

Rules
-----
* A configuration names a secret; the host's store has it. It is looked up when servers are to be used, and is in no
  context, state or event.
* While it is in use it is known to the redactor, which takes it out of results, errors, events, logs and audit rows.
* The audit log is told that it was accessed, by whom and for which server, before it is used.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, Final, Protocol

from pydantic import SecretStr

from stategraph.agent.mcp import McpSessions
from stategraph.engine.config import environment
from stategraph.errors import ConfigurationError
from stategraph.governance.api.configuration import AgentConfiguration
from stategraph.governance.audit.event import AuditEvent, AuditEventType, AuditSink
from stategraph.governance.session import ActiveSession

_PARTS: Final = ("env", "headers")


class SecretStore(Protocol):
    """Keeps the secrets of organisations."""

    async def get(self, tenant: str, name: str, /) -> str | None:
        """Return a secret of an organisation; None: it has none of this name."""


class Registering(Protocol):
    """Hides secrets for some time, as `stategraph.governance.redaction.Redactor` does."""

    def register(self, *secrets: Any) -> AbstractContextManager[object]:
        """Hide secrets for as long as the block goes on."""


class OrganisationServers:
    """Opens the MCP servers of an agent's configuration, with their secrets.

    Args:
        secrets: Keeps secrets.
        redactor: Hides those that are in use.
        audit: Is told of each access; None: nobody is.
    """

    def __init__(self, secrets: SecretStore, redactor: Registering, audit: AuditSink | None = None) -> None:
        self._secrets, self._redactor, self._audit = secrets, redactor, audit

    @asynccontextmanager
    async def opened(self, session: ActiveSession, configuration: AgentConfiguration) -> AsyncIterator[McpSessions]:
        """Open sessions with the servers, for as long as the block goes on.

        Args:
            session: On whose behalf.
            configuration: The agent's.

        Raises:
            ConfigurationError: The organisation has no secret of a name, or a server is described wrongly.
            AuditUnavailable: The access could not be stored, so no secret is used.
        """
        async with AsyncExitStack() as exits:
            servers = {}
            for name, description in configuration.mcp_servers.items():
                servers[name] = await self._resolved(exits, session, name, description)
            sessions = McpSessions(servers)
            await sessions.open()
            exits.push_async_callback(sessions.aclose)
            yield sessions

    async def _resolved(
        self, exits: AsyncExitStack, session: ActiveSession, server: str, description: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return the description of a server with its secrets."""
        made = dict(description)
        for part in _PARTS:
            given: Mapping[str, Mapping[str, str]] = made.get(part) or {}
            values = {}
            for name, reference in given.items():
                secret = await self._get(session, server, reference["secretRef"])
                exits.enter_context(self._redactor.register(secret))
                values[name] = SecretStr(reference.get("prefix", "") + secret)
            if values:
                made[part] = values
        return made

    async def _get(self, session: ActiveSession, server: str, name: str) -> str:
        if self._audit is not None:
            surroundings = environment.current()
            event = AuditEvent(
                AuditEventType.SECRET_ACCESSED,
                session.tenant,
                surroundings.datetime(),
                str(surroundings.ids.unique()),
                run_id=session.run.run_id,
                thread_id=session.run.thread_id,
                principal=session.context.principal.name,
                data={"secret": name, "server": server},
            )
            await self._audit.record(event, durable=True)
        secret = await self._secrets.get(session.tenant, name)
        if not secret:
            raise ConfigurationError(
                f"The MCP server '{server}' needs the secret '{name}', and the organisation has none of this name"
            )
        return secret
