"""`stategraph migrate`: manifests of earlier versions, and of groups that are read as ours, in the present form.

Files are changed in their place, with a copy of each beside it, or written to a folder. What could not be carried over
is told with its place, and stays in the text.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stategraph.cli.converting.files import backed_up, check_free, files_of, put
from stategraph.cli.output import FAILED, NOTHING_DONE, Output, counted, text_of
from stategraph.cli.parser import Parser
from stategraph.cli.resources.opening import run_on_resources
from stategraph.cli.style import Style
from stategraph.resources.kind_table import KINDS, KindTable
from stategraph.resources.places import Problem, dotted

if TYPE_CHECKING:
    from stategraph.resources.manifests.migrate import Migrated


@dataclass(frozen=True, slots=True)
class _File:
    """One file.

    Attributes:
        path: The file; None: standard input.
        below: Its place below what was named.
        old: Its text.
        done: The outcome.
    """

    path: Path | None
    below: Path
    old: str
    done: Migrated

    @property
    def name(self) -> str:
        """The file, as messages name it."""
        return "-" if self.path is None else str(self.path)

    @property
    def has_changed(self) -> bool:
        """True if its text is another one."""
        return self.old != self.done.text


def prepare(parser: Parser) -> None:
    """Describe the command's arguments."""
    parser.add_argument(
        "files", metavar="FILE", nargs="*", default=["."], help="files and folders; - for standard input (default: .)"
    )
    parser.add_argument("-o", "--out", metavar="FOLDER", help="write them there, and leave the files as they are")
    parser.add_argument("--dry-run", action="store_true", help="write nothing; show what would change, line by line")
    parser.add_argument("--no-backup", action="store_true", help="keep no copies of files that are changed (FILE.bak)")
    parser.add_argument("--force", action="store_true", help="write over files that are there, with --out")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.epilog = (
        "Exit code: 0 done, or nothing to do, 1 something could not be carried over, or would change (--dry-run), 2 a "
        "file cannot be read or written. See docs/resource-commands.md."
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Migrate manifests, and return the exit code."""
    return run_on_resources(_migrate, arguments, as_json=arguments.json)


async def _migrate(arguments: argparse.Namespace, output: Output) -> int:
    problems: list[Problem] = []
    found = _migrated(arguments.files, problems)
    for each in problems:
        output.complain(f"stategraph: {each}")
    written = [] if arguments.dry_run else _write(found, arguments, output)
    if arguments.json:
        output.show(_facts(found, written, problems), "")
    else:
        to_stderr = not arguments.dry_run and any(each.path is None for each in found) and arguments.out is None
        lines = list(_report(found, written, arguments, Style(sys.stderr if to_stderr else sys.stdout)))
        (output.complain if to_stderr else output.show_json)("\n".join(lines))
    if problems:
        return FAILED
    would_change = arguments.dry_run and any(each.has_changed for each in found)
    return NOTHING_DONE if would_change or any(each.done.left for each in found) else 0


def _migrated(given: Sequence[str], problems: list[Problem]) -> list[_File]:
    """Migrate the texts of files; what is wrong with those that cannot be read is added to the problems."""
    from stategraph.resources.loading import ManifestError
    from stategraph.resources.manifests.migrate import migrated

    texts = [(path, below, text_of("-" if path is None else str(path))) for path, below in files_of(given)]
    kinds = _kinds(texts)
    found = []
    for path, below, text in texts:
        try:
            found.append(_File(path, below, text, migrated(text, "-" if path is None else str(path), kinds)))
        except ManifestError as error:
            problems += error.problems
    return found


def _kinds(texts: Sequence[tuple[Path | None, Path, str]]) -> KindTable:
    """Return the kinds that there are, with those that the files define."""
    from stategraph.resources.custom_kinds import kinds_with
    from stategraph.resources.loading import ManifestError, load_text

    found = []
    for path, _, text in texts:
        try:
            found += load_text(text, file="-" if path is None else str(path))
        except ManifestError as error:
            found += error.resources
    return kinds_with(found, KINDS)


def _write(found: Sequence[_File], arguments: argparse.Namespace, output: Output) -> list[tuple[Path, Path | None]]:
    """Write the texts, and return the files, each with the copy of what it was."""
    if arguments.out is not None:
        out = Path(arguments.out)
        check_free([out / each.below for each in found], force=arguments.force)
        for each in found:
            put(out / each.below, each.done.text)
        return [(out / each.below, None) for each in found]
    written: list[tuple[Path, Path | None]] = []
    for each in found:
        if each.path is None and not arguments.json:
            output.show_json(each.done.text.rstrip("\n"))
        elif each.path is not None and each.has_changed:
            copy = None if arguments.no_backup else backed_up(each.path)
            put(each.path, each.done.text)
            written.append((each.path, copy))
    return written


# Report.


def _report(
    found: Sequence[_File],
    written: Sequence[tuple[Path, Path | None]],
    arguments: argparse.Namespace,
    style: Style,
) -> Iterator[str]:
    changes = [change for each in found for change in each.done.changes]
    left = [problem for each in found for problem in each.done.left]
    differing = [each for each in found if arguments.dry_run and each.has_changed]
    sections = (
        [line for each in differing for line in _difference(each, style)],
        [str(each) for each in changes],
        [style.bold("Not carried over:"), *(style.removed(str(each)) for each in left)] if left else [],
        [*_sums(found, arguments), *_written(written, arguments)],
    )
    for number, section in enumerate(filter(None, sections)):
        yield from ([""] if number else [])
        yield from section


def _sums(found: Sequence[_File], arguments: argparse.Namespace) -> Iterator[str]:
    changed = sum(each.has_changed for each in found)
    verb = "would change" if arguments.dry_run else "changed"
    changes, left = (sum(map(len, each)) for each in ([f.done.changes for f in found], [f.done.left for f in found]))
    told = f"{counted(len(found), 'file')}: {changed} {verb}, {counted(changes, 'change')}"
    yield f"{told}; {counted(left, 'thing')} not carried over." if left else f"{told}."


def _written(written: Sequence[tuple[Path, Path | None]], arguments: argparse.Namespace) -> Iterator[str]:
    copies = [str(copy) for _, copy in written if copy is not None]
    if copies:
        more = f" and {len(copies) - 3} more" if copies[3:] else ""
        yield f"What was there before: {', '.join(copies[:3])}{more}"
    elif arguments.out is not None and written:
        yield f"Written to {arguments.out}: {counted(len(written), 'file')}."


def _difference(file: _File, style: Style) -> Iterator[str]:
    old, new = file.old.splitlines(), file.done.text.splitlines()
    for line in difflib.unified_diff(old, new, file.name, file.name, lineterm="", n=1):
        yield {"+": style.added, "-": style.removed}.get(line[0], str)(line)


def _facts(
    found: Sequence[_File], written: Sequence[tuple[Path, Path | None]], problems: Sequence[Problem]
) -> dict[str, Any]:
    return {
        "files": [
            {
                "file": each.name,
                "changed": each.has_changed,
                "changes": [_fact(change) for change in each.done.changes],
                "left": [_fact(problem) for problem in each.done.left],
            }
            for each in found
        ],
        "written": [str(path) for path, _ in written],
        "copies": [str(copy) for _, copy in written if copy is not None],
        "problems": list(map(str, problems)),
    }


def _fact(problem: Problem) -> dict[str, str]:
    return {"place": problem.place, "field": dotted(problem.path), "message": problem.message}
