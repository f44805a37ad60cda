"""Conditions for lists of checkpoints, with the meaning that they have for `langgraph-checkpoint-sqlite`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final

from langchain_core.runnables import RunnableConfig

_KEY: Final = re.compile(r"[a-zA-Z0-9_.-]+")


def where(
    config: RunnableConfig | None, metadata: Mapping[str, object] | None, before: RunnableConfig | None
) -> tuple[str, list[object]]:
    """Return the condition of a statement, and its parameters.

    Args:
        config: Names a thread, and perhaps a namespace and a checkpoint; None for all.
        metadata: Values that the metadata has; a key with dots is a path.
        before: Names the checkpoint whose id is greater than all that are found.

    Raises:
        ValueError: A key holds something else than letters, digits, dots, dashes and underscores.
    """
    conditions: list[str] = []
    parameters: list[object] = []
    if config is not None:
        conf = config["configurable"]
        conditions.append("thread_id = ?")
        parameters.append(str(conf["thread_id"]))
        if (namespace := conf.get("checkpoint_ns")) is not None:
            conditions.append("checkpoint_ns = ?")
            parameters.append(namespace)
        if checkpoint_id := conf.get("checkpoint_id"):
            conditions.append("checkpoint_id = ?")
            parameters.append(checkpoint_id)
    for key, value in (metadata or {}).items():
        if not _KEY.fullmatch(key):
            raise ValueError(
                f"Invalid filter key: '{key}'. Filter keys must contain only alphanumeric characters, underscores, "
                "dots, and hyphens."
            )
        conditions.append(f"json_extract(CAST(metadata AS TEXT), '$.{key}') {'IS' if value is None else '='} ?")
        parameters.append(_comparable(value))
    if before is not None:
        conditions.append("checkpoint_id < ?")
        parameters.append(before["configurable"].get("checkpoint_id"))
    return (f" WHERE {' AND '.join(conditions)}" if conditions else ""), parameters


def _comparable(value: object) -> object:
    if isinstance(value, (dict, list)):
        return json.dumps(value, separators=(",", ":"))  # as SQLite spells it
    return value if value is None or isinstance(value, (str, int, float)) else str(value)
