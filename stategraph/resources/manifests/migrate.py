"""Bring manifests of earlier versions, and of groups that are read as ours, into the present form.

Rules
-----
* `apiVersion` becomes `stategraph.dev/v1`, a kind's alias its name, and references the one spelling (`fmt`).
* A namespace was no border in other groups: what may be used from everywhere there says so, in `allowedNamespaces`.
* A `status` goes: the runtime writes it.
* Edits are made in the text, so that comments, order and quotes stay. JSON keeps its indentation.
* What is left out of that is told, with its place: kinds that there are none of, fields that no kind has, documents of
  other formats. It stays in the text as it is.
* The new text has to be read as the same resources: where it would not, it is an error, and nothing is changed.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from stategraph.resources import documents
from stategraph.resources.headers import WITHOUT_BORDERS
from stategraph.resources.kind_table import API_VERSION, GROUP, KINDS, Kind, KindTable
from stategraph.resources.loading import ManifestError, load_text
from stategraph.resources.manifests.fmt import Edit, applied, formatted, say_the_same, spelled
from stategraph.resources.model import Resource
from stategraph.resources.places import Problem, Source
from stategraph.resources.references import in_spec
from stategraph.resources.schema import check, spec_schema

_INDENT: Final = re.compile(r"\n( +)\S")


@dataclass(frozen=True, slots=True)
class Migrated:
    """Outcome of the migration of one text.

    Attributes:
        text: The new text.
        changes: What was changed, with its place in the old text.
        left: What could not be carried over, with its place in the old text.
    """

    text: str
    changes: tuple[Problem, ...]
    left: tuple[Problem, ...]


def migrated(text: str, file: str = "-", kinds: KindTable = KINDS) -> Migrated:
    """Return manifests in the present form.

    Args:
        text: The manifests, in YAML, or in JSON where the file's name ends with `.json`.
        file: Where they are from, for places.
        kinds: The kinds that there are, with the custom ones.

    Raises:
        ManifestError: The text cannot be read, or would not say the same.
    """
    import yaml

    problems: list[Problem] = []
    read = list(documents.read(text, file, problems))
    if problems:
        raise ManifestError(problems)
    try:
        roots = [root for root in yaml.compose_all(text, Loader=yaml.SafeLoader) if not _is_empty(root)]
    except yaml.YAMLError as error:
        raise ManifestError([Problem(f"this is no YAML: {error}", source=Source(file, 1))]) from error
    edits: list[Edit] = []
    changes: list[Problem] = []
    left: list[Problem] = []
    for (value, source), root in zip(read, roots, strict=True):
        for each, node, its in _members(value, root, source):
            document = _Document(each, node, its, kinds, text)
            edits += document.edits()
            changes += document.changes
            left += document.left
    new = formatted(applied(text, list(dict.fromkeys(edits))), file, kinds) if changes else text
    if file.endswith(".json") and new != text:
        new = _as_json(new, text)
    _check_same(text, new, file, kinds)
    return Migrated(new, tuple(changes), tuple(left))


def _is_empty(root: Any) -> bool:
    return root is None or (root.id == "scalar" and root.tag.endswith(":null"))


def _members(value: Any, root: Any, source: Source) -> Iterator[tuple[Any, Any, Source]]:
    """Yield a document with its node, or those that it lists."""
    prefix: tuple[str, ...] = ()
    several, nodes = value, root
    if isinstance(value, Mapping) and value.get("kind") == "List" and isinstance(value.get("items"), list):
        prefix, several, nodes = ("items",), value["items"], _pair(root, "items")[1]
    if not isinstance(several, list):
        yield value, root, source
        return
    for index, (each, node) in enumerate(zip(several, nodes.value, strict=True)):
        yield each, node, documents.below(source, (*prefix, index))


def _pair(node: Any, name: str) -> tuple[Any, Any]:
    """Return the nodes of a field, key and value; None for one that is not written there."""
    found = ((key, value) for key, value in node.value if key.value == name) if node.id == "mapping" else iter(())
    return next(found, (None, None))


class _Document:
    """The migration of one document.

    Args:
        value: The document.
        node: Its node.
        source: Where it is.
        kinds: The kinds that there are.
        text: The text that it is in.
    """

    def __init__(self, value: Any, node: Any, source: Source, kinds: KindTable, text: str) -> None:
        self._value = value
        self._node = node
        self._source = source
        self._kinds = kinds
        self._text = text
        self.changes: list[Problem] = []
        self.left: list[Problem] = []

    def edits(self) -> list[Edit]:
        """Return what is to be changed before references are, and note all changes."""
        kind = self._kind()
        if kind is None:
            return []
        found = [*self._header(kind), *self._around(kind)]
        self._references(kind)
        self._check(kind)
        return found

    def _kind(self) -> Kind | None:
        """Return the built-in kind of the document; None, and noted, if it is of another one."""
        value = self._value
        if not isinstance(value, Mapping) or not isinstance(value.get("apiVersion"), str):
            self._leave("this is no manifest: it has no apiVersion", ())
            return None
        api, word = value["apiVersion"], str(value.get("kind"))
        kind = next((each for each in self._kinds if word in (each.name, *each.aliases)), None)
        group = api.partition("/")[0]
        if kind is not None and kind.group != GROUP and kind.group == group:
            return None  # a custom kind keeps its group
        if not self._kinds.is_ours(api):
            hint = _FOREIGN.get(group, "it is of another format")
            self._leave(f"'{api}' is left as it is: {hint}", ("apiVersion",))
        elif kind is None or kind.group != GROUP:
            near = self._kinds.suggestion(word)
            expected = "a CustomResourceDefinition of it among the files" if group != GROUP else ""
            self._leave(f"there is no kind '{word}': it is left as it is", ("kind",), expected, near)
        else:
            return kind
        return None

    def _leave(self, message: str, path: tuple[str | int, ...], expected: str = "", near: str = "") -> None:
        self.left.append(Problem(message, path, self._source, expected=expected, suggestion=near))

    def _change(self, message: str, path: tuple[str | int, ...]) -> None:
        self.changes.append(Problem(message, path, self._source))

    def _header(self, kind: Kind) -> Iterator[Edit]:
        """Yield the edits of `apiVersion` and `kind`."""
        for name, wanted in (("apiVersion", API_VERSION), ("kind", kind.name)):
            found = self._value[name]
            if found != wanted:
                node = _pair(self._node, name)[1]
                quote = node.style if node.style in ("'", '"') else ""
                self._change(f"{found} -> {wanted}", (name,))
                yield Edit(node.start_mark.index, node.end_mark.index, f"{quote}{wanted}{quote}")

    def _around(self, kind: Kind) -> Iterator[Edit]:
        """Yield the edits of what other groups mean without saying it, and of what the runtime writes."""
        api = self._value["apiVersion"]
        if api == API_VERSION:
            return
        borders = api.startswith(f"{GROUP}/") or kind.name not in WITHOUT_BORDERS
        if not borders and "allowedNamespaces" not in (self._value.get("spec") or {}):
            self._change(f'allowedNamespaces: ["*"] is added: in {api} a namespace was no border', ("spec",))
            yield self._without_borders()
        key, node = _pair(self._node, "status")
        if key is not None and not self._node.flow_style:
            self._change("removed: the runtime writes it", ("status",))
            yield Edit(_line_start(self._text, key.start_mark.index), _end_of(self._text, node), "")

    def _without_borders(self) -> Edit:
        """Return the edit that says that all namespaces may use a resource."""
        quote = '"' if self._source.file.endswith(".json") else ""
        said = f'{quote}allowedNamespaces{quote}: ["*"]'
        key, node = _pair(self._node, "spec")
        if key is None:
            at = self._node.value[0][0].start_mark
            gap = ", " if self._node.flow_style else f"\n{' ' * at.column}"
            return Edit(at.index, at.index, f"{quote}spec{quote}: {{{said}}}{gap}")
        if node.id == "mapping" and node.value:
            at = node.value[0][0].start_mark
            return Edit(at.index, at.index, f"{said}{', ' if node.flow_style else chr(10) + ' ' * at.column}")
        return Edit(node.start_mark.index, node.end_mark.index, f"{' ' if node.id == 'scalar' else ''}{{{said}}}")

    def _references(self, kind: Kind) -> None:
        """Note the references that `fmt` rewrites."""
        spec = self._value.get("spec")
        for each in in_spec(spec, spec_schema(kind), self._kinds) if isinstance(spec, Mapping) else ():
            wanted = spelled(each, self._kinds)
            renamed = each.path[-1] == "refName"
            if renamed or (wanted is not None and wanted != each.value and not _has_key(each.value)):
                name = "ref: " if renamed else ""
                shown = each.value if isinstance(each.value, str) else json.dumps(each.value, ensure_ascii=False)
                self._change(f"{shown} -> {name}{wanted or shown}", each.path)

    def _check(self, kind: Kind) -> None:
        """Note what the kind does not know."""
        spec = self._value.get("spec")
        try:
            (resource,) = load_text(documents.write([{**self._value, "spec": spec or {}}]), kinds=self._kinds)
        except ManifestError as error:
            self.left += [replace(each, source=self._source) for each in error.problems]
            return
        found = check(replace(resource, kind=kind.name, source=self._source), environment=_environment(), kinds=KINDS)
        self.left += [each for each in found if not each.message.startswith("the variable ")]


#: What documents of other groups are for.
_FOREIGN: Final[Mapping[str, str]] = {
    "kagent.dev": "'stategraph convert kagent' reads it",
    "argoproj.io": "'stategraph convert argo' reads it",
}


def _environment() -> Mapping[str, str]:
    return dict(os.environ)


def _has_key(value: object) -> bool:
    """Return whether a reference in parts says more than a name can."""
    return isinstance(value, Mapping) and not set(value) <= {"name", "namespace", "kind", "ref", "refName"}


def _line_start(text: str, at: int) -> int:
    return text.rfind("\n", 0, at) + 1


def _end_of(text: str, node: Any) -> int:
    """Return the position behind the last line of a node; comments and blank lines after it are not of it."""
    end = node.end_mark.index
    last = node
    while last.id != "scalar" and last.value and not last.flow_style:
        last = last.value[-1][1] if last.id == "mapping" else last.value[-1]
    if last is not node or last.id == "scalar":
        end = last.end_mark.index
    line = text.find("\n", end)
    return len(text) if line < 0 else line + 1


def _as_json(new: str, old: str) -> str:
    """Return a text that is YAML as JSON, indented as another text is."""
    import yaml

    found = _INDENT.search(old)
    value = yaml.safe_load(new)
    return json.dumps(value, ensure_ascii=False, indent=len(found[1]) if found else None) + "\n"


def _check_same(old: str, new: str, file: str, kinds: KindTable) -> None:
    """Check that two texts are read as the same resources.

    Raises:
        ManifestError: They are not.
    """
    before, after = _resources(old, file, kinds), _resources(new, file, kinds)
    same = [each.key for each in before] == [each.key for each in after] and all(
        _told(one) == _told(other) and say_the_same(one.spec, other.spec, kinds)
        for one, other in zip(before, after, strict=True)
    )
    if not same:
        raise ManifestError([Problem("it cannot be migrated without changing what is said", source=Source(file, 1))])


def _resources(text: str, file: str, kinds: KindTable) -> Sequence[Resource]:
    try:
        return load_text(text, file=file, kinds=kinds)
    except ManifestError as error:
        return error.resources


def _told(resource: Resource) -> tuple[object, ...]:
    meta = resource.metadata
    return resource.kind, resource.api_version, dict(meta.labels), dict(meta.annotations)
