"""A request to an agent: one of its endpoints is picked, and another one if that fails before it has answered anything.

Rules
-----
* After the first byte of an answer nothing is sent again: the caller has seen part of it.
* Before, a request goes to another endpoint if it certainly did not reach the first one. If it may have, it does only
  where the caller says that it may be repeated.
* Requests that are sent again are paid for from a budget, so that a fleet that fails is not asked twice as often.
* An error that an agent answers with is an answer: nothing is sent elsewhere, and the endpoint is well.
* An endpoint that may not be sent the request, such as one that is trusted too little, is passed over: it has not
  failed, and another one is asked that is paid for from nothing.
* An endpoint that says nothing is asked whether it is there, where the request may go to another one: it is left as
  soon as it is gone, and may take its time as long as it is there.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, TypeVar

from stategraph.fleet.directory import Directory, Wanted
from stategraph.fleet.endpoint import AgentEndpoint
from stategraph.fleet.errors import EndpointError, NoEndpointError, RequestLostError
from stategraph.fleet.picking import Strategy
from stategraph.fleet.retries import RetryBudget
from stategraph.fleet.silence import SILENT_S, Asking, Watch
from stategraph.fleet.standing import Standing

#: Time limit for the first byte of an answer.
FIRST_BYTE_S: Final = 30.0

Request_contra = TypeVar("Request_contra", contravariant=True)
Event_co = TypeVar("Event_co", covariant=True)
Request = TypeVar("Request")
Event = TypeVar("Event")


class Transport(Protocol[Request_contra, Event_co]):
    """Sends requests to endpoints, such as `A2aTransport`; one with a method `reach` is also `silence.Asking`."""

    def stream(self, endpoint: AgentEndpoint, request: Request_contra) -> AsyncGenerator[Event_co]:
        """Send a request to an endpoint, and return what it answers, event by event.

        Raises:
            EndpointError: The endpoint failed. What the agent answers with is raised as it is.
        """


class Listener(Protocol):
    """Is told of what a router does, for metrics."""

    def answered(self, endpoint: AgentEndpoint, took_s: float) -> None:
        """Note the first byte of an answer."""

    def failed(self, endpoint: AgentEndpoint, reason: str, *, opened: bool) -> None:
        """Note a failure; `opened`: the endpoint is left alone from now on."""

    def sent_again(self, endpoint: AgentEndpoint) -> None:
        """Note that a request goes to another endpoint after it failed at this one."""


class _Silent:
    def answered(self, endpoint: AgentEndpoint, took_s: float) -> None:
        """Do nothing."""

    def failed(self, endpoint: AgentEndpoint, reason: str, *, opened: bool) -> None:
        """Do nothing."""

    def sent_again(self, endpoint: AgentEndpoint) -> None:
        """Do nothing."""


@dataclass(slots=True)
class _Attempts:
    wanted: Wanted
    key: str
    repeatable: bool
    tried: set[Standing] = field(default_factory=set)
    refused: dict[Standing, EndpointError] = field(default_factory=dict)
    failed: int = 0
    lost: EndpointError | None = None
    goes_on: bool = False
    is_over: bool = False


class Router(Generic[Request, Event]):
    """Sends requests to the agents of a directory. Used by the event loop of the directory.

    Args:
        directory: Knows the endpoints.
        transport: Sends requests to them.
        strategy: How one of several endpoints is picked, see `picking`.
        fallback: To how many more endpoints a request may go.
        first_byte_s: Time limit for the first byte of an answer; an endpoint that needs more has failed.
        budget: How many requests may be sent again; None: one for five, in the long run.
        listener: Is told of answers and failures.
        silent_s: Time without a word after which an endpoint is asked whether it is there, and that it has to say so:
            one that answers neither of two questions, or refuses the connection, is left after three times as long.
    """

    def __init__(
        self,
        directory: Directory,
        transport: Transport[Request, Event],
        *,
        strategy: Strategy = "least_outstanding",
        fallback: int = 2,
        first_byte_s: float = FIRST_BYTE_S,
        budget: RetryBudget | None = None,
        listener: Listener | None = None,
        silent_s: float = SILENT_S,
    ) -> None:
        self._directory = directory
        self._transport = transport
        self._strategy = strategy
        self._fallback = fallback
        self._first_byte_s = first_byte_s
        self._budget = budget or RetryBudget()
        self._listener = listener or _Silent()
        self._silent_s = silent_s
        self._reach: Callable[[AgentEndpoint], Awaitable[None]] | None = None
        if isinstance(transport, Asking):
            self._reach = transport.reach

    async def stream(
        self,
        request: Request,
        *,
        agent: str | None = None,
        capabilities: Iterable[str] = (),
        key: str = "",
        repeatable: bool = False,
    ) -> AsyncGenerator[Event]:
        """Send a request, and return what is answered, event by event.

        Args:
            request: The request.
            agent: The agent that it is for; None: any that has the capabilities.
            capabilities: What the agent must be able to do.
            key: What sticks to an endpoint, such as the id of a thread; for the strategy `sticky`.
            repeatable: Whether an agent may be sent the request twice: it changes nothing, or the agents know messages
                that they have had by their id.

        Raises:
            NoEndpointError: No endpoint takes requests.
            EndpointError: No endpoint could be reached, or none may be sent the request; this is of the last one.
            RequestLostError: An endpoint failed that may have begun with the request.
        """
        wanted = Wanted(agent, frozenset(capabilities))
        attempts = _Attempts(wanted, key, repeatable)
        self._budget.earn()
        while True:
            standing = self._next(attempts)
            if attempts.goes_on:
                self._listener.sent_again(standing.endpoint)
                attempts.goes_on = False
            standing.begin()
            try:
                async with contextlib.aclosing(self._attempt(standing, attempts, request)) as events:
                    async for event in events:
                        yield event
            finally:
                standing.end()
            if attempts.is_over:
                return

    def _next(self, attempts: _Attempts) -> Standing:
        try:
            return self._directory.pick(
                attempts.wanted, self._strategy, tried=attempts.tried, key=attempts.key, refused=attempts.refused
            )
        except NoEndpointError:
            if attempts.lost is not None:  # what happened says more than that nobody is left
                raise attempts.lost from None
            if attempts.refused and attempts.refused.keys() >= set(self._directory.members(attempts.wanted)):
                raise list(attempts.refused.values())[-1] from None
            raise

    async def _attempt(self, standing: Standing, attempts: _Attempts, request: Request) -> AsyncGenerator[Event]:
        """Send a request to one endpoint; `attempts.is_over` is set unless it may go to another one."""
        endpoint, clock = standing.endpoint, self._directory.clock
        events = self._transport.stream(endpoint, request)
        began, has_answered = clock(), False
        try:
            first = await self._first(standing, events, asks=attempts.repeatable)
            standing.answer(clock() - began, clock())
            has_answered = True
            self._listener.answered(endpoint, clock() - began)
            if first is not None:
                yield first
                async for event in events:
                    yield event
            attempts.is_over = True
        except EndpointError as error:
            if not (error.is_failure or error.reached or has_answered):
                standing.pass_over()
                attempts.tried.add(standing)
                attempts.refused[standing] = error
                return
            self._note(standing, error, waited_s=0.0 if has_answered else clock() - began)
            self._go_on_or_raise(standing, attempts, error, has_answered)
        except (asyncio.CancelledError, GeneratorExit):
            standing.abandon()
            raise
        except Exception:
            if not has_answered:  # an error that the agent answers with
                standing.answer(clock() - began, clock())
                self._listener.answered(endpoint, clock() - began)
            raise
        finally:
            await events.aclose()

    async def _first(self, standing: Standing, events: AsyncGenerator[Event], *, asks: bool) -> Event | None:
        """Return the first event of an answer; `asks`: the endpoint is asked whether it is there if it is silent."""
        clock = self._directory.clock
        began, watch = clock(), None
        try:
            async with asyncio.timeout(self._first_byte_s) as limit:
                if not asks or self._reach is None:
                    return await anext(events, None)
                async with Watch(standing, self._reach, limit, self._silent_s, clock) as watch:
                    return await anext(events, None)
        except TimeoutError:
            said = f"{standing.endpoint.url} did not answer within {clock() - began:.3g} s"
            if watch is not None and watch.gone:
                said += f", and is not there: {watch.gone}"
            raise EndpointError(said, reached=True) from None

    def _note(self, standing: Standing, error: EndpointError, waited_s: float) -> None:
        opened = standing.fail(self._directory.clock(), waited_s if error.reached else 0.0)
        self._listener.failed(standing.endpoint, str(error), opened=opened)

    def _go_on_or_raise(
        self, standing: Standing, attempts: _Attempts, error: EndpointError, has_answered: bool
    ) -> None:
        attempts.tried.add(standing)
        attempts.failed += 1
        if has_answered or (error.reached and not attempts.repeatable):
            began = "had answered part of" if has_answered else "may have begun with"
            raise RequestLostError(
                f"{error}. It {began} the request, which was not sent to another endpoint",
                endpoint=standing.endpoint.url,
                streamed=has_answered,
            ) from error
        if attempts.failed > self._fallback or not self._budget.spend():
            raise error
        attempts.lost, attempts.goes_on = error, True
