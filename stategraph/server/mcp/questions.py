"""Questions of graphs as requests to the client, and its answers as values that resume the graph.

| the value of the interrupt | the request | the graph gets |
|---|---|---|
| `{"type": "mcp_elicitation", "message", "requestedSchema" or "url"}` | that elicitation | `{"action", "content"}` |
| `{"type": "mcp_request", "method", "params"}` | that request: `sampling/createMessage`, `roots/list` | its result |
| a question about tool calls (`projection.pauses`) | a form with a decision for each | the answer in its form |
| `{"question": ..., "options": [...]}`, a text, other data | a form with `answer` | the answer |

A client is only asked what it said it can answer. A person who declines a form of the last kind ends the call with an
error; the thread waits on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import mcp_types as wire
from pydantic import TypeAdapter, ValidationError

from stategraph.run.json_safe import to_json
from stategraph.server.projection import pauses
from stategraph.server.tasks.logs import interrupt_id, interrupt_value
from stategraph.server.tasks.questions import question_text

_REQUESTS: Final[TypeAdapter[wire.InputRequest]] = TypeAdapter(wire.InputRequest)

#: What a client has to declare for each request.
_CAPABILITIES: Final = {
    "elicitation/create": "elicitation",
    "sampling/createMessage": "sampling",
    "roots/list": "roots",
}


class DeclinedError(Exception):
    """A person does not want to answer."""


class UnfitError(Exception):
    """An answer does not fit its question; it is asked again."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question of a graph.

    Attributes:
        key: Its name for the client: what the graph named it with `key`, else the id of the interrupt.
        interrupt_id: By which it is answered.
        payload: The value of the interrupt.
        request: The request to the client.
    """

    key: str
    interrupt_id: str
    payload: Any
    request: wire.InputRequest

    @property
    def capability(self) -> str:
        """Capability that a client has to declare to be asked."""
        return _CAPABILITIES[self.request.method]


def questions_of(interrupts: list[Any]) -> list[Question]:
    """Return what interrupts ask."""
    found: dict[str, Question] = {}
    for number, each in enumerate(interrupts):
        payload, own = interrupt_value(each), interrupt_id(each)
        named = payload.get("key") if isinstance(payload, Mapping) else None
        key = named if isinstance(named, str) and named not in found else own or f"question-{number}"
        found[key] = Question(key, own, payload, _request(payload))
    return list(found.values())


def _request(payload: Any) -> wire.InputRequest:
    if isinstance(payload, Mapping):
        try:
            if payload.get("type") == "mcp_request":
                return _REQUESTS.validate_python({key: payload[key] for key in ("method", "params") if key in payload})
            if payload.get("type") == "mcp_elicitation":
                params = {key: value for key, value in payload.items() if key not in ("type", "server", "key")}
                return _REQUESTS.validate_python({"method": "elicitation/create", "params": params})
        except ValidationError:
            pass  # asked as any other value
    return wire.ElicitRequest(
        params=wire.ElicitRequestFormParams(message=_words(payload), requested_schema=_form(payload))
    )


def _words(payload: Any) -> str:
    return question_text(payload) or to_json(payload)


def _form(payload: Any) -> dict[str, Any]:
    if asked := pauses.approvals(payload, {}):
        properties: dict[str, Any] = {}
        for number, each in enumerate(asked):
            about = f"{each.name}: {to_json(each.args)}"
            properties[_decision(number)] = {"type": "string", "enum": list(each.decisions), "description": about}
            properties[_message(number)] = {"type": "string", "description": "Why, or what to answer in its place"}
        return {"type": "object", "properties": properties, "required": [_decision(n) for n in range(len(asked))]}
    answer: dict[str, Any] = {"type": "string"}
    options = payload.get("options") if isinstance(payload, Mapping) else None
    if isinstance(options, list) and options and all(isinstance(each, str) for each in options):
        answer["enum"] = options
    return {"type": "object", "properties": {"answer": answer}, "required": ["answer"]}


def _decision(number: int) -> str:
    return "decision" if number == 0 else f"decision_{number + 1}"


def _message(number: int) -> str:
    return "message" if number == 0 else f"message_{number + 1}"


def answer_to(question: Question, given: Any) -> Any:
    """Return what the graph is resumed with.

    Args:
        question: The question.
        given: The client's answer: a result of the protocol, as JSON.

    Raises:
        DeclinedError: The person does not want to answer.
        UnfitError: The answer has another form than was asked for.
    """
    if not isinstance(given, Mapping):
        raise UnfitError("An answer has to be an object")
    payload = question.payload
    if question.request.method != "elicitation/create":
        return dict(given)
    action, content = given.get("action"), given.get("content")
    if action not in ("accept", "decline", "cancel"):
        raise UnfitError("The action of an answer is accept, decline or cancel")
    if isinstance(payload, Mapping) and payload.get("type") in ("mcp_elicitation", "mcp_request"):
        return {"action": action, **({"content": _checked(question, content)} if action == "accept" else {})}
    if asked := pauses.approvals(payload, {}):
        if action != "accept":
            return pauses.answer(payload, [pauses.Decision("reject") for _ in asked])
        form = _checked(question, content)
        return pauses.answer(payload, [_decided(form, number) for number in range(len(asked))])
    if action != "accept":
        raise DeclinedError
    return _checked(question, content)["answer"]


def _decided(content: Mapping[str, Any], number: int) -> pauses.Decision:
    return pauses.Decision(content[_decision(number)], str(content.get(_message(number)) or ""))


def _checked(question: Question, content: Any) -> Mapping[str, Any]:
    """Return an accepted form that has what was asked for.

    Raises:
        UnfitError: It has not.
    """
    params = question.request.params
    if not isinstance(params, wire.ElicitRequestFormParams):
        return content if isinstance(content, Mapping) else {}
    if not isinstance(content, Mapping):
        raise UnfitError("An accepted form has to have a content")
    schema = params.requested_schema
    for name, about in schema.get("properties", {}).items():
        value = content.get(name)
        if name not in content:
            if name in schema.get("required", ()) and "default" not in about:
                raise UnfitError(f"The answer has no '{name}'")
        elif not _fits(value, about):
            raise UnfitError(f"'{name}' of the answer is not what was asked for")
    return content


_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "array": (list,),
}


def _fits(value: Any, about: Mapping[str, Any]) -> bool:
    kinds = _TYPES.get(str(about.get("type")))
    if kinds is not None and (not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)):
        return False
    allowed = about.get("enum")
    return allowed is None or value in allowed
