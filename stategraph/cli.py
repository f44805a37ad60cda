"""The `stategraph` command.

Each subcommand is one row of `_COMMANDS`. Exit codes: 0, nothing to report; 1, it works but something may go wrong;
2, what was asked for does not work, which includes a command line that cannot be read.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence

import stategraph
from stategraph import doctor


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
    run: Callable[[argparse.Namespace], tuple[str, int]] = arguments.run
    text, code = run(arguments)
    try:
        print(text, flush=True)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough; Python would complain again at its exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="stategraph", description="A lightweight state-graph engine that LangGraph programs run on unmodified."
    )
    parser.add_argument("--version", action="version", version=f"stategraph {stategraph.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, summary, prepare, run in _COMMANDS:
        command = commands.add_parser(name, help=summary, description=summary)
        prepare(command)
        command.set_defaults(run=run)
    return parser


def _doctor_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    parser.epilog = "Exit code: 0 nothing found, 1 something may go wrong, 2 something does not work."


def _doctor(arguments: argparse.Namespace) -> tuple[str, int]:
    report = doctor.examine()
    text = json.dumps(doctor.as_json(report), indent=2) if arguments.json else doctor.as_text(report)
    return text, report.exit_code


_Prepare = Callable[[argparse.ArgumentParser], None]
_Run = Callable[[argparse.Namespace], tuple[str, int]]

_COMMANDS: tuple[tuple[str, str, _Prepare, _Run], ...] = (
    ("doctor", "Say which engine LangGraph programs run on here, and what would go wrong.", _doctor_arguments, _doctor),
)
