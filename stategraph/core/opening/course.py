"""The course of a run: whether it begins, goes on, answers or replays.

Rules
-----
* Without anything stored a run can only begin. Otherwise the run around it says whether it continues; a root run
  continues if it got no input, a command, or the id of the run before.
* A run that names its checkpoint replays from there, unless it answers a question asked there.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from stategraph.core.settings import Start, Thread
from stategraph.types import Command

EDITS: Final = ("update", "fork")
"""Sources of checkpoints that no step of a run has made."""


class Course(NamedTuple):
    """The course of a run.

    Attributes:
        resuming: Whether it continues an earlier run.
        replays: Whether it goes back to a checkpoint, instead of answering at it.
        leaves_records: Whether what was recorded after its checkpoint is another run's, and its tasks are not given it
            back.
        forks: Whether it starts a branch, with a checkpoint of its own.
    """

    resuming: bool
    replays: bool
    leaves_records: bool
    forks: bool


_NEW: Final = Course(resuming=False, replays=False, leaves_records=False, forks=False)


def course_of(start: Start, thread: Thread, nested: bool, written: bool, source: str | None) -> Course:
    """Work out what a run does with its thread.

    Args:
        start: How it begins.
        thread: What it starts from.
        nested: Whether the run is a node of another run.
        written: Whether anything was ever written on the thread.
        source: What made the checkpoint.
    """
    if not (written or thread.addressed or thread.superseded):
        return _NEW
    resuming = written and is_resuming(start, nested=nested)
    replays = is_replay(start, addressed=thread.addressed, nested=nested)
    # The checkpoint of an edit or a fork is the beginning of a branch already, unless the thread has moved past it.
    forks = resuming and replays and (source not in EDITS or thread.superseded)
    return Course(resuming, replays, replays or thread.superseded, forks)


def is_resuming(start: Start, *, nested: bool) -> bool:
    """Return whether a run on a thread with a history continues it, rather than taking its input as new."""
    if start.resuming is not None:
        return start.resuming
    return start.input is None or isinstance(start.input, Command) or (start.same_run and not nested)


def is_replay(start: Start, *, addressed: bool, nested: bool) -> bool:
    """Return whether the run replays from a checkpoint instead of answering at it."""
    if not addressed:
        return False
    if nested and start.own_checkpoint_named:
        return True
    answers = isinstance(start.input, Command) and start.input.resume is not None
    return not (answers or start.resuming)
