"""The parent's side: worker processes of both engines, and the database server."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
FLAGS = ("STATEGRAPH_RUNTIME", "MOSS_AGENT_RUNTIME")


class HarnessError(RuntimeError):
    """Something other than an engine's behaviour failed: a process could not be started, or it broke its protocol."""


class Died(RuntimeError):
    """The worker ended in the middle of a step, as some cases want it to."""


@dataclass(frozen=True, slots=True)
class Engine:
    """How to start one engine.

    Attributes:
        label: the name in reports.
        python: the interpreter.
        activate: "none" takes the LangGraph installed there, "flag" sets the flag, "path" also puts the
            drop-in in front by hand, for an interpreter that this work tree is not installed in.
        program: arguments of the interpreter: what a worker runs.
        folder: where it runs.
        variables: further variables of its environment.
    """

    label: str
    python: str
    activate: str
    program: tuple[str, ...] = (str(HERE / "worker.py"),)
    folder: Path = HERE
    variables: tuple[tuple[str, str], ...] = ()

    def environment(self) -> dict[str, str]:
        """The environment of its workers."""
        env = {key: value for key, value in os.environ.items() if key not in FLAGS}
        path = []
        if self.activate != "none":
            env[FLAGS[0]] = "true"
            path.append(str(ROOT))
        if self.activate == "path":
            path.insert(0, str(ROOT / "compat"))
        env["PYTHONPATH"] = os.pathsep.join(path)
        env["LANGSMITH_TRACING"] = env["LANGCHAIN_TRACING_V2"] = "false"
        return env | dict(self.variables)


class Worker:
    """A worker process, started again after it died."""

    def __init__(self, engine: Engine, *, timeout_s: float = 120, quiet: bool = True) -> None:
        self.engine = engine
        self._timeout_s = timeout_s
        self._quiet = quiet
        self._start()

    def _start(self) -> None:
        self._child = subprocess.Popen(
            [self.engine.python, *self.engine.program],
            env=self.engine.environment(),
            cwd=self.engine.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if self._quiet else None,
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, args=(self._child, self._lines), daemon=True).start()
        try:
            self.description = self._receive()
        except Died:
            raise HarnessError(f"{self.engine.label}: {self.engine.python} cannot start a worker") from None

    @staticmethod
    def _read(child: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
        assert child.stdout is not None
        for line in child.stdout:
            lines.put(line)
        lines.put("")

    def _receive(self) -> dict[str, Any]:
        try:
            line = self._lines.get(timeout=self._timeout_s)
        except queue.Empty:
            self.close()
            raise Died(f"no answer within {self._timeout_s:.0f} s") from None
        if not line:
            raise Died(f"exit code {self._child.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def send(self, request: dict[str, Any]) -> None:
        """Send one request; ``receive`` waits for its report."""
        assert self._child.stdin is not None
        with suppress(BrokenPipeError):  # `receive` says that it died
            self._child.stdin.write(json.dumps(request) + "\n")
            self._child.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """Wait for the report of the request sent before.

        Returns:
            The report; ``{"died": ...}`` if the process ended instead, ``{"error": ...}`` if it could not report.
        """
        try:
            answer = self._receive()
        except Died as error:
            self.close()
            self._start()
            return {"died": str(error)}
        found: dict[str, Any] = answer.get("report", answer)
        return found

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send one request and wait for its report; see ``receive``."""
        self.send(request)
        return self.receive()

    def close(self) -> None:
        """End the process and wait until it is gone."""
        if self._child.stdin and not self._child.stdin.closed:
            with suppress(BrokenPipeError):  # it is gone already, which is what is wanted
                self._child.stdin.close()
        try:
            self._child.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()


def start_ours(python: str, activate: str, *, start: Callable[[Engine], Worker]) -> Worker:
    """Start our engine; "auto" tries the flag and then the path.

    Raises:
        HarnessError: the process runs another engine than it should.
    """
    if activate == "none":
        return start(Engine("langgraph again", python, "none"))
    for way in ("flag", "path") if activate == "auto" else (activate,):
        worker = start(Engine("stategraph", python, way))
        if worker.description.get("engine", "stategraph") == "stategraph":
            return worker
        worker.close()
    raise HarnessError(f"{python} runs LangGraph although our engine was asked for ({activate})")


@contextmanager
def postgres(python: str) -> Iterator[str]:
    """Run a database server for as long as the block lasts, and yield its address.

    Raises:
        HarnessError: it did not start, for instance because its wheel is not installed.
    """
    child = subprocess.Popen(
        [python, str(HERE / "server.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None and child.stdout is not None and child.stderr is not None
    try:
        address = child.stdout.readline().strip()
        if not address.startswith("postgresql:"):
            raise HarnessError(
                f"PostgreSQL did not start (--savers sqlite leaves it out): {address}\n{child.stderr.read()[-2000:]}"
            )
        yield address
    finally:
        child.stdin.close()
        child.wait(timeout=60)
