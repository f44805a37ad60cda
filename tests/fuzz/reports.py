"""Reading the reports of both engines side by side; see `worker.perform` for what is in one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from tests.interop import plain

Report = dict[str, Any]
Pair = tuple[dict[str, Any], dict[str, Any]]


def snapshots(expected: Report, found: Report) -> Iterator[Pair]:
    """Yield the snapshots of states in both, also of those within, the outer ones first."""
    if "steps" in expected and "steps" in found:
        yield from _of_kind("StateSnapshot", expected["steps"][-1]["found"], found["steps"][-1]["found"])
    for part in ("state", "history"):
        yield from _of_kind("StateSnapshot", expected.get(part), found.get(part))


def of_kind(kind: str, value: Any) -> Iterator[dict[str, Any]]:
    """Yield the objects of a class in a value, the outer ones first."""
    for one, _ in _of_kind(kind, value, value):
        yield one


def _of_kind(kind: str, expected: Any, found: Any) -> Iterator[Pair]:
    if isinstance(expected, dict) and isinstance(found, dict):
        if expected.get("!") == found.get("!") == kind:
            yield expected, found
        for key in expected.keys() & found.keys():
            yield from _of_kind(kind, expected[key], found[key])
    if isinstance(expected, list) and isinstance(found, list):
        for one, other in zip(expected, found, strict=False):
            yield from _of_kind(kind, one, other)


def tasks(expected: dict[str, Any], found: dict[str, Any]) -> Iterator[Pair]:
    """Yield the tasks of two snapshots that have the same ones."""
    both = expected["tasks"]["items"], found["tasks"]["items"]
    if [task["name"] for task in both[0]] == [task["name"] for task in both[1]]:
        yield from zip(*both, strict=True)


def streamed_tasks(expected: Any, found: Any) -> Iterator[Pair]:
    """Yield the tasks in the parts of two streams that tell of a checkpoint."""
    if isinstance(expected, dict) and isinstance(found, dict):
        if {"id", "name", "state"} <= expected.keys() & found.keys() and expected["name"] == found["name"]:
            yield expected, found
        for key in expected.keys() & found.keys():
            yield from streamed_tasks(expected[key], found[key])
    if isinstance(expected, list) and isinstance(found, list):
        for one, other in zip(expected, found, strict=False):
            yield from streamed_tasks(one, other)


def checkpoints(expected: Report, found: Report, *, first: Literal["newest", "oldest"] = "newest") -> Iterator[Pair]:
    """Yield the stored checkpoints, those of the same namespace together, beginning at one end of their histories."""
    step = 1 if first == "newest" else -1
    for one, other in namespaces(expected, found):
        yield from zip(one[::step], other[::step], strict=False)


def namespaces(expected: Report, found: Report) -> Iterator[tuple[list[Any], list[Any]]]:
    """Yield the stored checkpoints of each namespace, the newest first."""
    spaces = [
        sorted(report.get("stored", ()), key=lambda space: (space["namespace"], plain.spelled(_bare(space))))
        for report in (expected, found)
    ]
    for one, other in zip(*spaces, strict=False):
        if one["namespace"] == other["namespace"]:
            yield one["checkpoints"], other["checkpoints"]


def _bare(space: dict[str, Any]) -> Any:
    """Keep of a namespace what hardly differs."""
    return [{**entry, "writes": 0, "values": 0, "versions": 0, "updated": 0} for entry in space["checkpoints"]]


def same(expected: Report, found: Report) -> bool:
    """Tell whether two reports are the same, in whichever order their namespaces are."""
    one, other = (
        {**report, "stored": sorted(report.get("stored", ()), key=plain.spelled)} for report in (expected, found)
    )
    return plain.difference(one, other) is None


def unfinished(snapshot: dict[str, Any]) -> list[str]:
    """Name the tasks of a snapshot that have no result."""
    return [task["name"] for task in snapshot["tasks"]["items"] if task["result"] is None]


def bag(items: Iterable[Any]) -> Counter[str]:
    """Count items whatever their order."""
    return Counter(plain.spelled(item) for item in items)
