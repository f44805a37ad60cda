"""The interface of a graph for the graph that contains it.

A node whose work is one of these is a subgraph: its state can be inspected and its checkpoints nest. The local engine
is one implementation, a client of a remote server is another.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeAlias

from langchain_core.runnables import Runnable, RunnableConfig

from stategraph.stream_parts import StreamMode
from stategraph.types import All, Command, GraphOutput, StateSnapshot, StateUpdate
from stategraph.typing import ContextT, InputT, OutputT, StateT

if TYPE_CHECKING:  # drawing code is loaded on use
    from langchain_core.runnables.graph import Graph

StreamChunk = tuple[tuple[str, ...], str, Any]
"""Namespace, stream mode, payload."""

Version = Literal["v1", "v2"]

AnyRunnable: TypeAlias = Runnable[Any, Any]
"""Work of a node, a router or a writer: what it takes and gives is the author's, and known to no type checker here."""


class GraphProtocol(Runnable[InputT, Any], Generic[StateT, ContextT, InputT, OutputT]):
    """A graph that can be run, drawn, inspected and changed."""

    @abstractmethod
    def with_config(self, config: RunnableConfig | None = None, **kwargs: object) -> Self:
        """Return a copy with defaults for every run's config."""

    @abstractmethod
    def get_graph(self, config: RunnableConfig | None = None, *, xray: int | bool = False) -> Graph:
        """Return the drawing; `xray` says how many levels of subgraphs to unfold, True for all."""

    @abstractmethod
    async def aget_graph(self, config: RunnableConfig | None = None, *, xray: int | bool = False) -> Graph:
        """Like `get_graph`."""

    @abstractmethod
    def get_state(self, config: RunnableConfig, *, subgraphs: bool = False) -> StateSnapshot:
        """Return the state at the checkpoint the config names, or the latest of its thread."""

    @abstractmethod
    async def aget_state(self, config: RunnableConfig, *, subgraphs: bool = False) -> StateSnapshot:
        """Like `get_state`."""

    @abstractmethod
    def get_state_history(
        self,
        config: RunnableConfig,
        *,
        filter: dict[str, object] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[StateSnapshot]:
        """Yield the states of a thread, newest first."""

    @abstractmethod
    def aget_state_history(
        self,
        config: RunnableConfig,
        *,
        filter: dict[str, object] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[StateSnapshot]:
        """Like `get_state_history`."""

    @abstractmethod
    def bulk_update_state(self, config: RunnableConfig, updates: Sequence[Sequence[StateUpdate]]) -> RunnableConfig:
        """Apply updates, one superstep for each inner sequence; answers the config of the last checkpoint."""

    @abstractmethod
    async def abulk_update_state(
        self, config: RunnableConfig, updates: Sequence[Sequence[StateUpdate]]
    ) -> RunnableConfig:
        """Like `bulk_update_state`."""

    @abstractmethod
    def update_state(
        self, config: RunnableConfig, values: dict[str, object] | object | None, as_node: str | None = None
    ) -> RunnableConfig:
        """Write to the state as if a node had; answers the config of the new checkpoint."""

    @abstractmethod
    async def aupdate_state(
        self, config: RunnableConfig, values: dict[str, object] | object | None, as_node: str | None = None
    ) -> RunnableConfig:
        """Like `update_state`."""

    @abstractmethod
    def stream(  # type: ignore[override]
        self,
        input: InputT | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        context: ContextT | None = None,
        stream_mode: StreamMode | list[StreamMode] | None = None,
        interrupt_before: All | Sequence[str] | None = None,
        interrupt_after: All | Sequence[str] | None = None,
        subgraphs: bool = False,
        version: Version = "v1",
    ) -> Iterator[dict[str, Any] | Any]:
        """Run and yield what happens."""

    @abstractmethod
    def astream(  # type: ignore[override]
        self,
        input: InputT | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        context: ContextT | None = None,
        stream_mode: StreamMode | list[StreamMode] | None = None,
        interrupt_before: All | Sequence[str] | None = None,
        interrupt_after: All | Sequence[str] | None = None,
        subgraphs: bool = False,
        version: Version = "v1",
    ) -> AsyncIterator[dict[str, Any] | Any]:
        """Like `stream`."""

    @abstractmethod
    def invoke(  # type: ignore[override]
        self,
        input: InputT | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        context: ContextT | None = None,
        interrupt_before: All | Sequence[str] | None = None,
        interrupt_after: All | Sequence[str] | None = None,
        version: Version = "v1",
    ) -> dict[str, Any] | GraphOutput[OutputT] | Any:
        """Run and answer the output."""

    @abstractmethod
    async def ainvoke(  # type: ignore[override]
        self,
        input: InputT | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        context: ContextT | None = None,
        interrupt_before: All | Sequence[str] | None = None,
        interrupt_after: All | Sequence[str] | None = None,
        version: Version = "v1",
    ) -> dict[str, Any] | GraphOutput[OutputT] | Any:
        """Like `invoke`."""


class StreamProtocol:
    """A receiver of stream chunks, and the modes that it listens for."""

    __slots__ = ("__call__", "modes")

    modes: set[StreamMode]
    __call__: Callable[[StreamChunk], None]

    def __init__(self, __call__: Callable[[StreamChunk], None], modes: set[StreamMode]) -> None:
        """Name the function that takes chunks and the modes it takes."""
        self.__call__ = __call__
        self.modes = modes


AnyGraph: TypeAlias = GraphProtocol[Any, Any, Any, Any]
"""A graph, whatever its state, context, input and output are."""
