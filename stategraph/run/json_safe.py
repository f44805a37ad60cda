"""Payloads as JSON that every browser reads, for any content from hosts and tools."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
from collections.abc import Mapping, Set
from datetime import date, time
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, cast
from uuid import UUID

_NOTHING = object()


def to_json(value: object) -> str:
    """Encode a value as JSON, in one line.

    Args:
        value: JSON as it is; else what comes nearest: models and dataclasses are objects, bytes are base64, numbers
            that JSON does not have are null. What has no form in JSON, such as a function, and what contains itself
            is left out.
    """
    try:
        text = _dumped(value)
    except (TypeError, ValueError, RecursionError):
        plain = _plain(value, ())
        text = _dumped(None if plain is _NOTHING else plain)
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a character, as models send it: it has to be escaped
        return json.dumps(json.loads(text), separators=(",", ":"))
    return text


def _dumped(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _plain(value: object, around: tuple[int, ...]) -> object:
    """Convert a value to the types of JSON.

    Args:
        value: The value.
        around: The containers around it, by identity.

    Returns:
        The value as JSON; `_NOTHING` if it has no form in JSON, or contains itself.
    """
    if id(value) in around:
        return _NOTHING
    within = (*around, id(value))
    match value:
        case Enum():
            return _plain(value.value, within)
        case float() if not math.isfinite(value):
            return None
        case None | bool() | int() | float() | str():
            return value
        case list() | tuple():
            return [each for each in (_plain(item, within) for item in value) if each is not _NOTHING]
        case Set():
            return _plain(sorted(value, key=str), within)
    if (text := _text(value)) is not None:
        return text
    if (fields := _fields(value)) is None:
        return _NOTHING
    plain = {str(key): _plain(each, within) for key, each in fields.items()}
    return {key: each for key, each in plain.items() if each is not _NOTHING}


def _text(value: object) -> str | None:
    """Return the text that stands for a value in JSON; None if there is none."""
    match value:
        case bytes() | bytearray():
            return base64.b64encode(value).decode()
        case date() | time():
            return value.isoformat()
        case UUID() | Decimal() | PurePath():
            return str(value)
    return None


def _fields(value: object) -> Mapping[Any, object] | None:
    """Return the fields of a value that is an object in JSON; None for anything else."""
    if isinstance(value, Mapping):
        return value
    from langchain_core.load import dumpd  # 0.3 s, which a process without runs does not pay
    from langchain_core.messages import BaseMessage
    from pydantic import BaseModel

    match value:
        case BaseMessage():
            return cast("Mapping[str, object]", dumpd(value))
        case BaseModel():
            return dict(value)
        case BaseException():
            return {"type": type(value).__name__, "message": str(value)}
        case type():
            return None
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return None
