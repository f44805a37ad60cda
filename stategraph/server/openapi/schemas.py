"""Bodies of LangGraph's API (see `notation`); the fields are those that LangGraph's clients send and read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from stategraph.server.openapi.notation import fields, schema

_MODES: Final = "values/messages/messages-tuple/tasks/checkpoints/updates/events/debug/custom"
_NODES: Final = "=* + [text]"
_THREAD_STATUS: Final = "idle/busy/interrupted/error"
_STRATEGY: Final = "reject/rollback/interrupt/enqueue"

#: What every run may be asked for with.
_RUN: Final = {
    "input": "any",
    "metadata": "object?",
    "config": "Config?",
    "context": "object?",
    "webhook": "text?",
    "interrupt_before": f"{_NODES} + null",
    "interrupt_after": f"{_NODES} + null",
    "stream_mode": f"[{_MODES}] + {_MODES} + null",
    "stream_subgraphs": "bool?",
    "stream_resumable": "bool?",
    "durability": "sync/async/exit + null",
}

_ASKED: Final = {
    **_RUN,
    "assistant_id!": "text",
    "command": "Command?",
    "checkpoint": "CheckpointConfig?",
    "feedback_keys": "[text]?",
    "after_seconds": "number?",
    "checkpoint_during": "bool?",
    "on_disconnect": "cancel/continue + null",
}

_CRON: Final = {
    **_RUN,
    "timezone": "text?",
    "end_time": "time?",
    "enabled": "bool?",
    "on_run_completed": "delete/keep + null",
}

_PAGE: Final = {
    "limit": "0..",
    "offset": "0..",
    "sort_by": "text?",
    "sort_order": "asc/desc + null",
    "select": "[text]?",
}

_OBJECTS: Final[Mapping[str, Mapping[str, str]]] = {
    "ErrorResponse": {"detail": "any", "error": "any"},
    "Problem": {
        "error!": "text",
        "type!": "text",
        "title!": "text",
        "status!": "int",
        "detail!": "text",
    },
    "Config": {"tags": "[text]?", "recursion_limit": "int?", "configurable": "object?"},
    "CheckpointConfig": {
        "thread_id": "text?",
        "checkpoint_ns": "text?",
        "checkpoint_id": "text?",
        "checkpoint_map": "object?",
    },
    "Send": {"node!": "text", "input!": "any"},
    "Command": {"update": "any", "resume": "any", "goto": "Send + [Send] + text + [text] + null"},
    "Interrupt": {"id": "text?", "value!": "any"},
    # Assistants.
    "Assistant": {
        "assistant_id!": "uuid",
        "graph_id!": "text",
        "config!": "object",
        "context": "any",
        "created_at!": "time",
        "updated_at!": "time",
        "metadata!": "object",
        "version": "int",
        "name": "text",
        "description": "text?",
    },
    "AssistantVersion": {
        "assistant_id!": "uuid",
        "graph_id!": "text",
        "config!": "object",
        "context": "any",
        "created_at!": "time",
        "metadata!": "object",
        "version!": "int",
        "name": "text",
        "description": "text?",
    },
    "AssistantCreate": {
        "graph_id!": "text",
        "assistant_id": "uuid?",
        "config": "object?",
        "context": "object?",
        "metadata": "object?",
        "if_exists": "raise/do_nothing + null",
        "name": "text?",
        "description": "text?",
    },
    "AssistantPatch": {
        "graph_id": "text?",
        "config": "object?",
        "context": "object?",
        "metadata": "object?",
        "name": "text?",
        "description": "text?",
    },
    "AssistantSearchRequest": {"metadata": "object?", "graph_id": "text?", "name": "text?", **_PAGE},
    "AssistantCountRequest": {"metadata": "object?", "graph_id": "text?", "name": "text?"},
    "AssistantVersionsSearchRequest": {"metadata": "object?", "limit": "0..", "offset": "0.."},
    "AssistantVersionChange": {"version!": "int"},
    "GraphSchema": {
        "graph_id": "text",
        "input_schema": "object?",
        "output_schema": "object?",
        "state_schema": "object?",
        "config_schema": "object?",
        "context_schema": "object?",
    },
    "Drawing": {"nodes!": "[object]", "edges!": "[object]"},
    # Threads.
    "Thread": {
        "thread_id!": "uuid",
        "created_at!": "time",
        "updated_at!": "time",
        "state_updated_at": "time?",
        "metadata!": "object",
        "config": "object?",
        "status!": _THREAD_STATUS,
        "values": "any",
        "interrupts": "object?",
        "ttl": "object?",
        "extracted": "object?",
    },
    "ThreadCreate": {
        "thread_id": "uuid?",
        "metadata": "object?",
        "if_exists": "raise/do_nothing + null",
        "ttl": "object + number + null",
        "supersteps": "[object]?",
    },
    "ThreadPatch": {"metadata": "object?", "ttl": "object + number + null"},
    "ThreadSearchRequest": {
        "ids": "[uuid]?",
        "metadata": "object?",
        "values": "object?",
        "status": f"{_THREAD_STATUS} + null",
        "extract": "object?",
        **_PAGE,
    },
    "ThreadCountRequest": {"metadata": "object?", "values": "object?", "status": f"{_THREAD_STATUS} + null"},
    "ThreadPruneRequest": {"thread_ids!": "[uuid]", "strategy": "delete/keep_latest"},
    "ThreadPruneResponse": {"pruned_count!": "int"},
    "ThreadStorage": {
        "thread_id!": "uuid",
        "total_bytes!": "int",
        "checkpoints!": "object",
        "channel_values!": "object",
        "pending_writes!": "object",
    },
    "ThreadState": {
        "values!": "any",
        "next!": "[text]",
        "tasks": "[object]",
        "checkpoint!": "CheckpointConfig?",
        "metadata!": "any",
        "created_at!": "text?",
        "parent_checkpoint": "object?",
        "interrupts": "[Interrupt]",
    },
    "ThreadStateSearch": {
        "limit": "0..1000",
        "before": "CheckpointConfig + text + null",
        "metadata": "object?",
        "checkpoint": "CheckpointConfig?",
    },
    "ThreadStateUpdate": {
        "values": "any",
        "as_node": "text?",
        "checkpoint": "CheckpointConfig?",
        "checkpoint_id": "text?",
    },
    "ThreadStateUpdateResponse": {"checkpoint": "object"},
    "ThreadStateCheckpointRequest": {"checkpoint!": "CheckpointConfig", "subgraphs": "bool"},
    # Runs.
    "Run": {
        "run_id!": "text",
        "thread_id!": "text",
        "assistant_id!": "text",
        "created_at!": "time",
        "updated_at!": "time",
        "status!": "pending/running/error/success/timeout/interrupted",
        "metadata!": "object",
        "kwargs!": "object",
        "multitask_strategy!": f"{_STRATEGY} + null",
    },
    "RunCreateStateful": {
        **_ASKED,
        "multitask_strategy": f"{_STRATEGY} + null",
        "if_not_exists": "create/reject + null",
    },
    "RunCreateStateless": {**_ASKED, "on_completion": "delete/keep + null"},
    "RunsCancel": {
        "status": "pending/running/all",
        "thread_id": "uuid",
        "run_ids": "[uuid]",
    },
    # Crons.
    "Cron": {
        "cron_id!": "uuid",
        "assistant_id": "uuid?",
        "thread_id!": "uuid?",
        "end_time!": "time?",
        "schedule!": "text",
        "timezone": "text?",
        "created_at!": "time",
        "updated_at!": "time",
        "user_id": "text?",
        "payload!": "object",
        "next_run_date": "time?",
        "metadata": "object",
        "enabled!": "bool",
    },
    "CronCreate": {**_CRON, "schedule!": "text", "assistant_id!": "text"},
    "ThreadCronCreate": {
        **_CRON,
        "schedule!": "text",
        "assistant_id!": "text",
        "multitask_strategy": f"{_STRATEGY} + null",
    },
    "CronPatch": {**_CRON, "schedule": "text?"},
    "CronSearch": {
        "assistant_id": "uuid?",
        "thread_id": "uuid?",
        "enabled": "bool?",
        "metadata": "object?",
        **_PAGE,
    },
    "CronCountRequest": {"assistant_id": "uuid?", "thread_id": "uuid?", "metadata": "object?"},
    # The store.
    "Item": {
        "namespace!": "[text]",
        "key!": "text",
        "value!": "object",
        "created_at!": "time",
        "updated_at!": "time",
        "score": "number?",
    },
    "StorePutRequest": {
        "namespace!": "[text]",
        "key!": "text",
        "value!": "object",
        "index": "bool + [text] + null",
        "ttl": "number?",
    },
    "StoreDeleteRequest": {"namespace": "[text]", "key!": "text"},
    "StoreSearchRequest": {
        "namespace_prefix": "[text]?",
        "filter": "object?",
        "limit": "0..",
        "offset": "0..",
        "query": "text?",
        "refresh_ttl": "bool?",
    },
    "SearchItemsResponse": {"items!": "[Item]"},
    "StoreListNamespacesRequest": {
        "prefix": "[text]",
        "suffix": "[text]",
        "max_depth": "int?",
        "limit": "0..",
        "offset": "0..",
    },
    "ListNamespaceResponse": {"namespaces!": "[[text]]"},
    # Protocol v2.
    "ProtocolCommand": {"id!": "int", "method!": "text", "params": "object"},
    "ProtocolEventStreamRequest": {
        "channels!": "[text]",
        "namespaces": "[[text]]",
        "depth": "0..",
        "since": "0..",
    },
    "ProtocolSuccess": {"type!": "text", "id!": "int", "result!": "any", "meta": "object"},
    "ProtocolError": {"type!": "text", "id!": "int?", "error!": "text", "message!": "text"},
    # The Run API.
    "ChatThread": {
        "id!": "text",
        "title!": "text?",
        "owner!": "text?",
        "metadata!": "object",
        "created_at!": "time",
        "updated_at!": "time",
        "status!": "text",
    },
    "ChatThreads": {"threads!": "[ChatThread]", "next!": "text?"},
    "ChatTitle": {"title": "text?"},
    "ChatTurn": {"run_id!": "text", "text": "text", "files": "[object]"},
    "ChatAnswers": {"answers!": "object"},
    "ChatRun": {"id!": "text", "running!": "bool"},
}


def components() -> dict[str, Any]:
    """Return the schemas of the document by their names."""
    found: dict[str, Any] = {name: fields(given) for name, given in _OBJECTS.items()}
    found["RunBatchCreate"] = schema("[RunCreateStateless]")
    found["Subgraphs"] = {"type": "object", "additionalProperties": schema("GraphSchema")}
    return found
