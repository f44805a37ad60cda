"""The routes of threads and their states."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from stategraph.dev.replies import as_number
from stategraph.server.langgraph import answers, schemas, snapshots
from stategraph.server.langgraph.answers import answer, caller_of
from stategraph.server.langgraph.checks import body_of, checked_id, id_of
from stategraph.server.service.port import Service
from stategraph.server.service.values import ConflictError, InvalidError, MalformedError, NotFoundError, Thread

#: What is extracted is a part of one of these.
_ROOTS: Final = ("config", "interrupts", "metadata", "values")

_STEP: Final = re.compile(r"\.?([^.\[\]]+)|\[(-?\d{1,9})\]")

#: Values of a query that mean yes.
_YES: Final = ("1", "true", "yes", "on")


def routes(service: Service) -> list[BaseRoute]:
    """Return the routes of threads."""
    own, states = ThreadRoutes(service), StateRoutes(service)
    one = "/threads/{thread_id}"
    return [
        Route("/threads", own.create, methods=["POST"]),
        Route("/threads/search", own.search, methods=["POST"]),
        Route("/threads/count", own.count, methods=["POST"]),
        Route("/threads/prune", own.prune, methods=["POST"]),
        Route(f"{one}/copy", own.copy, methods=["POST"]),
        Route(f"{one}/storage", states.storage),
        Route(f"{one}/state", states.get),
        Route(f"{one}/state", states.update, methods=["POST"]),
        Route(f"{one}/state/checkpoint", states.at, methods=["POST"]),
        Route(f"{one}/state/{{checkpoint_id}}", states.get),
        Route(f"{one}/history", states.history, methods=["GET", "POST"]),
        Route(one, own.get),
        Route(one, own.update, methods=["PATCH"]),
        Route(one, own.delete, methods=["DELETE"]),
    ]


class ThreadRoutes:
    """The endpoints of threads.

    Args:
        service: What they call.
    """

    def __init__(self, service: Service) -> None:
        self._threads = service.threads

    async def create(self, request: Request) -> Response:
        """Make a thread."""
        body = await body_of(request, schemas.THREAD_CREATE)
        given = body.get("thread_id")
        made = await self._threads.create(
            caller_of(request),
            thread_id=None if given is None else checked_id(given, "thread"),
            metadata=body.get("metadata"),
            if_exists=body.get("if_exists", "raise"),
            ttl=body.get("ttl"),
            supersteps=body.get("supersteps"),
        )
        return answer(record(made))

    async def search(self, request: Request) -> Response:
        """List threads."""
        body = await body_of(request, schemas.THREAD_SEARCH)
        page, paths = answers.page_of(body), _paths(body.get("extract"))
        found = await self._threads.search(
            caller_of(request),
            metadata=body.get("metadata"),
            values=body.get("values"),
            ids=[_known(each) for each in body.get("ids") or ()],
            status=body.get("status"),
            page=answers.further(page),
        )
        select = body.get("select")
        if paths and select:
            select = [*select, "extracted"]
        return answers.listed([{**record(each), **_extracted(each, paths)} for each in found], page, select)

    async def count(self, request: Request) -> Response:
        """Count threads."""
        body = await body_of(request, schemas.THREAD_COUNT)
        number = await self._threads.count(
            caller_of(request),
            metadata=body.get("metadata"),
            values=body.get("values"),
            status=body.get("status"),
        )
        return answer(number)

    async def get(self, request: Request) -> Response:
        """Return a thread."""
        return answer(record(await self._threads.get(caller_of(request), id_of(request, "thread_id", "thread"))))

    async def update(self, request: Request) -> Response:
        """Merge metadata into a thread's."""
        thread_id = id_of(request, "thread_id", "thread")
        body = await body_of(request, schemas.THREAD_PATCH)
        try:
            changed = await self._threads.update(
                caller_of(request), thread_id, body.get("metadata") or {}, ttl=body.get("ttl")
            )
        except NotFoundError:
            raise NotFoundError("Not Found") from None
        return answer(record(changed))

    async def delete(self, request: Request) -> Response:
        """Delete a thread."""
        await self._threads.delete(caller_of(request), id_of(request, "thread_id", "thread"))
        return answers.nothing()

    async def copy(self, request: Request) -> Response:
        """Copy a thread."""
        try:
            made = await self._threads.copy(caller_of(request), id_of(request, "thread_id", "thread"))
        except NotFoundError:
            raise ConflictError("Conflict") from None
        kept = ("thread_id", "created_at", "updated_at", "state_updated_at", "metadata", "status", "config")
        return answer(answers.selected(record(made), kept))

    async def prune(self, request: Request) -> Response:
        """Delete threads, or their old checkpoints."""
        body = await body_of(request, schemas.THREAD_PRUNE)
        ids = [checked_id(each, "thread") for each in body["thread_ids"]]
        number = await self._threads.prune(caller_of(request), ids, body.get("strategy", "delete"))
        return answer({"pruned_count": number})


