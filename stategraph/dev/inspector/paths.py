"""Follow the way that a turn took through the graph, up to one of its steps.

A turn begins with its input. A node that ran after another one came from it if an edge leads there; a node that waits
for several came from all of them. Nodes of nested graphs are named as in the picture, `outer:inner`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from stategraph.constants import END, START
from stategraph.dev.inspector import steps
from stategraph.dev.inspector.graphs import Graph, path_of
from stategraph.dev.inspector.steps import Step
from stategraph.dev.inspector.values import Json
from stategraph.drawing.picture import Picture
from stategraph.types import PregelTask

#: Steps of a turn that are followed, in each graph.
MOST: Final = 60

#: Levels of nested graphs that are followed.
_DEEPEST: Final = 3


@dataclass(slots=True)
class Path:
    """A way through a graph.

    Attributes:
        visits: How often each node ran.
        edges: Edges that were taken.
        current: The nodes that made the step.
        upcoming: The nodes that come next.
        cut: Whether the turn has more steps than were followed.
    """

    visits: dict[str, int] = field(default_factory=dict)
    edges: set[tuple[str, str]] = field(default_factory=set)
    current: list[str] = field(default_factory=list)
    upcoming: list[str] = field(default_factory=list)
    cut: bool = False

    def to_json(self) -> Json:
        """Return it as JSON."""
        edges = [{"source": source, "target": target} for source, target in sorted(self.edges)]
        return {
            "visits": self.visits,
            "edges": edges,
            "current": self.current,
            "upcoming": self.upcoming,
            "cut": self.cut,
        }


async def taken(graph: Graph, step: Step, picture: Picture) -> Path:
    """Return the way that a turn took up to a step.

    Args:
        graph: The compiled graph.
        step: The step.
        picture: The graph as it is drawn.
    """
    path, prefix = Path(), path_of(step.place.namespace)
    walk = _Walk(graph, path, picture)
    path.upcoming = await walk.follow(step, prefix, 0)
    path.current = [walk.drawn(prefix, task.name, END) for task in step.ran()]
    return path


@dataclass(slots=True)
class _Walk:
    graph: Graph
    path: Path
    picture: Picture

    async def follow(self, step: Step, prefix: str, depth: int) -> list[str]:
        """Follow a graph up to a step, and the graphs that ran in it.

        Returns:
            The nodes that come next, also those in a nested graph that has begun.
        """
        line = await steps.line(self.graph, step, MOST)
        begins = next((at for at, each in enumerate(line) if each.begins_turn), None)
        self.path.cut |= begins is None and line[-1].before is not None
        layers = [[START]]
        self._visit(_named(prefix, START))
        for each in line[: len(line) if begins is None else begins][::-1]:
            layers += await self._ran(each, prefix, depth)
        if not step.state.next and len(layers) > 1 and step.source in ("loop", "fork"):
            layers.append([END])
            self._visit(_named(prefix, END))
        upcoming: list[str] = []
        begun: list[str] = []
        for task in step.state.tasks:
            inside = await self._nested(step, task, depth) if task.result is None else None
            begun += [task.name] if inside is not None else []
            upcoming += [self.drawn(prefix, task.name, START)] if inside is None else inside
        self.path.edges |= set(self._edges([*layers, *([begun] if begun else [])], prefix))
        return list(dict.fromkeys(upcoming))

    async def _ran(self, step: Step, prefix: str, depth: int) -> list[list[str]]:
        """Note the nodes that made a step, and return their names as a layer; none for a step without nodes."""
        tasks = [task for task in step.ran() if task.name != START]
        for task in tasks:
            self._visit(_named(prefix, task.name))
            await self._nested(step, task, depth)
        return [list(dict.fromkeys(task.name for task in tasks))] if tasks else []

    async def _nested(self, step: Step, task: PregelTask, depth: int) -> list[str] | None:
        """Follow the graph that a task runs; None: it runs none, or has not begun."""
        namespace = steps.namespace_of(task)
        if namespace is None or depth >= _DEEPEST:
            return None
        place = step.place.nested(namespace)
        last = await steps.newest(self.graph, place)
        if last is None:
            return None
        return await self.follow(await steps.at(self.graph, place, last), path_of(namespace), depth + 1)

    def _visit(self, node: str) -> None:
        self.path.visits[node] = self.path.visits.get(node, 0) + 1

    def _edges(self, layers: Sequence[Sequence[str]], prefix: str) -> Iterator[tuple[str, str]]:
        """Yield the edges between nodes that ran one after the other, as they are drawn."""
        known = {(each.source, each.target): each.conditional for each in self.picture.edges}
        for at in range(1, len(layers)):
            for target in layers[at]:
                arrives = self.drawn(prefix, target, START)
                last = set(layers[at - 1])
                for source in _since(layers[:at], target):
                    edge = (self.drawn(prefix, source, END), arrives)
                    if edge in known and (source in last or not known[edge]):
                        yield edge

    def drawn(self, prefix: str, node: str, end: str) -> str:
        """Return a node as it is drawn: a nested graph is its first or last node, `START` or `END`."""
        name = _named(prefix, node)
        inner = f"{name}:{end}"
        return inner if any(each.id == inner for each in self.picture.nodes) else name


def _since(layers: Sequence[Iterable[str]], node: str) -> Iterator[str]:
    """Yield the nodes that have run since a node last did."""
    for layer in reversed(layers):
        names = list(layer)
        yield from names
        if node in names:
            return


def _named(prefix: str, node: str) -> str:
    return f"{prefix}:{node}" if prefix else node
