"""Runs for callers that cannot await: scripts, notebooks (inside their running loop too), sync web frameworks.

The work is done in the background loop of the process (`stategraph.run.background_loop`), so handlers, hooks and async
tools are called in its thread, with the context variables of the caller. A loop that the caller runs in stands still
meanwhile.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Coroutine, Generator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from stategraph.constants import MISSING
from stategraph.run import background_loop
from stategraph.run.ports import RunEvent
from stategraph.run.turn.run_lock import RunLock
from stategraph.run.turn.turn_inputs import Parts, ProcessOptions
from stategraph.types import Command

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Executes(Protocol):
    """The async methods of a run that have a sync twin here."""

    def process_stream(
        self,
        inputs: Mapping[str, object] | Command[Any],
        config: Mapping[str, object] | None = None,
        options: ProcessOptions | None = None,
    ) -> Coroutine[Any, Any, Parts]: ...

    def resume(
        self, value: object = MISSING, config: Mapping[str, object] | None = None, options: ProcessOptions | None = None
    ) -> Coroutine[Any, Any, Parts]: ...

    def stream(
        self,
        inputs: Mapping[str, object] | Command[Any],
        config: Mapping[str, object] | None = None,
        options: ProcessOptions | None = None,
    ) -> AsyncGenerator[RunEvent, None]: ...


class SyncRun:
    """The sync side of a `Run`.

    Ctrl-C while one of these waits cancels the run, waits until its thread is left in a valid state, and is raised.
    """

    _lock: RunLock

    def belong_to_sync_calls(self) -> None:
        """Refuse async calls of other event loops from now on; of runtimes that were opened by `with`."""
        self._lock.affinity.bind(
            "it was made by a runtime that was opened by 'with', so call run_sync(), stream_sync() or resume_sync(), "
            "or open the runtime by 'async with'"
        )

    def run_sync(
        self: _Executes,
        inputs: Mapping[str, object] | Command[Any],
        config: Mapping[str, object] | None = None,
        options: ProcessOptions | None = None,
    ) -> Parts:
        """Run a turn to its end, or until it waits for a person; the sync twin of `process_stream`.

        Args:
            inputs: `{"messages": [...]}`, or a Command that resumes.
            config: A RunnableConfig, as for `process_stream`.
            options: Callbacks, and whether indices go on.

        Returns:
            The content parts, if the run was created with `return_content`; else None.

        Raises:
            ConfigurationError: As `process_stream`; or the call was made in the event loop that executes it.
            Exception: What `process_stream` raises.
        """
        return background_loop.current().run(partial(self.process_stream, inputs, config, options))

    def resume_sync(
        self: _Executes,
        value: object = MISSING,
        config: Mapping[str, object] | None = None,
        options: ProcessOptions | None = None,
    ) -> Parts:
        """Go on with a run that waits; the sync twin of `resume`.

        Args:
            value: The answer, or a mapping from ids of interrupts to answers; may be left out as in `resume`.
            config: As for `run_sync`, of the same thread.
            options: As for `run_sync`.

        Returns:
            As `run_sync`.

        Raises:
            Exception: What `resume` raises.
        """
        return background_loop.current().run(partial(self.resume, value, config, options))

    def stream_sync(
        self: _Executes,
        inputs: Mapping[str, object] | Command[Any],
        config: Mapping[str, object] | None = None,
        options: ProcessOptions | None = None,
    ) -> Generator[RunEvent, None, None]:
        """Run a turn, and read its events as they come; the sync twin of `stream`.

        The run waits for this reader when it falls 64 events behind, and ends when it leaves: with `break`, an
        exception, or by closing the generator.

        Args:
            inputs: As for `run_sync`.
            config: As for `run_sync`.
            options: As for `run_sync`.

        Yields:
            Events with their numbers, the last of which, `on_run_end`, says how the run ended.

        Raises:
            Exception: What `run_sync` raises, after the last event.
        """
        loop = background_loop.current()
        with _left(loop, self.stream(inputs, config, options)) as events:
            while (event := loop.run(partial(_next, events))) is not None:
                yield event


@contextmanager
def _left(
    loop: background_loop.BackgroundLoop, events: AsyncGenerator[RunEvent, None]
) -> Iterator[AsyncGenerator[RunEvent, None]]:
    """End the reading, and with it the run, when the block is left."""
    try:
        yield events
    finally:
        loop.leave(partial(_close, events))


async def _next(events: AsyncGenerator[RunEvent, None]) -> RunEvent | None:
    return await anext(events, None)


async def _close(events: AsyncGenerator[RunEvent, None]) -> None:
    await events.aclose()
