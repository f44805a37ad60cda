"""`stategraph validate`: manifests checked beside each other, without a store and without importing what they name."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from stategraph.cli.output import FAILED, Output, counted
from stategraph.cli.parser import Parser
from stategraph.cli.resources.asked import add_namespace
from stategraph.cli.resources.formats import add_output
from stategraph.cli.resources.manifests import add_files, read
from stategraph.cli.resources.opening import opened_store, run_on_resources
from stategraph.cli.style import Style
from stategraph.resources.model import Resource
from stategraph.resources.places import Problem, dotted


def prepare(parser: Parser) -> None:
    """Describe the command's arguments."""
    parser.add_argument("paths", metavar="FILE", nargs="*", help="files and folders; the same as -f")
    add_files(parser, needed=False)
    add_namespace(parser)
    parser.add_argument(
        "--store",
        metavar="URL",
        help="a database: what the manifests refer to may be there too (default: none, whatever the environment says)",
    )
    parser.add_argument(
        "--no-env", action="store_true", help="take no variables of the environment: those without a default are told"
    )
    add_output(parser, "text", "json")
    parser.epilog = "Exit code: 0 all can be applied, 2 something is wrong; each line names file, line and field."
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check manifests, and return the exit code."""
    return run_on_resources(_validate, arguments, as_json=arguments.output == "json")


async def _validate(arguments: argparse.Namespace, output: Output) -> int:
    from stategraph.resources.manifests.checking import problems_of

    given = read([*arguments.paths, *(arguments.files or [])] or ["."], arguments.namespace)
    others: Sequence[Resource] = ()
    if arguments.store:
        async with opened_store(arguments) as store:
            others = (await store.snapshot()).resources
    environment = {} if arguments.no_env else dict(os.environ)
    found = [*given.problems, *problems_of(given.resources, others, kinds=given.kinds, environment=environment)]
    if arguments.output == "json":
        output.show({"resources": len(given.resources), "problems": [_facts(each) for each in found]}, "")
    else:
        style = Style(sys.stdout)
        if found:
            output.show_json("\n".join(_line(each, style) for each in found))
        files = len({each.source.file for each in given.resources if each.source is not None})
        told = f"{counted(len(given.resources), 'resource')} in {counted(files, 'file')}: "
        told += f"{counted(len(found), 'problem')}." if found else "no problems."
        output.show_json(style.removed(told) if found else style.added(told))
    return FAILED if found else 0


def _line(problem: Problem, style: Style) -> str:
    place = problem.place or problem.resource
    rest = str(problem).removeprefix(place).removeprefix(": ")
    return f"{style.bold(place)}: {rest}" if place else rest


def _facts(problem: Problem) -> dict[str, Any]:
    line, column = (None, None)
    if problem.source is not None:
        place = problem.place.removeprefix(problem.source.file).split(":")
        line, column = int(place[1]), int(place[2]) if len(place) > 2 else None
    return {
        "file": problem.source.file if problem.source else None,
        "line": line,
        "column": column,
        "resource": problem.resource,
        "field": dotted(problem.path),
        "message": problem.message,
        "found": problem.found,
        "expected": problem.expected,
        "suggestion": problem.suggestion,
    }
