"""Threads of the Run API, each for its owner.

The endpoints know no users. Where requests have callers, an endpoint of a thread or a run is asked only once the
caller may see that thread; for anybody else it is not there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from starlette.requests import Request

from stategraph.dev.routes.threads import OWNER, conversations_of
from stategraph.run.threads.values import Thread
from stategraph.server.access.door import caller_of
from stategraph.server.access.owners import passes
from stategraph.server.service.values import Caller, Filter

Endpoint = Callable[[Request], Awaitable[Any]]

_ACTIONS: Final = {"GET": "read", "HEAD": "read", "PATCH": "update", "DELETE": "delete", "POST": "create_run"}


def owned(endpoint: Endpoint) -> Endpoint:
    """Return an endpoint of the Run API that answers for what its caller may see."""

    async def for_its_owner(request: Request) -> Any:
        caller = caller_of(request)
        if caller.identity:
            await _check(request, caller)
        return await endpoint(request)

    return for_its_owner


async def _check(request: Request, caller: Caller) -> None:
    """Let a request pass whose caller may see its thread, and tell the others' endpoint whose threads there are.

    Raises:
        LookupError: The thread or the run is not there for this caller.
        RefusedError: The caller may not do that.
    """
    conversations, given = conversations_of(request), request.path_params
    action = _ACTIONS.get(request.method, "read")
    if "run_id" in given:
        run = conversations.runtime.get_run(given["run_id"])
        thread_id = None if run is None else run.thread_id
        missing = f"There is no run '{given['run_id']}'"
        action = "update" if request.method == "POST" else "read"
    elif "thread_id" in given:
        thread_id, missing = given["thread_id"], f"There is no thread '{given['thread_id']}'"
    else:
        request.scope[OWNER] = await _owner(caller, "create" if request.method == "POST" else "search")
        return
    condition = await caller.authorize("threads", action, {"thread_id": thread_id})
    if thread_id is None or not _is_seen(await conversations.runtime.threads.info(thread_id), caller, condition):
        raise LookupError(missing)


def _is_seen(thread: Thread, caller: Caller, condition: Filter | None) -> bool:
    """Return whether a thread is the caller's, and passes what its handlers ask for."""
    kept: Mapping[str, Any] = {**thread.metadata, "owner": thread.owner}
    return thread.owner == caller.identity and passes(condition, kept)


async def _owner(caller: Caller, action: str) -> str:
    """Return whose threads a caller makes and lists: its own, if it may at all."""
    await caller.authorize("threads", action, {"metadata": {}})
    return caller.identity
