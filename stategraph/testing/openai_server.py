"""A model provider on a loopback socket that performs a script.

It speaks enough of OpenAI's HTTP API for a real client library: chat
completions, whole and streamed, and the list of models. Everything a network
does to an agent can be scripted: slow tokens, refusals, an error event in the
middle, a connection that dies.

Rules: each connection is served by its own thread, so the server works the
same under a synchronous test, an event loop and a child process; `close` leaves
no thread and no socket behind; a bug in the server itself surfaces in `close`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import select
import socket
import socketserver
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias, cast
from urllib.parse import urlsplit

from stategraph.testing import openai_wire as wire
from stategraph.testing import script as scripts

Outcome: TypeAlias = Literal["pending", "completed", "refused", "dropped", "faulted", "client_closed"]

_POLL_S = 0.02
"""Interval at which a waiting connection checks whether its client has gone."""

Entries: TypeAlias = scripts.Script | scripts.Entry | Sequence[scripts.Entry]


@dataclass(slots=True)
class RecordedRequest:
    """A request that the server received, and what became of it.

    Attributes:
        number: 0 for the first request of this server.
        path: The path that was asked for.
        headers: Its headers, names in lower case.
        body: The JSON body as received.
        outcome: How it ended; ``client_closed`` when the client went away first.
    """

    number: int
    path: str
    headers: dict[str, str]
    body: Any
    outcome: Outcome = "pending"
    _ended: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The conversation that the model was sent."""
        return list(self.body.get("messages", ())) if isinstance(self.body, dict) else []

    @property
    def tools(self) -> list[str]:
        """Names of the tools that were on offer."""
        offered = self.body.get("tools") or () if isinstance(self.body, dict) else ()
        return [tool.get("function", {}).get("name", "?") for tool in offered]

    def end(self, outcome: Outcome) -> None:
        """Note how the request ended. For the server."""
        self.outcome = outcome
        self._ended.set()

    def wait_ended(self, timeout_s: float = scripts.GATE_TIMEOUT_S) -> Outcome:
        """Block until the server is done with this request.

        Raises:
            TimeoutError: It was still going on after `timeout_s`.
        """
        if not self._ended.wait(timeout_s):
            raise TimeoutError(f"request {self.number} to {self.path} did not end within {timeout_s:g} s")
        return self.outcome


