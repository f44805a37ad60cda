"""An HTTP API for tests, and its OpenAPI document: it remembers its requests, and answers as it is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass
class Api:
    """An API that listens on this machine.

    Attributes:
        address: Its address.
        requests: What it was asked: method, path, query, headers and body.
        statuses: The statuses of its next answers; then 200.
        release: Lets the answers of `/slow` go.
    """

    address: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)


class Handler(BaseHTTPRequestHandler):
    api: Api

    def _answer(self) -> None:
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        asked = {
            "method": self.command,
            "path": url.path,
            "query": parse_qsl(url.query),
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "body": json.loads(body) if body else None,
        }
        self.api.requests.append(asked)
        if url.path == "/slow":
            self.api.release.wait(60)
        status = self.api.statuses.pop(0) if self.api.statuses else 200
        if url.path == "/text":
            answer, kind = b"plain words", "text/plain"
        elif url.path == "/large":
            answer, kind = b"x" * (1024 * 1024 + 1), "text/plain"
        else:
            shown = {key: asked[key] for key in ("method", "path", "query", "body")}
            answer, kind = (
                json.dumps(shown if status < 400 else {"error": f"planned {status}"}).encode(),
                "application/json",
            )
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_PUT = _answer  # noqa: N815 - the names that the server calls

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""


@contextmanager
def serving() -> Iterator[Api]:
    """Run an API."""
    api = Api()
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Serving", (Handler,), {"api": api})) as server:
        api.address = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield api
        finally:
            api.release.set()
            server.shutdown()
            thread.join()


DOCUMENT = """
openapi: 3.1.0
info: {title: Orders, version: "1"}
paths:
  /orders/{id}:
    parameters:
      - {name: id, in: path, required: true, schema: {type: string}}
    get:
      operationId: read
      summary: Read an order.
      parameters:
        - {name: fields, in: query, schema: {type: array, items: {type: string}}}
        - {name: X-Trace, in: header, schema: {type: string}}
    put:
      operationId: change
      description: Change an order.
      requestBody:
        required: true
        content: {application/json: {schema: {$ref: "#/components/schemas/Order"}}}
  /slow: {get: {operationId: slow}}
  /text: {get: {operationId: text}}
  /large: {get: {operationId: large}}
components:
  schemas:
    Order:
      type: object
      required: [item]
      properties: {item: {type: string}, next: {$ref: "#/components/schemas/Order"}}
"""
