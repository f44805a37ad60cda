"""`stategraph fuzz`: a graph whose processes are killed, judged from outside of them.

Rules
-----
* What runs the graph are processes of their own; this one imports nothing of it, and compares what they leave behind.
* Standard error has a line for each trial, standard output what came of all.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from stategraph.cli.output import NOTHING_DONE, Output, checked_store, run_command

if TYPE_CHECKING:
    from stategraph.testing.signals import SignalReport


def prepare(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.add_argument(
        "target",
        metavar="TARGET",
        help="a StateGraph, a compiled graph, or a function of a saver that returns one: MODULE:NAME",
    )
    parser.add_argument("--input", "-i", required=True, metavar="JSON", help="the graph's input")
    parser.add_argument(
        "--answer",
        action="append",
        default=[],
        metavar="JSON",
        help="an answer to an interrupt; several in their order",
    )
    parser.add_argument(
        "--crashes",
        type=int,
        default=20,
        metavar="N",
        help="kills at saves, before or after one (20; all if N is enough)",
    )
    parser.add_argument(
        "--signals",
        type=int,
        default=20,
        metavar="N",
        help="trials with SIGKILL, SIGTERM and SIGINT at random points (20)",
    )
    parser.add_argument("--seed", type=int, default=0, help="draws where processes are killed (0)")
    parser.add_argument(
        "--repeatable",
        action="append",
        default=[],
        metavar="EFFECT",
        help="an effect that may happen more often after a kill; all others that count_effect counts may not",
    )
    parser.add_argument(
        "--store",
        metavar="URL",
        help="sqlite:///... or postgresql://...; a file of SQLite for each trial if none is given",
    )
    parser.add_argument("--durability", choices=("sync", "async", "exit"), default="sync", help="when steps are stored")
    parser.add_argument("--async", action="store_true", dest="is_async", help="await the graph")
    parser.add_argument("--seconds", type=float, default=300.0, help="no trial begins after so many (300)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.epilog = (
        "Exit code: 0 the same state and effects each time, 1 not, 2 the graph cannot be run. In a graph, "
        "stategraph.testing.count_effect(NAME) counts what may not happen twice."
    )
    parser.set_defaults(run=run, nats=None)


def run(arguments: argparse.Namespace) -> int:
    """Fuzz a graph and return the exit code."""
    return run_command(_run, arguments)


async def _run(arguments: argparse.Namespace, output: Output) -> int:
    import anyio

    return await anyio.to_thread.run_sync(_fuzz, arguments, output)


def _fuzz(arguments: argparse.Namespace, output: Output) -> int:
    from stategraph.errors import ConfigurationError
    from stategraph.testing.courses import DivergedError
    from stategraph.testing.signals import FuzzError, fuzz_signals

    try:
        report = fuzz_signals(
            arguments.target,
            _json("--input", arguments.input),
            answers=[_json("--answer", each) for each in arguments.answer],
            trials=arguments.signals,
            crashes=arguments.crashes,
            seed=arguments.seed,
            repeatable=arguments.repeatable,
            store=checked_store(arguments.store),
            durability=arguments.durability,
            is_async=arguments.is_async,
            seconds=arguments.seconds,
            on_progress=output.complain,
        )
    except DivergedError as error:
        if output.as_json:
            output.show({"survives": False, "difference": str(error)}, "")
        else:
            output.complain(str(error))
        return NOTHING_DONE
    except (FuzzError, ValueError) as error:
        raise ConfigurationError(str(error)) from error
    output.show({"survives": True, **asdict(report)}, _text(report))
    return 0


def _json(option: str, text: str) -> Any:
    from stategraph.errors import ConfigurationError

    try:
        return json.loads(text)
    except ValueError as error:
        raise ConfigurationError(f"{option} is no JSON ({error}): {text!r}. A text is written '\"so\"'") from error


def _text(report: SignalReport) -> str:
    kills = ", ".join(f"{times} {name}" for name, times in report.kills.items()) or "no kill"
    tried = f"{report.crashes} trials at saves and {report.trials} at random points"
    lines = [f"The same state each time: killed in {tried}, by {kills} ({report.duration_s:.1f} s)"]
    for name, (least, most) in report.effects.items():
        times = f"{least}" if least == most else f"{least} to {most}"
        lines.append(f"{name}: {times} times in a run")
    return "\n".join(lines)
