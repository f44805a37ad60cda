"""Probes and figures of the processes that `serve` and `worker` start.

With `OTEL_METRICS_EXPORTER=prometheus`, as OpenTelemetry names it, what graphs and models are measured with
(docs/opentelemetry.md) is shown beside the figures of the process, at the address of `--probes`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Final

from stategraph.cli.progress import Progress

if TYPE_CHECKING:
    from stategraph.workers.watching.watch import Watch
    from stategraph.workers.worker import RunNotice, Worker

#: OpenTelemetry's variable that says where metrics go.
EXPORTER_VARIABLE: Final = "OTEL_METRICS_EXPORTER"


@contextmanager
def measured(address: str | None) -> Iterator[None]:
    """Measure graphs and models for a block, if the environment asks for metrics at the address of the probes.

    A program that has set a provider of meters already keeps it.

    Raises:
        MissingPackageError: OpenTelemetry's exporter is not installed.
    """
    if not address or os.environ.get(EXPORTER_VARIABLE) != "prometheus":
        yield
        return
    from stategraph.errors import MissingPackageError

    try:
        from opentelemetry import metrics
        from opentelemetry.exporter.prometheus import PrometheusMetricReader
        from opentelemetry.sdk.metrics import MeterProvider
    except ImportError as error:
        raise MissingPackageError("stategraph[prometheus]", f"{EXPORTER_VARIABLE}=prometheus") from error
    from stategraph.telemetry.settings import Telemetry

    if not isinstance(metrics.get_meter_provider(), MeterProvider):
        metrics.set_meter_provider(MeterProvider([PrometheusMetricReader()]))
    with Telemetry().listening():
        yield


def observing(progress: Progress, watch: Watch | None) -> Callable[[RunNotice], None]:
    """Return the observer of a worker: it tells what happens, and counts it."""
    if watch is None:
        return progress.of_run

    def observe(notice: RunNotice) -> None:
        watch.runs(notice)
        progress.of_run(notice)

    return observe


async def watched(worker: Worker, watch: Watch | None) -> None:
    """Run a worker; its probes say that it is ready while it claims runs."""
    if watch is None:
        await worker.run()
        return
    watch.runs.watch(worker)
    watch.ready = lambda: "it is stopping" if worker.health().draining else ""
    await worker.run()


def probed(address: str | None, watch: Watch | None, progress: Progress) -> AbstractContextManager[None]:
    """Return a block in which probes are answered, if there is an address for them.

    Raises:
        ConfigurationError: The address is none, or is not free.
    """
    return nullcontext() if watch is None or not address else _probed(address, watch, progress)


@contextmanager
def _probed(address: str, watch: Watch, progress: Progress) -> Iterator[None]:
    from stategraph.workers.watching.listener import listening, parsed

    with listening(address, watch.answers()) as port:
        host = parsed(address)[0]
        at = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        progress.tell("probes", f"probes and metrics: {at}", address=at)
        yield
