"""Collects spans and metrics in memory, and draws the tree of spans."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from stategraph.telemetry import Telemetry


@dataclass
class Collected:
    """What was measured."""

    exporter: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)
    reader: InMemoryMetricReader = field(default_factory=InMemoryMetricReader)
    tracers: TracerProvider = field(default_factory=TracerProvider)

    def __post_init__(self) -> None:
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meters = MeterProvider([self.reader])

    def telemetry(self, **settings: Any) -> Telemetry:
        """Return a telemetry that this collects."""
        return Telemetry(tracer_provider=self.tracers, meter_provider=self.meters, **settings)

    @property
    def tracer(self) -> Any:
        """The tracer of the program's own spans."""
        return self.tracers.get_tracer("program")

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        """The spans that have ended, as they began."""
        return sorted(self.exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    def named(self, name: str) -> ReadableSpan:
        """Return the only span of a name."""
        (found,) = [span for span in self.spans if span.name == name]
        return found

    def tree(self) -> list[str]:
        """Return a line for each span, indented by its depth, in the order in which they began."""
        known = {span.context.span_id for span in self.spans}
        roots = [span for span in self.spans if span.parent is None or span.parent.span_id not in known]
        return [line for root in roots for line in self._lines(root, 0)]

    def _lines(self, span: ReadableSpan, depth: int) -> Iterator[str]:
        error = (span.attributes or {}).get("error.type")
        yield "  " * depth + span.name + (f" !{error}" if error else "")
        for each in self.spans:
            if each.parent is not None and each.parent.span_id == span.context.span_id:
                yield from self._lines(each, depth + 1)

    def points(self, metric: str) -> list[tuple[dict[str, Any], Any]]:
        """Return attributes and histogram of each series of a metric."""
        data = self.reader.get_metrics_data()
        if data is None:
            return []
        return [
            (dict(point.attributes or {}), point)
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for each in scope.metrics
            if each.name == metric
            for point in each.data.data_points
        ]
