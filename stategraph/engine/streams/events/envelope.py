"""The envelope around a part of the stream: the same for every mode."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

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


def enveloped(method: str, data: Any, namespace: list[str]) -> ProtocolEvent:
    """Wrap a payload in an event of now.

    Args:
        method: The stream mode or channel it belongs to.
        data: What it carries.
        namespace: Of the run it tells about.
    """
    params: ProtocolEventParams = {"namespace": namespace, "timestamp": time.time_ns() // 1_000_000, "data": data}
    return {"type": "event", "method": method, "params": params}
