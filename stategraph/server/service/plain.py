"""Values of graphs as the JSON that LangGraph's clients read.

Messages are objects of their fields, as `model_dump` gives them, and so are models and dataclasses; an exception is
`{"error": kind, "message": text}`. What has no form in JSON is null, and so are numbers that JSON does not have.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import math
from collections.abc import Mapping, Set
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, cast
from uuid import UUID

from pydantic import BaseModel

#: How deep values may be inside of each other; what is deeper is null.
_DEEPEST = 200


def plain_json(value: object) -> str:
    """Encode a value in one line."""
    try:
        text = _dumped(value)
    except (TypeError, ValueError, RecursionError):  # keys that are no texts, NaN, what contains itself
        text = _dumped(_plain(value, 0))
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a character, as models send it: it has to be escaped
        return json.dumps(json.loads(text), separators=(",", ":"))
    return text


def plain(value: object) -> Any:
    """Return a value as the types of JSON."""
    return json.loads(plain_json(value))


def _dumped(value: object) -> str:
    return json.dumps(value, default=_of_object, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _plain(value: object, depth: int) -> Any:
    if depth > _DEEPEST:
        return None
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {str(_key(key)): _plain(each, depth + 1) for key, each in value.items()}
        case list() | tuple():
            return [_plain(each, depth + 1) for each in value]
    return _plain(_of_object(value), depth + 1)


def _key(key: object) -> object:
    return key.value if isinstance(key, Enum) else key


def _of_object(value: Any) -> Any:
    """Return what stands for an object; None if nothing does."""
    match value:
        case BaseModel():
            return value.model_dump()
        case Enum():
            return value.value
        case Mapping():
            return dict(value)
        case Set():
            return sorted(value, key=str)
        case bytes() | bytearray():
            return base64.b64encode(value).decode()
        case date() | time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case UUID() | Decimal() | PurePath():
            return str(value)
        case BaseException():
            return {"error": type(value).__name__, "message": str(value)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if hasattr(value, "_asdict"):
        return cast("Any", value)._asdict()
    return None
