"""Questions about tool calls in the form of LangChain's human-in-the-loop middleware, and answers to them.

The question is `{"action_requests": [{"name", "args", "description"}], "review_configs": [{"action_name",
"allowed_decisions"}]}`, the answer `{"decisions": [...]}` with one decision for each request, in their order
(https://docs.langchain.com/oss/python/langchain/human-in-the-loop). Answers in the spelling of our own approvals are
translated. An answer that does not fit is refused before anything is written: the middleware would fail the run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from stategraph.agent.settings.validation import Settings
from stategraph.errors import InvalidAnswerError
from stategraph.run import pauses
from stategraph.run.pauses import RunInterrupt

_WORDS = ("approve", "edit", "reject", "respond")


def is_review(payload: object) -> bool:
    """Return whether a question is one of that middleware."""
    return (
        isinstance(payload, Mapping)
        and "type" not in payload
        and isinstance(payload.get("action_requests"), list)
        and isinstance(payload.get("review_configs"), list)
    )


def answers(waiting: Sequence[RunInterrupt], value: object, compiled: Any) -> dict[str, Any]:
    """Match an answer to the pending interrupts, as `pauses.answers` does, each as the graph expects it.

    Args:
        waiting: The pending interrupts.
        value: The answer, or a mapping from ids of interrupts to answers.
        compiled: The graph, some of whose tools are known.

    Raises:
        UnknownInterruptError: Nothing waits, or several do and the answer does not say for which it is.
        InvalidAnswerError: An answer does not fit what was asked.
    """
    asked = {each.interrupt_id: each.payload for each in waiting}
    tools = set(tools_in(compiled))
    return {each: answer_to(asked[each], answer, tools) for each, answer in pauses.answers(waiting, value).items()}


def tools_in(compiled: Any) -> Iterator[str]:
    """Yield the names of the tools that the tool nodes of a graph have, and those of the graphs in it."""
    for node in getattr(compiled, "nodes", {}).values():
        bound = getattr(node, "bound", None)
        yield from getattr(bound, "tools_by_name", None) or ()
        yield from tools_in(bound)


def answer_to(payload: object, answer: object, tools: Collection[str] = ()) -> object:
    """Return an answer as the graph expects it.

    Args:
        payload: The question.
        answer: The host's answer: to a review `{"decisions": [...]}`, a list of decisions, or, for one request, a
            decision. A decision is `{"type": "approve"}`, `{"type": "reject", "message": ...}`, `{"type": "edit",
            "edited_action": {"name": ..., "args": ...}}` or `{"type": "respond", "message": ...}`, or one in the
            spelling of the Run API (`reason`, `updated_input`, `response_text`). To other questions anything.
        tools: Further tools that a call may be edited to be of; those that the question names always may.

    Raises:
        InvalidAnswerError: A decision is missing, unknown, not allowed or incomplete, or names an unknown tool.
    """
    if not is_review(payload):
        return answer
    requests: Sequence[Mapping[str, Any]] = payload["action_requests"]  # type: ignore[index]
    allowed = {each.get("action_name"): each.get("allowed_decisions") or _WORDS for each in payload["review_configs"]}  # type: ignore[index]
    given = _decisions(answer, len(requests))
    names = ", ".join(str(each.get("name")) for each in requests)
    if len(given) != len(requests):
        raise InvalidAnswerError(
            f"{len(requests)} tool calls wait for review ({names}), and {len(given)} decisions were given; give one "
            "for each, in this order"
        )
    known = {*(each.get("name") for each in requests), *allowed, *tools}
    decisions = [
        _decision(request, each, allowed.get(request.get("name"), _WORDS), known)
        for request, each in zip(requests, given, strict=True)
    ]
    return {"decisions": decisions}


def _decisions(answer: object, number: int) -> Sequence[object]:
    if isinstance(answer, Mapping) and "decisions" in answer:
        answer = answer["decisions"]
    if isinstance(answer, Sequence) and not isinstance(answer, str):
        return answer
    if number == 1 and isinstance(answer, Mapping | Settings):
        return [answer]
    raise InvalidAnswerError(
        f"The answer to a review of tool calls is {type(answer).__name__}; expected {{'decisions': [...]}} with "
        f"{number} decisions like {{'type': 'approve'}}"
    )


def _decision(
    request: Mapping[str, Any], given: object, allowed: Sequence[str], known: Collection[object]
) -> dict[str, Any]:
    name = request.get("name")
    fields: dict[str, Any] = given.model_dump() if isinstance(given, Settings) else _mapping(given)
    word = fields.get("type")
    if word not in allowed:
        found = repr(word) if word is not None else f"of type {type(given).__name__} without a 'type'"
        raise InvalidAnswerError(f"The decision about the call of '{name}' is {found}; allowed: {', '.join(allowed)}")
    match word:
        case "edit":
            return {"type": word, "edited_action": _edited(request, fields, known)}
        case "reject":
            message = fields.get("message", fields.get("reason"))
            return {"type": word} | ({} if message is None else {"message": message})
        case "respond":
            message = fields.get("message", fields.get("response_text", fields.get("responseText")))
            if not isinstance(message, str):
                raise InvalidAnswerError(f"The decision about the call of '{name}' responds without a 'message'")
            return {"type": word, "message": message}
        case _:
            return {"type": word}


def _edited(request: Mapping[str, Any], fields: Mapping[str, Any], known: Collection[object]) -> dict[str, Any]:
    args = fields.get("updated_input", fields.get("updatedInput"))
    action = fields.get("edited_action") or {"name": request.get("name"), "args": args}
    if not isinstance(action, Mapping) or not isinstance(action.get("args"), Mapping):
        raise InvalidAnswerError(
            f"The decision about the call of '{request.get('name')}' edits it without arguments; expected "
            "{'type': 'edit', 'edited_action': {'name': ..., 'args': {...}}}"
        )
    name = action.get("name") or request.get("name")
    if not isinstance(name, str) or name not in known:
        raise InvalidAnswerError(
            f"The decision about the call of '{request.get('name')}' edits it to be one of {name!r}, which is no known "
            f"tool; known are {', '.join(sorted(map(str, known)))}"
        )
    return {"name": name, "args": dict(action["args"])}


def _mapping(given: object) -> dict[str, Any]:
    return dict(given) if isinstance(given, Mapping) else {}
