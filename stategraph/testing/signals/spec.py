"""The description of a life, which crosses to its process."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """A life, as JSON.

    Attributes:
        target: The import path of the graph.
        store: The address of the database.
        thread: The thread.
        inputs: The graph's input.
        answers: Answers to its interrupts.
        answered: Those that were given, see `Course`.
        config: Laid under the config of each call.
        durability: When steps are stored.
        is_async: Whether the graph is awaited.
        report: The file to which it adds lines of JSON.
        effects: The file to which effects are added.
        at: The point at which it is killed; 0: it is not.
        signal: By which signal.
        save: The number of the save at which it is killed by SIGKILL; 0: it is not.
        after: Whether that is when the save is done, and not before it.
        deletes: Whether it deletes the thread, and does nothing else.
    """

    target: str
    store: str
    thread: str
    inputs: Any = None
    answers: tuple[Any, ...] = ()
    answered: dict[str, int] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    durability: str = "sync"
    is_async: bool = False
    report: str = os.devnull
    effects: str = os.devnull
    at: int = 0
    signal: int = 0
    save: int = 0
    after: bool = False
    deletes: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)
