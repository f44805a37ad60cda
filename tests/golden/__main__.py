"""``make golden``: how much of the recordings is met.

    python -m tests.golden             all scenarios and vectors
    python -m tests.golden -k handoff  those whose name has this word; any other option of pytest as well

Prints each scenario that fails with the first place where it parts from its recording, and a line that counts.
"""

from __future__ import annotations

import sys
from collections import Counter

import pytest

KINDS = ("scenario", "vector")
FOLDERS = ("tests/golden", "tests/agent", "tests/run")


class Tally:
    """A pytest plugin that counts tests by their kind."""

    def __init__(self) -> None:
        self.total: Counter[str] = Counter()
        self.passed: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test, and print why it failed."""
        if report.when != "call" and not report.failed:
            return
        kind = next(kind for kind in KINDS if kind in report.keywords)
        self.total[kind] += 1
        if report.passed:
            self.passed[kind] += 1
        else:
            name = report.nodeid.partition("[")[2].removesuffix("]") or report.nodeid
            print(f"{kind} {name} differs:\n{_indented(_reason(report))}", flush=True)


def main(arguments: list[str]) -> int:
    """Run, print and say whether all is met."""
    tally = Tally()
    options = ["-p", "no:terminal", "-p", "no:cacheprovider", "-m", " or ".join(KINDS)]
    outcome = pytest.main([*options, *FOLDERS, *arguments], plugins=[tally])
    counts = [f"{tally.passed[kind]} of {tally.total[kind]} {kind}s" for kind in KINDS]
    print(f"golden: {', '.join(counts)}")
    return int(outcome)


def _reason(report: pytest.TestReport) -> str:
    """What a comparison found; of an exception, what it was and where: pytest itself shows more."""
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is None:
        return report.longreprtext
    found = str(crash.message).removeprefix("Failed: ")
    return found if found != crash.message else f"{crash.message}\n{crash.path}:{crash.lineno}"


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.strip().splitlines())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
