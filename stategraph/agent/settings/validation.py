"""Settings as hosts give them: in either spelling, checked, and refused in sentences.

- A setting may be spelled as in Python (`agent_id`) or as on the wire (`agentId`). Unknown ones are refused; None is
  the same as not given.
- Settings are made as values, or by `checked` of what hosts give. The error of both has a sentence for each problem:
  the field as the host spelled it, what was found, what was expected, and for an unknown field the nearest known one.
- Values of fields that may hold secrets (those kept out of the `repr`) are never shown, nor are unknown fields'.
"""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar, cast, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticKnownError
from typing_extensions import get_protocol_members

from stategraph.errors import ConfigurationError

_EXPECTED = {
    "bool_type": "True or False",
    "callable_type": "a function",
    "dataclass_type": "a mapping",
    "dict_type": "a mapping",
    "finite_number": "a finite number",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "model_type": "a mapping",
    "string_type": "a text",
    "too_short": "at least one",
    "tuple_type": "a list",
}
"""Plain words for pydantic's terms."""


T = TypeVar("T")


def _on_the_wire(name: str) -> str:
    """Return the name of a field on the wire; an underscore at the end avoids a word of Python's."""
    return to_camel(name.rstrip("_"))


def _several(given: object) -> object:
    # A model of pydantic is a sequence of its fields to pydantic.
    if isinstance(given, BaseModel):
        raise PydanticKnownError("tuple_type")
    return given


if TYPE_CHECKING:
    Several: TypeAlias = Sequence[T]
    """A field that takes any sequence, such as a list, and has a tuple."""
else:

    class Several:
        """A field that takes any sequence, such as a list, and has a tuple."""

        def __class_getitem__(cls, item: Any) -> Any:
            return Annotated[tuple[item, ...], BeforeValidator(_several)]


class Settings(BaseModel):
    """The base of everything that a host configures."""

    model_config = ConfigDict(
        alias_generator=_on_the_wire,
        arbitrary_types_allowed=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        populate_by_name=True,
        protected_namespaces=(),
    )

    if not TYPE_CHECKING:  # type checkers know the fields of each class

        def __init__(self, **given: Any) -> None:
            try:
                super().__init__(**given)
                return
            except ValidationError as error:
                problems = explain(error, type(self), given)
            # Not from within the handler, as in `checked`.
            raise ConfigurationError(problems)

        # As pydantic's own: else it would be called for values within others, whose errors have to be told together.
        __init__.__pydantic_base_init__ = True

    @model_validator(mode="before")
    @classmethod
    def _without_none(cls, given: Any) -> Any:
        if not isinstance(given, Mapping) or None not in given.values():
            return given
        return {name: value for name, value in given.items() if value is not None}


S = TypeVar("S", bound=Settings)


def checked(kind: type[S], given: object) -> S:
    """Validate settings from a host.

    Args:
        kind: The settings wanted.
        given: Such settings, which are returned as they are, or a mapping in either spelling.

    Returns:
        The settings.

    Raises:
        ConfigurationError: They make no sense; a sentence for each problem.
    """
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        problems = explain(error, kind, given)
    # Not from within the handler: a chained error would show what `explain` leaves out.
    raise ConfigurationError(problems)


def explain(error: ValidationError, kind: type[BaseModel], given: object, *, values: bool = True) -> str:
    """Describe the errors in settings, a line for each problem.

    Args:
        error: The error of pydantic.
        kind: The settings that were wanted.
        given: The host's settings, from which the spelling is taken.
        values: Whether to show values of fields that do not say that they are secret.

    Returns:
        The lines.
    """
    problems: dict[str, list[str]] = {}
    for each in error.errors(include_url=False):
        found, expected = _sentence(_find(kind, given, each["loc"]), each, values)
        problems.setdefault(found, []).extend(expected)
    # A field that takes several types has a problem with each of them.
    return "\n".join(found + " or ".join(dict.fromkeys(expected)) for found, expected in problems.items())


def unknown_fields(kind: type[BaseModel], given: Mapping[str, object]) -> str:
    """Describe the fields of a mapping that settings do not have, a line for each; empty if there are none.

    Args:
        kind: The settings that were wanted.
        given: The host's settings.
    """
    names = [name for name, value in given.items() if value is not None and _field(kind, name)[1] is None]
    return "\n".join(_unknown(_Spot(name, given[name], None, kind, _is_snake(given))) for name in names)


@dataclass(frozen=True, slots=True)
class _Spot:
    """The location of a problem.

    Attributes:
        path: The way there as the host spelled it; empty for the settings as a whole.
        value: The value there; None if there is none.
        field: The field; None for an unknown one.
        owner: The settings that it is a field of.
        snake: Whether those are spelled as in Python.
    """

    path: str
    value: object
    field: FieldInfo | None
    owner: type[BaseModel]
    snake: bool


