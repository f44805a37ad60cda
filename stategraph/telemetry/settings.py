"""Settings of telemetry: plain data, so that they travel to workers with the configuration of a run."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from stategraph.engine.tracing.graph_runs import GraphRunHandler
from stategraph.errors import ConfigurationError, MissingPackageError
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

    Raises:
        ConfigurationError: A setting is unknown, or of another type: texts such as `"false"` are no booleans.
    """

    content: bool | None = None
    nodes: bool = False
    metrics: bool = True
    workflow: str | None = None
    tracer_provider: Any = None
    meter_provider: Any = None

    if not TYPE_CHECKING:  # type checkers know the fields

        def __new__(cls, *_: object, **given: object) -> Telemetry:
            """Refuse unknown fields in a sentence."""
            known = list(cls.__dataclass_fields__)
            for unknown in [name for name in given if name not in known]:
                near = difflib.get_close_matches(unknown, known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(known))}"
                raise ConfigurationError(f"{unknown!r} is not a field of Telemetry; {hint}")
            return object.__new__(cls)

    def __post_init__(self) -> None:
        self._check("content", self.content is None or isinstance(self.content, bool), "True, False or None")
        self._check("nodes", isinstance(self.nodes, bool), "True or False")
        self._check("metrics", isinstance(self.metrics, bool), "True or False")
        self._check("workflow", self.workflow is None or isinstance(self.workflow, str), "a text or None")
        for name, method in (("tracer_provider", "get_tracer"), ("meter_provider", "get_meter")):
            provider = getattr(self, name)
            is_one = provider is None or callable(getattr(provider, method, None))
            self._check(name, is_one, f"an object with a method {method}, such as OpenTelemetry's SDK has, or None")

    def _check(self, name: str, is_right: bool, expected: str) -> None:
        if not is_right:
            raise ConfigurationError(f"{name!r} of Telemetry is {getattr(self, name)!r:.60}; expected {expected}")

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
            raise MissingPackageError("stategraph[otel]", "Telemetry") from error
        return recorder_for(
            content=self.records_content,
            nodes=self.nodes,
            metrics=self.metrics,
            workflow=self.workflow,
            tracer_provider=self.tracer_provider,
            meter_provider=self.meter_provider,
        )
