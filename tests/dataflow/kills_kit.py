"""Random programs and fan-outs on SQLite or PostgreSQL, in processes that are killed at any moment.

Processes are forked from one that has everything imported, so a life costs some milliseconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from stategraph.errors import ConfigurationError
from stategraph.savers import AsyncPostgresSaver, AsyncSqliteSaver, PostgresSaver, SqliteSaver
from tests.dataflow.fan_out_kit import Ended, Race, Runs
from tests.dataflow.flow_kit import Plan, Program
from tests.engine.kills_kit import Death, Reaper

ROOT = Path(__file__).resolve().parent.parent.parent
SECONDS_TO_LIVE = 120


@dataclass(frozen=True)
class Life:
    """What a process does: go on with a thread until it ends, or dies.

    Attributes:
        work: The program, or the fan-out.
        store: The path of a SQLite file, or the address of a PostgreSQL server.
        thread: The id of the thread.
        notes: The file that gets a line for each node that begins, and the one beside it the result.
        order: Of the ends of branches; for a program its first number is the seed of its delays.
        durability: Of the run.
        death: When it dies; None lets it live.
    """

    work: Plan | Race
    store: str
    thread: str
    notes: Path
    order: tuple[int, ...]
    durability: Literal["sync", "async"]
    death: Death | None = None


class _Notes(list[Any]):
    """A list whose entries outlive the process."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def append(self, entry: Any) -> None:
        os.write(self._descriptor, f"{json.dumps(entry)}\n".encode())


def mortal(kind: Any, reaper: Reaper) -> Any:
    """Return a class of savers in whose neighbourhood the process may die."""

    class Mortal(kind):  # type: ignore[misc]
        async def aput(self, *args: Any, **kwargs: Any) -> Any:
            reaper.reached("before")
            found = await super().aput(*args, **kwargs)
            reaper.reached("after")
            return found

        async def aput_writes(self, *args: Any, **kwargs: Any) -> None:
            reaper.reached("before")
            await super().aput_writes(*args, **kwargs)
            reaper.reached("after")

        async def aput_together(self, saves: Any) -> int:
            reaper.reached("before")
            found: int = await super().aput_together(saves)
            reaper.reached("after")
            return found

    return Mortal


@contextlib.asynccontextmanager
async def _saver(life: Life) -> AsyncIterator[Any]:
    kind: Any = AsyncPostgresSaver if life.store.startswith("postgresql:") else AsyncSqliteSaver
    async with mortal(kind, Reaper(life.death)).from_conn_string(life.store) as saver:
        yield saver


async def _ticks(rank: int) -> None:
    for _ in range(4 * rank):
        await asyncio.sleep(0)


async def live(life: Life) -> None:
    """Go on with a thread until it has nothing left to do; note how it ended."""
    config: Any = {"configurable": {"thread_id": life.thread}, "recursion_limit": 80}
    async with _saver(life) as saver:
        if isinstance(life.work, Race):
            runs = Runs(life.work, life.order, _ticks)
            runs.began = _Notes(life.notes)
            graph = runs.compile(saver)
        else:
            program = Program(life.work, life.order[0])
            program.ran = _Notes(life.notes)
            graph = program.compile(checkpointer=saver)
        given: Any = {"log": []} if await saver.aget_tuple(config) is None else None
        try:
            result = await graph.ainvoke(given, config, durability=life.durability)
            ended: dict[str, Any] = {"log": result["log"], "failed": []}
        except ExceptionGroup as group:
            ended = {"log": [], "failed": [*map(str, group.exceptions)]}
        except (ConfigurationError, ValueError) as error:
            ended = {"log": [], "failed": [] if isinstance(error, ConfigurationError) else [str(error)]}
        life.notes.with_suffix(".result").write_text(json.dumps(ended))


class Lives:
    """A process with everything imported, which forks one for each life."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.dataflow.kills_kit"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *(path for path in sys.path if path)])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def spend(self, life: Life) -> int:
        """Let a process live; returns its exit code, which is -9 if it was killed."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(pickle.dumps(life).hex() + "\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline())

    def close(self) -> None:
        """End the server."""
        self._server.communicate()


def serve() -> None:
    """Fork a process for each life that is asked for, and tell how it ended."""
    for line in sys.stdin:
        if child := os.fork():
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
            continue
        os.dup2(2, 1)
        signal.alarm(SECONDS_TO_LIVE)  # one that hangs ends, too
        try:
            asyncio.run(live(pickle.loads(bytes.fromhex(line))))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)


# -- from outside -----------------------------------------------------------------------


@dataclass(frozen=True)
class Stored:
    """What lies in a database.

    Attributes:
        written: What tasks have written to the log, how often.
        decided: Whether it is stored that a branch was given up.
    """

    written: Counter[str]
    decided: bool


@contextlib.contextmanager
def opened(life: Life) -> Iterator[Any]:
    """Look at the database of a process."""
    kind: Any = PostgresSaver if life.store.startswith("postgresql:") else SqliteSaver
    with kind.from_conn_string(life.store) as saver:
        yield saver


def stored(life: Life) -> Stored:
    """Return what a thread has in its database."""
    written: Counter[str] = Counter()
    decided = False
    with opened(life) as saver:
        for found in saver.list({"configurable": {"thread_id": life.thread}}):
            for _, channel, value in found.pending_writes or ():
                decided = decided or value == "given up"
                if channel == "log":
                    written.update(value)
    return Stored(written, decided)


def noted(life: Life) -> list[Any]:
    """Return what has begun, in order."""
    return [json.loads(line) for line in life.notes.read_text().splitlines()] if life.notes.exists() else []


def result(life: Life) -> Ended:
    """Return how the thread has ended."""
    found = json.loads(life.notes.with_suffix(".result").read_text())
    return Ended(tuple(found["log"]), frozenset(found["failed"]))


if __name__ == "__main__":
    from tests.dataflow import kills_kit  # by the name that lives are pickled under

    kills_kit.serve()
