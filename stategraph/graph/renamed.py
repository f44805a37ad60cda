"""Arguments that have got other names since."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Final, TypeVar, cast

from stategraph.constants import MISSING
from stategraph.warnings import LangGraphDeprecatedSinceV05, LangGraphDeprecatedSinceV10

T = TypeVar("T")

_SINCE: Final = {
    "config_schema": LangGraphDeprecatedSinceV10,
    "input": LangGraphDeprecatedSinceV05,
    "output": LangGraphDeprecatedSinceV05,
    "retry": LangGraphDeprecatedSinceV05,
}


def renamed_argument(given: Mapping[str, object], old: str, new: str, value: T) -> T:
    """Accept an argument under its old name, with a warning to the caller's caller.

    Args:
        given: The keyword arguments that the signature does not name.
        old: The old name.
        new: The new name.
        value: The value under the new name; None if none was passed.

    Returns:
        `value`, or if that is None what was passed under the old name.
    """
    found = given.get(old, MISSING)
    if found is MISSING:
        return value
    warnings.warn(
        f"`{old}` is deprecated and will be removed. Please use `{new}` instead.", category=_SINCE[old], stacklevel=3
    )
    return cast("T", found) if value is None else value
