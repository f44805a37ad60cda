"""Context that travels with a job: chosen context variables, and the trace of OpenTelemetry.

- A context variable is carried by its import path, and its value as data; only those that a program names are.
- The current span is carried as a `traceparent`, if OpenTelemetry is loaded; spans of the worker are its children.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from stategraph.errors import TransferError
from stategraph.workers.references import Targets, find
from stategraph.workers.wire import Codec, encode


def carried(targets: Sequence[str]) -> bytes:
    """Return the values of context variables as a job's `context`.

    Args:
        targets: Their import paths, as `package.module:variable`. Those that have no value are left out.

    Raises:
        TransferError: A path leads to something else, or a value has no stored form.
    """
    values: dict[str, object] = {}
    for target in targets:
        variable = _variable(target, find(target))
        value = variable.get(_NONE)
        if value is not _NONE:
            values[target] = value
    return encode(values, "The context variables") if values else b""


_NONE: object = object()


def traceparent() -> str | None:
    """Return the current span as a header; None without one, or without OpenTelemetry."""
    if "opentelemetry.trace" not in sys.modules:
        return None
    from opentelemetry import propagate  # loaded by the program already

    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier.get("traceparent")


@contextmanager
def restored(context: bytes, parent: str | None, targets: Targets, codec: Codec) -> Iterator[None]:
    """Set what was carried, in the current context.

    Args:
        context: What `carried` returned.
        parent: What `traceparent` returned.
        targets: What may be imported.
        codec: Reads values.
    """
    for target, value in (codec.decode(context, "The context variables") or {}).items():
        _variable(target, targets.load(target)).set(value)
    with _span(parent):
        yield


@contextmanager
def _span(parent: str | None) -> Iterator[None]:
    if parent is None:
        yield
        return
    try:
        from opentelemetry import context, propagate  # 60 ms, and only if the host traces
    except ImportError:
        yield
        return
    token = context.attach(propagate.extract({"traceparent": parent}))
    try:
        yield
    finally:
        context.detach(token)


def _variable(target: str, found: object) -> ContextVar[Any]:
    if not isinstance(found, ContextVar):
        raise TransferError(f"{target!r} is a value of type {type(found).__name__}; expected a ContextVar")
    return found
