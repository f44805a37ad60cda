"""Requests to agents by A2A 1.0, through `a2a-sdk`: over JSON-RPC, REST or gRPC, whichever the card prefers.

A client is made for each endpoint from its card, and kept as long as the card stays the same. All share one HTTP
client, with the host's credentials and certificates.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self

from stategraph.errors import MissingPackageError
from stategraph.fleet.cards import CardCache
from stategraph.fleet.endpoint import AgentEndpoint, is_plain
from stategraph.fleet.errors import AgentRefusedError, EndpointError, why
from stategraph.fleet.trust import TREATMENTS, Treatment, TrustPolicy

if TYPE_CHECKING:
    from collections.abc import Iterable

    import httpx
    from a2a.client import Client
    from a2a.types import AgentCard, SendMessageRequest, StreamResponse

#: Statuses by which a server, or what is in front of it, says that it is not well.
_NOT_WELL: Final = frozenset({429, 500, 502, 503, 504})

#: Those of them that say that the request was not begun.
_NOT_BEGUN: Final = frozenset({429, 503})


#: The treatment of agents where nothing says how far they are trusted.
_HOSTS_OWN: Final = Treatment()


class A2aTransport:
    """Sends messages to agents, as `async with A2aTransport() as transport`.

    Args:
        client: Sends the requests over HTTP, with credentials and certificates of the host; None: one without any,
            which is closed at the end.
        cards: Has the cards; None: a cache of its own.
        bindings: Which of the protocol's bindings are used: `JSONRPC`, `HTTP+JSON`, `GRPC`.
        plain_http: Whether agents on other machines are asked over `http://`, where anybody between may read and
            change what is said, credentials too.
        trust: Says how far agents are trusted, and what they get; None: all that the host has.
        stranger: With `trust`, asks for cards, and those agents that get no credentials; None: a client of its own.

    Raises:
        MissingPackageError: `a2a-sdk` is not installed.
    """

    def __init__(
        self,
        client: httpx.AsyncClient | None = None,
        *,
        cards: CardCache | None = None,
        bindings: Iterable[str] = ("JSONRPC", "HTTP+JSON"),
        plain_http: bool = False,
        trust: TrustPolicy | None = None,
        stranger: httpx.AsyncClient | None = None,
    ) -> None:
        try:
            import a2a.client  # noqa: F401 (an extra; 1.3 s)
            import httpx  # noqa: F401
        except ImportError as error:
            raise MissingPackageError("stategraph[server]", "Agents over A2A") from error
        self._own: list[httpx.AsyncClient] = []
        self._http = self._client_of(client)
        self._trust = trust
        self._stranger = self._http if trust is None else self._client_of(stranger)
        self.cards = cards or CardCache(self._stranger)
        self._bindings = list(bindings)
        self._plain_http = plain_http
        self._clients: dict[str, tuple[AgentCard, Client, httpx.AsyncClient]] = {}

    def _client_of(self, given: httpx.AsyncClient | None) -> httpx.AsyncClient:
        """Return the host's client, or one of this transport's own."""
        if given is not None:
            return given
        import httpx

        # A machine that is there accepts a connection at once, or when it was asked for a second time, after 1 s.
        made = httpx.AsyncClient(timeout=httpx.Timeout(10.0, connect=2.0, read=None))
        self._own.append(made)
        return made

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the clients, and the HTTP client unless it is the host's."""
        clients, self._clients = self._clients, {}
        for _, client, _ in clients.values():
            await client.close()
        own, self._own = self._own, []
        for each in own:
            await each.aclose()

    async def stream(self, endpoint: AgentEndpoint, request: SendMessageRequest) -> AsyncGenerator[StreamResponse]:
        """Send a message, and return what the agent answers: a task and its updates, or a message.

        Raises:
            EndpointError: The endpoint failed.
            AgentRefusedError: The agent answered with an error.
        """
        from a2a.client.errors import A2AClientError
        from a2a.utils.errors import A2AError

        client, treatment = await self._client(endpoint)
        is_whole = False
        try:
            answers = _closable(client.send_message(_allowed(request, treatment)))
            async with contextlib.aclosing(_within(answers, treatment, endpoint)) as within:
                async for each in within:
                    is_whole = _is_last(each)
                    yield each
        except A2AClientError as error:
            _raise(endpoint, error)
        except A2AError as error:
            raise AgentRefusedError(f"The agent answered with an error: {error}") from error
        if not is_whole:  # a connection that is closed in the middle may look like an end
            raise EndpointError(f"{endpoint.url} went away before its answer was whole", reached=True)

    async def reach(self, endpoint: AgentEndpoint) -> None:
        """Return once the server of an endpoint answers a request for its card, whatever it answers.

        Raises:
            EndpointError: It does not.
        """
        import httpx

        self._check(endpoint.card_url, f"'{endpoint.key}' would be asked unencrypted")
        try:
            async with self._stranger.stream("GET", endpoint.card_url):
                return
        except httpx.HTTPError as error:
            raise EndpointError(f"{endpoint.url} cannot be reached ({why(error)})", reached=False) from error

    async def _client(self, endpoint: AgentEndpoint) -> tuple[Client, Treatment]:
        from a2a.client import ClientConfig, ClientFactory

        self._check(endpoint.card_url, f"'{endpoint.key}' would be asked unencrypted")
        card = await self.cards.get(endpoint.card_url)
        treatment = _HOSTS_OWN if self._trust is None else TREATMENTS[self._trust.check(endpoint, card)]
        http = self._http if treatment.credentials else self._stranger
        known = self._clients.get(endpoint.key)
        if known is not None and known[0] is card and known[2] is http:
            return known[1], treatment
        for each in card.supported_interfaces:
            if each.protocol_binding in self._bindings:
                self._check(each.url, f"the card of '{endpoint.key}' names the unencrypted address {each.url}")
        config = ClientConfig(httpx_client=http, supported_protocol_bindings=self._bindings)
        try:
            client = ClientFactory(config).create(card)
        except ValueError as error:
            offered = ", ".join(sorted({each.protocol_binding for each in card.supported_interfaces})) or "none"
            raise EndpointError(
                f"'{endpoint.key}' is reached by {offered}; this client speaks {', '.join(self._bindings)}",
                reached=False,
            ) from error
        self._clients[endpoint.key] = card, client, http
        return client, treatment

    def _check(self, url: str, what: str) -> None:
        """Check that nothing is sent to another machine unencrypted.

        Raises:
            EndpointError: It would be.
        """
        if not self._plain_http and is_plain(url):
            raise EndpointError(
                f"{what}: register it as https://..., or allow that with A2aTransport(plain_http=True)", reached=False
            )


