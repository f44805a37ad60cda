"""Messages of streams, kept for clients that come back with the id of the last one that they have (2025-11-25).

They are kept in the process, as the session is; what a call does is in the log of its run, wherever its client is.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Final

from mcp.server.streamable_http import EventCallback, EventId, EventMessage, EventStore, StreamId
from mcp_types import JSONRPCMessage

#: Streams that are kept, and messages of each.
MOST_STREAMS: Final = 10_000
MOST_MESSAGES: Final = 1_000


class Messages(EventStore):
    """Keeps the newest messages of the newest streams."""

    def __init__(self) -> None:
        self._streams: OrderedDict[StreamId, deque[tuple[int, JSONRPCMessage | None]]] = OrderedDict()
        self._last = 0

    async def store_event(self, stream_id: StreamId, message: JSONRPCMessage | None) -> EventId:
        """Keep a message; return its id, which names its stream and is greater than those before."""
        self._last += 1
        kept = self._streams.setdefault(stream_id, deque(maxlen=MOST_MESSAGES))
        self._streams.move_to_end(stream_id)
        kept.append((self._last, message))
        while len(self._streams) > MOST_STREAMS:
            self._streams.popitem(last=False)
        return f"{stream_id}/{self._last}"

    async def replay_events_after(self, last_event_id: EventId, send_callback: EventCallback) -> StreamId | None:
        """Send the messages of a stream after one of them; return the stream, None if it is not known."""
        stream_id, _, number = last_event_id.rpartition("/")
        if stream_id not in self._streams or not number.isdigit():
            return None
        for seq, message in list(self._streams[stream_id]):
            if seq > int(number) and message is not None:
                await send_callback(EventMessage(message, f"{stream_id}/{seq}"))
        return stream_id
