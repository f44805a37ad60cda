"""Event streams of a thread: the events of its newest run, then of the next, for as long as the page is open.

A frame of a run has the id `run~log/number`, which a browser that lost the connection sends back as `Last-Event-ID`
(https://html.spec.whatwg.org/#server-sent-events); the stream goes on behind it. Frames:

- `run`: a run has begun, or one that the reader does not know; its events follow from the first.
- `event`: an event of the run, `{"run", "seq", "event", "data"}`.
- `paused`: an execution of the run is over: `run` as `Conversations.shown` has it, with its error, if there was one.
- `gone`: the run or the log that the reader named is not of this process, as after a restart of the server, so its
  numbers say nothing: it reads the thread again.
- `threads`: something has changed in the list of threads.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio
from starlette.types import Receive, Scope, Send

from stategraph.dev.changes import Changes
from stategraph.dev.conversations import Conversations
from stategraph.run.events.event_types import FRONT_END_EVENTS
from stategraph.run.json_safe import to_json

#: Seconds between comments, by which both sides notice that the other is gone.
HEARTBEAT_S = 15.0

#: Milliseconds after which a browser connects again.
_RETRY_MS = 1000

Write = Callable[[str], Awaitable[None]]


def frame(event: str, data: object, frame_id: str = "") -> str:
    """Return a frame of an event stream."""
    named = f"id: {frame_id}\n" if frame_id else ""
    return f"{named}event: {event}\ndata: {to_json(data)}\n\n"


async def send_frames(
    receive: Receive, send: Send, changes: Changes, *told: Callable[[Write], Awaitable[None]]
) -> None:
    """Send an event stream until the reader leaves, the server stops, or one of those who tell has told all.

    Args:
        receive: That of the request.
        send: That of the request.
        changes: Tells when the server stops.
        *told: Each writes frames, beside the others.
    """
    headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 200, "headers": [*headers, (b"x-accel-buffering", b"no")]})

    async def write(text: str) -> None:
        await send({"type": "http.response.body", "body": text.encode(), "more_body": True})

    async def until(wait: Callable[..., Awaitable[Any]], *arguments: Any) -> None:
        await wait(*arguments)
        tasks.cancel_scope.cancel()

    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    async def beat() -> None:
        while True:
            await anyio.sleep(HEARTBEAT_S)
            await write(": still here\n\n")

    await write(f"retry: {_RETRY_MS}\n\n")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(until, gone)
        tasks.start_soon(until, changes.closed.wait)
        tasks.start_soon(beat)
        for each in told:
            tasks.start_soon(until, each, write)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


class ThreadStream:
    """The stream of one reader, as an ASGI application.

    Args:
        conversations: The conversations.
        changes: Tells when something has begun or ended.
        thread_id: The thread; None: only changes of the list are told.
        run_id: The run that the reader has, with the log that its numbers are of, `run~log`; None: none.
        after_seq: The number of the run's last event that it has; None: it has all that there are.
    """

    def __init__(
        self,
        conversations: Conversations,
        changes: Changes,
        thread_id: str | None,
        run_id: str | None,
        after_seq: int | None,
    ) -> None:
        self._conversations = conversations
        self._changes = changes
        self._thread_id = thread_id
        self._run_id, _, self._log = (run_id or "").partition("~")
        self._after_seq = after_seq

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream until the reader leaves or the server stops."""
        told = [self._list] if self._thread_id is None else [self._list, partial(self._follow, self._thread_id)]
        await send_frames(receive, send, self._changes, *told)

    async def _list(self, write: Write) -> None:
        number = self._changes.number
        while True:
            number = await self._changes.after(number)
            await write(frame("threads", {}))

    async def _follow(self, thread_id: str, write: Write) -> None:
        """Write the events of the thread's runs, in order, each once."""
        conversations = self._conversations
        known, seq = await self._begin(write)
        told_end = False
        while True:
            number = self._changes.number
            turn = conversations.newest(thread_id)
            if turn is not None and conversations.runtime.get_run(turn.run_id) is not None:
                if turn.run_id != known:
                    known, seq = turn.run_id, 0
                    await write(frame("run", {"run": conversations.shown(turn)}, f"{known}~{conversations.log}/0"))
                before, seq = seq, await self._write_events(turn.run_id, seq, write)
                if seq != before or not told_end:
                    await turn.over()
                    await write(frame("paused", {"run": conversations.shown(turn)}))
                    told_end = True
            await self._changes.after(number)

    async def _begin(self, write: Write) -> tuple[str | None, int]:
        """Return the run that the reader has, and the number of its last event there."""
        runtime, known = self._conversations.runtime, self._run_id
        if not known:
            return None, 0
        run = runtime.get_run(known)
        if run is None or self._log not in ("", self._conversations.log):
            await write(frame("gone", {"run": known}))
            return None, 0
        if self._after_seq is not None:
            return known, self._after_seq
        seq = 0
        if not run.running:
            async for event in runtime.runs.events(known):
                seq = event.seq
        return known, seq

    async def _write_events(self, run_id: str, seq: int, write: Write) -> int:
        """Write the events after a number, and return the number of the last."""
        async for event in self._conversations.runtime.runs.events(run_id, seq):
            if event.event in FRONT_END_EVENTS:
                told = {"run": run_id, "seq": event.seq, "event": event.event, "data": event.data}
                await write(frame("event", told, f"{run_id}~{self._conversations.log}/{event.seq}"))
            seq = event.seq
        return seq
