"""Bodies of requests, checked against their schemas, with the messages that LangGraph's server gives.

The schemas are the part of JSON Schema that requests need: `type`, `properties`, `required`, `enum`, `items`,
`minimum`, `maximum`, `maxProperties`, `additionalProperties` and `anyOf`. Fields that a schema does not name are let
through.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias
from uuid import UUID

from starlette.requests import Request

from stategraph.server.service.values import InvalidError

Schema: TypeAlias = Mapping[str, Any]

#: The largest whole number that the databases take.
_MOST: Final = 2**63 - 1


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_TYPES: Final[Mapping[str, Callable[[Any], bool]]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: _is_number(value) and -_MOST <= value <= _MOST and float(value).is_integer(),
    "number": _is_number,
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}

#: Values that are named in a message about others.
_NAMED: Final = 2


async def body_of(request: Request, schema: Schema, *, optional: bool = False) -> Any:
    """Return the body of a request.

    Args:
        request: The request.
        schema: What it has to be.
        optional: Whether there may be none, which is an empty object.

    Raises:
        InvalidError: It is no JSON, or not what the schema says.
    """
    raw = await request.body()
    if optional and not raw:
        return {}
    try:
        value = json.loads(raw, parse_constant=_refused)
        json.dumps(value, ensure_ascii=False).encode()  # half of a character is in no encoding
    except (ValueError, RecursionError):
        raise InvalidError("Invalid JSON in request body") from None
    for problem in problems(value, schema):
        raise InvalidError(problem)
    return value


def _refused(name: str) -> Any:
    raise ValueError(name)


def problems(value: Any, schema: Schema) -> Iterator[str]:
    """Yield what is wrong with a value, as sentences with the places in the schema and in the value."""
    for message, keyword, places, where, instance in _found(value, schema, (), ()):
        at = "".join(f"[{json.dumps(each)}]" for each in places)
        on = "".join(f"[{json.dumps(each)}]" for each in where)
        yield f'{message}\n\nFailed validating "{keyword}" in schema{at}\n\nOn instance{on}:\n    {_shown(instance)}'


_Found: TypeAlias = tuple[str, str, tuple[str, ...], tuple[str | int, ...], Any]


def _found(value: Any, schema: Schema, places: tuple[str, ...], where: tuple[str | int, ...]) -> Iterator[_Found]:
    named = schema.get("type")
    kinds = [named] if isinstance(named, str) else list(named or ())
    if kinds and not any(_TYPES[kind](value) for kind in kinds):
        expected = ", ".join(f'"{kind}"' for kind in kinds)
        word = "type" if len(kinds) == 1 else "types"
        yield f"{_shown(value)} is not of {word} {expected}", "type", places, where, value
        return
    for keyword, check in _CHECKS.items():
        if keyword in schema and (message := check(value, schema[keyword])) is not None:
            yield message, keyword, places, where, value
    for each, below, step, name in _parts(value, schema):
        yield from _found(each, below, (*places, *step), (*where, name))


def _parts(value: Any, schema: Schema) -> Iterator[tuple[Any, Schema, tuple[str, ...], str | int]]:
    """Yield the values inside of a value, with their schemas, and where both are."""
    if isinstance(value, dict):
        named = schema.get("properties", {})
        for name in named.keys() & value.keys():
            yield value[name], named[name], ("properties", name), name
        if (others := schema.get("additionalProperties")) is not None:
            for name, each in value.items():
                yield each, others, ("additionalProperties",), name
    if isinstance(value, list) and "items" in schema:
        for index, each in enumerate(value):
            yield each, schema["items"], ("items",), index


def _missing(value: Any, names: Sequence[str]) -> str | None:
    absent = [name for name in names if isinstance(value, dict) and name not in value]
    return f'"{absent[0]}" is a required property' if absent else None


def _outside(value: Any, choices: Sequence[Any]) -> str | None:
    return None if any(_same(value, each) for each in choices) else f"{_shown(value)} is not one of {_choices(choices)}"


def _below(value: Any, least: int) -> str | None:
    return f"{_shown(value)} is less than the minimum of {least}" if _is_number(value) and value < least else None


def _above(value: Any, most: int) -> str | None:
    return f"{_shown(value)} is greater than the maximum of {most}" if _is_number(value) and value > most else None


def _fits_none(value: Any, schemas: Sequence[Schema]) -> str | None:
    if any(not list(_found(value, each, (), ())) for each in schemas):
        return None
    return f"{_shown(value)} is not valid under any of the schemas listed in the 'anyOf' keyword"


def _too_many(value: Any, most: int) -> str | None:
    return f"{_shown(value)} has more than {most} properties" if isinstance(value, dict) and len(value) > most else None


#: By a keyword of schemas, what says how a value is wrong; None if it is not.
_CHECKS: Final[Mapping[str, Callable[[Any, Any], str | None]]] = {
    "enum": _outside,
    "minimum": _below,
    "maximum": _above,
    "anyOf": _fits_none,
    "maxProperties": _too_many,
    "required": _missing,
}


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _choices(values: Sequence[Any]) -> str:
    named = [_shown(each) for each in values[:_NAMED]]
    if len(values) <= _NAMED:
        return " or ".join(named)
    return f"{', '.join(named)} or {len(values) - _NAMED} other candidates"


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def id_of(request: Request, name: str, of: str) -> str:
    """Return an id from the path of a request.

    Args:
        request: The request.
        name: The name of the parameter.
        of: What it is the id of.

    Raises:
        InvalidError: It is no UUID.
    """
    return checked_id(request.path_params[name], of)


def checked_id(value: Any, of: str) -> str:
    """Return an id as it is kept: a UUID in lower case.

    Raises:
        InvalidError: It is no UUID.
    """
    try:
        return str(UUID(value))
    except (ValueError, AttributeError, TypeError):
        raise InvalidError(f"Invalid {of} ID: must be a UUID") from None