def message(
    text: str, *, context_id: str = "", message_id: str = "", metadata: Mapping[str, Any] | None = None
) -> SendMessageRequest:
    """Return a message of a user with one part of text.

    Args:
        text: The text.
        context_id: The conversation, a thread of a stategraph server; empty: a new one.
        message_id: Names the message, so that it can be known again; empty: a new id.
        metadata: Is sent with the message.
    """
    from a2a.types import Message, Part, Role, SendMessageRequest

    built = Message(
        role=Role.ROLE_USER,
        parts=[Part(text=text)],
        message_id=message_id or str(uuid.uuid4()),
        context_id=context_id,
    )
    if metadata:
        built.metadata.update(dict(metadata))
    return SendMessageRequest(message=built)


def _allowed(request: SendMessageRequest, treatment: Treatment) -> SendMessageRequest:
    """Return what is sent of a request."""
    if treatment.metadata or not (request.message.metadata or request.metadata):
        return request
    sent = type(request)()
    sent.CopyFrom(request)
    sent.ClearField("metadata")
    sent.message.ClearField("metadata")
    return sent


async def _within(
    answers: AsyncGenerator[StreamResponse], treatment: Treatment, endpoint: AgentEndpoint
) -> AsyncGenerator[StreamResponse]:
    """Return answers as long as they are no more, and take no longer, than is taken from their agent."""
    size, most, limit_s = 0, treatment.answer_bytes, treatment.answer_s
    deadline = None if limit_s is None else asyncio.get_running_loop().time() + limit_s
    async with contextlib.aclosing(answers):
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    each = await anext(answers, None)
            except TimeoutError:
                raise EndpointError(
                    f"{endpoint.url} answered for more than {limit_s:g} s, and is public", reached=True
                ) from None
            if each is None:
                return
            if most is not None and (size := size + each.ByteSize()) > most:
                raise EndpointError(
                    f"{endpoint.url} answered with more than {most:,} bytes, and is public", reached=True
                )
            yield each


async def _closable(answers: Any) -> AsyncGenerator[StreamResponse]:
    # The client says "iterator", and returns a generator.
    try:
        async for each in answers:
            yield each
    finally:
        await answers.aclose()


def _is_last(answer: StreamResponse) -> bool:
    """Return whether an answer may end so: with a message, or a task that is over or waits (A2A 1.0, 3.1.2)."""
    from a2a.types import TaskState

    if answer.HasField("message"):
        return True
    status = answer.task.status if answer.HasField("task") else answer.status_update.status
    return status.state not in (
        TaskState.TASK_STATE_UNSPECIFIED,
        TaskState.TASK_STATE_SUBMITTED,
        TaskState.TASK_STATE_WORKING,
    )


def _raise(endpoint: AgentEndpoint, error: Exception) -> NoReturn:
    import httpx

    cause = error.__cause__
    where = endpoint.url
    if isinstance(cause, httpx.HTTPStatusError):
        status = cause.response.status_code
        if status in _NOT_WELL:
            raise EndpointError(f"{where} answered with status {status}", reached=status not in _NOT_BEGUN) from error
        raise AgentRefusedError(f"{where} refused the request with status {status}") from error
    if isinstance(cause, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)):
        raise EndpointError(f"{where} cannot be reached ({why(cause)})", reached=False) from error
    if isinstance(cause, httpx.RequestError) or cause is None or isinstance(cause, ValueError):
        raise EndpointError(f"{where} went away during the request ({why(cause or error)})", reached=True) from error
    raise AgentRefusedError(f"The agent answered with an error: {error}") from error
