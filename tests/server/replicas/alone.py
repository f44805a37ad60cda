"""One server process on SQLite that is killed at random while runs are submitted to it, and started again.

    python -m tests.server.replicas --alone 20 --runs 50 --seed 1

The parent starts a process with the server's service on a new file, and hears of each run that was acknowledged. It
kills the process (SIGKILL) after a random number of them, and starts another one, which submits the others again, under
the same ids, and waits for all. At the end each thread has one run, which ended once, with events without holes, and a
state in which each step happened once.
"""

from __future__ import annotations

import asyncio
import json
import operator
import os
import random
import signal
import subprocess
import sys
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from typing_extensions import TypedDict

from stategraph import START, StateGraph
from stategraph.server.service.graphs.served import ServedGraphs
from stategraph.server.service.opening import OpenService, ServiceSettings, open_service
from stategraph.server.service.port import ANYONE, RunRequest
from stategraph.workers.leases import LeaseSettings, RunStatus

LIMIT_S = 120.0
STEPS = 4

_ROOT = Path(__file__).resolve().parents[3]
_LEASES = LeaseSettings(lease_s=1.0, heartbeat_s=0.3, max_attempts=50)


class State(TypedDict, total=False):
    log: Annotated[list[int], operator.add]


def _graph() -> Any:
    builder: Any = StateGraph(State)
    before: str = START
    for number in range(STEPS):

        async def step(state: State, number: int = number) -> State:
            await asyncio.sleep(0.002)
            return {"log": [number]}

        builder.add_node(name := f"step{number}", step).add_edge(before, name)
        before = name
    return builder.compile()


# The process that is killed.


async def serve(path: str, threads: list[str], *, ends: bool) -> None:
    """Submit a run on each thread and print its acknowledgement; then wait for all, and print what is wrong."""
    graphs = ServedGraphs({"steps": _graph()})
    settings = ServiceSettings(leases=_LEASES, drain_s=0.0, capacity=20)
    async with asyncio.timeout(LIMIT_S), open_service(graphs, f"sqlite:///{path}", settings) as opened:
        places = asyncio.Semaphore(8)

        async def submit(thread_id: str) -> None:
            async with places:
                asked = RunRequest(
                    assistant_id="steps",
                    thread_id=thread_id,
                    run_id=thread_id,  # the one that was perhaps stored before
                    input={"log": []},
                    if_not_exists="create",
                )
                await opened.service.runs.create(ANYONE, asked)
                os.write(1, f"{thread_id}\n".encode())

        await asyncio.gather(*map(submit, threads))
        if ends:
            os.write(1, b"all\n")
            for thread_id in json.loads(sys.stdin.read()):
                for text in await _faults(opened, thread_id):
                    os.write(1, f"{thread_id}: {text}\n".encode())
        else:
            await asyncio.sleep(LIMIT_S)  # until it is killed


async def _faults(opened: OpenService, thread_id: str) -> list[str]:
    runs = await opened.registry.labelled.of_thread(thread_id)
    wrong = []
    for run in runs:
        events = [event async for event in opened.service.runs.events(ANYONE, run.info.run_id, 0)]
        if [event.seq for event in events] != list(range(1, len(events) + 1)):
            wrong.append(f"its events are {[event.seq for event in events]}")
        if [event.type for event in events].count("run.end") != 1:
            wrong.append("it has not ended once")
        ended = await opened.registry.get(run.info.run_id)
        if ended.status is not RunStatus.SUCCESS:
            wrong.append(f"it ended as {ended.status}: {ended.error}")
        log = (await opened.service.runs.output(ANYONE, run.info.run_id))["log"]
        if log != list(range(STEPS)):
            wrong.append(f"its steps were {log}")
    if len(runs) != 1:
        wrong.append(f"it has {len(runs)} runs")
    return wrong


# The process that kills it.


@dataclass(slots=True)
class Told:
    """What a trial came to.

    Attributes:
        acknowledged: How many runs were acknowledged before the kill.
        wrong: What was wrong.
    """

    acknowledged: int
    wrong: list[str]


def tried(folder: Path, runs: int, seed: str) -> Told:
    """Kill a process while runs are submitted to it, and have another one go on."""
    chosen = random.Random(seed)
    path = str(folder / "runs.db")
    threads = [str(uuid.UUID(int=chosen.getrandbits(128), version=4)) for _ in range(runs)]
    known = _until_killed(path, threads, chosen)
    left = [each for each in threads if each not in known]
    with _started(path, left, "ends") as process:
        printed, _ = process.communicate(json.dumps(threads).encode(), timeout=2 * LIMIT_S)
    lines = printed.decode().splitlines()
    if process.returncode or "all" not in lines:
        return Told(len(known), [f"the second process ended with {process.returncode}: {lines[-3:]}"])
    return Told(len(known), lines[lines.index("all") + 1 :])


def _until_killed(path: str, threads: list[str], chosen: random.Random) -> set[str]:
    known: set[str] = set()
    enough = chosen.randint(1, len(threads))
    with _started(path, threads, "killed") as process:
        assert process.stdout is not None
        for line in process.stdout:
            known.add(line.decode().strip())
            if len(known) >= enough:
                try:
                    process.wait(chosen.uniform(0.0, 0.05))
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGKILL)
                break
        known.update(line.decode().strip() for line in process.stdout if line.endswith(b"\n"))
    return known


def _started(path: str, threads: list[str], how: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.server.replicas.alone", path, json.dumps(threads), how]
    return subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def main(trials: int, runs: int, seed: int) -> int:
    """Try it so often, tell of it, and return the exit code."""
    acknowledged, wrong = 0, []
    for number in range(trials):
        with tempfile.TemporaryDirectory(prefix="stategraph-alone-") as folder:
            told = tried(Path(folder), runs, f"{seed}/{number}")
        acknowledged += told.acknowledged
        wrong += [f"trial {number}: {each}" for each in told.wrong]
    for text in wrong:
        print(text, file=sys.stderr)
    print(
        f"alone: {trials} servers on SQLite killed while {runs} runs each were submitted; {acknowledged} of these were "
        f"acknowledged before; {len(wrong)} faults"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], json.loads(sys.argv[2]), ends=sys.argv[3] == "ends"))
