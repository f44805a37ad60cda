"""`stategraph runs prune`: delete runs that ended long ago."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Any, Final

from stategraph.cli.output import Output, counted
from stategraph.cli.progress import Pace, Progress

if TYPE_CHECKING:
    from stategraph.workers.registry.pruning import Pruned
    from stategraph.workers.registry.runs import RunRegistry

#: The statuses that are an end.
ENDS: Final = ("success", "error", "timeout", "cancelled", "dead", "interrupted")

_UNITS: Final = {"s": 1.0, "min": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}
_LONGEST_S: Final = 365_250 * _UNITS["d"]


def prepare(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.add_argument(
        "--older-than",
        type=age,
        required=True,
        metavar="AGE",
        help=f"only runs that ended so long ago, as in 30d; units: {', '.join(_UNITS)}",
    )
    parser.add_argument(
        "--status",
        choices=ENDS,
        action="append",
        dest="statuses",
        help="only runs in this status; may be given several times. 'interrupted' also deletes those that wait for an "
        "answer, which else stay",
    )
    parser.add_argument("--dry-run", action="store_true", help="delete nothing, and say what would be deleted")
    parser.epilog = (
        "Runs that have not ended stay, and checkpoints and effects too. May be stopped at any time and started again. "
        "Exit code: 0 done, 2 it does not work."
    )


def age(text: str) -> float:
    """Read an age, in seconds.

    Raises:
        ArgumentTypeError: It is none, or longer than 1,000 years.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([a-z]+)", text.strip())
    if found is None or found[2] not in _UNITS:
        units = ", ".join(_UNITS)
        raise argparse.ArgumentTypeError(f"'{text}' is no age: write a number and a unit ({units}), as in 30d")
    seconds = float(found[1]) * _UNITS[found[2]]
    if seconds > _LONGEST_S:
        raise argparse.ArgumentTypeError(f"'{text}' is longer than 1,000 years: write a shorter age")
    return seconds


async def prune(registry: RunRegistry, arguments: argparse.Namespace, output: Output) -> int:
    """Delete the runs, and tell how far it is about once a second."""
    progress, pace = Progress(output), Pace()

    def tell(so_far: Pruned) -> None:
        if pace.is_due():
            progress.tell("pruning", f"{_counted(so_far)} so far", **_facts(so_far, arguments))

    pruned = await registry.prune(
        arguments.older_than, statuses=arguments.statuses, dry_run=arguments.dry_run, observer=tell
    )
    verb = "would be deleted" if arguments.dry_run else "deleted"
    output.show(_facts(pruned, arguments), f"{_counted(pruned)} {verb}.")
    return 0


def _counted(pruned: Pruned) -> str:
    return f"{counted(pruned.runs, 'run')} with {counted(pruned.events, 'event')}"


def _facts(pruned: Pruned, arguments: argparse.Namespace) -> dict[str, Any]:
    return {"runs": pruned.runs, "events": pruned.events, "dry_run": arguments.dry_run}
