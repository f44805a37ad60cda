"""Checks of specs against their kinds, and the JSON Schema of a kind.

A problem names file, line, field, what was found and expected, and the name that was probably meant. It never shows the
value of a variable: what was found is shown as it was written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from stategraph.errors import MissingPackageError
from stategraph.resources.env import expand
from stategraph.resources.errors import InvalidResource
from stategraph.resources.kind_table import KINDS, Kind, KindTable
from stategraph.resources.model import NAME, Resource
from stategraph.resources.places import Path, Problem

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic_core import ErrorDetails

_LONGEST_FOUND: Final = 60

_EXPECTED: Final = {
    "missing": "",
    "string_type": "a text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dataclass_type": "a mapping",
}


def check(
    resource: Resource, *, kinds: KindTable = KINDS, environment: Mapping[str, str] | None = None
) -> list[Problem]:
    """Return what is wrong with a resource's spec; empty if nothing is.

    Args:
        resource: The resource.
        kinds: The kinds that there are.
        environment: The variables of `${VAR}`; None for none: those without a default are problems.
    """
    try:
        parsed(resource, kinds=kinds, environment=environment)
    except InvalidResource as error:
        return list(error.problems)
    return []


def parsed(
    resource: Resource, *, kinds: KindTable = KINDS, environment: Mapping[str, str] | None = None
) -> BaseModel | Mapping[str, Any]:
    """Return a resource's spec as the model of its kind, with its variables expanded.

    Returns:
        The model, or the expanded spec itself for a custom kind.

    Raises:
        InvalidResource: It does not fit, a variable is not set, or there is no such kind.
        MissingPackageError: The kind is a custom one with a schema, and `jsonschema` is not installed.
    """
    kind = kinds.get(resource.kind)
    if kind is None:
        near = kinds.suggestion(resource.kind)
        problem = Problem(
            f"the kind '{resource.kind}' is not defined",
            ("kind",),
            resource.source,
            expected="a CustomResourceDefinition of it, or another kind",
            suggestion=near,
            resource=str(resource.key),
        )
        raise InvalidResource([problem], reason="KindNotDefined")
    spec = expanded(resource, environment or {})
    model = kind.model()
    if model is None:
        problems = list(_custom(spec, kind, resource))
        if problems:
            raise InvalidResource(_named(problems, resource))
        return dict(spec)
    from pydantic import ValidationError  # a command that lists resources never gets here

    try:
        return model.model_validate(spec)
    except ValidationError as error:
        found = _of_model(error.errors(include_url=False), spec, resource, spec_schema(kind))
        raise InvalidResource(_named(found, resource)) from None


def expanded(resource: Resource, environment: Mapping[str, str]) -> dict[str, Any]:
    """Return a resource's spec with its variables expanded.

    Raises:
        InvalidResource: A variable is not set.
    """
    missing: list[Problem] = []
    spec: dict[str, Any] = expand(resource.spec, environment, missing, resource.source, ("spec",))
    if missing:
        raise InvalidResource(_named(missing, resource), reason="VariableNotSet")
    return spec


def spec_schema(kind: Kind) -> Mapping[str, Any]:
    """Return the JSON Schema of a kind's spec; an empty one for a custom kind without."""
    model = kind.model()
    return dict(kind.schema or {}) if model is None else _model_schema(model)


def json_schema(kind: Kind) -> dict[str, Any]:
    """Return the JSON Schema of a whole document of a kind, for editors (draft 2020-12)."""
    spec = dict(spec_schema(kind))
    definitions = spec.pop("$defs", {})
    words = {"type": "object", "additionalProperties": {"type": "string"}}
    name = {"type": "string", "pattern": f"^{NAME.pattern}$"}
    fields = {"name": name, "labels": words, "annotations": words}
    if kind.namespaced:
        fields["namespace"] = name
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": kind.name,
        "type": "object",
        "properties": {
            "apiVersion": {"type": "string", "const": f"{kind.group}/v1"}
            if kind.schema is None
            else {"type": "string"},
            "kind": {"type": "string", "enum": [kind.name, *kind.aliases]},
            "metadata": {"type": "object", "properties": fields, "required": ["name"]},
            "spec": spec,
            "status": {"type": "object"},
        },
        "required": ["apiVersion", "kind", "metadata", *(["spec"] if spec.get("required") else [])],
        "additionalProperties": False,
        **({"$defs": definitions} if definitions else {}),
    }


