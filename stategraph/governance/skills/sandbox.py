"""Sandbox for scripts of skills: bubblewrap (`bwrap`), and limits on time, memory, files and output.

| | in the sandbox | a trusted script |
|---|---|---|
| network | none | the host's |
| files, read-only | `/usr`, the interpreter, and the skill at `/skill` | the host's |
| files to write | `/work` and `/tmp`, in memory and gone afterwards | the host's; its folder is gone afterwards |
| environment | `PATH`, `HOME`, `LANG` and the like: nothing of this process | the same |
| processes | its own, ended with it | its own, ended with it |
| time, memory, size of files, output | limited | limited |

`/skill` is a copy that was compared with what was loaded: what runs is what was looked at. Memory is limited for each
process. Where this process is root, the number of processes is not limited by the kernel, only their time.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Final

from stategraph.core import explain
from stategraph.engine.tasks import threads
from stategraph.errors import ConfigurationError
from stategraph.governance.errors import GovernanceError
from stategraph.governance.skills import loader
from stategraph.governance.skills.skill import Skill
from stategraph.workers.process import bubblewrap

_POLL_S: Final = 0.05
_PIECE: Final = 64 * 1024

_ENVIRONMENT: Final = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/work",
    "LANG": "C.UTF-8",
    "TMPDIR": "/tmp",
    "PYTHONDONTWRITEBYTECODE": "1",
}

#: Sets limits in the process that then becomes the script: nothing runs between `fork` and `exec` of this one.
_LAUNCHER: Final = """
import os, resource, sys
for limit in sys.argv[1].split(","):
    name, value = limit.split("=")
    kind, most = getattr(resource, name), int(value)
    hard = resource.getrlimit(kind)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (most, most))
os.execvp(sys.argv[2], sys.argv[2:])
"""


class SandboxUnavailable(GovernanceError):
    """The sandbox cannot be used on this machine; the message says why, and a way out."""


_LARGEST: Final = 2**40


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a script.

    Attributes:
        wall_s: Seconds until it is ended.
        cpu_s: Seconds of processor time of each of its processes.
        memory_bytes: Address space of each of its processes.
        file_bytes: Size of each file that it writes.
        scratch_bytes: Size of `/work` and of `/tmp`, in the sandbox.
        processes: Its processes at once; the kernel keeps this limit for those who are not root.
        output_bytes: Bytes of its output and of its errors that are read; with more it is ended.

    Raises:
        ConfigurationError: A limit is no number above 0, or all but `wall_s` no whole number.
    """

    wall_s: float = 30.0
    cpu_s: int = 30
    memory_bytes: int = 512 * 1024 * 1024
    file_bytes: int = 16 * 1024 * 1024
    scratch_bytes: int = 64 * 1024 * 1024
    processes: int = 64
    output_bytes: int = 256 * 1024

    def __post_init__(self) -> None:
        for each in fields(self):
            value: object = getattr(self, each.name)
            kinds, kind = ((int, float), "a number") if each.name == "wall_s" else ((int,), "a whole number")
            if isinstance(value, bool) or not isinstance(value, kinds) or not 0 < value <= _LARGEST:
                raise ConfigurationError(
                    f"Limits: {each.name} is {explain.shown(value)}; it must be {kind} above 0, up to 2**40"
                )


@dataclass(frozen=True, slots=True)
class Finished:
    """Result of a script.

    Attributes:
        code: Its exit code; negative: the signal that ended it.
        output: Its output.
        errors: What it wrote to its standard error.
        ended: Why it was ended: `time`, `output` or `stop`; None: it ended by itself.
    """

    code: int
    output: str
    errors: str
    ended: str | None = None


