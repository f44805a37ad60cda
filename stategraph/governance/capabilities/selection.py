"""Patterns of capabilities."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Sequence
from functools import lru_cache

from stategraph.governance.capability import without_version


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