@cache
def _model_schema(model: type[BaseModel]) -> Mapping[str, Any]:
    return model.model_json_schema(by_alias=True)


def _named(problems: Iterable[Problem], resource: Resource) -> list[Problem]:
    return [replace(each, resource=str(resource.key)) for each in problems]


def _of_model(
    errors: Iterable[ErrorDetails], spec: Any, resource: Resource, schema: Mapping[str, Any]
) -> Iterator[Problem]:
    seen = set()
    found = list(errors)
    for error in found:
        if error["type"] == "too_short" and any(_is_in(each, error) for each in found):
            continue  # what is wrong with its elements has left them out
        path = _path(error["loc"], spec, error["type"])
        problem = _problem(error, ("spec", *path), resource, _properties(schema, schema, path[:-1]), spec)
        if (problem.path, problem.message, problem.expected) not in seen:
            seen.add((problem.path, problem.message, problem.expected))
            yield problem


def _is_in(error: ErrorDetails, other: ErrorDetails) -> bool:
    """Return whether an error is inside of the value that another one is about."""
    size = len(other["loc"])
    return len(error["loc"]) > size and error["loc"][:size] == other["loc"]


def _problem(error: ErrorDetails, path: Path, resource: Resource, fields: set[str], spec: Any) -> Problem:
    name = str(path[-1])
    raw = _at(resource.spec, path[1:])
    match error["type"]:
        case "extra_forbidden":
            near = get_close_matches(name, fields, n=1, cutoff=0.6)
            expected = f"one of {', '.join(sorted(fields))}" if fields else ""
            return Problem(f"unknown field '{name}'", path, resource.source, "", expected, near[0] if near else "")
        case "missing":
            near = get_close_matches(name, _names(_at(resource.spec, path[1:-1])), n=1, cutoff=0.75)
            hint = f" (there is '{near[0]}')" if near and near[0] not in fields else ""
            return Problem(f"the field '{name}' is required{hint}", path, resource.source)
        case "literal_error" | "enum":
            choices = str(error.get("ctx", {}).get("expected", "")).replace("'", "")
            near = get_close_matches(str(raw), choices.replace(" or ", ", ").split(", "), n=1, cutoff=0.6)
            expected = f"one of {choices}"
            return Problem("unknown value", path, resource.source, _shown(raw), expected, near[0] if near else "")
        case kind if kind in _EXPECTED:
            return Problem("wrong kind of value", path, resource.source, _shown(raw), _EXPECTED[kind])
    message = _unexpanded(error["msg"].removeprefix("Value error, "), _at(spec, path[1:]), raw)
    return Problem(message[:1].lower() + message[1:], path, resource.source, "" if "found" in message else _shown(raw))


def _path(loc: tuple[int | str, ...], spec: Any, type: str) -> Path:
    """Return the field of an error: its location without the names of a union's members."""
    path: list[int | str] = []
    value: Any = spec
    for number, part in enumerate(loc):
        in_list = isinstance(value, list) and isinstance(part, int) and part < len(value)
        if in_list or (isinstance(value, Mapping) and part in value):
            value = value[part]
        elif not (type == "missing" and number == len(loc) - 1):
            continue
        path.append(part)
    return tuple(path)


def _at(value: Any, path: Path) -> Any:
    """Return the value at a path; None if there is none."""
    inner: Any = value
    for part in path:
        try:
            inner = inner[part]
        except (KeyError, IndexError, TypeError):
            return None
    return inner


