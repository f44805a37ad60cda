"""A serialiser for checkpoints that rebuilds only known classes, and keeps types that msgpack alone would lose.

It writes the format of langgraph-checkpoint's `JsonPlusSerializer` and reads all that one has written. Where that one
writes a plain value for an object of another type (a list for a tuple, text for a subclass of `str`), this one writes
the constructor call that the format has for such cases, so `JsonPlusSerializer` reads it too: as the same type unless
it is strict itself, and then as the plain value.

Rules
-----
* Nothing is imported, and nothing called, because stored data says so: a class is rebuilt only if it is on the list.
  The list holds what the checkpoint package considers safe, standard containers, and what the program has allowed. A
  graph allows the classes that its schemas mention (`stategraph.engine.checkpoints.allowlist`).
* A class is named by its qualified name, so one that is defined inside another class is found.
* Of a class that is not on the list, or cannot be rebuilt, the plain value comes back, as from `JsonPlusSerializer`.
"""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections import defaultdict, deque
from collections.abc import Iterable
from datetime import datetime
from enum import Enum
from typing import Any, Final
from zoneinfo import ZoneInfo

import ormsgpack
from langgraph.checkpoint.serde import jsonplus
from langgraph.checkpoint.serde._msgpack import SAFE_MSGPACK_TYPES
from langgraph.checkpoint.serde.types import _DeltaSnapshot

from stategraph import wire
from stategraph.engine.checkpoints import decoded_messages

Address = tuple[str, ...]
"""Module and qualified name of a class."""

_CONTAINERS: Final = frozenset({("builtins", "tuple"), ("collections", "Counter"), ("collections", "OrderedDict")})
_PLAIN: Final = (str, int, dict, list, tuple)
"""Types that msgpack has, of whose subclasses it would keep only the value."""

OPTIONS: Final = jsonplus._option | ormsgpack.OPT_PASSTHROUGH_SUBCLASS | ormsgpack.OPT_PASSTHROUGH_TUPLE
_CONSTRUCTORS: Final = frozenset(
    {jsonplus.EXT_CONSTRUCTOR_SINGLE_ARG, jsonplus.EXT_CONSTRUCTOR_POS_ARGS, jsonplus.EXT_CONSTRUCTOR_KW_ARGS}
)


class StrictSerializer(jsonplus.JsonPlusSerializer):
    """Serialise checkpoints such that reading one runs no code that the program has not named.

    Pass it to a saver: ``SqliteSaver(connection, serde=StrictSerializer())``. A graph adds the classes in its schemas
    by itself; name others, for instance those that a key annotated with ``Any`` holds.

    Attributes:
        allowed: The addresses of the classes that it was allowed to rebuild.
    """

    def __init__(self, allowed: Iterable[type[Any] | Address] = ()) -> None:
        """Make a serialiser.

        Args:
            allowed: Classes that may be rebuilt, or their modules and qualified names.
        """
        addresses = frozenset(address_of(item) if isinstance(item, type) else item for item in allowed)
        super().__init__(allowed_msgpack_modules=tuple(addresses) or None, __unpack_ext_hook__=self._rebuild)
        self.allowed = addresses

    def with_msgpack_allowlist(self, extra_allowlist: Iterable[Address | type[object]]) -> StrictSerializer:
        """Return a serialiser that may rebuild further classes; the same one if it knows them all."""
        extra = {address_of(item) if isinstance(item, type) else tuple(item) for item in extra_allowlist}
        return self if extra <= self.allowed else StrictSerializer(self.allowed | extra)

    def dumps_typed(self, obj: object) -> tuple[str, bytes]:
        """Serialise a value; returns the kind of the format, and the bytes.

        Raises:
            TypeError: The value, or one in it, has no stored form.
        """
        if obj is None or isinstance(obj, (bytes, bytearray)):
            return super().dumps_typed(obj)
        return "msgpack", _pack(obj)

    def _rebuild(self, code: int, data: bytes) -> Any:
        if code in _CONSTRUCTORS:
            return self._construct(code, self._unpack(data))
        if code == jsonplus.EXT_DELTA_SNAPSHOT:
            return _DeltaSnapshot(self._unpack(data))
        if code in (jsonplus.EXT_PYDANTIC_V1, jsonplus.EXT_PYDANTIC_V2):
            return self._model(code, self._unpack(data))
        if code == jsonplus.EXT_METHOD_SINGLE_ARG:
            module, name, argument, method = self._unpack(data)[:4]
            is_date = (module, name, method) == ("datetime", "datetime", "fromisoformat")
            return datetime.fromisoformat(argument) if is_date else argument
        return _SAFE(code, data)

    def _unpack(self, data: bytes) -> Any:
        return ormsgpack.unpackb(data, ext_hook=self._rebuild, option=ormsgpack.OPT_NON_STR_KEYS)

    def _construct(self, code: int, stored: Any) -> Any:
        module, name, value = stored[:3]
        make = self._allowed_class(module, name)
        if make is None:
            return value
        try:
            if code == jsonplus.EXT_CONSTRUCTOR_KW_ARGS:
                return make(**value)
            if code == jsonplus.EXT_CONSTRUCTOR_SINGLE_ARG:
                return make(value)
            if name == "Send" and len(value) == 3:
                return make(*value[:2], timeout=value[2])
            return make(*value)
        except Exception:  # what the class's own code raises
            return value

    def _model(self, code: int, stored: Any) -> Any:
        module, name, fields = stored[:3]
        model = self._allowed_class(module, name)
        if model is None:
            return fields
        if code == jsonplus.EXT_PYDANTIC_V2 and (message := decoded_messages.of_fields(model, fields)) is not None:
            return message
        try:
            return model(**fields)
        except Exception:
            make = getattr(model, "model_construct" if code == jsonplus.EXT_PYDANTIC_V2 else "construct", None)
            return fields if make is None else make(**fields)

    def _allowed_class(self, module: str, name: str) -> Any:
        """Return the class at an address; None if it is not on the list, or not there."""
        address = (module, name)
        if address not in self.allowed and address not in _CONTAINERS and address not in SAFE_MSGPACK_TYPES:
            return None
        try:
            found: object = sys.modules.get(module) or importlib.import_module(module)
            for part in name.split("."):
                found = getattr(found, part)
        except (ImportError, AttributeError):
            return None
        return found


