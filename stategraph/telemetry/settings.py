"""Settings of telemetry: plain data, so that they travel to workers with the configuration of a run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from stategraph.engine.tracing.graph_runs import GraphRunHandler
from stategraph.errors import MissingPackageError
from stategraph.run.ports import MeasuredExecution, Measurement

if TYPE_CHECKING:
    from stategraph.telemetry.recorder import Recorder

CAPTURE: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
"""The environment variable of the conventions that asks for content."""

_ON: Final = frozenset({"true", "1", "span_only", "span_and_event"})


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Measures runs and graphs with OpenTelemetry.

    Attributes:
        content: Whether spans hold what was said: messages, arguments and results of tools, texts of errors. None: if
            the environment variable `OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT` is `true`, `span_only` or
            `span_and_event` when something is first measured.
        nodes: Whether each attempt of a node has a span as well.
        metrics: Whether metrics are recorded next to spans.
        workflow: The name of what runs do, for the spans of runs; low in cardinality. None: they have no name.
        tracer_provider: Makes the tracer; None: OpenTelemetry's global one. It does not travel to workers, which have
            their own global one.
        meter_provider: Makes the meter; None: the global one.
    """

    content: bool | None = None
    nodes: bool = False
    metrics: bool = True
    workflow: str | None = None
    tracer_provider: Any = None
    meter_provider: Any = None

    def handler(self) -> GraphRunHandler:
        """Return a callback handler that measures any graph, model or tool, for `config["callbacks"]`.

        It may be used by several runs, also at the same time.

        Raises:
            MissingPackageError: OpenTelemetry is not installed.
        """
        recorder = self._recorder()
        from stategraph.telemetry.handler import TelemetryHandler

        return TelemetryHandler(recorder)

    @contextmanager
    def listening(self) -> Iterator[GraphRunHandler]:
        """Measure all graphs, models and tools that are called in the `with` block, and in tasks started in it.

        A run with telemetry of its own is measured by that alone.

        Yields:
            The handler.

        Raises:
            MissingPackageError: OpenTelemetry is not installed.
        """
        handler = self.handler()
        from stategraph.telemetry import ambient

        token = ambient.current.set(handler)
        try:
            yield handler
        finally:
            ambient.current.reset(token)

    def measure(self, execution: MeasuredExecution, /) -> Measurement:
        """Begin to measure an execution of a run; `Run` calls this.

        Raises:
            MissingPackageError: OpenTelemetry is not installed.
        """
        recorder = self._recorder()
        from stategraph.telemetry.execution import ExecutionMeasurement

        return ExecutionMeasurement(recorder, execution)

    @property
    def records_content(self) -> bool:
        """True if spans hold what was said."""
        return os.environ.get(CAPTURE, "").strip().lower() in _ON if self.content is None else self.content

    def _recorder(self) -> Recorder:
        try:
            from stategraph.telemetry.recorder import recorder_for  # 40 ms, and only if something is measured
        except ImportError as error:
            raise MissingPackageError("opentelemetry-api", "Telemetry") from error
        return recorder_for(
            content=self.records_content,
            nodes=self.nodes,
            metrics=self.metrics,
            workflow=self.workflow,
            tracer_provider=self.tracer_provider,
            meter_provider=self.meter_provider,
        )
