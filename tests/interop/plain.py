"""Turning what engines return into plain JSON, and blotting out what may differ between two runs.

``encode`` keeps everything, ids and times included: two engines that look at the same thread must see the same bytes of
it. ``blot`` then replaces ids by their order of appearance, to compare a thread with another one that did the same.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
ID = re.compile(rf"{UUID}|\b[0-9a-f]{{32}}\b")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(\+00:00|Z)?")
ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def encode(value: Any) -> Any:
    """Turn any value of a state or snapshot into JSON that shows its type where JSON would hide it."""
    if value is None or (isinstance(value, bool | int | float | str) and not isinstance(value, enum.Enum)):
        return value
    if isinstance(value, enum.Enum):
        return {"!": type(value).__name__, "name": value.name}
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {"!": type(value).__name__, **{name: encode(getattr(value, name)) for name in value._fields}}
    if isinstance(value, list | tuple):
        items = [encode(item) for item in value]
        return items if isinstance(value, list) else {"!": "tuple", "items": items}
    if isinstance(value, set | frozenset):
        return {"!": "set", "items": sorted((encode(item) for item in value), key=json.dumps)}
    if isinstance(value, BaseException):
        return {"!": type(value).__name__, "message": str(value)}
    if hasattr(value, "model_dump"):
        return {"!": type(value).__name__, **encode(value.model_dump())}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"!": type(value).__name__, **fields}
    slots = [name for name in getattr(type(value), "__slots__", ()) if hasattr(value, name)]
    if slots:
        return {"!": type(value).__name__, **{name: encode(getattr(value, name)) for name in slots}}
    return {"!": type(value).__name__, "repr": ADDRESS.sub("", repr(value))}


def settle(value: Any) -> Any:
    """Undo what timing decides, in plain JSON.

    Parallel tasks report their interrupts in the order in which they got there, so lists of interrupts are sorted. And
    a message without an id gets one when it is merged into the state, which may be before or after the write that it
    came from was stored, so ids given that way are replaced by one mark.
    """
    if isinstance(value, list):
        items = [settle(item) for item in value]
        if items and all(isinstance(item, dict) and item.get("!") == "Interrupt" for item in items):
            items.sort(key=lambda item: json.dumps(item["value"]))
        return items
    if isinstance(value, dict):
        found = {key: settle(item) for key, item in value.items()}
        given = found.get("id")
        if str(found.get("!")).endswith("Message") and (given is None or ID.fullmatch(str(given))):
            found["id"] = "<given>"
        return found
    return value


def blot(value: Any, *, number: bool = True) -> Any:
    """Replace ids, times and addresses in plain JSON.

    Args:
        value: what ``encode`` returned.
        number: replace an id by its order of appearance, so that links between ids stay visible; otherwise by one mark.
    """
    seen: dict[str, str] = {}

    def mark(match: re.Match[str]) -> str:
        return seen.setdefault(match.group(), f"<id {len(seen)}>") if number else "<id>"

    text = TIME.sub("<time>", json.dumps(value))
    return json.loads(ID.sub(mark, text))


def stored(entries: list[Any]) -> list[Any]:
    """What lies in the saver, by namespace: versions as plain numbers, pending writes in the order of their tasks."""
    spaces: dict[str, list[Any]] = defaultdict(list)
    for entry in entries:
        checkpoint = entry.checkpoint
        spaces[entry.config["configurable"]["checkpoint_ns"]].append(
            {
                "v": checkpoint["v"],
                "metadata": encode(dict(sorted(entry.metadata.items()))),
                "values": encode(dict(sorted(checkpoint["channel_values"].items()))),
                "versions": _versions(checkpoint["channel_versions"]),
                "seen": {node: _versions(seen) for node, seen in sorted(checkpoint["versions_seen"].items())},
                "updated": sorted(checkpoint.get("updated_channels") or ()),
                "writes": sorted(
                    ([channel, encode(value)] for _, channel, value in entry.pending_writes or ()), key=_spelled_bare
                ),
            }
        )
    settled = [settle({"namespace": space, "checkpoints": found}) for space, found in spaces.items()]
    blotted = [blot(found, number=False) for found in settled]
    return sorted(blotted, key=spelled)


def spelled(value: Any) -> str:
    """Spell a value the same way for both engines, whose classes have their fields in different orders."""
    return json.dumps(value, sort_keys=True)


def _spelled_bare(value: Any) -> str:
    """Spell a value without its ids, which are others in each run."""
    return spelled(blot(value, number=False))


def _versions(found: dict[str, Any]) -> dict[str, int]:
    return {name: int(str(version).split(".")[0]) for name, version in sorted(found.items())}


def difference(expected: Any, found: Any, path: str = "") -> str | None:
    """Say where two plain values differ first, or None if they do not."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in [*expected, *(key for key in found if key not in expected)]:
            here = f"{path}.{key}"
            if key not in found:
                return f"{here}: missing, expected {_short(expected[key])}"
            if key not in expected:
                return f"{here}: unexpected {_short(found[key])}"
            if inner := difference(expected[key], found[key], here):
                return inner
        return None
    if isinstance(expected, list) and isinstance(found, list):
        for index, (left, right) in enumerate(zip(expected, found, strict=False)):
            if inner := difference(left, right, f"{path}[{index}]"):
                return inner
        if len(expected) != len(found):
            return f"{path}: {len(found)} items, expected {len(expected)}"
        return None
    if type(expected) is not type(found) or expected != found:
        return f"{path}: {_short(found)}, expected {_short(expected)}"
    return None


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 300 else f"{text[:300]}..."
