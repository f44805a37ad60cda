"""Server-side apply with one manager: what a manifest, the last one and the stored resource come to.

| field | last manifest | new manifest | result |
|---|---|---|---|
| in the new one | | any value | the new value |
| not in the new one | had it | | removed |
| not in the new one | did not have it | | stays: another writer set it |

Mappings are merged field by field; lists are one value. A field that another writer changed since the last manifest,
and that the new manifest wants otherwise, is a conflict unless it is forced.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from stategraph.resources.places import Path


def merge(last: Any, live: Any, new: Any) -> Any:
    """Return the merged value of three mappings, or the new one where any is no mapping."""
    if not isinstance(new, Mapping) or not isinstance(live, Mapping):
        return new
    before = last if isinstance(last, Mapping) else {}
    merged = {
        key: merge(before.get(key), live[key], new[key]) if key in live else new[key] for key in new
    }  # the order of the manifest, then what others have set
    return merged | {key: value for key, value in live.items() if key not in new and key not in before}


def conflicts(last: Any, live: Any, new: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield the fields that another writer changed and the new manifest wants otherwise, with their stored values."""
    if isinstance(live, Mapping) and isinstance(new, Mapping) and isinstance(last, Mapping | None):
        before = last or {}
        for key in new:
            if key in live:
                yield from conflicts(before.get(key), live[key], new[key], (*path, key))
        return
    if live not in (last, new):
        yield path, live
