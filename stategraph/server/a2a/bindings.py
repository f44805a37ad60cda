"""The bindings of the protocol over one handler: JSON-RPC, REST and gRPC, by the SDK."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC
from email.utils import format_datetime
from typing import Any, Final
from urllib.parse import urlsplit

import grpc
import grpc.aio
from a2a.server.context import ServerCallContext
from a2a.server.jsonrpc_models import JSONParseError
from a2a.server.request_handlers.grpc_handler import DefaultGrpcServerCallContextBuilder, GrpcHandler
from a2a.server.request_handlers.response_helpers import build_error_response
from a2a.server.routes import DefaultServerCallContextBuilder, create_jsonrpc_routes, create_rest_routes
from a2a.types.a2a_pb2_grpc import add_A2AServiceServicer_to_server
from a2a.utils.errors import ContentTypeNotSupportedError, VersionNotSupportedError
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router
from starlette.types import Message, Receive, Scope, Send

from stategraph.server.a2a.cards import VERSION, Cards, as_body
from stategraph.server.a2a.handler import ASSISTANT, BASE_URL, CALLER, REFUSALS, Handler
from stategraph.server.a2a.push_store import MemoryPushStore
from stategraph.server.a2a.pushes import Pushes
from stategraph.server.a2a.settings import A2aSettings
from stategraph.server.a2a.views import Views
from stategraph.server.access import AuthenticationError, caller_of
from stategraph.server.service.outgoing import Outgoing
from stategraph.server.service.port import ANYONE, Caller, NotBegunError, Service, UnavailableError
from stategraph.server.tasks.work import Tasks

_ASSISTANT: Final = "/a2a/{assistant_id}"

#: Headers of requests that clients and graphs have no business with: they are credentials.
_SECRET: Final = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key"})


#: Who makes the gRPC call that a task handles.
_caller: Final[ContextVar[Caller]] = ContextVar("caller", default=ANYONE)


class Bindings:
    """Answers requests over HTTP and gRPC.

    Args:
        service: What is served.
        settings: Of the protocol.
    """

    def __init__(self, service: Service, settings: A2aSettings) -> None:
        self._settings = settings
        self._cards = Cards(service, settings)
        tasks = Tasks(service)
        views = Views(service, tasks)
        self._pushes: Pushes | None = None
        if settings.pushes:
            outgoing = Outgoing(settings.push_hosts)
            store = settings.push_store or MemoryPushStore()
            self._pushes = Pushes(store, tasks, views, outgoing, secrets=settings.push_secrets)
        self.handler = Handler(service, settings, self._cards, self._pushes)
        builder = _HttpContexts()
        rest = create_rest_routes(self.handler, builder, path_prefix=_ASSISTANT)
        self._router = Router(
            [
                *map(_reading, create_jsonrpc_routes(self.handler, _ASSISTANT, builder)),
                *map(_reading, create_jsonrpc_routes(self.handler, f"{_ASSISTANT}/", builder)),
                *(each for each in rest if isinstance(each, Route)),
            ]
        )

    async def start(self) -> None:
        """Take up what is to be told to clients."""
        if self._pushes is not None:
            self._pushes.start()

    async def aclose(self) -> None:
        """Stop telling clients, and close what keeps their addresses."""
        if self._pushes is not None:
            await self._pushes.aclose()
        close = getattr(self._settings.push_store, "aclose", None)
        if close is not None:
            await close()

    async def http(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request to an assistant, as an ASGI application."""
        if scope["method"] == "POST" and not _is_json(Headers(scope=scope)):
            answer = build_error_response(None, ContentTypeNotSupportedError("The body has to be application/json"))
            await JSONResponse(answer, 415)(scope, receive, send)
            return
        refusals: list[UnavailableError] = []
        REFUSALS.set(refusals)

        async def telling(message: Message) -> None:
            # The protocol has no error for a server that begins nothing now. By the status clients ask another one, so
            # where it is not known whether something was begun that is another status.
            if message["type"] == "http.response.start" and refusals:
                error = refusals[0]
                status = error.status if isinstance(error, NotBegunError) else 500
                headers = [*message["headers"], (b"retry-after", str(max(1, round(error.retry_after_s))).encode())]
                message = {**message, "status": status, "headers": headers}
            await send(message)

        # The route around this one has taken the path apart; the router does it again for the binding's own.
        await self._router({**scope, "path_params": {}}, receive, telling)

    async def card_answer(self, request: Request, assistant_id: str) -> Response:
        """Answer with a card, or that the client has it already.

        Raises:
            NotFoundError: There is no such assistant.
        """
        caller = caller_of(request)
        is_public = self._settings.needs_auth and not caller.identity
        card = await self._cards.card(caller, assistant_id, _base_url(request), public=is_public)
        changed_at = (await self._cards.describe(caller, assistant_id)).assistant.updated_at.astimezone(UTC)
        body, etag = as_body(card)
        headers = {
            "ETag": etag,
            "Cache-Control": f"public, max-age={self._settings.card_max_age_s}",
            "Last-Modified": format_datetime(changed_at, usegmt=True),
            "Vary": "Host",
        }
        kept = [each.strip() for each in request.headers.get("if-none-match", "").split(",")]
        if etag in kept or etag.removeprefix("W/") in kept or "*" in kept:
            return Response(status_code=304, headers=headers)
        return Response(body, media_type="application/json", headers=headers)

    async def grpc_server(
        self, address: str, authenticate: Callable[[HTTPConnection], Awaitable[Caller]] | None, credentials: Any
    ) -> GrpcServer:
        """Start a gRPC server, see `routes.grpc_server`."""
        server = grpc.aio.server(
            interceptors=[] if authenticate is None else [_Identified(authenticate)],
            options=[("grpc.so_reuseport", 0)],  # a port that another process has is an error
        )
        calls = GrpcHandler(self.handler, _GrpcContexts(self._settings))
        add_A2AServiceServicer_to_server(calls, server)  # type: ignore[no-untyped-call]
        try:
            if credentials is None:
                port = server.add_insecure_port(address)
            else:
                port = server.add_secure_port(address, credentials)
        except RuntimeError:
            port = 0
        if port == 0:
            raise OSError(f"The gRPC server cannot listen on '{address}'")
        await server.start()
        return GrpcServer(server, port, self)


