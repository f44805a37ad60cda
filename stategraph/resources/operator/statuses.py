"""Statuses of a runtime as those of the objects of a cluster.

- `observedGeneration` is that of the object in the cluster.
- A status is bounded, as etcd is: messages as the API's conventions say, and the whole by leaving out its largest
  fields, which a condition then names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

#: Characters of a condition's message, as in `metav1.Condition`.
LONGEST_MESSAGE: Final = 32_768

#: Bytes of a status. etcd takes objects of 1.5 MiB, with their specs.
LARGEST_STATUS: Final = 512 * 1024

_KEPT: Final = ("conditions", "observedGeneration", "phase")


def of_cluster(status: Mapping[str, Any], own: int, cluster: int) -> dict[str, Any]:
    """Return a status with the generations of the cluster in place of the runtime's, bounded.

    Args:
        status: The status in the runtime.
        own: The generation of the spec in the runtime.
        cluster: The generation of the same spec in the cluster.
    """

    def counted(value: Mapping[str, Any]) -> dict[str, Any]:
        found = dict(value)
        if "observedGeneration" in found:
            behind = max(0, own - int(found["observedGeneration"]))
            found["observedGeneration"] = max(0, cluster - behind)
        if "message" in found:
            found["message"] = shortened(str(found["message"]), LONGEST_MESSAGE)
        return found

    told = counted(status)
    told["conditions"] = [counted(each) for each in status.get("conditions", ())]
    return _bounded(told)


def changes_of(status: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is to be merged into a status to make it another one; a field that goes is None."""
    changed = {name: _merging(before.get(name), value) for name, value in status.items() if before.get(name) != value}
    return changed | {name: None for name in before if name not in status}


def shortened(text: str, longest: int) -> str:
    """Return a text of at most so many characters, which says how many are missing."""
    if len(text) <= longest:
        return text
    told = f" ... ({len(text):,} characters)"
    return f"{text[: longest - len(told)]}{told}"


def _merging(before: Any, value: Any) -> Any:
    """Return a value so that merging it leaves nothing behind of the mapping that was there."""
    if not (isinstance(before, Mapping) and isinstance(value, Mapping)):
        return value
    return {
        **dict.fromkeys(before),
        **{name: _merging(before.get(name), each) for name, each in value.items()},
    }


def _bounded(status: dict[str, Any]) -> dict[str, Any]:
    if _size(status) <= LARGEST_STATUS:
        return status
    found, left_out = dict(status), []
    for name in sorted((each for each in found if each not in _KEPT), key=lambda each: -_size(found[each])):
        del found[name]
        left_out.append(name)
        if _size(found) <= LARGEST_STATUS:
            break
    ready: Mapping[str, Any] = next((each for each in status["conditions"] if each["type"] == "Ready"), {})
    told = {
        "type": "Truncated",
        "status": "True",
        "reason": "StatusTooLarge",
        "message": f"left out, as the status has more than {LARGEST_STATUS:,} bytes: {', '.join(left_out)}",
        "observedGeneration": found.get("observedGeneration", 0),
        "lastTransitionTime": ready.get("lastTransitionTime", ""),
    }
    return {**found, "conditions": [*found["conditions"], told]}


def _size(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False, default=str).encode())
