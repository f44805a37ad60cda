"""Values as JSON and back, for the lines of a recording.

Rules
-----
* What JSON has is written as it is, in the order in which it stands. All else is an object with the key `$`, which says
  what it is; dicts that have such a key themselves are written as pairs.
* Reading imports nothing. A class is looked up among the modules that the process has loaded, and only a dataclass, a
  named tuple, an enum, a model of pydantic or an exception is made of what is stored; of the last no constructor runs.
* Whatever cannot come back, such as a connection, is written by the name of its class alone. It can be compared so, and
  is refused where it would have to be given to the program again.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from types import GetSetDescriptorType, MemberDescriptorType, ModuleType
from typing import Any, Final, TypeAlias
from uuid import UUID

from langchain_core import messages as langchain_messages
from langchain_core.documents import Document
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import BaseModel

from stategraph.engine.checkpoints.store_interfaces import Item, SearchItem
from stategraph.replay.errors import RecordingError
from stategraph.types import Command, Interrupt, Send

Json: TypeAlias = Any
"""A value of JSON."""

KIND: Final = "$"

_PLAIN: Final = (str, bool, int, type(None))

_EXPORTED: Final = [getattr(langchain_messages, name) for name in langchain_messages.__all__]
"""The package loads what it exports when it is asked for it by name."""

_MESSAGES: Final = {
    each.__name__: each for each in _EXPORTED if isinstance(each, type) and issubclass(each, BaseMessage)
}

_TEXTS: Final[Mapping[str, tuple[type, Callable[[Any], str], Callable[[str], Any]]]] = {
    "datetime": (datetime, datetime.isoformat, datetime.fromisoformat),
    "date": (date, date.isoformat, date.fromisoformat),
    "time": (time, time.isoformat, time.fromisoformat),
    "uuid": (UUID, str, UUID),
    "decimal": (Decimal, str, Decimal),
    "bytes": (bytes, lambda value: base64.b64encode(value).decode(), base64.b64decode),
}
"""Written as a text: the class, how it is written, and how it is read."""

_OURS: Final[Mapping[str, tuple[type, tuple[str, ...]]]] = {
    "send": (Send, ("node", "arg")),
    "command": (Command, ("graph", "update", "resume", "goto")),
    "interrupt": (Interrupt, ("value", "id")),
    "search_item": (SearchItem, ("namespace", "key", "value", "created_at", "updated_at", "score")),
    "item": (Item, ("namespace", "key", "value", "created_at", "updated_at")),
}
"""Values of graphs, by the fields that make them."""

_MODELS: Final[Mapping[str, type[BaseModel]]] = {
    "generation_chunk": ChatGenerationChunk,
    "generation": ChatGeneration,
    "result": ChatResult,
    "document": Document,
}


def text(value: Json) -> str:
    """Return JSON as text, the same for the same value."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def encode(value: Any) -> Json:
    """Return a value as JSON.

    Args:
        value: Anything; what cannot come back is written by its class.

    Raises:
        RecordingError: It holds itself, or is nested too deep.
    """
    try:
        return _encoded(value)
    except RecursionError:
        raise RecordingError(
            f"a value of type {type(value).__name__} holds itself, or is nested too deep, which JSON cannot be"
        ) from None


def _encoded(value: Any) -> Json:
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is float:
        return value if math.isfinite(value) else {KIND: "float", "value": repr(value)}
    if kind is dict:
        return _dict(value)
    if kind is list:
        return [encode(each) for each in value]
    if kind is tuple:
        return {KIND: "tuple", "items": [encode(each) for each in value]}
    if kind in (set, frozenset):
        return {KIND: kind.__name__, "items": sorted((encode(each) for each in value), key=text)}
    for name, (each, write, _) in _TEXTS.items():
        if kind is each:
            return {KIND: name, "value": write(value)}
    return _object(value)


def _dict(value: Mapping[Any, Any]) -> Json:
    if KIND not in value and all(type(key) is str for key in value):
        return {key: encode(each) for key, each in value.items()}
    return {KIND: "dict", "items": [[encode(key), encode(each)] for key, each in value.items()]}


