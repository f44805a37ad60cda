"""Making a case small while it still shows what it showed: dropping parts of its description, simplest first."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from typing import Any

from tests.fuzz.program import Case

Path = tuple[str | int, ...]
# Keys whose absence the program reads as a default; the others carry the meaning of what they are in.
NEEDED = frozenset(
    {"kind", "name", "op", "do", "from", "to", "graphs", "nodes", "edges", "script", "channels", "input", "text"}
    | {"times", "error", "graph", "calls", "then", "on", "writes", "output", "values", "send", "flow", "steps"}
    | {"body", "sequential", "concurrency", "async", "durability"}
)


def shrink(case: Case, shows: Callable[[Case], bool], *, tries: int = 250, seconds: float = 300) -> Case:
    """Return a smaller case for which ``shows`` still says yes, after at most so many tries or seconds.

    A program that hangs takes its whole time at each try.
    """
    left = tries
    changed = True
    end = time.monotonic() + seconds
    while changed and left > 0:
        changed = False
        for smaller in candidates(case):
            left -= 1
            if shows(smaller):
                case, changed = smaller, True
                break
            left = left if time.monotonic() < end else 0
            if left <= 0:
                break
    return case


def candidates(case: Case) -> Iterator[Case]:
    """Yield cases that are one part smaller, those that lose most first."""
    places = sorted(_places(case, ()), key=lambda path: -_size(_at(case, path)))
    for path in places:
        yield _without(case, path)
    for path in places:
        if (value := _simpler(_at(case, path))) is not None:
            smaller = copy.deepcopy(case)
            _at(smaller, path[:-1])[path[-1]] = value
            yield smaller
    yield from _all_synchronous(case)


def _places(value: Any, path: Path) -> Iterator[Path]:
    """Yield the path of every part that may go."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key not in NEEDED:
                yield (*path, key)
            yield from _places(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield (*path, index)
            yield from _places(item, (*path, index))


def _at(value: Any, path: Path) -> Any:
    for key in path:
        value = value[key]
    return value


def _without(case: Case, path: Path) -> Case:
    smaller = copy.deepcopy(case)
    del _at(smaller, path[:-1])[path[-1]]
    return smaller


def _size(value: Any) -> int:
    return len(str(value))


def _simpler(value: Any) -> Any:
    """Return a plainer value in the place of this one, if there is any."""
    match value:
        case {"tags": who} | {"grown": who}:
            return [who]
        case {"tag": who}:
            return who
        case bool():
            return None
        case int() if value > 1:
            return value - 1
        case "stream":
            return "invoke"
        case _:
            return None


def _all_synchronous(case: Case) -> Iterator[Case]:
    if not case.get("async"):
        return
    smaller = copy.deepcopy(case)

    def visit(value: Any) -> None:
        if isinstance(value, dict):
            value.pop("async", None)
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            visit(item)

    visit(smaller)
    smaller["concurrency"] = 1
    yield smaller