class Sandbox:
    """Runs scripts of skills.

    Args:
        limits: The limits.
        program: bubblewrap's program, by its path or its name on the `PATH`.
        read_only: Further folders that scripts may read, such as one with libraries.
    """

    def __init__(
        self, limits: Limits | None = None, *, program: str = "bwrap", read_only: Sequence[str | Path] = ()
    ) -> None:
        self.limits = limits or Limits()
        self._program = program
        self._read_only = tuple(Path(each) for each in read_only)

    def check(self) -> None:
        """Find out whether the sandbox works here, by starting one.

        Raises:
            SandboxUnavailable: It does not.
        """
        found = self._run([*self._around(Path("/usr")), "/usr/bin/env", "true"], b"", _ENVIRONMENT, None)
        if found.code:
            raise SandboxUnavailable(
                f"bubblewrap does not work here: {found.errors.strip() or found.code}. It needs user namespaces "
                "(sysctl kernel.unprivileged_userns_clone=1, and no seccomp profile of a container that forbids them)"
            )

    def run(
        self,
        skill: Skill,
        command: Sequence[str],
        arguments: Sequence[str] = (),
        *,
        stdin: str = "",
        trusted: bool = False,
        stop: threading.Event | None = None,
    ) -> Finished:
        """Run a script of a skill and wait.

        Args:
            skill: The skill.
            command: The interpreter and the script: `{python}` stands for Python, `{skill}` for the skill's folder.
            arguments: Passed to it as they are.
            stdin: The script's input.
            trusted: Whether it runs outside of the sandbox.
            stop: Ends it when it is set.

        Raises:
            SandboxUnavailable: It is not trusted, and there is no sandbox here.
            SkillError: The skill was changed since it was loaded.
        """
        around = None if trusted else self._around  # before anything is copied
        if around is not None:
            self._found()
        with _staged(skill) as folder:
            limits = ",".join(f"{name}={value}" for name, value in _rlimits(self.limits, trusted=trusted))
            launcher = [bubblewrap.python(), "-I", "-c", _LAUNCHER, limits]
            at = str(folder) if around is None else "/skill"
            python = sys.executable if trusted else bubblewrap.python()
            filled = [each.replace("{skill}", at).replace("{python}", python) for each in command]
            inner = [*launcher, *filled, *(each.replace("\0", "") for each in arguments)]
            if around is not None:
                return self._run([*around(folder), *inner], stdin.encode(), _ENVIRONMENT, stop)
            with tempfile.TemporaryDirectory(prefix="skill-work-") as work:
                own = {**_ENVIRONMENT, "HOME": work, "TMPDIR": work}
                return self._run(inner, stdin.encode(), own, stop, work)

    async def arun(
        self,
        skill: Skill,
        command: Sequence[str],
        arguments: Sequence[str] = (),
        *,
        stdin: str = "",
        trusted: bool = False,
    ) -> Finished:
        """Run a script in a thread; cancelling the caller ends it. Arguments and errors are those of `run`."""
        stop = threading.Event()
        work = partial(copy_context().run, self.run, skill, command, arguments)
        # Python's own pool is small, and scripts may take long; the thread is part of the action that is executed.
        run = partial(work, stdin=stdin, trusted=trusted, stop=stop)
        running = asyncio.get_running_loop().run_in_executor(threads.pool(), run)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            stop.set()
            await asyncio.wait([running])
            if not running.cancelled():
                running.exception()
            raise

    def _found(self) -> str:
        found = bubblewrap.program(self._program)
        if found is None:
            raise SandboxUnavailable(
                "Scripts of skills that are not trusted run in bubblewrap, and "
                f"{bubblewrap.why_missing(self._program)}: install it (on Debian `apt install bubblewrap`), or give "
                "the skill's registry trust='trusted' if you answer for its scripts"
            )
        return found

    def _around(self, skill: Path) -> list[str]:
        """Return the command line of bubblewrap, to which that of the script is added."""
        readable = (Path(sys.base_prefix), *self._read_only)
        scratch = self.limits.scratch_bytes
        command = bubblewrap.around(self._found(), _ENVIRONMENT, readable, scratch_bytes=scratch)
        return [*command, "--ro-bind", str(skill), "/skill", *bubblewrap.end()]

    def _run(
        self,
        command: Sequence[str],
        stdin: bytes,
        environment: Mapping[str, str],
        stop: threading.Event | None,
        folder: str | None = None,
    ) -> Finished:
        deadline = time.monotonic() + self.limits.wall_s
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, cwd=folder, start_new_session=True
        )
        reading = _Reading(process, stdin, self.limits.output_bytes)
        try:
            ended = reading.until(deadline, stop)
        finally:
            _kill(process)
            reading.close()
            process.wait()
        return Finished(process.returncode, reading.text("stdout"), reading.text("stderr"), ended)