def _find(kind: type[BaseModel], given: object, steps: Sequence[str | int]) -> _Spot:
    """Follow pydantic's way through what was given; it names members of a union too, which are no part of that."""
    spot = _Spot("", given, None, kind, _is_snake(given))
    inner: type[BaseModel] | None = kind
    for step in steps:
        name, field = _field(inner, step)
        if field is not None and inner is not None and isinstance(spot.value, Mapping):
            snake = _is_snake(spot.value)
            key = next((each for each in (step, name) if each in spot.value), name if snake else step)
            spot = _Spot(_join(spot.path, key), spot.value.get(key), field, inner, snake)
            inner = next(_settings_in(field.annotation), None)
        elif isinstance(spot.value, Mapping) and step in spot.value:
            path, snake = _join(spot.path, step), _is_snake(spot.value)
            spot = _Spot(path, spot.value[step], spot.field, inner or spot.owner, snake)
        elif isinstance(step, int) and isinstance(spot.value, Sequence) and step < len(spot.value):
            spot = _Spot(f"{spot.path}[{step}]", spot.value[step], spot.field, spot.owner, spot.snake)
    return spot


def _join(path: str, key: str | int) -> str:
    return f"{path}.{key}" if path else str(key)


def _field(kind: type[BaseModel] | None, step: str | int) -> tuple[str | int, FieldInfo | None]:
    """Return the field that is meant, which pydantic names by its alias."""
    for name, field in kind.model_fields.items() if kind is not None else ():
        if step in (name, field.alias):
            # An underscore at the end avoids a word of Python's; it is not used in mappings.
            return step if name.endswith("_") else name, field
    return step, None


def _settings_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _settings_in(argument)


def _is_snake(given: object) -> bool:
    """Return whether settings are spelled as in Python; True if nothing in them tells."""
    return not (isinstance(given, Mapping) and any(key != key.lower() for key in given if isinstance(key, str)))


def _sentence(spot: _Spot, problem: Mapping[str, Any], values: bool) -> tuple[str, list[str]]:
    """Return what was found, and what was expected."""
    where = f"{spot.path!r}" if spot.path else spot.owner.__name__
    match problem["type"]:
        case "extra_forbidden" if (twice := _field(spot.owner, problem["loc"][-1])[1]) is not None:
            return f"{where} is given in both spellings (as {twice.alias!r} too); give it once", []
        case "extra_forbidden":
            return _unknown(spot), []
        case "unexpected_keyword_argument":
            return f"{where} is not known there", []
        case "missing":
            return f"{where} is missing from {spot.owner.model_config.get('title') or spot.owner.__name__}", []
        case "value_error":
            return f"{where}: {problem['ctx']['error']}" if spot.path else str(problem["ctx"]["error"]), []
        case "is_instance_of" if spot.field is not None and (
            parts := _interface(spot.field.annotation, problem["ctx"]["class"].partition("[")[0])
        ):
            return f"{where} is {_shown(spot, values)}, expected ", [parts]
        case kind:
            return f"{where} is {_shown(spot, values)}, expected ", [_EXPECTED.get(kind) or _expected(problem["msg"])]


def _unknown(spot: _Spot) -> str:
    where = f"{spot.path!r}" if spot.path else spot.owner.__name__
    return f"{where} is not a {_noun(spot.owner)}{_hint(spot)}"


def _noun(kind: type[BaseModel]) -> str:
    """Return what a field of settings is: those with a title stand for the arguments of what it names."""
    title = kind.model_config.get("title")
    return f"setting of {title}" if title else f"field of {kind.__name__}"


def _interface(annotation: object, name: str) -> str | None:
    """Return what an object has to have, if a field asks for a protocol by its methods; None: it asks for a class."""
    kind = cast("type", annotation)
    while hasattr(kind, "__origin__"):
        kind = kind.__origin__
    if getattr(kind, "__name__", None) == name and getattr(kind, "_is_protocol", False):
        return f"an object with {', '.join(sorted(get_protocol_members(kind)))}, see {kind.__module__}.{name}"
    return next((found for each in get_args(annotation) if (found := _interface(each, name)) is not None), None)


def _expected(message: str) -> str:
    for start in ("Input should be ", "String should have ", "Value should have "):
        message = message.removeprefix(start)
    return message.partition(", unable")[0]


def _shown(spot: _Spot, values: bool) -> str:
    value = spot.value
    if value is None:
        return "None"
    if isinstance(value, Sequence | Mapping) and not value:
        return "empty"
    if values and isinstance(value, str | int | float) and spot.field is not None and spot.field.repr:
        return reprlib.repr(value)
    return f"a value of type {type(value).__name__}"


def _hint(spot: _Spot) -> str:
    """Return a hint: the nearest known field, or all of them."""
    wanted = spot.path.rpartition(".")[2]
    snake = "_" in wanted or (spot.snake and wanted == wanted.lower())
    known = [name if snake else field.alias or name for name, field in spot.owner.model_fields.items()]
    for near in difflib.get_close_matches(wanted, known, n=1):
        return f"; did you mean {near!r}?"
    return f"; known are {', '.join(sorted(known))}"
