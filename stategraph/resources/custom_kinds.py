"""Custom kinds: what the resources of the kind CustomResourceDefinition define."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from stategraph.resources.kind_table import KINDS, Kind, KindTable
from stategraph.resources.model import Resource


def kinds_with(resources: Iterable[Resource], kinds: KindTable = KINDS) -> KindTable:
    """Return the kinds that there are, with those that resources define."""
    return kinds.with_kinds(kind for each in resources for kind in _defined(each))


def _defined(resource: Resource) -> Iterator[Kind]:
    """Yield the kind that a resource defines; none if it is of another kind, or has no names."""
    names = resource.spec.get("names")
    if resource.key.kind != "customresourcedefinition" or not isinstance(names, Mapping) or not names.get("kind"):
        return
    kind = str(names["kind"])
    words = tuple(str(each) for each in (*(names.get("shortNames") or ()), names.get("singular") or kind))
    yield Kind(
        kind,
        str(names.get("plural") or f"{kind.lower()}s"),
        words,
        namespaced=resource.spec.get("scope", "Namespaced") != "Cluster",
        schema=_schema(resource.spec),
        group=str(resource.spec.get("group", "")),
    )


def _schema(spec: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the schema of the spec of such resources; a schema of Kubernetes is that of the whole document."""
    versions = [each for each in spec.get("versions") or () if isinstance(each, Mapping)]
    given = spec.get("validation") or next((each.get("schema") for each in versions if each.get("schema")), None) or {}
    schema = given.get("openAPIV3Schema") if isinstance(given, Mapping) else None
    if not isinstance(schema, Mapping):
        return None
    properties = schema.get("properties")
    inner = properties.get("spec") if isinstance(properties, Mapping) else None
    return inner if isinstance(inner, Mapping) else {**schema, "properties": properties or {}}
