"""Questions about tool calls, in the forms that graphs ask them, and the answers that these forms expect.

Three forms are known: LangChain's `HumanInTheLoopMiddleware` (`action_requests` and `review_configs`), the approvals of
this package's agents (the same with the ids of the calls), and `HumanInterrupt` of `langgraph.prebuilt`
(`action_request` and `config`, alone or in a list). Protocols show them as approvals and take decisions; any other
question is answered with the value that the client sends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

from stategraph.server.projection.facts import ToolApproval

Word: TypeAlias = Literal["approve", "reject", "edit", "respond"]

WORDS: tuple[Word, ...] = ("approve", "reject", "edit", "respond")

#: What `HumanInterrupt` calls the decisions: the key of its config, and the type of its response.
_INBOX: Mapping[str, tuple[str, str]] = {
    "approve": ("allow_accept", "accept"),
    "reject": ("allow_ignore", "ignore"),
    "edit": ("allow_edit", "edit"),
    "respond": ("allow_respond", "response"),
}


@dataclass(frozen=True, slots=True)
class Decision:
    """A person's decision about one tool call.

    Attributes:
        word: The decision.
        message: Why it is rejected, or the result in its place; empty if nothing was said.
        args: The arguments of `edit`.
    """

    word: Word
    message: str = ""
    args: Mapping[str, Any] | None = None


def approvals(payload: object, waiting: Mapping[str, tuple[str, Mapping[str, Any]]]) -> tuple[ToolApproval, ...]:
    """Return the tool calls that a question is about.

    Args:
        payload: The question.
        waiting: Name and arguments of the calls without a result, by id: where the question has no ids, a call is known
            by these.

    Returns:
        Empty if it is no question about tool calls.
    """
    left = dict(waiting)
    if isinstance(payload, Mapping) and isinstance(payload.get("action_requests"), Sequence):
        configs = _configs(payload.get("review_configs"))
        return tuple(_reviewed(each, configs, left) for each in payload["action_requests"] if isinstance(each, Mapping))
    asked = _human_interrupts(payload)
    return tuple(_inbox(each, left) for each in asked)


def answer(payload: object, decisions: Sequence[Decision]) -> Any:
    """Return the value that resumes a question about tool calls.

    Args:
        payload: The question.
        decisions: One for each of its `approvals`, in their order.

    Raises:
        ValueError: There are more or fewer decisions than calls, or one is not allowed.
    """
    asked = approvals(payload, {})
    if len(asked) != len(decisions):
        raise ValueError(f"{len(asked)} tool calls wait for a decision, and {len(decisions)} decisions were given")
    for about, decision in zip(asked, decisions, strict=True):
        if decision.word not in about.decisions:
            allowed = ", ".join(about.decisions) or "none"
            raise ValueError(f"The decision about '{about.name}' is '{decision.word}'; allowed: {allowed}")
    if isinstance(payload, Mapping) and "action_requests" in payload:
        return {"decisions": [_langchain(*each) for each in zip(asked, decisions, strict=True)]}
    return [_response(*each) for each in zip(asked, decisions, strict=True)]


def read_decision(given: object) -> Decision | None:
    """Read a decision that a client sent; None if it is none.

    Args:
        given: `{"type": "approve" | "reject" | "edit" | "respond"}` with `message`, `reason` or `edited_action`, or
            `{"approved": bool, "editedArgs": {...}, "reason": ...}`, or a bool.
    """
    if isinstance(given, bool):
        return Decision("approve" if given else "reject")
    if not isinstance(given, Mapping):
        return None
    word = given.get("type")
    texts = (given.get(key) for key in ("message", "reason", "response_text"))
    message = next((each for each in texts if isinstance(each, str)), "")
    edited = given.get("editedArgs", given.get("updated_input"))
    action = given.get("edited_action")
    if isinstance(action, Mapping):
        edited = action.get("args")
    args = edited if isinstance(edited, Mapping) else None
    if word in WORDS:
        return Decision(cast("Word", word), message, args)
    if isinstance(given.get("approved"), bool):
        if not given["approved"]:
            return Decision("reject", message)
        return Decision("approve") if args is None else Decision("edit", message, args)
    return None


def _configs(given: object) -> dict[str, tuple[str, ...]]:
    """Return the allowed decisions by the id of the call, else by the name of the tool."""
    found: dict[str, tuple[str, ...]] = {}
    for each in given if isinstance(given, Sequence) and not isinstance(given, str) else ():
        if isinstance(each, Mapping):
            key = each.get("tool_call_id") or each.get("action_name")
            allowed = each.get("allowed_decisions")
            if isinstance(key, str) and isinstance(allowed, Sequence):
                found[key] = tuple(str(word) for word in allowed)
    return found


def _reviewed(
    request: Mapping[str, Any],
    configs: Mapping[str, tuple[str, ...]],
    waiting: dict[str, tuple[str, Mapping[str, Any]]],
) -> ToolApproval:
    name = str(request.get("name") or request.get("action") or "")
    args = request.get("args", request.get("arguments"))
    args = args if isinstance(args, Mapping) else {}
    call_id = str(request.get("tool_call_id") or "") or _same_call(name, args, waiting)
    allowed = configs.get(call_id) or configs.get(name) or WORDS
    return ToolApproval(call_id, name, args, str(request.get("description") or ""), allowed)


def _human_interrupts(payload: object) -> list[Mapping[str, Any]]:
    given = payload if isinstance(payload, list | tuple) else [payload]
    found = [each for each in given if isinstance(each, Mapping) and isinstance(each.get("action_request"), Mapping)]
    return found if len(found) == len(given) else []


def _inbox(asked: Mapping[str, Any], waiting: dict[str, tuple[str, Mapping[str, Any]]]) -> ToolApproval:
    request, given = asked["action_request"], asked.get("config")
    config = given if isinstance(given, Mapping) else {}
    args = request.get("args")
    args = args if isinstance(args, Mapping) else {}
    name = str(request.get("action") or "")
    allowed = tuple(word for word, (key, _) in _INBOX.items() if config.get(key))
    return ToolApproval(
        _same_call(name, args, waiting), name, args, str(asked.get("description") or ""), allowed or WORDS
    )


def _same_call(name: str, args: Mapping[str, Any], waiting: dict[str, tuple[str, Mapping[str, Any]]]) -> str:
    """Take the first call of this tool with these arguments out of those that wait; return its id, or an empty text."""
    for call_id, (each, given) in waiting.items():
        if each == name and given == args:
            del waiting[call_id]
            return call_id
    return ""


def _langchain(about: ToolApproval, decision: Decision) -> dict[str, Any]:
    match decision.word:
        case "edit":
            args = dict(about.args if decision.args is None else decision.args)
            return {"type": "edit", "edited_action": {"name": about.name, "args": args}}
        case "respond":
            return {"type": "respond", "message": decision.message}
        case "reject":
            return {"type": "reject"} | ({"message": decision.message} if decision.message else {})
        case _:
            return {"type": "approve"}


def _response(about: ToolApproval, decision: Decision) -> dict[str, Any]:
    kind = _INBOX[decision.word][1]
    match decision.word:
        case "edit":
            args = dict(about.args if decision.args is None else decision.args)
            return {"type": kind, "args": {"action": about.name, "args": args}}
        case "respond":
            return {"type": kind, "args": decision.message}
        case _:
            return {"type": kind, "args": None}
