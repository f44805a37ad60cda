"""Tool calls as a projection of an event stream: one handle for each call, filled while it runs.

The projection is `run.tool_calls` of a graph that was compiled with `transformers=[ToolCallTransformer]`. The handles
are objects of this process: they are no events themselves, and the events that they are made of stay in the stream.
Calls of nested graphs belong to the streams of these.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from langchain_core.messages import ToolMessage

from stategraph.engine.streams.events.queue import StreamChannel
from stategraph.engine.streams.events.transformer import ProtocolEvent, StreamTransformer


class ToolCallStream:
    """One tool call, as far as it is known.

    Iterating over it, sync or async as the run is read, yields the parts of the output that the tool has shown.

    Attributes:
        tool_call_id: The id of the call.
        tool_name: The name of the tool.
        input: The arguments; None if they are not known.
        output: What the tool returned; None while it runs, and if it failed.
        error: The text of the error; None while it runs, and if it did not fail.
        completed: True as soon as the call has ended.
    """

    def __init__(self, tool_call_id: str, tool_name: str, input: dict[str, Any] | None = None) -> None:
        """Make the handle of a call that has started.

        Args:
            tool_call_id: The id of the call.
            tool_name: The name of the tool.
            input: The arguments; None if they are not known.
        """
        self.tool_call_id = tool_call_id
        self.tool_name = tool_name
        self.input = input
        self.output: object = None
        self.error: str | None = None
        self.completed = False
        self._output_deltas: StreamChannel[object] = StreamChannel()

    @property
    def output_deltas(self) -> StreamChannel[object]:
        """The parts of the output, in order; closed when the call ends."""
        return self._output_deltas

    def __iter__(self) -> Iterator[object]:
        """Read the parts of the output of a run that is read synchronously."""
        return iter(self._output_deltas)

    def __aiter__(self) -> AsyncIterator[object]:
        """Read the parts of the output of a run that is read asynchronously."""
        return self._output_deltas.__aiter__()

    def __repr__(self) -> str:
        status = "running" if not self.completed else "completed" if self.error is None else "failed"
        return f"ToolCallStream(tool_call_id={self.tool_call_id!r}, tool_name={self.tool_name!r}, status={status})"

    # Called by the transformer.

    def _bind(self, *, is_async: bool) -> None:
        self._output_deltas._bind(is_async=is_async)

    def _push_delta(self, delta: object) -> None:
        self._output_deltas.push(delta)

    def _finish(self, output: object) -> None:
        self.output = output
        self._close()

    def _fail(self, message: str) -> None:
        self.error = message
        self._close()

    def _close(self) -> None:
        self.completed = True
        self._output_deltas.close()


class ToolCallTransformer(StreamTransformer):
    """Makes a `ToolCallStream` of the events of each tool call of a run."""

    _native = True
    required_stream_modes = ("tools",)

    def __init__(self, scope: tuple[str, ...] = ()) -> None:
        """Make a transformer for one run.

        Args:
            scope: Namespace of that run.
        """
        super().__init__(scope)
        self._log: StreamChannel[ToolCallStream] = StreamChannel()
        self._active: dict[str, ToolCallStream] = {}
        self._pull: Callable[[], bool] | None = None
        self._apull: Callable[[], Awaitable[bool]] | None = None

    def init(self) -> dict[str, object]:
        """Return the projection: `tool_calls`."""
        return {"tool_calls": self._log}

    def process(self, event: ProtocolEvent) -> bool:
        """Take in an event.

        Args:
            event: The event; it stays as it is.

        Returns:
            True: readers get it too.
        """
        if event["method"] == "tools" and tuple(event["params"]["namespace"]) == self.scope:
            data = event["params"]["data"]
            if data.get("tool_call_id") is not None:
                self._take(data["tool_call_id"], data)
        return True

    def _take(self, call_id: str, data: dict[str, Any]) -> None:
        match data.get("event"):
            case "tool-started":
                self._active[call_id] = self._started(call_id, data)
                self._log.push(self._active[call_id])
            case "tool-output-delta" if call_id in self._active:
                self._active[call_id]._push_delta(data.get("delta"))
            case "tool-finished" if call_id in self._active:
                self._active.pop(call_id)._finish(_content(data.get("output")))
            case "tool-error" if call_id in self._active:
                self._active.pop(call_id)._fail(data.get("message", ""))

    def _started(self, call_id: str, data: dict[str, Any]) -> ToolCallStream:
        call = ToolCallStream(call_id, data.get("tool_name", ""), data.get("input"))
        call._bind(is_async=self._apull is not None)
        call._output_deltas._request_more = self._pull
        call._output_deltas._arequest_more = self._apull
        return call

    def finalize(self) -> None:
        """End the calls whose end was not told, when the run has ended."""
        self._end_all(lambda call: call._finish(None))

    def fail(self, err: BaseException) -> None:
        """Fail the calls that were running, when the run has failed.

        Args:
            err: The error of the run.
        """
        self._end_all(lambda call: call._fail(str(err)))

    def _end_all(self, end: Callable[[ToolCallStream], None]) -> None:
        for call in self._active.values():
            if not call.completed:
                end(call)
        self._active.clear()

    # Called by the engine that drives the transformers.

    def _bind_pump(self, fn: Callable[[], bool]) -> None:
        """Note how a sync reader asks the run for more."""
        self._pull, self._apull = fn, None

    def _bind_apump(self, fn: Callable[[], Awaitable[bool]]) -> None:
        """Note how an async reader asks the run for more."""
        self._apull = fn


def _content(output: object) -> object:
    """Return the content of a message, also of one that was written as JSON; any other output as it is."""
    if isinstance(output, ToolMessage):
        return output.content
    if isinstance(output, dict) and output.get("type") == "constructor":
        name, fields = output.get("id"), output.get("kwargs")
        if isinstance(name, list) and name[-1] == "ToolMessage" and isinstance(fields, dict):
            return fields.get("content")
    return output
