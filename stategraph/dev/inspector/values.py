"""Values of states as JSON.

- A message is a flat object of the fields that say something: `{"type": "ai", "id": ..., "content": ...}`. The same
  object, edited, is read as a message again.
- Values under the usual names of secrets (`api_key`, `password`) are hidden, and so are passwords in addresses.
- What is shown is cut to a number of characters; `Shown.length` tells how many there are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, Final, TypeAlias

from langchain_core import messages
from langchain_core.messages import BaseMessage

from stategraph.engine.config.hidden import HIDDEN, is_secret, without_logins
from stategraph.run.json_safe import to_json

Json: TypeAlias = dict[str, Any]
"""An object of JSON."""

#: Characters of a value that are shown at first.
SHOWN: Final = 4_000

_KINDS: Final = ("AIMessage", "HumanMessage", "SystemMessage", "ToolMessage", "ChatMessage", "FunctionMessage")

#: The classes of messages by their types.
MESSAGES: Final[Mapping[str, type[BaseMessage]]] = {
    each.model_fields["type"].default: each
    for kind in _KINDS
    for each in (getattr(messages, kind), getattr(messages, f"{kind}Chunk"))
}

#: Fields of a message that come first.
_FIRST: Final = ("type", "id", "name", "content", "tool_calls", "tool_call_id", "status", "usage_metadata")

#: The engine's own names among those of a state.
_OWN: Final = ("__", "branch:", "join:")


@dataclass(frozen=True, slots=True)
class Shown:
    """A value as text.

    Attributes:
        text: Indented JSON, or the beginning of it; a text is itself.
        length: Characters of all of it.
        type: What it is, in a word, see `kind_of`.
    """

    text: str
    length: int
    type: str

    @classmethod
    def of(cls, value: object, most: int = SHOWN) -> Shown:
        """Show a value of JSON.

        Args:
            value: The value.
            most: Characters of it at most.
        """
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
        return cls(text[:most], len(text), kind_of(value))

    def to_json(self) -> Json:
        """Return it as JSON."""
        return asdict(self)


def kind_of(value: object) -> str:
    """Return the kind of a value of JSON, in a word."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "text"
        case Mapping():
            return "object"
    return "list"


def plain(value: object) -> Any:
    """Return a value as JSON has it; what JSON does not have is converted as closely as possible."""
    return _without_secrets(json.loads(to_json(_flat(value))))


def state_of(values: object) -> Json:
    """Return the values of a state as JSON by their names; a state that is a single value is called `value`."""
    return {name: plain_as(name, each) for name, each in named(values).items()}


def plain_as(name: str, value: object) -> Any:
    """Return a value of a state as JSON has it; it is hidden if its name is one of a secret."""
    return plain({name: value})[name]


def named(values: object) -> Json:
    """Return the values of a state by their names, as they are, without the engine's own."""
    if not isinstance(values, Mapping):
        fields = getattr(values, "__dict__", None)
        return {"value": values} if not fields else dict(fields)
    return {str(name): each for name, each in values.items() if not str(name).startswith(_OWN)}


def is_message(value: object) -> bool:
    """Return whether a value of JSON is a message as `plain` makes it."""
    if not isinstance(value, Mapping) or "content" not in value:
        return False
    kind = value.get("type")
    return isinstance(kind, str) and kind in MESSAGES  # the `type` of a JSON schema may be a list


def is_conversation(value: object) -> bool:
    """Return whether a value of JSON is a list of messages, and not empty."""
    return isinstance(value, list) and bool(value) and all(is_message(each) for each in value)


def message_shown(message: Mapping[str, Any], most: int = SHOWN) -> Json:
    """Return a message as a page shows it: who, what, calls of tools, tokens.

    Args:
        message: As `plain` makes it.
        most: Characters of each text at most.
    """
    content = message["content"]
    shown: Json = {"type": message["type"], "content": Shown.of(_text(content), most).to_json()}
    shown |= {key: message[key] for key in ("id", "name", "tool_call_id", "status") if message.get(key)}
    if calls := calls_of(message):
        shown["calls"] = [
            {"name": each.get("name"), "args": Shown.of(each.get("args"), most).to_json()} for each in calls[:20]
        ]
    usage = message.get("usage_metadata")
    if isinstance(usage, Mapping):
        shown["tokens"] = {"input": usage.get("input_tokens", 0), "output": usage.get("output_tokens", 0)}
    return shown


def calls_of(message: Mapping[str, Any]) -> Sequence[Json]:
    """Return the calls of tools of a message; empty if something else stands there."""
    calls = message.get("tool_calls")
    return calls if isinstance(calls, list) and all(isinstance(each, dict) for each in calls) else ()


def _text(content: object) -> object:
    """Return the text of a content of which all blocks are texts, else the content."""
    if isinstance(content, Sequence) and not isinstance(content, str):
        found = [each.get("text") if isinstance(each, Mapping) else each for each in content]
        texts = [each for each in found if isinstance(each, str)]
        if texts and len(texts) == len(found):
            return "".join(texts)
    return content


def _flat(value: object) -> object:
    if isinstance(value, BaseMessage):
        return _message(value)
    if isinstance(value, Mapping):
        return {key: _flat(each) for key, each in value.items()}
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return [_flat(each) for each in value]
    return value


def _message(message: BaseMessage) -> dict[str, object]:
    given: dict[str, object] = {"type": message.type}
    empty = _defaults(type(message))
    for name in empty:
        value = getattr(message, name, None)
        if name == "content" or (value != empty[name] and value is not None):
            given[name] = value
    given |= message.model_extra or {}
    return {name: given[name] for name in (*_FIRST, *given) if name in given}


@cache
def _defaults(schema: type[BaseMessage]) -> Mapping[str, object]:
    fields = schema.model_fields.items()
    return {name: field.get_default(call_default_factory=True) for name, field in fields if name != "type"}


def _without_secrets(value: Any) -> Any:
    match value:
        case str():
            return without_logins(value)
        case list():
            return [_without_secrets(each) for each in value]
        case dict():
            return {
                name: HIDDEN if is_secret(name) and each else _without_secrets(each) for name, each in value.items()
            }
    return value
