"""The classes that a strict serialiser may restore from a store: those that the graph's own types mention.

With `LANGGRAPH_STRICT_MSGPACK` set, or with `StrictSerializer`, a saver rebuilds no class that it has not been told of.
A graph tells it the classes in its schemas and channels, at any depth, and LangChain's messages.
"""

from __future__ import annotations

import dataclasses
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from types import UnionType
from typing import (
    Annotated,
    Any,
    Final,
    NotRequired,
    Required,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from langchain_core import messages
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde._msgpack import STRICT_MSGPACK_ENABLED
from typing_extensions import is_typeddict

from stategraph.engine.checkpoints.serializer import StrictSerializer

Address = tuple[str, ...]
"""Module and name of a class."""

Saver = TypeVar("Saver")

_FIRST_ARGUMENT: Final = (Annotated, Required, NotRequired)
_ALL_ARGUMENTS: Final = (Union, UnionType, list, set, tuple, dict, deque, frozenset)
_VALUES: Final = (str, int, float, dict, list, tuple, set, frozenset, deque)
"""Types whose subclasses hold nothing but a value: named tuples among them."""
_MESSAGES: Final = ("Base", "Human", "AI", "System", "Chat", "Tool", "Function")


class Allowlist:
    """The classes that a graph may bring back from a store, worked out when a strict saver first asks."""

    __slots__ = ("_channels", "_classes", "_schemas", "_told")

    def __init__(self, schemas: Iterable[Any], channels: Mapping[str, Any]) -> None:
        """Args: schemas: The types that the graph declares. channels: Its channels."""
        self._schemas = tuple(schemas)
        self._channels = channels
        self._classes: set[Address] | None = None
        # The last saver that was told, its serializer, and what came of it: mostly a graph has one.
        self._told: tuple[object, object, object] = (None, None, None)

    def classes(self) -> set[Address]:
        """List the classes."""
        if self._classes is None:
            self._classes = message_classes() | collect(self._schemas, self._channels)
        return self._classes

    def tell(self, saver: Saver) -> Saver:
        """Tell a saver what it may bring back.

        Args:
            saver: A saver, or one of the values that stand for none.

        Returns:
            A saver that knows the classes; the same one if it is not strict.
        """
        if not isinstance(saver, BaseCheckpointSaver):
            return saver
        serde: object = getattr(saver, "serde", None)
        known, its_serde, telling = self._told
        is_told = its_serde is serde if known is saver else telling is saver
        if not is_told:
            telling = apply(saver, self.classes()) if STRICT_MSGPACK_ENABLED or _is_strict(serde) else saver
            self._told = (saver, serde, telling)
        return cast(Saver, telling)


def apply(saver: Saver, allowed: set[Address] | None) -> Saver:
    """Tell a saver which classes it may bring back.

    Args:
        saver: A saver, or one of the values that stand for none.
        allowed: The classes; None to leave the saver as it is.

    Returns:
        A saver that knows them; the same one if there is nothing to tell.
    """
    if allowed is None or not isinstance(saver, BaseCheckpointSaver):
        return saver
    return cast(Saver, saver.with_allowlist(allowed))


def _is_strict(serde: object) -> bool:
    return isinstance(serde, StrictSerializer) or isinstance(getattr(serde, "serde", None), StrictSerializer)


def message_classes() -> set[Address]:
    """LangChain's message classes."""
    names = [*(f"{kind}Message{suffix}" for kind in _MESSAGES for suffix in ("", "Chunk")), "RemoveMessage"]
    found = (getattr(messages, name, None) for name in names)
    return {(cls.__module__, cls.__name__) for cls in found if cls is not None}


def collect(schemas: Iterable[Any] | None = None, channels: Mapping[str, Any] | None = None) -> set[Address]:
    """List the classes that types mention, at any depth.

    Args:
        schemas: Types.
        channels: Channels, for the types of their values and updates.
    """
    pending = [schema for schema in schemas or () if schema is not None]
    for channel in (channels or {}).values():
        pending += (getattr(channel, "ValueType", None), getattr(channel, "UpdateType", None))
    seen: dict[int, object] = {}
    addresses: set[Address] = set()
    while pending:
        type_ = pending.pop()
        if id(type_) in seen or _is_seen(type_, seen):
            continue
        seen[id(type_)] = type_  # kept alive, so that no other type gets its id
        if is_stored := _is_class_of_values(type_):
            addresses.add((type_.__module__, type_.__name__))
            if "<locals>" not in type_.__qualname__:
                # Of a class inside another, one serialiser stores the name and another the qualified one.
                addresses.add((type_.__module__, type_.__qualname__))
        pending.extend(_fields(type_) if is_stored or is_typeddict(type_) else _arguments(type_))
    return addresses


def _is_seen(type_: object, seen: Mapping[int, object]) -> bool:
    # Each use of a generic alias is a new object; their arguments have been seen then.
    return False if isinstance(type_, type) else any(type_ is other for other in seen.values())


def _is_class_of_values(type_: object) -> bool:
    if not isinstance(type_, type):
        return False
    if dataclasses.is_dataclass(type_) or issubclass(type_, Enum) or _is_model(type_):
        return True
    return issubclass(type_, _VALUES) and type_.__module__ != "builtins" and not is_typeddict(type_)


def _is_model(type_: type[object]) -> bool:
    # Both generations of pydantic, without importing the older one: code that subclasses it has done so.
    legacy = sys.modules.get("pydantic.v1")
    bases: list[Any] = [getattr(sys.modules["pydantic"], "BaseModel", None), getattr(legacy, "BaseModel", None)]
    return issubclass(type_, tuple(base for base in bases if base is not None))


def _arguments(type_: Any) -> Iterator[object]:
    origin = get_origin(type_)
    if origin in _FIRST_ARGUMENT:
        yield from get_args(type_)[:1]
    elif origin in _ALL_ARGUMENTS:
        yield from get_args(type_)
    elif (base := getattr(type_, "__supertype__", None)) is not None:  # a NewType
        yield base


def _fields(type_: Any) -> Iterable[object]:
    sources: tuple[Callable[[Any], Iterable[object]], ...] = (_resolved_hints, _declared_fields)
    return next((found for source in sources if (found := list(source(type_)))), ())


def _resolved_hints(type_: object) -> Iterable[object]:
    module = sys.modules.get(getattr(type_, "__module__", ""))
    try:
        hints = get_type_hints(
            type_, vars(module) if module else None, dict(getattr(type_, "__dict__", {})), include_extras=True
        )
    except Exception:
        # Evaluating an annotation can fail in any way, for instance on a name imported for type checkers only.
        return ()
    return hints.values()


def _declared_fields(type_: object) -> Iterable[object]:
    if dataclasses.is_dataclass(type_):
        return [field.type for field in dataclasses.fields(type_)]
    fields: Mapping[str, object] = getattr(type_, "model_fields", None) or getattr(type_, "__fields__", {})
    kinds = (getattr(field, "annotation", None) or getattr(field, "outer_type_", None) for field in fields.values())
    return [kind for kind in kinds if kind is not None]
