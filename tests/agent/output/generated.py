"""Random output types with answers that fit them and answers that do not, from a seed.

What a valid answer has to come out as is made here by the constructors of the types themselves: neither pydantic's
validation nor the package's is asked.
"""

from __future__ import annotations

import dataclasses
import enum
import string
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from random import Random
from typing import Any, Literal

import pydantic
import typing_extensions

Json = Any

FLAVOURS = ("pydantic", "dataclass", "typed_dict", "json_schema", "other")


@dataclass(frozen=True)
class Kind:
    """A type with its values.

    Attributes:
        annotation: The type.
        schema: Its JSON schema.
        valid: Makes a JSON value of the type.
        python: The value of the type for a valid JSON value.
        invalid: Makes a JSON value that is none of the type.
    """

    annotation: Any
    schema: dict[str, Any]
    valid: Callable[[Random], Json]
    python: Callable[[Json], Any]
    invalid: Callable[[Random], Json]
    is_object: bool = False


@dataclass(frozen=True)
class Case:
    """An output type and the kinds that are its members, in order."""

    number: int
    output_type: Any
    members: list[Kind] = field(default_factory=list)


def same(value: Json) -> Json:
    return value


def word(random: Random) -> str:
    return "".join(random.choices(string.ascii_lowercase, k=random.randint(1, 8)))


def _leaf(random: Random) -> Kind:
    match random.randrange(8):
        case 0:
            return Kind(int, {"type": "integer"}, lambda r: r.randint(-99, 99), same, lambda r: word(r))
        case 1:
            return Kind(float, {"type": "number"}, lambda r: r.randint(-99, 99) / 4, float, lambda r: [word(r)])
        case 2:
            return Kind(str, {"type": "string"}, word, same, lambda r: r.randint(0, 9))
        case 3:
            return Kind(bool, {"type": "boolean"}, lambda r: r.random() < 0.5, same, lambda r: [r.random()])
        case 4:
            words = [f"{word(random)}{number}" for number in range(3)]
            literal: Any = Literal.__getitem__(tuple(words))  # type: ignore[attr-defined]
            return Kind(literal, {"enum": words}, lambda r: r.choice(words), same, lambda r: f"no {word(r)}")
        case 5:
            chosen = enum.Enum("Chosen", {f"M{number}": f"{word(random)}{number}" for number in range(3)})
            values = [each.value for each in chosen]
            return Kind(chosen, {"enum": values}, lambda r: r.choice(values), chosen, lambda r: f"no {word(r)}")
        case 6:
            schema = {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}$"}
            return Kind(date, schema, lambda r: f"2026-0{r.randint(1, 9)}-11", date.fromisoformat, lambda r: word(r))
        case _:
            return Kind(
                int | None,
                {"type": ["integer", "null"]},
                lambda r: r.choice([None, r.randint(0, 9)]),
                same,
                lambda r: [word(r)],
            )


def _listed(inner: Kind) -> Kind:
    def invalid(random: Random) -> Json:
        return random.choice([word(random), [inner.valid(random), inner.invalid(random)]])

    return Kind(
        list[inner.annotation],  # type: ignore[name-defined]
        {"type": "array", "items": inner.schema},
        lambda r: [inner.valid(r) for _ in range(r.randint(0, 3))],
        lambda values: [inner.python(each) for each in values],
        invalid,
    )


def _by_name(inner: Kind) -> Kind:
    return Kind(
        dict[str, inner.annotation],  # type: ignore[name-defined]
        {"type": "object", "additionalProperties": inner.schema},
        lambda r: {word(r): inner.valid(r) for _ in range(r.randint(0, 3))},
        lambda values: {key: inner.python(each) for key, each in values.items()},
        lambda r: {word(r): inner.invalid(r)},
        is_object=True,
    )


def kind(random: Random, flavour: str, depth: int = 0) -> Kind:
    """A kind for a field; below a JSON schema, one that has no types."""
    inner = _leaf(random)
    if flavour == "json_schema":
        inner = dataclasses.replace(inner, python=same)
    match random.randrange(6):
        case 0:
            return _listed(inner)
        case 1:
            return _by_name(inner)
        case 2 if depth < 2:
            return _object(random, flavour, depth + 1)
        case 3 if depth < 2:
            return _listed(_object(random, flavour, depth + 1))
    return inner


def _object(random: Random, flavour: str, depth: int = 0) -> Kind:
    fields = {f"{word(random)}_{number}": kind(random, flavour, depth) for number in range(random.randint(1, 4))}
    optional = {name for name in list(fields)[1:] if random.random() < 0.3}
    name = word(random).title()
    build: Callable[..., Any]
    annotation: Any
    match flavour:
        case "pydantic":
            given: Any = {
                each: (of.annotation | None, None) if each in optional else (of.annotation, ...)
                for each, of in fields.items()
            }
            annotation = build = pydantic.create_model(name, **given)
        case "dataclass":
            required = [(each, of.annotation) for each, of in fields.items() if each not in optional]
            others: Any = [
                (each, of.annotation | None, dataclasses.field(default=None))
                for each, of in fields.items()
                if each in optional
            ]
            annotation = build = dataclasses.make_dataclass(name, [*required, *others])
        case _:
            hints: Any = {
                each: typing_extensions.NotRequired[of.annotation] if each in optional else of.annotation
                for each, of in fields.items()
            }
            annotation, build = typing_extensions.TypedDict(name, hints), dict  # type: ignore[operator]
    schema = {
        "title": name,
        "type": "object",
        "properties": {each: of.schema for each, of in fields.items()},
        "required": [each for each in fields if each not in optional],
    }

    def valid(random: Random) -> Json:
        given = [each for each in fields if each not in optional or random.random() < 0.5]
        return {each: fields[each].valid(random) for each in given}

    def python(value: Json) -> Any:
        return build(**{each: fields[each].python(inner) for each, inner in value.items()})

    def invalid(random: Random) -> Json:
        value, broken = valid(random), random.choice(schema["required"])  # type: ignore[arg-type]
        if random.random() < 0.3:
            del value[broken]
        else:
            value[broken] = fields[broken].invalid(random)
        return value

    return Kind(schema if depth == 0 and flavour == "json_schema" else annotation, schema, valid, python, invalid, True)


def _member(random: Random, flavour: str) -> Kind:
    if flavour != "other":
        return _object(random, flavour)
    # Any text would be one, and none invalid.
    leaf = next(each for each in iter(lambda: _leaf(random), None) if each.annotation not in (str, int | None))
    return random.choice([leaf, _listed(leaf), _by_name(leaf)])


def case(seed: int, number: int) -> Case:
    """One of the cases of a seed: every fifth is of a flavour, and a third are unions."""
    random = Random(f"{seed}:{number}")
    flavour = FLAVOURS[number % len(FLAVOURS)]
    if number % 3 != 2:
        member = _member(random, flavour)
        return Case(number, member.annotation, [member])
    several = [_member(random, random.choice(FLAVOURS)) for _ in range(random.randint(1, 2))]
    members = [_member(random, flavour), *several]
    kept: list[Kind] = []
    for each in members:
        if all(each.annotation is not other.annotation and each.annotation != other.annotation for other in kept):
            kept.append(each)
    return Case(number, [each.annotation for each in kept], kept)
