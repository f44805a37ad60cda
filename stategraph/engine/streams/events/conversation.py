"""The projection that shows each answer of a model as a separate stream.

Answers arrive as events of their content blocks and are told apart by the run of the model. A message that comes in
one piece, since a node returned it, is shown as a stream that is complete. Message chunks of the older protocol and
results of tools are left out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from langchain_core.messages import AIMessageChunk, BaseMessage, ToolMessage

from stategraph.engine.streams.events.queue import StreamChannel
from stategraph.engine.streams.events.transformer import Namespace, ProtocolEvent, StreamTransformer

if TYPE_CHECKING:
    from langchain_core.language_models.chat_model_stream import AsyncChatModelStream, ChatModelStream

MessageStream: TypeAlias = "ChatModelStream | AsyncChatModelStream"


class MessagesTransformer(StreamTransformer):
    """Shows the answers in its own run; those in nested runs are on their handles."""

    _native: ClassVar[bool] = True
    required_stream_modes: ClassVar[tuple[str, ...]] = ("messages",)

    def __init__(self, scope: Namespace = ()) -> None:
        """Show the messages of the run with this namespace."""
        super().__init__(scope)
        self._namespace = list(scope)
        self._log: StreamChannel[MessageStream] = StreamChannel()
        self._by_run: dict[str, MessageStream] = {}
        self._ignored_runs: set[str] = set()
        self._pump_fn: Callable[[], bool] | None = None
        self._apump_fn: Callable[[], Awaitable[bool]] | None = None

    def init(self) -> dict[str, Any]:
        """Return one queue of streams, `messages`."""
        return {"messages": self._log}

    def process(self, event: ProtocolEvent) -> bool:
        """Show a message, or pass a piece on to the stream it belongs to; let all pass."""
        params = event["params"]
        if event["method"] != "messages" or params["namespace"] != self._namespace:
            return True
        payload, metadata = params["data"]
        match payload:
            case {"event": _}:
                self._route(payload, str(metadata.get("run_id", "")), metadata.get("langgraph_node"))
            case AIMessageChunk() | ToolMessage():
                pass
            case BaseMessage():
                # Imported here, as in `_new_stream`: models import it anyway, and for runs without one it would hold up
                # the event loop for 30 ms.
                from langchain_core.language_models._compat_bridge import message_to_events

                stream = self._new_stream(metadata.get("langgraph_node"), payload.id)
                for piece in message_to_events(payload, message_id=payload.id):
                    stream.dispatch(piece)
                self._log.push(stream)
        return True

    def finalize(self) -> None:
        """Forget the streams: each ends with its message."""
        self._by_run.clear()
        self._ignored_runs.clear()

    def fail(self, err: BaseException) -> None:
        """End the streams of unfinished messages with the error of the run."""
        for stream in self._by_run.values():
            stream.fail(err)
        self.finalize()

    def _route(self, piece: Any, run_id: str, node: str | None) -> None:
        begins, ends = (piece["event"] == kind for kind in ("message-start", "message-finish"))
        if begins and piece.get("role") == "tool":
            self._ignored_runs.add(run_id)
        elif begins:
            message_id = piece.get("message_id")
            stream = self._new_stream(node, None if message_id is None else str(message_id))
            self._by_run[run_id] = stream
            self._log.push(stream)
            stream.dispatch(piece)
        elif run_id in self._ignored_runs:
            if ends:
                self._ignored_runs.discard(run_id)
        elif (known := self._by_run.get(run_id)) is not None:
            known.dispatch(piece)
            if ends:
                del self._by_run[run_id]

    def _new_stream(self, node: str | None, message_id: str | None) -> MessageStream:
        from langchain_core.language_models.chat_model_stream import AsyncChatModelStream, ChatModelStream

        if self._pump_fn is not None and self._apump_fn is None:
            stream = ChatModelStream(namespace=[], node=node, message_id=message_id)
            stream.set_request_more(self._pump_fn)
            return stream
        astream = AsyncChatModelStream(namespace=[], node=node, message_id=message_id)
        if self._apump_fn is not None:
            astream.set_arequest_more(self._apump_fn)
        return astream

    # Called by the mux, so that reading a message pulls the run.

    def _bind_pump(self, fn: Callable[[], bool]) -> None:
        self._pump_fn = fn

    def _bind_apump(self, fn: Callable[[], Awaitable[bool]]) -> None:
        self._apump_fn = fn
