"""The extension point for projections of a run's event stream.

Rules:

1. A transformer is made once per run and per nested run that is watched, with the namespace it is made for.
2. It sees every event before readers do, and says whether readers shall see it at all.
3. The asynchronous hooks stand for the synchronous ones: by default each calls its twin.
4. Work it schedules belongs to the run: joined when the run ends, cancelled when the run fails.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, Literal, NotRequired, TypedDict

_logger = logging.getLogger(__name__)

Namespace = tuple[str, ...]


class ProtocolEventParams(TypedDict):
    """The namespace, time and payload of an event."""

    namespace: list[str]
    timestamp: int
    """Wall clock in milliseconds; it may jump, so order events by `seq`."""
    data: Any
    interrupts: NotRequired[tuple[Any, ...]]


class ProtocolEvent(TypedDict):
    """One event of a run: a chunk of a stream mode in an envelope that is the same for all modes."""

    type: Literal["event"]
    event_id: NotRequired[str]
    seq: NotRequired[int]
    """Position among the events of the outermost run."""
    method: str
    """The stream mode, or the name of the channel that a transformer pushed to."""
    params: ProtocolEventParams


class StreamTransformer(ABC):
    """Folds the events of a run into projections.

    A subclass names its projections in `init` and overrides `process` or `aprocess`; everything else is optional.

    Attributes:
        scope: The namespace it was made for; empty for the outermost run.
    """

    requires_async: ClassVar[bool] = False
    """True: it needs a running event loop although it overrides no asynchronous hook."""

    supports_sync: ClassVar[bool] = False
    """True: it overrides asynchronous hooks and works without an event loop all the same."""

    required_stream_modes: ClassVar[tuple[str, ...]] = ()
    """Stream modes that the run has to produce for it."""

    before_builtins: ClassVar[bool] = False
    """True: it sees events ahead of the engine's own transformers, to change them before those take copies."""

    _scheduled: set[asyncio.Task[Any]] | None = None

    def __init__(self, scope: Namespace = ()) -> None:
        """Make a transformer for one run.

        Args:
            scope: Namespace of that run.
        """
        self.scope = scope

    @abstractmethod
    def init(self) -> dict[str, Any]:
        """Return the projections, by the name under which readers find them."""

    def process(self, event: ProtocolEvent) -> bool:
        """Take in one event.

        Args:
            event: The event; changes to it are seen by everybody behind.

        Returns:
            Whether readers of the plain event stream get it too.

        Raises:
            NotImplementedError: If the subclass overrides neither this nor `aprocess`.
        """
        raise NotImplementedError(f"{type(self).__name__} overrides neither process() nor aprocess()")

    async def aprocess(self, event: ProtocolEvent) -> bool:
        """Take in one event where an event loop runs. The next transformer waits for it."""
        return self.process(event)

    def finalize(self) -> None:  # noqa: B027 (most transformers have nothing to do then)
        """Handle the end of a run that ended well."""

    async def afinalize(self) -> None:
        """Handle the end of a run that ended well, once all scheduled work is done."""
        self.finalize()

    def fail(self, err: BaseException) -> None:  # noqa: B027
        """Handle the end of a run that failed.

        Args:
            err: That error.
        """

    async def afail(self, err: BaseException) -> None:
        """Handle the end of a run that failed, once scheduled work is cancelled."""
        self.fail(err)

    def schedule(
        self, coro: Coroutine[Any, Any, Any], *, on_error: Literal["log", "raise"] = "log"
    ) -> asyncio.Task[Any]:
        """Start work whose result some projection will show, without holding up the events.

        Args:
            coro: The work. The run owns it from here on.
            on_error: What an exception in it does: `log` reports it and nothing else, `raise` fails the run at its end.

        Returns:
            The task.

        Raises:
            RuntimeError: If no event loop runs.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            coro.close()
            raise RuntimeError(
                f"{type(self).__name__}.schedule() requires a running event loop. Stream the run asynchronously, "
                "and set requires_async = True on the class so that a synchronous run refuses it at its start."
            ) from None
        task = loop.create_task(coro if on_error == "raise" else _reported(coro))
        self._scheduled_task_set().add(task)
        task.add_done_callback(self._forget_unless_failed)
        return task

    def _forget_unless_failed(self, task: asyncio.Task[Any]) -> None:
        # One that failed early fails the run at its end all the same.
        if task.cancelled() or task.exception() is None:
            self._scheduled_task_set().discard(task)

    def _scheduled_task_set(self) -> set[asyncio.Task[Any]]:
        """Return the tasks that are running or failed; made on first use: subclasses may skip the constructor."""
        if self._scheduled is None:
            self._scheduled = set()
        return self._scheduled

    def _on_register(self, mux: Any) -> None:  # noqa: B027
        """Take part in the run whose events `mux` hands out."""


TransformerFactory = Callable[[Namespace], StreamTransformer]
"""Makes a transformer for the run with a namespace; a transformer class is one."""


def transformer_requires_async(transformer: StreamTransformer) -> bool:
    """Return whether a synchronous run has to refuse it."""
    kind = type(transformer)
    hooks = ("aprocess", "afinalize", "afail")
    overrides = any(getattr(kind, hook) is not getattr(StreamTransformer, hook) for hook in hooks)
    return transformer.requires_async or (overrides and not transformer.supports_sync)


async def _reported(coro: Coroutine[Any, Any, Any]) -> Any:
    try:
        return await coro
    except Exception:
        _logger.exception("Work scheduled by a stream transformer failed")
