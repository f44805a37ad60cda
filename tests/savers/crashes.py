"""Kill a process inside its saves, or tear the end off its log, and look at what is left: `make crashes N=1000`.

A child stores steps of a graph and of one nested in it, and says on a pipe what it was told is stored. It is killed
before a statement that is chosen at random, or at a random time, which may be within a commit. In every third case the
log of its file is cut at a random byte then, as a power cut may leave it; the last steps may be lost by that. What is
read afterwards has to be whole: of each checkpoint all values, and all writes that were stored with it.

In every tenth case the child brings a file from one form to the other. What is read after the kill, and after a second
conversion, has to be what was there before.
"""

from __future__ import annotations

import argparse
import os
import random
import select
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage

from stategraph.engine.checkpoints.allowlist import message_classes
from stategraph.engine.checkpoints.serializer import StrictSerializer
from stategraph.savers import SqliteSaver

STEPS = 8
NAMESPACES = ("", "child:1")
THREADS = ("one", "two", "three")
LIMIT_S = 60


def messages(step: int) -> list[Any]:
    return [(HumanMessage if at % 2 else AIMessage)(f"message {at} " * 9, id=str(at)) for at in range(step * 2)]


def saves_of(step: int, namespace: str, thread: str = "t") -> list[tuple[str, Any]]:
    """The writes of a step of two tasks, and its checkpoint."""
    here: dict[str, Any] = {"thread_id": thread, "checkpoint_ns": namespace}
    if step > 1:
        here["checkpoint_id"] = id_of(step - 1)
    config = {"configurable": here}
    versions = {"messages": f"{step:032}.0.5", "pad": f"{step:032}.0.5"}
    checkpoint = {
        "v": 4,
        "id": id_of(step),
        "ts": "2026-01-01T00:00:00+00:00",
        "channel_values": {"messages": messages(step), "pad": f"{step} " * 200},
        "channel_versions": versions,
        "versions_seen": {},
    }
    tasks = [("put_writes", (config, [("messages", messages(step)[-2:])], f"task-{at}", "")) for at in range(2)]
    return [*(tasks if step > 1 else []), ("put", (config, checkpoint, {"step": step, "source": "loop"}, versions))]


def id_of(step: int) -> str:
    return f"{step:06}"


def open_saver(path: Path, **options: Any) -> Any:
    return SqliteSaver.from_conn_string(str(path), serde=StrictSerializer(message_classes()), **options)


def kill_at(saver: Any, at_statement: int | None) -> None:
    """Have this process killed before a statement of a saver."""
    count = 0

    def traced(_: str) -> None:
        nonlocal count
        count += 1
        if count == at_statement:
            os.kill(os.getpid(), signal.SIGKILL)

    saver.conn.set_trace_callback(traced)


def store(path: Path, pipe: int, at_statement: int | None, mode: Any) -> None:
    """Store the steps that are missing, up to the end or to the kill."""
    with open_saver(path, mode=mode) as saver:
        saver.setup()
        kill_at(saver, at_statement)
        for step in range(1, STEPS + 1):
            for namespace in NAMESPACES:
                saves = saves_of(step, namespace)
                while saves:
                    saves = saves[saver.put_together(saves) :]
            os.write(pipe, bytes((step,)))


def check(path: Path, acknowledged: int, *, is_torn: bool, mode: Any) -> int:
    """Check what is left; returns the number of steps."""
    with sqlite3.connect(path) as connection:
        ((state,),) = connection.execute("PRAGMA integrity_check").fetchall()
        assert state == "ok", state
    connection.close()
    with open_saver(path, mode=mode) as saver:
        found = {}
        for namespace in NAMESPACES:
            steps = []
            for one in saver.list({"configurable": {"thread_id": "t", "checkpoint_ns": namespace}}):
                step = one.metadata["step"]
                steps.append(step)
                expected = saves_of(step, namespace)[-1][1][1]
                assert one.checkpoint == expected, (step, namespace)
                following = saves_of(step + 1, namespace)[:-1]
                wanted = [(task, *write) for _, (_, writes, task, _) in following for write in writes]
                has_next = step + 1 in found.get(namespace, steps)
                assert one.pending_writes == (wanted if has_next else []), (step, namespace)
            assert steps == list(range(len(steps), 0, -1)), steps
            found[namespace] = steps
        least = min(map(len, found.values()))
        assert is_torn or least >= acknowledged, (least, acknowledged)
        return least


