"""Bounds of the work of one decision, and of what may be loaded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import ormsgpack

from stategraph.governance.policy.reasons import DecisionFailed, RuntimeReason

# JSON and nothing else: what CEL could not read, or would read otherwise, is refused before it.
_JSON_ONLY: Final = (
    ormsgpack.OPT_PASSTHROUGH_DATACLASS
    | ormsgpack.OPT_PASSTHROUGH_DATETIME
    | ormsgpack.OPT_PASSTHROUGH_ENUM
    | ormsgpack.OPT_PASSTHROUGH_SUBCLASS
    | ormsgpack.OPT_PASSTHROUGH_TUPLE
    | ormsgpack.OPT_PASSTHROUGH_UUID
)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds; a decision beyond one of them denies with `runtime_error:resource_limit_exceeded`.

    Attributes:
        snapshot_bytes: Size of a snapshot, as MessagePack (which is a little shorter than JSON).
        depth: How deep objects and lists of a snapshot may stand in each other.
        output_bytes: Size of a verdict that a policy of another engine returns.
        cpu_s: Seconds of processor time for one decision over all rules, measured in the deciding thread between rules.
        annotators: How many annotators one point may have.
        annotation_bytes: Size of what one annotator returns.
    """

    snapshot_bytes: int = 256 * 1024
    depth: int = 64
    output_bytes: int = 64 * 1024
    cpu_s: float = 0.25
    annotators: int = 16
    annotation_bytes: int = 64 * 1024


DEFAULT: Final = Limits()

_MOST_EXACT: Final = 2**53 - 1
"""The largest integer of canonical JSON (RFC 8785)."""

MAX_FILE_BYTES: Final = 1024 * 1024
MAX_RULES: Final = 1000
MAX_EXPRESSION_BYTES: Final = 4096


def measure(
    value: Any, most_bytes: int, what: str, *, not_json: RuntimeReason = RuntimeReason.PATH_TYPE_MISMATCH
) -> None:
    """Check that a value is JSON, and not too large.

    Args:
        value: What to check.
        most_bytes: The limit.
        what: What it is called in messages.
        not_json: The reason where it is not JSON.

    Raises:
        DecisionFailed: It is not; the reason says which.
    """
    try:
        size = len(ormsgpack.packb(value, option=_JSON_ONLY))
    except (TypeError, ValueError, RecursionError) as error:  # ormsgpack's own error is a TypeError
        if "recursion" in str(error).lower():
            raise DecisionFailed(RuntimeReason.RESOURCE_LIMIT_EXCEEDED, f"{what} is nested too deeply") from error
        raise DecisionFailed(not_json, f"{what} is not JSON: {error}") from error
    if size > most_bytes:
        raise DecisionFailed(
            RuntimeReason.RESOURCE_LIMIT_EXCEEDED, f"{what} has {size:,} bytes; at most {most_bytes:,} are decided on"
        )


def check_depth(value: Any, most: int, what: str) -> None:
    """Check how deep a value is nested.

    Raises:
        DecisionFailed: Deeper than `most`.
    """
    level: list[Any] = [value]
    for _ in range(most + 1):
        level = [
            inner
            for each in level
            for inner in (each.values() if isinstance(each, Mapping) else each)
            if isinstance(inner, Mapping | list | tuple)
        ]
        if not level:
            return
    raise DecisionFailed(
        RuntimeReason.RESOURCE_LIMIT_EXCEEDED,
        f"{what} is nested deeper than {most} levels, the most that is decided on",
    )


def check_numbers(value: Any, what: str) -> None:
    """Check that all numbers have a canonical form in JSON, of what `measure` has found to be JSON otherwise.

    Raises:
        DecisionFailed: One is NaN, infinite, or an integer beyond 2**53 - 1.
    """
    level: list[Any] = [[value]]
    while level:
        inner = [each for outer in level for each in (outer.values() if isinstance(outer, Mapping) else outer)]
        for each in inner:
            if isinstance(each, float):
                if not math.isfinite(each):
                    break
            elif isinstance(each, int) and not -_MOST_EXACT <= each <= _MOST_EXACT:
                break
        else:
            level = [each for each in inner if isinstance(each, Mapping | list | tuple)]
            continue
        raise DecisionFailed(RuntimeReason.PATH_TYPE_MISMATCH, f"{what} has a number without a canonical form in JSON")


def check_snapshot(snapshot: Any, limit: Limits) -> None:
    """Check that a snapshot is an object of JSON, and not too large.

    Raises:
        DecisionFailed: It is not.
    """
    measure(snapshot, limit.snapshot_bytes, "The snapshot")
    if not isinstance(snapshot, Mapping):
        found = type(snapshot).__name__
        raise DecisionFailed(RuntimeReason.PATH_TYPE_MISMATCH, f"The snapshot is {found}; expected an object")
