"""The handle of a remote run's event stream (`stream_events(version="v3")`).

It offers what the handle of a local run offers, over the client library's own projections. Where both differ: whether
a run is interrupted, and by what, is what has arrived so far; asking does not wait for the end of the run.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import partial
from types import TracebackType
from typing import Any, ClassVar, Generic, Self, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph_sdk._async.stream import AsyncThreadStream
from langgraph_sdk._sync.stream import SyncThreadStream
from langgraph_sdk.client import LangGraphClient, SyncLangGraphClient
from langgraph_sdk.stream.decoders import DataDecoder

from stategraph.engine.config.procedures import Procedure, aperform, perform
from stategraph.engine.remote import wire
from stategraph.engine.streams.modes import MODES

logger = logging.getLogger(__name__)

_IteratorT = TypeVar("_IteratorT", Iterator[Any], AsyncIterator[Any])
_ThreadT = TypeVar("_ThreadT", AsyncThreadStream, SyncThreadStream)


class ChannelProjection:
    """The payloads of one wire channel for which the client library has no projection.

    Iterate with `for` in a sync run and with `async for` in an async one, while the run is entered.
    """

    def __init__(self, sdk: AsyncThreadStream | SyncThreadStream, channel: str) -> None:
        """Name the channel; nothing is subscribed to before the first iteration."""
        self._sdk = sdk
        self._channel = channel

    def _subscribe(self) -> tuple[DataDecoder, Any]:
        return DataDecoder(self._channel), self._sdk.subscribe([self._channel])

    def __iter__(self) -> Iterator[Any]:
        decoder, events = self._subscribe()
        return (payload for event in events for payload in decoder.feed(event))

    async def __aiter__(self) -> AsyncIterator[Any]:
        decoder, events = self._subscribe()
        async for event in events:
            for payload in decoder.feed(event):
                yield payload


class Projections(Mapping[str, Any]):
    """The projections of a run by name: the client library's, those made here, and any extension of the graph.

    Iterating lists the first two kinds. An extension is found by its name and listed nowhere. The `lifecycle` channel
    is missing because the client library keeps it for itself.
    """

    _TYPED: ClassVar = ("values", "messages", "tool_calls", "subgraphs")
    _DECODED: ClassVar = tuple(mode.name for mode in MODES.values() if mode.decoded)
    _NATIVE: ClassVar = (*_TYPED, *_DECODED)

    def __init__(self, sdk: AsyncThreadStream | SyncThreadStream) -> None:
        """Look at one thread's stream."""
        self._sdk = sdk

    def __getitem__(self, name: str) -> Any:
        if name in self._DECODED:
            return ChannelProjection(self._sdk, name)
        return getattr(self._sdk, name) if name in self._TYPED else self._sdk.extensions[name]

    def __iter__(self) -> Iterator[str]:
        yield from self._NATIVE

    def __len__(self) -> int:
        return len(self._NATIVE)


class _Run(Generic[_ThreadT]):
    """Common base of both kinds of handle."""

    _sdk: _ThreadT

    def __init__(
        self,
        runs: Any,
        sdk_thread: _ThreadT,
        input: Any,
        config: RunnableConfig | None,
        metadata: dict[str, Any] | None,
    ) -> None:
        self._runs = runs
        self._sdk = sdk_thread
        self._start_kwargs: dict[str, Any] = {
            "input": wire.event_run_input(input),
            "config": config,
            "metadata": metadata,
        }
        self._run_id: str | None = None
        self._closed = False
        self._events: Any = None

    def _open(self) -> None:
        if self._closed:
            raise RuntimeError("this run is closed; call stream_events() again for another one")

    def _started(self, enter: Callable[[], object], leave: Callable[..., object]) -> Procedure[Self]:
        """Enter the stream of the thread and start the run."""
        self._open()
        yield enter
        try:
            started: Mapping[str, str] = yield partial(self._sdk.run.start, **self._start_kwargs)
        except BaseException as error:
            yield partial(leave, type(error), error, error.__traceback__)
            raise
        self._run_id = started["run_id"]
        return self

    def _aborted(self) -> Procedure[None]:
        """Cancel the run and end the connection, as far as the server can be reached."""
        if not self._close():
            return
        if self._run_id is not None:
            try:
                yield partial(self._runs.cancel, self._sdk.thread_id, self._run_id, wait=False)
            except Exception:
                logger.debug("run %s could not be cancelled", self._run_id, exc_info=True)
        try:
            yield self._sdk.close
        except Exception:
            logger.debug("the stream of run %s could not be closed", self._run_id, exc_info=True)

    def _close(self) -> bool:
        """Note that the run is closed; tell whether it was open."""
        was_open, self._closed = not self._closed, True
        return was_open

    def _all_events(self, iterate: Callable[[Any], _IteratorT]) -> _IteratorT:
        """Return the one iterator over all events, made by the first reader."""
        if self._events is None:
            self._events = iterate(self._sdk.events)
        events: _IteratorT = self._events
        return events

    @property
    def values(self) -> Any:
        """The state after every step."""
        return self._sdk.values

    @property
    def messages(self) -> Any:
        """Streams of messages."""
        return self._sdk.messages

    @property
    def subgraphs(self) -> Any:
        """Handles of nested graphs."""
        return self._sdk.subgraphs

    @property
    def tool_calls(self) -> Any:
        """Tools being executed, which is not the same as the calls that messages ask for."""
        return self._sdk.tool_calls

    @property
    def extensions(self) -> Mapping[str, Any]:
        """All projections by name."""
        return Projections(self._sdk)


