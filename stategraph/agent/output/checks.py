"""Validation of what models give: by pydantic for types, by `jsonschema` for JSON schemas.

- Values are validated as JSON: a strict model takes a date as a text, and a set as a list.
- A JSON schema that refers to an address is not fetched: what it cannot resolve by itself is an error of the schema.
- Both are built once for each type or schema and used again.
"""

from __future__ import annotations

import json
import sys
import typing
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Annotated, Any, Protocol, get_args, get_origin

import typing_extensions
from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic_core import ErrorDetails, PydanticSerializationError, to_json

from stategraph.agent.messages import encodable
from stategraph.agent.output.schemas import Schema
from stategraph.errors import ConfigurationError, MissingPackageError

_KEPT = 256
_REFERRING = ("$ref", "$dynamicRef", "$recursiveRef")
_MOST_PROBLEMS = 20
_SHOWN_CHARS = 80
_PROBLEM_CHARS = 400


class InvalidOutput(ValueError):
    """A value that does not fit.

    Attributes:
        problems: What is wrong with it, a sentence each, for the model.
    """

    def __init__(self, *found: str) -> None:
        super().__init__("; ".join(found))
        self.problems = found


class Check(Protocol):
    """Validates values of one member of an output type."""

    @property
    def schema(self) -> Schema:
        """The member's JSON schema."""

    def typed(self, value: object) -> Any:
        """Return a value as one of the member's type.

        Args:
            value: JSON.

        Raises:
            InvalidOutput: It does not fit.
        """

    def json(self, value: object) -> object:
        """Return a value of the member's type as JSON, with the defaults that were filled in."""


class TypeCheck:
    """Validates by a type.

    Args:
        kind: The type.

    Raises:
        ConfigurationError: Pydantic cannot validate it, or has no JSON schema for it.
    """

    def __init__(self, kind: Any) -> None:
        try:
            self._adapter: TypeAdapter[Any] = TypeAdapter(_portable(kind))
            self._schema = self._adapter.json_schema()
        except PydanticUserError as error:
            raise ConfigurationError(
                f"the output type {_name(kind)} cannot be used: {_problem(error)}. Expected a type that pydantic can "
                "validate and describe as a JSON schema"
            ) from error

    @property
    def schema(self) -> Schema:
        """The type's JSON schema."""
        return self._schema

    def typed(self, value: object) -> Any:
        """Return a value as one of the type, see `Check`."""
        try:
            return self._adapter.validate_json(to_json(value))
        except ValidationError as error:
            found = [_sentence(each) for each in error.errors(include_url=False, include_context=False)]
        raise InvalidOutput(*_some(found))

    def json(self, value: object) -> object:
        """Return a value of the type as JSON, see `Check`."""
        return self._adapter.dump_python(value, mode="json", by_alias=True)


class SchemaCheck:
    """Validates by a JSON schema.

    Args:
        schema: The schema.

    Raises:
        ConfigurationError: It is no valid schema, or refers to something that it does not contain.
        MissingPackageError: `jsonschema` is not installed.
    """

    def __init__(self, schema: Schema) -> None:
        try:
            # 0.15 s, and an extra: only where a schema is given as a mapping.
            from jsonschema.exceptions import SchemaError  # type: ignore[import-untyped]
            from jsonschema.validators import Draft202012Validator, validator_for  # type: ignore[import-untyped]
            from referencing import Registry
        except ImportError as error:
            raise MissingPackageError(
                "stategraph[jsonschema]", "An output type that is given as a JSON schema"
            ) from error
        dialect = validator_for(schema, default=Draft202012Validator)
        try:
            dialect.check_schema(schema)
        except SchemaError as error:
            raise ConfigurationError(
                f"the output type is a mapping that is no valid JSON schema: {error.message} at {error.json_path}"
            ) from error
        _check_references(schema)
        self._schema = schema
        # A registry of our own: the default one fetches what a schema refers to from the network.
        self._validator = dialect(schema, registry=Registry(), format_checker=dialect.FORMAT_CHECKER)

    @property
    def schema(self) -> Schema:
        """The schema."""
        return self._schema

    def typed(self, value: object) -> Any:
        """Return a value that fits as it is, see `Check`.

        Raises:
            ConfigurationError: The schema refers to something that it does not contain.
        """
        from referencing.exceptions import Unresolvable

        try:
            found = [
                f"{each.json_path.removeprefix('$').removeprefix('.')}: {each.message}".removeprefix(": ")
                for each in self._validator.iter_errors(value)
            ]
        except Unresolvable as error:  # in a place where schemas of this dialect have no schemas
            raise _leads_nowhere(error.ref) from error
        if found:
            raise InvalidOutput(*_some(found))
        return value

    def json(self, value: object) -> object:
        """Return the value: it is JSON."""
        return value


