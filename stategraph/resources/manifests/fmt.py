"""Rewrite the references of manifests into the one spelling, and leave every other character as it is.

Rules
-----
* A reference is written `name`, or `namespace/name` where a namespace is named. A kind that was written goes if the
  name of the field says it too, as in `agents: [{ref: agents/greeter}]`; else it stays, as in `ref: workflow/nightly`.
  `refName` becomes `ref`.
* Edits are made in the text, so that comments, order, quotes and blank lines stay. A comment inside of a reference in
  parts goes behind the name that replaces them.
* The new text has to say the same as the old one: where it would not, it is an error, and nothing is changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from stategraph.resources import refs
from stategraph.resources.errors import ResourceError
from stategraph.resources.kind_table import DEFAULT_NAMESPACE, KINDS, KindTable
from stategraph.resources.loading import ManifestError
from stategraph.resources.places import Path, Problem, Source
from stategraph.resources.references import Found, in_spec, kind_of_field
from stategraph.resources.schema import spec_schema

#: A name that YAML reads as text without quotes.
_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")
_WORDS: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})

#: Anchors and tags, with which the text of a node begins.
_PROPERTIES: Final = re.compile(r"(?:[&!][^\s,\[\]{}]*\s+)*")

_COMMENT: Final = re.compile(r"(?:(?<=\s)|^)#[^\n]*", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Edit:
    """A part of a text that is replaced.

    Attributes:
        start: The position of its first character.
        end: The position behind its last one.
        text: What stands there instead.
    """

    start: int
    end: int
    text: str


def formatted(text: str, file: str = "-", kinds: KindTable = KINDS) -> str:
    """Return manifests with all references in the one spelling.

    Args:
        text: The manifests, documents of YAML.
        file: Where they are from, for errors.
        kinds: The kinds that there are; documents of others are left as they are.

    Raises:
        ManifestError: The text is no YAML.
    """
    import yaml

    try:
        roots = list(yaml.compose_all(text, Loader=yaml.SafeLoader))  # not the one in C: it counts bytes
        documents = list(yaml.safe_load_all(text))
        pairs = zip(roots, documents, strict=True)
        found = (edit for root, document in pairs for edit in _of_document(root, document, text, kinds))
        edits = list(dict.fromkeys(found))  # an alias leads to what is written once
        changed = applied(text, edits)
        if edits and not say_the_same(documents, list(yaml.safe_load_all(changed)), kinds):
            raise ManifestError(
                [Problem("the references cannot be rewritten without changing what is said", source=Source(file, 1))]
            )
    except yaml.YAMLError as error:
        raise ManifestError([_unreadable(error, file)]) from error
    return changed if changed.endswith("\n") or not changed else f"{changed}\n"


def _unreadable(error: Any, file: str) -> Problem:
    mark = getattr(error, "problem_mark", None)
    source = Source(file, mark.line + 1 if mark else 1)
    return Problem(f"this is no YAML: {getattr(error, 'problem', None) or error}", source=source)


def applied(text: str, edits: list[Edit]) -> str:
    """Return a text with its edits made; they do not overlap."""
    for edit in sorted(edits, key=lambda each: each.start, reverse=True):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text


def _of_document(root: Any, document: object, text: str, kinds: KindTable) -> Iterator[Edit]:
    if not isinstance(document, Mapping):
        return
    word = document.get("kind")
    kind = kinds.get(word) if isinstance(word, str) else None
    schema = {} if kind is None else spec_schema(kind)
    if not schema or not isinstance(document.get("spec"), Mapping):
        return
    for each in in_spec(document["spec"], schema, kinds):
        key, node = _at(root, each.path)
        if node is None:  # it comes from elsewhere, by an alias or a merge
            continue
        if each.path[-1] == "refName":
            yield Edit(key.start_mark.index, key.end_mark.index, "ref")
        wanted = spelled(each, kinds)
        if wanted is not None and wanted != each.value and not _has_more(each.value):
            yield from _edits(node, wanted, text)


def _has_more(value: object) -> bool:
    """Return whether a reference in parts says more than a name can, such as the key of a Secret."""
    return isinstance(value, Mapping) and not set(value) <= {"name", "namespace", "kind", "ref", "refName"}


def spelled(found: Found, kinds: KindTable = KINDS) -> str | None:
    """Return the one spelling of a reference; None if it cannot be read, or can only be written in parts."""
    reference = found.reference
    if reference is None:
        return None
    is_said = reference.kind is None or reference.kind == kind_of_field(found.path, kinds)
    text = str(reference) if is_said else f"{reference.kind}/{reference}"
    return text if _same(refs.parse(text, kinds), reference) else None


def _same(one: refs.Reference, other: refs.Reference) -> bool:
    """Return whether references name the same; a name in parts may have a dot, which a text would be read by."""
    return (one.name, one.namespace) == (other.name, other.namespace) and one.kind in (None, other.kind)


def _at(root: Any, path: Path) -> tuple[Any, Any]:
    """Return the nodes of a field: its key (None in a list) and its value; None for one that is not written there."""
    key, node = None, root
    for part in path:
        if node.id == "mapping" and isinstance(part, str):
            key, node = next(((each, value) for each, value in node.value if each.value == part), (None, None))
        elif node.id == "sequence" and isinstance(part, int) and part < len(node.value):
            key, node = None, node.value[part]
        else:
            return None, None
        if node is None:
            return None, None
    return key, node


def _edits(node: Any, wanted: str, text: str) -> Iterator[Edit]:
    """Yield the edit that puts a name in the place of a reference."""
    start, end = node.start_mark.index, node.end_mark.index
    start += len(_PROPERTIES.match(text[start:end])[0])  # type: ignore[index]
    if node.id == "scalar" and node.style in (None, "'", '"'):
        quote = node.style or ""
        yield Edit(start, end, f"{quote}{wanted}{quote}" if quote else _scalar(wanted))
    elif node.id == "mapping" and node.flow_style:
        yield Edit(start, end, _scalar(wanted))
    elif node.id == "mapping" and start == node.start_mark.index:
        yield _in_place_of_block(node, wanted, text)


def _in_place_of_block(node: Any, wanted: str, text: str) -> Edit:
    start = node.start_mark.index
    # The end of a block is where the next token begins: what stands before that is not of the block.
    end = max(value.end_mark.index for _, value in node.value)
    rest = text[end:].partition("\n")[0]
    if not rest.strip() or rest.strip().startswith("#"):
        end += len(rest)
    comments = "".join(f"  {each.rstrip()}" for each in _COMMENT.findall(text[start:end]))
    before = text[:start].rstrip()
    if before.endswith(":") and "\n" in text[len(before) : start]:  # the parts stand below their key
        return Edit(len(before), end, f" {_scalar(wanted)}{comments}")
    return Edit(start, end, f"{_scalar(wanted)}{comments}")


def _scalar(text: str) -> str:
    return text if _PLAIN.fullmatch(text) and text.lower() not in _WORDS else f'"{text}"'


def say_the_same(old: object, new: object, kinds: KindTable) -> bool:
    """Return whether values are alike but for the spelling of references."""
    match old, new:
        case Mapping(), Mapping():
            renamed = {"ref" if key == "refName" and "refName" not in new else key: value for key, value in old.items()}
            return set(renamed) == set(new) and all(say_the_same(renamed[key], new[key], kinds) for key in new)
        case list(), list():
            return len(old) == len(new) and all(map(partial(say_the_same, kinds=kinds), old, new))
    return old == new or _are_spellings(old, new, kinds)


def _are_spellings(old: object, new: object, kinds: KindTable) -> bool:
    """Return whether values are references to the same name."""
    try:
        before, after = refs.parse(old, kinds), refs.parse(new, kinds)
    except ResourceError:
        return False
    return (before.name, before.namespace or DEFAULT_NAMESPACE) == (after.name, after.namespace or DEFAULT_NAMESPACE)
