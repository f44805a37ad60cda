"""`stategraph convert`: manifests of kagent, CrewAI and Argo as resources, or refused with a reason for each construct.

Nothing is left out in silence: a document is converted whole or not at all. What a person has to do for it, such as a
tool that the program registers, stands in a comment before the resources.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from stategraph.cli.converting.files import SUFFIXES, check_free, files_of, put
from stategraph.cli.output import FAILED, NOTHING_DONE, Output, counted
from stategraph.cli.parser import Parser
from stategraph.cli.resources.columns import columns
from stategraph.cli.resources.opening import run_on_resources
from stategraph.cli.style import Style
from stategraph.resources.places import Problem, Source, dotted

if TYPE_CHECKING:
    from stategraph.resources.convert import Conversion
    from stategraph.resources.model import Resource, ResourceKey

FORMATS: Final = ("kagent", "crewai", "argo")
#: A part of a field's name: an element of a list, or a key.
_PART: Final = re.compile(r"\[([^\]]*)\]|([^.\[\]]+)")


_Documents: TypeAlias = Sequence[tuple[Mapping[str, Any], Source]]


@dataclass(slots=True)
class Converted:
    """Outcome for one document of a file.

    Attributes:
        file: The file, as it was named; `-` for standard input.
        place: Where the document is, as `file:line`.
        name: What it is, as its kind and name.
        outcome: `converted`, `refused`, or `skipped` for a document of another format.
        resources: The resources that it becomes.
        refused: What has no counterpart: construct and problem, whose path is that of the field.
        notes: What a person has to do.
    """

    file: str
    place: str
    name: str
    outcome: str
    resources: list[Resource] = field(default_factory=list)
    refused: list[tuple[str, str, Problem]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def prepare(parser: Parser) -> None:
    """Describe the command's arguments."""
    parser.add_argument("format", metavar="FORMAT", choices=FORMATS, help=f"whose they are: {', '.join(FORMATS)}")
    parser.add_argument("files", metavar="FILE", nargs="+", help="files and folders; - for standard input")
    parser.add_argument(
        "-o",
        "--out",
        metavar="OUT",
        help="a file (.yaml), or a folder, which gets a file for each one that is converted (default: standard output)",
    )
    parser.add_argument("--force", action="store_true", help="write over files that are there")
    parser.add_argument("--json", action="store_true", help="print the report as JSON; the resources are in it")
    parser.epilog = (
        "Exit code: 0 all is converted, 1 something is refused (what is right is written), 2 nothing could be "
        "converted, or a file cannot be read."
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Convert manifests, and return the exit code."""
    return run_on_resources(_convert, arguments, as_json=arguments.json)


async def _convert(arguments: argparse.Namespace, output: Output) -> int:
    problems: list[Problem] = []
    below = {"-" if file is None else str(file): place for file, place in files_of(arguments.files)}
    found = _all_converted([each for name in below for each in _documents(name, problems)], arguments.format)
    out = arguments.out
    _check_doubles(found, together=out is None or Path(out).suffix in SUFFIXES)
    for each in problems:
        output.complain(f"stategraph: {each}")
    written = _write(found, below, arguments, output)
    if arguments.json:
        output.show({"documents": [_facts(each) for each in found], "problems": list(map(str, problems))}, "")
    else:
        to_stderr = arguments.out is None  # the resources are on standard output
        style = Style(sys.stderr if to_stderr else sys.stdout)
        (output.complain if to_stderr else output.show_json)("\n".join(_report(found, written, style)))
    outcomes = {each.outcome for each in found}
    if problems or "converted" not in outcomes:
        return FAILED
    return NOTHING_DONE if "refused" in outcomes else 0


# Reading.


def _documents(name: str, problems: list[Problem]) -> Iterator[tuple[Mapping[str, Any], Source]]:
    """Yield the documents of a file, with those that it lists; what cannot be read is added to the problems."""
    from stategraph.cli.output import text_of
    from stategraph.resources import documents

    for value, source in documents.read(text_of(name), name, problems):
        is_list = isinstance(value, Mapping) and value.get("kind") == "List" and isinstance(value.get("items"), list)
        prefix: tuple[str, ...] = ("items",) if is_list else ()
        several = value["items"] if is_list else value
        if not isinstance(several, list):
            several, inner = [value], [source]
        else:
            inner = [documents.below(source, (*prefix, index)) for index in range(len(several))]
        for each, at in zip(several, inner, strict=True):
            if isinstance(each, Mapping):
                yield each, at
            else:
                problems.append(Problem("a document is a mapping", (), at, found=type(each).__name__))


def _all_converted(given: _Documents, format: str) -> list[Converted]:
    """Convert documents, which may refer to each other also where they are in several files."""
    return [_converted(value, source, format, _among(source.file, given)) for value, source in given]


def _among(file: str, given: _Documents) -> Sequence[Mapping[str, Any]]:
    """Return all documents, in the order in which names are looked for: those of other files before those of a file.

    Converters take the last one of a name.
    """
    own = [value for value, source in given if source.file == file]
    return [*(value for value, source in given if source.file != file), *own]


def _converted(value: Mapping[str, Any], source: Source, format: str, among: Sequence[Mapping[str, Any]]) -> Converted:
    from stategraph.resources.convert import convert
    from stategraph.resources.convert.conversion import format_of

    place = f"{source.file}:{source.line}"
    its = format_of(value)
    if its != format and (its is not None or format != "crewai" or "apiVersion" in value):
        said = value.get("apiVersion") or value.get("schema") or "nothing that tells"
        name = f"{value.get('kind') or 'document'} {_name(value)}".rstrip()
        hint = f"it is of {its}: 'stategraph convert {its}'" if its else f"it is of no format that is known ({said})"
        return Converted(source.file, place, name, "skipped", notes=[hint])
    (done,) = convert([value], format, among=among)
    found = Converted(source.file, place, done.name, "converted" if done.is_converted else "refused")
    found.resources, found.notes = list(done.resources), list(dict.fromkeys(done.notes))
    found.refused = _refused(done, value, source)
    return found


def _name(value: Mapping[str, Any]) -> str:
    metadata = value.get("metadata")
    return str(metadata.get("name", "")) if isinstance(metadata, Mapping) else ""


def _refused(done: Conversion, value: Mapping[str, Any], source: Source) -> list[tuple[str, str, Problem]]:
    """Return what was refused, once each, with its place in the file."""
    found = {}
    for each in done.refused:
        path = _path(value, each.place)
        problem = Problem(f"{each.construct}: {each.reason}", path, source)
        found[each.construct, path, each.reason] = (each.construct, dotted(path), problem)
    return list(found.values())


def _path(value: Any, place: str) -> tuple[str | int, ...]:
    """Return the path of a field that is named as text, or of the nearest one around it that is there.

    Elements of lists are named by their number or by their name, as in `spec.templates[main].steps[0]`.
    """
    path: list[str | int] = []
    for index, key in _PART.findall(place):
        part: str | int = key or index
        if isinstance(value, list) and not key:
            names = [each.get("name") if isinstance(each, Mapping) else None for each in value]
            part = names.index(index) if index in names else int(index) if index.isdecimal() else -1
            if not 0 <= part < len(value):
                break
        elif not isinstance(value, Mapping) or part not in value:
            break
        value = value[part]
        path.append(part)
    return tuple(path)


def _check_doubles(found: Sequence[Converted], *, together: bool) -> None:
    """Refuse documents that become a resource which another one has become, with other contents.

    Args:
        found: The documents.
        together: Whether the resources of all files go to one place; else those of different files are told alone.
    """
    first: dict[ResourceKey, tuple[Resource, Converted]] = {}
    for each in found:
        for resource in each.resources:
            other, where = first.setdefault(resource.key, (resource, each))
            if other.spec == resource.spec:
                continue
            told = f"{resource.key} is what {where.place} becomes, with another spec"
            if together or each.file == where.file:
                problem = Problem(f"name: {told}; rename one of them", (), _source(each))
                each.refused.append(("name", "metadata.name", problem))
            else:
                each.notes.append(f"{told}: apply them to namespaces of their own (apply -n NAME)")
        if each.refused:
            each.resources, each.outcome = [], "refused"


def _source(each: Converted) -> Source:
    return Source(each.file, int(each.place.rpartition(":")[2]))


# Writing.


def _write(
    found: Sequence[Converted], below: Mapping[str, Path], arguments: argparse.Namespace, output: Output
) -> list[Path]:
    """Write the resources, and return the files.

    Raises:
        ConfigurationError: A file is there already, or cannot be written.
    """
    if arguments.out is None:
        if not arguments.json and (text := _text(found, arguments.format)):
            output.show_json(text.rstrip("\n"))
        return []
    out = Path(arguments.out)
    if out.suffix in SUFFIXES:
        texts = [(out, _text(found, arguments.format))]
    else:
        texts = [
            (out / place.with_suffix(".yaml"), _text([each for each in found if each.file == file], arguments.format))
            for file, place in below.items()
        ]
    texts = [(path, text) for path, text in texts if text]
    check_free([path for path, _ in texts], force=arguments.force)
    for path, text in texts:
        put(path, text)
    return [path for path, _ in texts]


def _text(found: Sequence[Converted], format: str) -> str:
    """Return the resources of documents as YAML, what a person has to do before them; empty for none."""
    from stategraph.resources.documents import write
    from stategraph.resources.loading import to_document

    several = []
    told: set[ResourceKey] = set()
    for each in found:
        own = [resource for resource in each.resources if resource.key not in told]
        told |= {resource.key for resource in own}
        if own:
            lines = [f"Converted from {format}: {each.place}, {each.name}", *each.notes]
            comment = "".join(f"# {' '.join(line.split())}\n" for line in lines)
            several.append(comment + write([to_document(resource) for resource in own]))
    return "---\n".join(several)


# Report.


def _report(found: Sequence[Converted], written: Sequence[Path], style: Style) -> Iterator[str]:
    """Yield the lines of the report: a table of documents, then what was refused with its places."""
    rows = [(each.place, each.name, _outcome(each), _became(each)) for each in found]
    refused = [entry for each in found for entry in each.refused]
    notes = [f"{each.place}: {note}" for each in found if each.outcome != "refused" for note in each.notes]
    sections = (
        [columns(("DOCUMENT", "NAME", "RESULT", "RESOURCES"), rows, style)] if rows else [],
        [style.removed(str(problem)) for _, _, problem in refused],
        notes,
        _counts(refused, style),
        _sums(found, written),
    )
    for number, section in enumerate(filter(None, sections)):
        yield from ([""] if number else [])
        yield from section


def _counts(refused: Sequence[tuple[str, str, Problem]], style: Style) -> list[str]:
    """Return how often each construct was refused, where that says more than the list of them."""
    counts = Counter(construct for construct, _, _ in refused)
    if not len(refused) > len(counts) > 1:
        return []
    rows = [(name, str(count)) for name, count in counts.most_common()]
    return [columns(("CONSTRUCT", "REFUSED"), rows, style)]


def _sums(found: Sequence[Converted], written: Sequence[Path]) -> list[str]:
    outcomes = Counter(each.outcome for each in found)
    parts = [f"{outcomes[name]} {name}" for name in ("converted", "refused", "skipped") if outcomes[name]]
    lines = [f"{counted(len(found), 'document')}: {', '.join(parts) or 'nothing to convert'}."]
    if written:
        more = f" and {len(written) - 3} more" if written[3:] else ""
        lines.append(f"Written: {', '.join(map(str, written[:3]))}{more}")
    return lines


def _outcome(each: Converted) -> str:
    return f"refused ({len(each.refused)})" if each.refused else each.outcome


def _became(each: Converted) -> str:
    shown = [f"{resource.key.kind}/{resource.name}" for resource in each.resources]
    return ", ".join([*shown[:3], *([f"{len(shown) - 3} more"] if shown[3:] else [])]) or "-"


def _facts(each: Converted) -> dict[str, Any]:
    from stategraph.resources.loading import to_document

    return {
        "file": each.file,
        "place": each.place,
        "name": each.name,
        "result": each.outcome,
        "resources": [to_document(resource) for resource in each.resources],
        "refused": [
            {"construct": construct, "field": field, "place": problem.place, "reason": problem.message}
            for construct, field, problem in each.refused
        ],
        "notes": each.notes,
    }
