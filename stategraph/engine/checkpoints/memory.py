"""Savers that keep threads as long as the process lives, for packages that know only the saver interface."""

from __future__ import annotations

from typing import Any

from langgraph.checkpoint.memory import InMemorySaver

from stategraph.engine.checkpoints.saver_interfaces import BaseCheckpointSaver
from stategraph.engine.checkpoints.serializer import StrictSerializer


def in_memory_saver() -> BaseCheckpointSaver[Any]:
    """Make a saver that keeps threads as long as the process lives."""
    return InMemorySaver(serde=StrictSerializer())
