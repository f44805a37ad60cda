"""Resources as rows of the tables, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from stategraph.resources.model import Metadata, OwnerReference, Resource
from stategraph.resources.places import Path, Source

#: The columns of a resource, in the order of `values`.
COLUMNS: Final = (
    "namespace, kind, name, uid, generation, resource_version, api_version, kind_name, spec, status, labels, "
    "annotations, owners, finalizers, source, created_at, deletion_at"
)


def values(resource: Resource) -> tuple[Any, ...]:
    """Return the columns of a resource."""
    key, meta = resource.key, resource.metadata
    owners = [[each.kind, each.name, each.uid] for each in meta.owner_references]
    return (
        key.namespace,
        key.kind,
        key.name,
        meta.uid,
        meta.generation,
        meta.resource_version,
        resource.api_version,
        resource.kind,
        to_json(resource.spec),
        to_json(resource.status),
        to_json(meta.labels),
        to_json(meta.annotations),
        to_json(owners),
        to_json(list(meta.finalizers)),
        None if resource.source is None else _source_to_json(resource.source),
        meta.creation_timestamp,
        meta.deletion_timestamp,
    )


def resource_of(row: tuple[Any, ...]) -> Resource:
    """Make a resource of its columns."""
    (
        namespace,
        _,
        name,
        uid,
        generation,
        version,
        api_version,
        kind,
        spec,
        status,
        labels,
        annotations,
        owners,
        finalizers,
        source,
        created,
        deletion,
    ) = row
    metadata = Metadata(
        name=name,
        namespace=namespace,
        labels=json.loads(labels),
        annotations=json.loads(annotations),
        uid=uid,
        generation=generation,
        resource_version=version,
        owner_references=tuple(OwnerReference(*each) for each in json.loads(owners)),
        finalizers=tuple(json.loads(finalizers)),
        creation_timestamp=created,
        deletion_timestamp=deletion,
    )
    where = None if source is None else _source_of(json.loads(source))
    return Resource(api_version, kind, metadata, json.loads(spec), json.loads(status), where)


def to_json(value: Any) -> str:
    """Return JSON; the same for equal values whose fields are in the same order."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"A resource holds JSON; found a value of type {type(value).__name__}")


def _source_to_json(source: Source) -> str:
    places = [[list(path), line, column] for path, (line, column) in source.positions.items()]
    return to_json([source.file, source.line, places])


def _source_of(value: list[Any]) -> Source:
    file, line, places = value
    positions: dict[Path, tuple[int, int]] = {tuple(path): (at, column) for path, at, column in places}
    return Source(file, line, positions)