def _check_references(schema: Schema) -> None:
    """See that all that a schema refers to is in it.

    Raises:
        ConfigurationError: Something is not.
    """
    from referencing import Registry
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012, specification_with

    dialect = schema.get("$schema")
    root = specification_with(dialect if isinstance(dialect, str) else "", default=DRAFT202012).create_resource(schema)
    registry: Registry[Any] = Registry()
    left = [(root, registry.resolver_with_root(root))]
    while left:
        part, resolver = left.pop()
        for keyword in _REFERRING if isinstance(part.contents, Mapping) else ():
            if isinstance(reference := part.contents.get(keyword), str):
                try:
                    resolver.lookup(reference)
                except Unresolvable as error:
                    raise _leads_nowhere(reference) from error
        left.extend((each, resolver.in_subresource(each)) for each in part.subresources())


def _problem(error: PydanticUserError) -> str:
    """Return what pydantic found, without its advice about its own settings."""
    return error.message.partition("\n")[0].partition(". Set ")[0].rstrip(".")


def _leads_nowhere(reference: str) -> ConfigurationError:
    return ConfigurationError(
        f"The JSON schema of an output type refers to {reference!r}, which is not in it, and addresses are not "
        "fetched: put what it refers to among its '$defs'"
    )


def check_of(member: object) -> Check:
    """Return the check of a member of an output type; the same one for the same member.

    Args:
        member: A type, or a JSON schema.

    Raises:
        ConfigurationError: It cannot be used.
        MissingPackageError: It needs a package that is not installed.
    """
    if isinstance(member, Mapping):
        return _of_schema(json.dumps(member))
    try:
        return _of_type(member)
    except TypeError:  # a type with something in it that has no hash
        return TypeCheck(member)


@lru_cache(_KEPT)
def _of_schema(schema: str) -> Check:
    return SchemaCheck(json.loads(schema))


@lru_cache(_KEPT, typed=True)
def _of_type(kind: object) -> Check:
    return TypeCheck(kind)


def as_json(check: Check, value: object, given: object) -> object:
    """Return a typed value as JSON; as the model gave it if its type has no such form.

    Args:
        check: The member's check.
        value: The typed value.
        given: What the model gave.
    """
    try:
        return check.json(value)
    except (PydanticSerializationError, TypeError, ValueError):
        return given


# Sentences.


def _sentence(problem: ErrorDetails) -> str:
    where = ".".join(map(str, problem["loc"]))
    said = problem["msg"]
    if problem["type"] != "missing" and not isinstance(problem["input"], dict | list):
        said = f"{said}, found {_shown(problem['input'])}"
    return f"{where}: {said}" if where else str(said)


def _shown(value: object) -> str:
    text = encodable.encodable(repr(value))
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}..."


def _some(found: list[str]) -> Iterator[str]:
    for each in found[:_MOST_PROBLEMS]:
        yield each if len(each) <= _PROBLEM_CHARS else f"{each[:_PROBLEM_CHARS]}..."
    if len(found) > _MOST_PROBLEMS:
        yield f"and {len(found) - _MOST_PROBLEMS} more"


def _name(kind: object) -> str:
    return repr(getattr(kind, "__qualname__", None) or str(kind))


# TypedDicts of Python before 3.12, which lack what pydantic needs.


def _portable(kind: object) -> Any:
    """Return a type in which each TypedDict is one that pydantic takes, also on Python before 3.12."""
    return kind if sys.version_info >= (3, 12) else _replaced(kind, {})


def _replaced(kind: Any, made: dict[Any, Any]) -> Any:
    if typing.is_typeddict(kind):
        return _typed_dict(kind, made)
    arguments = get_args(kind)
    origin = get_origin(kind)
    if not arguments or origin is typing.Literal:
        return kind
    if origin is Annotated:
        inner = _replaced(arguments[0], made)
        return kind if inner is arguments[0] else Annotated[(inner, *arguments[1:])]
    changed = tuple(_replaced(each, made) for each in arguments)
    if all(new is old for new, old in zip(changed, arguments, strict=True)):
        return kind
    return kind.copy_with(changed) if hasattr(kind, "copy_with") else _generic(kind, changed)


def _generic(kind: Any, arguments: tuple[Any, ...]) -> Any:
    if get_origin(kind) is typing.types.UnionType:  # type: ignore[attr-defined]
        return typing.Union[arguments]  # noqa: UP007 (of values)
    return get_origin(kind)[arguments]


def _typed_dict(kind: Any, made: dict[Any, Any]) -> Any:
    if isinstance(kind, typing_extensions._TypedDictMeta):  # type: ignore[attr-defined]
        return kind
    if kind in made:
        return made[kind]
    made[kind] = kind  # a recursive one stays as it is, and pydantic says what to use
    hints = typing.get_type_hints(kind, include_extras=True)
    fields = {}
    for name, hint in hints.items():
        # Annotations that are texts do not tell the class itself.
        required: Any = typing.Required if name in kind.__required_keys__ else typing.NotRequired
        if get_origin(hint) in (typing.Required, typing.NotRequired):
            required, (hint,) = get_origin(hint), get_args(hint)
        fields[name] = required[_replaced(hint, made)]
    made[kind] = typing_extensions.TypedDict(kind.__name__, fields)  # type: ignore[operator]
    made[kind].__doc__ = kind.__doc__
    return made[kind]
