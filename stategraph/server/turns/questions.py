"""Open questions of a thread, and the command that answers them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage

from stategraph.server.projection import ToolApproval, pauses
from stategraph.server.projection.pauses import Decision
from stategraph.server.service.port import InvalidError
from stategraph.server.turns.conversation import messages_of, values_of
from stategraph.server.turns.forms import Fields, Json
from stategraph.types import StateSnapshot

#: Between the id of an interrupt and the number of one of several calls that it asks about.
SEPARATOR: Final = "."


@dataclass(frozen=True, slots=True)
class Question:
    """An interrupt of a thread, or one of the tool calls that it asks about.

    Attributes:
        question_id: By which a client answers it: the interrupt's id, with the number of the call if there are several.
        interrupt_id: The interrupt.
        payload: What the graph asks.
        approval: The tool call; None: it asks something else.
    """

    question_id: str
    interrupt_id: str
    payload: Any
    approval: ToolApproval | None = None


def questions_of(interrupt_id: str, payload: Any, approvals: Sequence[ToolApproval]) -> list[Question]:
    """Return the questions of an interrupt, one for each tool call that it asks about."""
    if not approvals:
        return [Question(interrupt_id, interrupt_id, payload)]
    if len(approvals) == 1:
        return [Question(interrupt_id, interrupt_id, payload, approvals[0])]
    return [
        Question(f"{interrupt_id}{SEPARATOR}{number}", interrupt_id, payload, each)
        for number, each in enumerate(approvals)
    ]


def open_questions(snapshot: StateSnapshot | None) -> list[Question]:
    """Return the questions that a thread waits with, in order."""
    if snapshot is None:
        return []
    waiting = unanswered(messages_of(values_of(snapshot)))
    found: list[Question] = []
    for each in snapshot.interrupts:
        about = pauses.approvals(each.value, waiting)
        for approval in about:
            waiting.pop(approval.call_id, None)
        found += questions_of(each.id, each.value, about)
    return found


def unanswered(messages: Sequence[BaseMessage]) -> dict[str, tuple[str, Fields]]:
    """Return name and arguments of the tool calls of a conversation that have no result, by id."""
    answered = {each.tool_call_id for each in messages if isinstance(each, ToolMessage)}
    return {
        call["id"] or "": (call["name"], call["args"])
        for each in messages
        if isinstance(each, AIMessage)
        for call in each.tool_calls
        if call["id"] not in answered
    }


def resume(questions: Sequence[Question], answers: Fields) -> Json:
    """Return the command that answers the questions of a thread.

    Args:
        questions: All that it waits with.
        answers: By the question's id: a `Decision` about a tool call, or a value in the form that the graph expects.

    Raises:
        InvalidError: A question of an interrupt that is answered has no answer, a decision is not allowed, or nothing
            waits for an answer.
    """
    known = {each.question_id: each for each in questions}
    unknown = [each for each in answers if each not in known]
    if unknown:
        waits = ", ".join(known) or "none"
        raise InvalidError(f"Nothing waits for an answer to {', '.join(map(repr, unknown))}; open questions: {waits}")
    values: Json = {}
    for interrupt_id in dict.fromkeys(known[each].interrupt_id for each in answers):
        about = [each for each in questions if each.interrupt_id == interrupt_id]
        values[interrupt_id] = _value(about, answers)
    if set(values) == {""}:  # a breakpoint
        return {}
    return {"resume": values}


def _value(about: Sequence[Question], answers: Fields) -> Any:
    given = [answers.get(each.question_id) for each in about]
    missing = [each.question_id for each in about if each.question_id not in answers]
    if missing:
        raise InvalidError(f"Each tool call that waits has to be decided about; no answer to {', '.join(missing)}")
    if not all(isinstance(each, Decision) for each in given):
        return given[0] if len(given) == 1 else given
    try:
        return pauses.answer(about[0].payload, [each for each in given if isinstance(each, Decision)])
    except ValueError as error:
        raise InvalidError(str(error)) from None
