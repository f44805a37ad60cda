"""A saver for those who need one and have none: states live as long as the process."""

from __future__ import annotations

from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver


def in_memory_saver() -> BaseCheckpointSaver[Any]:
    """A saver that keeps threads in memory."""
    return InMemorySaver()
