"""Helpers of channels with a reducer: the overwrite forms, empty values of a type, when two reducers are the same."""

import collections.abc
from collections.abc import Callable, Sequence
from typing import Any, Final, NotRequired, Required

from stategraph.constants import MISSING, OVERWRITE
from stategraph.errors import ErrorCode, InvalidUpdateError, create_error_message
from stategraph.types import Overwrite

# Abstract collections cannot be instantiated; an empty one of these is their empty value.
_CONCRETE: Final[dict[Any, type[Any]]] = {
    collections.abc.Sequence: list,
    collections.abc.MutableSequence: list,
    collections.abc.Set: set,
    collections.abc.MutableSet: set,
    collections.abc.Mapping: dict,
    collections.abc.MutableMapping: dict,
}

OVERWRITES: tuple[type[Any], ...] = (Overwrite,)
"""The classes that mean: put this value in place. Ours, and that of an installed LangGraph once it is loaded."""

REPLACING: tuple[type[Any], ...] = (Overwrite, dict)
"""The classes of updates that may put a value in place."""


def concrete_type(typ: Any) -> Any:
    """Return the class behind an annotation.

    Args:
        typ: A type, possibly subscripted, annotated or marked Required or NotRequired.

    Returns:
        What to call for an empty value. It may still be something that cannot be called.
    """
    while (origin := getattr(typ, "__origin__", None)) is not None:
        typ = typ.__args__[0] if origin in (Required, NotRequired) else origin
    try:
        return _CONCRETE.get(typ, typ)
    except TypeError:  # unhashable annotations exist
        return typ


def empty_value(typ: Any) -> Any:
    """Return the value a reducer starts from.

    Args:
        typ: A concrete type.

    Returns:
        What calling the type without arguments gives, or `MISSING` if that does not work: then the first update is
        the first value.
    """
    try:
        return typ()
    except Exception:  # any constructor may run here, with arguments it does not expect
        return MISSING


def understand(double: type) -> None:
    """Take another engine's `Overwrite` for ours. Told by the engine, which knows whether there is one.

    Args:
        double: Its class; it has the same attributes.
    """
    global REPLACING, OVERWRITES
    if double not in OVERWRITES:
        OVERWRITES = (*OVERWRITES, double)
        REPLACING = (*OVERWRITES, dict)


def overwritten(value: Any) -> Any:
    """Return the value that an update puts in place of the state.

    Args:
        value: An update. Besides an `Overwrite` itself there are two dicts that mean it:
            `{"__overwrite__": new}`, and the fields of an `Overwrite` after a trip through JSON.

    Returns:
        The new value, or `MISSING` for an ordinary update.
    """
    if isinstance(value, OVERWRITES):
        return value.value
    if isinstance(value, dict):
        if len(value) == 1:
            return value.get(OVERWRITE, MISSING)
        if value.get("type") == OVERWRITE:
            return value.get("value", MISSING)
    return MISSING


def only_overwrite(key: str, values: Sequence[Any]) -> Any:
    """Return the new value, if one of a step's updates overwrites the state.

    Args:
        key: The channel, for the message.
        values: The updates.

    Returns:
        The value, or `MISSING` if none of them does.

    Raises:
        InvalidUpdateError: Two of them do.
    """
    found = MISSING
    for value in values:
        if not isinstance(value, REPLACING):
            continue
        new = overwritten(value)
        if new is MISSING:
            continue
        if found is not MISSING:
            raise InvalidUpdateError(
                create_error_message(
                    message=(
                        f"Can receive only one Overwrite value per super-step. At key '{key}': let a single node of the"
                        " step overwrite it, or let the others return ordinary updates."
                    ),
                    error_code=ErrorCode.INVALID_CONCURRENT_GRAPH_UPDATE,
                )
            )
        found = new
    return found


def same_reducer(one: Callable[..., Any], other: Callable[..., Any]) -> bool:
    """Return whether two declarations of a field agree on its reducer.

    A lambda agrees with anything: evaluating the same declaration twice makes two of them.
    """
    return one is other or "<lambda>" in (getattr(one, "__name__", None), getattr(other, "__name__", None))