class _Reading:
    """Feeds a process and reads what it writes, within limits."""

    def __init__(self, process: subprocess.Popen[bytes], stdin: bytes, most: int) -> None:
        self._process = process
        self._left = memoryview(stdin)
        self._most = most
        self._read: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
        self._selector = selectors.DefaultSelector()
        for name, stream, event in (
            ("stdin", process.stdin, selectors.EVENT_WRITE),
            ("stdout", process.stdout, selectors.EVENT_READ),
            ("stderr", process.stderr, selectors.EVENT_READ),
        ):
            assert stream is not None
            os.set_blocking(stream.fileno(), False)
            self._selector.register(stream, event, name)

    def until(self, deadline: float, stop: threading.Event | None) -> str | None:
        """Read until the process closes its output, a limit is reached, or it is to stop; return what ended it."""
        while any(key.data != "stdin" for key in self._selector.get_map().values()):
            left = deadline - time.monotonic()
            if left <= 0:
                return "time"
            if stop is not None and stop.is_set():
                return "stop"
            for key, _ in self._selector.select(min(left, _POLL_S)):
                if key.data == "stdin":
                    self._write(key)
                elif not self._take(key):
                    return "output"
        while self._process.poll() is None:  # it has closed its output, and goes on
            left = deadline - time.monotonic()
            if left <= 0 or (stop is not None and stop.is_set()):
                return "time" if left <= 0 else "stop"
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(min(left, _POLL_S))
        return None

    def _write(self, key: selectors.SelectorKey) -> None:
        try:
            written = os.write(key.fd, self._left[:_PIECE])
        except BrokenPipeError:
            written = len(self._left)
        self._left = self._left[written:]
        if not self._left:
            self._forget(key)

    def _take(self, key: selectors.SelectorKey) -> bool:
        piece = os.read(key.fd, _PIECE)
        read = self._read[key.data]
        read += piece[: self._most - len(read)]
        if not piece:
            self._forget(key)
        return len(read) < self._most

    def _forget(self, key: selectors.SelectorKey) -> None:
        self._selector.unregister(key.fileobj)
        key.fileobj.close()  # type: ignore[union-attr]

    def close(self) -> None:
        """Close the pipes."""
        for key in list(self._selector.get_map().values()):
            self._forget(key)
        self._selector.close()

    def text(self, name: str) -> str:
        """Return what was read."""
        return self._read[name].decode("utf-8", "replace")


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and its group; in the sandbox, all that it has started ends with it."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def _staged(skill: Skill) -> Iterator[Path]:
    """Copy a skill as it was loaded to a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="skill-") as name:
        folder = Path(name)
        for path in skill.files:
            content = loader.read_unchanged(skill, path)
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
            file.chmod(0o555)
        yield folder


def _rlimits(limits: Limits, *, trusted: bool) -> Iterator[tuple[str, int]]:
    yield "RLIMIT_CPU", limits.cpu_s
    yield "RLIMIT_AS", limits.memory_bytes
    yield "RLIMIT_FSIZE", limits.file_bytes
    yield "RLIMIT_CORE", 0
    yield "RLIMIT_NOFILE", 256
    if not trusted:  # the host's other processes would count
        yield "RLIMIT_NPROC", limits.processes
