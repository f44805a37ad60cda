"""The way that a run took through the drawing of its graph: which of the drawn nodes and edges an account marks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from stategraph.constants import END, START
from stategraph.drawing.picture import Drawable, Picture, picture_of
from stategraph.drawing.svg import as_svg
from stategraph.engine.state.account.facts import Account, TaskAccount


@dataclass(slots=True)
class Marks:
    """The marks of a picture; nodes of graphs inside of others are named as there, `outer:inner`.

    Attributes:
        visits: How often each node ran.
        edges: The edges that were taken.
        current: The nodes that made the checkpoint.
        upcoming: The nodes that come next, or wait.
        cut: Whether the run has earlier steps that were not looked at.
    """

    visits: dict[str, int] = field(default_factory=dict)
    edges: set[tuple[str, str]] = field(default_factory=set)
    current: list[str] = field(default_factory=list)
    upcoming: list[str] = field(default_factory=list)
    cut: bool = False


def marks_of(explanation: Account, picture: Picture, *, behind: bool = False) -> Marks:
    """Return what an account marks in a picture.

    Args:
        explanation: The account.
        picture: The graph as it is drawn.
        behind: Whether what has ended behind the checkpoint counts as run.
    """
    marks = Marks()
    drawing = _Drawing(picture, marks, behind)
    prefix = path_of(explanation.namespace)
    marks.upcoming = list(dict.fromkeys(drawing.follow(explanation, prefix)))
    last = explanation.steps[-1].tasks if explanation.steps else ()
    marks.current = list(dict.fromkeys(drawing.drawn(prefix, task.node, END) for task in last if task.node))
    return marks


def svg_of(explanation: Account, drawn: Drawable) -> str:
    """Draw a graph with what an account marks, as one SVG element."""
    picture = picture_of(drawn)
    marks = marks_of(explanation, picture, behind=True)
    classes = dict.fromkeys(marks.visits, "taken") | dict.fromkeys(marks.upcoming, "waits")
    return as_svg(picture, title=f"Thread {explanation.thread_id}", nodes=classes, edges=marks.edges)


def path_of(namespace: str) -> str:
    """Return the nodes that a namespace leads through, as in ids of a picture: `outer:inner`."""
    return ":".join(part.partition(":")[0] for part in namespace.split("|") if part and not part.isdecimal())


@dataclass(slots=True)
class _Drawing:
    picture: Picture
    marks: Marks
    behind: bool

    def follow(self, explanation: Account, prefix: str) -> Iterator[str]:
        """Mark an account, with those inside of it; yields the nodes that come next."""
        self.marks.cut |= explanation.is_cut
        self._visit(explanation, prefix)
        self._take_edges(explanation, prefix)
        for step in explanation.steps:
            for task in step.tasks:
                if task.inside is not None:
                    list(self.follow(task.inside, path_of(task.inside.namespace)))
        for task in explanation.upcoming:
            if task.ran and self.behind:
                continue
            if self._is_begun(task) and task.inside is not None:
                yield from self.follow(task.inside, path_of(task.inside.namespace))
            else:
                yield self.drawn(prefix, task.node, START)

    def _visit(self, explanation: Account, prefix: str) -> None:
        visits = explanation.visits(behind=self.behind)
        if any(step.source == "input" for step in explanation.steps):
            visits.setdefault(START, 1)
        if explanation.is_over and len(explanation.steps) > 1:
            visits[END] = 1
        for node, count in visits.items():
            name = _named(prefix, node)
            self.marks.visits[name] = self.marks.visits.get(name, 0) + count

    def _take_edges(self, explanation: Account, prefix: str) -> None:
        known = {(each.source, each.target) for each in self.picture.edges}
        begun = [task for task in explanation.upcoming if self._is_begun(task)]
        for source, target in {*explanation.edges(behind=self.behind), *self._into(begun)}:
            edge = (self.drawn(prefix, source, END), self.drawn(prefix, target, START))
            if edge in known:
                self.marks.edges.add(edge)

    def drawn(self, prefix: str, node: str, end: str) -> str:
        """Return a node as it is drawn: a graph inside is its first or last node, `START` or `END`."""
        name = _named(prefix, node)
        inner = f"{name}:{end}"
        return inner if any(each.id == inner for each in self.picture.nodes) else name

    @staticmethod
    def _is_begun(task: TaskAccount) -> bool:
        return not task.ran and (task.inside is not None or task.status in ("asks", "failed"))

    @staticmethod
    def _into(tasks: list[TaskAccount]) -> Iterator[tuple[str, str]]:
        for task in tasks:
            for source in task.sources():
                if source.node or source.way == "input":
                    yield source.node or START, task.node


def _named(prefix: str, node: str) -> str:
    return f"{prefix}:{node}" if prefix else node
