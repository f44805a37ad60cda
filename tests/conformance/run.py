"""Run LangGraph's own tests on this engine.

    python tests/conformance/run.py                          everything (about two minutes)
    python tests/conformance/run.py --files 'test_state.py test_chan*'
    python tests/conformance/run.py --files test_pregel.py -k 'interrupt and not async' --jobs 0
    python tests/conformance/run.py --failing                also list every failing test with its reason
    python tests/conformance/run.py --update                 add what passes now to the ratchet (passing.txt)

`make conformance` does the same with all set-up; there `FILES='...'` and `K='...'` choose.

The tests come from the sdist on the package index and land in `.conformance/`, never in the repository. They run in a
Python in which the `langgraph` distribution is not installed (checked), with `compat/` and `stategraph/` on the path.
`--python` names that Python; without it `$CONFORMANCE_PYTHON`, then `.venv-conformance/`, is taken.

A failing test of the ratchet gets one more try, alone. The run fails if it then still fails, or did not run at all.
The detailed log of a run is in `.conformance/last/`: `junit.xml`, `results.jsonl`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from fnmatch import fnmatch
from pathlib import Path

import ledger as ledgers
import suite

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / ".conformance"
HARNESS = Path(__file__).resolve().parent / "harness"
SUITES = ("langgraph",)
RETRY_AT_MOST = 60
#: A pytest that has reported its last test gets this long to leave; threads that a test left behind may hold it.
LEAVING_S = 20.0

PROBE = """
import importlib.metadata, importlib.util, json
try:
    found = importlib.metadata.version("langgraph")
except importlib.metadata.PackageNotFoundError:
    found = None
try:
    spec = importlib.util.find_spec("langgraph.graph")
except ModuleNotFoundError:
    spec = None
