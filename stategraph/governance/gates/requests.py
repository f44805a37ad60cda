"""Calls of models as requests of actions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from langchain_core.messages import AIMessage, ToolCall
from langchain_core.runnables import RunnableConfig

from stategraph.constants import CONF, CONFIG_KEY_THREAD_ID
from stategraph.governance import session
from stategraph.governance.actions import ActionRequest, RunRef
from stategraph.governance.context import RuntimeSessionContext


def request_of(
    call: ToolCall,
    context: RuntimeSessionContext,
    config: RunnableConfig,
    place: str,
    view_digest: str | None = None,
) -> ActionRequest:
    """Return the request of a call.

    Args:
        call: The call.
        context: Who acts.
        config: Of the task that makes it.
        place: Where, so that the id of the call is unique.
        view_digest: The digest of the capabilities that the model was shown; None: not known.
    """
    return ActionRequest(
        call["name"],
        dict(call["args"]),
        call["id"] or "",
        run_of(config),
        context,
        place,
        view_digest,
    )


def unreadable_calls(answer: AIMessage) -> Iterator[tuple[ToolCall, str]]:
    """Yield the calls of an answer that cannot be read, without their arguments, and why."""
    for each in answer.invalid_tool_calls:
        call = ToolCall(name=each["name"] or "", args={}, id=each["id"], type="tool_call")
        yield call, each["error"] or "they are no JSON object"


def run_of(config: RunnableConfig) -> RunRef:
    """Return the run of a task: that of the session, or as far as the config says."""
    active = session.current_or_none()
    configurable: Mapping[str, Any] = config.get(CONF) or {}
    thread = configurable.get(CONFIG_KEY_THREAD_ID)
    thread_id = None if thread is None else str(thread)
    if active is not None:
        run = active.run
        return run if run.thread_id is not None or thread_id is None else RunRef(run.run_id, thread_id, run.root_run_id)
    known = config.get("run_id") or (config.get("metadata") or {}).get("run_id")
    return RunRef(str(known or thread_id or "none"), thread_id)
