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
from typing import Any
from uuid import UUID

from langchain_core.load import dumpd
from langchain_core.messages import BaseMessage
from pydantic import BaseModel

_NOTHING = object()


def to_json(value: Any) -> str:
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


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _plain(value: Any, around: tuple[int, ...]) -> Any:
    """Convert a value to the types of JSON.

    Args:
        value: The value.
        around: The containers around it, by identity.
    """
    if id(value) in around:
        return _NOTHING
    within = (*around, id(value))
    match value:
        case Enum():
            return _plain(value.value, within)
        case float():
            return value if math.isfinite(value) else None
        case None | bool() | int() | str():
            return value
        case Mapping():
            return _object(value, within)
        case list() | tuple():
            return [each for each in (_plain(item, within) for item in value) if each is not _NOTHING]
        case Set():
            return _plain(sorted(value, key=str), within)
        case BaseMessage():
            return _plain(dumpd(value), within)
        case BaseModel():
            return _object(dict(value), within)
        case bytes() | bytearray():
            return base64.b64encode(value).decode()
        case date() | time():
            return value.isoformat()
        case UUID() | Decimal() | PurePath():
            return str(value)
        case BaseException():
            return {"type": type(value).__name__, "message": str(value)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _object({field.name: getattr(value, field.name) for field in dataclasses.fields(value)}, within)
    return _NOTHING


def _object(value: Mapping[Any, Any], within: tuple[int, ...]) -> dict[str, Any]:
    plain = {str(key): _plain(each, within) for key, each in value.items()}
    return {key: each for key, each in plain.items() if each is not _NOTHING}
