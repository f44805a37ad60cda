"""The default of what callers may do: everything, with what they have made themselves.

Rules
-----
* What a caller makes has `metadata["owner"]` set to its identity, whatever the request says of it; all that it looks
  at, changes or deletes has to have that owner.
* In the store, namespaces of a caller begin with a label of its own. It is put in front where it is missing.
* Assistants that stand for graphs are for everybody to use: the server has made them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from stategraph.server.service.values import Authorize, Filter

OWNER: Final = "owner"

#: Who has made the assistants that stand for graphs, as their metadata say.
SYSTEM: Final = "system"

#: Actions that write metadata.
_WRITING: Final = frozenset({"create", "update", "create_run"})


def owned_by(identity: str) -> Authorize:
    """Return what decides for a caller that has only what it made.

    Args:
        identity: The caller's.
    """

    async def authorize(resource: str, action: str, value: dict[str, Any]) -> Filter | None:
        if resource == "store":
            value["namespace"] = own_namespace(identity, value.get("namespace") or ())
            return None
        if action in _WRITING:
            value["metadata"] = {**(value.get("metadata") or {}), OWNER: identity}
        if resource == "assistants" and action not in ("update", "delete"):
            return {"$or": [{OWNER: identity}, {"created_by": SYSTEM}]}
        return {OWNER: identity}

    return authorize


def own_namespace(identity: str, namespace: Sequence[str]) -> tuple[str, ...]:
    """Return a namespace of the store below the label of its owner; a label has no dot."""
    label = f"user:{quote(identity, safe='@').replace('.', '%2E')}"
    return tuple(namespace) if namespace and namespace[0] == label else (label, *namespace)


def passes(condition: Filter | None, metadata: Mapping[str, Any]) -> bool:
    """Return whether metadata pass a filter; a part of one that is not known lets nothing pass."""
    return all(_passes(key, wanted, metadata) for key, wanted in (condition or {}).items())


def _passes(key: str, wanted: Any, metadata: Mapping[str, Any]) -> bool:
    if key == "$and":
        return all(passes(each, metadata) for each in wanted)
    if key == "$or":
        return any(passes(each, metadata) for each in wanted)
    found = metadata.get(key)
    if not isinstance(wanted, Mapping):
        return bool(found == wanted)
    if set(wanted) == {"$eq"}:
        return bool(found == wanted["$eq"])
    if set(wanted) == {"$contains"} and isinstance(found, list):
        sought = wanted["$contains"]
        return all(each in found for each in (sought if isinstance(sought, list) else [sought]))
    return False
