"""Findings: what was looked at, what was found there, what was expected, and a way out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Level: TypeAlias = Literal["ok", "warn", "fail"]

#: Exit codes by the worst level.
EXIT_CODES: Final[dict[Level, int]] = {"ok": 0, "warn": 1, "fail": 2}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        level: How bad it is.
        area: The part it belongs to, such as `database`.
        name: A stable name for scripts.
        found: What was found.
        expected: What was expected; empty if that is what was found.
        way_out: What to do; empty if nothing needs doing.
    """

    level: Level
    area: str
    name: str
    found: str
    expected: str = ""
    way_out: str = ""


Check: TypeAlias = Callable[[], Iterable[Finding]]


def guarded(area: str, check: Check) -> Iterator[Finding]:
    """Yield what a check finds; one that fails itself is a finding, and ends no other."""
    try:
        yield from check()
    except Exception as error:
        yield Finding(
            "fail", area, "check", f"the check itself failed: {type(error).__name__}: {error}", "an answer",
            "report it with this file: it is a fault of stategraph, or of the client that it uses",
        )  # fmt: skip


def exit_code(findings: Iterable[Finding]) -> int:
    """Return 0 if all is well, 1 for warnings, 2 if something does not work."""
    return max((EXIT_CODES[each.level] for each in findings), default=0)
