"""JSON schemas in the forms that models take: objects at the top, one schema of several members, strict ones.

- References into a schema (`#/...`) stay right where it becomes a part of another one: its definitions move to the top,
  under another name if theirs is taken, and other references are led to its new place.
- A schema is made strict for a provider only if that shuts out no answer that it means: each property is required, no
  object is open on purpose, and nothing in it is unknown to such modes
  (https://platform.openai.com/docs/guides/structured-outputs).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias, cast

Schema: TypeAlias = dict[str, Any]

#: The property that holds a value which is no object, or one of several.
VALUE: Final = "value"
#: The property that says which of several members the value is.
KIND: Final = "kind"

_DEFINITIONS = ("$defs", "definitions")
_LOCAL = re.compile(r"#/(\$defs|definitions)/([^/]+)(.*)", re.DOTALL)

#: Keywords that hold one schema, several, or several by name.
_ONE = ("items", "additionalProperties", "not", "contains", "propertyNames", "if", "then", "else", "unevaluatedItems")
_SEVERAL = ("anyOf", "oneOf", "allOf", "prefixItems")
_NAMED = ("properties", "patternProperties", "dependentSchemas", *_DEFINITIONS)

_STRICT_KEYWORDS = frozenset(
    {
        *("type", "properties", "required", "additionalProperties", "items", "anyOf", "enum", "const", "$ref", "$defs"),
        *("description", "title", "pattern", "format", "multipleOf", "maximum", "exclusiveMaximum", "minimum"),
        *("exclusiveMinimum", "minItems", "maxItems"),
    }
)
_STRICT_FORMATS = frozenset(("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"))


def resolved_root(schema: Schema) -> Schema:
    """Return a schema whose root is no mere reference to one of its definitions, as that of a recursive type is.

    Args:
        schema: A schema. It is not changed.
    """
    seen: set[str] = set()
    while isinstance(reference := schema.get("$ref"), str) and reference not in seen:
        seen.add(reference)
        found = _LOCAL.fullmatch(reference)
        definitions = {key: schema[key] for key in _DEFINITIONS if key in schema}
        target = None if found is None or found[3] else definitions.get(found[1], {}).get(_unescaped(found[2]))
        if not isinstance(target, dict):
            break
        schema = {**definitions, **target, **{key: each for key, each in schema.items() if key != "$ref"}}
    return schema


def is_object(schema: Schema) -> bool:
    """Return whether every value of a schema is an object, so that it can be a tool's arguments as it is."""
    return schema.get("type") == "object"


def wrapped(schema: Schema) -> Schema:
    """Return the schema of an object whose one property is a value of another schema."""
    whole = _Composition()
    return whole.finished({VALUE: whole.part(schema, f"#/properties/{VALUE}")}, ())


def one_of(schemas: Mapping[str, Schema]) -> Schema:
    """Return the schema of an object with the name of one of several members, and its value.

    Args:
        schemas: The members' schemas by their names.
    """
    whole = _Composition()
    parts = [whole.part(each, f"#/properties/{VALUE}/anyOf/{place}") for place, each in enumerate(schemas.values())]
    kind = {"type": "string", "enum": list(schemas), "description": "Which of the schemas the value has."}
    return whole.finished({KIND: kind, VALUE: {"anyOf": parts}}, (KIND,))


class _Composition:
    """A schema that is put together of others, whose definitions it takes over."""

    def __init__(self) -> None:
        self._definitions: Schema = {}

    def part(self, schema: Schema, place: str) -> Schema:
        """Return a schema as a part of this one.

        Args:
            schema: The schema.
            place: Where it will be, as a JSON pointer with `#` before it.
        """
        renamed: dict[tuple[str, str], str] = {}
        own = [(key, name, each) for key in _DEFINITIONS for name, each in (schema.get(key) or {}).items()]
        for key, name, each in own:
            taken = name
            while taken in self._definitions and self._definitions[taken] != each:
                taken += "_"
            renamed[key, name] = taken
            self._definitions.setdefault(taken, each)

        def led(reference: str) -> str:
            found = _LOCAL.fullmatch(reference)
            if found is not None and (new := renamed.get((found[1], _unescaped(found[2])))) is not None:
                return f"#/$defs/{_escaped(new)}{found[3]}"
            return place + reference[1:] if reference.startswith("#") else reference

        for key, name, each in own:
            self._definitions[renamed[key, name]] = _with_references(each, led)
        rest = {key: each for key, each in schema.items() if key not in (*_DEFINITIONS, "$schema", "$id")}
        return cast("Schema", _with_references(rest, led))

    def finished(self, properties: Schema, before: tuple[str, ...]) -> Schema:
        made: Schema = {
            "type": "object",
            "properties": properties,
            "required": [*before, VALUE],
            "additionalProperties": False,
        }
        return {**made, "$defs": self._definitions} if self._definitions else made


def _with_references(schema: object, led: Callable[[str], str]) -> object:
    """Return a schema with its references led elsewhere; texts that merely look like one, in an enum, stay."""
    if not isinstance(schema, Mapping):
        return schema
    made: Schema = {}
    for key, each in schema.items():
        if key == "$ref" and isinstance(each, str):
            made[key] = led(each)
        elif key in _ONE:
            made[key] = _with_references(each, led)
        elif key in _SEVERAL and isinstance(each, Sequence):
            made[key] = [_with_references(one, led) for one in each]
        elif key in _NAMED and isinstance(each, Mapping):
            made[key] = {name: _with_references(one, led) for name, one in each.items()}
        else:
            made[key] = each
    return made


def _unescaped(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")


def _escaped(part: str) -> str:
    return part.replace("~", "~0").replace("/", "~1")


# Strict schemas.


def strict(schema: Schema) -> Schema | None:
    """Return a schema in the form for strict modes of providers; None if it would then shut out what it means.

    Args:
        schema: A schema. It is not changed.
    """
    if not is_object(schema) or not all(map(_may_be_strict, _parts(schema))):
        return None
    return cast("Schema", _closed(schema))


def _may_be_strict(schema: object) -> bool:
    if not isinstance(schema, Mapping) or not _STRICT_KEYWORDS.issuperset(schema):
        return False
    if "$ref" in schema:
        return set(schema) <= {"$ref", "$defs"}
    if "format" in schema and schema["format"] not in _STRICT_FORMATS:
        return False
    if schema.get("type") != "object":
        return "type" in schema or "anyOf" in schema or "enum" in schema or "const" in schema
    properties = schema.get("properties")
    if not properties or schema.get("additionalProperties", False) is not False:
        return False
    return set(schema.get("required") or ()) == set(properties)


def _parts(schema: object) -> Iterator[object]:
    """Yield a schema and all schemas in it."""
    yield schema
    if not isinstance(schema, Mapping):
        return
    for key, each in schema.items():
        if key in _ONE and isinstance(each, Mapping):
            yield from _parts(each)
        elif key in _SEVERAL and isinstance(each, Sequence):
            for one in each:
                yield from _parts(one)
        elif key in _NAMED and isinstance(each, Mapping):
            for one in each.values():
                yield from _parts(one)


def _closed(schema: object) -> object:
    """Return a schema whose objects take no further properties."""
    if not isinstance(schema, Mapping):
        return schema
    made: Schema = {}
    for key, each in schema.items():
        if key in _ONE:
            made[key] = _closed(each)
        elif key in _SEVERAL:
            made[key] = [_closed(one) for one in each]
        elif key in _NAMED:
            made[key] = {name: _closed(one) for name, one in each.items()}
        else:
            made[key] = each
    if made.get("type") == "object":
        made["additionalProperties"] = False
    return made
