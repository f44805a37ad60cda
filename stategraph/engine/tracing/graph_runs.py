"""Callback handlers that hear more of graphs than LangChain's callbacks tell: which runs are graphs, and their saves.

Such a handler is passed in `config["callbacks"]` like any other. Runs without one pay nothing for it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler

SaveOperation: TypeAlias = Literal["put", "put_writes"]
"""The saver's method: it stores a checkpoint, or the writes of a task."""


@dataclass(frozen=True, slots=True)
class GraphRun:
    """A run of a graph that is about to start.

    Attributes:
        run_id: The id under which LangChain's callbacks will tell of it.
        name: The graph's name.
        nodes: The names of its nodes.
    """

    run_id: UUID
    name: str
    nodes: Collection[str]


@dataclass(frozen=True, slots=True)
class GraphSave:
    """A call of a saver that has ended.

    Attributes:
        run_id: The graph's run.
        operation: The method.
        duration_s: How long it took, in seconds.
        error: What it raised; None if it worked.
    """

    run_id: UUID
    operation: SaveOperation
    duration_s: float
    error: BaseException | None = None


class GraphRunHandler(BaseCallbackHandler):
    """A callback handler that also hears of graphs. Its methods are called in place and must not wait.

    It is told everything in the task or thread of the run, also in async runs.
    """

    run_inline = True

    def on_graph_start(self, run: GraphRun) -> None:
        """Hear that a run is one of a graph; `on_chain_start` follows with the same id."""

    def on_graph_save(self, save: GraphSave) -> None:
        """Hear that a saver was called; in the thread or task that called it."""

    def enter(self, run_id: UUID) -> None:
        """Set context variables for the code of a run that has started.

        Called in the context in which the function of a node runs and which ends with it, so nothing has to be reset.
        """


def hearing(handlers: Iterable[BaseCallbackHandler]) -> tuple[GraphRunHandler, ...]:
    """Return the handlers that hear of graphs."""
    return tuple(handler for handler in handlers if isinstance(handler, GraphRunHandler))
