"""A run before it starts: its settings, the checkpoint that it starts from, and its input."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Final, Literal, NamedTuple

from stategraph.constants import NS_END
from stategraph.core import checkpoint as checkpoints
from stategraph.core import status
from stategraph.core.delta_journal import DeltaCodec
from stategraph.core.program import Program
from stategraph.core.state.versioning import NextVersion
from stategraph.core.task import ResumeMap, Task


class Watch(NamedTuple):
    """The facts that the run's listeners want to hear.

    No field has a default: what decides what to hear cannot leave out a fact that is added here.

    Attributes:
        values: That the output channels changed.
        ended: How each task ended.
        planned: Which tasks are about to run.
        checkpoints: That a checkpoint is made.
    """

    values: bool
    ended: bool
    planned: bool
    checkpoints: bool


UNHEARD: Final = Watch(values=False, ended=False, planned=False, checkpoints=False)
"""What a run without listeners is watched for: nothing."""


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
        marks: What the metadata of checkpoints says of the graph, such as its version; None for nothing.
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
    marks: Mapping[str, Any] | None = None

    @property
    def is_apart(self) -> bool:
        """True if what the run stores in the end is beside nothing else: only its task knows its namespace."""
        return self.saves == "exit" and self.nested and NS_END in self.ns


class Ways(NamedTuple):
    """The ways that a run of a program goes, as its settings have it.

    Attributes:
        outputs: The channels that make up the output.
        quiet: Whether planning needs to look at nothing but the tasks themselves.
        plain: Whether steps of one task may take the short way.
        unrecorded: Whether the only task of a step need not be recorded: nothing can cut in before its step is applied.
        apart: Whether steps of one task need no checkpoints; see `Settings.is_apart`.
    """

    outputs: frozenset[str]
    quiet: bool
    plain: bool
    unrecorded: bool
    apart: bool

    @classmethod
    def of(cls, program: Program, settings: Settings) -> Ways:
        """Work them out."""
        keys, watch = settings.output_keys, settings.watch
        quiet = not (settings.interrupt_before or settings.deltas or program.due)
        quiet = quiet and (watch is UNHEARD or takes_short_way(watch))
        return cls(
            frozenset((keys,) if isinstance(keys, str) else keys),
            quiet,
            quiet and not settings.interrupt_after,
            settings.saves == "never",
            settings.saves == "exit" and settings.is_apart,
        )


class Thread(NamedTuple):
    """The checkpoint that a run starts from, with what is known about it.

    Attributes:
        checkpoint: The loaded checkpoint, or an empty one.
        metadata: Its metadata; ``{"step": -2}`` for an empty one.
        parent_id: Id of the checkpoint before it, or None.
        pending: The writes recorded after it, by task id, or None.
        stored_id: Its id if a saver returned it (or the id the run named in
            vain); the next checkpoint's parent.
        addressed: Whether the run named this checkpoint rather than the latest.
        superseded: Whether the thread has moved past it.
        found: Whether a saver returned the checkpoint.
        moved: Whether it is another namespace's; see ``core.opening.travel``.
        histories: By channel what the saver found of those that the checkpoint
            does not hold.
        tasks: By ids of tasks of its step, the ids and namespaces that they had under an earlier version of the graph.
        unstored: The channels whose value a migration has made, and no checkpoint holds yet.
    """

    checkpoint: checkpoints.Checkpoint
    metadata: checkpoints.Metadata
    parent_id: str | None = None
    pending: status.Pending | None = None
    stored_id: str | None = None
    addressed: bool = False
    superseded: bool = False
    found: bool = False
    moved: bool = False
    histories: Mapping[str, Any] | None = None
    tasks: Mapping[str, tuple[str, str]] | None = None
    unstored: frozenset[str] = frozenset()


class Start(NamedTuple):
    """The input of a run, and what its caller says about it.

    Attributes:
        input: The caller's input: a value, a ``Command``, or None to continue.
        resuming: Whether an enclosing run said that this one continues; None
            if there is none to say so.
        same_run: Whether the loaded checkpoint was made by the run of the same id.
        own_checkpoint_named: Whether the caller named this namespace's checkpoint.
        resume_map: Answers by interrupt id handed down by an enclosing run.
        named: Checkpoints the caller named, by namespace, or None.
        ns: The namespace of the checkpoint; None for the run's own.
        copies: Whether a step that only copies the input may be taken with it: nobody wants to stop before it, or to
            see that it was planned.
    """

    input: Any
    resuming: bool | None = None
    same_run: bool = False
    own_checkpoint_named: bool = False
    resume_map: ResumeMap | None = None
    named: Mapping[str, str] | None = None
    ns: str | None = None
    copies: bool = False
