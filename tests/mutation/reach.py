"""Which test runs which line, and how long each test takes."""

from __future__ import annotations

import importlib
import json
import pkgutil
import sqlite3
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Set
from contextlib import closing, suppress
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

CLOSEST = 60
"""How many tests of a line come first because they run little else."""


class Recorder:
    """A pytest plugin that measures coverage with the test's id as its context, and times each test."""

    def __init__(self, tree: Path, state: Path) -> None:
        import coverage

        self._state = state
        self._seconds: dict[str, float] = {}
        self._failed: set[str] = set()
        self._made: Counter[str] = Counter()
        self._sharing: dict[str, list[str]] = {}
        self._coverage = coverage.Coverage(
            data_file=str(state / "coverage"), source=[str(tree / "stategraph")], config_file=False
        )
        self._coverage.start()
        # Else what runs on import would be the work of the test that happens to need a module first.
        for module in pkgutil.walk_packages([str(tree / "stategraph")], "stategraph."):
            if not module.name.endswith("__main__"):
                with suppress(ImportError):
                    importlib.import_module(module.name)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._coverage.switch_context(item.nodeid)
        begun = time.perf_counter()
        yield
        self._seconds[item.nodeid] = round(time.perf_counter() - begun, 4)
        self._coverage.switch_context("")

    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> None:
        """Count how often a fixture of the project that several tests share was made."""
        if fixturedef.scope != "function" and fixturedef.baseid:
            self._made[fixturedef.argname] += 1

    def pytest_runtest_call(self, item: pytest.Function) -> None:
        shared = [f"{name} {self._made[name]}" for name in sorted(item.fixturenames) if name in self._made]
        if shared:
            self._sharing.setdefault(" ".join(shared), []).append(item.nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Leave out what fails without a mutation: it would take every one for killed."""
        if report.failed:
            self._failed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        self._coverage.stop()
        self._coverage.save()
        for test in self._failed:
            print(f"left out, as it fails without a mutation: {test}")
        usable = {test: took for test, took in self._seconds.items() if test not in self._failed}
        (self._state / "seconds.json").write_text(json.dumps(usable), encoding="utf-8")
        followers = {first: [test for test in rest if test in usable] for first, *rest in self._sharing.values()}
        (self._state / "followers.json").write_text(json.dumps(followers), encoding="utf-8")


class Reach:
    """What recorders wrote, read: the tests of a stretch of lines.

    A folder holds batches, each a folder of its own. A test file counts as its newest batch saw it. What a test runs
    that is the first to use objects which later ones share is also met by those: what it opened may be what they use.
    """

    def __init__(self, state: Path) -> None:
        self.seconds: dict[str, float] = {}
        self._lines: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
        self._width: Counter[str] = Counter()
        self._followers: dict[str, list[str]] = {}
        seen: set[str] = set()
        for batch in sorted(state.glob("batch-*"), reverse=True):
            seconds: dict[str, float] = json.loads((batch / "seconds.json").read_text(encoding="utf-8"))
            fresh = {test: took for test, took in seconds.items() if test.partition("::")[0] not in seen}
            self.seconds |= fresh
            self._read(batch, fresh.keys() | {""})
            followers: dict[str, list[str]] = json.loads((batch / "followers.json").read_text(encoding="utf-8"))
            self._followers |= {test: after for test, after in followers.items() if test in fresh}
            seen |= {test.partition("::")[0] for test in seconds}

    def _read(self, batch: Path, contexts: Set[str]) -> None:
        from coverage.numbits import numbits_to_nums

        with closing(sqlite3.connect(batch / "coverage")) as database:
            names: dict[int, str] = dict(database.execute("select id, context from context"))
            query = "select path, context_id, numbits from line_bits join file on file.id = line_bits.file_id"
            for path, context, bits in database.execute(query):
                if names[context] in contexts:
                    file = path[path.rindex("/stategraph/") + 1 :]
                    lines = numbits_to_nums(bits)
                    self._width[names[context]] += len(lines)
                    for line in lines:
                        self._lines[file][line].add(names[context])

    def tests(self, file: str, lines: tuple[int, int], budget_s: float) -> list[str]:
        """Return tests that run one of the lines, as many as the budget holds.

        First come those that run the least else, then the quickest, as these are the most. Behind these come the tests
        that share what the first of them made; and for lines that run on import, those that run anything in the file,
        all tests if none does.
        """
        found: set[Any] = set().union(*(self._lines[file].get(line, set()) for line in range(lines[0], lines[1] + 1)))
        reaching = found - {""}
        ordered = self._ordered(reaching)
        followers = {test for first in reaching for test in self._followers.get(first, ())} - reaching
        ordered += self._ordered(followers)
        if "" in found:
            others = set[Any]().union(*self._lines[file].values()) - {""} or set(self.seconds)
            ordered += self._ordered(others - reaching - followers)
        spent = list(accumulate((self.seconds[test] for test in ordered), initial=0.0))
        return [test for test, before in zip(ordered, spent, strict=False) if before < budget_s]

    def _ordered(self, tests: Set[str]) -> list[str]:
        closest = sorted(tests, key=self._least_else)
        return closest[:CLOSEST] + sorted(closest[CLOSEST:], key=lambda test: (self.seconds[test], test))

    def _least_else(self, test: str) -> tuple[int, str]:
        return self._width[test], test
