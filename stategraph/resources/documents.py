"""Documents of YAML and JSON as plain values, with the line and column of every field.

Values are made from the parser's events, without its composer: so nesting, aliases and text have bounds before anything
is built, and a place costs one dictionary entry.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, TypeAlias

from stategraph.errors import MissingPackageError
from stategraph.resources.places import Path, Problem, Source

MAX_DOCUMENTS: Final = 1_000
MAX_DEPTH: Final = 64

#: What one file may stand for once its aliases are replaced, in characters.
MAX_EXPANDED: Final = 4 * 1024 * 1024

Document: TypeAlias = tuple[Any, Source]

_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_MERGE: Final = "<<"
_LONGEST_NUMBER: Final = 400


def read(text: str, file: str, problems: list[Problem]) -> Iterator[Document]:
    """Yield the documents of a text that can be read; what cannot is added to the problems.

    Args:
        text: YAML, or JSON where the file's name ends with `.json`.
        file: What it is called in places.
        problems: Where problems go.
    """
    if file.endswith(".json"):
        yield from _read_json(text, file, problems)
        return
    yaml = _yaml()
    try:
        for number, document in enumerate(_documents(yaml, text, file)):
            if number == MAX_DOCUMENTS:
                problems.append(Problem(f"the file has more than {MAX_DOCUMENTS:,} documents", (), Source(file, 1)))
                return
            if document[0] is not None:
                yield document
    except _UnreadableError as error:
        problems.append(Problem(error.message, error.path, _at(file, error.line, error.column)))
    except yaml.MarkedYAMLError as error:
        if (tab := _tab(text, error)) is not None:
            problems.append(Problem("the line is indented with a tab; indent with spaces", (), _at(file, *tab)))
            return
        mark = error.problem_mark or error.context_mark
        what = ", ".join(each for each in (error.context, error.problem) if each)
        line, column = (1, 1) if mark is None else (mark.line + 1, mark.column + 1)
        problems.append(Problem(f"this is no YAML: {what}", (), _at(file, line, column)))
    except yaml.YAMLError as error:
        problems.append(Problem(f"this is no YAML: {str(error).splitlines()[0]}", (), Source(file, 1)))


def _tab(text: str, error: Any) -> tuple[int, int] | None:
    """Return the place of a tab in the indentation of the lines at which reading stopped; None if there is none."""
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return None
    lines = text.splitlines()
    for number in (mark.line, mark.line - 1):
        if 0 <= number < len(lines):
            line = lines[number]
            column = line.find("\t", 0, len(line) - len(line.lstrip()))
            if column >= 0:
                return number + 1, column + 1
    return None


def write(documents: Iterable[Mapping[str, Any]]) -> str:
    """Return documents as YAML; texts of several lines are written as such."""
    yaml = _yaml()
    text: str = yaml.dump_all(
        documents, Dumper=_dumper(), sort_keys=False, allow_unicode=True, width=100, default_flow_style=False
    )
    return text


def below(source: Source, prefix: Path) -> Source:
    """Return the source of a value inside of a document: places are named from there."""
    size = len(prefix)
    positions = {path[size:]: place for path, place in source.positions.items() if path[:size] == prefix}
    line = positions.get((), (source.line, 1))[0]
    return Source(source.file, line, positions)


def _at(file: str, line: int, column: int) -> Source:
    return Source(file, line, {(): (line, column)})


class _UnreadableError(Exception):
    """A document is more than plain values, or too large."""

    def __init__(self, message: str, line: int, column: int, path: Path = ()) -> None:
        super().__init__(message)
        self.message, self.line, self.column, self.path = message, line, column, path


def _read_json(text: str, file: str, problems: list[Problem]) -> Iterator[Document]:
    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) < len(items):
            names = [name for name, _ in items]
            raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} is written twice")
        return found

    def constant(name: str) -> Any:
        raise ValueError(f"{name} is no JSON")

    try:
        value = json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
    except json.JSONDecodeError as error:
        problems.append(Problem(f"this is no JSON: {error.msg}", (), _at(file, error.lineno, error.colno)))
    except (ValueError, RecursionError) as error:
        problems.append(Problem(f"this is no JSON: {error or 'it is nested too deeply'}", (), Source(file, 1)))
    else:
        yaml = _yaml()
        try:  # JSON is YAML, but for some escapes: then the places of fields are unknown
            (_, source), *_ = _documents(yaml, text, file)
        except (yaml.YAMLError, _UnreadableError, ValueError):
            source = Source(file, 1)
        yield value, source


@cache
def _yaml() -> Any:
    try:
        import yaml  # 10 ms, and only those who read manifests need it
    except ImportError as error:
        raise MissingPackageError("stategraph[resources]", "Manifests") from error
    return yaml


def _documents(yaml: Any, text: str, file: str) -> Iterator[Document]:
    """Yield the documents of a text; raises an error of YAML or `_UnreadableError`."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    building = _Building(yaml, file)
    for event in yaml.parse(text, loader):
        if isinstance(event, yaml.DocumentStartEvent):
            building = _Building(yaml, file, building.expanded)
        elif isinstance(event, yaml.DocumentEndEvent):
            line = building.line
            yield building.value, Source(file, line, building.positions)
        elif not isinstance(event, yaml.StreamStartEvent | yaml.StreamEndEvent):
            building.take(event)


