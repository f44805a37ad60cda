"""Frames on a stream of bytes: four bytes of length, most significant first, then so many bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

_HEAD: Final = 4


class FrameTooLong(ValueError):
    """A frame has more bytes than the other end may send."""


def framed(data: bytes) -> bytes:
    """Return bytes with their length in front."""
    return len(data).to_bytes(_HEAD, "big") + data


class FrameCutter:
    """Cuts a stream of bytes into the frames that it holds.

    Args:
        most_bytes: The most bytes of a frame; None: no limit, for an end that is trusted.
    """

    def __init__(self, most_bytes: int | None = None) -> None:
        self._buffer = bytearray()
        self._most = most_bytes

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take bytes, and yield each frame that is whole now.

        Raises:
            FrameTooLong: The next frame has more than `most_bytes`; it is not waited for.
        """
        buffer = self._buffer
        buffer += data
        position = 0
        try:
            while len(buffer) - position >= _HEAD:
                begin = position + _HEAD
                length = int.from_bytes(buffer[position:begin], "big")
                if self._most is not None and length > self._most:
                    raise FrameTooLong(f"A message of {length:,} bytes was announced; at most {self._most:,} may come")
                end = begin + length
                if len(buffer) < end:
                    break
                position = end
                yield bytes(buffer[begin:end])
        finally:
            del buffer[:position]
