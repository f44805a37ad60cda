"""Threads: listed, made, read, renamed, deleted, exported; turns, answers and events of one."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from stategraph.dev import attachments, history
from stategraph.dev.addresses import ThreadRoute
from stategraph.dev.conversations import Conversations
from stategraph.dev.following import ThreadStream
from stategraph.dev.replies import RefusedError, as_number, body_of, number_of, reply, text_of
from stategraph.run.json_safe import to_json

PAGE = 50
#: Where the scope of a request has the owner of the threads that it makes and lists; None, or not there: any.
OWNER = "stategraph.owner"

_RUN_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def conversations_of(request: Request) -> Conversations:
    """Return the conversations of the server."""
    conversations: Conversations = request.app.state.conversations
    return conversations


async def listed(request: Request) -> Response:
    """Return a page of threads, the newest first; `q` searches titles."""
    threads = conversations_of(request).runtime.threads
    sought, after = request.query_params.get("q", "").strip(), request.query_params.get("after") or None
    limit, owner = number_of(request, "limit", PAGE, 200) or PAGE, request.scope.get(OWNER)
    page = await (
        threads.search(sought, owner=owner, limit=limit, after=after)
        if sought
        else threads.list(owner=owner, limit=limit, after=after)
    )
    return reply({"threads": [each.to_json() for each in page.threads], "next": page.next})


async def made(request: Request) -> Response:
    """Make a thread; `title` is optional."""
    conversations = conversations_of(request)
    title = text_of(await body_of(request, "title"), "title", needed=False, most=200)
    thread = await conversations.runtime.threads.create(title=title.strip() or None, owner=request.scope.get(OWNER))
    conversations.changes.notify()
    return reply(thread.to_json(), 201)


async def read(request: Request) -> Response:
    """Return a thread with its turns, its newest run, and what it waits for."""
    conversations, thread_id = conversations_of(request), request.path_params["thread_id"]
    turn = conversations.newest(thread_id)
    followed = turn is not None and conversations.is_followed(turn)
    view = await conversations.runtime.threads.get(thread_id)
    told = history.shown(view, turn.run_id if turn is not None and followed else None, conversations.prices)
    run = None if turn is None else {**conversations.shown(turn), "followed": followed}
    return reply({**told, "run": run})


async def renamed(request: Request) -> Response:
    """Give a thread another title."""
    conversations, thread_id = conversations_of(request), request.path_params["thread_id"]
    title = text_of(await body_of(request, "title"), "title", most=200).strip()
    thread = await conversations.runtime.threads.rename(thread_id, title)
    conversations.changes.notify()
    return reply(thread.to_json())


async def deleted(request: Request) -> Response:
    """Erase a thread with everything that is kept of it; a run that goes on in it is a conflict."""
    conversations, thread_id = conversations_of(request), request.path_params["thread_id"]
    await conversations.erase(thread_id)
    return Response(status_code=204)


async def exported(request: Request) -> Response:
    """Return a thread as a file of JSON."""
    thread_id = request.path_params["thread_id"]
    told = await conversations_of(request).runtime.threads.export(thread_id)
    return _download(to_json(told).encode(), f"{thread_id}.json", "application/json")


async def file(request: Request) -> Response:
    """Return a file of a thread's state."""
    thread_id, path = request.path_params["thread_id"], request.path_params["path"]
    view = await conversations_of(request).runtime.threads.get(thread_id)
    found = attachments.files_in(view.values)
    if path not in found:
        raise LookupError(f"Thread '{thread_id}' has no file '{path}'")
    return _download(found[path], path.rpartition("/")[2], "application/octet-stream")


async def turn(request: Request) -> Response:
    """Begin a turn: `run_id` names it, so that it may be sent again; `text`, and `files` with name, type and data."""
    conversations, thread_id = conversations_of(request), request.path_params["thread_id"]
    body = await body_of(request, "run_id", "text", "files")
    run_id = text_of(body, "run_id", most=64)
    if not _RUN_ID.fullmatch(run_id):
        raise RefusedError(400, f"'run_id' is {run_id!r:.80}; send 1 to 64 letters, digits, '-' and '_'")
    content: list[dict[str, Any]] = attachments.blocks_of(body.get("files"), conversations.target.accepts)
    text = text_of(body, "text", needed=not content)
    if text:
        content = [{"type": "text", "text": text}, *content]
    begun = await conversations.begin(thread_id, run_id, content)
    return reply(conversations.shown(begun), 201)


async def answered(request: Request) -> Response:
    """Answer what a thread waits for: `answers` by the ids of the questions."""
    conversations = conversations_of(request)
    answers = (await body_of(request, "answers")).get("answers")
    if not isinstance(answers, dict) or not answers:
        raise RefusedError(400, "'answers' has to be an object of answers by the ids of the questions")
    turn = await conversations.answer(request.path_params["thread_id"], answers)
    return reply(conversations.shown(turn))


async def continued(request: Request) -> Response:
    """Go on with a turn that was cut off."""
    conversations = conversations_of(request)
    await body_of(request)
    return reply(conversations.shown(await conversations.go_on(request.path_params["thread_id"])))


async def events(request: Request) -> ASGIApp:
    """Stream the events of a thread's runs, from behind `run` and `after_seq` or `Last-Event-ID`."""
    conversations, thread_id = conversations_of(request), request.path_params.get("thread_id")
    if thread_id is not None:
        await conversations.runtime.threads.info(thread_id)
    run_id = request.query_params.get("run") or None
    has_all = request.query_params.get("after_seq") == "end"
    seq = None if has_all else number_of(request, "after_seq", 0, 2**53)
    if last := request.headers.get("last-event-id"):
        named, _, digits = last.rpartition("/")
        number = as_number(digits)
        if not named or number is None:
            raise RefusedError(400, f"'Last-Event-ID' is {last!r:.80}; send the id of a frame, such as 'run/17'")
        run_id, seq = named, number
    return ThreadStream(conversations, conversations.changes, thread_id, run_id, seq)


def _download(content: bytes, name: str, kind: str) -> Response:
    disposition = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
    return Response(content, media_type=kind, headers={"Content-Disposition": disposition, "Cache-Control": "no-store"})


routes = [
    Route("/api/events", events),
    Route("/api/threads", listed),
    Route("/api/threads", made, methods=["POST"]),
    ThreadRoute("/api/threads/{thread_id}", read),
    ThreadRoute("/api/threads/{thread_id}", renamed, methods=["PATCH"]),
    ThreadRoute("/api/threads/{thread_id}", deleted, methods=["DELETE"]),
    ThreadRoute("/api/threads/{thread_id}/export", exported),
    ThreadRoute("/api/threads/{thread_id}/files/{path:path}", file),
    ThreadRoute("/api/threads/{thread_id}/turns", turn, methods=["POST"]),
    ThreadRoute("/api/threads/{thread_id}/answers", answered, methods=["POST"]),
    ThreadRoute("/api/threads/{thread_id}/continue", continued, methods=["POST"]),
    ThreadRoute("/api/threads/{thread_id}/events", events),
]
