"""Handing the events of one run, or of one nested run, to its transformers and its readers.

Rules:

1. An event goes through all transformers in their order, then to the readers of plain events, unless any of the
   transformers kept it back.
2. Transformers that ask for it (`before_builtins`) come first; otherwise the order is the caller's.
3. An item pushed to a named queue is an event at once. It passes no transformer, so none can answer itself, and it
   comes ahead of the event that caused it.
4. Only the outermost run numbers its events: nested runs show the same ones.
5. However a run ends, every queue ends too: with the error of the run, else with that of a transformer which could not
   finish, else plainly.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from itertools import count
from typing import Any

from stategraph.engine.checkpoints import pump
from stategraph.engine.checkpoints.pump import Ask, Procedure
from stategraph.engine.streams.events.envelope import enveloped
from stategraph.engine.streams.events.queue import StreamChannel
from stategraph.engine.streams.events.transformer import (
    Namespace,
    ProtocolEvent,
    StreamTransformer,
    TransformerFactory,
    transformer_requires_async,
)

_logger = logging.getLogger(__name__)


class StreamMux:
    """The transformers of a run and what they project.

    Attributes:
        is_async: Whether it is fed and read asynchronously.
        scope: Namespace of the run.
        extensions: All projections by name; to be read only.
        native_keys: Names of the projections that are attributes of the run's handle too.
    """

    def __init__(
        self,
        transformers: Sequence[StreamTransformer] | None = None,
        *,
        is_async: bool = False,
        factories: Sequence[TransformerFactory] | None = None,
        scope: Namespace = (),
        _assign_seq: bool = True,
    ) -> None:
        """Make the transformers and let them take part.

        Args:
            transformers: For this run alone: nested runs do not get them.
            is_async: See the class.
            factories: Make a transformer for this run, and one for every nested run that is followed.
            scope: See the class.
            _assign_seq: Whether events are numbered here.

        Raises:
            RuntimeError: If a transformer needs an event loop and the run has none.
            TypeError: If a transformer's projections are not a dict.
            ValueError: If two transformers have a projection of the same name.
        """
        self.is_async = is_async
        self.scope = scope
        self.extensions: dict[str, Any] = {}
        self.native_keys: set[str] = set()
        self._factories = None if factories is None else tuple(factories)
        self._numbers = count(1) if _assign_seq else None
        self._stamps = count(1)
        self._pump_fn: Callable[[], bool] | None = None
        self._apump_fn: Callable[[], Awaitable[bool]] | None = None
        self._transformers: list[StreamTransformer] = []
        self._ways: list[tuple[StreamTransformer, bool]] = []  # with whether it overrides `aprocess`
        self._owners: dict[str, StreamTransformer] = {}
        self._channels: list[StreamChannel[Any]] = []
        self._events: StreamChannel[ProtocolEvent] = StreamChannel()
        self._adopt(self._events)
        for made in ([factory(scope) for factory in factories or ()], transformers or ()):
            for transformer in sorted(made, key=_comes_late):
                self._register(transformer)

    # -- taking part -----------------------------------------------------------

    def transformer_by_key(self, key: str) -> StreamTransformer | None:
        """Return the transformer that makes a projection; None if there is none."""
        return self._owners.get(key)

    @property
    def stream_modes(self) -> list[str]:
        """The modes that the run has to produce for its transformers, each once."""
        return list(dict.fromkeys(mode for each in self._transformers for mode in each.required_stream_modes))

    def bind_pump(self, fn: Callable[[], bool]) -> None:
        """Set the function with which readers ask for more; it returns whether there may be something now."""
        self._pump_fn = fn
        for channel in self._queues():
            channel._request_more = fn
        self._tell_transformers("_bind_pump", fn)

    def bind_apump(self, fn: Callable[[], Awaitable[bool]]) -> None:
        """Like `bind_pump`, for asynchronous readers."""
        self._apump_fn = fn
        for channel in self._queues():
            channel._arequest_more = fn
        self._tell_transformers("_bind_apump", fn)

    def _tell_transformers(self, method: str, fn: Callable[[], Any]) -> None:
        # Transformers whose projections hold further streams hand the pump on to these.
        for transformer in self._transformers:
            if (bind := getattr(transformer, method, None)) is not None:
                bind(fn)

    def _make_child(self, scope: Namespace) -> StreamMux:
        """Return a mux for a nested run, with separate transformers and fed by the same pump.

        Raises:
            RuntimeError: If this one was made without factories.
        """
        if self._factories is None:
            raise RuntimeError("A nested run needs separate transformers: make its StreamMux with factories=")
        child = StreamMux(factories=self._factories, is_async=self.is_async, scope=scope, _assign_seq=False)
        if (pull := self._pump_fn) is not None:
            child.bind_pump(pull)
        if (apull := self._apump_fn) is not None:
            child.bind_apump(apull)
        return child

    def _register(self, transformer: StreamTransformer) -> None:
        name = type(transformer).__name__
        if transformer_requires_async(transformer) and not self.is_async:
            raise RuntimeError(
                f"{name} requires an async run, since it overrides an asynchronous hook or sets requires_async: "
                "use astream_events(), or set supports_sync = True if it does without"
            )
        projections = transformer.init()
        if not isinstance(projections, dict):
            raise TypeError(f"{name}.init() must return a dict of projections, not {type(projections).__name__}")
        taken = [
            f"{key!r} of {type(self._owners[key]).__name__}" for key in sorted(projections.keys() & self._owners.keys())
        ]
        if taken:
            raise ValueError(f"The projections of {name} conflict with {', '.join(taken)}: rename them")
        native = bool(getattr(transformer, "_native", False))
        for key, projection in projections.items():
            self.extensions[key] = projection
            self._owners[key] = transformer
            if isinstance(projection, StreamChannel):
                self._channels.append(projection)
                self._adopt(projection, native=native)
        if native:
            self.native_keys.update(projections)
        self._transformers.append(transformer)
        self._ways.append((transformer, type(transformer).aprocess is not StreamTransformer.aprocess))
        transformer._on_register(self)

    def _adopt(self, channel: StreamChannel[Any], *, native: bool = False) -> None:
        channel._bind(is_async=self.is_async)
        channel._bind_mux(self)
        if channel.name is not None:
            channel._wire(partial(self._announce, channel.name if native else f"custom:{channel.name}"))

    def _queues(self) -> Iterable[StreamChannel[Any]]:
        return (*self._channels, self._events)

    # -- events ----------------------------------------------------------------

    def push(self, event: ProtocolEvent) -> None:
        """Hand out an event."""
        self._show_unless_dropped(event, [transformer.process(event) for transformer in self._transformers])

    async def apush(self, event: ProtocolEvent) -> None:
        """Hand out an event; each transformer waits for the one ahead of it."""
        kept = [
            await transformer.aprocess(event) if waits else transformer.process(event)
            for transformer, waits in self._ways
        ]
        self._show_unless_dropped(event, kept)

    def _show_unless_dropped(self, event: ProtocolEvent, kept: Sequence[object]) -> None:
        """Put the event where readers find it, unless a transformer said that it is not to be shown."""
        if all(kept):
            self._show(event)

    def _announce(self, method: str, item: object) -> None:
        self._show(enveloped(method, item, []))

    def _show(self, event: ProtocolEvent) -> None:
        if self._numbers is not None:
            event["seq"] = next(self._numbers)
        self._events.push(event)

    def _next_push_seq(self) -> int:
        """Return the place of an item among all that the queues of this run got."""
        return next(self._stamps)

    # -- the end ---------------------------------------------------------------

    def close(self) -> None:
        """End the run well.

        Raises:
            BaseException: The first that a transformer raised; all others have finished all the same.
        """
        pump.run(self._closing())

    async def aclose(self) -> None:
        """Like `close`, once all scheduled work is done.

        Raises:
            BaseException: What scheduled work failed with, after which the run counts as failed; else as `close`.
        """
        outcomes = await asyncio.gather(*self._scheduled(), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(outcome, asyncio.CancelledError):
                await self.afail(outcome)
                raise outcome
        await pump.arun(self._closing())

    def fail(self, err: BaseException) -> None:
        """End the run with an error, which every reader gets; errors of transformers are only logged."""
        pump.run(self._failing(err))

    async def afail(self, err: BaseException) -> None:
        """Like `fail`, once all scheduled work is cancelled."""
        await self.acancel()
        await pump.arun(self._failing(err))

    async def acancel(self) -> None:
        """Cancel the work that transformers have scheduled, and wait until it has stopped."""
        scheduled = self._scheduled()
        for task in scheduled:
            task.cancel()
        await asyncio.gather(*scheduled, return_exceptions=True)

    def _closing(self) -> Procedure[None]:
        first: BaseException | None = None
        for transformer in self._transformers:
            try:
                yield Ask(transformer, "finalize", ())
            except BaseException as error:  # raised when the others have finished
                first = first or error
        self._end(first)
        if first is not None:
            raise first

    def _failing(self, err: BaseException) -> Procedure[None]:
        try:
            for transformer in self._transformers:
                try:
                    yield Ask(transformer, "fail", (err,))
                except Exception:
                    _logger.warning("%s could not take in an error", type(transformer).__name__, exc_info=True)
        finally:
            self._end(err)

    def _end(self, error: BaseException | None) -> None:
        for channel in self._queues():
            if channel._closed:
                continue
            if error is None:
                channel.close()
            else:
                channel.fail(error)

    def _scheduled(self) -> list[asyncio.Task[Any]]:
        return [task for each in self._transformers for task in each._scheduled_task_set()]


def _comes_late(transformer: StreamTransformer) -> bool:
    return not getattr(transformer, "before_builtins", False)
