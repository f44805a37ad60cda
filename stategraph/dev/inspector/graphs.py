"""The compiled graph of a target, on the saver of the runtime: it reads and writes the states of threads.

It is that of a run which is made once and executes nothing. A graph that is nested in it is named by the namespace of
its checkpoints, such as `ada:1f0c...|tools:1f0c...`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast, get_type_hints
from uuid import uuid4

from stategraph.dev.inspector.values import Json
from stategraph.dev.target import Target
from stategraph.drawing.picture import Drawable, Node, Picture, picture_of
from stategraph.drawing.svg import as_svg
from stategraph.engine.state.account.drawn import path_of as path_of
from stategraph.run.runtime import AgentRuntime
from stategraph.run.threads.conversation import thread_config
from stategraph.types import StateSnapshot


class Graph(Protocol):
    """A compiled graph, of this engine or of an installed LangGraph."""

    @property
    def channels(self) -> Mapping[str, object]:
        """The channels, which hold the values of its state."""

    @property
    def nodes(self) -> Mapping[str, object]:
        """The nodes by their names."""

    def aget_state(self, config: Json) -> Awaitable[StateSnapshot]:
        """Return the state at a checkpoint."""

    def aget_state_history(self, config: Json, **bounds: Any) -> AsyncIterator[StateSnapshot]:
        """Yield states, the newest first."""

    def aupdate_state(self, config: Json, values: object, as_node: str) -> Awaitable[Json]:
        """Write a state, and return the config that names it."""

    def aget_graph(self, *, xray: bool) -> Awaitable[Drawable]:
        """Return the graph to be drawn."""

    def get_subgraphs(self) -> Iterable[tuple[str, Graph]]:
        """Yield the graphs nested in it."""


_STYLE = re.compile("<style>[^<]*</style>")


@dataclass(frozen=True, slots=True)
class Place:
    """A graph in a thread, of which steps are stored.

    Attributes:
        thread_id: The thread.
        namespace: That of a nested graph; empty: the graph itself.
    """

    thread_id: str
    namespace: str = ""

    def config(self, checkpoint_id: str | None = None) -> Json:
        """Return the config that names a checkpoint there; None: the newest."""
        return dict(thread_config(self.thread_id, checkpoint_id, self.namespace))

    def nested(self, namespace: str) -> Place:
        """Return the place of another graph in the same thread."""
        return Place(self.thread_id, namespace)


class Graphs:
    """Makes the graph of a target when it is first asked for.

    Args:
        runtime: Keeps the threads.
        target: What is inspected.
    """

    def __init__(self, runtime: AgentRuntime, target: Target) -> None:
        self._runtime = runtime
        self._target = target
        self.forget()

    def forget(self) -> None:
        """Forget the graph, as its saver is another one once the runtime is opened again."""
        self._compiled: Graph | None = None
        self._lock = asyncio.Lock()

    async def compiled(self) -> Graph:
        """Return the compiled graph.

        Raises:
            ConfigurationError: The target makes no run.
        """
        async with self._lock:
            if self._compiled is None:
                run = await self._runtime.create_run(run_id=f"inspector-{uuid4().hex}", **self._target.settings)
                self._compiled = cast("Graph", run.graph.compiled)
        return self._compiled

    async def picture(self) -> Picture:
        """Return the graph to be drawn, with the graphs nested in it; ids are as `outer:inner`."""
        found = picture_of(await (await self.compiled()).aget_graph(xray=True))
        return Picture(tuple(_labelled(node) for node in found.nodes), found.edges)


def svg_of(picture: Picture, name: str) -> str:
    """Return a picture as SVG without a style of its own: the page's policy takes none that stands inline."""
    return _STYLE.sub("", as_svg(picture, title=f"The graph of {name}"), count=1)


def _labelled(node: Node) -> Node:
    """Return a node with the last part of its name as its label."""
    outer, _, inner = node.id.rpartition(":")
    if not outer:
        return node
    ends = {"__start__": f"{outer.rpartition(':')[2]} begins", "__end__": f"{outer.rpartition(':')[2]} ends"}
    return Node(node.id, ends.get(inner, inner), node.kind)


def nested_in(graph: Graph, namespace: str) -> Graph | None:
    """Return the graph that a namespace names; None if it is not known, as for one that a tool has run."""
    found: Graph | None = graph
    for part in path_of(namespace).split(":") if namespace else ():
        found = dict(found.get_subgraphs()).get(part) if found is not None else None
    return found


def types_of(graph: Graph) -> Json:
    """Return the declared types of the values in a graph's state, by their names; empty if they are not known."""
    schema = getattr(getattr(graph, "builder", None), "state_schema", None)
    try:
        return get_type_hints(schema, include_extras=True) if schema is not None else {}
    except (NameError, TypeError, AttributeError):
        return {}


def reducer_of(channel: object) -> object:
    """Return what merges updates of a channel; None if the last one counts."""
    return getattr(channel, "operator", None) or getattr(channel, "reducer", None)
