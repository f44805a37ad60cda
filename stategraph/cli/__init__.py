"""The `stategraph` command.

Each subcommand is one row of `_COMMANDS`; what it needs is imported when it runs. Exit codes: 0, done, or nothing to
report; 1, it works but something may go wrong, or there was nothing to do; 2, what was asked for does not work, which
includes a command line that cannot be read.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence

import stategraph
from stategraph.cli import dev, runs, store, worker
from stategraph.cli.output import FAILED, UnwritableOutputError, write


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The arguments behind the program's name; None means those of this process.

    Returns:
        The exit code.

    Raises:
        SystemExit: On `--help`, `--version` (code 0) or arguments that cannot be read (code 2).
    """
    arguments = _parser().parse_args(argv)
    run: Callable[[argparse.Namespace], int] = arguments.run
    try:
        return run(arguments)
    except UnwritableOutputError as error:
        print(f"stategraph: {error}", file=sys.stderr)
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="stategraph", description="A lightweight state-graph engine that LangGraph programs run on unmodified."
    )
    parser.add_argument("--version", action="version", version=f"stategraph {stategraph.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, summary, prepare in _COMMANDS:
        prepare(commands.add_parser(name, help=summary, description=summary))
    return parser


def _prepare_doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    parser.epilog = "Exit code: 0 nothing found, 1 something may go wrong, 2 something does not work."
    parser.set_defaults(run=_doctor)


def _doctor(arguments: argparse.Namespace) -> int:
    from stategraph import doctor  # 70 ms, most of the time of the other commands' help

    report = doctor.examine()
    write(json.dumps(doctor.as_json(report), indent=2) if arguments.json else doctor.as_text(report))
    return report.exit_code


_COMMANDS: tuple[tuple[str, str, Callable[[argparse.ArgumentParser], None]], ...] = (
    ("doctor", "Say which engine LangGraph programs run on here, and what would go wrong.", _prepare_doctor),
    ("dev", "Serve a chat page for an agent or a graph on this machine.", dev.prepare),
    ("worker", "Execute the runs of a database until told to stop.", worker.prepare),
    ("runs", "Look at the runs of a database, stop them, and answer them.", runs.prepare),
    ("store", "Measure what a database has stored of threads, prune it, and convert it.", store.prepare),
)
