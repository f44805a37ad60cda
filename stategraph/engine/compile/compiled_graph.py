"""A compiled graph, as far as event streams, and reads and edits of a thread, know it.

`stategraph.engine.engine.StateGraphEngine` is one. `state/` and `streams/events/` name this interface, so that neither
needs the class that callers hold; runs read a graph's record, `stategraph.engine.spec.GraphSpec`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from langchain_core.runnables import RunnableConfig

from stategraph.core.channels.base import BaseChannel
from stategraph.core.program import Program
from stategraph.engine.compile.managed import ManagedValueSpec
from stategraph.engine.compile.node import PregelNode
from stategraph.stream_parts import StreamMode
from stategraph.types import All, CachePolicy, RetryPolicy

if TYPE_CHECKING:
    from langgraph.cache.base import BaseCache
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.store.base import BaseStore


class CompiledGraph(Protocol):
    """The parts of a graph, and what it decides about savers and checkpoints.

    The attributes are those of `StateGraphEngine`, which describes them.
    """

    nodes: dict[str, PregelNode]
    channels: dict[str, BaseChannel[Any, Any, Any] | ManagedValueSpec]
    stream_mode: StreamMode
    stream_eager: bool
    output_channels: str | Sequence[str]
    interrupt_after_nodes: All | Sequence[str]
    interrupt_before_nodes: All | Sequence[str]
    input_channels: str | Sequence[str]
    step_timeout: float | None
    debug: bool
    store: BaseStore | None
    cache: BaseCache[Any] | None
    retry_policy: Sequence[RetryPolicy]
    cache_policy: CachePolicy[Any] | None
    context_schema: type[Any] | None
    config: RunnableConfig | None
    strict: bool
    name: str
    stream_transformers: tuple[Callable[[tuple[str, ...]], Any], ...]
    _output_mapper: Callable[[Any], Any] | None
    _state_mapper: Callable[[Any], Any] | None
    _versions: Any

    @property
    def program(self) -> Program:
        """The graph as the core reads it."""

    @property
    def stream_channels_asis(self) -> str | Sequence[str]:
        """The channels shown as the state."""

    def get_name(self) -> str:
        """Return the name for traces and drawings."""

    def get_subgraphs(self, *, namespace: str | None = None, recurse: bool = False) -> Iterator[tuple[str, Any]]:
        """Yield the graphs that nodes run, by namespace."""

    def resolve_checkpointer(self, config: RunnableConfig) -> BaseCheckpointSaver[Any] | None:
        """Return the saver of a run: its parent's if it has one, else the graph's own."""

    def own_checkpoint_config(self, config: RunnableConfig) -> RunnableConfig:
        """Return the config that addresses the graph's own history."""

    def migrate_checkpoint(self, checkpoint: object) -> None:
        """Bring a checkpoint of an older format or graph layout up to date, in place."""

    @property
    def stream(self) -> Callable[..., Iterator[Any]]:
        """Run the graph and yield what happens."""

    @property
    def astream(self) -> Callable[..., AsyncIterator[Any]]:
        """Run the graph and yield what happens, on an event loop."""
