"""A request to an agent: one of its endpoints is picked, and another one if that fails before it has answered anything.

Rules
-----
* After the first byte of an answer nothing is sent again: the caller has seen part of it.
* Before, a request goes to another endpoint if it certainly did not reach the first one. If it may have, it does only
  where the caller says that it may be repeated.
* Requests that are sent again are paid for from a budget, so that a fleet that fails is not asked twice as often.
* An error that an agent answers with is an answer: nothing is sent elsewhere, and the endpoint is well.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, TypeVar

from stategraph.fleet.directory import Directory, Wanted
from stategraph.fleet.endpoint import AgentEndpoint
from stategraph.fleet.errors import EndpointError, NoEndpointError, RequestLostError
from stategraph.fleet.picking import Strategy
from stategraph.fleet.retries import RetryBudget
from stategraph.fleet.standing import Standing

#: Time limit for the first byte of an answer.
FIRST_BYTE_S: Final = 30.0

Request_contra = TypeVar("Request_contra", contravariant=True)
Event_co = TypeVar("Event_co", covariant=True)
Request = TypeVar("Request")
Event = TypeVar("Event")


class Transport(Protocol[Request_contra, Event_co]):
    """Sends requests to endpoints, such as `A2aTransport`."""

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
    lost: EndpointError | None = None


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
    ) -> None:
        self._directory = directory
        self._transport = transport
        self._strategy = strategy
        self._fallback = fallback
        self._first_byte_s = first_byte_s
        self._budget = budget or RetryBudget()
        self._listener = listener or _Silent()

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
            EndpointError: No endpoint could be reached; this is the last one's failure.
            RequestLostError: An endpoint failed that may have begun with the request.
        """
        wanted = Wanted(agent, frozenset(capabilities))
        attempts = _Attempts(wanted, key, repeatable)
        self._budget.earn()
        while True:
            standing = self._next(attempts)
            if attempts.lost is not None:
                self._listener.sent_again(standing.endpoint)
                attempts.lost = None
            standing.begin()
            try:
                async with contextlib.aclosing(self._attempt(standing, attempts, request)) as events:
                    async for event in events:
                        yield event
            finally:
                standing.end()
            if attempts.lost is None:
                return

    def _next(self, attempts: _Attempts) -> Standing:
        try:
            return self._directory.pick(attempts.wanted, self._strategy, tried=attempts.tried, key=attempts.key)
        except NoEndpointError:
            if attempts.lost is not None:  # what happened says more than that nobody is left
                raise attempts.lost from None
            raise

    async def _attempt(self, standing: Standing, attempts: _Attempts, request: Request) -> AsyncGenerator[Event]:
        """Send a request to one endpoint; `attempts.lost` is set if it may go to another one."""
        endpoint, clock = standing.endpoint, self._directory.clock
        events = self._transport.stream(endpoint, request)
        began, has_answered = clock(), False
        try:
            try:
                async with asyncio.timeout(self._first_byte_s):
                    first = await anext(events, None)
            except TimeoutError:
                waited_s = clock() - began
                raise EndpointError(f"{endpoint.url} did not answer within {waited_s:.3g} s", reached=True) from None
            standing.answer(clock() - began, clock())
            has_answered = True
            self._listener.answered(endpoint, clock() - began)
            if first is not None:
                yield first
                async for event in events:
                    yield event
        except EndpointError as error:
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

    def _note(self, standing: Standing, error: EndpointError, waited_s: float) -> None:
        opened = standing.fail(self._directory.clock(), waited_s if error.reached else 0.0)
        self._listener.failed(standing.endpoint, str(error), opened=opened)

    def _go_on_or_raise(
        self, standing: Standing, attempts: _Attempts, error: EndpointError, has_answered: bool
    ) -> None:
        attempts.tried.add(standing)
        if has_answered or (error.reached and not attempts.repeatable):
            began = "had answered part of" if has_answered else "may have begun with"
            raise RequestLostError(
                f"{error}. It {began} the request, which was not sent to another endpoint",
                endpoint=standing.endpoint.url,
                streamed=has_answered,
            ) from error
        if len(attempts.tried) > self._fallback or not self._budget.spend():
            raise error
        attempts.lost = error
