"""OpenAPI documents: they are read with the place of every field, and checked as far as an operation needs them.

Problems name file, line and field, also where a document is written inside of a manifest. References are followed
within the document; one that comes back to itself stands for any value, and how much they may stand for is limited.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Final

from stategraph.resources import documents
from stategraph.resources.compile.data import Data, Fields, Object
from stategraph.resources.errors import InvalidResource
from stategraph.resources.places import Path, Problem, Source

METHODS: Final = ("get", "put", "post", "delete", "patch", "head", "options")
FIELD: Final[Path] = ("spec", "http", "openapi")
_MOST: Final = 20_000
_DEEPEST: Final = 64


@dataclass(frozen=True, slots=True)
class Found:
    """An operation in a document.

    Attributes:
        url: The path, with `{name}` for parameters.
        method: The method of HTTP, in small letters.
        item: The item of the path, which may have parameters for all of its operations.
        operation: The operation.
        place: Its field.
    """

    url: str
    method: str
    item: Fields
    operation: Fields
    place: Path


@dataclass(slots=True)
class ApiDocument:
    """An OpenAPI document.

    Attributes:
        content: The document.
        source: Its file; None: it is written in the manifest.
    """

    content: Fields
    source: Source | None = None
    _size: int = field(default=0, init=False)

    def wrong(self, message: str, path: Path = (), *, found: str = "", expected: str = "") -> InvalidResource:
        """Return the error of a field of the document."""
        place = FIELD if self.source is not None else (*FIELD, *path)
        if self.source is not None:
            message = f"{self.source.place(path)}: {documents_path(path)}{message}"
        return InvalidResource([Problem(message, place, found=found, expected=expected)], reason="InvalidOpenAPI")

    def mapping(self, value: Data, path: Path) -> Fields:
        """Return a value that has to be a mapping; an empty one for None.

        Raises:
            InvalidResource: It is something else.
        """
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise self.wrong(f"is {type(value).__name__}; expected a mapping", path)
        return value

    def operation(self, id: str) -> Found:
        """Return an operation by its id.

        Raises:
            InvalidResource: There is none, or more than one.
        """
        version = self.content.get("openapi")
        if not str(version).startswith("3."):
            older = self.content.get("swagger")
            told = f"swagger {older}" if older is not None else f"openapi {version}" if version else "no 'openapi'"
            raise self.wrong(f"the document has {told}; expected 'openapi: 3.x'", ("openapi",) if version else ())
        known = list(self._operations())
        several = [each for each in known if each.operation.get("operationId") == id]
        if len(several) == 1:
            return several[0]
        if several:
            ways = ", ".join(f"{each.method.upper()} {each.url}" for each in several)
            raise self.wrong(f"{len(several)} operations are called {id!r}: {ways}", several[1].place)
        names = ", ".join(str(each.operation.get("operationId")) for each in known) or "none"
        raise InvalidResource(
            f"the document has no operation {id!r}; it has: {names}", path=("spec", "http", "operationId")
        )

    def _operations(self) -> Iterator[Found]:
        for url, given in self.mapping(self.content.get("paths"), ("paths",)).items():
            item = self.mapping(given, ("paths", url))
            for method in METHODS:
                if method in item:
                    place: Path = ("paths", url, method)
                    yield Found(str(url), method, item, self.mapping(item[method], place), place)

    def parameters(self, found: Found) -> list[tuple[Fields, Path]]:
        """Return the parameters of an operation, those of its path among them, each with its place.

        Raises:
            InvalidResource: One makes no sense.
        """
        by_key: dict[tuple[str, str], tuple[Fields, Path]] = {}
        around: Path = found.place[:2]
        for given, place in ((found.item, around), (found.operation, found.place)):
            several = given.get("parameters") or ()
            if not isinstance(several, list | tuple):
                raise self.wrong("is no list; expected a list of parameters", (*place, "parameters"))
            for index, each in enumerate(several):
                path: Path = (*place, "parameters", index)
                parameter = self.mapping(self.resolved(each, path), path)
                for word in ("name", "in"):
                    if not isinstance(parameter.get(word), str):
                        raise self.wrong(f"the parameter has no {word!r}", path)
                if parameter["in"] not in ("path", "query", "header", "cookie"):
                    raise self.wrong(
                        f"is {parameter['in']!r}; expected one of path, query, header, cookie", (*path, "in")
                    )
                by_key[parameter["name"], parameter["in"]] = (parameter, path)
        return list(by_key.values())

    def resolved(self, value: Data, path: Path, above: tuple[str, ...] = ()) -> Data:
        """Return a value with its references within the document followed.

        Raises:
            InvalidResource: One leads nowhere, or to another document.
        """
        self._size += 1
        if self._size > _MOST or len(path) > _DEEPEST:
            raise self.wrong(f"its references stand for more than {_MOST:,} values, or are too deep", path)
        if isinstance(value, Mapping):
            reference = value.get("$ref")
            if isinstance(reference, str):
                if reference in above:
                    return {}
                target, place = self._target(reference, path)
                return self.resolved(target, place, (*above, reference))
            return {key: self.resolved(each, (*path, str(key)), above) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.resolved(each, (*path, index), above) for index, each in enumerate(value)]
        return value

    def _target(self, reference: str, path: Path) -> tuple[Data, Path]:
        if not reference.startswith("#/"):
            raise self.wrong(
                f"the reference {reference!r} leads out of the document; expected '#/...'", (*path, "$ref")
            )
        target: Data = self.content
        place: Path = ()
        for part in reference.removeprefix("#/").split("/"):
            name = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(target, Mapping) or name not in target:
                raise self.wrong(f"the reference {reference!r} leads to nothing", (*path, "$ref"))
            target, place = target[name], (*place, name)
        return target, place


def documents_path(path: Path) -> str:
    """Return a field of a document as messages begin with it; empty for the document itself."""
    return ".".join(map(str, path)) + ": " if path else ""


def opened(given: Data, root: FilePath | None) -> ApiDocument:
    """Return a document that a manifest has, or names.

    Args:
        given: The document, or the path of its file.
        root: The folder that paths are relative to; None: that of the process.

    Raises:
        InvalidResource: It cannot be read; the message names file and line.
    """
    if not isinstance(given, str):
        return ApiDocument(given)
    path = (root or FilePath()) / given
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InvalidResource(f"the document cannot be read: {error}", path=FIELD, reason="InvalidOpenAPI") from None
    problems: list[Problem] = []
    read = list(documents.read(text, str(path), problems))
    if problems:
        told = "; ".join(map(str, problems))
        raise InvalidResource(f"the document cannot be read: {told}", path=FIELD, reason="InvalidOpenAPI")
    if len(read) != 1 or not isinstance(read[0][0], Mapping):
        found = f"{len(read)} documents" if len(read) != 1 else type(read[0][0]).__name__
        raise InvalidResource(f"{path} has {found}; expected one mapping", path=FIELD, reason="InvalidOpenAPI")
    return ApiDocument(*read[0])


def schema_of(document: ApiDocument, parameter: Fields, path: Path) -> Object:
    """Return the JSON Schema of a parameter."""
    schema = dict(document.mapping(document.resolved(parameter.get("schema") or {"type": "string"}, path), path))
    if parameter.get("description"):
        schema["description"] = parameter["description"]
    return schema
