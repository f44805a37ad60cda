"""Rules of pruning: which checkpoints of a thread stay.

Rules
-----
* A branch is a checkpoint without a child and those that it came from. Each branch keeps its last `keep_last`
  checkpoints, so pruning never closes a fork that somebody may go on from.
* A branch that is older than `max_age_s` as a whole is removed, but not the newest one of the thread.
* A checkpoint that waits for an answer, and has no child, stays, however old it is.
* A checkpoint of a delta channel stays readable: those before it stay too, back to the nearest that holds the channel.
* Checkpoints of a nested graph go with the checkpoint of the thread that it was called from. A nested graph that keeps
  its state between calls has branches of its own, as have checkpoints that do not say where they were called from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from uuid import UUID

from stategraph.core.deltas import COUNTERS_KEY
from stategraph.errors import ConfigurationError

Place: TypeAlias = tuple[str, str]
"""Namespace and id of a checkpoint."""

_EPOCH: Final = 0x01B21DD213814000
"""The year 1970 in the time of UUIDs, units of 100 ns since 1582 (RFC 9562)."""

_UNITS: Final = 10_000_000
_OF_CALL: Final = ":"


@dataclass(frozen=True, slots=True)
class Keep:
    """Limits for what pruning leaves of a thread.

    Attributes:
        last: Checkpoints that each branch keeps, at least 1; None: all.
        max_age_s: Seconds after which a branch that nobody went on from is removed; None: never.
        max_bytes: Bytes that a thread may have: the number that branches keep is halved until it fits; None: any.
        without_runs: Runs whose checkpoints are removed, as their metadata name them, whatever the numbers say.

    Raises:
        ConfigurationError: A number is too small or none, or there is nothing to go by.
    """

    last: int | None = None
    max_age_s: float | None = None
    max_bytes: int | None = None
    without_runs: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if (self.last, self.max_age_s, self.max_bytes) == (None, None, None) and not self.without_runs:
            raise ConfigurationError("Pruning needs to know what stays: give keep_last, max_age_s or max_bytes")
        for name, value, kinds in (
            ("keep_last", self.last, int),
            ("max_age_s", self.max_age_s, (int, float)),
            ("max_bytes", self.max_bytes, int),
        ):
            if value is not None and (isinstance(value, bool) or not isinstance(value, kinds) or value != value):
                what = "a number" if name == "max_age_s" else "a whole number"
                raise ConfigurationError(f"{name} is {what}, or None; found {value!r}")
        if self.last is not None and self.last < 1:
            raise ConfigurationError(
                f"keep_last is the number of checkpoints that stay, at least 1; found {self.last}. To delete a thread "
                "as a whole, call delete_thread"
            )
        for name, value in (("max_age_s", self.max_age_s), ("max_bytes", self.max_bytes)):
            if value is not None and value < 0:
                raise ConfigurationError(f"{name} is at least 0; found {value}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint as pruning sees it.

    Attributes:
        namespace: Its namespace.
        id: Its id.
        parent_id: The id of the one before; None if there is none.
        metadata: Its metadata.
        asks: Whether a question was asked after it.
    """

    namespace: str
    id: str
    parent_id: str | None
    metadata: Mapping[str, Any]
    asks: bool

    @property
    def at_s(self) -> float | None:
        """Time when it was made, in seconds since 1970; None if its id does not say."""
        try:
            found = UUID(self.id)
        except ValueError:
            return None
        if found.version != 6:
            return None
        ticks = (found.time_low << 28) | (found.time_mid << 12) | (found.time_hi_version & 0x0FFF)
        return (ticks - _EPOCH) / _UNITS

    def needs(self) -> set[str]:
        """Return the delta channels whose values only those before it hold."""
        counters: Mapping[str, Sequence[int]] = self.metadata.get(COUNTERS_KEY) or {}
        return {channel for channel, counts in counters.items() if any(counts)}


def kept(checkpoints: Iterable[Checkpoint], last: int | None, max_age_s: float | None, now: float) -> set[Place]:
    """Return the checkpoints of a thread that stay.

    Args:
        checkpoints: All of the thread.
        last: As for `Keep`.
        max_age_s: As for `Keep`.
        now: Seconds since 1970.
    """
    spaces: dict[str, dict[str, Checkpoint]] = {}
    for each in checkpoints:
        spaces.setdefault(each.namespace, {})[each.id] = each
    stay: set[Place] = set()
    for namespace, known in spaces.items():
        if _OF_CALL not in namespace:
            stay |= {(namespace, each) for each in _of_branches(known, last, max_age_s, now)}
    roots = spaces.get("", {})
    for namespace, known in spaces.items():
        if _OF_CALL in namespace:
            stay |= {
                (namespace, each.id)
                for each in known.values()
                # A call may be stored before the checkpoint that it was made from.
                if (caller := _caller(each)) is not None and (caller not in roots or ("", caller) in stay)
            }
            if alone := {each.id: each for each in known.values() if _caller(each) is None}:
                stay |= {(namespace, each) for each in _of_branches(alone, last, max_age_s, now)}
    return stay


def _caller(checkpoint: Checkpoint) -> str | None:
    parents: Mapping[str, str] = checkpoint.metadata.get("parents") or {}
    return parents.get("")


def _of_branches(known: Mapping[str, Checkpoint], last: int | None, max_age_s: float | None, now: float) -> set[str]:
    parents = {each.parent_id for each in known.values()}
    tips = [each for each in known.values() if each.id not in parents]
    newest = max(known)
    stay: set[str] = set()
    for tip in tips:
        waits = tip.asks
        if not waits and newest not in _line(known, tip) and _is_old(tip, max_age_s, now):
            continue
        line = _line(known, tip)
        stay |= _readable(known, line if last is None else line[:last])
    # A thread keeps its newest checkpoint, whatever its parents say.
    return stay | _readable(known, [newest])


def _is_old(tip: Checkpoint, max_age_s: float | None, now: float) -> bool:
    return max_age_s is not None and tip.at_s is not None and tip.at_s < now - max_age_s


def _line(known: Mapping[str, Checkpoint], tip: Checkpoint) -> list[str]:
    """Return a checkpoint and those before it, the newest first."""
    line = [tip.id]
    found = known.get(tip.parent_id or "")
    while found is not None and found.id not in line[-1:] and len(line) <= len(known):
        line.append(found.id)
        found = known.get(found.parent_id or "")
    return line


def _readable(known: Mapping[str, Checkpoint], wanted: Sequence[str]) -> set[str]:
    """Return checkpoints, and those that the values of their delta channels come from."""
    stay = set(wanted)
    for each in wanted:
        found: Checkpoint | None = known[each]
        missing = known[each].needs()
        while missing and found is not None and (found := known.get(found.parent_id or "")) is not None:
            if found.id in stay and found.id in wanted:
                break  # it has a walk of its own
            stay.add(found.id)
            missing &= found.needs()
    return stay
