"""`stategraph replay`: a recorded run, once more, with what was recorded in place of models, tools and clocks.

Rules
-----
* Standard output has what came of it; the first difference goes to standard error, in words.
* `--update` calls the graph as it is now, with real models and tools, and replaces the file only if that succeeds.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from stategraph.cli.output import NOTHING_DONE, Output, counted, run_command
from stategraph.cli.programs.targets import FORM, load_graph

if TYPE_CHECKING:
    from stategraph.replay import Replay


def prepare(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.add_argument("file", metavar="FILE", help="a recording, of 'stategraph run --record' or of record()")
    parser.add_argument("target", metavar="TARGET", help=f"the graph, as it is now: {FORM}")
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--until", type=int, metavar="STEP", help="stop before this step of the last call, and show what came so far"
    )
    how.add_argument(
        "--update",
        action="store_true",
        help="make the recorded calls again, with real models and tools, and replace the file",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.epilog = "Exit code: 0 the graph does the same, 1 it does something else, 2 the file cannot be replayed."
    parser.set_defaults(run=run, store=None, nats=None)


def run(arguments: argparse.Namespace) -> int:
    """Replay a recording and return the exit code."""
    return run_command(_run, arguments)


async def _run(arguments: argparse.Namespace, output: Output) -> int:
    from stategraph.errors import ConfigurationError
    from stategraph.replay import RecordingError, ReplayMismatch, areplay
    from stategraph.replay.updating import aupdate

    graph = load_graph(arguments.target).graph
    try:
        if arguments.update:
            made = await aupdate(arguments.file, graph)
            output.show({"updated": made}, f"Recorded again: {counted(made, 'call')} in {arguments.file}")
            return 0
        found = await areplay(arguments.file, graph, until=arguments.until)
    except ReplayMismatch as error:
        if output.as_json:
            output.show({"same": False, "node": error.node, "step": error.step, "difference": str(error)}, "")
        else:
            output.complain(str(error))
        return NOTHING_DONE
    except RecordingError as error:
        raise ConfigurationError(str(error)) from error
    _show(found, arguments, output)
    return 0


def _show(found: Replay, arguments: argparse.Namespace, output: Output) -> None:
    """Print what a replay came to."""
    from stategraph.replay import codec

    last: Any = found.state if arguments.until is not None else next(reversed(found.results), None)
    parts = sum(map(len, found.parts))
    value = {
        "same": True,
        "calls": found.calls,
        "parts": parts,
        "checkpoints": found.checkpoints,
        "whole": found.is_whole,
        "state": codec.encode(found.state),
    }
    if arguments.until is None:
        end = "" if found.is_whole else ", as far as the recording goes"
        text = (
            f"The same as recorded{end}: {counted(found.calls, 'call')}, {counted(parts, 'part')} of streams, "
            f"{counted(found.checkpoints, 'checkpoint')}"
        )
    else:
        text = f"The same as recorded, up to step {arguments.until}. The state there:\n{codec.text(codec.encode(last))}"
    output.show(value, text)
