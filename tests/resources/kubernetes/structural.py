"""What an API server does with an object by the structural schema of its kind: defaults, pruning, validation.

See kubernetes.io, "Extend the Kubernetes API with CustomResourceDefinitions": defaults are set where a field is
missing and the object around it is there; fields that the schema does not name are cut off; what does not fit is
refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from jsonschema import Draft4Validator

_FREE: Final = "x-kubernetes-preserve-unknown-fields"
_EITHER: Final = "x-kubernetes-int-or-string"


def admitted(document: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object as it is stored: pruned, with defaults."""
    return dict(_node(document, {**schema, "properties": {**schema["properties"], "metadata": {_FREE: True}}}))


def problems(document: Mapping[str, Any], schema: Mapping[str, Any]) -> list[str]:
    """Return why an object does not fit."""
    validator = Draft4Validator(_checkable(schema))  # minimum with exclusiveMinimum: true is of this draft
    return [f"{'.'.join(map(str, each.absolute_path))}: {each.message}" for each in validator.iter_errors(document)]


def _node(value: Any, schema: Mapping[str, Any]) -> Any:
    if isinstance(value, Mapping):
        return _mapping(value, schema)
    if isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        return [_node(each, schema["items"]) for each in value]
    return value


def _mapping(value: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    fields: Mapping[str, Any] = schema.get("properties") or {}
    others = schema.get("additionalProperties")
    found = {}
    for name, each in value.items():
        if name in fields:
            found[name] = _node(each, fields[name])
        elif isinstance(others, Mapping):
            found[name] = _node(each, others)
        elif schema.get(_FREE):
            found[name] = each
    for name, each in fields.items():
        if "default" in each and (name not in found or (found[name] is None and not each.get("nullable"))):
            found[name] = _node(each["default"], each)
    return found


def _checkable(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema as JSON Schema has it: nullable fields may be null."""
    made: dict[str, Any] = {}
    for word, each in schema.items():
        if word == "properties":
            made[word] = {name: _checkable(one) for name, one in each.items()}
        elif word in ("items", "additionalProperties") and isinstance(each, Mapping):
            made[word] = _checkable(each)
        elif not word.startswith("x-kubernetes") and word not in ("nullable", "default", "description"):
            made[word] = each
    if schema.get(_EITHER):
        made["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if schema.get("nullable"):
        return {"anyOf": [made, {"type": "null"}]}
    return made
