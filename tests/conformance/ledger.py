"""What the suite should give and what it gave: the lists that are kept in the repository, and the table.

* `expected/<file>.txt`: the tests that LangGraph itself passes, one id per line; `expected/services/<file>.txt`: those
  that it passes besides, given a PostgreSQL and a Redis.
* `excluded.txt`: `id  # reason`, tests that are left out. A reason names the private name that the test asserts on. The
  variants of such a test for a server are left out with it.
* `passing.txt`, and `passing-services.txt` for those that need a server: the ratchet. A test listed here that stops
  passing fails the run.
* `later.txt`: file patterns whose features are not built yet; they run and count, in a total of their own.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

HERE = Path(__file__).resolve().parent
SERVICES = "services"


class LedgerError(Exception):
    """A list in the repository contradicts itself."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """The lists as they stand in the repository."""

    expected: frozenset[str]
    excluded: dict[str, str]
    passing: frozenset[str]
    later: tuple[str, ...]

    @property
    def due(self) -> frozenset[str]:
        """The tests that must pass in the end."""
        return self.expected - self.excluded.keys()

    def is_later(self, test: str) -> bool:
        """Tell whether a test belongs to a file whose features are not built yet."""
        return any(fnmatch(file_of(test), pattern) for pattern in self.later)


@dataclass(slots=True)
class Outcome:
    """What one run of the suite gave: test id -> passed, failed or skipped, and why it failed."""

    tests: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    unloaded: dict[str, str] = field(default_factory=dict)
    placeholders: list[str] = field(default_factory=list)
    finished: bool = False

    @property
    def passed(self) -> frozenset[str]:
        """The ids of the tests that passed."""
        return frozenset(test for test, outcome in self.tests.items() if outcome == "passed")


def file_of(test: str) -> str:
    """Return the file name of a test id: `tests/test_a.py::test_b` gives `test_a.py`."""
    return test.partition("::")[0].removeprefix("tests/")


def read(*, services: bool = False) -> Ledger:
    """Read the lists.

    Args:
        services: Whether tests that need a server are meant too.

    Raises:
        LedgerError: An id is listed that is not expected, or an exclusion has no reason.
    """
    plain, served = _expected(""), _expected(SERVICES)
    excluded: dict[str, str] = {}
    for line in _lines(HERE / "excluded.txt"):
        test, _, reason = line.partition("  # ")
        if not reason.strip():
            raise LedgerError(f"excluded.txt: no reason after two blanks and '#': {line}")
        excluded[test.strip()] = reason.strip()
    passing = frozenset(_lines(HERE / "passing.txt"))
    for name, listed in (("excluded.txt", excluded.keys()), ("passing.txt", passing)):
        unknown = sorted(listed - plain)
        if unknown and plain:
            raise LedgerError(f"{name} names a test that LangGraph does not pass: {unknown[0]}")
    if services:
        excluded |= _variants(excluded, plain, served)
        passing |= frozenset(_lines(HERE / f"passing-{SERVICES}.txt"))
        unknown = sorted(passing - plain - served)
        if unknown:
            raise LedgerError(f"passing-{SERVICES}.txt names a test that LangGraph does not pass: {unknown[0]}")
    both = sorted(passing & excluded.keys())
    if both:
        raise LedgerError(f"listed as passing and as excluded: {both[0]}")
    return Ledger(plain | served if services else plain, excluded, passing, tuple(_lines(HERE / "later.txt")))


def _expected(folder: str) -> frozenset[str]:
    return frozenset(line for file in (HERE / "expected" / folder).glob("*.txt") for line in _lines(file))


def _variants(excluded: dict[str, str], plain: frozenset[str], served: frozenset[str]) -> dict[str, str]:
    """The server's variants of test functions that are excluded with every other variant."""
    reasons = {_function_of(test): reason for test, reason in excluded.items()}
    kept = {_function_of(test) for test in plain - excluded.keys()}
    return {test: reasons[name] for test in served if (name := _function_of(test)) in reasons.keys() - kept}


def _function_of(test: str) -> str:
    return test.partition("[")[0]


def _lines(file: Path) -> list[str]:
    if not file.exists():
        return []
    lines = (line.strip() for line in file.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def add_passing(passed: frozenset[str]) -> list[str]:
    """Add to the ratchet what passes now and is due; return what was new. Nothing is ever removed here."""
    ledger = read(services=True)
    new = (passed & ledger.due) - ledger.passing
    plain = _expected("")
    for name, tests in (("passing.txt", new & plain), (f"passing-{SERVICES}.txt", new - plain)):
        if tests:
            _write(HERE / name, tests | frozenset(_lines(HERE / name)))
    return sorted(new)


def write_expected(passed: frozenset[str], *, services: bool = False) -> None:
    """Replace a list of expected tests by what a run on LangGraph itself passed.

    Args:
        passed: The ids.
        services: Whether the run had servers; then only what it passed besides is listed, in a folder of its own.
    """
    folder = HERE / "expected" / (SERVICES if services else "")
    tests = passed - _expected("") if services else passed
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.txt"):
        old.unlink()
    for name in sorted({file_of(test) for test in tests}):
        _write(folder / f"{name.removesuffix('.py')}.txt", frozenset(test for test in tests if file_of(test) == name))


def _write(file: Path, tests: frozenset[str]) -> None:
    file.write_text("".join(f"{test}\n" for test in sorted(tests)), encoding="utf-8")


def regressions(ledger: Ledger, outcome: Outcome, *, chosen: frozenset[str]) -> list[str]:
    """Return the tests of the ratchet, among the `chosen` ones, that did not pass."""
    return sorted((ledger.passing & chosen) - outcome.passed)


def table(ledger: Ledger, outcome: Outcome, *, chosen: frozenset[str]) -> str:
    """Render passed/expected for every file that was chosen, and the totals."""
    due = ledger.due & chosen
    passed = outcome.passed & due
    per_file, passed_per_file = Counter(map(file_of, due)), Counter(map(file_of, passed))
    left_out = Counter(file_of(test) for test in ledger.excluded if test in chosen)
    width = max(map(len, [*per_file, *left_out]), default=0)
    rows = []
    for name in sorted(per_file | left_out):
        notes = [f"{left_out[name]} excluded"] if left_out[name] else []
        notes += ["did not load"] if f"tests/{name}" in outcome.unloaded else []
        mark = " " if passed_per_file[name] == per_file[name] else "*"
        score = f"{passed_per_file[name]:5}/{per_file[name]:<5}"
        rows.append(f"{mark} {name:{width}} {score} {', '.join(notes)}".rstrip())
    later = frozenset(filter(ledger.is_later, due))
    totals = [
        f"  files in scope now: {len(passed - later)}/{len(due - later)}",
        f"  files for later:    {len(passed & later)}/{len(later)}",
        f"  total:              {len(passed)}/{len(due)}, excluded {sum(left_out.values())}",
    ]
    return "\n".join([*rows, "", *totals])
