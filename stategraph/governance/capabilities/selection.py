"""Patterns of capabilities."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

from stategraph.governance.capability import without_version


class Matches(Protocol):
    """Tells whether a capability matches one of some patterns."""

    def __call__(self, id: str, key: str | None = None, /) -> bool:
        """Return whether it does, given its id, and its id without the version if that is known."""


@lru_cache(maxsize=1024)
def compiled(patterns: tuple[str, ...]) -> Matches:
    """Return a function that tells whether an id matches one of some patterns.

    Args:
        patterns: As of `CapabilitySelector`: case counts, `*` crosses slashes, and without `@` any version matches.
    """
    exact = frozenset(each for each in patterns if not _is_pattern(each))
    bare = [fnmatch.translate(each) for each in patterns if _is_pattern(each) and "@" not in each]
    full = [fnmatch.translate(each) for each in patterns if _is_pattern(each) and "@" in each]
    if "*" in patterns:
        return _all
    if not patterns:
        return _none
    of_key = re.compile("|".join(bare)).match if bare else None
    of_id = re.compile("|".join(full)).match if full else None

    def matches(id: str, key: str | None = None, /) -> bool:
        key = without_version(id) if key is None else key
        if of_key is not None and of_key(key) is not None:
            return True
        return id in exact or key in exact or (of_id is not None and of_id(id) is not None)

    return matches


def _all(id: str, key: str | None = None, /) -> bool:
    return True


def _none(id: str, key: str | None = None, /) -> bool:
    return False


def _is_pattern(text: str) -> bool:
    return any(sign in text for sign in "*?[")


def unmatched(patterns: Sequence[str], ids: Sequence[str]) -> tuple[str, ...]:
    """Return the patterns that match none of some ids: misspelled, perhaps."""
    return tuple(each for each in patterns if not any(map(compiled((each,)), ids)))
