"""The outcome of a conversion, and the choice of the converter of a document."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Final, TypeAlias

from pydantic import ValidationError

from stategraph.resources.compile.workflows import checks, normal
from stategraph.resources.errors import ResourceError
from stategraph.resources.kind_table import API_VERSION, KINDS
from stategraph.resources.kinds.workflow import WorkflowSpec
from stategraph.resources.model import Metadata, Resource
from stategraph.resources.places import dotted

Document: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A construct that has no counterpart.

    Attributes:
        construct: What it is called there, such as `synchronization`.
        place: Its field, such as `spec.templates[1].synchronization`.
        reason: Why it is refused.
    """

    construct: str
    place: str
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.construct}: {self.reason}"


@dataclass(slots=True)
class Conversion:
    """Outcome of the conversion of one document.

    Attributes:
        name: The document, as its kind and name.
        resources: The resources that it becomes; none if anything is refused.
        refused: The constructs that are refused.
        notes: What a person should know: tools to be registered, settings that are set elsewhere.
    """

    name: str
    resources: list[Resource] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def is_converted(self) -> bool:
        """True if nothing is refused."""
        return not self.refused

    def refuse(self, construct: str, place: str, reason: str) -> None:
        """Note a construct that has no counterpart."""
        self.refused.append(Refusal(construct, place, reason))

    def add(self, kind: str, name: str, spec: Mapping[str, Any], namespace: str = "default") -> None:
        """Add a resource."""
        self.resources.append(Resource(API_VERSION, kind, Metadata(resource_name(name), namespace), dict(spec)))


FORMATS: Final[Mapping[str, str]] = {
    "argo": "stategraph.resources.convert.argo:convert",
    "crewai": "stategraph.resources.convert.crewai:convert",
    "kagent": "stategraph.resources.convert.kagent:convert",
}
"""The converters by the name of their format."""


def convert(
    documents: Sequence[Document], format: str | None = None, *, among: Sequence[Document] = ()
) -> list[Conversion]:
    """Convert parsed documents.

    Args:
        documents: The documents.
        format: Whose they are, of `FORMATS`; None: each is looked at.
        among: Documents that they may refer to; none: they may refer to each other.

    Raises:
        ResourceError: There is no such format, or a document is of none.
    """
    if format is not None and format not in FORMATS:
        raise ResourceError(f"There is no format {format!r}; expected one of {', '.join(FORMATS)}")
    found: list[Conversion] = []
    for document in documents:
        name = format or format_of(document)
        if name is None:
            shown = document.get("apiVersion") or document.get("schema") or "nothing that tells"
            raise ResourceError(f"A document is of no known format: {shown!r}; expected one of {', '.join(FORMATS)}")
        found += _of_form(document, name, among or documents)
    return [_verified(each) for each in found]


def _of_form(document: Document, format: str, among: Sequence[Document]) -> list[Conversion]:
    """Convert a document; one whose fields are not of the types that its format has is refused."""
    try:
        return list(_converter(format)(document, among))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        word = document.get("kind") or "Document"
        refused = Conversion(f"{word} {name_of(document)}")
        refused.refuse("form", "spec", f"its fields are not of the form that {format} has ({error})")
        return [refused]


def format_of(document: Document) -> str | None:
    """Return the format of a document; None if it is of none that is known."""
    version = str(document.get("apiVersion", ""))
    if version.startswith("argoproj.io/"):
        return "argo"
    if version.startswith("kagent.dev/"):
        return "kagent"
    if str(document.get("schema", "")).startswith("crewai.flow/"):
        return "crewai"
    return None


def resource_name(name: str) -> str:
    """Return a name that a resource may have: small letters, digits, `-` and `.`."""
    return re.sub(r"[^a-z0-9.-]+", "-", name.lower()).strip("-.") or "unnamed"


def step_id(name: str) -> str:
    """Return a name that a step may have."""
    return re.sub(r"[\s:|/]+", "-", name)


def name_of(document: Document) -> str:
    """Return the name of a document of Kubernetes."""
    metadata = document.get("metadata")
    if not isinstance(metadata, Mapping):
        return "unnamed"
    return str(metadata.get("name") or str(metadata.get("generateName", "")).rstrip("-") or "unnamed")


def _verified(conversion: Conversion) -> Conversion:
    """Return a conversion without resources if anything was refused, or does not fit its kind after all."""
    for resource in conversion.resources if conversion.is_converted else ():
        for place, why in _problems(resource):
            conversion.refuse(resource.kind, f"{resource.name}: {place}", why)
    if not conversion.is_converted:
        conversion.resources.clear()
    return conversion


def _problems(resource: Resource) -> Iterator[tuple[str, str]]:
    kind = KINDS.get(resource.kind)
    model = None if kind is None else kind.model()
    assert model is not None
    try:
        spec = model.model_validate(dict(resource.spec))
    except ValidationError as error:
        for each in error.errors(include_url=False):
            yield ".".join(map(str, each["loc"])), str(each["msg"])
        return
    if isinstance(spec, WorkflowSpec):
        for problem in checks.problems_of(normal.expanded(spec)):
            yield dotted(problem.path), problem.message


def _converter(name: str) -> Callable[[Document, Sequence[Document]], Iterator[Conversion]]:
    module, _, function = FORMATS[name].partition(":")
    found: Callable[[Document, Sequence[Document]], Iterator[Conversion]] = getattr(import_module(module), function)
    return found
