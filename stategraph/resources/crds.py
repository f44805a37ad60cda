"""CustomResourceDefinitions of Kubernetes for the built-in kinds, made of the models of their specs.

A schema of Kubernetes is structural (kubernetes.io, "Extend the Kubernetes API with CustomResourceDefinitions"):
references are put in place, `const` becomes `enum`, a field that may be null is `nullable`, and unknown fields are
pruned by the API server rather than refused by the schema. A field that takes values of several types, such as a
reference that is a text or a mapping, cannot be said there: it is let through, and checked by the operator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from stategraph.resources.kind_table import KINDS, Kind
from stategraph.resources.schema import spec_schema

#: Fields of a schema that are the same in both.
_KEPT: Final = (
    "description",
    "enum",
    "format",
    "maxItems",
    "maxLength",
    "maximum",
    "minItems",
    "minLength",
    "minimum",
    "pattern",
    "type",
    "uniqueItems",
)

#: What `kubectl get` shows of a kind besides what it shows of all: name, type, place.
_OWN_COLUMNS: Final[Mapping[str, Sequence[tuple[str, str, str]]]] = {
    "Agent": (("Min", "integer", ".status.replicas.min"), ("Max", "integer", ".status.replicas.max")),
    "CustomResourceDefinition": (("Kind", "string", ".status.acceptedNames.kind"),),
    "MCPServer": (("Connected", "boolean", ".status.connected"),),
    "Model": (("Provider", "string", ".status.provider"), ("Model", "string", ".status.model")),
    "Network": (("Router", "string", ".status.router"),),
    "Plugin": (("State", "string", ".status.state"), ("Restarts", "integer", ".status.restarts")),
    "Policy": (("Rules", "integer", ".status.rules"),),
    "Schedule": (("Next", "string", ".status.nextRun"), ("Last", "string", ".status.lastRun")),
    "System": (("Members", "string", ".status.ready"),),
    "Tool": (("Risk", "string", ".status.risk"),),
    "Worker": (("Replicas", "integer", ".status.replicas"), ("Queued", "integer", ".status.queued")),
}

_ANYTHING: Final = {"x-kubernetes-preserve-unknown-fields": True}
_DEEPEST: Final = 12


def definitions(kinds: Sequence[Kind] = tuple(KINDS), version: str = "v1") -> list[dict[str, Any]]:
    """Return the definition of each kind, as documents of `apiextensions.k8s.io/v1`."""
    return [definition(each, version) for each in kinds]


def definition(kind: Kind, version: str = "v1") -> dict[str, Any]:
    """Return the definition of a kind.

    Args:
        kind: The kind.
        version: The version that is served and stored.
    """
    schema = {
        "type": "object",
        "required": ["spec"] if spec_schema(kind).get("required") else [],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": structural(spec_schema(kind)),
            "status": {"type": "object", **_ANYTHING},
        },
    }
    if not schema["required"]:
        del schema["required"]
    names = {
        "kind": kind.name,
        "listKind": f"{kind.name}List",
        "plural": kind.plural,
        "singular": kind.key,
        "categories": ["stategraph"],
    }
    if kind.short_names:
        names["shortNames"] = list(kind.short_names)
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{kind.group}", "labels": {"app.kubernetes.io/part-of": "stategraph"}},
        "spec": {
            "group": kind.group,
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "names": names,
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": _columns(kind),
                }
            ],
        },
    }


def _columns(kind: Kind) -> list[dict[str, Any]]:
    """Return what `kubectl get` shows; `Message` with `-o wide`."""
    ready = ".status.conditions[?(@.type=='Ready')]"
    own = [{"name": name, "type": type_, "jsonPath": path} for name, type_, path in _OWN_COLUMNS.get(kind.name, ())]
    return [
        {"name": "Ready", "type": "string", "jsonPath": f"{ready}.status"},
        {"name": "Reason", "type": "string", "jsonPath": f"{ready}.reason"},
        *own,
        {"name": "Message", "type": "string", "jsonPath": f"{ready}.message", "priority": 1},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]


def structural(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON Schema as a structural schema of Kubernetes."""
    made = _node(schema, schema.get("$defs", {}), ())
    return made if made.get("type") == "object" else {"type": "object", **_ANYTHING}


def _node(schema: Mapping[str, Any], known: Mapping[str, Any], way: tuple[str, ...]) -> dict[str, Any]:
    """Convert a schema.

    Args:
        schema: The schema.
        known: The definitions that references lead to.
        way: The references around it: a schema that holds itself ends there.
    """
    reference = schema.get("$ref")
    if isinstance(reference, str):
        name = reference.rpartition("/")[2]
        if name in way or len(way) > _DEEPEST:
            return dict(_ANYTHING)
        merged = {**known.get(name, {}), **{key: value for key, value in schema.items() if key != "$ref"}}
        return _node(merged, known, (*way, name))
    for word in ("anyOf", "oneOf"):
        if word in schema:
            return _alternatives(schema, schema[word], known, way)
    made = _scalar(schema)
    match made.get("type"):
        case "object":
            made |= _object(schema, known, way)
        case "array":
            made["items"] = _node(schema.get("items", {}), known, way)
        case None:
            made |= _ANYTHING
    return made


def _scalar(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Convert what a schema says of a value itself."""
    made: dict[str, Any] = {key: schema[key] for key in _KEPT if key in schema}
    if "const" in schema:
        made["enum"] = [schema["const"]]
    for word, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if word in schema:
            made[bound], made[word] = schema[word], True
    _add_default(made, schema)
    if "enum" in made:
        made.setdefault("type", _type_of(made["enum"][0]))
    return made


def _object(schema: Mapping[str, Any], known: Mapping[str, Any], way: tuple[str, ...]) -> dict[str, Any]:
    properties = schema.get("properties")
    if properties:
        made: dict[str, Any] = {"properties": {name: _node(each, known, way) for name, each in properties.items()}}
        if schema.get("required"):
            made["required"] = list(schema["required"])
        return made
    values = schema.get("additionalProperties")
    if isinstance(values, Mapping) and values:
        return {"additionalProperties": _node(values, known, way)}
    return dict(_ANYTHING)


def _alternatives(
    schema: Mapping[str, Any], choices: Sequence[Mapping[str, Any]], known: Mapping[str, Any], way: tuple[str, ...]
) -> dict[str, Any]:
    """Convert a schema with alternatives: those of one type are that type, others are let through."""
    others = [each for each in choices if each.get("type") != "null"]
    around = {key: schema[key] for key in ("description", "default") if key in schema}
    if len(others) == 1:
        made = _node({**others[0], **around}, known, way)
        return {**made, "nullable": True} if len(others) < len(choices) else made
    made = {"description": schema["description"]} if "description" in schema else {}
    types = {_node(each, known, way).get("type") for each in others}
    if types == {"string", "integer"}:
        made["x-kubernetes-int-or-string"] = True
    else:
        made |= _ANYTHING
    _add_default(made, schema)
    return made


def _add_default(made: dict[str, Any], schema: Mapping[str, Any]) -> None:
    """Keep a default; null is none, as a field that is missing is null for the operator."""
    if schema.get("default") is not None:
        made["default"] = schema["default"]


def _type_of(value: Any) -> str:
    match value:
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case Mapping():
            return "object"
        case list() | tuple():
            return "array"
    return "string"