def _object(value: Any) -> Json:
    kind = type(value)
    if kind is timedelta:
        return {KIND: "timedelta", "value": [value.days, value.seconds, value.microseconds]}
    for name, (each, fields) in _OURS.items():
        if isinstance(value, each):
            return {KIND: name, "fields": {field: encode(getattr(value, field)) for field in fields}}
    if isinstance(value, BaseException):
        return error(value)
    if isinstance(value, BaseMessage) and _MESSAGES.get(kind.__name__) is kind:
        return {KIND: "message", "class": kind.__name__, "fields": _fields_of(value)}
    for name, model in _MODELS.items():
        if kind is model:
            return {KIND: name, "fields": _fields_of(value)}
    if isinstance(value, str) and not isinstance(value, Enum):
        return str(value)  # of LangChain's own class, in answers
    if isinstance(value, PurePath):
        return {KIND: "opaque", "class": _name_of(kind), "value": str(value)}
    own = _own_fields(value)
    if own is None:
        return {KIND: "opaque", "class": _name_of(kind)}
    return {KIND: "object", "class": _name_of(kind), "fields": {name: encode(each) for name, each in own}}


def _own_fields(value: Any) -> Iterable[tuple[str, Any]] | None:
    """Return what a value of a class of somebody's own is made of; None if it does not say."""
    kind = type(value)
    if isinstance(value, BaseModel):
        return list(_fields(value))
    if dataclasses.is_dataclass(kind):
        return [(each.name, getattr(value, each.name, None)) for each in dataclasses.fields(kind)]
    if isinstance(value, Enum):
        return [("value", value.value)]
    if isinstance(value, tuple) and hasattr(kind, "_fields"):
        return list(zip(kind._fields, value, strict=True))
    return [("items", dict(value))] if isinstance(value, dict) else None


def _fields(value: BaseModel) -> Iterable[tuple[str, Any]]:
    yield from ((name, getattr(value, name)) for name in type(value).model_fields)
    yield from (value.__pydantic_extra__ or {}).items()


def _fields_of(value: BaseModel) -> Json:
    """Return the fields of a model that are not what they are by themselves."""
    defaults = type(value).model_fields
    return {
        name: encode(each)
        for name, each in _fields(value)
        if name not in defaults or defaults[name].is_required() or each != _default(defaults[name])
    }


def _default(field: Any) -> Any:
    return field.get_default(call_default_factory=True)


def error(value: BaseException) -> Json:
    """Return an exception as JSON: its class, its arguments, its text, and what it holds of plain values."""
    held = {**_built_in_attributes(value), **vars(value)}
    encoded = {name: encode(each) for name, each in held.items() if each is not value}
    state = {name: each for name, each in encoded.items() if _is_known(each)}
    return {
        KIND: "error",
        "class": _name_of(type(value)),
        "args": [encode(each) for each in value.args],
        "text": str(value),
        "state": state,
    }


def _built_in_attributes(value: BaseException) -> dict[str, Any]:
    """Return what Python's own exceptions hold beside their arguments, such as `errno` or `code`, where it is plain."""
    found: dict[str, Any] = {}
    for kind in type(value).__mro__:
        if kind is BaseException or kind.__module__ != "builtins":
            continue
        for name, each in vars(kind).items():
            if isinstance(each, GetSetDescriptorType | MemberDescriptorType) and not name.startswith("_"):
                held = getattr(value, name, None)
                if type(held) in (str, int, bytes):
                    found[name] = held
    return found


def _is_known(encoded: Json) -> bool:
    if isinstance(encoded, list):
        return all(map(_is_known, encoded))
    if isinstance(encoded, dict):
        return encoded.get(KIND) != "opaque" and all(map(_is_known, encoded.values()))
    return True


