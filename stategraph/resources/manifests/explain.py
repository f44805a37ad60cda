"""Explain a field of a kind in words, from its JSON Schema.

A path is as people write it: `workflow.spec.steps`, `workflow.spec.steps.id`; elements of lists and values of maps have
no step of their own in it.
"""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from stategraph.errors import ConfigurationError
from stategraph.resources.references import Schema, is_reference

#: Columns of explanations.
_WIDTH: Final = 100

#: How deep fields are listed at most: schemas may hold themselves.
_DEEPEST: Final = 12


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a kind.

    Attributes:
        name: Its name; empty for the whole kind.
        type: Its type in words, as in `list of Step`.
        required: Whether it has to be there.
        default: Its default as JSON has it; None: there is none, or it is null.
        choices: The values that it may have; empty: any of its type.
        description: What it says.
        fields: The fields in it, or in its elements.
    """

    name: str
    type: str
    required: bool
    default: object
    choices: tuple[object, ...]
    description: str
    fields: tuple[Field, ...]

    def told(self, *, recursive: bool = False) -> str:
        """Return the field in words, with the fields in it.

        Args:
            recursive: Whether the fields below those are named too, with their types alone.
        """
        parts = [f"FIELD: {self.name} <{self.type}>{' (required)' if self.required else ''}"] if self.name else []
        if facts := self._facts():
            parts.append(facts)
        if self.description:
            parts.append("DESCRIPTION:\n" + _wrapped(self.description, "  "))
        if self.fields:
            lines = _names(self.fields, 1) if recursive else _described(self.fields)
            parts.append("FIELDS:\n" + "\n".join(lines))
        return "\n\n".join(parts)

    def _facts(self) -> str:
        facts = [f"DEFAULT: {_shown(self.default)}"] if self.default is not None else []
        if self.choices:
            facts.append(f"ONE OF: {', '.join(map(_shown, self.choices))}")
        return "\n".join(facts)


def explain(schema: Schema, path: Sequence[str]) -> Field:
    """Return the field at a path.

    Args:
        schema: The JSON Schema of the kind.
        path: Names of fields; empty: the whole kind.

    Raises:
        ConfigurationError: There is no such field; the message names those that there are.
    """
    definitions: Schema = schema.get("$defs") or {}
    found, name, required = schema, "", False
    for at, step in enumerate(path):
        known = _fields_of(found, definitions)
        if step not in known:
            raise ConfigurationError(_unknown(step, list(path[:at]), list(known), open_=_is_open(found, definitions)))
        found, required = known[step]
        name = step
    return _field(name, found, definitions, required=required, depth=0, above=())


def _unknown(step: str, above: Sequence[str], known: Sequence[str], *, open_: bool) -> str:
    where = f"'{'.'.join(above)}'" if above else "This kind"
    if open_ and not known:
        return f"{where} may have any fields, so that '{step}' is not described"
    near = difflib.get_close_matches(step, known, n=2, cutoff=0.6)
    hint = f", did you mean {' or '.join(map(repr, near))}?" if near else "."
    there = f" Its fields: {', '.join(known)}" if known else " It has no fields"
    return f"{where} has no field '{step}'{hint}{there}"


def _field(
    name: str, schema: Schema, definitions: Schema, *, required: bool, depth: int, above: tuple[str, ...]
) -> Field:
    resolved, _ = _resolved(schema, definitions)
    below: tuple[Field, ...] = ()
    references = _references_of(schema, definitions)
    if depth < _DEEPEST and not references & set(above):
        below = tuple(
            _field(each, inner, definitions, required=needed, depth=depth + 1, above=(*above, *references))
            for each, (inner, needed) in _fields_of(schema, definitions).items()
        )
    description = schema.get("description") or resolved.get("description") or ""
    return Field(
        name,
        type_of(schema, definitions),
        required,
        schema.get("default", resolved.get("default")),
        _choices(schema, definitions),
        " ".join(str(description).split()),
        below,
    )


def _resolved(schema: Schema, definitions: Schema) -> tuple[Schema, str]:
    """Return a schema without a reference, and the name that it was known by; empty: none."""
    name = ""
    for _ in range(_DEEPEST):
        if "$ref" in schema:
            name = str(schema["$ref"]).rpartition("/")[2]
            schema = definitions.get(name, {})
        elif len(schema.get("allOf", ())) == 1:
            schema = {**schema["allOf"][0], **{key: value for key, value in schema.items() if key != "allOf"}}
        else:
            break
    return schema, name


def _alternatives(schema: Schema) -> list[Schema]:
    """Return the schemas of which one has to fit, without that of null; empty: there is no choice."""
    found = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
    return [each for each in found if each.get("type") != "null"]


def _references_of(schema: Schema, definitions: Schema) -> set[str]:
    """Return the names of the objects whose fields a field has."""
    resolved, name = _resolved(schema, definitions)
    found = {name} if name else set()
    for each in _alternatives(resolved):
        found |= _references_of(each, definitions)
    for inner in ("items", "additionalProperties"):
        if isinstance(resolved.get(inner), Mapping):
            found |= _references_of(resolved[inner], definitions)
    return found


def _fields_of(schema: Schema, definitions: Schema, depth: int = 0) -> dict[str, tuple[Schema, bool]]:
    """Return the fields of an object, of the elements of a list or of the values of a map, and which are needed."""
    resolved, _ = _resolved(schema, definitions)
    if depth > _DEEPEST or is_reference(resolved):
        return {}
    if resolved.get("properties"):
        needed = resolved.get("required", ())
        return {name: (inner, name in needed) for name, inner in resolved["properties"].items()}
    found: dict[str, tuple[Schema, bool]] = {}
    for each in _alternatives(resolved):
        found = {**_fields_of(each, definitions, depth + 1), **found}
    for inner in ("items", "additionalProperties"):
        if not found and isinstance(resolved.get(inner), Mapping):
            found = _fields_of(resolved[inner], definitions, depth + 1)
    return found


def _is_open(schema: Schema, definitions: Schema) -> bool:
    resolved, _ = _resolved(schema, definitions)
    return bool(resolved.get("additionalProperties") or resolved.get("x-kubernetes-preserve-unknown-fields"))


def _choices(schema: Schema, definitions: Schema) -> tuple[object, ...]:
    resolved, _ = _resolved(schema, definitions)
    if "const" in resolved:
        return (resolved["const"],)
    found = list(resolved.get("enum", ()))
    alternatives = _alternatives(resolved)
    inner = [_choices(each, definitions) for each in alternatives]
    if inner and all(inner):
        found += [choice for each in inner for choice in each]
    return tuple(found)


def type_of(schema: Schema, definitions: Schema, depth: int = 0) -> str:
    """Return the type of a field in words."""
    resolved, name = _resolved(schema, definitions)
    if is_reference(resolved):
        return "reference"
    if depth > _DEEPEST:
        return name or "any"
    if alternatives := _alternatives(resolved):
        return " or ".join(dict.fromkeys(type_of(each, definitions, depth + 1) for each in alternatives))
    match resolved.get("type"):
        case list() as given:
            return " or ".join(map(str, given))
        case "array":
            return _of("list", resolved.get("items"), definitions, depth)
        case "object" if not resolved.get("properties"):
            return _of("map", resolved.get("additionalProperties"), definitions, depth)
        case "object":
            return name or str(resolved.get("title") or "object")
        case None:
            return _type_of_choice(resolved)
        case other:
            return str(other)


def _of(word: str, inner: object, definitions: Schema, depth: int) -> str:
    """Return the type of a list or a map in words."""
    return f"{word} of {type_of(inner, definitions, depth + 1)}" if isinstance(inner, Mapping) and inner else word


def _type_of_choice(schema: Schema) -> str:
    choices = schema.get("enum") or ([schema["const"]] if "const" in schema else [])
    return type(choices[0]).__name__.replace("str", "string") if choices else "any"


def _described(fields: Sequence[Field]) -> Iterator[str]:
    for at, each in enumerate(fields):
        if at:
            yield ""
        yield f"  {each.name} <{each.type}>{' (required)' if each.required else ''}"
        facts = each.description
        if each.choices:
            facts += f"{_stop(facts)}One of {', '.join(map(_shown, each.choices))}."
        if each.default is not None:
            facts += f"{_stop(facts)}Default: {_shown(each.default)}."
        if facts:
            yield _wrapped(facts, "    ")


def _stop(text: str) -> str:
    return "" if not text else " " if text.endswith((".", ":", "?")) else ". "


def _names(fields: Sequence[Field], depth: int) -> Iterator[str]:
    for each in fields:
        yield f"{'  ' * depth}{each.name} <{each.type}>{' (required)' if each.required else ''}"
        yield from _names(each.fields, depth + 1)


def _wrapped(text: str, indent: str) -> str:
    return textwrap.fill(
        text, _WIDTH, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _shown(value: object) -> str:
    import json

    return json.dumps(value, ensure_ascii=False)
