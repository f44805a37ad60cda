"""`stategraph diff`: what an apply would change, field by field."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Final

from stategraph.cli.output import FAILED, NOTHING_DONE, Output
from stategraph.cli.parser import Parser
from stategraph.cli.resources.asked import add_namespace
from stategraph.cli.resources.comparing import Compared, compared
from stategraph.cli.resources.formats import add_output
from stategraph.cli.resources.manifests import add_files, read
from stategraph.cli.resources.opening import add_store, run_on_resources
from stategraph.cli.style import Style
from stategraph.resources.manifests.diff import Difference

_SIGNS: Final = {"added": "+", "removed": "-", "changed": "~", "kept": "="}


def prepare(parser: Parser) -> None:
    """Describe the command's arguments."""
    add_files(parser, needed=True)
    add_namespace(parser)
    add_output(parser, "text", "json")
    add_store(parser)
    parser.epilog = (
        "+ is added, - goes, ~ changes, = stays although no file has it: something else has set it. Exit code: 0 "
        "nothing would change, 1 something would, 2 a manifest cannot be used."
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Compare manifests with what is stored, and return the exit code."""
    return run_on_resources(_diff, arguments, as_json=arguments.output == "json")


async def _diff(arguments: argparse.Namespace, output: Output) -> int:
    given = read(arguments.files, arguments.namespace)
    for problem in given.problems:
        output.complain(f"stategraph: {problem}")
    found = await compared(given, arguments)
    if arguments.output == "json":
        output.show([_facts(each) for each in found], "")
    else:
        style = Style(sys.stdout)
        text = "\n\n".join("\n".join(_lines(each, style)) for each in found if each.action != "unchanged")
        output.show_json(text or "Nothing would change.")
    if given.problems:
        return FAILED
    return NOTHING_DONE if any(each.action != "unchanged" for each in found) else 0


def _lines(each: Compared, style: Style) -> Iterator[str]:
    yield f"{style.bold(str(each.key))} {'would be created' if each.action == 'created' else 'would change'}"
    if each.action == "created":
        yield style.added(f"  + {each.new.place()}")
    for difference in each.found:
        yield _line(difference, each, style)


def _line(difference: Difference, each: Compared, style: Style) -> str:
    sign, path = _SIGNS[difference.kind], difference.path
    where = "" if difference.kind in ("removed", "kept") else f"  ({each.new.place(_document_path(difference))})"
    match difference.kind:
        case "added":
            return style.added(f"  {sign} {path}: {_shown(difference.new)}") + style.dim(where)
        case "removed":
            return style.removed(f"  {sign} {path}: {_shown(difference.old)}")
        case "changed":
            change = f"{_shown(difference.old)} -> {_shown(difference.new)}"
            return style.asked(f"  {sign} {path}: {change}") + style.dim(where)
    return style.dim(f"  {sign} {path}: {_shown(difference.old)} stays: something else has set it")


def _document_path(difference: Difference) -> tuple[str | int, ...]:
    """Return where a difference is in the document."""
    first, *rest = difference.place
    return (*str(first).split("."), *rest)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:197]}..."


def _facts(each: Compared) -> dict[str, Any]:
    return {"resource": str(each.key), "action": each.action, "differences": [asdict(found) for found in each.found]}
