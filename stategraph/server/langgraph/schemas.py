"""Schemas of the bodies of requests, by the names of the LangGraph API."""

from __future__ import annotations

from typing import Any, Final

OBJECT: Final = {"type": "object"}
TEXT: Final = {"type": "string"}
TEXTS: Final = {"type": "array", "items": TEXT}
FLAG: Final = {"type": "boolean"}


def one_of(*values: str) -> dict[str, Any]:
    """Return the schema of one of several texts."""
    return {"type": "string", "enum": list(values)}


def several_of(*values: str) -> dict[str, Any]:
    """Return the schema of a list of some texts."""
    return {"type": "array", "items": one_of(*values)}


def fields(**properties: Any) -> dict[str, Any]:
    """Return the schema of an object with some fields."""
    return {"type": "object", "properties": properties}


def needing(schema: dict[str, Any], *names: str) -> dict[str, Any]:
    """Return the schema of an object that has to have some of its fields."""
    return {**schema, "required": list(names)}


def or_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a value that may be null."""
    return {**schema, "type": [schema["type"], "null"]}


LIMIT: Final = {"type": "integer", "default": 10, "minimum": 1, "maximum": 1000}
OFFSET: Final = {"type": "integer", "default": 0, "minimum": 0}
ORDER: Final = one_of("asc", "desc")
IF_EXISTS: Final = {**one_of("raise", "do_nothing"), "default": "raise"}
PAGE: Final = {"limit": LIMIT, "offset": OFFSET, "sort_order": ORDER}

# Assistants.

_OF_ASSISTANT: Final = {"graph_id": TEXT, "config": OBJECT, "context": OBJECT, "metadata": OBJECT, "name": TEXT}
ASSISTANT_FIELDS: Final = (
    *("assistant_id", "graph_id", "name", "description", "config", "context"),
    *("created_at", "updated_at", "metadata", "version"),
)
ASSISTANT_CREATE: Final = needing(
    fields(assistant_id=TEXT, **_OF_ASSISTANT, description=or_null(TEXT), if_exists=IF_EXISTS), "graph_id"
)
ASSISTANT_PATCH: Final = fields(**_OF_ASSISTANT, description=TEXT)
ASSISTANT_COUNT: Final = fields(metadata=OBJECT, graph_id=TEXT, name=TEXT)
ASSISTANT_SEARCH: Final = fields(
    **ASSISTANT_COUNT["properties"],
    **PAGE,
    sort_by=one_of("assistant_id", "created_at", "updated_at", "name", "graph_id"),
    select=several_of(*ASSISTANT_FIELDS),
)
ASSISTANT_VERSIONS: Final = fields(metadata=OBJECT, limit=LIMIT, offset=OFFSET)
ASSISTANT_LATEST: Final = fields(version={"type": "integer"})

# Threads.

_STRATEGY: Final = {**one_of("delete", "keep_latest"), "default": "delete"}
TTL: Final = fields(strategy=_STRATEGY, ttl={"type": "number"})
CHECKPOINT: Final = fields(
    thread_id=TEXT, checkpoint_ns=TEXT, checkpoint_id=or_null(TEXT), checkpoint_map=or_null(OBJECT)
)
_VALUES: Final = {"anyOf": [{"type": "array"}, OBJECT, {"type": "null"}]}
_UPDATE: Final = fields(values=_VALUES, command=or_null(OBJECT), as_node=or_null(TEXT))
_STEP: Final = needing(fields(updates={"type": "array", "items": _UPDATE}), "updates")
THREAD_FIELDS: Final = (
    *("thread_id", "created_at", "updated_at", "state_updated_at", "metadata", "config", "status"),
    *("values", "interrupts"),
)
THREAD_CREATE: Final = fields(
    thread_id=TEXT, metadata=OBJECT, if_exists=IF_EXISTS, ttl=TTL, supersteps={"type": "array", "items": _STEP}
)
THREAD_PATCH: Final = fields(metadata=OBJECT, ttl=TTL)
THREAD_COUNT: Final = fields(metadata=OBJECT, values=OBJECT, status=one_of("idle", "busy", "interrupted", "error"))
THREAD_SEARCH: Final = fields(
    ids=TEXTS,
    **THREAD_COUNT["properties"],
    **PAGE,
    sort_by=one_of("thread_id", "status", "created_at", "updated_at", "state_updated_at"),
    select=several_of(*THREAD_FIELDS),
    extract={"type": "object", "additionalProperties": TEXT, "maxProperties": 10},
)
THREAD_PRUNE: Final = needing(fields(thread_ids=TEXTS, strategy=_STRATEGY), "thread_ids")
STATE_UPDATE: Final = fields(
    values=_VALUES, checkpoint=or_null(CHECKPOINT), checkpoint_id=or_null(TEXT), as_node=or_null(TEXT)
)
STATE_AT: Final = needing(fields(checkpoint=CHECKPOINT, subgraphs=FLAG, select=TEXTS), "checkpoint")
STATE_SEARCH: Final = fields(
    limit={**LIMIT, "default": 1},
    before={"anyOf": [CHECKPOINT, TEXT, {"type": "null"}]},
    metadata=OBJECT,
    checkpoint=or_null(CHECKPOINT),
    select=TEXTS,
)

# Runs.

RUNS_CANCEL: Final = fields(
    thread_id=or_null(TEXT),
    run_ids={"anyOf": [TEXTS, {"type": "null"}]},
    status={"enum": ["pending", "running", "all", None]},
)

# The store.

_INDEX: Final = {"anyOf": [{"enum": [False]}, TEXTS, {"type": "null"}]}
_COUNT: Final = {"type": "integer"}
ITEM_PUT: Final = needing(
    fields(namespace=TEXTS, key=TEXT, value=OBJECT, index=_INDEX, ttl={"type": ["number", "null"]}),
    *("namespace", "key", "value"),
)
ITEM_DELETE: Final = needing(fields(namespace=TEXTS, key=TEXT), "namespace", "key")
ITEM_SEARCH: Final = fields(
    namespace_prefix={**TEXTS, "type": ["array", "null"]},
    filter=or_null(OBJECT),
    limit=_COUNT,
    offset=_COUNT,
    query=or_null(TEXT),
    refresh_ttl=or_null(FLAG),
)
NAMESPACES: Final = fields(prefix=TEXTS, suffix=TEXTS, max_depth=_COUNT, limit=_COUNT, offset=_COUNT)

# Schedules.

_MODES: Final = (
    *("values", "messages", "messages-tuple", "tasks", "checkpoints", "updates", "events", "debug", "custom"),
)
_NODES: Final = {"anyOf": [one_of("*"), TEXTS]}
_OF_RUN: Final = {
    "input": {"anyOf": [{"type": "array", "items": OBJECT}, OBJECT]},
    "metadata": OBJECT,
    "config": fields(tags=TEXTS, recursion_limit={"type": "integer"}, configurable=OBJECT),
    "context": OBJECT,
    "webhook": TEXT,
    "interrupt_before": _NODES,
    "interrupt_after": _NODES,
    "multitask_strategy": one_of("reject", "rollback", "interrupt", "enqueue"),
    "on_run_completed": one_of("delete", "keep"),
    "enabled": FLAG,
    "stream_mode": {"anyOf": [several_of(*_MODES), one_of(*_MODES)]},
    "stream_subgraphs": FLAG,
    "stream_resumable": FLAG,
    "durability": one_of("sync", "async", "exit"),
    "schedule": TEXT,
    "timezone": or_null(TEXT),
    "end_time": or_null(TEXT),
}
CRON_FIELDS: Final = (
    *("cron_id", "assistant_id", "thread_id", "on_run_completed", "end_time", "schedule", "timezone"),
    *("created_at", "updated_at", "user_id", "payload", "next_run_date", "metadata", "enabled"),
)
CRON_CREATE: Final = needing(fields(assistant_id={"anyOf": [TEXT, TEXT]}, **_OF_RUN), "assistant_id", "schedule")
CRON_PATCH: Final = fields(**_OF_RUN)
CRON_COUNT: Final = fields(assistant_id=TEXT, thread_id=TEXT, metadata=OBJECT)
CRON_SEARCH: Final = fields(
    **CRON_COUNT["properties"],
    **PAGE,
    enabled=FLAG,
    sort_by=one_of("cron_id", "assistant_id", "thread_id", "next_run_date", "end_time", "created_at", "updated_at"),
    select=several_of(*CRON_FIELDS),
)
