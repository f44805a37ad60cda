"""Processes of adapters: started, registered in a directory while they are ready, and started again when they end.

Rules
-----
* A process is registered once it says that it is ready, and no longer before it is told to stop.
* One that ends by itself, or does not answer three checks in a row, is started again after a pause that doubles; one
  that ends too often ends the supervisor with an error. One that says that its agent cannot be served is not tried
  again.
* A process drains when the supervisor is gone, as its standard input ends with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from stategraph.fleet.adapters.port import AdapterError
from stategraph.fleet.adapters.ready import READY, UNUSABLE
from stategraph.fleet.directory import Directory
from stategraph.fleet.endpoint import AgentEndpoint

logger = logging.getLogger("stategraph.fleet.adapters")

#: Seconds that a process has to say that it is ready: large frameworks need some.
START_S: Final = 120.0

#: Seconds between two checks of a process, and how many may fail in a row.
CHECK_S: Final = 10.0
MOST_MISSES: Final = 3

#: Seconds that a process has to end after its turns have.
_GRACE_S: Final = 10.0

_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """Command that starts a process.

    Attributes:
        command: The program and its arguments.
        environment: Variables besides those of this process.
        folder: Where it runs; None: where this process does.
        drain_s: Seconds that its turns have when it is told to stop.
    """

    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    folder: Path | None = None
    drain_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Restarts:
    """Limit of the times that a process may end by itself.

    Attributes:
        most: So often.
        within_s: In so many seconds.
    """

    most: int = 5
    within_s: float = 300.0


@dataclass(frozen=True, slots=True)
class Started:
    """A process that is ready.

    Attributes:
        url: The address by which clients reach it.
        pid: Its id.
        number: Which of the instances it is, from 0.
    """

    url: str
    pid: int
    number: int


Telling = Callable[[str, Started | str], None]


class Supervisor:
    """Keeps processes of an adapter running.

    Args:
        launch: What starts one.
        instances: How many there are.
        directory: Where they are registered; None: nowhere.
        endpoint: Makes the endpoint of one from its address; None: nothing is registered.
        restarts: How often one may end by itself.
        start_s: Seconds that one has to get ready.
        check_s: Seconds between two checks of one.
        tell: Is told `ready` and `gone` with the process, and `ended` with a sentence.
    """

    def __init__(
        self,
        launch: Launch,
        *,
        instances: int = 1,
        directory: Directory | None = None,
        endpoint: Callable[[str], AgentEndpoint] | None = None,
        restarts: Restarts | None = None,
        start_s: float = START_S,
        check_s: float = CHECK_S,
        tell: Telling | None = None,
    ) -> None:
        self._launch = launch
        self._instances = instances
        self._directory = directory
        self._endpoint = endpoint
        self._restarts = restarts or Restarts()
        self._start_s = start_s
        self._check_s = check_s
        self._tell = tell or (lambda what, about: logger.info("%s: %s", what, about))
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Keep the processes running until `stop` is called.

        Raises:
            AdapterError: The agent cannot be served, or a process ended too often. The others are stopped.
        """
        keeping = [
            asyncio.create_task(self._keep(number), name=f"stategraph adapter {number}")
            for number in range(self._instances)
        ]
        try:
            await asyncio.wait(keeping, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            self.stop()
            results = await asyncio.gather(*keeping, return_exceptions=True)
        for each in results:
            if isinstance(each, BaseException):
                raise each

    def stop(self) -> None:
        """Have the processes removed from the directory, drained and ended."""
        self._stopping.set()

    async def _keep(self, number: int) -> None:
        ends: deque[float] = deque()
        pause_s = _FIRST_PAUSE_S
        while not self._stopping.is_set():
            began = time.monotonic()
            said = await self._run_one(number)
            if self._stopping.is_set():
                return
            now = time.monotonic()
            ends.append(now)
            while ends and now - ends[0] > self._restarts.within_s:
                ends.popleft()
            if len(ends) > self._restarts.most:
                raise AdapterError(
                    f"The agent's process {number} ended {len(ends)} times within {self._restarts.within_s:g} s; the "
                    f"last time: {said}"
                )
            pause_s = _FIRST_PAUSE_S if now - began > 60.0 else min(2 * pause_s, _LONGEST_PAUSE_S)
            self._tell("ended", f"{said}; it starts again in {pause_s:g} s")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause_s)

    async def _run_one(self, number: int) -> str:
        """Run a process to its end, and return how it ended."""
        process = await asyncio.create_subprocess_exec(
            *self._launch.command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, **self._launch.environment},
            cwd=self._launch.folder,
            start_new_session=True,
        )
        try:
            ready = await self._ready(process)
            if isinstance(ready, str):
                return ready
            started = Started(ready["url"], process.pid, number)
            return await self._serve(process, started, ready["local"])
        finally:
            await asyncio.shield(self._end(process))

    async def _ready(self, process: asyncio.subprocess.Process) -> dict[str, Any] | str:
        """Return what a process said when it was ready, or why it did not."""
        waiting = asyncio.create_task(_first_ready(process))
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait([waiting, stopping], timeout=self._start_s, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done() and (said := waiting.result()) is not None:
                return said
            if waiting.done():
                return _ended(await process.wait())
            return f"the process was not ready within {self._start_s:g} s"
        finally:
            await _cancel(waiting, stopping)

    async def _serve(self, process: asyncio.subprocess.Process, started: Started, local: str) -> str:
        async with contextlib.AsyncExitStack() as stack:
            if self._directory is not None and self._endpoint is not None:
                await stack.enter_async_context(self._directory.present(self._endpoint(started.url)))
            self._tell("ready", started)
            waits = [
                asyncio.create_task(process.wait()),
                asyncio.create_task(self._stopping.wait()),
                asyncio.create_task(self._unwell(local)),
                asyncio.create_task(_forward(process)),
            ]
            try:
                await asyncio.wait(waits[:3], return_when=asyncio.FIRST_COMPLETED)
                if waits[0].done():
                    return _ended(await process.wait())
                return str(waits[2].result()) if waits[2].done() else "the process was told to stop"
            finally:
                self._tell("gone", started)
                await _cancel(*waits)

    async def _unwell(self, url: str) -> str:
        """Return once a process does not answer any more."""
        misses = 0
        while misses < MOST_MISSES:
            await asyncio.sleep(self._check_s)
            misses = 0 if await asyncio.to_thread(_answers, url) else misses + 1
        return f"the process did not answer {misses} checks in a row"

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        forwarding = asyncio.create_task(_forward(process))
        try:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGTERM)
                try:
                    await asyncio.wait_for(process.wait(), self._launch.drain_s + _GRACE_S)
                except TimeoutError:
                    logger.warning("The process %d did not end, and is killed", process.pid)
                    with contextlib.suppress(ProcessLookupError):
                        process.kill()
                    await process.wait()
        finally:
            if process.stdin is not None:
                process.stdin.close()
            await _cancel(forwarding)


async def _first_ready(process: asyncio.subprocess.Process) -> dict[str, Any] | None:
    """Return what a process says when it is ready, None if it ends before."""
    assert process.stdout is not None
    async for line in process.stdout:
        text = line.decode(errors="replace").rstrip()
        if text.startswith(READY):
            said: dict[str, Any] = json.loads(text.removeprefix(READY))
            return said
        sys.stderr.write(f"{text}\n")
    if await process.wait() == UNUSABLE:
        raise AdapterError("The agent cannot be served; its process said why")
    return None


async def _forward(process: asyncio.subprocess.Process) -> None:
    """Write what a process prints to standard error, so that it never waits for a reader."""
    assert process.stdout is not None
    while chunk := await process.stdout.read(65_536):
        sys.stderr.write(chunk.decode(errors="replace"))


async def _cancel(*tasks: asyncio.Task[Any]) -> None:
    for each in tasks:
        each.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _answers(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/health", timeout=5):
            return True
    except urllib.error.HTTPError:  # it drains, and says so
        return True
    except OSError:
        return False


def _ended(code: int) -> str:
    return f"the process was ended by signal {-code}" if code < 0 else f"the process ended with exit code {code}"
