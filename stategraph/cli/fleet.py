"""Several workers, each in a process of its own, that are started again when they end by themselves.

Rules
-----
* A process that ends is replaced: at once if it lived for a while, else after a pause that doubles.
* A process that cannot be started is tried again after that pause.
* Processes do not get the terminal's signals but this one's, so that one Ctrl-C is one signal for each.
* They drain when this process is gone, as their standard input ends with it. A fleet that is cancelled does not wait
  for them.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Final

import anyio
from anyio.abc import Process

from stategraph.cli.progress import Progress

#: A process that lived so long is no reason to wait before the next.
STABLE_S: Final = 60.0

FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 30.0


class Fleet:
    """Processes of one command.

    Args:
        command: What starts one.
        environment: Variables that they get besides those of this process: addresses, which may hold secrets.
        number: How many there are.
        progress: Told when one has to be replaced.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], number: int, progress: Progress) -> None:
        self._command = list(command)
        self._environment = {**os.environ, **environment}
        self._number = number
        self._progress = progress
        self._processes: set[Process] = set()
        self._draining = anyio.Event()

    async def run(self) -> None:
        """Keep the processes running until they have been told to end, and have."""
        async with anyio.create_task_group() as group:
            for _ in range(self._number):
                group.start_soon(self._keep)

    def drain(self) -> None:
        """Have every worker claim nothing more, and end when its runs have."""
        self._draining.set()
        self._signal()

    def stop(self) -> None:
        """Have every worker give its runs back, and end."""
        self._draining.set()
        self._signal()

    def end(self, number: int, frame: FrameType | None) -> None:
        """Kill every worker, and this process by the signal that this handles."""
        del frame
        self._signal(signal.SIGKILL)
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    def _signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        for process in self._processes:
            if process.returncode is None:
                process.send_signal(number)

    async def _keep(self) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._draining.is_set():
            began = anyio.current_time()
            facts: dict[str, object] = {}
            try:
                facts["code"] = code = await self._run_one()
                ended = _ended(code)
            except OSError as error:  # too many processes or open files, for example
                facts["error"] = str(error)
                ended = f"a worker could not be started: {error}"
            if self._draining.is_set():
                return
            pause_s = FIRST_PAUSE_S if anyio.current_time() - began > STABLE_S else min(2 * pause_s, LONGEST_PAUSE_S)
            wait_s = pause_s * random.uniform(0.7, 1.3)
            self._progress.tell("replaced", f"{ended}; another one starts in {wait_s:.1f} s", **facts)
            with anyio.move_on_after(wait_s):
                await self._draining.wait()

    async def _run_one(self) -> int:
        process = await anyio.open_process(
            self._command,
            stdin=subprocess.PIPE,
            stdout=None,
            stderr=None,
            env=self._environment,
            start_new_session=True,
        )
        self._processes.add(process)
        try:
            if self._draining.is_set():
                process.send_signal(signal.SIGTERM)
            return await process.wait()
        finally:
            self._processes.discard(process)
            with anyio.CancelScope(shield=True):
                if process.returncode is None and process.stdin is not None:
                    await process.stdin.aclose()
                else:
                    await process.aclose()


def _ended(code: int) -> str:
    if code < 0:
        return f"a worker was ended by signal {-code}"
    return f"a worker ended with exit code {code}"
