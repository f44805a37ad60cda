"""Questions of a run, asked in the terminal and answered as the run expects it.

approval of tool calls      a decision for each: approve, reject, edit, respond
questions with ids          an answer for each
limits                      a new limit, or the end of the run
questions of MCP servers    content, or no
any other                   JSON, or the text itself
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from stategraph.cli.chat.person import Person
from stategraph.cli.chat.screen import Screen, told
from stategraph.cli.values import in_a_line

_LETTERS: Final = {"approve": "a", "reject": "r", "edit": "e", "respond": "s"}


def ask(payload: object, person: Person, screen: Screen) -> Any:
    """Ask a question and return the answer.

    Args:
        payload: The question of an interrupt.
        person: Answers.
        screen: Shows the question.

    Raises:
        GoneError: The input has ended.
        KeyboardInterrupt: Ctrl-C.
    """
    if not isinstance(payload, Mapping):
        return _any(payload, person, screen)
    if isinstance(payload.get("action_requests"), list):
        decisions = _decisions(payload, person, screen)
        return decisions if "type" in payload else {"decisions": decisions}
    if payload.get("type") == "ask_user_question":
        return _answers(payload, person, screen)
    if payload.get("type") == "limit_reached":
        return _limit(payload, person, screen)
    if payload.get("type") == "mcp_elicitation":
        return _elicited(payload, person, screen)
    return _any(payload, person, screen)


def _decisions(payload: Mapping[str, Any], person: Person, screen: Screen) -> list[dict[str, Any]]:
    found = []
    for request, review in zip(payload["action_requests"], payload["review_configs"], strict=False):
        arguments = request.get("arguments", request.get("args"))
        screen.line(screen.style.asked(f"  ? {told(str(request.get('name')), arguments)}"))
        if request.get("description"):
            screen.line(f"    {in_a_line(request['description'], 400)}", dim=True)
        allowed = [each for each in review.get("allowed_decisions") or _LETTERS if each in _LETTERS]
        found.append(_decision(allowed, arguments, person, screen))
    return found


def _decision(allowed: Sequence[str], arguments: object, person: Person, screen: Screen) -> dict[str, Any]:
    words = ", ".join(f"{each} ({_LETTERS[each]})" for each in allowed)
    while True:
        said = person.line(f"    {words}? ").strip()
        match _word(said.lower(), allowed):
            case "approve":
                return {"type": "approve"}
            case "reject":
                reason = person.line("    why (or nothing)? ").strip()
                return {"type": "reject", **({"reason": reason} if reason else {})}
            case "respond":
                return {"type": "respond", "response_text": person.line("    the result of the call: ")}
            case "edit":
                if (edited := _edited(arguments, person, screen)) is not None:
                    return {"type": "edit", "updated_input": edited}
            case _:
                screen.line(f"    '{said}' is none of these.")


def _word(said: str, allowed: Sequence[str]) -> str | None:
    """Return the decision that somebody means; None if it is none that is allowed."""
    word = {"y": "approve", "yes": "approve", "n": "reject", "no": "reject"}.get(said, said)
    return next((each for each in allowed if word in (each, _LETTERS[each])), None)


def _edited(arguments: object, person: Person, screen: Screen) -> dict[str, Any] | None:
    """Return new arguments; None if they are no JSON object."""
    screen.line(f"    now: {json.dumps(arguments, ensure_ascii=False, default=str)}")
    try:
        value = json.loads(person.line("    new: "))
    except json.JSONDecodeError as error:
        screen.line(f"    That is not JSON: {error}.")
        return None
    if not isinstance(value, dict):
        screen.line("    The arguments are an object, as those shown.")
        return None
    return value


def _answers(payload: Mapping[str, Any], person: Person, screen: Screen) -> Any:
    questions = payload.get("questions")
    if not isinstance(questions, list):
        return {"answer": _one(payload.get("question") or payload, person, screen)}
    return {str(each.get("id")): _one(each, person, screen) for each in questions}


def _one(question: Any, person: Person, screen: Screen) -> str:
    if not isinstance(question, Mapping):
        question = {"question": question}
    screen.line(screen.style.asked(f"  ? {question.get('question')}"))
    options = [each for each in question.get("options") or () if isinstance(each, Mapping)]
    for number, option in enumerate(options, 1):
        label, text = option.get("label") or option.get("value"), option.get("description")
        screen.line(f"    {number}  {label}" + (f": {text}" if text else ""))
    said = person.line("    > ").strip()
    if options and said.isdecimal() and 1 <= int(said) <= len(options):
        chosen = options[int(said) - 1]
        return str(chosen.get("value") or chosen.get("label"))
    return said


def _limit(payload: Mapping[str, Any], person: Person, screen: Screen) -> dict[str, Any]:
    text = f"  ? The run has used {payload['used']} of {payload['allowed']} ({payload['limit']})."
    screen.line(screen.style.asked(text))
    while True:
        said = person.line("    a new limit, or nothing to end the run: ").strip()
        if not said:
            return {"type": "end"}
        try:
            return {"type": "raise", "to": json.loads(said)}
        except json.JSONDecodeError:
            screen.line(f"    '{said}' is no number.")


def _elicited(payload: Mapping[str, Any], person: Person, screen: Screen) -> dict[str, Any]:
    screen.line(screen.style.asked(f"  ? {in_a_line(payload.get('message') or payload, 2_000)}"))
    if payload.get("requestedSchema"):
        screen.line(f"    expected: {in_a_line(payload['requestedSchema'], 1_000)}", dim=True)
    while True:
        said = person.line("    JSON to accept, or nothing to decline: ").strip()
        if not said:
            return {"action": "decline"}
        try:
            return {"action": "accept", "content": json.loads(said)}
        except json.JSONDecodeError as error:
            screen.line(f"    That is not JSON: {error}.")


def _any(payload: object, person: Person, screen: Screen) -> Any:
    screen.line(screen.style.asked(f"  ? {in_a_line(payload, 2_000)}"))
    said = person.line("    answer, as JSON or text: ").strip()
    try:
        return json.loads(said)
    except json.JSONDecodeError:
        return said