def case(number: int, seed: int, folder: Path) -> str:
    """Kill once; returns how."""
    draw = random.Random(f"{seed}:{number}")
    mode = "plain" if number % 5 == 4 else "compact"
    path = folder / f"{number}.db"
    at_statement = draw.randrange(1, 160) if number % 2 else None
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            store(path, writing, at_statement, mode)
        finally:
            os._exit(0)
    os.close(writing)
    if at_statement is None:
        time.sleep(draw.uniform(0, 0.08))
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    acknowledged = len(b"".join(told(reading)))
    os.close(reading)
    log = path.with_name(path.name + "-wal")
    is_torn = number % 3 == 2 and log.exists() and log.stat().st_size > 0
    if is_torn:
        os.truncate(log, draw.randrange(log.stat().st_size))
        path.with_name(path.name + "-shm").unlink(missing_ok=True)
    left = check(path, acknowledged, is_torn=is_torn, mode=mode) if path.exists() else 0
    killed = "killed" if os.WIFSIGNALED(status) else "ended"
    return f"{killed}{' and torn' if is_torn else ''}, {left} of {STEPS} steps left" if left < STEPS else killed


def conversion(number: int, seed: int, folder: Path) -> str:
    """Kill a conversion once, and convert again; returns how."""
    draw = random.Random(f"{seed}:{number}")
    before, after = draw.sample(("compact", "plain"), 2)
    path = folder / f"{number}.db"
    with open_saver(path, mode=before) as saver:
        for thread in THREADS:
            for step in range(1, STEPS + 1):
                for namespace in NAMESPACES:
                    saver.put_together(saves_of(step, namespace, thread))
        expected = everything(saver)
    at_statement = draw.randrange(1, 500)
    child = os.fork()
    if child == 0:
        try:
            with open_saver(path) as saver:
                kill_at(saver, at_statement)
                saver.convert(after)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    with open_saver(path) as saver:
        assert everything(saver) == expected, (number, at_statement)
        saver.convert(after)
        assert everything(saver) == expected, (number, at_statement)
        assert saver.mode == after, saver.mode
        assert saver.convert(after) == 0
    return "killed in a conversion" if os.WIFSIGNALED(status) else "converted"


def everything(saver: Any) -> list[Any]:
    """All that is stored of all threads."""
    found = [(tuple(one.config["configurable"].values()), one) for one in saver.list(None)]
    return [one for _, one in sorted(found, key=lambda each: each[0])]


def told(pipe: int) -> Iterator[bytes]:
    while select.select([pipe], [], [], LIMIT_S)[0] and (data := os.read(pipe, 64)):
        yield data


def main(number: int, seed: int) -> int:
    folder = Path(tempfile.mkdtemp(prefix="stategraph-crashes-"))
    counts: dict[str, int] = {}
    try:
        for at in range(number):
            how = (conversion if at % 10 == 9 else case)(at, seed, folder).partition(",")[0]
            counts[how] = counts.get(how, 0) + 1
            for file in folder.iterdir():
                file.unlink()
    finally:
        shutil.rmtree(folder)
    print(f"{number} cases, nothing lost: " + ", ".join(f"{count} {how}" for how, count in sorted(counts.items())))
    return 0 if counts.get("killed", 0) and counts.get("killed in a conversion", 0) else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--number", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    sys.exit(main(given.number, given.seed))
