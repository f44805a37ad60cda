"""`langgraph-sdk`'s own integration tests, against the server on either engine.

Rules:

* They are downloaded, checked, kept in a folder that git ignores, and run unchanged; where one has the address of the
  server in its code, a plugin puts that of the running server in its place (`address_plugin.py`).
* What passes on LangGraph must pass on this engine. Some fail there at times (a subscription that comes too late), so
  what fails is run again, a few times; one that fails on both engines says nothing and is named.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from tests.conformance.suite import Suite, SuiteError, fetch
from tests.server.own import running_own
from tests.server.serving import ENGINES, Server, environment, running

__all__ = ["SuiteError", "passes"]

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = ROOT / ".conformance"
FOLDER = "tests/integration"
TRIES = 6
TEST_S = 20
ROUND_S = 420.0

SDK = Suite(
    distribution="langgraph-sdk",
    version="0.4.14",
    sha256="13eb1fee92504d87c1f0f43c8e213e7ba0a46bd23a07e3198e413d48efac5833",
    ini="addopts = --strict-markers --strict-config\nasyncio_mode = auto\n"
    "markers =\n    integration: needs a running server\n",
    tests="integration",
    beside=("integration",),
)


def passes(python: Path, scratch: Path, only: str, *, own: bool = False) -> bool:
    """Run the tests on both engines, print what came of them, and say whether this engine loses none.

    Args:
        python: The Python of the environment that has the server.
        scratch: A folder for the servers.
        only: Run only tests with this word in their name.
        own: Whether our own server is the second one, in place of LangGraph's on this engine.

    Raises:
        SuiteError: The tests could not be fetched, or not be run.
    """
    root = fetch(BUILD, SDK)
    described = json.loads((root / "integration" / "langgraph.json").read_text(encoding="utf-8"))
    graphs = {name: str(root / "integration" / place) for name, place in described["graphs"].items()}
    with ExitStack() as stack:
        servers = [
            stack.enter_context(running(python, engine, scratch / f"integration-{engine.label}-{own}", graphs))
            for engine in ENGINES[: 1 if own else 2]
        ]
        if own:
            servers.append(stack.enter_context(running_own(python, scratch / "integration-own", graphs)))
        rounds = Rounds(python, root, servers, only)
        theirs, ours = rounds.run()
    return report(theirs, ours)


class Rounds:
    """Runs the tests until each of them has passed on both engines or had its tries."""

    def __init__(self, python: Path, root: Path, servers: list[Server], only: str) -> None:
        self._python = python
        self._root = root
        self._servers = servers
        self._only = only

    def run(self) -> list[dict[str, bool]]:
        """Return for each engine which tests passed."""
        found = self._round([None] * len(self._servers), 0)
        for number in range(1, TRIES):
            failed = [[test for test, passed in outcome.items() if not passed] for outcome in found]
            # A test that fails on both has one more try; one that fails on one engine alone is worth all of them.
            shared = set.intersection(*map(set, failed)) if number > 1 else set()
            again = [[test for test in tests if test not in shared] for tests in failed]
            if not any(again):
                break
            for outcome, fresh in zip(found, self._round(again, number), strict=True):
                outcome.update({test: passed for test, passed in fresh.items() if passed})
        return found

    def _round(self, tests: Iterable[list[str] | None], number: int) -> list[dict[str, bool]]:
        with ThreadPoolExecutor(len(self._servers)) as pool:
            return list(pool.map(lambda server, chosen: self._on(server, chosen, number), self._servers, tests))

    def _on(self, server: Server, tests: list[str] | None, number: int) -> dict[str, bool]:
        if tests == []:
            return {}
        results = server.log.parent / f"results-{number}.xml"
        command = [str(self._python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "address_plugin"]
        command += [f"--timeout={TEST_S}", f"--junit-xml={results}", "-o", "junit_family=xunit1"]
        command += ["-k", self._only] if self._only else []
        command += tests or [FOLDER]
        variables = {**environment(self._python, server.engine), "LANGGRAPH_INTEGRATION_URL": server.url}
        variables["PYTHONPATH"] = os.fspath(Path(__file__).resolve().parent)
        done = subprocess.run(
            command, cwd=self._root, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=ROUND_S,
        )  # fmt: skip
        if not results.exists():
            raise SuiteError(f"the integration tests did not run on {server.engine.label}:\n{done.stdout}{done.stderr}")
        if number:
            (server.log.parent / "last.txt").write_text(done.stdout, encoding="utf-8")
        return dict(outcomes(results))


def outcomes(results: Path) -> Iterator[tuple[str, bool]]:
    """Read which tests of a JUnit file passed; a skipped one did not."""
    for case in ElementTree.parse(results).iter("testcase"):
        yield f"{case.get('file')}::{case.get('name')}", not len(case.findall("*")) - len(case.findall("system-out"))


def report(theirs: dict[str, bool], ours: dict[str, bool]) -> bool:
    """Print the outcome; say whether everything that passes on LangGraph passes here."""
    wanted = {test for test, passed in theirs.items() if passed} | {test for test, passed in ours.items() if passed}
    lost = sorted(test for test in wanted if not ours.get(test))
    for test in sorted((theirs | ours).keys() - wanted):
        print(f"passes on neither engine: {test}")
    for test in lost:
        print(f"passes on LangGraph alone: {test}")
    print(f"integration tests: {len(wanted) - len(lost)} of {len(wanted)} ({SDK.distribution} {SDK.version})")
    return bool(wanted) and not lost


if __name__ == "__main__":  # by a Python that has pip, which the server's environment has not
    try:
        fetch(BUILD, SDK)
    except SuiteError as error:
        sys.exit(str(error))
