"""What a judge is: a suite that nobody of this project wrote, held against the server.

A judge is told where a server is, and returns verdicts: lines to print, and whether they are what is wanted. It counts
what was found right. Against a server that is not there nothing is right, so its lines say 0: some suites pass checks
of a server that never answered.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


class JudgeError(Exception):
    """A judge could not be asked; the message says what to do about it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a suite found.

    Attributes:
        name: Of the suite or a part of it, such as `mcp 2025-11-25`.
        passed: What was right.
        total: Of how many.
        wanted: How many have to be right; None: all.
        notes: What was wrong, line by line.
        says: In place of `passed/total`.
    """

    name: str
    passed: int
    total: int
    wanted: int | None = None
    notes: Sequence[str] = ()
    says: str = ""

    @property
    def is_good(self) -> bool:
        """Whether it is what is wanted."""
        return self.total > 0 and self.passed >= (self.total if self.wanted is None else self.wanted)

    def figures(self) -> str:
        """Return the figures for people."""
        return self.says or f"{self.passed}/{self.total}"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a judge is asked about.

    Attributes:
        url: The address of a server.
        python: The Python of the judge's environment.
        scratch: A folder of its own.
        is_reference: Whether it is the reference that is judged.
    """

    url: str
    python: Path
    scratch: Path
    is_reference: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """A suite.

    Attributes:
        name: For the command line.
        judge: Asks the suite.
        graphs: By id, the graphs that the server has to have: `file.py:name`; a function is called when it is needed.
        requirements: The file of its environment below `requirements`, without an ending; empty: that of development.
        server_requirements: The environment in which our server runs; empty: that of development.
        settings: Options of `stategraph serve` that it needs.
        server: Starts our server in place of `stategraph serve`, as `reference` does; None: that command does.
        reference: Starts the reference, a context manager that yields an address; None: there is none here.
    """

    name: str
    judge: Callable[[Asked], Sequence[Verdict]]
    graphs: Mapping[str, str] | Callable[[], Mapping[str, str]] = field(default_factory=dict)
    requirements: str = ""
    server_requirements: str = ""
    settings: Sequence[str] = ()
    server: Callable[..., object] | None = None
    reference: Callable[..., object] | None = None


def base_python() -> str:
    """Return the Python that made this environment: it has pip."""
    return str(getattr(sys, "_base_executable", None) or sys.executable)
