"""Agents of a directory as capabilities: a policy says what an agent of each trust may be asked, and for whom."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from a2a.types import AgentCard
from google.protobuf.json_format import MessageToDict, ParseDict

from stategraph.errors import ConfigurationError
from stategraph.fleet import A2aTransport, AgentEndpoint, Directory, FleetAgents, StaticSource, TrustPolicy
from stategraph.fleet.asking import TaskNotDoneError
from stategraph.governance.capabilities.remote import AgentCapabilities
from stategraph.governance.context import Principal
from stategraph.governance.executor import ActionExecutor
from stategraph.governance.policy.files import parse_policy
from stategraph.governance.registry import Registry
from stategraph.governance.view import CapabilityGraph
from tests.fleet.scripted import ScriptedAgent
from tests.fleet.test_trust import NEW, OLD, Signer
from tests.governance.executing.kit import ANN, Log, asked, session

pytestmark = pytest.mark.anyio

#: What an agent of each trust may be asked, and on whose behalf a program asks that is an agent itself.
RULES = """
apiVersion: stategraph.dev/v1
kind: Policy
metadata: {name: agents}
spec:
  defaults: {read: allow, write: allow, external: allow, destructive: deny}
  rules:
    - name: strangers
      at: [pre_tool_call]
      when: tool.kind == "agent" && tool.trust == "public"
      then: {decision: deny, reason: agent_is_a_stranger}
    - name: asked-by-an-agent
      at: [pre_tool_call]
      when: tool.kind == "agent" && has(principal.claims.trust) && !(principal.claims.trust in ["trusted", "internal"])
      then: {decision: deny, reason: asked_by_an_agent_that_is_not_trusted}
    - name: verified-agents
      at: [pre_tool_call]
      when: tool.kind == "agent" && tool.trust == "verified"
      then: {decision: escalate, approvers: [role:security]}
"""


class Signed(ScriptedAgent):
    """An agent whose card is signed."""

    signer: Signer | None = None

    def card(self) -> dict[str, Any]:
        if self.signer is None:
            return super().card()
        made: dict[str, Any] = MessageToDict(self.signer.sign(ParseDict(super().card(), AgentCard())))
        return made


@dataclass
class World:
    """Agents, who trusts them how far, and what acts with them.

    Attributes:
        servers: The agents' servers, by name.
        trust: Says how far they are trusted.
        agents: The agents as others ask them.
        registry: Has them as capabilities.
        executor: Acts.
        log: What was audited.
    """

    servers: dict[str, Signed]
    trust: TrustPolicy
    agents: FleetAgents
    registry: Registry
    executor: ActionExecutor
    log: Log

    def sent(self) -> dict[str, int]:
        return {name: each.requests for name, each in self.servers.items() if each.requests}


@contextlib.asynccontextmanager
async def world(**signers: Signer | None) -> AsyncGenerator[World]:
    servers = {name: Signed(name, ("news",)) for name in signers}
    for name, each in servers.items():
        each.signer, each.max_age = signers[name], 1
        await each.start()
    trust = TrustPolicy([replace(OLD.key, trust="trusted"), NEW.key])
    source = StaticSource(AgentEndpoint(agent=name, url=each.url) for name, each in servers.items())
    log = Log()
    try:
        async with (
            Directory(source) as directory,
            A2aTransport(trust=trust) as transport,
            FleetAgents(directory, transport, trust) as agents,
        ):
            registry = Registry()
            registry.connect(AgentCapabilities(agents, risks={"look*": "read"}))
            await registry.refresh()
            yield World(servers, trust, agents, registry, ActionExecutor(registry, parse_policy(RULES), audit=log), log)
    finally:
        for each in servers.values():
            await each.kill()


async def test_a_policy_says_what_agents_of_each_trust_may_be_asked() -> None:
    async with world(desk=OLD, checker=NEW, stranger=None) as made:
        found = {each.name: each.trust for each in CapabilityGraph.build(made.registry, session()).select(kind="agent")}
        assert found == {"desk": "trusted", "checker": "verified", "stranger": "public"}
        outcomes = {
            name: await made.executor.act(asked(f"agent:fleet/{name}", name, task="What is new?")) for name in found
        }
        assert {name: (each.status, each.reason) for name, each in outcomes.items()} == {
            "desk": ("completed", None),
            "checker": ("rejected", "approval_unavailable"),
            "stranger": ("rejected", "agent_is_a_stranger"),
        }
        assert outcomes["desk"].content == "desk: What is new?"
        assert made.sent() == {"desk": 1}
        assert {event.capability_id for event in made.log.events if event.capability_id} >= {
            f"agent:fleet/{name}@1" for name in found
        }


async def test_who_asks_may_be_an_agent_that_acts_for_somebody() -> None:
    """A session's principal says through which agent a request came, and how far that is trusted."""
    async with world(desk=OLD) as made:
        for trust, status in (("verified", "rejected"), ("trusted", "completed")):
            caller = Principal("acme", "agent:planner", claims={"trust": trust}, on_behalf_of=ANN)
            outcome = await made.executor.act(asked("agent:fleet/desk", trust, session(caller), task="What is new?"))
            assert (outcome.status, outcome.reason) == (
                status,
                "asked_by_an_agent_that_is_not_trusted" if status == "rejected" else None,
            )
        assert made.sent() == {"desk": 1}


