"""Paths into JSON values: `$policy_target.text`, `$snap.tool_call.args`, `$policy_target.items[0]["a key"]`.

A path names a root and the fields, keys and places below it. There are no wildcards and no filters: a path names one
value, or none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from stategraph.governance.policy.reasons import DecisionFailed, RuntimeReason

TARGET: Final = "policy_target"
SNAPSHOT: Final = "snap"

_ROOT: Final = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)?")
_STEP: Final = re.compile(r'\.([A-Za-z_][A-Za-z0-9_-]*)|\[(0|[1-9][0-9]{0,8})\]|\[("(?:[^"\\]|\\.)*")\]')


@dataclass(frozen=True, slots=True)
class Path:
    """A parsed path.

    Attributes:
        root: The name after `$`; `$` alone is the snapshot.
        steps: Names of fields and places in lists.
        text: The path as it was written.
    """

    root: str
    steps: tuple[str | int, ...]
    text: str


def parse(text: str) -> Path:
    """Parse a path.

    Raises:
        ValueError: It has no such form; the message says where it breaks off.
    """
    begin = _ROOT.match(text)
    if begin is None:
        raise ValueError(
            f'{text!r} is no path: expected `$policy_target` or `$snap`, then `.field`, `[0]` or `["key"]`'
        )
    at, steps = begin.end(), list[str | int]()
    while at < len(text):
        step = _STEP.match(text, at)
        if step is None:
            raise ValueError(f'{text!r} is no path: expected `.field`, `[0]` or `["key"]` at {text[at:]!r}')
        field, place, key = step.groups()
        steps.append(field if field is not None else int(place) if place is not None else json.loads(key))
        at = step.end()
    return Path(begin.group(1) or SNAPSHOT, tuple(steps), text)


def resolve(path: Path, value: Any) -> Any:
    """Return the value at a path below its root.

    Raises:
        DecisionFailed: There is none (`path_missing`), or a step meets a value of another type (`path_type_mismatch`).
    """
    for step in path.steps:
        value = _child(path, value, step)
    return value


def replaced(path: Path, value: Any, new: Any) -> Any:
    """Return a root value with what stands at a path replaced; nothing is changed in place.

    Raises:
        DecisionFailed: As of `resolve`.
    """
    return _replaced(path, value, path.steps, new)


def _replaced(path: Path, value: Any, steps: Sequence[str | int], new: Any) -> Any:
    if not steps:
        return new
    inner = _replaced(path, _child(path, value, steps[0]), steps[1:], new)
    copy: Any = dict(value) if isinstance(value, Mapping) else list(value)
    copy[steps[0]] = inner
    return copy


def _child(path: Path, value: Any, step: str | int) -> Any:
    try:
        if isinstance(step, str) and isinstance(value, Mapping):
            return value[step]
        if isinstance(step, int) and isinstance(value, list | tuple):
            return value[step]
    except (KeyError, IndexError):
        raise DecisionFailed(RuntimeReason.PATH_MISSING, f"{path.text}: there is no {step!r}") from None
    expected = "an object" if isinstance(step, str) else "a list"
    found = type(value).__name__
    raise DecisionFailed(
        RuntimeReason.PATH_TYPE_MISMATCH, f"{path.text}: expected {expected} at {step!r}, found {found}"
    )
