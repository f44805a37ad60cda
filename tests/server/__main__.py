"""``make server``: LangGraph's development server on either engine, and whether its clients can tell.

    .venv-server/bin/python -m tests.server                         everything
    .venv-server/bin/python -m tests.server --only threads          scenarios with the word in their name
    .venv-server/bin/python -m tests.server --part calls            without the SDK's integration tests
    .venv-server/bin/python -m tests.server --part own              `langgraph dev` and our own server

`langgraph dev` runs twice, on the original LangGraph and on this engine, with the same graphs. A scripted client makes
every call of the SDK on both; each answer, less ids, times and versions, must be the same. Then `langgraph-sdk`'s own
integration tests run against both: what passes on LangGraph must pass here.

Our own server is a third one: it is compared with `langgraph dev` on the original LangGraph, by the same calls and the
same tests.

This environment has both engines, so the tests of a program that uses both without the flag run in it as well.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from langgraph_sdk import get_client

from tests.server import integration, scenarios
from tests.server.own import OWN, running_own
from tests.server.projection import differences, shortened, without_copies
from tests.server.serving import ENGINES, Server, ServerError, environment, running
from tests.server.session import Row, Session, sdk_calls

HERE = Path(__file__).resolve().parent
BESIDE = HERE.parent / "beside" / "with_langgraph.py"
PYTHON = Path(sys.executable)
SCENARIO_S = 240.0
SHOWN = 12
AT_ONCE = 5
"""Scenarios; the server takes a second to pick a run up, so that one after the other would take minutes."""
GRAPHS = {
    name: f"{HERE / 'graphs.py'}:{'make' if name == 'made' else name}"
    for name in ("talk", "work", "slow", "fragile", "functional", "questions", "made")
}


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare LangGraph's development server on both engines.")
    parser.add_argument("--only", default="", help="scenarios or tests with this word in their name")
    parser.add_argument("--part", choices=("beside", "calls", "integration", "own", "all"), default="all")
    options = parser.parse_args()
    started = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="stategraph-server-") as scratch:
            parts = {
                "beside": lambda: beside_passes(options.only),
                "calls": lambda: calls_are_equal(Path(scratch), options.only),
                "integration": lambda: integration.passes(PYTHON, Path(scratch), options.only),
                "own": lambda: own_passes(Path(scratch), options.only),
            }
            outcomes = [run() for part, run in parts.items() if options.part in (part, "all")]
    except (ServerError, integration.SuiteError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{time.monotonic() - started:.0f} s")
    return 0 if all(outcomes) else 1


def beside_passes(only: str) -> bool:
    """Run the tests of this package's own API beside the loaded LangGraph."""
    command = [PYTHON, "-m", "pytest", "-q", "--noconftest", "-p", "no:cacheprovider", "-p", "no:asyncio", BESIDE]
    command += ["-k", only] if only else []
    return subprocess.run(command, env=environment(PYTHON, ENGINES[0]), stdin=subprocess.DEVNULL).returncode == 0


def calls_are_equal(scratch: Path, only: str) -> bool:
    """Make all calls on both engines, print the table, and say whether every answer was the same."""
    chosen = [one for one in scenarios.SCENARIOS if only in one.__name__]
    with ExitStack() as stack:
        servers = [
            stack.enter_context(running(PYTHON, engine, scratch / f"calls-{engine.label}", GRAPHS))
            for engine in ENGINES
        ]
        return compared(servers, chosen, scenarios.KNOWN, whole=not only)


def own_passes(scratch: Path, only: str) -> bool:
    """Make all calls on LangGraph's server and on ours, and run the SDK's own tests on both."""
    chosen = [one for one in scenarios.SCENARIOS if only in one.__name__]
    with ExitStack() as stack:
        theirs = stack.enter_context(running(PYTHON, ENGINES[0], scratch / "own-langgraph", GRAPHS))
        ours = stack.enter_context(running_own(PYTHON, scratch / "own", GRAPHS))
        equal = compared([theirs, ours], chosen, scenarios.KNOWN_OF_OWN, whole=not only)
    passed = integration.passes(PYTHON, scratch, only, own=True)
    return equal and passed


