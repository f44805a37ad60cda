"""The settings of a run: everything about it that is decided before it starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Literal, NamedTuple

from stategraph.constants import NS_END
from stategraph.core.delta_journal import DeltaCodec
from stategraph.core.state.versioning import NextVersion
from stategraph.core.task import Task


class Watch(NamedTuple):
    """The facts that the run's listeners want to hear.

    Attributes:
        values: That the output channels changed.
        ended: How each task ended.
        planned: Which tasks are about to run.
        checkpoints: That a checkpoint is made.
    """

    values: bool = False
    ended: bool = False
    planned: bool = False
    checkpoints: bool = False


@cache
def takes_short_way(watch: Watch) -> bool:
    """Return whether steps of one task may take the short way, which tells of values and of how tasks ended.

    Whatever else is to be heard, known now or added later, makes every step go the long way.
    """
    return not any(watch._replace(values=False, ended=False))


class Settings(NamedTuple):
    """The behaviour of a run, decided before it starts.

    A named tuple: of its many fields a frozen dataclass would set each by a call.

    Attributes:
        ns: Namespace of the run's graph within the thread; "" for a root.
        nested: Whether the run is a node of another run.
        saves: When checkpoints are stored: never, at each step, or at the end.
        limit: The most steps to run.
        output_keys: Channels that make up the output.
        interrupt_before: Nodes to pause before; "*" for all.
        interrupt_after: Nodes to pause after; "*" for all.
        parents: Checkpoint ids of the enclosing runs by namespace.
        new_id: Gives the id of a new checkpoint for a step's number.
        now: Gives the time as ISO 8601.
        next_version: The saver's version rule; None counts up.
        strict_resume: Refuse answers that no waiting interrupt matches.
        watch: What listeners want to hear.
        parent: The task whose node the run is, or None.
        deltas: What keeping delta channels takes; None if the program has none.
    """

    ns: str
    nested: bool
    saves: Literal["never", "step", "exit"]
    limit: int
    output_keys: str | Sequence[str]
    interrupt_before: Literal["*"] | Sequence[str]
    interrupt_after: Literal["*"] | Sequence[str]
    parents: dict[str, str]
    new_id: Callable[[int], str]
    now: Callable[[], str]
    next_version: NextVersion | None
    strict_resume: bool
    watch: Watch
    parent: Task | None
    deltas: DeltaCodec | None = None

    @property
    def is_apart(self) -> bool:
        """True if what the run stores in the end is beside nothing else: only its task knows its namespace."""
        return self.saves == "exit" and self.nested and NS_END in self.ns
