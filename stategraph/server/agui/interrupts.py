"""Questions of a run as interrupts of AG-UI, and entries of `resume` as their answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ag_ui.core import Interrupt, ResumeEntry

from stategraph.server.agui import state
from stategraph.server.projection import pauses
from stategraph.server.projection.pauses import Decision
from stategraph.server.turns.forms import Json
from stategraph.server.turns.questions import Question

#: The value that a question which is no approval is answered with if the user leaves it.
CANCELLED: Final = {"status": "cancelled"}


def interrupt_of(question: Question) -> Interrupt:
    """Return a question as the front end shows it."""
    payload, approval = question.payload, question.approval
    about = payload if isinstance(payload, Mapping) else {}
    if approval is not None:
        return Interrupt(
            id=question.question_id,
            reason="tool_call",
            message=approval.description or f"May the tool '{approval.name}' be called?",
            tool_call_id=approval.call_id or None,
            response_schema=_schema(approval.decisions),
            metadata={"tool": approval.name, "args": state.plain(approval.args), "decisions": list(approval.decisions)},
        )
    if not question.interrupt_id:
        return Interrupt(id=question.question_id, reason="breakpoint", message="The run stopped at a breakpoint.")
    asked = payload if isinstance(payload, str) else about.get("message") or about.get("question")
    schema = about.get("response_schema", about.get("responseSchema"))
    return Interrupt(
        id=question.question_id,
        reason=str(about.get("reason") or "input_required"),
        message=asked if isinstance(asked, str) else None,
        tool_call_id=_text(about.get("tool_call_id")),
        response_schema=schema if isinstance(schema, dict) else None,
        metadata={"payload": state.plain(payload)},
    )


def _text(given: object) -> str | None:
    return given if isinstance(given, str) and given else None


def _schema(decisions: Sequence[str]) -> Json:
    """Return the schema of the answer: `approved`, with `editedArgs` where arguments may be edited."""
    fields: Json = {"approved": {"type": "boolean"}, "reason": {"type": "string"}}
    if "edit" in decisions:
        fields["editedArgs"] = {"type": "object"}
    return {"type": "object", "properties": fields, "required": ["approved"]}


def answer_of(entry: ResumeEntry, question: Question | None) -> Any:
    """Return the answer of an entry of `resume`.

    Returns:
        A `Decision` about a tool call: of `{"approved": ..., "editedArgs": ...}`, of a decision as LangChain spells it,
        and a rejection if the user left the question. Anything else is the value for the graph as it is.
    """
    if entry.status == "cancelled":
        return CANCELLED if question is None or question.approval is None else Decision("reject")
    if question is not None and question.approval is not None:
        return pauses.read_decision(entry.payload) or entry.payload
    return entry.payload
