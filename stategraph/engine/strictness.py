"""Whether a graph refuses what would otherwise be ignored, and the refusals.

LangGraph ignores a number of inputs that cannot have the effect they ask for: a misspelt stream mode in a list, a key
that no channel has, a checkpoint id that is not there. So does this engine by default. A strict graph raises
`IgnoredInputError` instead, and `UnstorableValueError` for values that would change when stored.
"""

from __future__ import annotations

import os
from typing import Final

ENVIRONMENT: Final = "STATEGRAPH_STRICT"
"""Makes every graph strict that is not told otherwise when it is compiled."""

_YES: Final = frozenset(("1", "true", "yes", "on"))


def by_default() -> bool:
    """Whether the environment asks for strict graphs."""
    return os.environ.get(ENVIRONMENT, "").strip().lower() in _YES