@dataclass(frozen=True, slots=True)
class GrpcServer:
    """A gRPC server that listens.

    Attributes:
        server: The server.
        port: Its port.
        bindings: Answers its calls.
    """

    server: grpc.aio.Server
    port: int
    bindings: Bindings

    async def stop(self, grace_s: float = 0.0) -> None:
        """Take no more calls, and end those that are open after some seconds."""
        await self.server.stop(grace_s)
        await self.bindings.aclose()


class _HttpContexts(DefaultServerCallContextBuilder):
    """Contexts of calls over HTTP."""

    def build(self, request: Request) -> ServerCallContext:
        """Return the context of a call."""
        context = super().build(request)
        context.state["headers"] = {
            name: value for name, value in context.state["headers"].items() if name not in _SECRET
        }
        context.state[ASSISTANT] = request.path_params.get("assistant_id", "")
        context.state[CALLER] = caller_of(request)
        context.state[BASE_URL] = _base_url(request)
        return context


class _GrpcContexts(DefaultGrpcServerCallContextBuilder):
    """Contexts of calls over gRPC.

    The service is named after version 1.0 of the protocol, so a call that names no version means that one.
    """

    def __init__(self, settings: A2aSettings) -> None:
        self._settings = settings

    def build(self, context: grpc.aio.ServicerContext[Any, Any]) -> ServerCallContext:
        """Return the context of a call.

        Raises:
            VersionNotSupportedError: It is of another version.
        """
        built = super().build(context)
        metadata = {str(key).lower(): value for key, value in context.invocation_metadata() or ()}
        version = str(metadata.get("a2a-version") or VERSION)
        if version.partition(".")[0] != VERSION.partition(".")[0]:
            raise VersionNotSupportedError(f"A2A version '{version}' is not supported; supported is {VERSION}")
        built.state[CALLER] = _caller.get()
        built.state[BASE_URL] = self._settings.url
        return built


class _Identified(grpc.aio.ServerInterceptor):
    """Finds out who makes a call, and refuses those that nobody knows."""

    def __init__(self, authenticate: Callable[[HTTPConnection], Awaitable[Caller]]) -> None:
        self._authenticate = authenticate

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Return what handles a call, once it is known who makes it."""
        given = handler_call_details.invocation_metadata or ()
        headers = [
            (str(key).lower().encode(), value.encode() if isinstance(value, str) else value) for key, value in given
        ]
        scope = {"type": "http", "method": "POST", "path": handler_call_details.method, "headers": headers}
        try:
            _caller.set(await self._authenticate(HTTPConnection(scope)))
        except AuthenticationError as error:
            return _refusing(error)
        return await continuation(handler_call_details)


def _refusing(error: AuthenticationError) -> Any:
    code = grpc.StatusCode.UNAUTHENTICATED if error.status == 401 else grpc.StatusCode.PERMISSION_DENIED

    async def refuse(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        del request
        await context.abort(code, str(error))

    return grpc.unary_unary_rpc_method_handler(refuse)


def _reading(route: Route) -> Route:
    """Return a route of JSON-RPC whose body is read first: one that is no JSON, or too deep, is refused as such."""

    async def endpoint(request: Request) -> Response:
        try:
            await request.json()
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        except (ValueError, RecursionError):
            return JSONResponse(build_error_response(None, JSONParseError(message="The body is no JSON, or too deep")))
        answer: Response = await route.endpoint(request)
        return answer

    return Route(route.path, endpoint, methods=["POST"])


def _is_news(record: logging.LogRecord) -> bool:
    """Return whether the SDK tells something of the server: it logs requests that make no sense with a traceback."""
    return record.getMessage() not in _CLIENT_FAULTS


_CLIENT_FAULTS: Final = frozenset({"Failed to validate base JSON-RPC request", "Failed to parse request params"})

logging.getLogger("a2a.server.routes.jsonrpc_dispatcher").addFilter(_is_news)


def _is_json(headers: Headers) -> bool:
    """Return whether a body is JSON, or there is none."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json") or headers.get("content-length") == "0" or not kind


def _base_url(request: HTTPConnection) -> str:
    parts = urlsplit(str(request.base_url))
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
