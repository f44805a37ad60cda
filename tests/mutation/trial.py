"""Runs the tests that reach a mutation, in a fork of a process that has imported what is not the project's own."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

WARM = (
    "asyncio",
    "concurrent.futures",
    "sqlite3",
    "hypothesis",
    "hypothesis.strategies",
    "anyio",
    "anyio.pytest_plugin",
    "httpx",
    "pydantic",
    "yaml",
    "orjson",
    "starlette",
    "uvicorn",
    "openai",
    "mcp",
    "tiktoken",
    "langchain_core.messages",
    "langchain_core.runnables",
    "langchain_core.tools",
    "langchain_core.callbacks",
    "langchain_core.language_models",
    "langchain_core.tracers",
    "langchain_core.prompts",
    "langchain_core.outputs",
    "langchain_core.documents",
    "langchain_core.runnables.graph",
)
OPTIONS = ("-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning")
"""What pytest is told: packages are imported before it, so that it cannot rewrite assertions in them."""
CODES = {0: "survived", 5: "no test"}


@dataclass(frozen=True, slots=True)
class Outcome:
    result: str
    """`killed`, `survived`, `timeout`, `no test`."""
    by: str
    """The test that failed."""
    seconds: float


class _Selection:
    """A pytest plugin that keeps some tests, in about their order, and notes the first that fails."""

    def __init__(self, tests: Sequence[str], log: Path) -> None:
        self._place = {test: number for number, test in enumerate(tests)}
        self._log = log

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Order the tests before pytest does, which then brings those together that share a fixture."""
        items[:] = sorted(
            (item for item in items if item.nodeid in self._place), key=lambda item: self._place[item.nodeid]
        )

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._log.write_text(report.nodeid, encoding="utf-8")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._log.write_text(f"{report.nodeid} (while collecting)", encoding="utf-8")


def _file(test: str) -> str:
    return test.partition("::")[0]


def warm() -> None:
    """Import what the tests import that is not the project's own, once for all trials."""
    for name in WARM:
        try:
            importlib.import_module(name)
        except ImportError:
            print(f"cannot import {name}: trials take longer", file=sys.stderr)
    loaded = [name for name in sys.modules if name.partition(".")[0] == "stategraph"]
    if loaded:
        raise RuntimeError(f"the project is imported before the fork: {loaded[0]}")


def run(tests: Sequence[str], limit: float, state: Path) -> Outcome:
    """Run tests until the first fails, at most `limit` seconds; what they started is ended with them."""
    log, begun = state / "failed.txt", time.perf_counter()
    log.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        _child(tests, state, log)
    code = _wait(child, begun + limit)
    try:
        os.killpg(child, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    spent = time.perf_counter() - begun
    if code is None:
        os.waitpid(child, 0)
        return Outcome("timeout", "", spent)
    by = log.read_text(encoding="utf-8") if log.exists() else f"exit code {code}"
    return Outcome(CODES.get(code, "killed"), by if code else "", spent)


def _wait(child: int, until: float) -> int | None:
    while time.perf_counter() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    return None


def _child(tests: Sequence[str], state: Path, log: Path) -> None:
    os.setpgid(0, 0)
    output = os.open(state / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    code = 99
    try:
        options = ["-x", *OPTIONS]
        files = sorted({_file(test) for test in tests})
        code = int(pytest.main([*options, *files], plugins=[_Selection(tests, log)]))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
