"""The agents of a directory as others ask them: by name, with a task, as far as they are trusted.

`FleetAgents` are what `stategraph.governance.capabilities.remote` makes capabilities of, so that policies decide who is
asked. This file knows nothing of that.

Rules
-----
* An agent is trusted as far as the most trusted of its endpoints, and sent a task only at endpoints that are trusted as
  far as the caller says: an endpoint that anybody registers under its name neither lowers nor raises that. Others are
  passed over, which is no failure of theirs: for those who trust them so far they are as good as before.
* A task counts as done when the agent says that it is completed. Any other end is an error with what the agent said.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from stategraph.errors import ConfigurationError
from stategraph.fleet.a2a import A2aTransport, message
from stategraph.fleet.answers import Answer
from stategraph.fleet.directory import Directory
from stategraph.fleet.endpoint import AgentEndpoint
from stategraph.fleet.errors import EndpointError, FleetError
from stategraph.fleet.picking import Strategy
from stategraph.fleet.router import Router
from stategraph.fleet.standing import Standing
from stategraph.fleet.trust import LEVELS, Trust, TrustPolicy, UntrustedAgentError

if TYPE_CHECKING:
    from a2a.types import AgentCard, SendMessageRequest, StreamResponse

#: Cards that are asked for at a time.
_AT_A_TIME: Final = 16


class TaskNotDoneError(FleetError):
    """An agent ended a task otherwise than as completed."""


@dataclass(frozen=True, slots=True)
class FleetAgent:
    """An agent of a directory, as its card describes it.

    Attributes:
        name: Its name in the directory.
        description: What it says that it does.
        trust: How far the most trusted of its endpoints is trusted.
        skills: What it says that it can do, by name.
    """

    name: str
    description: str
    trust: Trust
    skills: Mapping[str, str] = field(default_factory=dict)


class FleetAgents:
    """The agents of a directory, as `async with FleetAgents(directory, transport, trust) as agents`.

    Args:
        directory: Knows their endpoints.
        transport: Sends requests to them, with the same `trust`.
        trust: Says how far each is trusted.
        strategy: How one of several endpoints is picked, see `picking`.
    """

    def __init__(
        self,
        directory: Directory,
        transport: A2aTransport,
        trust: TrustPolicy,
        *,
        strategy: Strategy = "least_outstanding",
    ) -> None:
        self._directory = directory
        self._transport = transport
        self._trust = trust
        self._strategy: Strategy = strategy
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._loop = None

    async def known(self) -> tuple[Sequence[FleetAgent], Mapping[str, str]]:
        """Return the agents that answer for their card, and by name why others cannot be asked now."""
        at_a_time = asyncio.Semaphore(_AT_A_TIME)

        async def judged(name: str, standings: Sequence[Standing]) -> FleetAgent | str:
            async with at_a_time:
                return await self._judged(name, [each.endpoint for each in standings])

        agents = self._directory.agents()
        found = await asyncio.gather(*(judged(name, standings) for name, standings in agents.items()))
        known = [each for each in found if isinstance(each, FleetAgent)]
        away = {name: each for name, each in zip(agents, found, strict=True) if isinstance(each, str)}
        return known, away

    async def ask(self, agent: str, task: str, *, least: Trust = "public", message_id: str = "") -> str:
        """Give an agent a task, and return its answer.

        Args:
            agent: Its name.
            task: The task.
            least: How far an endpoint has to be trusted to be sent it.
            message_id: Names the message, so that an agent knows it again; empty: a new id.

        Raises:
            FleetError: No endpoint could be asked, or the agent did not complete the task.
        """
        at_least = _AtLeast(self._transport, self._trust, least)
        router: Router[SendMessageRequest, StreamResponse] = Router(self._directory, at_least, strategy=self._strategy)
        answer, said = Answer(), []
        async with contextlib.aclosing(router.stream(message(task, message_id=message_id), agent=agent)) as events:
            async for event in events:
                said.append(answer.take(event))
        text = "".join(said)
        if answer.state != "completed":
            raise TaskNotDoneError(
                f"'{agent}' ended the task as {answer.state or 'nothing'}: {text or 'it said no more'}"
            )
        return text

    def ask_sync(self, agent: str, task: str, *, least: Trust = "public", message_id: str = "") -> str:
        """Do as `ask` does, in another thread than that of the event loop; one that is interrupted ends the request.

        Raises:
            ConfigurationError: The event loop of these agents does not run, or runs in this thread.
        """
        if self._loop is None or not self._loop.is_running():
            raise ConfigurationError(
                "FleetAgents belong to an event loop: enter them there with 'async with', and ask from another thread"
            )
        if self._loop is asyncio._get_running_loop():
            raise ConfigurationError(
                "ask_sync would wait for its own thread, in which the event loop of these FleetAgents runs: write "
                "'await agents.ask(...)' there, or call ask_sync in another thread (asyncio.to_thread)"
            )
        asking = self.ask(agent, task, least=least, message_id=message_id)
        future = asyncio.run_coroutine_threadsafe(asking, self._loop)
        try:
            return future.result()
        finally:
            future.cancel()  # of one that is over it does nothing

    async def _judged(self, name: str, endpoints: Sequence[AgentEndpoint]) -> FleetAgent | str:
        best: tuple[Trust, AgentCard] | None = None
        whys = []
        for endpoint in endpoints:
            try:
                card = await self._transport.cards.get(endpoint.card_url)
                level = self._trust.check(endpoint, card)
            except EndpointError as error:
                whys.append(str(error))
                continue
            if best is None or LEVELS.index(level) > LEVELS.index(best[0]):
                best = level, card
        if best is None:
            return "; ".join(whys) or "it has no endpoint"
        level, card = best
        skills = {each.id: each.description for each in card.skills}
        return FleetAgent(name, card.description, level, skills)


class _AtLeast:
    """A transport that sends nothing to an endpoint that is trusted less than a caller says."""

    def __init__(self, transport: A2aTransport, trust: TrustPolicy, least: Trust) -> None:
        self._transport = transport
        self._trust = trust
        self._least: Trust = least

    async def stream(self, endpoint: AgentEndpoint, request: SendMessageRequest) -> AsyncGenerator[StreamResponse]:
        """Send a message, see `A2aTransport.stream`."""
        card = await self._transport.cards.get(endpoint.card_url)
        level = self._trust.check(endpoint, card)
        if LEVELS.index(level) < LEVELS.index(self._least):
            raise UntrustedAgentError(
                f"'{endpoint.key}' is {level}, and was {self._least} when it was decided that it may be asked",
                reached=False,
            )
        async with contextlib.aclosing(self._transport.stream(endpoint, request)) as events:
            async for event in events:
                yield event

    async def reach(self, endpoint: AgentEndpoint) -> None:
        """Ask an endpoint whether it is there, see `A2aTransport.reach`."""
        await self._transport.reach(endpoint)
