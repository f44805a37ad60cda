"""Output types of agents as hosts give them, taken apart into the members of a union.

- A type of pydantic's, a dataclass, a TypedDict, an enum, a Literal, a list of something, a scalar: anything that
  pydantic validates. A mapping is a JSON schema. A text is the import path of a type, or the name of a scalar.
- A union, and a list of any of these, has several members. Nothing is imported or built here: these are values.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Union, get_args, get_origin

#: Scalars by the names that stand for them where a configuration is data.
SCALARS: Final[Mapping[str, type]] = {"str": str, "int": int, "float": float, "bool": bool, "None": type(None)}

_EXPECTED = (
    "expected a type (a pydantic model, a dataclass, a TypedDict, an enum, list[...], int, ...), a JSON schema as a"
    " mapping, the import path of a type ('package.module:Type'), or a union or a list of these"
)


def members(given: object) -> tuple[Any, ...]:
    """Return the members of an output type, each once, in their order.

    Args:
        given: What a host gave.

    Returns:
        Types, JSON schemas and import paths.

    Raises:
        ValueError: It is none, or has no members.
    """
    found: list[object] = []
    for each in _members(given):
        if not any(each is known or (type(each) is type(known) and each == known) for known in found):
            found.append(each)
    if not found:
        raise ValueError(f"an output type has no members; {_EXPECTED}")
    return tuple(found)


def names(given: Sequence[object]) -> list[object]:
    """Return members with scalars as their names, so that a configuration that becomes data has no builtins in it."""
    by_type = {kind: name for name, kind in SCALARS.items()}
    return [by_type.get(each, each) if isinstance(each, type) else each for each in given]


def _members(given: object) -> Iterator[object]:
    if isinstance(given, list | tuple):
        for each in given:
            yield from _members(each)
    elif get_origin(given) in (Union, types.UnionType):
        for each in get_args(given):
            yield from _members(each)
    elif given is None:
        yield type(None)
    elif isinstance(given, str):
        yield _named(given)
    elif isinstance(given, Mapping):
        yield dict(given)
    elif _may_be_a_type(given):
        yield given
    else:
        raise ValueError(f"a value of type {type(given).__name__} is no output type; {_EXPECTED}")


def _named(given: str) -> object:
    if given in SCALARS:
        return SCALARS[given]
    if all(given.partition(":")):
        return given
    raise ValueError(f"the output type {given!r} is no import path; expected 'package.module:Type'")


def _may_be_a_type(given: object) -> bool:
    """Return whether a value may be a type; whether pydantic can validate it is found out where that is built."""
    if isinstance(given, type) or get_origin(given) is not None or hasattr(given, "__supertype__"):
        return True
    return type(given).__module__ in ("typing", "typing_extensions")
