"""Random programs for scheduling without a barrier, and a reference model of what they mean.

The model knows nothing of the engine: it walks the graph with sets, one task at a time, in any order it is given.
"""

from __future__ import annotations

import asyncio
import operator
import random
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, TypedDict

from hypothesis import strategies as st
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import END, START, Command, Send, StateGraph
from stategraph.graph.edges.flows import JoinWarning


class State(TypedDict):
    log: Annotated[list[str], operator.add]
    last: str


@dataclass(frozen=True)
class Plan:
    """A program: what each node goes to.

    Attributes:
        count: How many nodes there are.
        edges: Plain edges; -1 is the start.
        joins: Edges from several nodes that wait for all of them.
        routes: For nodes with a router where it leads, by how often the node has run before, the last one for good.
        sends: For nodes that send packets: to which node, and how many.
        any: Nodes that each arrival starts.
        defer: Nodes that wait for everything.
    """

    count: int
    edges: tuple[tuple[int, int], ...]
    joins: tuple[tuple[tuple[int, ...], int], ...] = ()
    routes: Mapping[int, tuple[tuple[int, ...], ...]] = field(default_factory=dict)
    sends: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    any: frozenset[int] = frozenset()
    defer: frozenset[int] = frozenset()


def name(number: int) -> str:
    return START if number < 0 else f"n{number}"


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Programs of a few nodes: edges forward, routers that may go back, joins, packets."""
    count = draw(st.integers(2, 7))
    edges: set[tuple[int, int]] = set()
    for node in range(count):
        before = draw(st.sets(st.integers(-1, node - 1), min_size=0 if node else 1, max_size=2))
        edges |= {(start, node) for start in before}
    if not any(start < 0 for start, _ in edges):
        edges.add((-1, 0))
    joins = []
    if count > 3 and draw(st.booleans()):
        end = draw(st.integers(2, count - 1))
        starts = draw(st.sets(st.integers(0, end - 1), min_size=2, max_size=3))
        joins.append((tuple(sorted(starts)), end))
    routes: dict[int, tuple[tuple[int, ...], ...]] = {}
    for node in draw(st.sets(st.integers(0, count - 1), max_size=2)):
        answers = draw(st.lists(st.sets(st.integers(0, count - 1), max_size=2), min_size=1, max_size=2))
        # In the end it leads forward only.
        final = tuple(sorted(end for end in draw(st.sets(st.integers(0, count - 1), max_size=2)) if end > node))
        routes[node] = (*(tuple(sorted(answer)) for answer in answers), final)
    sends = {}
    if count > 2 and draw(st.booleans()):
        node = draw(st.integers(0, count - 2))
        sends[node] = (draw(st.integers(node + 1, count - 1)), draw(st.integers(1, 3)))
    joined = {end for _, end in joins}
    some = draw(st.sets(st.integers(1, count - 1), max_size=2)) - joined
    defer = draw(st.sets(st.integers(1, count - 1), max_size=1)) - joined - some - {end for end, _ in sends.values()}
    return Plan(count, tuple(sorted(edges)), tuple(joins), routes, sends, frozenset(some), frozenset(defer))


# -- as a graph -----------------------------------------------------------------


class Program:
    """A plan as a graph, whose tasks take random times.

    Attributes:
        ran: What each task has seen, by node, in the order of the ends.
        graph: The builder.
    """

    def __init__(self, plan: Plan, seed: int = 0) -> None:
        self.ran: list[tuple[str, str]] = []
        self._random = random.Random(seed)
        self.graph = graph = StateGraph(State)
        for number in range(plan.count):
            join = "any" if number in plan.any else None
            graph.add_node(name(number), self._node(plan, number), defer=number in plan.defer, join=join)
        for start, end in plan.edges:
            graph.add_edge(name(start), name(end))
        for starts, end in plan.joins:
            graph.add_edge([name(start) for start in starts], name(end))
        for number, answers in plan.routes.items():
            ends = sorted({name(end) for answer in answers for end in answer})
            if ends:
                graph.add_conditional_edges(name(number), self._router(plan, number, answers), [*ends, END])
        for number, (end, packets) in plan.sends.items():
            graph.add_conditional_edges(name(number), self._sender(end, packets), [name(end)])

    def _node(self, plan: Plan, number: int) -> Callable[..., Any]:
        async def node(state: State) -> dict[str, Any]:
            for _ in range(self._random.randrange(12)):
                await asyncio.sleep(0)
            seen = saw(state)
            self.ran.append((name(number), seen))
            return {"log": [written(name(number), seen)]}

        node.__name__ = name(number)
        return node

    @staticmethod
    def _router(plan: Plan, number: int, answers: Sequence[Sequence[int]]) -> Callable[..., Any]:
        def route(state: State) -> list[str]:
            count = sum(1 for entry in state["log"] if entry.startswith(f"{name(number)}("))
            return [name(end) for end in answers[min(count, len(answers)) - 1]]

        return route

    @staticmethod
    def _sender(end: int, packets: int) -> Callable[..., Any]:
        def send(state: State) -> list[Send]:
            return [Send(name(end), {"log": [*state["log"], f"packet {index}"]}) for index in range(packets)]

        return send

    def compile(self, **options: Any) -> Any:
        with warnings.catch_warnings(action="ignore", category=JoinWarning):
            return self.graph.compile(scheduling="dataflow", **options)


def saw(state: Any) -> str:
    return str(hash_of(state["log"]))


def hash_of(log: Sequence[str]) -> str:
    """A short name for a log: its entries count, and so does their order."""
    value = 7
    for entry in log:
        for character in entry:
            value = (value * 31 + ord(character)) % 1_000_003
        value = (value * 37 + 11) % 1_000_003
    return f"{len(log)}:{value}"


def written(node: str, seen: str) -> str:
    return f"{node}({seen})"


# -- the model ------------------------------------------------------------------


@dataclass(eq=False)
class Ran:
    """A task of the model.

    Attributes:
        node: Its node; -1 for the beginning.
        past: The tasks that led to it.
        wave: One more than the latest of them.
        label: Sorts the tasks of a wave.
        sent: The log that it was sent, if it was.
        entry: What it wrote.
    """

    node: int
    past: frozenset[Ran]
    wave: int
    label: tuple[Any, ...]
    sent: list[str] | None = None
    entry: str = ""


class TooLong(Exception):
    """The program takes more steps than the model is willing to take."""


class Model:
    """Runs a plan one task at a time; which of those that may run is next is up to a random generator."""

    def __init__(self, plan: Plan, seed: int) -> None:
        self._plan = plan
        self._random = random.Random(seed)
        self._arrows: dict[int, set[int]] = {}
        for start, end in plan.edges:
            self._arrows.setdefault(start, set()).add(end)
        for starts, end in plan.joins:
            for start in starts:
                self._arrows.setdefault(start, set()).add(end)
        for start, answers in plan.routes.items():
            self._arrows.setdefault(start, set()).update(end for answer in answers for end in answer)
        for start, (end, _) in plan.sends.items():
            self._arrows.setdefault(start, set()).add(end)
        self.running: list[Ran] = []
        self.done: list[Ran] = []
        self.waiting: dict[int, list[Ran]] = {}
        self.arrived: dict[int, list[tuple[int, Ran]]] = {}
        self.late: dict[int, list[Ran]] = {}

    def run(self, limit: int = 60) -> list[str]:
        """Return the log of the whole run."""
        start = Ran(-1, frozenset(), 0, (0,))
        self.done.append(start)
        for end in self._arrows[-1]:
            if (-1, end) in self._plan.edges:
                self._trigger(end, start)
        while self._begin() or self.running or self._defer():
            if self.running:
                task = self.running.pop(self._random.randrange(len(self.running)))
                self._finish(task)
            if len(self.done) > limit:
                raise TooLong
        return self._log(frozenset(self.done))

    def _reaches(self, start: int, end: int) -> bool:
        """Whether one node may lead to another one, not through that."""
        seen, open_ = {start}, [start]
        while open_:
            for following in self._arrows.get(open_.pop(), ()):
                if following == end:
                    return True
                if following not in seen:
                    seen.add(following)
                    open_.append(following)
        return False

    def _begin(self) -> bool:
        ready = []
        for node in sorted(self.waiting):
            if node in self._plan.any:
                ready.append(node)
                continue
            if any(task.node == node and task.sent is None for task in self.running):
                continue
            if any(self._reaches(task.node, node) for task in self.running):
                continue
            rivals = [other for other in self.waiting if other != node and self._reaches(other, node)]
            if all(self._reaches(node, other) and other not in self._plan.any for other in rivals):
                ready.append(node)
        for node in ready:
            causes = self.waiting.pop(node)
            self.arrived = {
                index: found
                for index, found in self.arrived.items()
                if self._plan.joins[index][1] != node or not self._complete(index)
            }
            groups = [[cause] for cause in causes] if node in self._plan.any else [causes]
            for group in groups:
                self._start(node, group)
        return bool(ready)

    def _start(self, node: int, causes: Sequence[Ran], sent: list[str] | None = None, index: int = -1) -> None:
        past = frozenset().union(*(cause.past | {cause} for cause in causes))
        wave = 1 + max(cause.wave for cause in causes)
        if sent is None:
            label: tuple[Any, ...] = (wave, 0, name(node), tuple(sorted(cause.label for cause in causes)))
        else:
            label = (wave, 1, causes[0].label, index)
        self.running.append(Ran(node, past, wave, label, sent))

    def _finish(self, task: Ran) -> None:
        seen = hash_of(self._log(task.past) if task.sent is None else task.sent)
        task.entry = written(name(task.node), seen)
        self.done.append(task)
        plan = self._plan
        for start, end in plan.edges:
            if start == task.node:
                self._trigger(end, task)
        after = self._log(task.past | {task})
        if task.node in plan.routes:
            answers = plan.routes[task.node]
            count = sum(1 for entry in after if entry.startswith(f"{name(task.node)}("))
            for end in answers[min(count, len(answers)) - 1]:
                self._trigger(end, task)
        if task.node in plan.sends:
            end, packets = plan.sends[task.node]
            for index in range(packets):
                self._start(end, [task], [*after, f"packet {index}"], index)
        for index, (starts, end) in enumerate(plan.joins):
            if task.node in starts:
                self.arrived.setdefault(index, []).append((task.node, task))
                if self._complete(index):
                    for _, cause in self.arrived[index]:
                        self._trigger(end, cause)

    def _complete(self, index: int) -> bool:
        return {node for node, _ in self.arrived.get(index, ())} == set(self._plan.joins[index][0])

    def _trigger(self, node: int, cause: Ran) -> None:
        places = self.late if node in self._plan.defer else self.waiting
        causes = places.setdefault(node, [])
        if cause not in causes:
            causes.append(cause)

    def _defer(self) -> bool:
        """Begin what waits for everything, as if everything led to it."""
        if not self.late:
            return False
        everything = list(self.done)
        nodes, self.late = sorted(self.late), {}
        for node in nodes:
            self._start(node, everything)
        return True

    def _log(self, tasks: frozenset[Ran]) -> list[str]:
        """What tasks wrote, wave by wave; if a wave has a node more than once, the others of it come first."""
        counts: dict[tuple[int, int], int] = {}
        placed = []
        for task in sorted(tasks, key=lambda task: task.label):
            number = 0
            if task.sent is None:
                number = counts.get((task.wave, task.node), 0)
                counts[task.wave, task.node] = number + 1
            placed.append(((task.wave, number, task.label), task))
        return [task.entry for _, task in sorted(placed, key=lambda item: item[0]) if task.entry]


# -- crashes --------------------------------------------------------------------


class Recorder(InMemorySaver):
    """A saver that notes each call that writes, so that a crash after any of them can be played."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def put(self, *args: Any) -> Any:
        self.calls.append(("put", args))
        return super().put(*args)

    def put_writes(self, *args: Any) -> None:
        self.calls.append(("put_writes", args))
        super().put_writes(*args)

    def after(self, number: int) -> Recorder:
        """Return a saver as a process would have left it that died after so many calls."""
        saver = Recorder()
        for method, args in self.calls[:number]:
            getattr(saver, method)(*args)
        saver.calls.clear()
        return saver

    def recorded(self) -> list[str]:
        """Return what tasks have written to the log and was stored."""
        found = []
        for method, args in self.calls:
            if method == "put_writes":
                found += [entry for channel, value in args[1] if channel == "log" for entry in value]
        return found


THREAD: Any = {"configurable": {"thread_id": "1"}, "recursion_limit": 80}

__all__ = ("THREAD", "Command", "Model", "Plan", "Program", "Recorder", "State", "TooLong", "hash_of", "plans")
