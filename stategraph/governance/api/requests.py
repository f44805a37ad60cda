"""Sessions of requests: made of the authenticated caller and of what the organisation has stored, and of nothing else.

A client chooses the agent and the name of its conversation, both within its organisation. Organisation, user, roles,
policies, capabilities and budget never come from a body, a query or a header that the client wrote.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from stategraph.engine.config import environment
from stategraph.errors import ConfigurationError
from stategraph.governance.api.configuration import AgentConfiguration, AgentConfigurations
from stategraph.governance.audit.event import AuditEvent, AuditEventType, AuditSink
from stategraph.governance.context import Budget, Principal, RuntimeSessionContext
from stategraph.governance.errors import GovernanceError
from stategraph.governance.policy.budgets import budget_of, tightest
from stategraph.governance.policy.combination import Policies
from stategraph.governance.session import Session, SessionPart
from stategraph.governance.tenants.keys import thread_key
from stategraph.governance.tenants.own import OwnThreads
from stategraph.workers import carrying

Scope: TypeAlias = MutableMapping[str, Any]
"""A connection as ASGI describes it (https://asgi.readthedocs.io/en/latest/specs/www.html)."""

Authenticator: TypeAlias = Callable[[Scope], Principal | Awaitable[Principal | None] | None]
"""Returns who has sent a request, having checked its token, certificate or cookie; None: nobody who is known."""

_LONGEST_ID = 256


class RequestRefusedError(GovernanceError):
    """A request is refused.

    Attributes:
        status: The status of the answer, as of HTTP.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.status, str(self))


@dataclass(frozen=True, slots=True)
class GovernedRequest:
    """Session of a request, and what belongs to it.

    Attributes:
        session: The session of its runs, for `create_run(session=...)`.
        configuration: The agent's configuration, for the host that builds it.
        thread_id: The thread of the conversation, as the saver is to know it.
    """

    session: Session
    configuration: AgentConfiguration
    thread_id: str


class RequestSessions:
    """Makes the sessions of requests.

    Args:
        authenticate: Returns who has sent a request.
        configurations: Looks up agents.
        parts: What is open while a session is active, such as a `RunBudget`.
        audit: Is told of each context that is made; None: nobody is.
        policies: The policies that the executor has too. A session's budget keeps to the `budgets` of those that apply
            to it, and to that of its configuration; None: to that of its configuration alone.
    """

    def __init__(
        self,
        authenticate: Authenticator,
        configurations: AgentConfigurations,
        *,
        parts: Sequence[SessionPart] = (),
        audit: AuditSink | None = None,
        policies: Policies | None = None,
    ) -> None:
        self._authenticate, self._configurations = authenticate, configurations
        self._parts = (OwnThreads(), *parts)
        self._audit = audit
        self._policies = policies

    async def principal(self, scope: Scope) -> Principal:
        """Return who has sent a request.

        Raises:
            RequestRefusedError: Nobody who is known: 401.
            ConfigurationError: The host's function returned something else than a principal.
        """
        made = self._authenticate(scope)
        found = await made if inspect.isawaitable(made) else made
        if found is None:
            raise RequestRefusedError(401, "The request does not say who sends it, or not in a way that can be checked")
        if not isinstance(found, Principal):
            raise ConfigurationError(
                f"The function that authenticates requests returned a value of type {type(found).__name__}; expected "
                "a Principal, or None"
            )
        return found

    async def open(self, principal: Principal, agent_id: str, conversation: str) -> GovernedRequest:
        """Make the session of a request.

        Args:
            principal: Who has sent it, as `principal` returned.
            agent_id: The agent that is asked for.
            conversation: The client's name of the conversation; unique within the organisation.

        Raises:
            RequestRefusedError: A name is none (400); the organisation has no such agent, or not for this user (404).
            AuditUnavailable: The log cannot take that the context was made.
        """
        for name, given in (("agent", agent_id), ("conversation", conversation)):
            if not isinstance(given, str) or not 0 < len(given) <= _LONGEST_ID:
                raise RequestRefusedError(
                    400, f"The name of the {name} has to be a text of 1 to {_LONGEST_ID} characters"
                )
        found = await self._configurations.load(principal.org_id, agent_id)
        if found is None or (found.roles and not found.roles & principal.roles):
            # One answer for both: whoever may not use an agent need not learn that there is one.
            raise RequestRefusedError(404, "There is no agent of this name")
        locale = principal.claims.get("locale")
        context = RuntimeSessionContext(
            principal,
            found.agent,
            conversation,
            policies=found.policies,
            capabilities=found.capabilities,
            budget=self._budget(found),
            locale=locale if isinstance(locale, str) else None,
            trace=carrying.traceparent(),
        )
        await self._tell(context)
        return GovernedRequest(Session(context, parts=self._parts), found, thread_key(context.tenant, conversation))

    def _budget(self, configuration: AgentConfiguration) -> Budget | None:
        if self._policies is None:
            return configuration.budget
        return tightest([configuration.budget, budget_of(self._policies.select(configuration.policies))])

    async def _tell(self, context: RuntimeSessionContext) -> None:
        if self._audit is None:
            return
        surroundings = environment.current()
        data: Mapping[str, Any] = {
            "agent": context.agent.id,
            "version": context.agent.version,
            "policies": list(context.policies),
        }
        await self._audit.record(
            AuditEvent(
                AuditEventType.CONTEXT_CREATED,
                context.tenant,
                surroundings.datetime(),
                str(surroundings.ids.unique()),
                thread_id=thread_key(context.tenant, context.session_id),
                principal=context.principal.name,
                trace_id=context.trace,
                data=data,
            )
        )
