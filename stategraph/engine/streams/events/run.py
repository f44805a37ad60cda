"""Handles of event streams: a run that advances while it is read.

Rules:

1. Nothing runs ahead of its readers: each pull takes one part from the graph's stream, and nothing else takes any.
2. Concurrent readers share the pull that is under way. Cancelling one of them leaves it to the others; cancelling the
   only one cancels the run.
3. A run that has ended, failed or been aborted stays so; what had arrived can still be read.
4. A stream that cannot be read to its end, because a transformer failed, is closed. So is that of a run which was
   dropped without a word.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from threading import RLock
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from stategraph.dropin_hooks import shown_by_langgraph
from stategraph.engine.streams.events.envelope import event_of
from stategraph.engine.streams.events.merge import Merge
from stategraph.engine.streams.events.mux import StreamMux
from stategraph.engine.streams.events.nested import SubgraphStatus
from stategraph.engine.streams.events.reading import aread, read
from stategraph.engine.streams.events.transformer import Namespace, ProtocolEvent

if TYPE_CHECKING:
    from langchain_core.language_models.chat_model_stream import AsyncChatModelStream, ChatModelStream

    from stategraph.engine.streams.events.payload import LifecyclePayload
    from stategraph.engine.streams.events.queue import StreamChannel

_logger = logging.getLogger(__name__)

_being_closed: set[asyncio.Task[None]] = set()
"""Closes the parts of dropped runs; an event loop holds its tasks only weakly."""


class RunHandle(ABC):
    """Common base of synchronous and asynchronous runs: projections, and the result so far.

    Attributes:
        extensions: All projections by name.
    """

    # Projections of the engine's own transformers. The first is always there, the others if asked for.
    values: StreamChannel[dict[str, Any]]
    lifecycle: StreamChannel[LifecyclePayload]
    updates: StreamChannel[dict[str, Any]]
    custom: StreamChannel[Any]
    checkpoints: StreamChannel[dict[str, Any]]
    debug: StreamChannel[dict[str, Any]]
    tasks: StreamChannel[dict[str, Any]]

    def __init__(self, parts: object, mux: StreamMux, *, wire_pump: bool = True) -> None:
        """Hold a run.

        Args:
            parts: The iterator over the parts of its stream; None if the mux is fed elsewhere.
            mux: Hands out its events.
            wire_pump: Whether readers pull by this handle.
        """
        self._parts = parts
        self._mux = mux
        self.extensions: Mapping[str, Any] = MappingProxyType(mux.extensions)
        self._exhausted = False
        self._scope = list(mux.scope)
        self._latest: Any = None
        self._interrupts: list[Any] = []
        for name in mux.native_keys:
            setattr(self, name, mux.extensions[name])
        if wire_pump:
            self._bind_pump()

    @abstractmethod
    def _bind_pump(self) -> None:
        """Have readers pull by this handle."""

    def __getattr__(self, name: str) -> StreamChannel[Any]:
        """Say which projections there are; only called for a name that is none of them."""
        mux: StreamMux | None = self.__dict__.get("_mux")  # a bare instance, as copying makes it, has none
        known = ", ".join(sorted(mux.native_keys)) if mux is not None else ""
        raise AttributeError(f"{type(self).__name__} has no projection {name!r}; it has: {known or 'none'}")

    def _observe_event(self, event: ProtocolEvent) -> None:
        """Learn the state and what was asked from an event of the run itself."""
        params = event["params"]
        if event["method"] == "values" and params["namespace"] == self._scope:
            self._latest = params["data"]
            self._interrupts.extend(params.get("interrupts", ()))

    def _raise_if_failed(self) -> None:
        if (error := self._mux._events._error) is not None:
            raise error


class GraphRunStream(RunHandle):
    """A run that is read synchronously. Readers in several threads take turns.

    Leaving a `with` block aborts the run.
    """

    _parts: Iterator[Any] | None
    messages: StreamChannel[ChatModelStream]
    subgraphs: StreamChannel[SubgraphRunStream]

    def __init__(self, graph_iter: Iterator[Any] | None, mux: StreamMux, *, wire_pump: bool = True) -> None:
        """Hold a run.

        Args:
            graph_iter: The parts of its stream; None if the mux is fed elsewhere.
            mux: Hands out its events.
            wire_pump: Whether readers pull by this handle.
        """
        self._turn = RLock()
        super().__init__(graph_iter, mux, wire_pump=wire_pump)

    def _bind_pump(self) -> None:
        self._mux.bind_pump(self._pump_next)

    @property
    def output(self) -> Any:
        """The last state, when the run has ended; None if it has shown none.

        Raises:
            BaseException: What the run failed with.
        """
        self._finish()
        return self._latest

    @property
    def interrupted(self) -> bool:
        """True if the run paused, once it has ended.

        Raises:
            BaseException: What the run failed with.
        """
        return bool(self.interrupts)

    @property
    def interrupts(self) -> list[Any]:
        """The interrupts of the run, once it has paused or ended.

        Raises:
            BaseException: What the run failed with.
        """
        self._finish()
        return self._interrupts

    def __iter__(self) -> Iterator[ProtocolEvent]:
        """Read the plain events; there is one reader of these."""
        return iter(self._mux._events)

    def interleave(self, *names: str) -> Iterator[tuple[str, Any]]:
        """Read several projections as one, in the order of arrival.

        Args:
            *names: Names of the projections, which must be queues without a reader.

        Yields:
            Name and item.

        Raises:
            KeyError: If there is no projection with a name.
            TypeError: If a projection is not a queue, or is read asynchronously.
            RuntimeError: If a projection has a reader already.
            BaseException: What the run failed with, after all items.
        """
        with Merge(self._mux, names, is_async=False) as merge:
            yield from read(merge)

    def abort(self) -> None:
        """Stop the run and end its projections; nothing happens if it has ended."""
        if self._exhausted:
            return
        self._end_parts()
        with _logging_failures(logging.WARNING, "A stream transformer failed while its run was aborted"):
            self._mux.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.abort()

    def _pump_next(self) -> bool:
        """Take one part from the graph; returns whether there may be more."""
        with self._turn:
            if self._exhausted or self._parts is None:
                return False
            try:
                event = event_of(next(self._parts))
                self._observe_event(event)
                self._mux.push(event)
            except StopIteration:
                self._exhausted = True
                # The error of a transformer that could not finish is that of every queue now.
                with _logging_failures(logging.DEBUG, "A stream transformer could not finish"):
                    self._mux.close()
            except BaseException as error:
                self._end_parts()
                self._mux.fail(error)
                if not isinstance(error, Exception):
                    raise
            return not self._exhausted

    def _end_parts(self) -> None:
        """Take no more parts, and close what gave them."""
        self._exhausted = True
        parts, self._parts = self._parts, None
        close = getattr(parts, "close", None)
        if close is not None:
            with _logging_failures(logging.WARNING, "A run failed while its event stream was closed"):
                close()

    def _finish(self) -> None:
        while self._pump_next():
            pass
        self._raise_if_failed()


class AsyncGraphRunStream(RunHandle):
    """A run that is read asynchronously, by any number of tasks.

    Leaving an `async with` block aborts the run.
    """

    _parts: AsyncIterator[Any] | None
    messages: StreamChannel[AsyncChatModelStream]
    subgraphs: StreamChannel[AsyncSubgraphRunStream]

    def __init__(self, graph_aiter: AsyncIterator[Any] | None, mux: StreamMux, *, wire_pump: bool = True) -> None:
        """Hold a run; see `GraphRunStream`."""
        self._pull: asyncio.Task[None] | None = None
        self._waiting: set[asyncio.Future[None]] = set()  # of readers, for the next part
        self._finishing = 0  # how many of them want no part but the end
        self._dropped: weakref.finalize[Any, AsyncGraphRunStream] | None = None
        super().__init__(graph_aiter, mux, wire_pump=wire_pump)

    def _bind_pump(self) -> None:
        self._mux.bind_apump(self._apump_next)

    async def output(self) -> Any:
        """Like `GraphRunStream.output`."""
        await self._finish()
        return self._latest

    async def interrupted(self) -> bool:
        """Like `GraphRunStream.interrupted`."""
        return bool(await self.interrupts())

    async def interrupts(self) -> list[Any]:
        """Like `GraphRunStream.interrupts`."""
        await self._finish()
        return self._interrupts

    def __aiter__(self) -> AsyncIterator[ProtocolEvent]:
        """Read the plain events; there is one reader of these."""
        return aiter(self._mux._events)

    async def interleave(self, *names: str) -> AsyncIterator[tuple[str, Any]]:
        """Like `GraphRunStream.interleave`."""
        with Merge(self._mux, names, is_async=True) as merge:
            async with aclosing(aread(merge)) as items:
                async for item in items:
                    yield item

    async def abort(self) -> None:
        """Cancel what runs, in nested runs too, and end the projections; nothing happens if the run has ended."""
        if self._exhausted and self._pull in (None, asyncio.current_task()):
            return
        self._exhausted = True
        await self._stop_pull()
        await self._close_parts()
        await self._mux.acancel()
        with _logging_failures(logging.WARNING, "A stream transformer failed while its run was aborted"):
            await self._mux.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.abort()

    async def _apump_next(self) -> bool:
        """Take one part from the graph, or wait until another reader has; return whether there may be more."""
        loop, parts = asyncio.get_running_loop(), self._parts
        if self._exhausted and asyncio.current_task() in self._mux._scheduled():
            return False  # the end waits for this task, which must not wait for the end
        if self._pull in (None, asyncio.current_task()):
            if self._exhausted or parts is None:
                return False
            if self._pull is not None:
                raise RuntimeError("A stream transformer cannot wait for events of the run it takes part in")
            if self._dropped is None:
                # A handle and its queues refer to each other. Were the parts in that circle too, the collector would
                # close the generators within them in any order, and they would find each other running.
                self._dropped = weakref.finalize(self, _close_later, loop, parts)
                self._dropped.atexit = False
            self._pull = loop.create_task(self._take_parts(parts))
        # Otherwise another reader's pull is under way. It may be ending the run, which brings the last items.
        part = loop.create_future()
        self._waiting.add(part)
        try:
            await part
        except asyncio.CancelledError:
            if self._waiting == {part}:
                await self.abort()
            raise
        finally:
            self._waiting.discard(part)
        return not self._exhausted

    async def _take_parts(self, parts: AsyncIterator[Any]) -> None:
        """Take one part, or all of them as long as the end is awaited."""
        try:
            while True:
                event = event_of(await anext(parts))
                self._observe_event(event)
                await self._mux.apush(event)
                if not self._finishing:
                    return
                if len(self._waiting) > self._finishing:  # others read what has come before there is more
                    self._wake()
                    await asyncio.sleep(0)
        except StopAsyncIteration:
            self._exhausted = True
            self._keep_open()
            # The error of a transformer that could not finish is that of every queue now.
            with _logging_failures(logging.DEBUG, "A stream transformer could not finish"):
                await self._mux.aclose()
        except (Exception, asyncio.CancelledError) as error:
            if self._exhausted:  # being aborted, which also does the rest
                raise
            self._exhausted = True
            await self._close_parts()
            await self._mux.afail(error)
        finally:
            self._pull = None
            self._wake()

    def _wake(self) -> None:
        for part in self._waiting:
            if not part.done():
                part.set_result(None)

    async def _stop_pull(self) -> None:
        pull = self._pull
        if pull is not None and pull is not asyncio.current_task():
            pull.cancel()
            await asyncio.wait((pull,))
            self._pull = None  # which it has not done itself if it had not begun
            self._wake()

    async def _close_parts(self) -> None:
        self._keep_open()
        parts, self._parts = self._parts, None
        await _close(parts)

    def _keep_open(self) -> None:
        """Close nothing when the handle is dropped."""
        if self._dropped is not None:
            self._dropped.detach()

    async def _finish(self) -> None:
        self._finishing += 1
        try:
            while await self._apump_next():
                pass
        finally:
            self._finishing -= 1
        self._raise_if_failed()


@contextmanager
def _logging_failures(level: int, message: str) -> Iterator[None]:
    """Log an exception raised while a run ends, and go on ending it."""
    try:
        yield
    except Exception:
        _logger.log(level, message, exc_info=True)


async def _close(parts: Any) -> None:
    close = getattr(parts, "aclose", None)
    if close is not None:
        with _logging_failures(logging.WARNING, "A run failed while its event stream was closed"):
            await close()


def _close_later(loop: asyncio.AbstractEventLoop, parts: Any) -> None:
    """Close the parts of a run whose handle was dropped; called by the collector, in any thread."""

    def close() -> None:
        task = loop.create_task(_close(parts))
        _being_closed.add(task)
        task.add_done_callback(_being_closed.discard)

    if not loop.is_closed():
        loop.call_soon_threadsafe(close)


class NestedRun(RunHandle):
    """A nested run.

    Attributes:
        path: Its namespace.
        graph_name: Name of the agent that runs there, else of the node.
        trigger_call_id: Id of the task that runs it.
        status: `started` until it ends.
        error: Text of the error it failed with.
    """

    path: Namespace
    graph_name: str | None
    trigger_call_id: str | None
    status: SubgraphStatus
    error: str | None
    _seen_terminal: bool  # by this name LangChain's handles of subagents ask whether the run has ended

    def __init__(
        self,
        mux: StreamMux,
        *,
        path: Namespace,
        graph_name: str | None = None,
        trigger_call_id: str | None = None,
    ) -> None:
        """Hold a nested run; see the class."""
        super().__init__(None, mux, wire_pump=False)
        self.status, self.error = "started", None
        self._seen_terminal = False
        self.trigger_call_id = trigger_call_id
        self.path, self.graph_name = path, graph_name

    def _mark(self, status: SubgraphStatus, error: str | None) -> None:
        """Mark the run as ended, unless it is already."""
        if not self._seen_terminal:
            self._seen_terminal = True
            self.status, self.error = status, error

    @property
    def _over(self) -> bool:
        return self._exhausted or self._mux._events._closed


class SubgraphRunStream(NestedRun, GraphRunStream):
    """A nested run of a synchronous run. Aborting it only stops following it."""

    def _pump_next(self) -> bool:
        pull = self._mux._pump_fn
        return not self._over and pull is not None and pull()


class AsyncSubgraphRunStream(NestedRun, AsyncGraphRunStream):
    """A nested run of an asynchronous run. Aborting it only stops following it."""

    async def _apump_next(self) -> bool:
        pull = self._mux._apump_fn
        return not self._over and pull is not None and await pull()


shown_by_langgraph(__name__)
