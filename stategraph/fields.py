"""Reading a typed object as channel updates: which keys its class declares, which of them it sets.

Pydantic models are known by their attributes, so that nothing here imports pydantic.
"""

import inspect
from collections.abc import Iterable
from typing import Any, Final
from weakref import WeakKeyDictionary

from stategraph.constants import MISSING

_ROOT: Final = "__root__"
"""The channel of a graph whose state is one value without keys."""

_cache: WeakKeyDictionary[type[Any], tuple[str, ...]] = WeakKeyDictionary()


def annotated_keys(cls: type[Any]) -> tuple[str, ...]:
    """Return the names annotated in a class and its bases, the oldest base first, each name once.

    Args:
        cls: A dataclass, a pydantic model, a typed dict or any other class.

    Returns:
        The names; empty for a class without annotations.
    """
    keys = _cache.get(cls)
    if keys is None:
        keys = _cache[cls] = tuple(dict.fromkeys(_annotations(cls)))
    return keys


def _annotations(cls: type[Any]) -> Iterable[str]:
    if isinstance(fields := getattr(cls, "model_fields", None), dict):
        # A pydantic model also inherits annotations of pydantic's own, which are no fields.
        yield from fields
        return
    for base in reversed(cls.__mro__):
        yield from inspect.get_annotations(base)


def set_items(obj: Any, keys: Iterable[str]) -> list[tuple[str, Any]]:
    """Return the updates that an object stands for.

    A field of a pydantic model that is None by default counts only if it was set: a node that returns a model
    says nothing about the fields it left alone.

    Args:
        obj: A dataclass instance, a pydantic model or any object with attributes.
        keys: The attributes to look at; missing ones are skipped.

    Returns:
        Pairs of key and value, in the order of `keys`.
    """
    assigned = getattr(obj, "model_fields_set", None)
    fields = getattr(type(obj), "model_fields", None)
    if assigned is None or fields is None:
        return [(key, value) for key in keys if (value := getattr(obj, key, MISSING)) is not MISSING]
    items = []
    for key in keys:
        value = getattr(obj, key, MISSING)
        if value is MISSING:
            continue
        if value is None and key not in assigned and key in fields and fields[key].default is None:
            continue
        items.append((key, value))
    return items


def update_items(update: Any) -> list[tuple[str, Any]]:
    """Any accepted form of a state update as pairs of key and value.

    Args:
        update: A dict; a list or tuple of pairs; an object of an annotated class; None for no update;
            anything else is the whole state of a graph without keys.

    Returns:
        The pairs, in the order of the update.
    """
    if update is None:
        return []
    if isinstance(update, dict):
        return list(update.items())
    if isinstance(update, (list, tuple)) and all(map(_is_pair, update)):
        return list(update)
    if keys := annotated_keys(type(update)):
        return set_items(update, keys)
    return [(_ROOT, update)]


def _is_pair(item: Any) -> bool:
    return isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str)