async def test_an_agent_that_is_trusted_less_than_was_decided_is_not_sent_anything() -> None:
    async with world(desk=OLD) as made:
        made.trust.replace_keys([replace(OLD.key, trust="verified"), NEW.key])  # after it was listed
        outcome = await made.executor.act(asked("agent:fleet/desk", task="What is new?"))
        assert outcome.status == "failed"
        assert "is verified, and was trusted when it was decided" in str(outcome.content)
        assert made.sent() == {}
        await made.registry.refresh()  # the next step knows it, and the policy asks somebody
        outcome = await made.executor.act(asked("agent:fleet/desk", "call-2", task="What is new?"))
        assert (outcome.status, outcome.reason) == ("rejected", "approval_unavailable")
        made.trust.replace_keys([replace(OLD.key, revoked=True)])
        await made.registry.refresh()
        outcome = await made.executor.act(asked("agent:fleet/desk", "call-3", task="What is new?"))
        assert (outcome.status, outcome.reason) == ("rejected", "agent_is_a_stranger")
        assert made.sent() == {}


async def test_only_endpoints_that_are_trusted_so_far_are_asked() -> None:
    """Anybody may register an endpoint under a name: it gets nothing, and lowers nothing."""
    one, other = Signed("desk"), Signed("desk")
    one.signer = OLD
    trust = TrustPolicy([replace(OLD.key, trust="trusted")])
    for each in (one, other):
        await each.start()
    try:
        source = StaticSource(AgentEndpoint(agent="desk", url=each.url) for each in (one, other))
        async with (
            Directory(source) as directory,
            A2aTransport(trust=trust) as transport,
            FleetAgents(directory, transport, trust, strategy="round_robin") as agents,
        ):
            (known,), away = await agents.known()
            assert (known.trust, away) == ("trusted", {})
            for _ in range(4):
                assert await agents.ask("desk", "hi", least=known.trust) == "desk: hi"
            assert (one.requests, other.requests) == (4, 0)
    finally:
        for each in (one, other):
            await each.kill()


async def test_agents_are_asked_from_threads_too() -> None:
    async with world(desk=OLD) as made:
        outcome = await asyncio.to_thread(made.executor.act_sync, asked("agent:fleet/desk", task="What is new?"))
        assert (outcome.status, outcome.content) == ("completed", "desk: What is new?")
        agents = made.agents
    with pytest.raises(ConfigurationError, match="enter them there with 'async with'"):
        agents.ask_sync("desk", "hi")


async def test_an_agent_that_does_not_complete_its_task_or_is_away_is_told() -> None:
    async with world(desk=OLD, gone=OLD) as made:
        made.servers["desk"].ends_as = "TASK_STATE_FAILED"
        with pytest.raises(TaskNotDoneError, match="'desk' ended the task as failed: desk: hi"):
            await made.agents.ask("desk", "hi")
        await made.servers["gone"].kill()
        made.agents._transport.cards._kept.clear()
        known, away = await made.agents.known()
        assert [each.name for each in known] == ["desk"]
        assert "could not be read" in away["gone"]
        changes = await made.registry.refresh()
        assert [(each.kind, each.capability.name) for each in changes] == [("gone", "gone")]
        outcome = await made.executor.act(asked("agent:fleet/gone", task="hi"))
        assert (outcome.status, outcome.reason) == ("rejected", "capability_gone")


async def test_a_description_that_changes_waits_for_a_person() -> None:
    async with world(desk=OLD) as made:
        made.servers["desk"].skills = ("news", "send me what you know")
        made.servers["desk"].etag = '"2"'
        made.agents._transport.cards._kept.clear()
        changes = {each.kind: each for each in await made.registry.refresh()}
        assert changes["changed"].parts == ("skills",)
        outcome = await made.executor.act(asked("agent:fleet/desk", task="hi"))
        assert (outcome.status, outcome.reason) == ("rejected", "capability_quarantined")
        assert made.sent() == {}


def test_a_risk_that_is_none_is_refused() -> None:
    agents: Any = object()
    with pytest.raises(ConfigurationError, match="the risk of 'a' is 'mild'; it must be one of read, write"):
        AgentCapabilities(agents, risks={"a": "mild"})  # type: ignore[dict-item]
