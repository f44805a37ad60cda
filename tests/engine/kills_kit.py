"""Running a drawn program on SQLite in a process of its own that can be killed at any moment.

Processes are forked from one that has everything imported, so a life costs some milliseconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import aiosqlite
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from stategraph import Command
from tests.engine import nested_kit as nested
from tests.engine import programs_kit as kit

ROOT = Path(__file__).resolve().parent.parent.parent
ENGINE = f"{os.sep}stategraph{os.sep}"


@dataclass(frozen=True)
class Death:
    """When a process dies.

    Attributes:
        at: before or after a call of the saver that writes, or at a line of the engine.
        number: which one, counted from 1.
    """

    at: Literal["before", "after", "line"]
    number: int


class Reaper:
    """Kills this process at the moment that was chosen."""

    def __init__(self, death: Death | None) -> None:
        self._death = death
        self._left = death.number if death else 0
        if death and death.at == "line":
            threading.settrace(self._trace)
            sys.settrace(self._trace)

    def reached(self, at: str) -> None:
        """Count a moment, and die if it is the one."""
        if self._death and self._death.at == at:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        if ENGINE not in frame.f_code.co_filename:
            return None
        if event == "line":
            self.reached("line")
        return self._trace


class FileWorld(kit.World):
    """A world whose traces outlive the process: a line in a file for each start of a node."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def enter(self, config: RunnableConfig) -> None:
        task = config["metadata"]["langgraph_checkpoint_ns"].rpartition(":")[2]
        os.write(self._descriptor, f"{task}\n".encode())


class MortalSqlite(SqliteSaver):
    """A saver in whose neighbourhood the process may die."""

    reaper: Reaper

    def put(self, *args: Any, **kwargs: Any) -> Any:
        self.reaper.reached("before")
        found = super().put(*args, **kwargs)
        self.reaper.reached("after")
        return found

    def put_writes(self, *args: Any, **kwargs: Any) -> None:
        self.reaper.reached("before")
        super().put_writes(*args, **kwargs)
        self.reaper.reached("after")


class MortalAsyncSqlite(AsyncSqliteSaver):
    """The same for asynchronous runs."""

    reaper: Reaper

    async def aput(self, *args: Any, **kwargs: Any) -> Any:
        self.reaper.reached("before")
        found = await super().aput(*args, **kwargs)
        self.reaper.reached("after")
        return found

    async def aput_writes(self, *args: Any, **kwargs: Any) -> None:
        self.reaper.reached("before")
        await super().aput_writes(*args, **kwargs)
        self.reaper.reached("after")


@dataclass(frozen=True)
class Life:
    """What a process does: go on with the thread in a folder until it ends, or dies.

    Attributes:
        spec: the program; None for the conversation of `nested_kit`.
        folder: where the database and the traces are.
        asynchronous: which driver.
        durability: of all runs.
        death: when it dies; None lets it live.
    """

    spec: kit.Spec | None
    folder: Path
    asynchronous: bool
    durability: str
    death: Death | None = None


def live(life: Life) -> None:
    """Go on with a thread until it has nothing left to do."""
    world = FileWorld(life.folder / "executed")
    reaper = Reaper(life.death)
    if life.asynchronous:
        asyncio.run(_live_async(life, world, reaper))
        return
    with contextlib.closing(sqlite3.connect(life.folder / "db", check_same_thread=False)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        saver = MortalSqlite(connection)
        saver.reaper = reaper
        if life.spec is None:
            nested.converse(nested.build(saver), life.durability)
            return
        graph = kit.build(life.spec, world, saver)
        given: Any = None if saver.get_tuple(kit.THREAD) else kit.new_input()
        for _ in range(50):
            if given is None:
                snapshot = graph.get_state(kit.THREAD)
                if not snapshot.tasks:
                    return
                given = Command(resume=kit.answers(snapshot)) if snapshot.interrupts else None
            graph.invoke(given, kit.THREAD, durability=life.durability)
            given = None
    raise AssertionError("the thread does not come to an end")


async def _live_async(life: Life, world: FileWorld, reaper: Reaper) -> None:
    async with aiosqlite.connect(life.folder / "db") as connection:
        await connection.execute("PRAGMA synchronous=OFF")
        saver = MortalAsyncSqlite(connection)
        saver.reaper = reaper
        if life.spec is None:
            await nested.aconverse(nested.build(saver, asynchronous=True), life.durability)
            return
        graph = kit.build(life.spec, world, saver, asynchronous=True)
        given: Any = None if await saver.aget_tuple(kit.THREAD) else kit.new_input()
        for _ in range(50):
            if given is None:
                snapshot = await graph.aget_state(kit.THREAD)
                if not snapshot.tasks:
                    return
                given = Command(resume=kit.answers(snapshot)) if snapshot.interrupts else None
            await graph.ainvoke(given, kit.THREAD, durability=life.durability)
            given = None
    raise AssertionError("the thread does not come to an end")


class Lives:
    """A process with everything imported, which forks one for each life."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.engine.kills_kit"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def spend(self, life: Life) -> int:
        """Let a process live; returns its exit code, which is -9 if it was killed."""
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.write(pickle.dumps(life).hex() + "\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline())

    def close(self) -> None:
        """End the server."""
        self._server.communicate()


def serve() -> None:
    """Fork a process for each life that is asked for, and tell how it ended."""
    one = (kit.NodeSpec("n00", "plain", (), joins=False),)  # what it needs to run is imported when it first does
    for asynchronous in (False, True):
        kit.invoke(
            kit.build(one, kit.World(), InMemorySaver(), asynchronous=asynchronous), kit.new_input(), asynchronous
        )
    for line in sys.stdin:
        if child := os.fork():
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
            continue
        os.dup2(2, 1)
        signal.alarm(120)  # one that hangs ends, too
        try:
            live(pickle.loads(bytes.fromhex(line)))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[SqliteSaver]:
    """Look at a database that a process has left behind."""
    with contextlib.closing(sqlite3.connect(folder / "db", check_same_thread=False)) as connection:
        yield SqliteSaver(connection)


def executed(folder: Path) -> list[str]:
    """Return the tasks whose nodes began, in order."""
    file = folder / "executed"
    return file.read_text(encoding="utf-8").split() if file.exists() else []


def recorded(folder: Path) -> set[str]:
    """Return the tasks whose results lie in the database."""
    with opened(folder) as saver:
        return {
            task
            for entry in saver.list(None)
            for task, channel, _ in entry.pending_writes or ()
            if not channel.startswith("__") or channel in ("__no_writes__", "__return__", "__pregel_tasks")
        }


if __name__ == "__main__":
    from tests.engine import kills_kit  # by the name that lives are pickled under

    kills_kit.serve()
