"""Requests to agents by A2A 1.0, through `a2a-sdk`: over JSON-RPC, REST or gRPC, whichever the card prefers.

A client is made for each endpoint from its card, and kept as long as the card stays the same. All share one HTTP
client, with the host's credentials and certificates.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self

from stategraph.errors import MissingPackageError
from stategraph.fleet.cards import CardCache
from stategraph.fleet.endpoint import AgentEndpoint, is_plain
from stategraph.fleet.errors import AgentRefusedError, EndpointError, why

if TYPE_CHECKING:
    from collections.abc import Iterable

    import httpx
    from a2a.client import Client
    from a2a.types import AgentCard, SendMessageRequest, StreamResponse

#: Statuses by which a server, or what is in front of it, says that it is not well.
_NOT_WELL: Final = frozenset({429, 500, 502, 503, 504})

#: Those of them that say that the request was not begun.
_NOT_BEGUN: Final = frozenset({429, 503})


class A2aTransport:
    """Sends messages to agents, as `async with A2aTransport() as transport`.

    Args:
        client: Sends the requests over HTTP, with credentials and certificates of the host; None: one without any,
            which is closed at the end.
        cards: Has the cards; None: a cache of its own.
        bindings: Which of the protocol's bindings are used: `JSONRPC`, `HTTP+JSON`, `GRPC`.
        plain_http: Whether agents on other machines are asked over `http://`, where anybody between may read and
            change what is said, credentials too.

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
    ) -> None:
        try:
            import a2a.client  # noqa: F401 (an extra; 1.3 s)
            import httpx
        except ImportError as error:
            raise MissingPackageError("stategraph[server]", "Agents over A2A") from error
        self._own = httpx.AsyncClient(timeout=httpx.Timeout(10.0, read=None)) if client is None else None
        self._http = client if client is not None else self._own
        assert self._http is not None
        self.cards = cards or CardCache(self._http)
        self._bindings = list(bindings)
        self._plain_http = plain_http
        self._clients: dict[str, tuple[AgentCard, Client]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the clients, and the HTTP client unless it is the host's."""
        clients, self._clients = self._clients, {}
        for _, client in clients.values():
            await client.close()
        if self._own is not None:
            await self._own.aclose()

    async def stream(self, endpoint: AgentEndpoint, request: SendMessageRequest) -> AsyncGenerator[StreamResponse]:
        """Send a message, and return what the agent answers: a task and its updates, or a message.

        Raises:
            EndpointError: The endpoint failed.
            AgentRefusedError: The agent answered with an error.
        """
        from a2a.client.errors import A2AClientError
        from a2a.utils.errors import A2AError

        client = await self._client(endpoint)
        is_whole = False
        try:
            async with contextlib.aclosing(_closable(client.send_message(request))) as answers:
                async for each in answers:
                    is_whole = _is_last(each)
                    yield each
        except A2AClientError as error:
            _raise(endpoint, error)
        except A2AError as error:
            raise AgentRefusedError(f"The agent answered with an error: {error}") from error
        if not is_whole:  # a connection that is closed in the middle may look like an end
            raise EndpointError(f"{endpoint.url} went away before its answer was whole", reached=True)

    async def _client(self, endpoint: AgentEndpoint) -> Client:
        from a2a.client import ClientConfig, ClientFactory

        self._check(endpoint.card_url, f"'{endpoint.key}' would be asked unencrypted")
        card = await self.cards.get(endpoint.card_url)
        known = self._clients.get(endpoint.key)
        if known is not None and known[0] is card:
            return known[1]
        for each in card.supported_interfaces:
            if each.protocol_binding in self._bindings:
                self._check(each.url, f"the card of '{endpoint.key}' names the unencrypted address {each.url}")
        config = ClientConfig(httpx_client=self._http, supported_protocol_bindings=self._bindings)
        try:
            client = ClientFactory(config).create(card)
        except ValueError as error:
            offered = ", ".join(sorted({each.protocol_binding for each in card.supported_interfaces})) or "none"
            raise EndpointError(
                f"'{endpoint.key}' is reached by {offered}; this client speaks {', '.join(self._bindings)}",
                reached=False,
            ) from error
        self._clients[endpoint.key] = card, client
        return client

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
