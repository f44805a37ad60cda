"""The worker's end of the connection to the process of the run: one node at a time, in the process's main thread.

Rules
-----
* The function of a node runs in the thread that reads the connection, so nothing is handed from thread to thread. While
  it runs nothing is read, except for the answer to a call.
* Events and calls may come from several threads of the function. Messages are written whole; calls are made one after
  the other, and who makes one reads its answer.
* A writer waits while the process of the run does not read: that is all there is to hold back a node that tells more
  than is taken.
* Nothing is sent for a node after its end.
"""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from stategraph.errors import AbortError
from stategraph.workers.process.framing import Frames, frame
from stategraph.workers.references import Targets
from stategraph.workers.wire import Codec, Message, encode

#: Bytes that are read at a time.
READ_BYTES: Final = 256 * 1024


class HungUp(Exception):
    """The process of the run is gone."""


def received(connected: socket.socket) -> bytes:
    """Return bytes of a socket as they come.

    Raises:
        HungUp: The other end is gone.
        TimeoutError: The socket has a time limit, which has passed.
    """
    try:
        data = connected.recv(READ_BYTES)
    except ConnectionError:
        data = b""
    if not data:
        raise HungUp
    return data


class Connection:
    """The worker's end of the socket, in blocking mode.

    Args:
        connected: The socket.
    """

    def __init__(self, connected: socket.socket) -> None:
        connected.setblocking(True)
        self._socket = connected
        self._frames = Frames()
        self._received: deque[Message] = deque()
        self._writing = threading.Lock()

    def read(self) -> Message:
        """Wait for the next message.

        Raises:
            HungUp: The other end is gone.
        """
        while not self._received:
            self._received.extend(self._frames.feed(received(self._socket)))
        return self._received.popleft()

    def write(self, message: Message) -> None:
        """Send a message; one that finds no other end is dropped.

        Raises:
            TransferError: It is too long.
        """
        data = frame(message)
        with self._writing:
            try:
                self._socket.sendall(data)
            except ConnectionError:  # who reads notices
                return


class NodePort:
    """Reaches the process of the run for a node on a worker.

    Args:
        connection: The connection.
        targets: What the node may import.
        codec: Writes and reads values.
        name: The node's attempt, for messages.

    Attributes:
        codec: Writes and reads values.
        targets: What the node may import.
    """

    def __init__(self, connection: Connection, targets: Targets, codec: Codec, name: str) -> None:
        self.codec = codec
        self.targets = targets
        self._name = name
        self._connection = connection
        self._over = False
        self._asked = 0
        self._asking = threading.Lock()
        self._telling = threading.Lock()

    def emit_from_thread(self, event: str, data: object = None, metadata: Mapping[str, object] | None = None) -> None:
        """Tell an event; after the node's end it is dropped.

        Raises:
            TransferError: The data have no stored form.
        """
        encoded = encode((data, metadata), f"The data of the event '{event}' of job '{self._name}'")
        with self._telling:
            if not self._over:
                self._connection.write(("event", event, encoded))

    def call_from_thread(self, name: str, value: object = None) -> Any:
        """Ask the process of the run, and wait for its answer.

        Raises:
            TransferError: The value has no stored form.
            AbortError: The node has ended.
            Exception: What was raised there.
        """
        encoded = encode(value, f"The argument of the call '{name}' of job '{self._name}'")
        with self._asking:
            if self._over:
                raise AbortError(f"Job '{self._name}' has ended here, so its host answers nothing any more")
            self._asked += 1
            self._connection.write(("call", self._asked, name, encoded))
            _, number, worked, content = self._connection.read()
        if worked:
            return self.codec.decode(content, "The host's answer")
        error = self.codec.rebuild(content)
        # The host has the exception itself, and is told which of its answers came back.
        error.__dict__["_stategraph_reply"] = number
        raise error

    def end(self, last: Message) -> None:
        """Send the last message, when no thread waits for an answer any more."""
        with self._asking, self._telling:
            self._over = True
            self._connection.write(last)
