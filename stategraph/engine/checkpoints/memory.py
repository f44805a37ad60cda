"""Savers and stores for rooms that use them without knowing the package that they come from."""

from __future__ import annotations

from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.base import BaseStore

from stategraph.engine.checkpoints.serializer import StrictSerializer

__all__ = ("BaseCheckpointSaver", "BaseStore", "in_memory_saver")


def in_memory_saver() -> BaseCheckpointSaver[Any]:
    """Make a saver that keeps threads as long as the process lives."""
    return InMemorySaver(serde=StrictSerializer())
