"""Messages of LangChain, as objects: what graphs have in their state.

Parts are content blocks of LangChain's standard (`text`, `reasoning`, `image`, `file`, `non_standard`); calls are in
`tool_calls`. A result of a tool is a message of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from stategraph.fleet.messages.common import (
    Data,
    File,
    Losses,
    Message,
    MessageError,
    Notes,
    Part,
    Reasoning,
    Role,
    Text,
    ToolCall,
    ToolResult,
    are_calls_last,
    text_of,
)

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

#: Makes a message of a text, an id and a name; None for either: it has none.
_Make: TypeAlias = "Callable[[str, str | None, str | None], BaseMessage]"

LOSSES: Final[Losses] = {
    "order": "calls come last",
    "parts beside a result": "the result of a tool is a message of its own, after the others",
}

_ROLES: Final[Mapping[str, Role]] = {"system": "system", "human": "user", "ai": "assistant", "tool": "tool"}


def read(messages: Sequence[Any]) -> list[Message]:
    """Read messages; those that are no objects are read as LangChain does, pairs and dicts for example."""
    forms = _forms()
    found: Sequence[Any] = messages
    if not all(isinstance(each, forms.base) for each in messages):
        try:
            found = forms.read(messages)
        except (AttributeError, KeyError, NotImplementedError, TypeError, ValueError) as error:
            raise MessageError(f"LangChain reads no messages in this: {error}") from error
    return [_plain(each, forms.roles) or _read(each, f"message {at}") for at, each in enumerate(found)]


def write(messages: Sequence[Message], notes: Notes) -> list[Any]:
    """Write messages."""
    makes = _forms().makes
    written: list[Any] = []
    for each in messages:
        parts = each.parts
        if len(parts) == 1 and type(text := parts[0]) is Text and each.role != "tool":  # as most are
            written.append(makes[each.role](text.text, each.id or None, each.name or None))
        else:
            written += _write(each, notes)
    return written


@dataclass(frozen=True, slots=True)
class _Forms:
    """LangChain's classes of messages, which are imported when the first message is read or written.

    Attributes:
        base: What all are.
        roles: The roles of those that may be a text and nothing else.
        makes: Makes such a message of a role.
        read: Reads whatever LangChain reads as messages.
    """

    base: type
    roles: Mapping[type, Role]
    makes: Mapping[Role, _Make]
    read: Callable[[Any], Sequence[Any]]


@cache
def _forms() -> _Forms:
    from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, convert_to_messages

    roles: dict[type, Role] = {SystemMessage: "system", HumanMessage: "user", AIMessage: "assistant"}
    makes: dict[Role, _Make] = {
        "system": _maker(lambda text, **named: SystemMessage(text, **named)),
        "user": _maker(lambda text, **named: HumanMessage(text, **named)),
        "assistant": _maker(lambda text, **named: AIMessage(text, tool_calls=[], **named)),
    }
    return _Forms(BaseMessage, roles, makes, convert_to_messages)


def _maker(validated: Callable[..., BaseMessage]) -> _Make:
    """Return what makes messages of a class as LangChain does, without validating again what is valid.

    A message is a copy of one that LangChain has made, with another text: the validation of a text, which is most of
    the time of a conversion, has nothing to find.
    """
    from pydantic import BaseModel

    form = validated("", id=None, name=None)
    kind = type(form)
    values, names, extra = form.__dict__, form.__pydantic_fields_set__, form.__pydantic_extra__
    own = tuple((name, type(value)) for name, value in values.items() if value in ([], {}))
    is_simple = all(value is None or isinstance(value, (str, bool)) or value in ([], {}) for value in values.values())
    if not is_simple or extra or form.__pydantic_private__ is not None or kind.__pydantic_post_init__ is not None:
        return lambda text, message_id, name: validated(text, id=message_id, name=name)  # each has more of its own
    new = object.__new__
    # Without calls of `object.__setattr__`, which looks each of them up by its name.
    set_values, set_names, set_extra, set_private = (
        BaseModel.__dict__[name].__set__
        for name in ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")
    )

    def make(text: str, message_id: str | None, name: str | None) -> BaseMessage:
        message = new(kind)
        made = values.copy()
        made["content"], made["id"], made["name"] = text, message_id, name
        for field, empty in own:
            made[field] = empty()
        set_values(message, made)
        set_names(message, names.copy())
        set_extra(message, None if extra is None else extra.copy())
        set_private(message, None)
        return message

    return make


def _plain(message: Any, roles: Mapping[type, Role]) -> Message | None:
    """Read a message of a text, as most are; None: it is another one."""
    role, content = roles.get(type(message)), message.content
    if role is None or type(content) is not str or (role == "assistant" and message.tool_calls):
        return None
    return Message(role, (Text(content),) if content else (), message.id or "", message.name or "")


def _read(message: BaseMessage, where: str) -> Message:
    from langchain_core.messages import ToolMessage

    role = _ROLES.get(message.type.lower().removesuffix("messagechunk"))
    if role is None:
        raise MessageError(f"{where} is of the type '{message.type}'; expected one of {sorted(_ROLES)}")
    if isinstance(message, ToolMessage):
        content = message.content if isinstance(message.content, str) else str(message.text)
        parts: tuple[Part, ...] = (
            ToolResult(message.tool_call_id, content, message.name or "", message.status == "error"),
        )
        return Message(role, parts, message.id or "")
    parts = tuple(_part(each) for each in _blocks(message) if each.get("type") not in ("tool_call", "tool_use"))
    for call in getattr(message, "tool_calls", ()):
        parts += (ToolCall(call["id"] or "", call["name"], call["args"]),)
    return Message(role, parts, message.id or "", message.name or "")


def _blocks(message: BaseMessage) -> Sequence[Mapping[str, Any]]:
    if isinstance(message.content, str):
        return [{"type": "text", "text": message.content}] if message.content else []
    return [{"type": "text", "text": each} if isinstance(each, str) else each for each in message.content]


def _part(block: Mapping[str, Any]) -> Part:
    kind = block.get("type")
    if kind == "text":
        return Text(str(block.get("text", "")))
    if kind == "reasoning":
        return Reasoning(str(block.get("reasoning", "")))
    if kind == "image_url":  # OpenAI's form, which LangChain's models take
        given = block.get("image_url")
        return File.at(str(given.get("url", "") if isinstance(given, Mapping) else given))
    if kind in ("image", "file", "audio", "video"):
        name = str(block.get("filename", "") or block.get("extras", {}).get("filename", ""))
        if "base64" in block:
            return File(str(block.get("mime_type", "")), "", str(block["base64"]), name)
        if "url" in block:
            return File(str(block.get("mime_type", "")), str(block["url"]), "", name)
    if kind == "non_standard":
        return Data(block.get("value"))
    return Data(dict(block))


def _write(message: Message, notes: Notes) -> list[BaseMessage]:
    results = [part for part in message.parts if isinstance(part, ToolResult)]
    others = [part for part in message.parts if not isinstance(part, ToolResult)]
    if not are_calls_last(others):
        notes.lose("order")
    if results and others:
        notes.lose("parts beside a result")
    written = [_said(message, others)] if others or not results else []
    return written + [_result(each, message.id if not others else "") for each in results]


def _said(message: Message, parts: Sequence[Part]) -> BaseMessage:
    from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

    named: dict[str, Any] = {"id": message.id or None, "name": message.name or None}
    if message.role != "assistant":
        content: Any = _content([Text(text_of(part)) if isinstance(part, ToolCall) else part for part in parts])
        return (SystemMessage if message.role == "system" else HumanMessage)(content, **named)
    calls = [
        {"id": part.id, "name": part.name, "args": dict(part.arguments), "type": "tool_call"}
        for part in parts
        if isinstance(part, ToolCall)
    ]
    content = _content([part for part in parts if not isinstance(part, ToolCall)])
    return AIMessage(content, tool_calls=calls, **named)


def _result(result: ToolResult, message_id: str) -> BaseMessage:
    from langchain_core.messages import ToolMessage

    status: Any = "error" if result.is_error else "success"
    named = {"name": result.name or None, "id": message_id or None}
    return ToolMessage(result.content, tool_call_id=result.call_id, status=status, **named)


def _content(parts: Sequence[Part]) -> str | list[dict[str, Any]]:
    if not parts:
        return ""
    if len(parts) == 1 and isinstance(parts[0], Text):
        return parts[0].text
    return [_block(part) for part in parts]


def _block(part: Part) -> dict[str, Any]:
    if isinstance(part, Reasoning):
        return {"type": "reasoning", "reasoning": part.text}
    if isinstance(part, File):
        content = {"url": part.url} if part.url else {"base64": part.data}
        kind = "image" if part.media_type.startswith("image/") else "file"
        block: dict[str, Any] = {"type": kind, **content}
        if part.media_type:
            block["mime_type"] = part.media_type
        if part.name:
            block["extras"] = {"filename": part.name}
        return block
    if isinstance(part, Data):
        return {"type": "non_standard", "value": part.value}
    return {"type": "text", "text": text_of(part)}
