"""Payloads of the `lifecycle` projection.

A separate module, as the type of one field comes from a package that takes 20 ms to import: a run does not need it.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

from langchain_protocol.protocol import LifecycleCause

from stategraph.engine.streams.events.nested import SubgraphStatus


class LifecyclePayload(TypedDict, total=False):
    """The start or the end of a nested run."""

    event: SubgraphStatus
    namespace: list[str]
    graph_name: NotRequired[str]
    """Name of the agent that runs there, else of the node; told at the start."""
    trigger_call_id: NotRequired[str]
    """Id of the task that runs it; told at the start."""
    cause: NotRequired[LifecycleCause]
    """The tool call that an agent was started by."""
    error: NotRequired[str]