class FakeOpenAIServer:
    """An OpenAI-compatible server on 127.0.0.1, on a free port.

    Args:
        replies: The script for every model without a separate one.
        by_model: A script for each model name.
        strict: Refuse conversations that the real service refuses: tool
            messages without a call, calls without an answer.
        reasoning_field: Where reasoning is in messages and deltas. OpenAI's API has none; compatible servers
            use ``reasoning_content`` or ``reasoning``.

    Example:
        >>> import urllib.request
        >>> with FakeOpenAIServer(by_model={"m": ["hi"]}) as server:
        ...     b'"id": "m"' in urllib.request.urlopen(server.base_url + "/models").read()
        True
    """

    def __init__(
        self,
        replies: Entries = (),
        *,
        by_model: Mapping[str, Entries] | None = None,
        strict: bool = True,
        reasoning_field: str = "reasoning_content",
    ) -> None:
        self.requests: list[RecordedRequest] = []
        self.strict = strict
        self.reasoning_field = reasoning_field
        self._default = scripts.Script.of(replies)
        self._scripts = {name: scripts.Script.of(entries) for name, entries in (by_model or {}).items()}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._bugs: list[BaseException] = []
        self._listener: _Listener | None = None
        self._acceptor: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port on 127.0.0.1.

        Raises:
            RuntimeError: The server is not running.
        """
        if self._listener is None:
            raise RuntimeError("the server is not running; use it as a context manager or call start()")
        return int(self._listener.server_address[1])

    @property
    def base_url(self) -> str:
        """The base URL for clients, ``/v1`` included."""
        return f"http://127.0.0.1:{self.port}/v1"

    def script(self, model: str, entries: Entries) -> None:
        """Give `model` a separate script, replacing the one it had."""
        with self._lock:
            self._scripts[model] = scripts.Script.of(entries)

    def start(self) -> Self:
        """Listen. A server can be started once."""
        if self._listener is not None or self._closing.is_set():
            raise RuntimeError("a FakeOpenAIServer can be started once; make a new one")
        self._listener = _Listener(self)
        self._acceptor = threading.Thread(
            target=self._listener.serve_forever, args=(_POLL_S,), name="fake-openai", daemon=True
        )
        self._acceptor.start()
        return self

    def close(self) -> None:
        """Stop listening, break open connections and wait for their threads.

        Raises:
            ExceptionGroup: The server itself failed while it served.
        """
        self._closing.set()
        if self._listener is not None and self._acceptor is not None:
            self._listener.shutdown()
            self._acceptor.join()
            self._listener.server_close()
            self._listener = self._acceptor = None
        if self._bugs:
            bugs, self._bugs = self._bugs, []
            raise BaseExceptionGroup("the fake server failed while serving", bugs)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.start)

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)

    def _record(self, path: str, headers: dict[str, str], body: Any) -> RecordedRequest:
        with self._lock:
            recorded = RecordedRequest(len(self.requests), path, headers, body)
            self.requests.append(recorded)
        return recorded

    def _answer(self, recorded: RecordedRequest) -> scripts.Reply | scripts.Failure | BaseException:
        body = recorded.body
        options = {k: v for k, v in body.items() if k not in ("model", "messages", "tools", "stream")}
        request = scripts.ModelRequest(
            recorded.number,
            body["model"],
            tuple(recorded.messages),
            tuple(recorded.tools),
            bool(body.get("stream")),
            options,
        )
        with self._lock:
            script = self._scripts.get(request.model, self._default)
        return script.answer(request)


class _Listener(socketserver.TCPServer):
    """Accepts connections, and owns their threads and sockets."""

    request_queue_size = 128

    def __init__(self, kit: FakeOpenAIServer) -> None:
        self.kit = kit
        self._connections: list[tuple[socket.socket, threading.Thread]] = []
        super().__init__(("127.0.0.1", 0), _Connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(
            target=self._serve, args=(request, client_address), name="fake-openai-connection", daemon=True
        )
        thread.start()
        # A connection stays here until its thread has ended, so that `server_close` waits for that, too.
        self._connections = [known for known in self._connections if known[1].is_alive()]
        self._connections.append((request, thread))

    def _serve(self, request: socket.socket, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except ConnectionError:
            pass  # The client went away; its request already says so.
        except Exception as exc:
            if not self.kit._closing.is_set():
                self.kit._bugs.append(exc)
        finally:
            self.shutdown_request(request)

    def server_close(self) -> None:
        """Close the listening socket and every connection, and wait for their threads, after the acceptor has ended."""
        super().server_close()
        for connection, _ in self._connections:
            # Wakes the thread that reads from it; it may have closed by itself since.
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for _, thread in self._connections:
            thread.join()


class _ClientClosed(ConnectionError):
    """The client closed the connection while the server was answering."""


class _Connection(BaseHTTPRequestHandler):
    """One request's connection.

    It is closed after the answer: clients keep connections open in pools that outlive a test's event loop.
    """

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    @property
    def kit(self) -> FakeOpenAIServer:
        return cast(_Listener, self.server).kit

    @property
    def _asked(self) -> str:
        """The path without the query, which clients may have been given for gateways."""
        return urlsplit(self.path).path.rstrip("/")

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing: requests are recorded."""

    def do_GET(self) -> None:
        recorded = self.kit._record(self.path, self._headers(), None)
        if self._asked == "/v1/models":
            self._json(200, wire.model_list(list(self.kit._scripts)))
            recorded.end("completed")
        else:
            self._json(404, wire.error_body(f"unknown path {self.path}"))
            recorded.end("refused")

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        try:
            body = json.loads(raw)
        except ValueError:
            body = None
        recorded = self.kit._record(self.path, self._headers(), body)
        try:
            self._chat(recorded)
        except ConnectionError:
            recorded.end("client_closed")
            self.close_connection = True
        finally:
            if recorded.outcome == "pending":
                recorded.end("dropped")

    def _chat(self, recorded: RecordedRequest) -> None:
        if self._asked != "/v1/chat/completions":
            self._refuse(recorded, scripts.Failure(404, f"unknown path {self.path}"))
            return
        problem = wire.request_problem(recorded.body)
        if problem is not None and (self.kit.strict or not isinstance(recorded.body, dict)):
            self._refuse(recorded, scripts.Failure(400, problem))
            return
        try:
            answer = self.kit._answer(recorded)
        except scripts.ScriptExhausted as exc:
            # Not a 5xx: clients repeat those, and the message would come late.
            answer = scripts.Failure(422, str(exc), code="script_exhausted")
        if isinstance(answer, BaseException):
            answer = scripts.Failure(500, f"{type(answer).__name__}: {answer}", type="server_error")
        self._wait(answer.delay_s)
        if isinstance(answer, scripts.Failure):
            self._refuse(recorded, answer)
        elif recorded.body.get("stream"):
            self._stream(recorded, answer)
        else:
            self._whole(recorded, answer)

    def _refuse(self, recorded: RecordedRequest, failure: scripts.Failure) -> None:
        extra = {} if failure.retry_after_s is None else {"retry-after": f"{failure.retry_after_s:g}"}
        self._json(failure.status, wire.error_body(failure.message, type=failure.type, code=failure.code), extra)
        recorded.end("refused")

    def _whole(self, recorded: RecordedRequest, answer: scripts.Reply) -> None:
        for part in answer.parts:
            self._linger(part)
            if isinstance(part, scripts.Drop):
                self._hang_up(recorded)
                return
            if isinstance(part, scripts.Fault):
                self._json(500, wire.error_body(part.message, type="server_error"))
                recorded.end("faulted")
                return
        body = wire.completion(
            answer,
            id=self._id(recorded, answer),
            model=recorded.body["model"],
            reasoning_field=self.kit.reasoning_field,
        )
        self._json(200, body)
        recorded.end("completed")

    def _stream(self, recorded: RecordedRequest, answer: scripts.Reply) -> None:
        message_id, model = self._id(recorded, answer), recorded.body["model"]
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("cache-control", "no-cache")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self._event(wire.chunk(message_id, model, {"role": "assistant", "content": ""}))
        for part in answer.parts:
            self._linger(part)
            match part:
                case scripts.Drop():
                    self._hang_up(recorded)
                    return
                case scripts.Fault(message):
                    self._event(wire.error_body(message, type="server_error"))
                    self._end_stream()
                    recorded.end("faulted")
                    return
            added = wire.delta(part, reasoning_field=self.kit.reasoning_field)
            if added is not None:
                self._event(wire.chunk(message_id, model, added))
                self._wait(answer.gap_s)
        self._event(wire.chunk(message_id, model, {}, answer.finish))
        if (recorded.body.get("stream_options") or {}).get("include_usage"):
            self._event(wire.usage_chunk(message_id, model, answer.usage))
        self._send_chunk(b"data: [DONE]\n\n")
        self._end_stream()
        recorded.end("completed")

    def _id(self, recorded: RecordedRequest, answer: scripts.Reply) -> str:
        return answer.id or f"chatcmpl-{recorded.number + 1}"

    def end_headers(self) -> None:
        """End the headers of an answer, and say that the connection ends with it."""
        self.send_header("connection", "close")
        super().end_headers()

    def _headers(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self.headers.items()}

    def _json(self, status: int, body: dict[str, Any], extra: Mapping[str, str] | None = None) -> None:
        payload = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(payload)))
        for name, value in (extra or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(payload)
        self.wfile.flush()

    def _event(self, body: dict[str, Any]) -> None:
        self._send_chunk(b"data: " + json.dumps(body).encode() + b"\n\n")

    def _send_chunk(self, payload: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(payload), payload))
        self.wfile.flush()

    def _end_stream(self) -> None:
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def _hang_up(self, recorded: RecordedRequest) -> None:
        recorded.end("dropped")
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _linger(self, part: scripts.Part) -> None:
        if isinstance(part, scripts.Pause):
            self._wait(part.seconds_s)
        elif isinstance(part, scripts.Hold):
            part.gate.arrive()
            deadline = time.monotonic() + scripts.GATE_TIMEOUT_S
            while not part.gate.is_open:
                if time.monotonic() > deadline:
                    part.gate.wait_open(0)
                self._wait(_POLL_S)

    def _wait(self, seconds_s: float) -> None:
        """Wait, but notice a client that goes away and a server that closes.

        Raises:
            ConnectionError: Either happened.
        """
        deadline = time.monotonic() + seconds_s
        while (left := deadline - time.monotonic()) > 0:
            if self.kit._closing.is_set():
                raise _ClientClosed("the server is closing")
            readable, _, _ = select.select([self.connection], [], [], min(left, _POLL_S))
            if readable:
                if not self.connection.recv(1, socket.MSG_PEEK):
                    raise _ClientClosed("the client closed the connection")
                # The client sent its next request early; there is nothing to notice any more.
                time.sleep(min(left, _POLL_S))
