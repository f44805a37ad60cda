"""Values as a serializer stored them, as JSON and back: types of msgpack, and the serializer's own by their codes.

    {"$type": 5, "value": ["my_app.orders", "Order", {...}, "model_validate_json"]}   a value of a class
    {"$type": 6, "bytes": "base64"}                                                   one whose content is not msgpack
    {"$bytes": "base64"}, {"$float": "nan"}                                           what JSON does not have
    {"$map": [[1, "a"], ["$x", "b"]]}                                                 other keys than texts without $

The codes are those of langgraph-checkpoint's `JsonPlusSerializer`. Nothing is imported or called for a class.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import ormsgpack

_OPTIONS: Final = ormsgpack.OPT_NON_STR_KEYS


@dataclass(frozen=True, slots=True)
class _Typed:
    """A value of a type that the serializer has a code for."""

    code: int
    data: bytes


def as_json(data: bytes) -> Any:
    """Return a value of msgpack as JSON."""
    return _as_json(_unpacked(data))


def as_bytes(value: object) -> bytes:
    """Return the msgpack that `as_json` was given.

    Raises:
        ValueError: The value is none that `as_json` returns.
    """
    try:
        return ormsgpack.packb(_packable(value), option=_OPTIONS)
    except (TypeError, KeyError, binascii.Error, RecursionError) as error:  # those of ormsgpack are of type TypeError
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _unpacked(data: bytes) -> Any:
    return ormsgpack.unpackb(data, ext_hook=_Typed, option=_OPTIONS)


def _as_json(value: Any) -> Any:
    match value:
        case bytes():
            return {"$bytes": base64.b64encode(value).decode()}
        case float() if not math.isfinite(value):
            return {"$float": str(value)}
        case list() | tuple():
            return [_as_json(each) for each in value]
        case dict():
            if all(isinstance(key, str) and not key.startswith("$") for key in value):
                return {key: _as_json(each) for key, each in value.items()}
            return {"$map": [[_as_json(key), _as_json(each)] for key, each in value.items()]}
        case _Typed():
            return _typed(value)
    return value


def _typed(value: _Typed) -> dict[str, Any]:
    """Return a typed value with its content as JSON, if that brings the same bytes back."""
    try:
        content = as_json(value.data)
        if as_bytes(content) == value.data:
            return {"$type": value.code, "value": content}
    except ValueError:
        pass
    return {"$type": value.code, "bytes": base64.b64encode(value.data).decode()}


def _packable(value: Any) -> Any:
    if isinstance(value, list):
        return [_packable(each) for each in value]
    if not isinstance(value, Mapping):
        return value
    if "$type" in value:
        data = as_bytes(value["value"]) if "value" in value else base64.b64decode(value["bytes"], validate=True)
        return ormsgpack.Ext(value["$type"], data)
    if "$bytes" in value:
        return base64.b64decode(value["$bytes"], validate=True)
    if "$float" in value:
        return float(value["$float"])
    if "$map" in value:
        return {_key(key): _packable(each) for key, each in value["$map"]}
    return {key: _packable(each) for key, each in value.items()}


def _key(value: Any) -> Any:
    packable = _packable(value)
    return tuple(packable) if isinstance(packable, list) else packable
