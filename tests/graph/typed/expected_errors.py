"""Programs with errors that a type checker has to find: what it finds, held against what their comments say.

A line with an error ends in ``# E: [code]``, by mypy's code of it. Every other line has none. Of pyright, which has
other codes, the lines are compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

#: The examples that both find nothing in: those of graphs, and some of agents. A new one belongs here.
STRICT = frozenset(
    (
        *range(1, 17),
        18,
        *range(25, 28),
        *range(31, 35),
        37,
        *range(39, 43),
        44,
        46,
        49,
        51,
        *range(53, 56),
        60,
        *range(62, 75),
    )
)
EXAMPLES = [
    path for path in sorted((Path(__file__).parents[3] / "examples").glob("[0-9]*.py")) if int(path.name[:2]) in STRICT
]
PROGRAMS = sorted((Path(__file__).parent / "programs").glob("*.py"))

_EXPECTED = re.compile(r"# E: \[([\w-]+)\]")


def expected() -> set[tuple[str, int, str]]:
    """Return file, line and code of each error that is to be found."""
    return {
        (path.name, number, found[1])
        for path in PROGRAMS
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if (found := _EXPECTED.search(line))
    }


def differences(found: Iterable[tuple[str, int, str]], wanted: Iterable[tuple[str, int, str]]) -> list[str]:
    """Say what was found and not expected, or expected and not found."""
    found, wanted = set(found), set(wanted)
    return [
        *(f"{name}:{line}: found {code}, expected nothing" for name, line, code in sorted(found - wanted)),
        *(f"{name}:{line}: found nothing, expected {code}" for name, line, code in sorted(wanted - found)),
    ]
