"""Spans and metrics: how an operation is begun and ended with OpenTelemetry.

- A span that fails has the class of the error as `error.type`; what an error says is content.
- Pauses, commands for a graph around and cancellations are no errors.
- Tokens that models report are also added up on the spans of agents and runs around them.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from functools import lru_cache
from time import perf_counter
from typing import Any, Final

from opentelemetry import context as contexts
from opentelemetry import metrics as meters
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.metrics import Histogram
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from stategraph._version import __version__
from stategraph.engine.config import foreign_types
from stategraph.errors import AbortError, GraphBubbleUp, GraphInterrupt
from stategraph.telemetry import names
from stategraph.telemetry.current_span import CurrentSpan
from stategraph.telemetry.names import Operation

_SCOPE: Final = "stategraph"
_ENCLOSING: Final = contexts.create_key("stategraph-operation")
_SUMMED: Final = (
    names.INPUT_TOKENS,
    names.OUTPUT_TOKENS,
    names.CACHE_READ_TOKENS,
    names.CACHE_CREATION_TOKENS,
    names.REASONING_TOKENS,
)
_STOPPED: Final = (AbortError, asyncio.CancelledError, GeneratorExit)
_OF_METRICS: Final = frozenset(
    {
        names.OPERATION,
        names.PROVIDER,
        names.REQUEST_MODEL,
        names.RESPONSE_MODEL,
        names.AGENT_NAME,
        names.TOOL_NAME,
        names.WORKFLOW,
        names.ERROR_TYPE,
    }
)
"""The attributes that metrics have too: of low cardinality."""


class Measured:
    """An operation, or a node, that is being measured.

    Attributes:
        span: Its span.
        context: The context of OpenTelemetry for what runs in it.
        operation: What it is; None for a node.
        around: What it is in, as far as that is measured.
        is_over: Whether it has ended.
        takes_in: Whether what LangChain attributes to the operation around belongs to this one where this one is the
            current one: of tools that LangChain knows nothing of.
    """

    __slots__ = (
        "_began",
        "_current",
        "_first_chunk_s",
        "_tokens",
        "_told",
        "around",
        "context",
        "is_over",
        "operation",
        "span",
        "takes_in",
    )

    def __init__(self, span: Span, around: Context, operation: Operation | None, told: dict[str, Any]) -> None:
        self.span = span
        self.operation = operation
        self.around = enclosing(around)
        self.is_over = self.takes_in = False
        self._current = CurrentSpan(span, trace.get_current_span(around))
        self.context = contexts.set_value(_ENCLOSING, self, trace.set_span_in_context(self._current, around))
        self._told = told
        self._began = perf_counter()
        self._first_chunk_s: float | None = None
        self._tokens: dict[str, int] = {}

    def note_chunk(self) -> None:
        """Note that a piece of an answer came; the first one counts."""
        if self._first_chunk_s is None:
            self._first_chunk_s = perf_counter() - self._began


def enclosing(context: Context) -> Measured | None:
    """Return the operation or node that goes on and in which a context is; None outside of all."""
    found = contexts.get_value(_ENCLOSING, context)
    while isinstance(found, Measured) and found.is_over:
        found = found.around
    return found if isinstance(found, Measured) else None


def is_within(context: Context, measured: Measured) -> bool:
    """Return whether a context is in an operation or node, and so is what is called there on its behalf."""
    here = enclosing(context)
    return here is measured or (here is not None and here.takes_in and here.around is measured)


class Recorder:
    """Makes spans, and records metrics.

    Attributes:
        content: Whether content is recorded.
        nodes: Whether nodes have spans.
        workflow: The name of what runs do; None: they have none.
    """

    def __init__(
        self,
        *,
        content: bool,
        nodes: bool,
        metrics: bool,
        workflow: str | None,
        tracer_provider: Any,
        meter_provider: Any,
    ) -> None:
        self.content = content
        self.nodes = nodes
        self.workflow = workflow
        self._adding = threading.Lock()
        self._tracer = trace.get_tracer(_SCOPE, __version__, tracer_provider)
        self._metrics = _Metrics(meter_provider) if metrics else None

    def begin(
        self,
        operation: Operation | None,
        subject: str | None,
        around: Context,
        attributes: Mapping[str, Any],
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> Measured:
        """Begin to measure.

        Args:
            operation: What is done; None: a node runs.
            subject: Who or what does it, for the name of the span; None: it has no name.
            around: The context around it.
            attributes: Of the span; those that are None are left out.
            kind: Of the span.
        """
        known = {name: value for name, value in attributes.items() if value is not None}
        if operation is not None:
            known = {names.OPERATION: operation, **known}
        words = "node" if operation is None else operation
        name = f"{words} {subject}" if subject else words
        span = self._tracer.start_span(name, around, kind, known)
        told = {name: value for name, value in known.items() if name in _OF_METRICS}
        return Measured(span, around, operation, told)

    def end(
        self,
        measured: Measured,
        error: BaseException | None = None,
        attributes: Mapping[str, Any] | None = None,
        error_type: str | None = None,
    ) -> None:
        """End what was begun.

        Args:
            measured: What.
            error: What it ended with; None: it worked, unless there is an `error_type`.
            attributes: More attributes of the span.
            error_type: The kind of a failure for which nothing was raised.
        """
        duration_s = perf_counter() - measured._began
        more = self._ending(measured, error, attributes or {}, error_type)
        self._add_up(measured, more)
        measured.span.set_attributes({**more, **measured._tokens})
        measured.is_over = True
        measured._current.close()
        measured.span.end()
        if self._metrics is not None and measured.operation is not None:
            told = measured._told | {name: value for name, value in more.items() if name in _OF_METRICS}
            self._metrics.ended(told, duration_s, measured._first_chunk_s, more, measured.context)

    def _ending(
        self, measured: Measured, error: BaseException | None, attributes: Mapping[str, Any], error_type: str | None
    ) -> dict[str, Any]:
        """Set the status of a span that ends, and return its last attributes."""
        more = {name: value for name, value in attributes.items() if value is not None}
        if error is not None and (reason := _ended_by(error)) is not None:
            more[names.ENDED_BY] = reason
        elif error is not None or error_type is not None:
            more[names.ERROR_TYPE] = error_type or type(error).__qualname__
            said = str(error) if self.content and error is not None else None
            measured.span.set_status(Status(StatusCode.ERROR, said))
        if measured._first_chunk_s is not None:
            more |= {names.REQUEST_STREAM: True, names.TIME_TO_FIRST_CHUNK: measured._first_chunk_s}
        return more

    def _add_up(self, measured: Measured, attributes: Mapping[str, Any]) -> None:
        """Add reported tokens to the operations around a call of a model."""
        if measured.operation not in ("chat", "text_completion"):
            return
        around = measured.around
        while around is not None:
            if around.operation in ("invoke_agent", "invoke_workflow"):
                with self._adding:
                    for name in _SUMMED:
                        if name in attributes:
                            around._tokens[name] = around._tokens.get(name, 0) + attributes[name]
            around = around.around

    def saved(self, operation: str, duration_s: float, error: BaseException | None) -> None:
        """Record how long a saver took."""
        if self._metrics is not None:
            told: dict[str, Any] = {names.SAVE_OPERATION: operation}
            if error is not None:
                told[names.ERROR_TYPE] = type(error).__qualname__
            self._metrics.saves.record(duration_s, told)

    def queued(self, duration_s: float) -> None:
        """Record how long a run waited for a worker."""
        if self._metrics is not None:
            self._metrics.queue.record(duration_s)


class _Metrics:
    def __init__(self, provider: Any) -> None:
        meter = meters.get_meter(_SCOPE, __version__, provider)

        def histogram(name: str, unit: str, description: str, buckets: tuple[float, ...]) -> Histogram:
            return meter.create_histogram(name, unit, description, explicit_bucket_boundaries_advisory=buckets)

        self._tokens = histogram(
            names.TOKEN_USAGE, "{token}", "Number of input and output tokens used.", names.TOKEN_BUCKETS
        )
        self._duration = histogram(names.OPERATION_DURATION, "s", "GenAI operation duration.", names.DURATION_BUCKETS)
        self._first_chunk = histogram(
            names.FIRST_CHUNK, "s", "Time to receive the first chunk of a streamed answer.", names.FIRST_CHUNK_BUCKETS
        )
        self.saves = histogram(names.SAVE_DURATION, "s", "Duration of a call of the checkpointer.", names.SAVE_BUCKETS)
        self.queue = histogram(
            names.QUEUE_DURATION, "s", "Time that a run waited for a worker.", names.FIRST_CHUNK_BUCKETS
        )

    def ended(
        self,
        told: Mapping[str, Any],
        duration_s: float,
        first_chunk_s: float | None,
        attributes: Mapping[str, Any],
        context: Context,
    ) -> None:
        self._duration.record(duration_s, told, context)
        if first_chunk_s is not None:
            self._first_chunk.record(first_chunk_s, told, context)
        for kind, name in (("input", names.INPUT_TOKENS), ("output", names.OUTPUT_TOKENS)):
            if name in attributes:
                self._tokens.record(attributes[name], {**told, names.TOKEN_TYPE: kind}, context)


def _ended_by(error: BaseException) -> str | None:
    """Return why something ended without having failed; None if it failed."""
    if isinstance(error, _STOPPED):
        return "cancellation"
    bubble = error if isinstance(error, GraphBubbleUp) else None
    if bubble is None and isinstance(error, Exception):
        bubble = foreign_types.bubble(error)
    if bubble is None:
        return None
    return "interrupt" if isinstance(bubble, GraphInterrupt) else "command"


@lru_cache(maxsize=32)
def recorder_for(
    *,
    content: bool,
    nodes: bool,
    metrics: bool,
    workflow: str | None,
    tracer_provider: Any,
    meter_provider: Any,
) -> Recorder:
    """Return the recorder for these settings, the same one each time: instruments are made once."""
    return Recorder(
        content=content,
        nodes=nodes,
        metrics=metrics,
        workflow=workflow,
        tracer_provider=tracer_provider,
        meter_provider=meter_provider,
    )
