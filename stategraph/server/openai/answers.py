"""Questions of a run as items of the API, and the answers of clients.

Rules
-----
* In a response a tool call that waits for a person is an `mcp_approval_request`, which an `mcp_approval_response`
  answers. Any other question is a call of the function `interrupt`, which a `function_call_output` answers: JSON is the
  value that the graph gets, another text is that text.
* In a chat completion every question is a call of a function: `approve`, or `interrupt`. Its id has the thread in it,
  as a completion has no other way to say where it goes on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from stategraph.run.json_safe import to_json
from stategraph.server.projection.pauses import Decision, read_decision
from stategraph.server.turns.forms import Fields, Json
from stategraph.server.turns.questions import Question

APPROVAL: Final = "mcpr_"
INTERRUPT: Final = "int_"
FUNCTION: Final = "interrupt"
APPROVE: Final = "approve"

#: Where tools of the server are said to come from.
SERVER: Final = "stategraph"

_YES: Final = frozenset({"approve", "approved", "yes", "true", "ok"})
_NO: Final = frozenset({"reject", "rejected", "no", "false", "deny"})


def item_of(question: Question) -> Json:
    """Return the item of a response that asks a question."""
    if question.approval is not None:
        return {
            "id": f"{APPROVAL}{question.question_id}",
            "type": "mcp_approval_request",
            "name": question.approval.name,
            "arguments": to_json(question.approval.args),
            "server_label": SERVER,
        }
    call_id = f"{INTERRUPT}{question.question_id}"
    arguments = to_json({"payload": question.payload})
    about = {"call_id": call_id, "name": FUNCTION, "arguments": arguments, "status": "completed"}
    return {"id": f"fc_{call_id}", "type": "function_call", **about}


def answers_in(items: Sequence[Any]) -> Json:
    """Return the answers among the items of a request, by the question's id."""
    found: Json = {}
    for each in items:
        if not isinstance(each, Mapping):
            continue
        if each.get("type") == "mcp_approval_response":
            is_approved, reason = bool(each.get("approve")), str(each.get("reason") or "")
            question_id = str(each.get("approval_request_id") or "").removeprefix(APPROVAL)
            found[question_id] = Decision("approve" if is_approved else "reject", "" if is_approved else reason)
        elif is_answer(each):
            found[str(each["call_id"]).removeprefix(INTERRUPT)] = value_of(text_of_output(each.get("output")))
    return found


def is_answer(item: Fields) -> bool:
    """Return whether an item answers a question that was asked as a function call."""
    return item.get("type") == "function_call_output" and str(item.get("call_id") or "").startswith(INTERRUPT)


def text_of_output(output: Any) -> str:
    """Return the text of a function call's output."""
    if isinstance(output, str):
        return output
    return "".join(str(each.get("text") or "") for each in output or () if isinstance(each, Mapping))


def value_of(text: str) -> Any:
    """Return the value of an answer: JSON, else the text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


# Chat completions.


def call_of(question: Question, thread_id: str) -> tuple[str, str, str]:
    """Return id, function and arguments of the call that asks a question in a chat completion."""
    call_id = f"{INTERRUPT}{thread_id}/{question.question_id}"
    if question.approval is None:
        return call_id, FUNCTION, to_json({"payload": question.payload})
    about = {"tool": question.approval.name, "args": question.approval.args}
    if question.approval.description:
        about["description"] = question.approval.description
    return call_id, APPROVE, to_json(about)


def read_call(call_id: str) -> tuple[str, str] | None:
    """Return the thread and the question of a call's id; None if it is another call's."""
    if not call_id.startswith(INTERRUPT) or "/" not in call_id:
        return None
    thread_id, _, question_id = call_id.removeprefix(INTERRUPT).rpartition("/")
    return thread_id, question_id


def answer_of(text: str, question: Question | None) -> Any:
    """Return the answer that the result of such a call gives: a `Decision` about a tool call, else a value."""
    value = value_of(text)
    if question is None or question.approval is None:
        return value
    word = str(value).strip().lower()
    if word in _YES | _NO:
        return Decision("approve" if word in _YES else "reject")
    return read_decision(value) or Decision("reject", text)
