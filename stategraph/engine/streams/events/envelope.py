"""The envelope around a part of the stream: the same for every mode."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stategraph.engine.config import environment
from stategraph.engine.streams.events.transformer import ProtocolEvent, ProtocolEventParams


def event_of(part: Mapping[str, Any]) -> ProtocolEvent:
    """Put a part of a version 2 stream into an envelope.

    Args:
        part: Has `type`, `ns` and `data`; `interrupts` too if it is a state.
    """
    event = enveloped(part["type"], part["data"], list(part["ns"]))
    if "interrupts" in part:
        event["params"]["interrupts"] = part["interrupts"]
    return event


def enveloped(method: str, data: object, namespace: list[str]) -> ProtocolEvent:
    """Wrap a payload in an event of now.

    Args:
        method: The stream mode or channel it belongs to.
        data: What it carries.
        namespace: Of the run it tells about.
    """
    now_ms = int(environment.current().clock.time() * 1_000)
    params: ProtocolEventParams = {"namespace": namespace, "timestamp": now_ms, "data": data}
    return {"type": "event", "method": method, "params": params}
