"""A run, as far as the modules that make its configs and check its request know it.

`stategraph.engine.runs.execution.Execution` is one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from langchain_core.runnables import RunnableConfig

from stategraph.core.task import Task
from stategraph.engine.compile.compiled_graph import CompiledGraph
from stategraph.engine.compile.protocol import StreamProtocol
from stategraph.engine.config.runtime import Runtime
from stategraph.engine.runs.lineage import Lineage
from stategraph.engine.streams.payloads import ShownRun
from stategraph.engine.streams.projection import Format
from stategraph.types import Durability

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver


class RequestView(Protocol):
    """What a caller asked for."""

    @property
    def input(self) -> Any:
        """The input, a ``Command``, or None to continue."""

    @property
    def format(self) -> Format:
        """Which chunks the caller gets and how."""

    @property
    def interrupt_before(self) -> Literal["*"] | Sequence[str]:
        """Nodes to pause before."""

    @property
    def interrupt_after(self) -> Literal["*"] | Sequence[str]:
        """Nodes to pause after."""

    @property
    def durability(self) -> Durability | None:
        """When checkpoints are stored, or None for the default."""


class RunView(ShownRun, Protocol):
    """What is read of a run; see `Execution`."""

    config: RunnableConfig
    engine: CompiledGraph
    saver: BaseCheckpointSaver[Any] | None
    durability: Durability
    runtime: Runtime[Any]
    stream: StreamProtocol | None
    callbacks: Any
    nested: bool
    traced: bool
    lineage: Lineage | None
    streams_custom: bool
    on_call: Callable[..., Any]

    @property
    def request(self) -> RequestView:
        """What the caller asked for."""

    def stream_writer(self, task: Task) -> Callable[[Any], None]:
        """Make what ``get_stream_writer`` returns in a task."""
