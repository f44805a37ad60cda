"""Real servers, over both transports and both generations of the protocol."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from stategraph.agent.mcp import McpError, McpSessions

SERVER = Path(__file__).with_name("server.py")
KINDS = ("stdio", "http", "stdio-2025", "http-2025")


class HttpProcess:
    """A server over HTTP in a process of its own, on a port that it keeps when it is started again."""

    pids: ClassVar[set[int]] = set()

    def __init__(self, *arguments: str, program: Path = SERVER, env: Mapping[str, str] | None = None) -> None:
        self._arguments = arguments
        self._program = program
        self._env = {**os.environ, **(env or {})}
        self._port = 0
        self.start()

    def start(self) -> None:
        command = [sys.executable, str(self._program), "http", str(self._port), *self._arguments]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=self._env)
        self.pids.add(self._process.pid)
        assert self._process.stdout is not None
        self._port = int(self._process.stdout.readline())

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(timeout=10)
        assert self._process.stdout is not None
        self._process.stdout.close()

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/mcp"


@contextmanager
def failing(
    kind: type[McpError], said: str | None = None, *, server: str = "one"
) -> Iterator[pytest.ExceptionInfo[McpError]]:
    """Expects the error of a server, which every error names."""
    with pytest.raises(kind, match=said) as caught:
        yield caught
    assert caught.value.server == server


def program(*arguments: str, **more: Any) -> dict[str, Any]:
    return {"command": sys.executable, "args": [str(SERVER), "stdio", "0", *arguments], **more}


@pytest.fixture(scope="module")
def portal() -> Iterator[BlockingPortal]:
    """An event loop in a thread of its own, which tests share."""
    with start_blocking_portal() as started:
        yield started


@pytest.fixture(scope="module", params=KINDS)
def sessions(request: pytest.FixtureRequest, portal: BlockingPortal) -> Iterator[McpSessions]:
    """Sessions with one server named `one`, which tests share."""
    transport, *old = request.param.split("-")
    process = HttpProcess(*old) if transport == "http" else None
    secret = {"SECRET": "s3cret-value"}
    described = {"url": process.url, "headers": secret} if process else program(*old, env=secret)
    with portal.wrap_async_context_manager(McpSessions({"one": described})) as opened:
        yield opened
    if process:
        process.kill()


@pytest.fixture(scope="module", params=([], ["2025"]), ids=("http", "http-2025"))
def http_of_module(request: pytest.FixtureRequest) -> Iterator[HttpProcess]:
    process = HttpProcess(*request.param)
    yield process
    process.kill()


@pytest.fixture
def http(http_of_module: HttpProcess) -> HttpProcess:
    """A server over HTTP that a test may kill, and start again."""
    if not http_of_module.running:
        http_of_module.start()
    return http_of_module
