"""From a document to a resource: `apiVersion`, `kind` and `metadata`, checked."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Final

from stategraph.resources.kind_table import API_VERSION, DEFAULT_NAMESPACE, GROUP, Kind, KindTable
from stategraph.resources.model import LONGEST_NAME, NAME, Metadata, Resource
from stategraph.resources.places import Path, Problem, Source

_FIELDS: Final = ("apiVersion", "kind", "metadata", "spec", "status")
_METADATA: Final = ("name", "namespace", "labels", "annotations")

#: Fields that a store writes: a document that was printed by a command or by Kubernetes has them, and applying it is
#: no reason to change them.
_KEPT: Final = (
    "uid",
    "generation",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "ownerReferences",
    "finalizers",
    "managedFields",
    "selfLink",
)
#: Kinds of other groups that are read as ours, in which a namespace was no border: they say so once they are ours.
WITHOUT_BORDERS: Final = frozenset({"Agent", "Model", "Network", "Tool", "Workflow"})
_NAMES: Final = "small letters, digits, '-' and '.', as in 'recipe-finder'"


def to_resource(value: Any, source: Source, kinds: KindTable, problems: list[Problem]) -> Resource | None:
    """Make a resource of a document; what is wrong is added to the problems.

    Returns:
        The resource, or None if it has no usable name or kind.
    """
    header = _Header(value, source, problems)
    if not isinstance(value, Mapping):
        header.report("a manifest is a mapping with apiVersion, kind and metadata", (), found=_kind_of(value))
        return None
    header.unknown(value, _FIELDS, ())
    api_version, word = header.text("apiVersion"), header.text("kind")
    kind = header.kind(api_version, word, kinds) if api_version and word else None
    known = kind if isinstance(kind, Kind) else None
    meta = header.metadata(value.get("metadata"), namespaced=known is None or known.namespaced)
    spec = header.spec(value.get("spec"))
    if header.failed or kind is None or meta is None:
        return None
    if known is not None and known.group == GROUP:
        if known.name in WITHOUT_BORDERS and not api_version.startswith(f"{GROUP}/"):
            spec.setdefault("allowedNamespaces", ["*"])
        api_version = API_VERSION
    return Resource(api_version, known.name if known else word, meta, spec, {}, source)


class _Header:
    """The checks of one document."""

    def __init__(self, value: Any, source: Source, problems: list[Problem]) -> None:
        self._value = value
        self._source = source
        self._problems = problems
        self.failed = False

    def report(self, message: str, path: Path, *, found: str = "", expected: str = "", near: str = "") -> None:
        """Add a problem."""
        self.failed = True
        self._problems.append(Problem(message, path, self._source, found, expected, near))

    def unknown(self, value: Mapping[str, Any], fields: tuple[str, ...], path: Path) -> None:
        """Report fields that there are none of."""
        for name in value:
            if name not in fields:
                near = get_close_matches(str(name), fields, n=1, cutoff=0.6)
                expected = "one of " + ", ".join(each for each in fields if each not in _KEPT)
                self.report(f"unknown field '{name}'", (*path, name), expected=expected, near=near[0] if near else "")

    def text(self, name: str) -> str:
        """Return a field of the document that is a text; empty, and reported, if it is none."""
        value = self._value.get(name)
        if isinstance(value, str) and value:
            return value
        if value is None:
            example = API_VERSION if name == "apiVersion" else "a kind, such as Agent"
            self.report(f"the field '{name}' is required", (name,), expected=example)
        else:
            self.report(f"the field '{name}' is no text", (name,), found=_kind_of(value), expected="a text")
        return ""

    def kind(self, api_version: str, word: str, kinds: KindTable) -> Kind | str | None:
        """Return the kind; the word itself for one that may yet be defined, None and reported for none."""
        found = next((each for each in kinds if word in (each.name, *each.aliases)), None)
        ours = kinds.is_ours(api_version)
        group = api_version.partition("/")[0]
        if found is not None and (ours if found.group == GROUP else found.group == group):
            return found
        if found is not None and found.group == GROUP:
            self.report(
                f"'{api_version}' is no apiVersion of {found.name}",
                ("apiVersion",),
                found=api_version,
                expected=API_VERSION,
            )
            return None
        if group != GROUP and "/" in api_version:
            return word
        near = kinds.suggestion(word)
        names = ", ".join(each.name for each in kinds)
        self.report(f"there is no kind '{word}'", ("kind",), expected=f"one of {names}", near=near)
        return None

    def spec(self, value: Any) -> dict[str, Any]:
        """Return the spec; empty if there is none, and reported if it is no mapping."""
        if isinstance(value, Mapping):
            return dict(value)
        if value is not None:
            self.report("the spec is no mapping", ("spec",), found=_kind_of(value), expected="a mapping")
        return {}

    def metadata(self, value: Any, *, namespaced: bool) -> Metadata | None:
        """Return the metadata; None, and reported, if there is no name."""
        if not isinstance(value, Mapping):
            self.report("the field 'metadata' is required", ("metadata",), expected="a mapping with a name")
            return None
        self.unknown(value, (*_METADATA, *_KEPT), ("metadata",))
        name = self._name(value, "name", required=True)
        namespace = self._name(value, "namespace", required=False) or DEFAULT_NAMESPACE
        labels, annotations = (self._words(value, each) for each in ("labels", "annotations"))
        if not name:
            return None
        return Metadata(name, namespace if namespaced else "", labels, annotations)

    def _name(self, value: Mapping[str, Any], field: str, *, required: bool) -> str:
        path = ("metadata", field)
        name = value.get(field)
        if name is None:
            if required:
                self.report(f"the field '{field}' is required", path, expected=_NAMES)
            return ""
        if not isinstance(name, str):
            self.report(f"the {field} is no text; write it in quotes", path, found=_kind_of(name), expected=_NAMES)
        elif len(name) > LONGEST_NAME or not NAME.fullmatch(name):
            self.report(f"this is no {field}", path, found=repr(name[:60]), expected=_NAMES)
        else:
            return name
        return ""

    def _words(self, value: Mapping[str, Any], field: str) -> dict[str, str]:
        words = value.get(field)
        if words is None:
            return {}
        if not isinstance(words, Mapping):
            self.report(f"the {field} are no mapping", ("metadata", field), found=_kind_of(words), expected="a mapping")
            return {}
        for name, word in words.items():
            if not isinstance(word, str):
                self.report(
                    f"'{name}' is no text; write it in quotes",
                    ("metadata", field, name),
                    found=_kind_of(word),
                    expected="a text",
                )
        return {name: word for name, word in words.items() if isinstance(word, str)}


def _kind_of(value: Any) -> str:
    """Return a value's kind and beginning, for messages."""
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a text", list: "a list", dict: "a mapping"}
    if value is None:
        return "nothing"
    name = names.get(type(value), type(value).__name__)
    return name if isinstance(value, list | dict) else f"{name}, {str(value)[:40]!r}"