def _names(value: Any) -> list[str]:
    return [str(each) for each in value] if isinstance(value, Mapping) else []


def _shown(value: Any) -> str:
    """Return what was written, short."""
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        text = f"a mapping with {', '.join(sorted(map(str, value))) or 'nothing'}"
    elif isinstance(value, list | tuple):
        text = f"a list of {len(value)}"
    else:
        text = repr(value)
    return text if len(text) <= _LONGEST_FOUND else f"{text[: _LONGEST_FOUND - 3]}..."


def _unexpanded(message: str, expanded: Any, raw: Any) -> str:
    """Return a message with what was written in the place of what variables stand for."""
    if isinstance(expanded, str) and isinstance(raw, str):
        return message.replace(expanded, raw) if expanded and expanded != raw else message
    if isinstance(expanded, Mapping) and isinstance(raw, Mapping):
        for key, value in expanded.items():
            message = _unexpanded(message, value, raw.get(key))
    elif isinstance(expanded, list) and isinstance(raw, list | tuple):
        for value, written in zip(expanded, raw, strict=False):
            message = _unexpanded(message, value, written)
    return message


def _properties(schema: Mapping[str, Any], root: Mapping[str, Any], path: Path) -> set[str]:
    """Return the fields that a schema knows at a path, over all of its alternatives."""
    reference = schema.get("$ref")
    if isinstance(reference, str):
        return _properties(root.get("$defs", {}).get(reference.rpartition("/")[2], {}), root, path)
    found: set[str] = set()
    for word in ("anyOf", "oneOf", "allOf"):
        for each in schema.get(word, ()):
            found |= _properties(each, root, path)
    if not path:
        return found | set(schema.get("properties") or ())
    part, rest = path[0], path[1:]
    if isinstance(part, int):
        inner = schema.get("items")
    else:
        inner = (schema.get("properties") or {}).get(part, schema.get("additionalProperties"))
    return found | (_properties(inner, root, rest) if isinstance(inner, Mapping) else set())


def _custom(spec: Any, kind: Kind, resource: Resource) -> Iterator[Problem]:
    """Yield what is wrong with the spec of a custom kind."""
    if not kind.schema:
        return
    try:
        from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # an extra, and only custom kinds need it
    except ImportError as error:
        raise MissingPackageError("stategraph[resources]", f"The schema of the kind {kind.name}") from error
    errors = sorted(Draft202012Validator(kind.schema).iter_errors(spec), key=lambda each: list(map(str, each.path)))
    for each in errors:
        yield from _of_schema(each, resource)


def _of_schema(error: Any, resource: Resource) -> Iterator[Problem]:
    """Yield the problems of one error of `jsonschema`."""
    path: Path = ("spec", *error.absolute_path)
    raw, source = _at(resource.spec, path[1:]), resource.source
    match error.validator:
        case "additionalProperties" if isinstance(error.instance, Mapping):
            fields = set(error.schema.get("properties") or ())
            for name in sorted(set(error.instance) - fields):
                near = get_close_matches(name, fields, n=1, cutoff=0.6)
                expected = f"one of {', '.join(sorted(fields))}"
                yield Problem(f"unknown field '{name}'", (*path, name), source, "", expected, near[0] if near else "")
        case "required" if isinstance(error.instance, Mapping):
            for name in (each for each in error.validator_value if each not in error.instance):
                yield Problem(f"the field '{name}' is required", (*path, name), source)
        case "type":
            yield Problem("wrong kind of value", path, source, _shown(raw), str(error.validator_value))
        case "enum":
            choices = [str(choice) for choice in error.validator_value]
            near = get_close_matches(str(raw), choices, n=1, cutoff=0.6)
            expected = f"one of {', '.join(choices)}"
            yield Problem("unknown value", path, source, _shown(raw), expected, near[0] if near else "")
        case _:
            yield Problem(_unexpanded(error.message, error.instance, raw), path, source)