def compared(servers: list[Server], chosen: list[scenarios.Scenario], known: Mapping[str, str], *, whole: bool) -> bool:
    """Make calls on two servers, print the table, and say whether every answer was the same."""
    theirs, ours = asyncio.run(on_both(servers, chosen))
    if servers[1].engine is OWN:
        theirs, ours = ([replace(row, answer=without_copies(row.answer)) for row in rows] for rows in (theirs, ours))
    problems = compare(theirs, ours, known)
    untried = sorted(set(sdk_calls()) - called(theirs)) if whole else []
    if problems:
        print(f"the server on {servers[1].engine.label} printed:\n{servers[1].printed()}", file=sys.stderr)
    for call in untried:
        print(f"no scenario makes the call {call}")
    total = max(len(theirs), len(ours))
    for call, reason in known.items():
        if any(row.call == call for row in theirs):
            print(f"left out of the comparison: {call}: {reason}")
            total -= 1
    print(f"calls equal: {total - problems} of {total}")
    return not problems and not untried and total > 0


async def on_both(servers: list[Server], chosen: list[scenarios.Scenario]) -> list[list[Row]]:
    """Play the scenarios on both servers at the same time."""
    return list(await asyncio.gather(*(play(server.url, chosen) for server in servers)))


async def play(url: str, chosen: Sequence[scenarios.Scenario]) -> list[Row]:
    """Play the scenarios, a few at a time; one that breaks off is a row, too."""
    free = asyncio.Semaphore(AT_ONCE)

    async def one(scenario: scenarios.Scenario) -> list[Row]:
        async with free, get_client(url=url, api_key=None) as client:
            session = Session(client, scenario.__name__)
            try:
                await asyncio.wait_for(scenario(session), SCENARIO_S)
            except Exception as error:
                session.note("broke off", f"{type(error).__name__}: {error}")
            return session.rows

    return [row for rows in await asyncio.gather(*map(one, chosen)) for row in rows]


def compare(theirs: list[Row], ours: list[Row], known: Mapping[str, str]) -> int:
    """Print a line for each scenario and the differences below it; return how many calls differ."""
    problems = 0
    for name in dict.fromkeys(row.scenario for row in (*theirs, *ours)):
        sides = [[row for row in rows if row.scenario == name] for rows in (theirs, ours)]
        found = [lines for pair in paired(*sides) if (lines := difference(*pair, known))]
        print(f"  {name:44} {len(sides[0]) - len(found):4} of {len(sides[0]):4}")
        for lines in found:
            print("\n".join(f"      {line}" for line in lines[:SHOWN]))
        problems += len(found)
    return problems


def paired(theirs: list[Row], ours: list[Row]) -> list[tuple[Row | None, Row | None]]:
    """Put the rows of a scenario side by side."""
    length = max(len(theirs), len(ours))
    return [(one, other) for one, other in zip(*(side + [None] * (length - len(side)) for side in (theirs, ours)))]  # noqa: B905


def difference(theirs: Row | None, ours: Row | None, known: Mapping[str, str]) -> list[str]:
    """Say how two rows differ; empty if they do not. A scenario that breaks off is never right."""
    if theirs is None or ours is None:
        row, where = (theirs, "LangGraph") if theirs else (ours, "stategraph")
        return [f"{row.call}: only on {where}: {shortened(row.answer)}"] if row else []
    if theirs.call != ours.call or theirs.call == "broke off":
        return [
            f"LangGraph {theirs.call}: {shortened(theirs.answer)}",
            f"stategraph {ours.call}: {shortened(ours.answer)}",
        ]
    found = list(differences(theirs.answer, ours.answer))
    if (reason := known.get(theirs.call)) is not None:
        return [] if found else [theirs.call, f"is no difference any more: {reason}"]
    return [theirs.call, *found] if found else []


def called(rows: list[Row]) -> set[str]:
    """List the calls that were made, by their dotted names."""
    return set(Counter(row.call.split(" ")[0] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
