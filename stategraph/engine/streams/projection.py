"""Chunks of stream modes, made from facts of a run: the one projection of the one event source.

Rules
-----
* A chunk is ``(namespace, mode, payload)``. It is built only if somebody reads
  that mode: the run's own caller, or the caller of an enclosing run that
  streams subgraphs.
* What each mode shows of a fact is in the table of modes.
* Chunks leave in the order of the facts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, assert_never

from stategraph.constants import INTERRUPT, NS_SEP
from stategraph.core import output
from stategraph.core.effects import (
    CheckpointReached,
    Fact,
    PausedBare,
    TaskSettled,
    TasksPlanned,
    ValuesChanged,
)
from stategraph.core.task import Draft, Task
from stategraph.engine.streams.modes import MODES, display_of, plain_part
from stategraph.engine.streams.payloads import NOTHING, End, ShownRun, Subject

Chunk = tuple[tuple[str, ...], str, Any]


class Projector:
    """Builds a run's chunks and hands them to its stream."""

    __slots__ = ("_bare", "_emit", "_ended", "_shows", "_subject", "_values", "modes", "ns", "watch")

    def __init__(self, run: ShownRun, modes: frozenset[str], emit: Callable[[Any], None], *, bare: bool) -> None:
        """Args: modes: Those with readers; emit: Takes each chunk; bare: Whether it takes the payloads alone."""
        keys = run.output_keys
        self._subject = Subject(run, run.machine.state, keys, keys if isinstance(keys, str) else frozenset(keys))
        shows = self._shows = display_of(modes)
        self._values, self._ended = shows.values, shows.ended
        self._emit = emit
        self._bare = bare
        self.modes = modes
        self.ns = tuple(run.ns.split(NS_SEP)) if run.ns else ()
        self.watch = self._shows.watch

    def project(self, fact: Fact) -> None:
        """Build the chunks of one fact."""
        subject, shows = self._subject, self._shows
        match fact:
            case ValuesChanged():
                for mode, values in self._values:
                    payload = values(subject)
                    if payload is not NOTHING:
                        self._emit(payload if self._bare else (self.ns, mode, payload))
            case Draft():
                self.finished(fact)
            case TaskSettled():
                self._settled(fact)
            case TasksPlanned(tasks):
                self._planned(tasks)
            case CheckpointReached(tasks):
                for mode, checkpoint in shows.checkpoint:
                    self._send(mode, checkpoint(subject, tasks))
            case PausedBare():
                for mode, paused in shows.paused:
                    self._send(mode, paused(subject, ()))
            case _:
                assert_never(fact)

    def _planned(self, tasks: Sequence[Task]) -> None:
        """Build the chunks of tasks that are about to run."""
        for task in tasks:
            if task.node is None or not task.node.hidden:
                for mode, started in self._shows.started:
                    self._send(mode, started(self._subject, task))

    def _settled(self, end: TaskSettled) -> None:
        """Build the chunks of a task's end."""
        writes = end.writes
        if writes and writes[0][0] == INTERRUPT:
            interrupts = output.interrupts_in(writes)
            for mode, asked in self._shows.asked:
                self._send(mode, asked(self._subject, interrupts))
        self.finished(end)

    def finished(self, end: End) -> None:
        """Build the chunks of a task's end, but for what it asks; the machine tells of none that is hidden."""
        subject, emit = self._subject, self._emit
        for mode, ended in self._ended:
            payload = ended(subject, end)
            if payload is not NOTHING:
                emit(payload if self._bare else (self.ns, mode, payload))

    def end_projector(self) -> Callable[[End], None]:
        """Return what is as good as :meth:`finished`, and faster if all that is taken are payloads of one mode."""
        return self._finished_bare if self._bare and len(self._ended) == 1 else self.finished

    def _finished_bare(self, end: End) -> None:
        ((_, ended),) = self._ended
        payload = ended(self._subject, end)
        if payload is not NOTHING:
            self._emit(payload)

    def _send(self, mode: str, payload: Any) -> None:
        if payload is not NOTHING:
            self._emit(payload if self._bare else (self.ns, mode, payload))


# -- what the caller gets ---------------------------------------------------


class Format(NamedTuple):
    """The format of chunks for the caller.

    Attributes:
        modes: Asked-for modes; a plain string when a single one was asked for
            as such, which leaves the mode out of the yielded items.
        printed: Modes that are printed as well.
        subgraphs: Whether the namespace is part of the yielded items.
        version: ``v1`` yields payloads or tuples, ``v2`` typed dicts.
        output_mapper: Coerces ``values`` payloads in v2, or None.
        state_mapper: Coerces states inside checkpoints in v2, or None.
    """

    modes: str | Sequence[str]
    printed: str | Sequence[str]
    subgraphs: bool
    version: Literal["v1", "v2"]
    output_mapper: Callable[[Any], Any] | None = None
    state_mapper: Callable[[Any], Any] | None = None

    def wanted(self) -> frozenset[str]:
        """Return all modes that have to be produced."""
        modes = self.modes
        if isinstance(modes, str):
            modes = (modes,)
        if not self.printed:
            return frozenset(modes)
        return frozenset((*modes, *((self.printed,) if isinstance(self.printed, str) else self.printed)))

    @property
    def is_empty(self) -> bool:
        """True if the caller gets none."""
        return not (self.modes or self.printed or self.subgraphs)

    @property
    def bare(self) -> bool:
        """True if the caller gets the payloads of one mode, and nothing around them."""
        return isinstance(self.modes, str) and not (self.printed or self.subgraphs or self.version == "v2")

    def viewer(self) -> Callable[[Chunk], Any]:
        """Return a function that formats a chunk for the caller, or returns ``NOTHING`` to skip it."""
        if self.bare:
            mode = self.modes
            return lambda chunk: chunk[2] if chunk[1] == mode else NOTHING
        return self.show

    def show(self, chunk: Chunk) -> Any:
        """Print a chunk if asked to; returns what the caller is to see of it, or ``NOTHING``."""
        ns, mode, payload = chunk
        if mode in self.printed:
            where = f"{_paint(f'[graph={ns}]', '1;33')} " if self.subgraphs and ns else ""
            print(f"\033[1m[{mode}]\033[0m {where}{payload!r}")
        if mode not in self.modes:
            return NOTHING
        if self.version == "v2":
            known = MODES.get(mode)
            return (plain_part if known is None else known.part)(mode, ns, payload, self)
        if self.subgraphs and isinstance(self.modes, list):
            return (ns, mode, payload)
        if isinstance(self.modes, list):
            return (mode, payload)
        return (ns, payload) if self.subgraphs else payload


def _paint(text: str, colour: str) -> str:
    return f"\033[1;3{colour}m{text}\033[0m"
