"""The pytest plugin with which a suite of `langgraph-checkpoint` runs: its savers become the ones that are asked for.

`SAVERS=ours` puts this project's savers, in their plain form, in the place of theirs before a file of the suite is
imported; `SAVERS=theirs` changes nothing. Outcomes go to the file named by `SAVERS_RESULTS`, one JSON line each.
"""

from __future__ import annotations

import json
import os

import pytest

if os.environ["SAVERS"] == "ours":
    import saver_kinds

    saver_kinds.put_in_place()


def _note(name: str, outcome: str, reason: object) -> None:
    lines = str(reason or "").strip().splitlines()
    with open(os.environ["SAVERS_RESULTS"], "a", encoding="utf-8") as file:
        file.write(json.dumps({"id": name, "outcome": outcome, "why": lines[-1][:300] if lines else ""}) + "\n")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" or report.outcome != "passed":
        _note(report.nodeid, report.outcome, "" if report.passed else report.longrepr)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.failed:
        _note(report.nodeid, "failed", report.longrepr)
