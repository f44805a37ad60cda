"""Typed dicts that pydantic can read: before Python 3.12 it refuses those of `typing`, and takes `typing_extensions`'.

They are made again with the same name, keys and annotations; a program keeps its own.
"""

from __future__ import annotations

import sys
import threading
import types
import typing
from operator import or_
from typing import Annotated, Any, Final, Literal, get_args, get_origin
from weakref import WeakKeyDictionary

import typing_extensions

#: By a typed dict, the one that pydantic can read.
_MADE: Final[WeakKeyDictionary[Any, Any]] = WeakKeyDictionary()

#: Held while types are made, which are in `_MADE` before they have their annotations.
_LOCK: Final = threading.RLock()

#: What pydantic and `TypedDict` look at, beside the annotations.
_KEPT: Final = ("__doc__", "__module__", "__qualname__", "__required_keys__", "__optional_keys__", "__total__")


def readable(type_: Any) -> Any:
    """Return a type as pydantic can read it; the same one if nothing in it has to be made again.

    Args:
        type_: A type; typed dicts are looked for in it and in the annotations of typed dicts, not in those of models
            and dataclasses.
    """
    if sys.version_info >= (3, 12):
        return type_
    with _LOCK:
        return _readable(type_)


def _readable(type_: Any) -> Any:
    if typing_extensions.is_typeddict(type_):
        return _typed_dict(type_)
    origin, args = get_origin(type_), get_args(type_)
    if origin is None or origin is Literal:
        return type_
    if origin is Annotated:
        inner = _readable(args[0])
        return type_ if inner is args[0] else Annotated[(inner, *args[1:])]
    found = tuple(_readable(each) for each in args)
    if all(new is old for new, old in zip(found, args, strict=True)):
        return type_
    if isinstance(type_, types.UnionType):
        return _union(found)
    copied = getattr(type_, "copy_with", None)  # an alias of `typing`
    return origin[found] if copied is None else copied(found)


def _union(members: tuple[Any, ...]) -> Any:
    found = members[0]
    for each in members[1:]:
        found = or_(found, each)
    return found


def _typed_dict(type_: Any) -> Any:
    """Return a typed dict that pydantic can read, made before its annotations are, which may name it."""
    if type_ in _MADE:
        return _MADE[type_]
    try:
        hints = typing_extensions.get_type_hints(type_, include_extras=True)
    except Exception:  # a name that is not there; pydantic says so in its own words
        return type_
    make: Any = typing_extensions.TypedDict
    made = make(type_.__name__, {})
    _MADE[type_] = made
    annotations = {name: _readable(each) for name, each in hints.items()}
    if not typing.is_typeddict(type_) and all(annotations[name] is hints[name] for name in hints):
        _MADE[type_] = type_
        return type_
    for name in _KEPT:
        setattr(made, name, getattr(type_, name))
    if config := getattr(type_, "__pydantic_config__", None):
        made.__pydantic_config__ = config
    made.__annotations__ = annotations
    return made
