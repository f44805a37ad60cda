"""Partial output of a tool, shown while it runs.

The code that streams tool events sets the writer around the tool's call; the tool's runtime finds it here. Where they
are not streamed there is none, and partial output goes nowhere.
"""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

ToolCallWriter = Callable[[Any], None]
"""Takes one piece of a tool's output."""

tool_call_writer: ContextVar[ToolCallWriter | None] = ContextVar("stategraph_tool_call_writer", default=None)
"""The writer of the tool call that runs in this context."""