@dataclass(slots=True)
class _Open:
    """A mapping or sequence that is being built.

    Attributes:
        value: What there is of it.
        path: Where it is.
        anchor: The name that aliases have for it.
        size: Characters in it so far, with what aliases stand for.
        key: The key whose value is next; None if a key is next.
        merged: Mappings to be merged into it (`<<`).
    """

    value: dict[str, Any] | list[Any]
    path: Path
    anchor: str | None
    size: int = 1
    key: str | None = None
    merged: list[Mapping[str, Any]] = field(default_factory=list)


class _Building:
    """One document, built from events.

    Args:
        yaml: The package.
        file: The file's name.
        expanded: Characters that the documents before it stand for.
    """

    def __init__(self, yaml: Any, file: str, expanded: int = 0) -> None:
        self._file = file
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self.value: Any = None
        self.positions: dict[Path, tuple[int, int]] = {}
        self.line = 1
        self.expanded = expanded
        self._began = False
        self._take: dict[type, Callable[[Any], None]] = {
            yaml.ScalarEvent: self._scalar,
            yaml.AliasEvent: self._alias,
            yaml.MappingStartEvent: lambda event: self._begin(event, {}),
            yaml.SequenceStartEvent: lambda event: self._begin(event, []),
            yaml.MappingEndEvent: self._end,
            yaml.SequenceEndEvent: self._end,
        }

    def take(self, event: Any) -> None:
        """Take the next event of the document."""
        if not self._began:
            self._began, self.line = True, event.start_mark.line + 1
        self._take[type(event)](event)

    def _scalar(self, event: Any) -> None:
        top = self._open[-1] if self._open else None
        if event.tag is not None and event.tag not in ("!", "tag:yaml.org,2002:str"):
            raise self._refuse(event, f"the tag {event.tag} is not read; write a plain value")
        if top is not None and isinstance(top.value, dict) and top.key is None:
            self._key(event, top)
            return
        text = event.value
        value = _plain(text) if not event.style and event.tag is None else text
        size = len(text) + 1
        path = self._place(event, top)
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, size)
        self._add(event, value, size, path)

    def _key(self, event: Any, top: _Open) -> None:
        key = event.value
        assert isinstance(top.value, dict)
        if not event.style and not isinstance(_plain(key), str):
            raise self._refuse(event, f"the key {key!r} is no text; write it in quotes")
        if key in top.value and not (key == _MERGE and not event.style):
            raise self._refuse(event, f"the key {key!r} is written twice")
        top.key = key
        if not (key == _MERGE and not event.style):
            self.positions[(*top.path, key)] = _place_of(event)

    def _alias(self, event: Any) -> None:
        top = self._open[-1] if self._open else None
        if top is not None and isinstance(top.value, dict) and top.key is None:
            raise self._refuse(event, "an alias is no key; write the key")
        if event.anchor not in self._anchors:
            raise self._refuse(event, f"the alias *{event.anchor} stands for nothing that is complete before it")
        value, size = self._anchors[event.anchor]
        self._add(event, value, size, self._place(event, top))

    def _begin(self, event: Any, value: dict[str, Any] | list[Any]) -> None:
        top = self._open[-1] if self._open else None
        if event.tag not in (None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"):
            raise self._refuse(event, f"the tag {event.tag} is not read; write a plain value")
        if top is not None and isinstance(top.value, dict) and top.key is None:
            raise self._refuse(event, "a key is a text; found a mapping or a list")
        if len(self._open) == MAX_DEPTH:
            raise self._refuse(event, f"values are nested more than {MAX_DEPTH} deep")
        self._open.append(_Open(value, self._place(event, top), event.anchor))

    def _end(self, event: Any) -> None:
        done = self._open.pop()
        if isinstance(done.value, dict):
            for each in done.merged:
                done.value = {**each, **done.value}
        if done.anchor is not None:
            self._anchors[done.anchor] = (done.value, done.size)
        self._add(event, done.value, done.size, done.path)

    def _place(self, event: Any, top: _Open | None) -> Path:
        """Return the path of the value that begins, and note its place if no key has."""
        if top is None:
            self.positions[()] = _place_of(event)
            return ()
        if isinstance(top.value, list):
            path = (*top.path, len(top.value))
            self.positions[path] = _place_of(event)
            return path
        assert top.key is not None
        return (*top.path, top.key)

    def _add(self, event: Any, value: Any, size: int, path: Path) -> None:
        """Put a value that is complete into the one around it."""
        if not self._open:
            self.value = value
            self.expanded += size
            return
        top = self._open[-1]
        top.size += size
        if top.size + self.expanded > MAX_EXPANDED:
            raise self._refuse(event, f"with its aliases the file stands for more than {MAX_EXPANDED:,} characters")
        if isinstance(top.value, list):
            top.value.append(value)
            return
        assert top.key is not None
        if top.key == _MERGE and path not in self.positions:
            self._merge(event, top, value)
        else:
            top.value[top.key] = value
            top.size += len(top.key)
        top.key = None

    def _merge(self, event: Any, top: _Open, value: Any) -> None:
        several = value if isinstance(value, list) else [value]
        if not all(isinstance(each, dict) for each in several):
            raise self._refuse(event, "'<<' merges a mapping or a list of mappings")
        top.merged += several

    def _refuse(self, event: Any, message: str) -> _UnreadableError:
        line, column = _place_of(event)
        return _UnreadableError(message, line, column)


def _place_of(event: Any) -> tuple[int, int]:
    mark = event.start_mark
    return mark.line + 1, mark.column + 1


def _plain(text: str) -> Any:
    """Return the value of a scalar without quotes, by YAML 1.2's core schema; what is no JSON is a text."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if len(text) > _LONGEST_NUMBER or text[0] not in "-+.0123456789":
        return text
    if _INT.fullmatch(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if _FLOAT.fullmatch(text):
        number = float(text)
        return text if number in (float("inf"), float("-inf")) else number
    return text


@cache
def _dumper() -> Any:
    yaml = _yaml()

    class Dumper(yaml.SafeDumper):  # type: ignore[misc, name-defined]
        """Writes plain values such that both YAML 1.1 and 1.2 read them as they are."""

        def ignore_aliases(self, data: Any) -> bool:
            """Write everything in its place."""
            del data
            return True

        def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
            """Indent lists in mappings."""
            del indentless
            super().increase_indent(flow, False)

    def text(dumper: Any, value: str) -> Any:
        style = None
        if not value.isprintable():  # its writer of single quotes takes some of these for the end of a line
            lines = value.split("\n")
            plain = all(line.isprintable() and line == line.rstrip() for line in lines)
            style = "|" if plain and lines[0] and lines[0] == lines[0].strip() else '"'
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    Dumper.add_multi_representer(Mapping, lambda dumper, value: dumper.represent_dict(dict(value)))
    Dumper.add_representer(tuple, lambda dumper, value: dumper.represent_list(value))
    for tag, pattern in (("int", _INT), ("float", _FLOAT)):
        whole = re.compile(rf"(?:{pattern.pattern})$")
        Dumper.add_implicit_resolver(f"tag:yaml.org,2002:core-{tag}", whole, list("-+.0123456789"))
    return Dumper
