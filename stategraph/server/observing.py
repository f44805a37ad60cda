"""The access log and the metrics of a server.

Rules
-----
* A line has the method, the path, the status, the time and who asked; never a query, a header or a body, which may
  have secrets.
* Labels of metrics are of known values: the route and not the path, the class of the status.
* The time of a request is until its answer begins; a stream is open from then on, and counted while it is.

Metrics are in `/metrics` as Prometheus reads them (https://prometheus.io/docs/instrumenting/exposition_formats/), under
the names of OpenTelemetry's conventions for HTTP servers.
"""

from __future__ import annotations

import logging
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stategraph.server.access.door import KEY
from stategraph.server.service.values import ANYONE

METRICS: Final = "/metrics"

_log = logging.getLogger("stategraph.server.access_log")

#: Seconds, as OpenTelemetry's conventions advise for `http.server.request.duration`.
BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)

_Labels = tuple[str, str, str]


@dataclass(slots=True)
class Histogram:
    """Times of the requests of a route.

    Attributes:
        counts: Requests by bucket; the last are those above all bounds.
        total_s: The sum of the times.
    """

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    total_s: float = 0.0


class Metrics:
    """Figures of a server since its start.

    Attributes:
        active: Requests whose answers have not ended.
        streams: Event streams that are open.
        figures: Further figures, by their names, asked for when they are read.
        more: Returns what else is shown in the route, as Prometheus reads it.
    """

    def __init__(self) -> None:
        self.active = 0
        self.streams = 0
        self.figures: dict[str, tuple[str, Callable[[], float]]] = {}
        self.more: Callable[[], str] = str
        self._requests: dict[_Labels, Histogram] = {}

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count an answer that has begun."""
        made = self._requests.setdefault((route, method, str(status)), Histogram())
        made.counts[bisect_left(BUCKETS, seconds)] += 1
        made.total_s += seconds

    def text(self) -> str:
        """Return the figures as Prometheus reads them."""
        return "".join(f"{line}\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        name = "http_server_request_duration_seconds"
        yield f"# HELP {name} Time until the answer of a request begins."
        yield f"# TYPE {name} histogram"
        for (route, method, status), made in sorted(self._requests.items()):
            labels = (
                f'http_route="{_escaped(route)}",http_request_method="{method}",http_response_status_code="{status}"'
            )
            seen = 0
            for bound, count in zip((*BUCKETS, "+Inf"), made.counts, strict=True):
                seen += count
                yield f'{name}_bucket{{{labels},le="{bound}"}} {seen}'
            yield f"{name}_sum{{{labels}}} {made.total_s:.6f}"
            yield f"{name}_count{{{labels}}} {seen}"
        gauges: Mapping[str, tuple[str, Callable[[], float]]] = {
            "http_server_active_requests": ("Requests whose answers have not ended.", lambda: self.active),
            "stategraph_server_streams": ("Event streams that are open.", lambda: self.streams),
            **self.figures,
        }
        for gauge, (meaning, read) in gauges.items():
            yield f"# HELP {gauge} {meaning}"
            yield f"# TYPE {gauge} gauge"
            yield f"{gauge} {read():g}"

    def route(self) -> Route:
        """Return the route of the figures."""

        async def metrics(request: Request) -> Response:
            del request
            return PlainTextResponse(self.text() + self.more(), headers={"Cache-Control": "no-store"})

        return Route(METRICS, metrics)


class Observing:
    """Middleware that counts requests, and tells each to a log.

    Args:
        app: The application.
        metrics: Are told of each request.
        logs: Whether each request is a line of the log.
        clock: Returns a time in seconds that goes on evenly.
    """

    def __init__(
        self, app: ASGIApp, metrics: Metrics, *, logs: bool = False, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._logs = logs
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, metrics = self._clock(), self._metrics
        status, is_stream = 0, False

        async def noting(message: Message) -> None:
            nonlocal status, is_stream
            if message["type"] == "http.response.start" and not status:
                status = message["status"]
                is_stream = Headers(raw=message["headers"]).get("content-type", "").startswith("text/event-stream")
                metrics.streams += is_stream
                metrics.answered(_route(scope), scope["method"], status, self._clock() - began)
            await send(message)

        metrics.active += 1
        try:
            await self._app(scope, receive, noting)
        finally:
            metrics.active -= 1
            metrics.streams -= is_stream
            if self._logs:
                self._tell(scope, status, self._clock() - began)

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        identity = scope.get(KEY, ANYONE).identity or "-"
        peer = scope.get("client") or ("-", 0)
        _log.info(
            "%s %s %s %s %d %.1f ms", peer[0], _plain(identity), scope["method"], _plain(scope["path"]), status,
            seconds * 1000,
        )  # fmt: skip


def _route(scope: Scope) -> str:
    """Return the route of a request, such as `/threads/{thread_id}`; one that has none is not told by its path."""
    if "endpoint" not in scope:
        return ""
    path: str = scope["path"]
    given: Mapping[str, Any] = scope.get("path_params") or {}
    for name, value in sorted(given.items(), key=lambda each: -len(str(each[1]))):
        if str(value):
            path = path.replace(f"/{value}", f"/{{{name}}}", 1)
    return path


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _plain(text: str) -> str:
    """Return a text that is one word of a line: a path may have anything in it."""
    return "".join(each if each.isprintable() and not each.isspace() else "?" for each in text)[:400]
