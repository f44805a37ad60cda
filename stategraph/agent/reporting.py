"""Reports of a running tool: progress, and lines of a log.

A tool calls `report`; the code that runs the tool has set the receiver. Without one, reporting costs nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class ToolProgress:
    """The progress of a tool.

    Attributes:
        progress: How much is done, in units of the tool's own.
        total: How much there is to do; None if unknown.
        message: The current work, in words.
    """

    progress: float
    total: float | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class ToolLog:
    """A line of a tool's log.

    Attributes:
        level: As the tool or its server names it.
        data: The logged data, as JSON.
        logger: The logger's name, if it has one.
    """

    level: str
    data: Any
    logger: str | None = None


ToolReport: TypeAlias = ToolProgress | ToolLog
Reporter: TypeAlias = Callable[[ToolReport], Awaitable[None]]

reporter: ContextVar[Reporter | None] = ContextVar("stategraph_tool_reporter", default=None)


async def report(what: ToolReport) -> None:
    """Tell something about the tool that is running.

    Args:
        what: Progress or a line of its log.
    """
    hear = reporter.get()
    if hear is not None:
        await hear(what)
