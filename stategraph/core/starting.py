"""Decisions at the beginning of a run: what it starts from, and whether it goes on, answers or replays.

Rules
-----
* Without anything stored a run can only begin. Otherwise the run around it says whether it continues; a root run
  continues if it got no input, a command, or the id of the run before.
* A run that names its checkpoint replays from there, unless it answers a question asked there.
* Answers name interrupts by their ids, or there is exactly one to answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from stategraph.core import checkpoint as checkpoints
from stategraph.core import status
from stategraph.core.task import ResumeMap
from stategraph.errors import UnknownInterruptError
from stategraph.types import Command

EDITS: Final = ("update", "fork")
"""Sources of checkpoints that no step of a run has made."""


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
        moved: Whether it is another namespace's; see ``core.travel``.
        histories: By channel what the saver found of those that the checkpoint
            does not hold.
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
    """

    input: Any
    resuming: bool | None = None
    same_run: bool = False
    own_checkpoint_named: bool = False
    resume_map: ResumeMap | None = None
    named: Mapping[str, str] | None = None
    ns: str | None = None


def course_of(
    start: Start, thread: Thread, *, nested: bool, written: bool, source: str | None
) -> tuple[bool, bool, bool, bool]:
    """Work out what a run does with its thread.

    Args:
        start: How it begins.
        thread: What it starts from.
        nested: Whether the run is a node of another run.
        written: Whether anything was ever written on the thread.
        source: What made the checkpoint.

    Returns:
        Whether it continues an earlier run; whether it replays from a checkpoint instead of answering at it; whether
        what was recorded after its checkpoint is another run's; and whether it starts a branch, with a checkpoint of
        its own.
    """
    resuming = written and is_resuming(start, nested=nested)
    travelling = is_travelling(start, addressed=thread.addressed, nested=nested)
    # The checkpoint of an edit or a fork is the beginning of a branch already, unless the thread has moved past it.
    forks = resuming and travelling and (source not in EDITS or thread.superseded)
    return resuming, travelling, travelling or thread.superseded, forks


def is_resuming(start: Start, *, nested: bool) -> bool:
    """Return whether a run on a thread with a history continues it, rather than taking its input as new."""
    if start.resuming is not None:
        return start.resuming
    return start.input is None or isinstance(start.input, Command) or (start.same_run and not nested)


def is_travelling(start: Start, *, addressed: bool, nested: bool) -> bool:
    """Return whether the run replays from a checkpoint instead of answering at it."""
    if not addressed:
        return False
    if nested and start.own_checkpoint_named:
        return True
    answers = isinstance(start.input, Command) and start.input.resume is not None
    return not (answers or start.resuming)


def names_interrupts(answers: object, pending: status.Pending, *, strict: bool) -> bool:
    """Check a resume value against the interrupts that wait.

    Args:
        answers: The value.
        pending: The writes recorded on the checkpoint.
        strict: Whether answers have to match.

    Returns:
        Whether it names interrupts by id.

    Raises:
        RuntimeError: If it does not say which of several it answers.
        UnknownInterruptError: If strict, and nothing waits for an answer.
    """
    waiting = status.waiting_ids(pending)
    if isinstance(answers, dict) and all(map(is_interrupt_id, answers)):
        unknown = sorted(answers.keys() - waiting)
        if strict and not answers:
            raise UnknownInterruptError(
                "The resume map names no interrupt", reason="empty_map", pending_ids=sorted(waiting)
            )
        if strict and unknown:
            raise UnknownInterruptError(
                f"Unknown or already-consumed interrupt: {unknown[0]}",
                reason="not_pending",
                interrupt_ids=unknown,
                pending_ids=sorted(waiting),
            )
        return True
    if len(waiting) > 1:
        message = (
            "When there are multiple pending interrupts, you must specify the interrupt id "
            "when resuming. Docs: https://docs.langchain.com/oss/python/langgraph/interrupts"
            "#handling-multiple-interrupts."
        )
        if strict:
            raise UnknownInterruptError(message, reason="ambiguous", pending_ids=sorted(waiting))
        raise RuntimeError(message)
    return False


def questions_meant(pending: status.Pending) -> frozenset[str] | None:
    """Find out which questions an answer that names none may be given to.

    Args:
        pending: The writes recorded on the checkpoint, with the answer among them.

    Returns:
        The ids: that of the one question that waits; none if several do, as nothing says which was meant. None if any
        question may have it: nothing waits, or not under an id that the question can be known by.
    """
    waiting = status.waiting_ids(pending)
    if not waiting or not all(map(is_interrupt_id, waiting)):
        return None
    return frozenset(waiting if len(waiting) == 1 else ())


def is_interrupt_id(key: object) -> bool:
    """Return whether a key of a resume map has the form of an interrupt's id (XXH3-128, hex)."""
    return isinstance(key, str) and len(key) == 32 and all(c in "0123456789abcdef" for c in key)