def address_of(cls: type[object]) -> Address:
    """Return the module and qualified name of a class, as they are stored."""
    return cls.__module__, cls.__qualname__


def _pack(obj: object) -> bytes:
    return ormsgpack.packb(obj, default=_stored_form, option=OPTIONS)


def _call(code: int, cls: type[Any], argument: Any) -> ormsgpack.Ext:
    return ormsgpack.Ext(code, _pack([*address_of(cls), argument]))


def _stored_form(obj: Any) -> object:
    """Return the stored form of a value that msgpack has no type for."""
    cls = type(obj)
    if cls is tuple:
        return _call(jsonplus.EXT_CONSTRUCTOR_SINGLE_ARG, cls, list(obj))
    if isinstance(obj, _DeltaSnapshot):
        return ormsgpack.Ext(jsonplus.EXT_DELTA_SNAPSHOT, _pack(obj.value))
    if hasattr(obj, "model_dump"):
        return ormsgpack.Ext(
            jsonplus.EXT_PYDANTIC_V2, _pack([*address_of(cls), obj.model_dump(), "model_validate_json"])
        )
    if isinstance(obj, Enum):
        return _call(jsonplus.EXT_CONSTRUCTOR_SINGLE_ARG, cls, obj.value)
    if (cls.__module__, cls.__name__) == (wire.ADDRESS, "Send"):
        arguments = [obj.node, obj.arg] if obj.timeout is None else [obj.node, obj.arg, obj.timeout]
        return _call(jsonplus.EXT_CONSTRUCTOR_POS_ARGS, cls, arguments)
    fields = _fields(obj)
    if fields is not None:
        return _call(jsonplus.EXT_CONSTRUCTOR_KW_ARGS, cls, fields)
    if isinstance(obj, (set, frozenset)) or cls is deque:
        return _collection(obj, cls)
    if isinstance(obj, datetime) and isinstance(obj.tzinfo, ZoneInfo):
        return _call(jsonplus.EXT_CONSTRUCTOR_KW_ARGS, datetime, _of_datetime(obj))
    if isinstance(obj, _PLAIN):
        return _subclass(obj, cls)
    return jsonplus._msgpack_default(obj)


def _fields(obj: Any) -> dict[str, object] | None:
    """Return the arguments of a named tuple's or dataclass's constructor; None for an object of another kind."""
    if isinstance(obj, tuple) and hasattr(obj, "_asdict"):
        return dict(obj._asdict())
    if dataclasses.is_dataclass(obj):
        return {field.name: getattr(obj, field.name) for field in dataclasses.fields(obj)}
    return None


def _collection(obj: Any, cls: type[Any]) -> ormsgpack.Ext:
    if cls is deque and obj.maxlen is not None:
        return _call(jsonplus.EXT_CONSTRUCTOR_POS_ARGS, cls, [list(obj), obj.maxlen])
    return _call(jsonplus.EXT_CONSTRUCTOR_SINGLE_ARG, cls, list(obj))


def _subclass(obj: Any, cls: type[Any]) -> object:
    plain: Any = next(kind for kind in _PLAIN if isinstance(obj, kind))
    value = list(obj) if plain is tuple else plain(obj)
    if cls is defaultdict:
        return value  # its factory has no stored form
    return _call(jsonplus.EXT_CONSTRUCTOR_SINGLE_ARG, cls, value)


def _of_datetime(moment: datetime) -> dict[str, object]:
    names = ("year", "month", "day", "hour", "minute", "second", "microsecond", "tzinfo", "fold")
    return {name: getattr(moment, name) for name in names}


_SAFE: Final = jsonplus.JsonPlusSerializer(allowed_msgpack_modules=None)._unpack_ext_hook


def fields_of(value: ormsgpack.Ext) -> Any:
    """Return what a value that was kept as it is stored is made of: a mapping of fields, or a plain value."""
    return ormsgpack.unpackb(
        ormsgpack.packb(value), ext_hook=lambda _, data: unpacked(data)[2], option=ormsgpack.OPT_NON_STR_KEYS
    )


def unpacked(data: bytes) -> Any:
    """Return what is stored of a value of a class: its module, its name, and what it is made of."""
    return ormsgpack.unpackb(data, ext_hook=lambda _, inner: unpacked(inner)[2], option=ormsgpack.OPT_NON_STR_KEYS)