print(json.dumps([found, spec and spec.origin]))
"""


class UsageError(Exception):
    """The run cannot start; the message says what to change."""


def main() -> int:
    options = parse(sys.argv[1:])
    try:
        ledger = ledgers.read()
        python = find_python(options.python)
        folder = suite.fetch(BUILD)
        environment = environment_for(options, ledger)
        check_engine(python, environment, reference=options.reference)
        outcome = run_suite(python, folder, environment, options)
        retry(python, folder, environment, options, ledger, outcome)
    except (UsageError, suite.SuiteError, ledgers.LedgerError) as error:
        print(f"conformance: {error}", file=sys.stderr)
        return 2
    return conclude(options, ledger, outcome)


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
    parser.add_argument("--total-timeout", default=1800.0, type=float, help="seconds that the whole run may take")
    parser.add_argument("--failing", action="store_true", help="list every failing test with its reason")
    parser.add_argument("--tb", default=None, help="pytest's traceback style (default: short when tests are chosen)")
    parser.add_argument("--update", action="store_true", help="add what passes now to the ratchet")
    parser.add_argument("--python", default=os.environ.get("CONFORMANCE_PYTHON"), help="the Python to run in")
    parser.add_argument("--reference", action="store_true", help=argparse.SUPPRESS)  # run on LangGraph itself
    parser.add_argument("--write-expected", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--suite", default=os.environ.get("SUITE") or SUITES[0], help=f"one of: {', '.join(SUITES)}")
    parser.add_argument("--services", default=os.environ.get("SERVICES") or "0", help="0: no Postgres and Redis")
    options = parser.parse_args(arguments)
    if options.suite not in SUITES:
        parser.error(f"SUITE={options.suite!r} is not known; the suites are: {', '.join(SUITES)}")
    if options.services != "0":
        parser.error(f"SERVICES={options.services!r} is not supported; only 0 (tests that need no server) is")
    if not options.jobs.isdecimal():
        parser.error(f"JOBS={options.jobs!r} is not a number of processes")
    if options.write_expected and not (options.reference and not options.files and not options.keyword):
        parser.error("--write-expected needs --reference and the whole suite")
    return options


def find_python(named: str | None) -> Path:
    """Return the Python to run the suite in."""
    python = Path(named) if named else ROOT / ".venv-conformance" / "bin" / "python"
    if not python.exists():
        raise UsageError(f"there is no {python}; run `make conformance`, or name a Python with --python")
    return python.absolute()


def environment_for(options: argparse.Namespace, ledger: ledgers.Ledger) -> dict[str, str]:
    """Build the environment of the suite: nothing of the developer's settings for LangChain's tools reaches it."""
    foreign = ("LANGCHAIN_", "LANGSMITH_", "LANGGRAPH_", "STATEGRAPH_", "MOSS_", "PYTEST_", "PYTHONPATH")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
    path = [HARNESS] if options.reference else [HARNESS, ROOT / "compat", _engine_folder()]
    environment["PYTHONPATH"] = os.pathsep.join(map(str, path))
    environment["NO_DOCKER"] = "true"
    environment["CONFORMANCE_TIMEOUT_S"] = str(options.timeout)
    environment["CONFORMANCE_EXCLUDED"] = json.dumps([] if options.reference else sorted(ledger.excluded))
    return environment


def _engine_folder() -> Path:
    """Return a folder that holds the engine alone: the work tree has a `tests` of its own that must not be found."""
    folder = BUILD / "engine"
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / "stategraph"
    if not link.is_symlink():
        with contextlib.suppress(FileExistsError):  # another run was faster
            link.symlink_to(ROOT / "stategraph")
    return folder


def check_engine(python: Path, environment: dict[str, str], *, reference: bool) -> None:
    """Make sure that the suite will meet the engine it is meant for.

    Raises:
        UsageError: The wrong engine, or none, would answer `import langgraph.graph`.
    """
    done = subprocess.run([python, "-c", PROBE], env=environment, capture_output=True, text=True, cwd=BUILD)
    if done.returncode:
        raise UsageError(f"{python} cannot find langgraph.graph:\n{done.stderr.strip()}")
    version, origin = json.loads(done.stdout)
    if reference:
        if version != suite.VERSION:
            raise UsageError(f"a reference run needs langgraph {suite.VERSION} in {python}, found {version}")
        return
    if version is not None:
        raise UsageError(f"langgraph {version} is installed for {python}; conformance must run without it")
    if origin is None:
        print("conformance: compat/ has no langgraph.graph yet; stand-ins take its place")
    elif not Path(origin).is_relative_to(ROOT / "compat"):
        raise UsageError(f"langgraph.graph comes from {origin}, expected from {ROOT / 'compat'}")


def run_suite(python: Path, folder: Path, environment: dict[str, str], options: argparse.Namespace) -> ledgers.Outcome:
    """Run the chosen files and read what they gave."""
    files = [f"tests/{file.name}" for file in sorted((folder / "tests").glob("test_*.py"))]
    chosen = [file for file in files if _matches(ledgers.file_of(file), options.files)]
    if not chosen:
        raise UsageError(f"no file of the suite matches {' '.join(options.files)}")
    narrow = bool(options.files or options.keyword)
    arguments = [f"--tb={options.tb or ('short' if narrow else 'no')}", *(() if narrow else ("-rN",))]
    arguments += ["-k", options.keyword] if options.keyword else []
    arguments += ["-n", options.jobs] if options.jobs != "0" else []
    return _pytest(python, folder, environment, [*arguments, *(chosen if options.files else ["tests"])], options)


def _matches(name: str, patterns: list[str]) -> bool:
    return not patterns or any(fnmatch(name, pattern.removeprefix("tests/")) for pattern in patterns)


def _pytest(
    python: Path, folder: Path, environment: dict[str, str], arguments: list[str], options: argparse.Namespace
) -> ledgers.Outcome:
    logs = Path(tempfile.mkdtemp(prefix="run-", dir=BUILD))
    results = logs / "results.jsonl"
    results.touch()
    command = [python, "-m", "pytest", "-c", folder / "pytest.ini", "--rootdir", folder, "-p", "conformance_plugin"]
    command += [
        "-p",
        "no:cacheprovider",
        "-p",
        "no:asyncio",
        "-q",
        "--disable-warnings",
        "--continue-on-collection-errors",
    ]
    command += [f"--junitxml={logs / 'junit.xml'}", *arguments]
    process = subprocess.Popen(
        list(map(str, command)),
        cwd=folder,
        env={**environment, "CONFORMANCE_RESULTS": str(results)},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait(process, results, time.monotonic() + options.total_timeout)
    finally:
        outcome = _read_results(results)
        last = BUILD / "last"
        shutil.rmtree(last, ignore_errors=True)
        try:
            os.replace(logs, last)
        except OSError:  # another run was faster; the log stays where it is
            print(f"conformance: the log of this run is in {logs}")
    return outcome


def _wait(process: subprocess.Popen[bytes], results: Path, deadline: float) -> None:
    """Wait for pytest and whatever it started; end it when it hangs after its last test or exceeds the time."""
    try:
        while process.poll() is None:
            if time.monotonic() > deadline:
                raise UsageError("the run took too long and was ended; see --total-timeout")
            if '"finished"' in results.read_text(encoding="utf-8")[-40:]:
                deadline = min(deadline, time.monotonic() + LEAVING_S)
                process.wait(LEAVING_S)
            time.sleep(0.2)
    except subprocess.TimeoutExpired:
        print("conformance: all tests are done, but something they started still runs; it is ended now")
    finally:
        if process.poll() is None:
            os.killpg(process.pid, 9)
            process.wait()


def _read_results(results: Path) -> ledgers.Outcome:
    outcome = ledgers.Outcome()
    for line in results.read_text(encoding="utf-8").splitlines():
        match json.loads(line):
            case {"kind": "test", "id": test, "outcome": result, "why": why}:
                outcome.tests[test] = result
                outcome.reasons[test] = why
            case {"kind": "collection", "id": file, "why": why}:
                outcome.unloaded[file] = why
            case {"kind": "placeholders", "names": names}:
                outcome.placeholders = names
            case {"kind": "finished"}:
                outcome.finished = True
    return outcome


def retry(
    python: Path,
    folder: Path,
    environment: dict[str, str],
    options: argparse.Namespace,
    ledger: ledgers.Ledger,
    outcome: ledgers.Outcome,
) -> None:
    """Give the tests of the ratchet that failed one more try, alone; on LangGraph itself, all that failed."""
    failed = {test for test, result in outcome.tests.items() if result == "failed"}
    again = sorted(failed if options.reference else failed & ledger.passing)
    if not again or len(again) > RETRY_AT_MOST:
        return
    print(f"\nconformance: {len(again)} failed that should pass; trying them once more, alone")
    second = _pytest(python, folder, environment, ["--tb=short", *again], options)
    for test in sorted(second.passed & failed):
        print(f"  passed when tried again: {test}")
        outcome.tests[test] = "passed"


def conclude(options: argparse.Namespace, ledger: ledgers.Ledger, outcome: ledgers.Outcome) -> int:
    """Print the table and say whether the ratchet holds."""
    if options.write_expected:
        ledgers.write_expected(outcome.passed)
        print(f"\nexpected/ now lists {len(outcome.passed)} tests")
        return 0
    chosen = frozenset(test for test in ledger.expected if _matches(ledgers.file_of(test), options.files))
    if options.keyword:
        chosen &= outcome.tests.keys()
    print(f"\nConformance with LangGraph {suite.VERSION}: passed/expected\n")
    print(ledgers.table(ledger, outcome, chosen=chosen))
    _print_failing(options, ledger, outcome, chosen)
    if not outcome.finished:
        print("\nthe run ended before its last test")
    broken = ledgers.regressions(ledger, outcome, chosen=chosen)
    if broken:
        print(f"\n{len(broken)} tests of the ratchet (tests/conformance/passing.txt) do not pass any more:")
        print("\n".join(f"  {test}\n      {outcome.reasons.get(test, 'did not run')}" for test in broken[:100]))
        return 1
    if options.update:
        new = ledgers.add_passing(outcome.passed)
        print(f"\npassing.txt: {len(new)} tests added")
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
