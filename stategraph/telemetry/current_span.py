"""The current span of code that runs in an operation.

LangChain tells the end of a model or tool in another asyncio task than its beginning, where a context variable that was
set at the beginning cannot be reset. So what is set is a span that knows the end: from then on it stands for the span
around it, and code that goes on in that context gets the right parent.
"""

from __future__ import annotations

from typing import Any

from opentelemetry.trace import Span, SpanContext


class CurrentSpan(Span):
    """Stands for an operation's span while it goes on, then for the span around it.

    Args:
        span: The operation's.
        around: The current span where the operation began.
    """

    def __init__(self, span: Span, around: Span) -> None:
        self._span = span
        self._around = _open(around)
        self._is_over = False

    def close(self) -> None:
        """Stand for the span around from now on."""
        self._is_over = True

    @property
    def live(self) -> Span:
        """The span that this one stands for now."""
        found = _open(self)
        return found._span if isinstance(found, CurrentSpan) else found

    def end(self, end_time: int | None = None) -> None:
        """Do nothing: the operation ends its span."""

    def get_span_context(self) -> SpanContext:
        """Return the context of the span that this one stands for."""
        return self.live.get_span_context()

    def set_attributes(self, attributes: Any) -> None:
        """Set attributes of the span that this one stands for."""
        self.live.set_attributes(attributes)

    def set_attribute(self, key: str, value: Any) -> None:
        """Set an attribute of the span that this one stands for."""
        self.live.set_attribute(key, value)

    def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
        """Add an event to the span that this one stands for."""
        self.live.add_event(name, attributes, timestamp)

    def add_link(self, context: SpanContext, attributes: Any = None) -> None:
        """Add a link to the span that this one stands for."""
        self.live.add_link(context, attributes)

    def update_name(self, name: str) -> None:
        """Rename the span that this one stands for."""
        self.live.update_name(name)

    def is_recording(self) -> bool:
        """Tell whether the span that this one stands for records."""
        return self.live.is_recording()

    def set_status(self, status: Any, description: str | None = None) -> None:
        """Set the status of the span that this one stands for."""
        self.live.set_status(status, description)

    def record_exception(
        self,
        exception: BaseException,
        attributes: Any = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """Record an exception on the span that this one stands for."""
        self.live.record_exception(exception, attributes, timestamp, escaped)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.live, name)


def _open(span: Span) -> Span:
    """Return the innermost span that is not over."""
    while isinstance(span, CurrentSpan) and span._is_over:
        span = span._around
    return span
