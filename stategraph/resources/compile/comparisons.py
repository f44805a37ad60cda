"""Simple conditions without CEL: one comparison of a path, or of its size, with a number or a text.

An evaluation by CEL converts what it reads and costs as much as a small step; most conditions of workflows are of this
form. What is computed here is what CEL would say; whatever is unusual (a field that is missing, values of two types,
numbers of more than 64 bits) is left to CEL, and so are its errors.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from stategraph.resources.compile.data import Data, Fields

Quick: TypeAlias = Callable[[Fields], "bool | None"]
"""Returns the truth of a condition; None: CEL has to be asked."""

_PATH: Final = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+"
_COMPARISON: Final = re.compile(
    rf"(?:size\(\s*(?P<sized>{_PATH})\s*\)|(?P<path>{_PATH}))\s*(?P<operator>==|!=|<=|>=|<|>)\s*"
    r"""(?:(?P<integer>-?(?:0|[1-9]\d{0,17}))|(?P<text>'[^'"\\\n]*'|"[^'"\\\n]*")|(?P<truth>true|false))"""
)
_OPERATORS: Final[Mapping[str, Callable[[Data, Data], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_LARGEST: Final = 2**63


def quick(source: str) -> Quick | None:
    """Return a condition that is a simple comparison, ready to be evaluated; None: it is no such.

    Args:
        source: The expression.
    """
    found = _COMPARISON.fullmatch(source)
    if found is None:
        return None
    compare = _OPERATORS[found["operator"]]
    literal: Data = _literal(found)
    if isinstance(literal, bool) and found["operator"] not in ("==", "!="):
        return None
    path, is_size = (found["sized"] or found["path"]).split("."), found["sized"] is not None
    if is_size and type(literal) is not int:
        return None
    kind = type(literal)

    def holds(scope: Fields) -> bool | None:
        value: Data = scope
        for name in path:
            if not isinstance(value, dict) or name not in value:
                return None
            value = value[name]
        if is_size:
            return compare(len(value), literal) if type(value) is list or type(value) is str else None
        if type(value) is not kind or (kind is int and not -_LARGEST <= value < _LARGEST):
            return None
        return compare(value, literal)

    return holds


def _literal(found: re.Match[str]) -> bool | int | str:
    if found["integer"] is not None:
        return int(found["integer"])
    return found["text"][1:-1] if found["text"] is not None else found["truth"] == "true"
