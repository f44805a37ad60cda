"""Fuzz a graph with signals from the command line: `python -m stategraph.testing.signals my_app.graph:builder '{}'`."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

from stategraph.errors import ConfigurationError
from stategraph.testing.courses import DivergedError
from stategraph.testing.signals.fuzzing import SIGNALS, fuzz_signals
from stategraph.testing.signals.lives import FuzzError

DIVERGED, FAILED = 1, 2


def main(arguments: list[str] | None = None) -> int:
    """Fuzz a graph, and print what was tried.

    Returns:
        0: the graph came to the same state each time. 1: it did not. 2: it could not be tried; standard error says why.
    """
    options = _parser().parse_args(arguments)
    try:
        report = fuzz_signals(
            options.graph,
            json.loads(options.inputs),
            answers=[json.loads(each) for each in options.answer],
            trials=options.trials,
            seed=options.seed,
            trial=options.trial,
            once=options.once,
            store=options.store,
            signals=options.signal or SIGNALS,
            seconds=options.seconds,
            is_async=options.is_async,
            spawns=options.spawns,
            on_progress=lambda line: sys.stderr.write(f"{line}\n"),
        )
    except DivergedError as error:
        sys.stderr.write(f"{error}\n")
        return DIVERGED
    except (FuzzError, ConfigurationError, ValueError, TypeError) as error:
        sys.stderr.write(f"{error}\n")
        return FAILED
    if options.json:
        sys.stdout.write(f"{json.dumps(asdict(report), ensure_ascii=False)}\n")
    else:
        kills = ", ".join(f"{times} {name}" for name, times in report.kills.items()) or "no kill"
        sys.stdout.write(f"{report.trials} trials with {kills}: the same state each time ({report.duration_s:.1f} s)\n")
        for name, (least, most) in report.effects.items():
            sys.stdout.write(f"{name}: {least} to {most} times in a trial\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m stategraph.testing.signals", description=__doc__)
    parser.add_argument("graph", help="a StateGraph, a compiled graph, or a function of a saver, as MODULE:ATTRIBUTE")
    parser.add_argument("inputs", help="the graph's input, as JSON")
    parser.add_argument("--answer", action="append", default=[], help="an answer to an interrupt, as JSON; in order")
    parser.add_argument("--trials", type=int, default=20, help="(20)")
    parser.add_argument("--seed", type=int, default=0, help="draws the points at which processes are killed (0)")
    parser.add_argument("--trial", type=int, help="only this trial, to repeat one")
    parser.add_argument(
        "--once", action="append", default=[], help="an effect that must happen as often as undisturbed"
    )
    parser.add_argument("--store", help="sqlite:///... or postgresql://...; files of its own if nothing is said")
    parser.add_argument("--signal", action="append", help=f"({', '.join(SIGNALS)})")
    parser.add_argument("--seconds", type=float, default=60.0, help="no trial begins after so many (60)")
    parser.add_argument("--async", action="store_true", dest="is_async", help="await the graph")
    parser.add_argument("--spawns", action="store_true", help="a new interpreter for each process, and no fork")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
