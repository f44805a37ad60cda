"""The pytest plugin that every conformance run loads (`-p conformance_plugin`).

It gives stand-ins for missing names, leaves excluded tests out, stops a test that hangs, and writes one JSON line per
fact to the file named by `CONFORMANCE_RESULTS`, as it happens, so that a run that dies half-way still tells its story.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import conformance_placeholders as placeholders
import pytest

#: A hung test is interrupted this many times before its process is given up (an event loop may swallow the first).
ATTEMPTS_BEFORE_EXIT = 3


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def _write(**fact: Any) -> None:
    with open(os.environ["CONFORMANCE_RESULTS"], "a", encoding="utf-8") as file:
        file.write(json.dumps(fact) + "\n")


_SUPPLIED: list[str] = []


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """Before any file of the suite is imported, its conftest included; pytest runs where `tests/` is."""
    _SUPPLIED.extend(placeholders.supply(Path.cwd() / "tests"))


def pytest_configure(config: pytest.Config) -> None:
    if not _is_worker(config):
        config.pluginmanager.register(_Recorder(), "conformance-recorder")
        _write(kind="placeholders", names=_SUPPLIED)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    excluded = set(json.loads(os.environ.get("CONFORMANCE_EXCLUDED", "[]")))
    left_out = [item for item in items if item.nodeid in excluded]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item.nodeid not in excluded]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    placeholders.start_running()
    placeholders.take_touched()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report: Any = yield
    touched = placeholders.take_touched() if call.when == "call" else []
    if touched and report.passed:
        report.outcome = "failed"
        report.longrepr = f"touches {', '.join(sorted(set(touched)))}, which this engine does not have"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Interrupt a test that takes too long, where it stands."""
    limit_s = float(os.environ.get("CONFORMANCE_TIMEOUT_S", "60"))
    attempts = 0

    def give_up(signum: int, frame: FrameType | None) -> None:
        nonlocal attempts
        attempts += 1
        if attempts > ATTEMPTS_BEFORE_EXIT:
            os._exit(70)
        pytest.fail(f"still running after {limit_s:g} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, limit_s, 5.0)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class _Recorder:
    """Writes the outcomes down; lives in the process that sees all of them."""

    def __init__(self) -> None:
        self._worst: dict[str, pytest.TestReport] = {}

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        kept = self._worst.get(report.nodeid)
        if kept is None or report.failed or (kept.passed and not report.passed):
            self._worst[report.nodeid] = report
        if report.when == "teardown" or (report.failed and report.when == "???"):  # the latter: a worker died
            worst = self._worst.pop(report.nodeid)
            _write(kind="test", id=worst.nodeid, outcome=worst.outcome, why=_reason(worst))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            _write(kind="collection", id=report.nodeid, why=_reason(report))

    def pytest_unconfigure(self) -> None:
        _write(kind="finished")


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """The last line that matters of a failure, short enough for a list."""
    if not report.failed:
        return ""
    crash = getattr(report.longrepr, "reprcrash", None)
    lines = (crash.message if crash is not None else str(report.longrepr)).strip().splitlines()
    if crash is None:
        return lines[-1][:200] if lines else ""
    return lines[0][:200]
