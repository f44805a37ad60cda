"""Parts of LangGraph's engine that instrumentations look for when they start, and wrap; this engine has no such parts.

Rules
-----
* They can be imported and wrapped, so that what else the instrumentation does works. Nothing here calls them: what
  they would have told is not told (docs/drop-in.md).
* Calling one raises an error that says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn


def _refuse(name: str) -> NoReturn:
    raise NotImplementedError(f"{name} can be wrapped but not called: the engine has no such part, see docs/drop-in.md")


class PregelRunner:
    """Stands for what runs the tasks of a step."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Refuse to be made."""
        _refuse("PregelRunner")


class AsyncBackgroundExecutor:
    """Stands for what starts async tasks; the tasks of an event loop take their context along by themselves."""

    def submit(self, fn: Callable[..., object], /, *args: object, **kwargs: object) -> Any:
        """Refuse to start a task."""
        _refuse("AsyncBackgroundExecutor.submit")
