"""Handlers that hear when a graph pauses for an answer and when it goes on.

Such a handler is passed in `config["callbacks"]` like any other. The other handlers there never see these events, and a
handler that raises stops nothing unless it sets `raise_error`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Self, TypeAlias
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager
from langchain_core.callbacks.manager import ahandle_event, handle_event
from langchain_core.runnables import RunnableConfig

from stategraph.types import Interrupt

__all__ = (
    "GraphCallbackHandler",
    "GraphInterruptEvent",
    "GraphLifecycleEvent",
    "GraphLifecycleStatus",
    "GraphResumeEvent",
    "get_async_graph_callback_manager_for_config",
    "get_sync_graph_callback_manager_for_config",
)


GraphLifecycleStatus: TypeAlias = Literal[
    "input", "pending", "done", "interrupt_before", "interrupt_after", "out_of_steps"
]
"""The status of a run: it has read its input, has tasks to run, is done, is at a breakpoint, or ran out of steps."""


@dataclass(frozen=True)
class GraphInterruptEvent:
    """A graph has paused.

    Attributes:
        run_id: The run. None if the caller's config named none.
        status: Where the run stood.
        checkpoint_id: The checkpoint it can be resumed from.
        checkpoint_ns: The namespace of the graph, one level each; empty for the root graph.
        interrupts: What the graph waits for.
    """

    run_id: UUID | None
    status: GraphLifecycleStatus
    checkpoint_id: str
    checkpoint_ns: tuple[str, ...]
    interrupts: tuple[Interrupt, ...]


@dataclass(frozen=True)
class GraphResumeEvent:
    """A graph goes on from a checkpoint.

    Attributes:
        run_id: The run. None if the caller's config named none.
        status: Where the run stood.
        checkpoint_id: The checkpoint it goes on from.
        checkpoint_ns: The namespace of the graph, one level each; empty for the root graph.
    """

    run_id: UUID | None
    status: GraphLifecycleStatus
    checkpoint_id: str
    checkpoint_ns: tuple[str, ...]


GraphLifecycleEvent: TypeAlias = GraphInterruptEvent | GraphResumeEvent


class GraphCallbackHandler(BaseCallbackHandler):
    """A callback handler that also hears about pauses. Override either method, as `def` or `async def`."""

    def on_interrupt(self, event: GraphInterruptEvent) -> object:
        """Hear that a graph has paused."""

    def on_resume(self, event: GraphResumeEvent) -> object:
        """Hear that a graph goes on."""


_KEEP: Final[Any] = object()


def lifecycle_handlers(callbacks: object) -> list[GraphCallbackHandler]:
    """Find the handlers among a config's `callbacks` that hear lifecycle events.

    Args:
        callbacks: A manager, a sequence of handlers, a single `GraphCallbackHandler`, or None.

    Raises:
        TypeError: If it is anything else.
    """
    if callbacks is None:
        return []
    if isinstance(callbacks, BaseCallbackManager):
        return _hearing(callbacks.handlers)
    if isinstance(callbacks, GraphCallbackHandler):
        return [callbacks]
    if isinstance(callbacks, Sequence) and not isinstance(callbacks, str | bytes):
        return _hearing(callbacks)
    raise TypeError(
        f"`callbacks` is a {type(callbacks).__name__}; expected a sequence of callback handlers or a callback manager"
    )


def _hearing(handlers: Iterable[object]) -> list[GraphCallbackHandler]:
    return [handler for handler in handlers if isinstance(handler, GraphCallbackHandler)]


class _LifecycleManager(BaseCallbackManager):
    """Common base of the sync and the async manager of lifecycle events: their handlers and their run."""

    def __init__(
        self,
        handlers: Sequence[BaseCallbackHandler] | None = None,
        inheritable_handlers: Sequence[BaseCallbackHandler] | None = None,
        parent_run_id: UUID | None = None,
        *,
        run_id: UUID | None = None,
        **labels: Any,
    ) -> None:
        super().__init__([*(handlers or ())], [*(inheritable_handlers or ())], parent_run_id, **labels)
        self.run_id = run_id

    @classmethod
    def configure(cls, callbacks: object = None, *, run_id: UUID | None = None) -> Self:
        """Make a manager for the handlers among `callbacks` that hear lifecycle events.

        Args:
            callbacks: What a config has. A manager's tags, metadata and parent are kept.
            run_id: The run that events are about.

        Raises:
            TypeError: If `callbacks` is nothing of the kind.
        """
        handlers = lifecycle_handlers(callbacks)
        if not isinstance(callbacks, BaseCallbackManager):
            return cls(handlers, run_id=run_id)
        return cls(
            handlers,
            _hearing(callbacks.inheritable_handlers),
            callbacks.parent_run_id,
            run_id=run_id,
            tags=[*callbacks.tags],
            inheritable_tags=[*callbacks.inheritable_tags],
            metadata={**callbacks.metadata},
            inheritable_metadata={**callbacks.inheritable_metadata},
        )

    def copy(self, *, run_id: UUID | None = _KEEP) -> Self:
        """Make a manager of the same handlers, for another run if `run_id` is given."""
        return self.configure(self, run_id=self.run_id if run_id is _KEEP else run_id)


class GraphCallbackManager(_LifecycleManager):
    """Tells lifecycle events to handlers."""

    def on_interrupt(self, event: GraphInterruptEvent) -> None:
        """Tell that a graph has paused."""
        handle_event(_hearing(self.handlers), "on_interrupt", None, event)  # type: ignore[arg-type]

    def on_resume(self, event: GraphResumeEvent) -> None:
        """Tell that a graph goes on."""
        handle_event(_hearing(self.handlers), "on_resume", None, event)  # type: ignore[arg-type]


class AsyncGraphCallbackManager(_LifecycleManager):
    """Tells lifecycle events to handlers, and awaits the async ones."""

    @property
    def is_async(self) -> bool:
        """Always true."""
        return True

    async def on_interrupt(self, event: GraphInterruptEvent) -> None:
        """Tell that a graph has paused."""
        await ahandle_event(_hearing(self.handlers), "on_interrupt", None, event)  # type: ignore[arg-type]

    async def on_resume(self, event: GraphResumeEvent) -> None:
        """Tell that a graph goes on."""
        await ahandle_event(_hearing(self.handlers), "on_resume", None, event)  # type: ignore[arg-type]


def get_sync_graph_callback_manager_for_config(
    config: RunnableConfig, *, run_id: UUID | None = None
) -> GraphCallbackManager:
    """Make the manager that tells a run's lifecycle events to the handlers in `config["callbacks"]`.

    Args:
        config: The run's config.
        run_id: The run that events are about.
    """
    return GraphCallbackManager.configure(config.get("callbacks"), run_id=run_id)


def get_async_graph_callback_manager_for_config(
    config: RunnableConfig, *, run_id: UUID | None = None
) -> AsyncGraphCallbackManager:
    """Make the manager that tells an async run's lifecycle events; see `get_sync_graph_callback_manager_for_config`."""
    return AsyncGraphCallbackManager.configure(config.get("callbacks"), run_id=run_id)
