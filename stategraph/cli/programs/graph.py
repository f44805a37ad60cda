"""`stategraph graph show`: a graph drawn from what it was compiled to, without a browser or a web service."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from stategraph.cli.output import Output, plain_command, write, write_file
from stategraph.cli.programs.targets import FORM
from stategraph.cli.resources import declared
from stategraph.cli.resources.opening import add_store, run_on_resources

if TYPE_CHECKING:
    from stategraph.drawing.picture import Picture

_FORMATS: Final = ("text", "ascii", "mermaid", "svg", "json")

#: Formats by the ends of the names of files; any other file is text.
_BY_ENDING: Final = {".svg": "svg", ".mmd": "mermaid", ".mermaid": "mermaid", ".json": "json"}
_PICTURES: Final = frozenset({".png", ".jpg", ".jpeg", ".gif", ".webp", ".pdf"})


def prepare(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    show = actions.add_parser("show", help="draw a graph", description="Draw a graph.")
    show.add_argument("target", metavar="TARGET", help=f"the graph: {FORM}; or a resource: workflow/NAME")
    declared.prepare(show)
    add_store(show)
    show.add_argument(
        "--format",
        choices=_FORMATS,
        help="text: boxes and lines for a terminal; ascii: the same for any; mermaid; svg: to be opened in a browser; "
        "json: nodes and edges (default: by the end of the file's name, .svg, .mmd or .json; else text)",
    )
    show.add_argument("--xray", action="store_true", help="draw the graphs inside of nodes too")
    show.add_argument("--output", "-o", metavar="FILE", help="write to this file instead of the terminal")
    show.add_argument("--json", action="store_const", const="json", dest="format", help="the same as --format json")
    show.epilog = "Dashed lines are taken only sometimes. Exit code: 0 done, 2 it does not work."
    show.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Draw a graph and return the exit code."""
    arguments.has_format = arguments.format is not None
    arguments.format = arguments.format or _of_file(arguments.output)
    if declared.is_named(arguments.target):
        return run_on_resources(_show_declared, arguments, as_json=arguments.format == "json")
    return plain_command(_show, arguments, as_json=arguments.format == "json")


def _of_file(file: str | None) -> str:
    """Return the format of a file by its name."""
    return _BY_ENDING.get(Path(file).suffix.lower(), "text") if file else "text"


def _show(arguments: argparse.Namespace, output: Output) -> int:
    from stategraph.cli.programs.targets import load_graph

    del output
    _check_ending(arguments)
    target = load_graph(arguments.target)
    return _draw(target.graph, arguments, target.path)


def _check_ending(arguments: argparse.Namespace) -> None:
    """Check that a file of its name can be written.

    Raises:
        ConfigurationError: It would be a picture of points.
    """
    from stategraph.errors import ConfigurationError

    ending = Path(arguments.output or "").suffix.lower()
    if ending in _PICTURES and not arguments.has_format:
        raise ConfigurationError(
            f"No {ending} is drawn here: write an SVG, as in -o {Path(arguments.output).with_suffix('.svg')}, which "
            "browsers show and print"
        )


async def _show_declared(arguments: argparse.Namespace, output: Output) -> int:
    """Draw the graph of a resource."""
    del output
    _check_ending(arguments)
    async with declared.graph(arguments) as graph:
        return _draw(graph, arguments, arguments.target)


def _draw(graph: Any, arguments: argparse.Namespace, title: str) -> int:
    drawn = _drawn(graph.get_graph(xray=arguments.xray), arguments, title)
    if arguments.output:
        write_file(arguments.output, drawn)
        write(f"Written to {arguments.output}.")
    else:
        write(drawn)
    return 0


def _drawn(graph: Any, arguments: argparse.Namespace, title: str) -> str:
    from stategraph.drawing.picture import picture_of

    if arguments.format == "mermaid":
        mermaid: str = graph.draw_mermaid()
        return mermaid.rstrip()
    picture = picture_of(graph)
    if arguments.format == "svg":
        from stategraph.drawing.svg import as_svg

        return as_svg(picture, title=title)
    if arguments.format == "json":
        return json.dumps(_facts(picture), ensure_ascii=False)
    return _text(picture, arguments)


def _text(picture: Picture, arguments: argparse.Namespace) -> str:
    from stategraph.drawing.text import as_list, as_text, width

    ascii_only = arguments.format == "ascii" or not _can_encode("─▼⇢↻", to_file=bool(arguments.output))
    drawn = as_text(picture, ascii_only=ascii_only)
    room = shutil.get_terminal_size().columns
    if not arguments.output and _is_terminal() and width(drawn) > room:
        listed = as_list(picture, ascii_only=ascii_only)
        hint = f"The drawing takes {width(drawn)} columns, this terminal has {room}: see it with --output FILE."
        return f"{listed}\n\n{hint}"
    return drawn


def _is_terminal() -> bool:
    return sys.stdout is not None and (sys.stdout.isatty() or "COLUMNS" in os.environ)


def _can_encode(signs: str, *, to_file: bool) -> bool:
    if to_file or sys.stdout is None:
        return True
    try:
        signs.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def _facts(picture: Picture) -> dict[str, Any]:
    return {
        "nodes": [{"id": node.id, "kind": node.kind} for node in picture.nodes],
        "edges": [
            {"source": e.source, "target": e.target, "label": e.label or None, "conditional": e.conditional}
            for e in picture.edges
        ],
    }
