"""Run LangGraph's own tests on this engine, or those of packages that stand on LangGraph.

    python tests/conformance/run.py                          everything (about two minutes)
    python tests/conformance/run.py --files 'test_state.py test_chan*'
    python tests/conformance/run.py --files test_pregel.py -k 'interrupt and not async' --jobs 0
    python tests/conformance/run.py --failing                also list every failing test with its reason
    python tests/conformance/run.py --update                 add what passes now to the ratchet (passing.txt)
    python tests/conformance/run.py --services 1             also the tests that need PostgreSQL and Redis
    python tests/conformance/run.py --suite prebuilt         langgraph-prebuilt's tests, on both engines
    python tests/conformance/run.py --suite langchain        the tests of langchain's agents, on both engines

`make conformance` does the same with all set-up; there `FILES='...'`, `K='...'`, `SERVICES=1` and `SUITE=...` choose.

The tests come from sdists on the package index and land in `.conformance/`, never in the repository. They run in a
Python in which the `langgraph` distribution is not installed (checked), with `compat/` and `stategraph/` on the path.
`--python` names that Python; without it `$CONFORMANCE_PYTHON`, then the environment that `make` builds, is taken.

A failing test of the ratchet gets one more try, alone. The run fails if it then still fails, or did not run at all.
The detailed log of a run is in `.conformance/last/`: `junit.xml`, `results.jsonl`.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

import compare
import execution
import ledger as ledgers
import services
import suite as suites
from execution import ROOT, Bench, Choice, UsageError


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    options = parse(sys.argv[1:])
    try:
        if options.suite == "langgraph":
            return run_own(options)
        return run_beside(options)
    except (UsageError, suites.SuiteError, ledgers.LedgerError, services.ServiceError) as error:
        print(f"conformance: {error}", file=sys.stderr)
        return 2


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line; the environment gives what `make` passes on."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage="run.py [options]"
    )
    files = os.environ.get("FILES", "").split()
    parser.add_argument("--files", default=files, type=str.split, help="file patterns, separated by blanks")
    parser.add_argument("-k", default=os.environ.get("K", ""), dest="keyword", help="pytest's -k expression")
    parser.add_argument("--jobs", default=os.environ.get("JOBS", "2"), help="worker processes; 0 runs in one process")
    parser.add_argument("--timeout", default=60.0, type=float, help="seconds that one test may take")
    parser.add_argument("--total-timeout", default=3600.0, type=float, help="seconds that one run may take")
    parser.add_argument("--failing", action="store_true", help="list every failing test with its reason")
    parser.add_argument("--tb", default=None, help="pytest's traceback style (default: short when tests are chosen)")
    parser.add_argument("--update", action="store_true", help="add what passes now to the ratchet")
    parser.add_argument("--python", default=os.environ.get("CONFORMANCE_PYTHON"), help="the Python to run in")
    parser.add_argument("--reference-python", help="the Python that has LangGraph itself")
    parser.add_argument("--services-python", help="the Python that has the servers")
    parser.add_argument("--reference", action="store_true", help=argparse.SUPPRESS)  # run on LangGraph itself
    parser.add_argument("--write-expected", action="store_true", help=argparse.SUPPRESS)
    known = ", ".join(suites.SUITES)
    parser.add_argument("--suite", default=os.environ.get("SUITE") or "langgraph", help=f"one of: {known}")
    parser.add_argument("--services", default=os.environ.get("SERVICES") or "0", help="1: with PostgreSQL and Redis")
    options = parser.parse_args(arguments)
    if options.suite not in suites.SUITES:
        parser.error(f"SUITE={options.suite!r} is not known; the suites are: {known}")
    if options.services not in ("0", "1"):
        parser.error(f"SERVICES={options.services!r} is neither 0 nor 1")
    if not options.jobs.isdecimal():
        parser.error(f"JOBS={options.jobs!r} is not a number of processes")
    if options.suite != "langgraph" and (options.update or options.reference):
        parser.error("--update and --reference are for LangGraph's own suite; the others keep no lists")
    if options.write_expected and not (options.reference and not options.files and not options.keyword):
        parser.error("--write-expected needs --reference and the whole suite")
    return options


def find_python(named: str | None, environment: str) -> Path:
    """Return the Python to run in: the named one, or that of an environment that `make` builds."""
    python = Path(named) if named else ROOT / environment / "bin" / "python"
    if not python.exists():
        raise UsageError(f"there is no {python}; run `make conformance`, or name a Python on the command line")
    return python.absolute()


def _choice(options: argparse.Namespace) -> Choice:
    return Choice(
        files=tuple(options.files),
        keyword=options.keyword,
        jobs=int(options.jobs),
        traceback=options.tb,
        timeout_s=options.timeout,
        total_timeout_s=options.total_timeout,
        services=options.services == "1",
    )


def _servers_python(options: argparse.Namespace) -> Path:
    return find_python(options.services_python, ".venv-services") if options.services == "1" else Path()


def run_own(options: argparse.Namespace) -> int:
    """Run LangGraph's own suite and hold it against the lists."""
    choice = _choice(options)
    ledger = ledgers.read(services=choice.services)
    suite = suites.SUITES["langgraph"]
    python = find_python(options.python, ".venv-conformance-reference" if options.reference else ".venv-conformance")
    bench = Bench(suite, suites.fetch(execution.BUILD, suite), python, reference=options.reference)
    bench.check(choice)
    excluded = frozenset() if options.reference else frozenset(ledger.excluded)
    with execution.servers(choice, _servers_python(options)):
        outcome = execution.run(bench, choice, excluded)
        again = frozenset(outcome.tests) if options.reference else ledger.passing
        execution.retry(bench, choice, outcome, again, excluded)
    return conclude(options, choice, ledger, outcome)


