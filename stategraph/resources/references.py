"""Find the references in a spec, by the schema of its kind: what it uses, before anything is looked up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from stategraph.resources import refs
from stategraph.resources.errors import ResourceError
from stategraph.resources.kind_table import KINDS, KindTable
from stategraph.resources.model import Resource, ResourceKey
from stategraph.resources.places import Path
from stategraph.resources.schema import spec_schema

Schema: TypeAlias = Mapping[str, Any]

#: Deeper schemas are not followed: they hold themselves.
_DEEPEST: Final = 40

#: Kinds of fields that are not called like one.
_FIELDS: Final[Mapping[str, str]] = {
    "fallback": "model",
    "handoffs": "agent",
    "server": "mcpserver",
    "subagents": "agent",
}


#: Fields of objects in whose place a reference may stand alone.
_TARGETS: Final = ("ref", "to", "modelRef")
_PARTS: Final = frozenset({"name", "namespace", "kind"})


@dataclass(frozen=True, slots=True)
class Found:
    """A reference that was found.

    Attributes:
        path: Its field, from the root of the document.
        value: It, as written.
        reference: It, as read; None if it is none that can be read.
        kind: The kind that it stands for: the one that it names, else the one that its field is called like; None if
            neither says one.
    """

    path: Path
    value: object
    reference: refs.Reference | None
    kind: str | None

    def key(self, namespace: str, kinds: KindTable = KINDS) -> ResourceKey | None:
        """Return the key that it leads to, from a resource in a namespace; None if that is not known."""
        if self.reference is None or self.kind is None:
            return None
        try:
            return self.reference.key(self.kind, namespace, kinds)
        except ResourceError:
            return None


def references(resource: Resource, kinds: KindTable = KINDS) -> list[Found]:
    """Return the references in the spec of a resource, in the order of its fields."""
    kind = kinds.get(resource.kind)
    return [] if kind is None else list(in_spec(resource.spec, spec_schema(kind), kinds))


def in_spec(spec: object, schema: Schema, kinds: KindTable = KINDS) -> Iterator[Found]:
    """Yield the references in a spec that a schema describes."""
    yield from _Walk(schema.get("$defs", {}), kinds).found(spec, schema, ("spec",))


class _Walk:
    def __init__(self, definitions: Schema, kinds: KindTable) -> None:
        self._definitions = definitions
        self._kinds = kinds

    def found(self, value: object, schema: Schema, path: Path) -> Iterator[Found]:
        """Yield the references in a value."""
        if len(path) > _DEEPEST or value is None:
            return
        options = list(self._options(schema, 0))
        if any(is_reference(each) for each in options):
            yield self._reference(value, path)
            return
        if any(self._stands_for_reference(value, each) for each in options):
            yield self._reference(value, path)
            return
        seen: set[str] = set()
        for option in options:
            if isinstance(value, Mapping):
                yield from self._in_fields(value, option, path, seen)
            elif isinstance(value, list) and isinstance(option.get("items"), Mapping):
                for at, element in enumerate(value):
                    yield from self.found(element, option["items"], (*path, at))
                return

    def _in_fields(self, value: Schema, option: Schema, path: Path, seen: set[str]) -> Iterator[Found]:
        named, others = option.get("properties") or {}, option.get("additionalProperties")
        for name, inner in value.items():
            schema = named.get("ref" if name == "refName" and "ref" in named else name, others)
            if isinstance(schema, Mapping) and name not in seen:
                inside = list(self.found(inner, schema, (*path, name)))
                if inside:
                    seen.add(name)
                yield from inside

    def _stands_for_reference(self, value: object, option: Schema) -> bool:
        """Return whether a value is a reference alone where its parts may stand, as in `tools: [recipe-finder]`."""
        fields = option.get("properties") or {}
        if {"name", "namespace", "key"} == set(fields):  # a value of a Secret
            return isinstance(value, str | Mapping)
        name = next((name for name in _TARGETS if name in fields), None)
        if name is None or not any(is_reference(each) for each in self._options(fields[name], 0)):
            return False
        if isinstance(value, str):
            return ":" not in value  # a model, written with its provider
        return isinstance(value, Mapping) and "name" in value and set(value) <= _PARTS and "namespace" in value

    def _options(self, schema: Schema, depth: int) -> Iterator[Schema]:
        """Yield the schemas of which one fits; a reference is one of them."""
        if depth > _DEEPEST:
            return
        if "$ref" in schema:
            yield from self._options(self._definitions.get(schema["$ref"].rpartition("/")[2], {}), depth + 1)
        elif is_reference(schema) or not any(key in schema for key in ("anyOf", "oneOf", "allOf")):
            yield schema
        else:
            for key in ("anyOf", "oneOf", "allOf"):
                for each in schema.get(key, ()):
                    yield from self._options(each, depth + 1)

    def _reference(self, value: object, path: Path) -> Found:
        given = {name: each for name, each in value.items() if name != "key"} if isinstance(value, Mapping) else value
        try:
            reference = refs.parse(given, self._kinds)
        except ResourceError:
            return Found(path, value, None, None)
        return Found(path, value, reference, reference.kind or kind_of_field(path, self._kinds))


def is_reference(schema: Schema) -> bool:
    """Return whether a schema is that of a reference, see `kinds.base.Ref`."""
    parts = (each.get("properties") or {} for each in schema.get("anyOf", ()))
    return any({"name", "namespace", "refName"} <= set(each) for each in parts)


def kind_of_field(path: Path, kinds: KindTable = KINDS) -> str | None:
    """Return the kind that a field is called like, or the list that it is in; None if there is none.

    `modelRef` is a model, and so is `ref` in `models`.
    """
    names = [part for part in path if isinstance(part, str)][1:]
    for name in reversed(names[-2:]):
        word = name.removesuffix("Ref").lower()
        word = _FIELDS.get(word, word)
        kind = next((each for each in kinds if word in (each.key, each.plural, *map(str.lower, each.aliases))), None)
        if kind is not None:
            return kind.key
    return None
