"""Sources of graphs for workers, other than importing the targets of runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from stategraph.errors import TransferError

#: Begins the target of a run of a graph that a server serves; the graph's id follows.
SERVED: Final = "graph:"


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run of a registry, as those who make its session or its graph see it.

    Attributes:
        run_id: The run.
        thread_id: Its thread.
        tenant: Whose run it is, as it was submitted; empty: nobody's.
        context: What it was submitted with as the context of its graph, such as a reference to its session.
        config: The config that its graph is called with.
        session: The reference to its session, if it was submitted beside the context.
        takes_back: Whether it was submitted with `rollback`, has not begun, and is to erase what it takes back.
    """

    run_id: str
    thread_id: str
    tenant: str
    context: Any = field(repr=False)
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    takes_back: bool = False
    session: str | None = field(default=None, repr=False)


class GraphGone(LookupError):
    """A graph that was served is not there any more, or cannot be had now; the message says why."""


class GraphMaker(ABC):
    """Makes a graph for each attempt of a run."""

    @abstractmethod
    def open(self, run: StoredRun) -> AbstractAsyncContextManager[Any]:
        """Return the compiled graph of a run, for the time of the attempt; what it raises is the end of the run."""

    def context_of(self, graph: Any, run: StoredRun) -> Any:
        """Return the context that the graph is called with; None: it is called without.

        Args:
            graph: What `open` returned.
            run: The run.
        """
        del graph
        return run.context


class GraphSource(Protocol):
    """Finds graphs by the targets of runs."""

    async def find(self, target: str) -> Any:
        """Return a compiled graph, or a `GraphMaker`.

        Raises:
            TransferError: It is not to be had in this process; the run is left to others.
        """


def not_served(target: str) -> TransferError:
    """Return the error for a run of a served graph in a process that serves none."""
    return TransferError(
        f"The run is of '{target.removeprefix(SERVED)}', a graph that a server serves ('{target}'), and this process "
        "does not serve it: such runs are executed by the server itself, or by 'stategraph worker' with the server's "
        "own --config, --target or --resources"
    )