def run_beside(options: argparse.Namespace) -> int:
    """Run another package's suite on both engines."""
    choice = _choice(options)
    suite = suites.SUITES[options.suite]
    ours = find_python(options.python, f".venv-{options.suite}")
    theirs = find_python(options.reference_python, f".venv-{options.suite}-reference")
    folder = suites.fetch(execution.BUILD, suite)
    benches = Bench(suite, folder, theirs, reference=True), Bench(suite, folder, ours)
    for bench in benches:
        bench.check(choice)
    with execution.servers(choice, _servers_python(options)):
        return compare.run(*benches, choice)


def conclude(options: argparse.Namespace, choice: Choice, ledger: ledgers.Ledger, outcome: ledgers.Outcome) -> int:
    """Print the table and say whether the ratchet holds."""
    if options.write_expected:
        ledgers.write_expected(outcome.passed, services=choice.services)
        print(f"\nexpected/ now lists the {len(outcome.passed)} tests of this run")
        return 0
    chosen = frozenset(test for test in ledger.expected if choice.takes(ledgers.file_of(test)))
    if choice.keyword:
        chosen &= outcome.tests.keys()
    print(f"\nConformance with LangGraph {suites.VERSION}: passed/expected\n")
    print(ledgers.table(ledger, outcome, chosen=chosen))
    _print_failing(options, ledger, outcome, chosen)
    if not outcome.finished:
        print("\nthe run ended before its last test")
    broken = ledgers.regressions(ledger, outcome, chosen=chosen)
    if broken:
        print(f"\n{len(broken)} tests of the ratchet (tests/conformance/passing*.txt) do not pass any more:")
        print("\n".join(f"  {test}\n      {outcome.reasons.get(test, 'did not run')}" for test in broken[:100]))
        return 1
    if options.update:
        new = ledgers.add_passing(outcome.passed)
        print(f"\nthe ratchet: {len(new)} tests added")
    else:
        new = sorted((outcome.passed & ledger.due) - ledger.passing)
        if new:
            print(f"\n{len(new)} tests pass that the ratchet does not hold yet; --update adds them")
    return 0


def _print_failing(
    options: argparse.Namespace, ledger: ledgers.Ledger, outcome: ledgers.Outcome, chosen: frozenset[str]
) -> None:
    for file, why in sorted(outcome.unloaded.items()):
        print(f"\n{file} did not load: {why}")
    broken = [name for name in outcome.placeholders if "(cannot be imported" in name]
    if outcome.placeholders:
        print(
            f"\n{len(outcome.placeholders)} names that test files import are missing here and have a stand-in", end=""
        )
        print(":" if options.failing else " (--failing lists them)")
    for name in outcome.placeholders if options.failing else broken:
        print(f"  {name}")
    if options.failing:
        failing = sorted((ledger.due & chosen) - outcome.passed)
        print(f"\nfailing ({len(failing)}):")
        print("\n".join(f"  {test}\n      {outcome.reasons.get(test, 'did not run')}" for test in failing))


if __name__ == "__main__":
    sys.exit(main())
