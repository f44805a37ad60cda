"""Values as people see them in an account: plain, without secrets, and short.

- A message is a flat object of the fields that say something.
- Values under the usual names of secrets and passwords in addresses are hidden; a host's own `redact` sees every text.
- What is not plain data is shown by its fields, and what has none by its class: no address in memory, and no code of a
  program but `redact`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from json import dumps
from typing import Any, Final, TypeAlias

import ormsgpack
from langchain_core.messages import BaseMessage
from pydantic import BaseModel

from stategraph.core.channels.delta import snapshot_value
from stategraph.engine.checkpoints.serializer import fields_of
from stategraph.engine.config.hidden import HIDDEN, is_secret, without_logins
from stategraph.types import Send

Redact: TypeAlias = Callable[[str], str]
"""Given a text that is about to be shown, returns it without what must not be."""

MOST: Final = 160
"""Characters of a value in an account."""

_DEEPEST: Final = 12
_ITEMS: Final = 40
_MESSAGE: Final = ("type", "id", "name", "content", "tool_calls", "tool_call_id", "status")


def plain(value: object, depth: int = 0) -> Any:
    """Return a value as JSON has it, as closely as possible, with secrets hidden.

    Args:
        value: The value.
        depth: The levels around it.
    """
    value = snapshot_value(value)
    if isinstance(value, ormsgpack.Ext):  # of a class that is not known here
        value = fields_of(value)
    if value is None or isinstance(value, bool | int | float):
        return value if type(value) in (bool, int, float, type(None)) else plain_number(value)
    if isinstance(value, str):
        return without_logins(str(value))
    if depth >= _DEEPEST:
        return f"<{type(value).__name__}>"
    found = _fields(value)
    if found is not None:
        return {
            str(name): HIDDEN if each and is_secret(str(name)) else plain(each, depth + 1)
            for name, each in found.items()
        }
    if isinstance(value, list | tuple):
        return [plain(each, depth + 1) for each in value]
    return _other(value, depth)


def _other(value: object, depth: int) -> Any:
    """Return what is neither a text, nor a number, nor made of named parts, nor a list."""
    if isinstance(value, set | frozenset):
        return sorted((plain(each, depth + 1) for each in value), key=dumps)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if isinstance(value, BaseException):
        return without_logins(f"{type(value).__name__}({value})")
    text = getattr(type(value), "__str__", object.__str__)
    return f"<{type(value).__name__}>" if text is object.__str__ else without_logins(str(value))


def plain_number(value: object) -> Any:
    """Return a number of a class of its own, such as a member of an `IntEnum`, as JSON has it."""
    return plain_number(value.value) if isinstance(value, Enum) else float(value) if isinstance(value, float) else value


def _fields(value: object) -> Mapping[Any, object] | None:
    """Return what a value is made of by name; None if it is not made of named parts."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, BaseMessage):
        return {name: each for name in _MESSAGE if (each := getattr(value, name, None)) or name == "content"}
    if isinstance(value, Send):
        return {"node": value.node, "arg": value.arg}
    if isinstance(value, BaseModel):
        return {name: getattr(value, name, None) for name in type(value).model_fields}
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name, None) for field in fields(value)}
    names = getattr(value, "_fields", None)
    return {name: getattr(value, name) for name in names} if isinstance(value, tuple) and names else None


class Glimpses:
    """Makes short texts of values.

    Args:
        redact: The host's own redaction; None: only what is usual is hidden.
    """

    __slots__ = ("_redact",)

    def __init__(self, redact: Redact | None = None) -> None:
        self._redact = redact

    def of(self, value: object, name: str = "", most: int = MOST) -> str:
        """Return a value in one line.

        Args:
            value: The value.
            name: What it is called, which may say that it is a secret.
            most: Characters at most.
        """
        if name and value and is_secret(name):
            return HIDDEN
        if isinstance(value, list | tuple) and len(value) > _ITEMS and not hasattr(value, "_fields"):
            kind = "messages" if isinstance(value[-1], BaseMessage) else "items"
            return self.text(f"{len(value):,} {kind}, the last: {_said(plain(value[-1]))}", most)
        return self.text(_said(plain(value)), most)

    def text(self, text: str, most: int = MOST) -> str:
        """Return a text in one line, redacted before it is cut."""
        text = " ".join(text.split())
        if self._redact is not None:
            text = self._redact(text)
        return text if len(text) <= most else f"{text[: most - 3]}..."


def is_message(value: object) -> bool:
    """Return whether a plain value is a message."""
    return isinstance(value, Mapping) and "content" in value and isinstance(value.get("type"), str)


def _said(value: Any) -> str:
    """Return a plain value as text; of long lists, the newest."""
    if is_message(value):
        content = value["content"] if isinstance(value["content"], str) else dumps(value["content"], ensure_ascii=False)
        calls = [f"{each.get('name')}({dumps(each.get('args'), ensure_ascii=False)})" for each in _calls(value)]
        return f"{value['type']}: {' '.join(each for each in (content, *calls) if each)}"
    if isinstance(value, list):
        shown = [_said(each) for each in value]
        if any(is_message(each) for each in value):
            return f"{len(value)} messages, the last: {shown[-1]}" if len(value) > 1 else shown[0]
        return f"[{', '.join(shown)}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_said(each)}" for name, each in value.items()) + "}"
    return dumps(value, ensure_ascii=False)


def _calls(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    calls = message.get("tool_calls")
    return [each for each in calls if isinstance(each, Mapping)] if isinstance(calls, list) else []
