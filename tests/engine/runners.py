"""A runner of tasks for tests: what runs at once never races with what runs beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class InPlace:
    """Runs each attempt at once, in the thread that asks for it."""

    def __init__(self) -> None:
        self.started = 0

    def start(self, receiver: Any, attempt: Callable[..., Any], /, *args: Any) -> None:
        self.started += 1
        if receiver.set_running_or_notify_cancel():
            attempt(*args)
