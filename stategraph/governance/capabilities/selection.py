"""Patterns of capabilities, and the order of their versions."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeAlias

from stategraph.governance.capability import without_version

VersionKey: TypeAlias = tuple[tuple[tuple[int, int, str], ...], bool, tuple[tuple[int, int, str], ...]]

_ZERO = (1, 0, "")
_PIECES = re.compile(r"\d+|[^\W\d_]+")


@lru_cache(maxsize=1024)
def compiled(patterns: tuple[str, ...]) -> Callable[[str], bool]:
    """Return a function that tells whether an id matches one of some patterns.

    Args:
        patterns: As of `CapabilitySelector`: case counts, `*` crosses slashes, and without `@` any version matches.
    """
    exact = frozenset(each for each in patterns if not _is_pattern(each))
    bare = [fnmatch.translate(each) for each in patterns if _is_pattern(each) and "@" not in each]
    full = [fnmatch.translate(each) for each in patterns if _is_pattern(each) and "@" in each]
    if "*" in patterns:
        return lambda id: True
    of_key = re.compile("|".join(bare)).match if bare else None
    of_id = re.compile("|".join(full)).match if full else None

    def matches(id: str) -> bool:
        if id in exact or (key := without_version(id)) in exact:
            return True
        return (of_key is not None and of_key(key) is not None) or (of_id is not None and of_id(id) is not None)

    return matches


def _is_pattern(text: str) -> bool:
    return any(sign in text for sign in "*?[")


def unmatched(patterns: Sequence[str], ids: Sequence[str]) -> tuple[str, ...]:
    """Return the patterns that match none of some ids: misspelled, perhaps."""
    return tuple(each for each in patterns if not any(map(compiled((each,)), ids)))


@lru_cache(maxsize=4096)
def version_key(version: str) -> VersionKey:
    """Return a key by which versions are ordered: as numbers where they are numbers, and 2.0-rc1 before 2.0.

    Args:
        version: Such as `3`, `1.10.0` or `2.0.0-rc1`; what follows a `+` makes no difference.
    """
    core, _, before = version.partition("+")[0].partition("-")
    numbers = _pieces(core)
    while numbers and numbers[-1] == _ZERO:  # 2.0 is 2
        numbers = numbers[:-1]
    return numbers, not before, _pieces(before)


def _pieces(text: str) -> tuple[tuple[int, int, str], ...]:
    return tuple((1, int(each), "") if each.isdecimal() else (0, 0, each) for each in _PIECES.findall(text))
