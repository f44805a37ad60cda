"""Lives of a graph, asked for from the process that compares them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from stategraph.testing.signals.effects import VARIABLE
from stategraph.testing.signals.spec import Spec

_SHOWN: Final = 2_000


class FuzzError(RuntimeError):
    """A graph cannot be run by `fuzz_signals`, or fails without having been killed."""


@dataclass(frozen=True, slots=True)
class Life:
    """The end of a life.

    Attributes:
        code: Its exit code; negative: the signal by which it was killed.
        answered: Numbers of answers that the graph was given so far, by the ids of interrupts.
        state: The state in the end; only if it came there.
        points: Points that it passed, if it came to the end; else 0.
        fired: Whether it was sent a signal.
        modules: Modules that it imported, if it came to the end.
        saves: How often it stored something, if it came to the end.
    """

    code: int
    answered: dict[str, int]
    state: object = None
    points: int = 0
    fired: bool = False
    modules: tuple[str, ...] = ()
    saves: int = 0

    @property
    def has_ended(self) -> bool:
        """True if the thread has come to its end."""
        return self.points > 0


class Lives:
    """A server that is forked for each life.

    Args:
        target: The import path of the graph.
        spawns: Whether each life is an interpreter of its own, and no fork.
        deadline_s: Seconds that a life may take.
    """

    def __init__(self, target: str, *, spawns: bool, deadline_s: float) -> None:
        self._target = target
        self._spawns = spawns
        self._deadline_s = deadline_s

    def __enter__(self) -> Self:
        if not hasattr(os, "fork"):
            raise FuzzError("fuzz_signals needs an operating system with fork() and signals, such as Linux or macOS")
        self._folder = tempfile.TemporaryDirectory(prefix="stategraph-signals-")
        self.folder = Path(self._folder.name)
        self._errors = (self.folder / "stderr.txt").open("wb")
        self._server = subprocess.Popen(
            [sys.executable, "-m", "stategraph.testing.signals.server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            start_new_session=True,  # Ctrl-C is for us; we end it, and its lives with it
            env={key: value for key, value in os.environ.items() if key != VARIABLE},
        )
        try:
            ready = self._ask(target=self._target, path=[os.path.abspath(each) for each in sys.path])
            if "error" in ready:
                raise FuzzError(ready["error"])
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server.stdin is not None and self._server.stdout is not None
        with suppress(ProcessLookupError, PermissionError):  # nothing of it is left
            os.killpg(self._server.pid, signal.SIGKILL)
        self._server.kill()
        self._server.wait()
        self._server.stdin.close()
        self._server.stdout.close()
        self._errors.close()
        self._folder.cleanup()

    def live(self, spec: Spec) -> Life:
        """Let a process live, and return how that ended.

        Raises:
            FuzzError: It failed or did not end, and not because of a signal of ours.
        """
        report = self.folder / "report.jsonl"
        report.unlink(missing_ok=True)
        told_to = replace(spec, report=str(report)).to_json()
        ended = self._ask(spec=told_to, spawns=self._spawns, deadline_s=self._deadline_s)
        told: dict[str, Any] = {"answered": spec.answered}
        for line in report.read_text().splitlines() if report.exists() else ():
            told |= json.loads(line)
        if ended["timed_out"]:
            sent = f" after it was sent signal {spec.signal}" if spec.at else ""
            said = f"A process did not end in {self._deadline_s:g} s{sent}, and was killed. {self._said()}"
            raise FuzzError(said.rstrip())
        if "error" in told:
            raise FuzzError(f"The graph failed, and no signal was sent: {told['error']}")
        points = told.get("points", 0)
        life = Life(
            ended["code"],
            told["answered"],
            told.get("state"),
            points,
            told.get("fired", False),
            tuple(told.get("modules", ())),
            told.get("saves", 0),
        )
        if not life.fired and not life.has_ended:
            raise FuzzError(f"A process ended with code {life.code}, and no signal was sent. {self._said()}".rstrip())
        return life

    def preload(self, modules: Sequence[str]) -> None:
        """Import modules that a life imported, so that later ones need not, and are killed elsewhere."""
        self._ask(modules=list(modules))

    def _ask(self, **request: object) -> dict[str, Any]:
        assert self._server.stdin is not None and self._server.stdout is not None
        try:
            self._server.stdin.write(f"{json.dumps(request)}\n")
            self._server.stdin.flush()
        except BrokenPipeError:
            pass  # the line below does not come
        line = self._server.stdout.readline()
        if not line:
            raise FuzzError(f"The process that imports '{self._target}' has ended. {self._said()}".rstrip())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _said(self) -> str:
        self._errors.flush()
        text = (self.folder / "stderr.txt").read_text(errors="replace")[-_SHOWN:].strip()
        return f"It wrote:\n{text}" if text else ""
