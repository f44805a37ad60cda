"""`stategraph doctor`: what `stategraph.doctor` finds, printed."""

from __future__ import annotations

import argparse
import json

from stategraph.cli.output import write


def prepare(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    parser.epilog = "Exit code: 0 nothing found, 1 something may go wrong, 2 something does not work."
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Examine the installation and return the exit code."""
    from stategraph import doctor  # 70 ms

    report = doctor.examine()
    write(json.dumps(doctor.as_json(report), indent=2) if arguments.json else doctor.as_text(report))
    return report.exit_code
