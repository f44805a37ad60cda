"""The host's side of one attempt of a node on a worker: what is sent, and what is made of what comes. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from stategraph.errors import TransferError, WorkerError
from stategraph.workers import carrying
from stategraph.workers.nodes import callback_relay
from stategraph.workers.process.framing import Frames, frame
from stategraph.workers.wire import Codec, Message, encode


class NodeAttempt:
    """One attempt of a node.

    Args:
        name: Its name, for messages: the node's, the task's id and a number.
        node: The node.
        given: What the function needs, for `stategraph.workers.nodes.child`.
        packages: Packages whose modules the worker may import for it.
        sink: Takes what the function tells; called where the attempt is waited for.
        calls: What the function may ask of this process, by name; called in the same place.

    Attributes:
        name: Its name.
        packages: The packages.
        opening: The bytes that begin it.
        is_over: Whether the worker has ended it.

    Raises:
        TransferError: What the function needs has no stored form, or is too large.
    """

    def __init__(
        self,
        name: str,
        node: str,
        given: Mapping[str, Any],
        packages: frozenset[str],
        sink: NodeSink,
        calls: Mapping[str, Callable[[Any], Any]],
    ) -> None:
        self.name = name
        self.packages = packages
        content = encode(given, f"The state of node '{node}'")
        self.opening = frame(("node", name, carrying.traceparent(), content))
        self.is_over = False
        self._sink = sink
        self._calls = calls
        self._raised: dict[int, Exception] = {}
        self._frames = Frames()
        self._result: Any = None
        self._error: BaseException | None = None

    def take(self, data: bytes, codec: Codec) -> bytes:
        """Take bytes of the worker.

        Args:
            data: The bytes.
            codec: Reads values for the worker.

        Returns:
            The bytes to send to it; empty: none.

        Raises:
            TransferError: What it told cannot be read.
            Exception: What taking it has raised.
        """
        answers = [self._take(message, codec) for message in self._frames.feed(data)]
        return b"".join(answers)

    def result(self) -> Any:
        """Return what the function returned, or raise what it raised."""
        if self._error is not None:
            raise self._error
        return self._result

    def lost(self, worker: str, how: str) -> WorkerError:
        """Return the error of an attempt whose worker is gone."""
        return WorkerError(f"Worker '{worker}' {how}, while it held job '{self.name}'")

    def _take(self, message: Message, codec: Codec) -> bytes:
        match message:
            case ("event", event, content):
                data, _ = codec.decode(content, f"The event '{event}' of job '{self.name}'")
                self._sink.put(event, data)
            case ("call", number, name, content):
                return self._answered(number, name, content, codec)
            case ("done", content):
                self.is_over = True
                try:
                    self._result = codec.decode(content, f"The result of job '{self.name}'")
                except TransferError as error:
                    self._error = error
            case ("failed", record):
                self.is_over = True
                # The very exception, if this process raised it in answer to a call.
                self._error = self._raised.get(record.get("reply") or 0) or codec.rebuild(record)
        return b""

    def _answered(self, number: int, name: str, content: bytes, codec: Codec) -> bytes:
        """Return the answer to a call, as bytes to send."""
        try:
            value = self._calls[name](codec.decode(content, f"The argument of the call '{name}'"))
            answer = encode(value, f"The host's answer to the call '{name}' of job '{self.name}'")
            return frame(("reply", number, True, answer))
        except Exception as error:  # also an answer that cannot be sent
            self._raised[number] = error
            return frame(("reply", number, False, codec.describe(error, "the host")))


class NodeSink:
    """Takes what a node tells to the custom stream and the callbacks of its run.

    Args:
        write: Writes to the custom stream.
        listeners: Hear what models and tools do; None: nobody.
    """

    def __init__(self, write: Callable[[Any], None], listeners: callback_relay.Listeners | None) -> None:
        self._write = write
        self._listeners = listeners

    def put(self, event: str, data: Any) -> None:
        """Take an event."""
        if event == "custom":
            self._write(data)
        elif event == callback_relay.EVENT and self._listeners is not None:
            self._listeners.tell(data)
