"""Answers that a run brings: which of the questions that wait they are for.

Rule: answers name interrupts by their ids, or there is exactly one to answer.
"""

from __future__ import annotations

from stategraph.core import status
from stategraph.errors import UnknownInterruptError


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
