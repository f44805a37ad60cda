"""Messages on a stream of bytes: four bytes of length, most significant first, then so many bytes of msgpack."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from stategraph.errors import TransferError
from stategraph.workers.process import frames
from stategraph.workers.wire import Message, pack, unpack

#: The longest message, in bytes. Larger values belong into a store.
MOST_BYTES = 64 * 1024 * 1024


def frame(message: Message) -> bytes:
    """Return a message with its length in front.

    Raises:
        TransferError: It is too long.
    """
    data = pack(message)
    if len(data) > MOST_BYTES:
        raise TransferError(
            f"A message of the kind {message[0]!r} has {len(data):,} bytes; at most {MOST_BYTES:,} can be sent "
            "to or from a worker. Store the value and send its key"
        )
    return frames.framed(data)


class Frames:
    """Cuts a stream of bytes into the messages that it holds."""

    def __init__(self) -> None:
        self._cutter = frames.FrameCutter()

    def feed(self, data: bytes) -> Iterator[Message]:
        """Take bytes, and yield each message that is whole now."""
        for each in self._cutter.feed(data):
            yield unpack(each)


class Framed(asyncio.Protocol):
    """Both ends of the socket between a host and a worker.

    Args:
        receive: Called with each message.
        lost: Called once, when the other end is gone.
    """

    def __init__(self, receive: Callable[[Message], None], lost: Callable[[], None]) -> None:
        self._receive = receive
        self._lost = lost
        self._frames = Frames()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take bytes, and hand on each message that is whole."""
        for message in self._frames.feed(data):
            self._receive(message)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell that the other end is gone."""
        self._lost()

    def send(self, message: Message) -> None:
        """Send a message; one that finds no other end is dropped.

        Raises:
            TransferError: It is too long.
        """
        data = frame(message)
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        """Send the remaining messages, then leave."""
        if self._transport is not None:
            self._transport.close()