def _name_of(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def argument(name: str, value: Json) -> Json:
    """Return a positional argument with its name, which a cleaner of lines takes away again."""
    return {KIND: "argument", "name": name, "value": value}


def check_returns(value: Any, what: str) -> Json:
    """Return a value as JSON that can be given to a program again.

    Args:
        value: The value.
        what: Names it in messages.

    Raises:
        RecordingError: It cannot.
    """
    try:
        encoded = encode(value)
        again = encode(decode(encoded))
    except RecordingError as refused:
        raise RecordingError(f"{what} cannot be recorded: {refused}") from refused
    if text(again) != text(encoded):
        raise RecordingError(
            f"{what} cannot be recorded: a value of type {type(value).__name__} comes back as another. Use plain "
            "values, messages, dataclasses or models of pydantic"
        )
    return encoded


def decode(encoded: Json) -> Any:
    """Return the value that JSON stands for.

    Raises:
        RecordingError: It cannot be made here.
    """
    if isinstance(encoded, list):
        return [decode(each) for each in encoded]
    if not isinstance(encoded, dict):
        return encoded
    kind = encoded.get(KIND)
    if kind is None:
        return {key: decode(each) for key, each in encoded.items()}
    reader = _READERS.get(kind)
    if reader is None:
        raise RecordingError(f"a value of the kind '{kind}' is unknown here: it may be of a newer version")
    try:
        return reader(encoded)
    except RecordingError:
        raise
    except Exception as failed:
        raise RecordingError(
            f"a value of the kind '{kind}' cannot be read: {type(failed).__name__}: {failed}"
        ) from failed


def _decoded(fields: Mapping[str, Json]) -> dict[str, Any]:
    return {name: decode(each) for name, each in fields.items()}


def _message(encoded: Json) -> Any:
    kind = _MESSAGES.get(encoded["class"])
    if kind is None:
        raise RecordingError(f"there is no message of the class '{encoded['class']}' in this langchain-core")
    return kind.model_validate(_decoded(encoded["fields"]))


def _opaque(encoded: Json) -> Any:
    raise RecordingError(
        f"a value of type {encoded['class']} cannot be written as data. Use plain values, messages, dataclasses or "
        "models of pydantic"
    )


def _made(encoded: Json) -> Any:
    kind, fields = loaded(encoded["class"]), _decoded(encoded["fields"])
    if issubclass(kind, BaseModel):
        return kind.model_validate(fields)
    if issubclass(kind, Enum):
        return kind(fields["value"])
    if issubclass(kind, dict):
        return kind(fields["items"])
    if dataclasses.is_dataclass(kind):
        settable = {each.name for each in dataclasses.fields(kind) if each.init}
        return kind(**{name: each for name, each in fields.items() if name in settable})
    if issubclass(kind, tuple) and hasattr(kind, "_make"):
        return kind._make(fields.values())
    return _opaque(encoded)


def _raised(encoded: Json) -> BaseException:
    """Make an exception without its constructor, which may want what the recording has not."""
    kind = loaded(encoded["class"])
    if not issubclass(kind, BaseException):
        raise RecordingError(f"{encoded['class']} is no exception")
    built_in = next(each for each in kind.__mro__ if each.__module__ == "builtins")
    arguments = [decode(each) for each in encoded["args"] if _is_known(each)]
    made: BaseException = built_in.__new__(kind, *arguments)
    made.args = tuple(arguments)
    for name, each in _decoded(encoded["state"]).items():
        try:
            BaseException.__setattr__(made, name, each)
        except (AttributeError, TypeError):
            vars(made)[name] = each  # what a property or a built-in exception keeps to itself
    return made


def loaded(name: str) -> type[Any]:
    """Return a class among the modules that this process has loaded.

    Args:
        name: The module and the name in it, `module:name`.

    Raises:
        RecordingError: There is none.
    """
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        # What a module or class holds itself: asking it for an attribute could import another one.
        held = type.__getattribute__(found, "__dict__") if isinstance(found, type) else _dict_of(found)
        found = held.get(part)
    if not isinstance(found, type) or _name_of(found) != name:
        raise RecordingError(f"the class {name} is not loaded: import its module before, or define it in a module")
    return found


def _dict_of(module: object) -> Mapping[str, Any]:
    return object.__getattribute__(module, "__dict__") if isinstance(module, ModuleType) else {}


def _plain(name: str) -> Callable[[Json], Any]:
    read = _TEXTS[name][2]
    return lambda encoded: read(encoded["value"])


def _ours(name: str) -> Callable[[Json], Any]:
    kind = _OURS[name][0]
    return lambda encoded: kind(**_decoded(encoded["fields"]))


def _model(name: str) -> Callable[[Json], Any]:
    kind = _MODELS[name]
    return lambda encoded: kind.model_validate(_decoded(encoded["fields"]))


_READERS: Final[Mapping[str, Callable[[Json], Any]]] = {
    "float": lambda encoded: float(encoded["value"]),
    "tuple": lambda encoded: tuple(decode(encoded["items"])),
    "set": lambda encoded: set(decode(encoded["items"])),
    "frozenset": lambda encoded: frozenset(decode(encoded["items"])),
    "dict": lambda encoded: {decode(key): decode(each) for key, each in encoded["items"]},
    "timedelta": lambda encoded: timedelta(*encoded["value"]),
    **{name: _plain(name) for name in _TEXTS},
    **{name: _ours(name) for name in _OURS},
    **{name: _model(name) for name in _MODELS},
    "message": _message,
    "object": _made,
    "error": _raised,
    "opaque": _opaque,
}
