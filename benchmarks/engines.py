"""The parent's side of a worker process, and how each engine is switched on in one."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FLAGS = ("STATEGRAPH_RUNTIME", "MOSS_AGENT_RUNTIME")


class EngineError(RuntimeError):
    """An engine could not be started, died, or reported an error. The message carries its traceback."""


@dataclass(frozen=True, slots=True)
class Engine:
    """How to start one engine.

    Attributes:
        label: the name in the table.
        python: the interpreter; it has LangGraph installed.
        activate: "none" leaves the installed LangGraph alone, "flag" sets the flag, "path" also puts the
            drop-in in front by hand, for an interpreter that this work tree is not installed in.
    """

    label: str
    python: str
    activate: str

    def environment(self, extra_path: tuple[str, ...] = ()) -> dict[str, str]:
        """Return the environment of the process: equal for all engines except for what activates ours."""
        env = {key: value for key, value in os.environ.items() if key not in FLAGS}
        path = [str(ROOT), *extra_path]
        if self.activate != "none":
            env[FLAGS[0]] = "true"
        if self.activate == "path":
            path = [str(ROOT / "compat"), *path]
        env["PYTHONPATH"] = os.pathsep.join(path)
        env["PYTHONHASHSEED"] = "0"
        # Else one of the two might be compiled at each start and the other not, as it is installed.
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        env["PYTHONPYCACHEPREFIX"] = str(ROOT / ".bench" / "pycache")
        env["LANGSMITH_TRACING"] = env["LANGCHAIN_TRACING_V2"] = "false"
        return env


class Process:
    """A running worker."""

    def __init__(self, engine: Engine, extra_path: tuple[str, ...], timeout_s: float) -> None:
        self.engine = engine
        self._timeout_s = timeout_s
        self._child = subprocess.Popen(
            [engine.python, "-m", "benchmarks.worker"],
            cwd=ROOT,
            env=engine.environment(extra_path),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            self._lines.put(line)
        self._lines.put("")

    def receive(self) -> dict[str, Any]:
        """Wait for the next answer.

        Raises:
            EngineError: the worker died, took too long, or the work raised.
        """
        try:
            line = self._lines.get(timeout=self._timeout_s)
        except queue.Empty:
            self.close()
            raise EngineError(f"{self.engine.label}: no answer within {self._timeout_s:.0f} s") from None
        if not line:
            raise EngineError(f"{self.engine.label}: the worker died with exit code {self._child.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise EngineError(f"{self.engine.label}: {answer['error']}")
        return answer

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send one request and wait for its answer; see ``receive``."""
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(json.dumps(request) + "\n")
            self._child.stdin.flush()
        except BrokenPipeError:
            raise EngineError(f"{self.engine.label}: the worker is gone") from None
        return self.receive()

    def alive(self) -> bool:
        """Whether the worker can still be asked."""
        return self._child.poll() is None

    def close(self) -> None:
        """End the worker and wait until it is gone."""
        if self._child.stdin and not self._child.stdin.closed:
            self._child.stdin.close()
        try:
            self._child.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()


class Pair:
    """Both engines, warm; a worker that died is started again so that one bad row does not take the others down."""

    def __init__(self, engines: tuple[Engine, Engine], extra_path: tuple[str, ...], timeout_s: float) -> None:
        self._engines = engines
        self.extra_path = extra_path
        self._timeout_s = timeout_s
        self.processes = [self._start(engine) for engine in engines]
        self.descriptions = [process.receive() for process in self.processes]

    def _start(self, engine: Engine) -> Process:
        return Process(engine, self.extra_path, self._timeout_s)

    def revive(self) -> None:
        """Replace workers that died."""
        for index, process in enumerate(self.processes):
            if not process.alive():
                self.processes[index] = self._start(self._engines[index])
                self.processes[index].receive()

    def close(self) -> None:
        """End both workers."""
        for process in self.processes:
            process.close()


def open_pair(python: str, activate: str, extra_path: tuple[str, ...], timeout_s: float) -> Pair:
    """Start LangGraph and our engine side by side in the same interpreter installation.

    Args:
        python: the interpreter both run in.
        activate: how ours is switched on: "flag", "path", "none" (LangGraph on both sides, to test the harness), or
            "auto": the flag, and if that has no effect because the project is not installed there, the path.
        extra_path: further directories for both paths.
        timeout_s: how long one answer may take.

    Raises:
        EngineError: one of the two is not the engine that it should be.
    """
    first = {"auto": "flag"}.get(activate, activate)
    pair = _open(python, first, extra_path, timeout_s)
    if activate == "auto" and pair.descriptions[1]["engine"] != "stategraph":
        pair.close()
        pair = _open(python, "path", extra_path, timeout_s)
    wanted = ["langgraph", "langgraph" if activate == "none" else "stategraph"]
    found = [description["engine"] for description in pair.descriptions]
    if found != wanted:
        pair.close()
        raise EngineError(f"expected the engines {wanted}, found {found} in {python} (activation: {activate})")
    return pair


def _open(python: str, activate: str, extra_path: tuple[str, ...], timeout_s: float) -> Pair:
    ours = Engine("stategraph" if activate != "none" else "langgraph again", python, activate)
    return Pair((Engine("langgraph", python, "none"), ours), extra_path, timeout_s)
