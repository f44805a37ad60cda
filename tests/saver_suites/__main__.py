"""`make savers`: the suites of the packages whose savers ours stand beside, on ours as on theirs.

    python -m tests.saver_suites --python .venv-savers/bin/python            everything
    python -m tests.saver_suites --python .venv-savers/bin/python --quick    without the pages of long histories

Three suites, none of them in this repository:

* `langgraph-checkpoint-conformance`, a wheel: its capabilities on both databases, in both forms;
* the tests of savers in the sdists of `langgraph-checkpoint-sqlite` and `-postgres`, fetched and checked as those of
  `make conformance` are. They read the tables of those packages, so they run in the plain form. Their tests of
  stores are left out: stores are not this project's.

Prints `savers: P of N`, where N is what passes on theirs, and beside it what passes besides.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.conformance.suite import Suite, SuiteError, fetch  # noqa: E402

BUILD = ROOT / ".conformance"
HARNESS = Path(__file__).resolve().parent / "harness"
PORT = 5441
"""The port that the suite of `langgraph-checkpoint-postgres` expects its server on."""

LIMIT_S = 900.0

#: Nothing of the developer's settings reaches a suite.
FOREIGN = ("LANGCHAIN_", "LANGGRAPH_", "LANGSMITH_", "PG", "PYTEST_", "PYTHONPATH", "STATEGRAPH_")
_INI = "addopts = --strict-markers --strict-config\nasyncio_mode = auto\n"

SUITES = {
    "sqlite": Suite(
        distribution="langgraph-checkpoint-sqlite",
        version="3.1.2",
        sha256="4e3f376fa6f192d6ad2a1a4643b039986f1593552ef870e9e45281575de6fbf2",
        ini=_INI,
    ),
    "postgres": Suite(
        distribution="langgraph-checkpoint-postgres",
        version="3.2.0",
        sha256="dffef0e6822d7c614019f7f2c4bdbef42859746aee2d3e6d9d9747cf3744ca90",
        ini=_INI,
    ),
}
STORES = ("test_store.py", "test_async_store.py", "test_ttl.py")
LONG = ("test_delta_pagination.py",)

DIFFERENT = {
    "sqlite: tests/test_sqlite.py::TestSqliteSaver::test_informative_async_errors": "its async methods work",
}
"""Tests that pass on theirs and not on ours on purpose, and why."""

Found = dict[str, str | None]
"""By the name of a test, why it failed; None if it passed."""


def main() -> int:
    """Run the suites.

    Returns:
        The exit code: 0 if ours pass all that theirs pass, 1 if not, 2 if the suites could not run.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.saver_suites", description=__doc__)
    parser.add_argument("--python", required=True, help="the environment of requirements/savers.txt")
    parser.add_argument("--quick", action="store_true", help="leave out the tests with the longest histories")
    options = parser.parse_args()
    python = str(Path(options.python).absolute())
    ours: Found = {}
    theirs: Found = {}
    try:
        with _server(python) as url:
            for database in SUITES:
                theirs |= _suite(python, database, "theirs", quick=options.quick)
                ours |= _suite(python, database, "ours", quick=options.quick)
                reference = _capabilities(python, "theirs", database, "plain", url)
                for mode in ("plain", "compact"):
                    theirs |= {f"{database} {mode} {name}": why for name, why in reference.items()}
                    found = _capabilities(python, "ours", database, mode, url)
                    ours |= {f"{database} {mode} {name}": why for name, why in found.items()}
    except SuiteError as error:
        print(f"savers: {error}", file=sys.stderr)
        return 2
    return _report(ours, theirs)


def _report(ours: Found, theirs: Found) -> int:
    due = sorted(name for name, why in theirs.items() if why is None)
    missing = [name for name in due if ours.get(name, "did not run") is not None]
    besides = sum(1 for name, why in ours.items() if why is None and theirs.get(name, "") is not None)
    for name in [each for each in missing if each in DIFFERENT]:
        print(f"passes on theirs and differs here on purpose: {name}\n    {DIFFERENT[name]}")
    for name in [each for each in missing if each not in DIFFERENT]:
        print(f"passes on theirs and not on ours: {name}\n    {ours.get(name, 'did not run')}")
    broken = sorted(name for name, why in ours.items() if why is not None and theirs.get(name, "") is not None)
    for name in broken:
        print(f"fails on ours, and fails or is not there on theirs: {name}\n    {ours[name]}")
    print(f"reference: {len(due)} of {len(theirs)} on the savers of langgraph-checkpoint")
    print(f"savers: {len(due) - len(missing)} of {len(due)}, and {besides} that do not pass on theirs")
    return 1 if set(missing) - DIFFERENT.keys() or not due else 0


def _suite(python: str, database: str, whose: str, *, quick: bool) -> Found:
    """Run the tests of savers of a suite."""
    suite = SUITES[database]
    folder = fetch(BUILD, suite)
    left_out = STORES + (LONG if quick else ())
    with tempfile.TemporaryDirectory() as scratch:
        results = Path(scratch) / "results.jsonl"
        results.touch()
        command = [
            python,
            "-m",
            "pytest",
            "-q",
            "--tb=line",
            "-c",
            "pytest.ini",
            "--rootdir",
            ".",
            "-p",
            "savers_plugin",
        ]
        command += ["-p", "no:cacheprovider", "--disable-warnings", "--continue-on-collection-errors"]
        command += [f"--ignore=tests/{name}" for name in left_out] + ["tests"]
        environment = {**_environment(), "SAVERS": whose, "SAVERS_RESULTS": str(results)}
        print(f"--- {suite.distribution} {suite.version} on {whose}", flush=True)
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=LIMIT_S)
        print(done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr[-2000:], flush=True)
        lines = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    if not lines:
        raise SuiteError(f"{suite.distribution} did not run:\n{done.stdout[-1000:]}{done.stderr[-1000:]}")
    found: Found = {}
    for line in lines:
        if line["outcome"] == "skipped":
            continue
        name = f"{database}: {line['id']}"
        found[name] = found.get(name) or (None if line["outcome"] == "passed" else line["why"] or "failed")
    return found


def _capabilities(python: str, whose: str, database: str, mode: str, url: str) -> Found:
    """Run `langgraph-checkpoint-conformance` on one saver."""
    print(f"--- langgraph-checkpoint-conformance on {whose}, {database} {mode}", flush=True)
    command = [python, str(HARNESS / "saver_capabilities.py"), whose, database, mode, url]
    done = subprocess.run(command, env=_environment(), capture_output=True, text=True, timeout=LIMIT_S)
    if done.returncode:
        raise SuiteError(f"langgraph-checkpoint-conformance did not run on {whose}:\n{done.stderr[-2000:]}")
    found: Found = json.loads(done.stdout.splitlines()[-1])
    print(f"{sum(1 for why in found.values() if why is None)} of {len(found)} passed", flush=True)
    return found


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    return {**kept, "PYTHONPATH": str(HARNESS), "PYTHONWARNINGS": "ignore", "STATEGRAPH_RUNTIME": "true"}


@contextmanager
def _server(python: str) -> Iterator[str]:
    """Run a PostgreSQL where the suite looks for it; yields its address, as the socket in its own folder."""
    program = [python, str(ROOT / "tests" / "interop" / "server.py"), str(PORT)]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            said = process.stdout.readline().strip()
            if not said.startswith("postgresql://"):
                raise SuiteError(f"there is no PostgreSQL to run on: {said}")
            yield said
        finally:
            process.stdin.close()
            process.wait(60)


if __name__ == "__main__":
    sys.exit(main())
