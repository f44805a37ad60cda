"""Agents that run elsewhere as capabilities, for a registry's `connect`: policies decide who of them may be asked.

`stategraph.fleet.FleetAgents` are such agents: those of a directory, reached over A2A.

Rules
-----
* How far an agent is trusted is the trust of its capability, so that rules of policies may read it: `tool.kind ==
  "agent" && tool.trust == "public"`. It is judged at each planning step.
* A call is sent only where the agent is still trusted as far as was decided about. One that is trusted less by then is
  not asked, and the call fails.
* What an agent says of itself is a hint: its risk is the host's word (`risks`), else `external`. Another description is
  another version, in quarantine until a person releases it.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from stategraph.errors import ConfigurationError
from stategraph.governance.capabilities import digests
from stategraph.governance.capabilities.port import CapabilityCall, CapabilityResult, Offer, SourceListing
from stategraph.governance.capability import DEFAULT_TIMEOUT_S, RISKS, Capability, Risk, Trust, capability_id, in_id

_UNVERSIONED: Final = "0"
"""Stands for a version until the registry gives one."""

_TASK: Final = "task"

_SCHEMA: Final = {
    "type": "object",
    "properties": {
        _TASK: {
            "type": "string",
            "description": "The whole task, with everything that the agent needs to know: it is told nothing else.",
        }
    },
    "required": [_TASK],
    "additionalProperties": False,
}


class RemoteAgent(Protocol):
    """An agent that runs elsewhere, as it was found."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def description(self) -> str:
        """Its description of itself."""

    @property
    def trust(self) -> Trust:
        """Its trust, as it is judged now."""

    @property
    def skills(self) -> Mapping[str, str]:
        """Its skills by name, as it describes them."""


class RemoteAgents(Protocol):
    """Agents that run elsewhere: `stategraph.fleet.FleetAgents` are some."""

    async def known(self) -> tuple[Sequence[RemoteAgent], Mapping[str, str]]:
        """Return the agents that there are, and by name why others cannot be asked now."""

    async def ask(self, agent: str, task: str, *, least: Trust, message_id: str) -> str:
        """Give an agent a task, and return its answer.

        Args:
            agent: Its name.
            task: The task.
            least: How far it has to be trusted to be sent anything.
            message_id: Names the message, so that an agent knows it again.

        Raises:
            Exception: It could not be asked, or did not complete the task.
        """

    def ask_sync(self, agent: str, task: str, *, least: Trust, message_id: str) -> str:
        """Do as `ask` does, in a thread without an event loop."""


class AgentCapabilities:
    """Agents that run elsewhere as a source of capabilities.

    Args:
        agents: The agents.
        risks: The risk of agents, by a pattern of their names as of `fnmatch`; the first one that matches counts, and
            one that none matches is `external`.
        source: The name of the source, in the ids of the capabilities.
        timeout_s: Seconds until a call is stopped.

    Raises:
        ConfigurationError: A risk is none.
    """

    def __init__(
        self,
        agents: RemoteAgents,
        *,
        risks: Mapping[str, Risk] | None = None,
        source: str = "fleet",
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        self._agents = agents
        self._risks = dict(risks or {})
        self._source = source
        self._timeout_s = timeout_s
        for pattern, risk in self._risks.items():
            if risk not in RISKS:
                raise ConfigurationError(
                    f"AgentCapabilities: the risk of {pattern!r} is {risk!r}; it must be one of {', '.join(RISKS)}"
                )

    @property
    def sources(self) -> tuple[str, ...]:
        """The name of the source."""
        return (self._source,)

    async def listing(self) -> SourceListing:
        """Return the agents that there are now."""
        known, away = await self._agents.known()
        return SourceListing(
            tuple(self._offer(each) for each in known),
            left_out=tuple(f"{name}: {why}" for name, why in sorted(away.items())),
        )

    def _offer(self, agent: RemoteAgent) -> Offer:
        said = [agent.description, *(f"{name}: {text}" if text else name for name, text in agent.skills.items())]
        description = "\n".join(each for each in said if each)
        parts = {"name": agent.name, "description": agent.description, "skills": dict(agent.skills)}
        digest, of_parts = digests.of_parts(parts)
        risks = (risk for pattern, risk in self._risks.items() if fnmatch.fnmatchcase(agent.name, pattern))
        made = Capability(
            id=capability_id("agent", in_id(self._source), in_id(agent.name), _UNVERSIONED),
            kind="agent",
            name=agent.name,
            description=description,
            input_schema=_SCHEMA,
            version=_UNVERSIONED,
            source=self._source,
            digest=digest,
            risk=next(risks, "external"),
            trust=agent.trust,
            timeout_s=self._timeout_s,
        )
        return Offer(made, _RemoteExecutor(self._agents, agent.name), described_elsewhere=True, parts=of_parts)


class _RemoteExecutor:
    """Gives an agent tasks."""

    def __init__(self, agents: RemoteAgents, name: str) -> None:
        self._agents = agents
        self._name = name

    async def execute(self, call: CapabilityCall) -> CapabilityResult:
        """Give the agent the task of a call."""
        task, least = str(call.arguments[_TASK]), call.capability.trust
        return CapabilityResult(await self._agents.ask(self._name, task, least=least, message_id=_named(call)))

    def execute_sync(self, call: CapabilityCall) -> CapabilityResult:
        """Give the agent the task of a call, and wait."""
        task, least = str(call.arguments[_TASK]), call.capability.trust
        return CapabilityResult(self._agents.ask_sync(self._name, task, least=least, message_id=_named(call)))


def _named(call: CapabilityCall) -> str:
    """Name the message of a call, the same each time: ids of calls are a model's, and of one run alone."""
    return f"{call.run.run_id}/{call.call_id}"
