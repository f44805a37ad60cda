"""Metrics of a router, by OpenTelemetry: `Router(..., listener=RouterMetrics())`.

`stategraph.fleet.first_byte` (histogram, s), `stategraph.fleet.failures`, `stategraph.fleet.retries` and
`stategraph.fleet.breaker.opened` (counters), each with the agent and the address of the server. `observe` adds
how many endpoints of each agent take requests, whether each is healthy and its breaker open, and how many requests are
under way.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from stategraph.errors import MissingPackageError
from stategraph.fleet.endpoint import AgentEndpoint

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

    from stategraph.fleet.directory import Directory


class RouterMetrics:
    """Is told of answers and failures, and counts them.

    Args:
        provider: Has the meter; None: OpenTelemetry's global one.

    Raises:
        MissingPackageError: `opentelemetry-api` is not installed.
    """

    def __init__(self, provider: MeterProvider | None = None) -> None:
        try:
            from opentelemetry import metrics
        except ImportError as error:
            raise MissingPackageError("stategraph[otel]", "Metrics of a router") from error
        self._meter = (provider or metrics.get_meter_provider()).get_meter("stategraph.fleet")
        self._first_byte = self._meter.create_histogram(
            "stategraph.fleet.first_byte", "s", "Time to the first byte of an answer"
        )
        self._failures = self._meter.create_counter("stategraph.fleet.failures", "{failure}", "Requests that failed")
        self._retries = self._meter.create_counter("stategraph.fleet.retries", "{request}", "Requests sent again")
        self._opened = self._meter.create_counter(
            "stategraph.fleet.breaker.opened", "{time}", "Endpoints that are left alone after failures"
        )

    def answered(self, endpoint: AgentEndpoint, took_s: float) -> None:
        """Record the time to the first byte."""
        self._first_byte.record(took_s, _named(endpoint))

    def failed(self, endpoint: AgentEndpoint, reason: str, *, opened: bool) -> None:
        """Count a failure."""
        self._failures.add(1, _named(endpoint))
        if opened:
            self._opened.add(1, _named(endpoint))

    def sent_again(self, endpoint: AgentEndpoint) -> None:
        """Count a request that was sent again."""
        self._retries.add(1, _named(endpoint))

    def observe(self, directory: Directory) -> None:
        """Report the endpoints of a directory whenever metrics are collected."""
        from opentelemetry.metrics import Observation

        def able(_: CallbackOptions) -> Iterable[Observation]:
            now = directory.clock()
            for agent, standings in directory.agents().items():
                yield Observation(sum(each.takes_requests(now) for each in standings), {"stategraph.agent": agent})

        def outstanding(_: CallbackOptions) -> Iterable[Observation]:
            for each in directory.endpoints():
                yield Observation(each.outstanding, _named(each.endpoint))

        def open_breakers(_: CallbackOptions) -> Iterable[Observation]:
            now = directory.clock()
            for each in directory.endpoints():
                yield Observation(int(each.breaker(now) != "closed"), _named(each.endpoint))

        def healthy(_: CallbackOptions) -> Iterable[Observation]:
            for each in directory.endpoints():
                yield Observation(int(each.healthy), _named(each.endpoint))

        self._meter.create_observable_gauge(
            "stategraph.fleet.breaker.open", [open_breakers], "", "1: the endpoint is left alone, or tried once"
        )
        self._meter.create_observable_gauge(
            "stategraph.fleet.healthy", [healthy], "", "1: the endpoint answers its health checks"
        )
        self._meter.create_observable_gauge(
            "stategraph.fleet.endpoints", [able], "{endpoint}", "Endpoints that take requests"
        )
        self._meter.create_observable_gauge(
            "stategraph.fleet.outstanding", [outstanding], "{request}", "Requests under way"
        )


def _named(endpoint: AgentEndpoint) -> dict[str, Any]:
    parts = urlsplit(endpoint.url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return {"stategraph.agent": endpoint.agent, "server.address": parts.hostname or "", "server.port": port}
