"""The common shape of messages, which each format is read into and written from."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias, final

Role = Literal["system", "user", "assistant", "tool"]

#: The roles of OpenAI's chat messages, which others took over.
CHAT_ROLES: Final[Mapping[str, Role]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}


class MessageError(ValueError):
    """A message that is not in the format that it should be in; the text names the place."""


@final
@dataclass(frozen=True, slots=True)
class Text:
    """Text.

    Attributes:
        text: The text.
    """

    text: str


@final
@dataclass(frozen=True, slots=True)
class Reasoning:
    """Thoughts of a model before its answer.

    Attributes:
        text: The text.
    """

    text: str


@final
@dataclass(frozen=True, slots=True)
class File:
    """A file: an image, a document, a sound.

    Attributes:
        media_type: Its type, such as `image/png`; empty: not known.
        url: Where it is; empty: it is in `data`.
        data: Its content in base64; empty: it is at `url`.
        name: Its name; empty: none.
    """

    media_type: str = ""
    url: str = ""
    data: str = ""
    name: str = ""

    @property
    def address(self) -> str:
        """Its address: `url`, or its content as a `data:` URL (RFC 2397)."""
        return self.url or f"data:{self.media_type or 'application/octet-stream'};base64,{self.data}"

    @classmethod
    def at(cls, address: str, media_type: str = "", name: str = "") -> File:
        """Return the file at an address, which may be a `data:` URL."""
        head, comma, data = address.partition(",")
        if head.startswith("data:") and head.endswith(";base64") and comma:
            return cls(media_type or head[5:-7], "", data, name)
        return cls(media_type, address, "", name)


@final
@dataclass(frozen=True, slots=True)
class Data:
    """A value.

    Attributes:
        value: The value, as JSON.
    """

    value: Any


@final
@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool that a model asks for.

    Attributes:
        id: Names the call.
        name: The tool.
        arguments: Its arguments.
    """

    id: str
    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@final
@dataclass(frozen=True, slots=True)
class ToolResult:
    """The result of a call.

    Attributes:
        call_id: The call.
        content: The result, as text.
        name: The tool; empty: not known.
        is_error: Whether the tool failed.
    """

    call_id: str
    content: str
    name: str = ""
    is_error: bool = False


Part: TypeAlias = Text | Reasoning | File | Data | ToolCall | ToolResult


@final
@dataclass(frozen=True, slots=True)
class Message:
    """A message.

    Attributes:
        role: Who speaks.
        parts: What is said, in order.
        id: Names the message; empty: it has no name.
        name: Who of several speaks in that role; empty: nobody in particular.
    """

    role: Role
    parts: tuple[Part, ...]
    id: str = ""
    name: str = ""

    @property
    def text(self) -> str:
        """All its text."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))


Losses: TypeAlias = Mapping[str, str]


@dataclass(slots=True)
class Notes:
    """Notes of what a format could not say.

    Attributes:
        losses: What the format cannot say, by the names of kinds and fields, with what becomes of it.
        noted: The names of those that were met.
    """

    losses: Losses
    noted: dict[str, int] = field(default_factory=dict)

    def lose(self, what: str, times: int = 1) -> None:
        """Note that something could not be said.

        Raises:
            AssertionError: The format does not say what becomes of it.
        """
        assert what in self.losses, what
        if times:
            self.noted[what] = self.noted.get(what, 0) + times


def new_id() -> str:
    """Return a new id, a UUID of version 4, in a third of the time that `uuid` takes: there is one for each message."""
    drawn = int.from_bytes(os.urandom(16))
    text = f"{drawn & ~(0xF << 76) & ~(0x3 << 62) | 4 << 76 | 2 << 62:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def only_text(parts: Sequence[Part]) -> str | None:
    """Return the text of what is one text and nothing else, as most messages are; None: it is more."""
    if len(parts) != 1:
        return None
    part = parts[0]
    return part.text if isinstance(part, Text) else None


def are_calls_last(parts: Sequence[Part]) -> bool:
    """Return whether nothing follows a call but further calls."""
    kinds = [isinstance(part, ToolCall) for part in parts]
    return kinds == sorted(kinds)


def text_of(part: Part) -> str:
    """Return a part as text, for formats that have nothing else for it."""
    if isinstance(part, (Text, Reasoning)):
        return part.text
    if isinstance(part, Data):
        return json.dumps(part.value, ensure_ascii=False)
    if isinstance(part, File):
        return part.url or f"[{part.name or part.media_type or 'a file'}]"
    return part.content if isinstance(part, ToolResult) else f"{part.name}({json.dumps(part.arguments)})"


def field_of(data: object, name: str, kind: type[Any] | tuple[type[Any], ...], where: str, default: Any = ...) -> Any:
    """Return a field of an object.

    Raises:
        MessageError: It is no object, the field is missing and has no default, or is of another kind.
    """
    if not isinstance(data, Mapping):
        raise MessageError(f"{where} is {data!r}; expected an object")
    value = data.get(name)
    if value is None:
        if default is not ...:
            return default
        raise MessageError(f"{where} has no '{name}'; it has {sorted(data)}")
    if not isinstance(value, kind):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        expected = " or ".join(each.__name__ for each in kinds)
        raise MessageError(f"{where}.{name} is {value!r}; expected {expected}")
    return value


def arguments_of(value: object, where: str) -> Mapping[str, Any]:
    """Return the arguments of a call, which some formats write as JSON in a text.

    Raises:
        MessageError: They are no object.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value or "{}")
        except ValueError as error:
            raise MessageError(f"{where} is no JSON: {error}") from None
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise MessageError(f"{where} is {value!r}; expected an object")
    return dict(value)


def as_text(value: object) -> str:
    """Return a result as text; what is none is written as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def role_of(value: object, roles: Mapping[str, Role], where: str) -> Role:
    """Return a role.

    Raises:
        MessageError: The format has no such role.
    """
    if not isinstance(value, str) or value not in roles:
        raise MessageError(f"{where}.role is {value!r}; expected one of {sorted(roles)}")
    return roles[value]


def several(data: object, where: str) -> Sequence[Any]:
    """Return a list.

    Raises:
        MessageError: It is none.
    """
    if isinstance(data, (str, bytes, Mapping)) or not isinstance(data, Sequence):
        raise MessageError(f"{where} is {data!r}; expected a list")
    return data
