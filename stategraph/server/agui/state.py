"""The state of a run as the front end has it, and its changes as JSON Patch (RFC 6902)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import jsonpatch

from stategraph.run.json_safe import to_json
from stategraph.server.turns.forms import Fields, Json

#: Values of a state that a front end gets or gives in another way.
_ELSEWHERE: Final = frozenset({"messages", "tools", "ag-ui", "copilotkit"})


def shared(values: Any) -> Any:
    """Return the state that is shared with the front end, as JSON: without the conversation and the client's tools."""
    if isinstance(values, Mapping):
        values = {str(key): each for key, each in values.items() if key not in _ELSEWHERE and not _is_private(key)}
    return plain(values)


def _is_private(key: object) -> bool:
    return isinstance(key, str) and key.startswith("__")


def patch(before: Any, after: Any) -> list[Json]:
    """Return the operations that make one state of another; empty if they are equal."""
    return list(jsonpatch.make_patch(before, after))


def changes(given: Any, values: Fields) -> Json:
    """Return what a client changed in the state that it was shown.

    Args:
        given: The state as the client sends it back; it may be none.
        values: The thread's.
    """
    if not isinstance(given, Mapping):
        return {}
    shown = shared(values)
    known = shown if isinstance(shown, Mapping) else {}
    return {
        key: each
        for key, each in given.items()
        if key not in _ELSEWHERE and not _is_private(key) and (key not in known or known[key] != each)
    }


def plain(value: Any) -> Any:
    """Return a value as JSON has it."""
    return json.loads(to_json(value))
