"""Reading of manifests: YAML and JSON, from files, folders, standard input or a text, and writing of their normal form.

Rules
-----
* Manifests are data. Scalars are read by YAML 1.2's core schema (`no` is a text, as is a date), and tags are refused.
* Every field keeps its line and column: whatever is found wrong later, its place is known.
* A file has at most 1 MiB and 1,000 documents, and what its aliases stand for at most 4 MiB of text.
* Everything that is wrong in all files is told at once, with what is right beside it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any, Final

from stategraph.resources import documents
from stategraph.resources.errors import ResourceError
from stategraph.resources.headers import to_resource
from stategraph.resources.kind_table import API_VERSION, DEFAULT_NAMESPACE, KINDS, KindTable
from stategraph.resources.model import Resource
from stategraph.resources.places import Problem, Source

MAX_BYTES: Final = 1024 * 1024
SUFFIXES: Final = (".yaml", ".yml", ".json")

#: Stands for standard input.
STDIN: Final = "-"


class ManifestError(ResourceError):
    """Manifests cannot be read, or hold something that is no resource.

    Attributes:
        problems: Everything that is wrong, in the order of the files.
        resources: The resources that are right: a caller may apply them all the same.
    """

    def __init__(self, problems: Iterable[Problem], resources: Sequence[Resource] = ()) -> None:
        self.problems = tuple(problems)
        self.resources = tuple(resources)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.problems, self.resources)


def load(source: str | FilePath, *, kinds: KindTable = KINDS) -> list[Resource]:
    """Read the resources of a file, a folder with its subfolders, standard input, or a text.

    Args:
        source: A path; `-` for standard input; a text of more than one line is the manifest itself.
        kinds: The kinds that there are.

    Returns:
        The resources in the order of the files' names and of their documents.

    Raises:
        ManifestError: Something cannot be read or is no resource; carries everything that is wrong, and what is right.
        MissingPackageError: The extra `resources` is not installed.
    """
    if isinstance(source, str) and "\n" in source:
        return load_text(source, kinds=kinds)
    problems: list[Problem] = []
    resources: list[Resource] = []
    for file in _files(source, problems):
        text = _read(file, problems)
        if text is not None:
            resources.extend(_read_text(text, str(file), kinds, problems))
    return _checked(resources, problems)


def load_text(text: str, *, file: str = "<text>", kinds: KindTable = KINDS) -> list[Resource]:
    """Read the resources of a text in YAML or JSON.

    Args:
        text: One or more documents.
        file: What it is called in messages.
        kinds: The kinds that there are.

    Raises:
        ManifestError: As `load`.
    """
    problems: list[Problem] = []
    if len(text.encode(errors="surrogatepass")) > MAX_BYTES:
        raise ManifestError([Problem(f"the manifest is larger than {MAX_BYTES:,} bytes", (), Source(file, 1))])
    return _checked(list(_read_text(text, file, kinds, problems)), problems)


def dump(resources: Iterable[Resource] | Resource) -> str:
    """Return resources as YAML in normal form: what was declared, without status and what the store added."""
    several = [resources] if isinstance(resources, Resource) else resources
    return documents.write([to_document(each) for each in several])


def to_document(resource: Resource, *, status: bool = False) -> dict[str, Any]:
    """Return a resource as a document.

    Args:
        resource: The resource.
        status: Whether its status and what the store keeps of it are in the document as well.
    """
    meta = resource.metadata
    metadata: dict[str, Any] = {"name": meta.name}
    if meta.namespace not in ("", DEFAULT_NAMESPACE) or (status and meta.namespace):
        metadata["namespace"] = meta.namespace
    if meta.labels:
        metadata["labels"] = dict(sorted(meta.labels.items()))
    if meta.annotations:
        metadata["annotations"] = dict(sorted(meta.annotations.items()))
    if status:
        metadata |= _kept(resource)
    document = {"apiVersion": resource.api_version or API_VERSION, "kind": resource.kind, "metadata": metadata}
    document["spec"] = resource.spec
    if status and resource.status:
        document["status"] = resource.status
    return document


def _kept(resource: Resource) -> dict[str, Any]:
    """Return what the store keeps of a resource, as fields of `metadata`."""
    meta = resource.metadata
    fields: dict[str, Any] = {
        "uid": meta.uid,
        "generation": meta.generation,
        "resourceVersion": str(meta.resource_version),
        "creationTimestamp": meta.creation_timestamp,
        "deletionTimestamp": meta.deletion_timestamp,
        "finalizers": list(meta.finalizers),
        "ownerReferences": [{"kind": o.kind, "name": o.name, "uid": o.uid} for o in meta.owner_references],
    }
    return {key: value for key, value in fields.items() if value not in ("", [], 0, "0")}


def _checked(resources: list[Resource], problems: list[Problem]) -> list[Resource]:
    _report_doubles(resources, problems)
    if problems:
        raise ManifestError(problems, resources)
    return resources


def _report_doubles(resources: list[Resource], problems: list[Problem]) -> None:
    """Report resources of one name whose contents differ: which of them holds would depend on their order."""
    first: dict[object, Resource] = {}
    for each in resources:
        other = first.setdefault(each.key, each)
        if other is not each and (other.spec, other.metadata) != (each.spec, each.metadata):
            problems.append(
                Problem(
                    f"{each.key} is declared twice, differently; the other one is at {other.place()}", (), each.source
                )
            )


def _files(source: str | FilePath, problems: list[Problem]) -> Iterator[FilePath | str]:
    if source == STDIN:
        yield STDIN
        return
    path = FilePath(source)
    if path.is_dir():
        found = sorted(each for each in path.rglob("*") if each.suffix in SUFFIXES and each.is_file())
        found = [each for each in found if not any(part.startswith(".") for part in each.relative_to(path).parts)]
        if not found:
            problems.append(Problem(f"the folder has no manifests ({', '.join(SUFFIXES)})", (), Source(str(path), 1)))
        yield from found
    else:
        yield path


def _read(file: FilePath | str, problems: list[Problem]) -> str | None:
    try:
        if file == STDIN:
            content = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with FilePath(file).open("rb") as opened:
                content = opened.read(MAX_BYTES + 1)
        if len(content) <= MAX_BYTES:
            return content.decode("utf-8-sig")
        message = f"the file is larger than {MAX_BYTES:,} bytes"
    except OSError as error:
        message = f"the file cannot be read: {error.strerror}"
    except UnicodeDecodeError as error:
        message = f"the file is not UTF-8: {error.reason} at byte {error.start}"
    problems.append(Problem(message, (), Source(str(file), 1)))
    return None


def _read_text(text: str, file: str, kinds: KindTable, problems: list[Problem]) -> Iterator[Resource]:
    for document in documents.read(text, file, problems):
        for value, source in _members(document):
            resource = to_resource(value, source, kinds, problems)
            if resource is not None:
                yield resource


def _members(document: documents.Document) -> Iterator[tuple[Any, Source]]:
    """Yield a document, or those that it lists (`kind: List`, or a list)."""
    value, source = document
    if isinstance(value, list):
        items, prefix = value, 0
    elif isinstance(value, Mapping) and value.get("kind") == "List" and isinstance(value.get("items"), list):
        items, prefix = value["items"], 1
    else:
        yield value, source
        return
    for index, item in enumerate(items):
        yield item, documents.below(source, ("items", index)[1 - prefix :])
