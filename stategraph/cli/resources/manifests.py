"""Manifests of a command line: files and folders read, with all that is wrong in them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stategraph.resources.kind_table import DEFAULT_NAMESPACE, KINDS, KindTable
from stategraph.resources.model import Resource, ResourceKey
from stategraph.resources.places import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Where a document says its namespace.
_NAMESPACE = ("metadata", "namespace")


@dataclass(frozen=True, slots=True)
class Manifests:
    """Manifests that were read.

    Attributes:
        resources: The resources in them.
        problems: What is wrong; what has problems is not among the resources.
        kinds: The kinds that there are, with those that the manifests define.
    """

    resources: tuple[Resource, ...]
    problems: tuple[Problem, ...]
    kinds: KindTable

    @property
    def keys(self) -> list[ResourceKey]:
        """The keys of the resources."""
        return [each.key for each in self.resources]


def add_files(parser: argparse.ArgumentParser, *, needed: bool) -> None:
    """Add the option that names manifests."""
    parser.add_argument(
        "-f",
        "--filename",
        dest="files",
        metavar="FILE",
        action="append",
        required=needed,
        help="a file or a folder of manifests, with the folders in it; - for standard input; may be repeated",
    )


def read(files: Sequence[str], namespace: str = DEFAULT_NAMESPACE, kinds: KindTable = KINDS) -> Manifests:
    """Read manifests.

    Args:
        files: Files and folders; `-` for standard input.
        namespace: That of resources that name none.
        kinds: The kinds that there are; those that the manifests define are added.
    """
    from stategraph.resources.custom_kinds import kinds_with
    from stategraph.resources.loading import ManifestError, load

    found: list[Resource] = []
    problems: list[Problem] = []
    for file in files:
        try:
            found += load(file, kinds=kinds)
        except ManifestError as error:
            found += error.resources
            problems += error.problems
    kinds = kinds_with(found, kinds)
    return Manifests(tuple(_placed(each, namespace, kinds) for each in found), tuple(problems), kinds)


def _placed(resource: Resource, namespace: str, kinds: KindTable) -> Resource:
    """Return a resource in the namespace of the command line, unless it names one or its kind has none."""
    if namespace == DEFAULT_NAMESPACE or resource.namespace != DEFAULT_NAMESPACE:
        return resource
    if resource.source is not None and _NAMESPACE in resource.source.positions:
        return resource
    kind = kinds.get(resource.kind)
    return resource if kind is not None and not kind.namespaced else resource.with_metadata(namespace=namespace)


def files_of(given: Iterable[str]) -> Iterator[Path]:
    """Yield files, and those of YAML in folders; hidden ones are left out.

    Raises:
        ConfigurationError: One is not there.
    """
    from stategraph.errors import ConfigurationError

    for name in given:
        path = Path(name)
        if path.is_dir():
            inner = sorted(each for each in path.rglob("*") if each.suffix in (".yaml", ".yml") and each.is_file())
            yield from (each for each in inner if not any(part[0] == "." for part in each.relative_to(path).parts))
        elif path.exists():
            yield path
        else:
            raise ConfigurationError(f"There is no file '{name}'")
