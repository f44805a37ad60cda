"""Base of the callback handlers that feed a run's own stream modes.

A stream mode such as ``messages`` shows what happens inside models and tools, where the engine is not. The run
therefore adds a handler to those that its tasks inherit; the handler turns callbacks into chunks.

Rules
-----
* A chunk carries the namespace of the graph in which the model or tool was called.
* Without ``subgraphs`` only the graph that made the handler is followed, wherever that graph runs.
* Runs tagged ``nostream`` are left out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.tracers._streaming import _StreamingCallbackHandler

from stategraph.constants import NS_SEP, PUSH, TAG_NOSTREAM

T = TypeVar("T")

Namespace = tuple[str, ...]
Put = Callable[[tuple[Namespace, str, Any]], None]
"""Takes a chunk: namespace, mode, payload. Called from any thread."""


def graph_namespace(metadata: Mapping[str, Any]) -> Namespace:
    """Return the namespace of the graph that a task belongs to.

    Args:
        metadata: That of the task's runs. Its namespace ends with the task's own level; a function that was called as
            a task has one more level for each call around it, all within the same graph.
    """
    own = 1
    path = metadata.get("langgraph_path", ())
    while len(path) == 4 and path[0] == PUSH and path[3] is True:
        path = path[1]
        own += 1
    levels = metadata["langgraph_checkpoint_ns"].split(NS_SEP)
    return tuple(levels[:-own])


class StreamFeed(BaseCallbackHandler, _StreamingCallbackHandler[Any]):
    """A handler that feeds one stream mode of one run.

    langchain-core streams a model's answer for handlers of this kind even if the node asked for it in one piece.

    Attributes:
        put: Takes the chunks.
        subgraphs: Whether graphs within the run's own are followed too.
        parent_ns: The namespace of the graph that made the handler; None for the root graph.
        run_inline: True: chunks leave in the order of events.
    """

    run_inline = True
    # langchain-core asks at every event, and its own property takes a call each time.
    ignore_llm = False
    ignore_chain = False

    def __init__(self, put: Put, subgraphs: bool, *, parent_ns: Namespace | None = None) -> None:
        self.put = put
        self.subgraphs = subgraphs
        self.parent_ns = parent_ns

    def shows(self, ns: Namespace) -> bool:
        """Tell whether the graph with this namespace is followed."""
        return self.subgraphs or not ns or ns == self.parent_ns

    def hears_chain(self, name: str | None, metadata: Mapping[str, object] | None) -> bool:
        """Tell whether it is to be told of a chain's run; false only if nothing would come of it."""
        return True

    def place(self, metadata: Mapping[str, object] | None, tags: Sequence[str] | None) -> Namespace | None:
        """Return the namespace to show a model's or tool's run under; None to leave it out."""
        if not metadata or (tags and TAG_NOSTREAM in tags):
            return None
        ns = graph_namespace(metadata) if metadata.get("langgraph_checkpoint_ns") else ()
        return ns if self.shows(ns) else None

    def tap_output_aiter(self, run_id: UUID, output: AsyncIterator[T]) -> AsyncIterator[T]:
        """Leave what other runnables stream as it is."""
        return output

    def tap_output_iter(self, run_id: UUID, output: Iterator[T]) -> Iterator[T]:
        """Leave what other runnables stream as it is."""
        return output