class StateRoutes:
    """The endpoints of states of threads.

    Args:
        service: What they call.
    """

    def __init__(self, service: Service) -> None:
        self._threads = service.threads

    async def get(self, request: Request) -> Response:
        """Return the state of a thread, at its newest checkpoint or at one that the path names."""
        thread_id = id_of(request, "thread_id", "thread")
        named = request.path_params.get("checkpoint_id")
        checkpoint = None if named is None else {"checkpoint_id": named}
        subgraphs = request.query_params.get("subgraphs", "false").lower() in _YES
        state = await self._threads.state(caller_of(request), thread_id, checkpoint, subgraphs=subgraphs)
        shown = snapshots.record(state)
        if named is not None and shown["checkpoint"] is not None:  # as it was asked for
            shown["checkpoint"].pop("checkpoint_ns", None)
        return answer(snapshots.selected(shown, request.query_params.getlist("select")))

    async def storage(self, request: Request) -> Response:
        """Return what is stored of a thread."""
        thread_id = id_of(request, "thread_id", "thread")
        found = await self._threads.storage(caller_of(request), thread_id)
        of_values = sum(found.channels.values())
        values = {"count": found.values, "bytes": of_values, "by_channel": found.channels}
        told = {
            "thread_id": thread_id,
            "total_bytes": found.checkpoint_bytes + of_values + found.write_bytes,
            "checkpoints": {"count": found.checkpoints, "bytes": found.checkpoint_bytes},
            "channel_values": values,
            "pending_writes": {"count": found.writes, "bytes": found.write_bytes},
        }
        return answer(told)

    async def at(self, request: Request) -> Response:
        """Return the state of a thread at a checkpoint."""
        thread_id = id_of(request, "thread_id", "thread")
        body = await body_of(request, schemas.STATE_AT)
        subgraphs = bool(body.get("subgraphs", False))
        state = await self._threads.state(caller_of(request), thread_id, body["checkpoint"], subgraphs=subgraphs)
        return answer(snapshots.selected(snapshots.record(state), body.get("select")))

    async def update(self, request: Request) -> Response:
        """Write to a thread as a node would."""
        thread_id = id_of(request, "thread_id", "thread")
        body = await body_of(request, schemas.STATE_UPDATE)
        checkpoint = body.get("checkpoint")
        if body.get("checkpoint_id"):
            checkpoint = {**(checkpoint or {}), "checkpoint_id": body["checkpoint_id"]}
        config = await self._threads.update_state(
            caller_of(request),
            thread_id,
            body.get("values"),
            as_node=body.get("as_node"),
            checkpoint=checkpoint,
        )
        place = snapshots.place(config)
        name = None if place is None else place.get("checkpoint_id")
        return answer({"checkpoint": place, "configurable": place, "checkpoint_id": name})

    async def history(self, request: Request) -> Response:
        """List the states of a thread."""
        thread_id = id_of(request, "thread_id", "thread")
        if request.method == "POST":
            body = await body_of(request, schemas.STATE_SEARCH)
            limit = int(body.get("limit", 1))
        else:
            body = {"before": request.query_params.get("before")}
            limit = _number(request.query_params.get("limit"), 1)
        before = body.get("before")
        found = await self._threads.history(
            caller_of(request),
            thread_id,
            limit=limit,
            before={"checkpoint_id": before} if isinstance(before, str) else before,
            metadata=body.get("metadata"),
            checkpoint=body.get("checkpoint"),
        )
        return answer([snapshots.selected(snapshots.record(each), body.get("select")) for each in found])


def record(thread: Thread) -> dict[str, Any]:
    """Return a thread as JSON."""
    shown: dict[str, Any] = {
        "thread_id": thread.thread_id,
        "created_at": answers.moment(thread.created_at),
        "updated_at": answers.moment(thread.updated_at),
        "state_updated_at": answers.moment(thread.state_updated_at),
        "metadata": thread.metadata,
        "status": thread.status,
        "config": thread.config,
        "values": thread.values,
    }
    return {**shown, "interrupts": thread.interrupts, "error": thread.error} if thread.has_state else shown


def _known(given: str) -> str:
    try:
        return checked_id(given, "thread")
    except InvalidError:
        raise MalformedError(f"Invalid thread ID {given}") from None


def _number(given: str | None, default: int) -> int:
    if given is None:
        return default
    number = as_number(given)
    if number is None or not 1 <= number <= 1000:
        raise InvalidError(f"The limit is {given!r:.40}; expected a number from 1 to 1000")
    return number


def _paths(extract: Mapping[str, Any] | None) -> Mapping[str, Sequence[str | int]]:
    """Return by alias the steps to what is extracted.

    Raises:
        InvalidError: A path is none.
    """
    found: dict[str, Sequence[str | int]] = {}
    for alias, path in (extract or {}).items():
        text = str(path)
        steps: list[str | int] = []
        end = 0
        for step in _STEP.finditer(text):
            if step.start() != end:
                break
            steps.append(step[1] if step[1] is not None else int(step[2]))
            end = step.end()
        if not steps or steps[0] not in _ROOTS:
            raise InvalidError(f"Extract path '{text}' must start with one of: {', '.join(_ROOTS)}")
        if end != len(text):
            raise InvalidError(f"Extract path '{text}' is none: write 'values.messages[-1].content'")
        found[alias] = steps
    return found


def _extracted(thread: Thread, paths: Mapping[str, Sequence[str | int]]) -> dict[str, Any]:
    if not paths:
        return {}
    whole = {name: getattr(thread, name) for name in _ROOTS}
    return {"extracted": {alias: _at(whole, steps) for alias, steps in paths.items()}}


def _at(value: Any, steps: Sequence[str | int]) -> Any:
    for step in steps:
        if isinstance(step, int):
            value = value[step] if isinstance(value, list) and -len(value) <= step < len(value) else None
        else:
            value = value.get(step) if isinstance(value, Mapping) else None
    return value
