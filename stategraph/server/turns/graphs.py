"""The assistant that a request names: its runs, and the values that its graph takes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final
from weakref import WeakKeyDictionary

from stategraph.server.service.port import Assistant, Caller, NotFoundError, RunRecord, Service

#: The names that a graph takes: a schema with messages takes 20 ms to make, as long as two runs.
_NAMES: Final[WeakKeyDictionary[Any, frozenset[str]]] = WeakKeyDictionary()


async def input_names(service: Service, caller: Caller, assistant_id: str) -> Collection[str]:
    """Return the names of the values that an assistant's graph takes as input; empty if its input has no names.

    Raises:
        NotFoundError: There is no such assistant.
    """
    assistant = await service.assistants.get(caller, assistant_id)
    config = {**assistant.config}
    async with service.graphs.open(assistant.graph_id, config, access="assistants.read", caller=caller) as graph:
        found = _NAMES.get(graph)
        if found is None:
            found = _NAMES[graph] = _names(graph)
        return found


def _names(graph: Any) -> frozenset[str]:
    try:
        found = graph.get_input_jsonschema().get("properties")
    except Exception:  # types without a JSON schema, such as a class that pydantic does not know
        return frozenset(graph.stream_channels_list)
    return frozenset(found) if isinstance(found, dict) else frozenset()


def check_run_of(run: RunRecord, assistant: Assistant) -> None:
    """Make sure that a run is one of an assistant.

    Raises:
        NotFoundError: It is another one's.
    """
    if run.assistant_id != assistant.assistant_id:
        raise NotFoundError(f"Assistant '{assistant.name or assistant.assistant_id}' has no run '{run.run_id}'")