class RemoteRunStream(_Run[SyncThreadStream]):
    """A run on a server. Entering it starts the run, leaving it ends the connection."""

    def __init__(
        self,
        *,
        sync_client: SyncLangGraphClient,
        sdk_thread: SyncThreadStream,
        input: Any,
        config: RunnableConfig | None,
        metadata: dict[str, Any] | None,
    ) -> None:
        """Prepare a run.

        Args:
            sync_client: The client, to cancel with.
            sdk_thread: The stream of the run's thread.
            input: Input for the graph, or `Command(resume=...)`.
            config: A config that can be sent.
            metadata: Metadata of the run; None means none.
        """
        super().__init__(sync_client.runs, sdk_thread, input, config, metadata)

    def __enter__(self) -> Self:
        return perform(self._started(self._sdk.__enter__, self._sdk.__exit__))

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._close():
            self._sdk.__exit__(exc_type, exc, tb)

    @property
    def output(self) -> Any:
        """The state at the end; waits for it."""
        return self._sdk.output

    @property
    def interrupted(self) -> bool:
        """True if the run waits for answers, as far as is known by now."""
        return self._sdk.interrupted

    @property
    def interrupts(self) -> list[Any]:
        """The interrupts that the run waits for, as far as is known by now."""
        return [*self._sdk.interrupts]

    def __iter__(self) -> Iterator[Any]:
        """Iterate over all events. Every iteration continues the first one."""
        return self._all_events(iter)

    def interleave(self, *names: str) -> Iterator[tuple[str, Any]]:
        """Iterate over several projections in the order of arrival, as pairs of name and item."""
        return iter(self._sdk.interleave_projections([*names]))

    def abort(self) -> None:
        """Cancel the run and end the connection. A server that cannot be reached any more is no error."""
        perform(self._aborted())


class AsyncRemoteRunStream(_Run[AsyncThreadStream]):
    """Like `RemoteRunStream`, async. It cannot interleave: tasks do that."""

    def __init__(
        self,
        *,
        client: LangGraphClient,
        sdk_thread: AsyncThreadStream,
        input: Any,
        config: RunnableConfig | None,
        metadata: dict[str, Any] | None,
    ) -> None:
        """Prepare a run.

        Args:
            client: The client, to cancel with.
            sdk_thread: The stream of the run's thread.
            input: Input for the graph, or `Command(resume=...)`.
            config: A config that can be sent.
            metadata: Metadata of the run; None means none.
        """
        super().__init__(client.runs, sdk_thread, input, config, metadata)

    async def __aenter__(self) -> Self:
        return await aperform(self._started(self._sdk.__aenter__, self._sdk.__aexit__))

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._close():
            await self._sdk.__aexit__(exc_type, exc, tb)

    async def output(self) -> Any:
        """Wait for the end and return the final state."""
        return await self._sdk.output

    async def interrupted(self) -> bool:
        """Return whether the run waits for answers, as far as is known by now."""
        return self._sdk.interrupted

    async def interrupts(self) -> list[Any]:
        """Return the interrupts that the run waits for, as far as is known by now."""
        return [*self._sdk.interrupts]

    def __aiter__(self) -> AsyncIterator[Any]:
        """Iterate over all events. Every iteration continues the first one."""
        return self._all_events(aiter)

    async def abort(self) -> None:
        """Cancel the run and end the connection. A server that cannot be reached any more is no error."""
        await aperform(self._aborted())
