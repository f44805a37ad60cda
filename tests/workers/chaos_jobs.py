"""Kill and stop nodes of a NATS pool at random moments, and its server too, and see that no job is lost or confused.

    make chaos STORE=jobs SEED=7 N=50

The driver is the host of the jobs. Nodes are processes of their own, that are killed (SIGKILL) or stopped past their
time and continued; the server is stopped or killed, and started again. Of each job are judged: its result, its events
(numbers without holes, each attempt from its start and in order, the last one to its end), and what it called of its
host. At the end nothing is in the queue, and nothing among the dead letters.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ACK_WAIT_S = 1.0
NODES = 3
WIDTH = 6
AT_A_TIME = 10
CASE_S = 90.0
ENDING_S = 60.0


async def node(url: str) -> None:
    """A node with workers in its own event loop, so that it starts quickly; it ends with its host."""
    from stategraph.workers.cluster.node import NodeSettings
    from stategraph.workers.cluster.serving import node_at
    from stategraph.workers.inline import InlinePool

    workers = InlinePool(4, allow=["tests.workers"])
    async with workers, node_at(url, workers, NodeSettings(), ack_wait_s=ACK_WAIT_S) as made:
        running = asyncio.ensure_future(made.run())
        await asyncio.to_thread(sys.stdin.read)
        made.stop()
        await running


class Monkey:
    """The nodes and the server, and what happens to them."""

    def __init__(self, server: Any, chance: random.Random) -> None:
        self._server = server
        self._chance = chance
        self._nodes: list[subprocess.Popen[bytes]] = []
        self._stopped: list[tuple[float, subprocess.Popen[bytes]]] = []
        self._server_is_due: float | None = None
        self.kills = self.stops = self.outages = 0

    def fill(self) -> None:
        now = time.monotonic()
        if self._server_is_due is not None and now >= self._server_is_due:
            self._server.start()
            self._server_is_due = None
        for due, process in list(self._stopped):
            if now >= due:
                process.send_signal(signal.SIGCONT)
                self._stopped.remove((due, process))
        self._nodes = [each for each in self._nodes if each.poll() is None]
        while len(self._nodes) < NODES and self._server_is_due is None:
            command = [sys.executable, "-m", "tests.workers.chaos_jobs", "--node", self._server.url]
            self._nodes.append(subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL))

    def hit(self) -> None:
        what = self._chance.random()
        stopped = {process.pid for _, process in self._stopped}
        running = [each for each in self._nodes if each.poll() is None and each.pid not in stopped]
        if what < 0.25:
            if self._server_is_due is None:
                self._server.stop(kill=self._chance.random() < 0.5)
                self._server_is_due = time.monotonic() + self._chance.uniform(0.0, 2.5)
                self.outages += 1
        elif running:
            process = self._chance.choice(running)
            if what < 0.65:
                process.kill()
                process.wait()
                self.kills += 1
            else:
                process.send_signal(signal.SIGSTOP)
                self._stopped.append((time.monotonic() + ACK_WAIT_S * self._chance.uniform(0.5, 3.0), process))
                self.stops += 1

    def calm(self) -> None:
        """Have the server and every node run."""
        self._server_is_due = None if self._server_is_due is None else 0.0
        self._stopped = [(0.0, process) for _, process in self._stopped]
        self.fill()

    def close(self) -> None:
        for each in self._nodes:
            each.kill()
        for each in self._nodes:
            each.communicate()


def judge(name: str, result: Any, events: list[Any], calls: list[int]) -> list[str]:
    """Say what is wrong with a job that has ended."""
    problems = []
    if result != [2 * number for number in range(WIDTH)]:
        problems.append(f"the result of {name} is {result!r}")
    if [event.seq for event in events] != list(range(1, len(events) + 1)):
        problems.append(f"numbers of {name} have holes or doubles: {[event.seq for event in events]}")
    attempts: list[list[int]] = [[]]
    for event in events:
        if event.event == "run.attempt":
            attempts.append([])
        elif event.event == "before":
            attempts[-1].append(event.data)
    if any(each != list(range(len(each))) for each in attempts) or len(attempts[-1]) != WIDTH:
        problems.append(f"events of {name} are not those of its attempts: {attempts}")
    if calls.count(0) > len(attempts) or calls[-WIDTH:] != list(range(WIDTH)):
        problems.append(f"{name} called its host with {calls} in {len(attempts)} attempts")
    return problems


async def case(pool: Any, name: str, chance: random.Random) -> list[str]:
    from tests.workers.contract import job, read

    calls: list[int] = []

    async def double(value: int) -> int:
        calls.append(value)
        await asyncio.sleep(chance.uniform(0.0, 0.15))
        return 2 * value

    try:
        async with asyncio.timeout(CASE_S):
            while True:
                try:
                    handle = await pool.submit(job("asks", WIDTH, id=name), calls={"double": double})
                    break
                except ConnectionError:  # the server is away: nothing is known of the job, so it is submitted again
                    await asyncio.sleep(0.2)
            reading = asyncio.ensure_future(read(handle))
            return judge(name, await handle.result(), await reading, calls)
    except TimeoutError:
        placed = pool._placed.get(name)
        how = None if placed is None else (placed.begun, placed.lost, placed.node, placed.number, placed.hosted.outcome)
        return [f"{name} did not end in {CASE_S:g} s: {how}, nodes {list(pool._seen)}"]
    except Exception as error:
        return [f"{name} failed: {error!r}"]


async def is_empty(pool: Any) -> str | None:
    """Say what is left when all jobs have ended; None if nothing is."""
    deadline = time.monotonic() + ENDING_S
    while True:
        try:
            state = (await pool.session.jetstream(lambda js: js.stream_info(pool.queue._jobs))).state
            letters = await pool.dead_letters()
        except ConnectionError:
            state, letters = None, []
        if state is not None and not state.messages and not letters:
            return None
        if time.monotonic() > deadline:
            return f"left in the queue: {state}, dead: {[(each.job_id, each.reason) for each in letters]}"
        await asyncio.sleep(0.1)


async def main(options: argparse.Namespace) -> int:
    from stategraph.workers.cluster.pool import ClusterSettings, NatsPool
    from tests.workers.nats_server import serving

    chance = random.Random(options.seed)
    passed = 0
    with serving() as server:
        monkey = Monkey(server, chance)
        settings = ClusterSettings(ack_wait_s=ACK_WAIT_S, max_attempts=1_000, submit_s=1.0)
        try:
            async with NatsPool(server.url, allow=["tests.workers"], settings=settings) as pool:
                slots = asyncio.Semaphore(AT_A_TIME)

                async def one(number: int) -> bool:
                    async with slots:
                        problems = await case(pool, f"job {options.seed}-{number}", random.Random(chance.random()))
                    for problem in problems:
                        print(problem, flush=True)
                    return not problems

                async def disturb() -> None:
                    while True:
                        monkey.fill()
                        await asyncio.sleep(chance.uniform(0.1, 2.0))
                        if len(pool._seen) > 1:  # so that nodes have time to start, however busy the machine is
                            monkey.hit()

                disturbing = asyncio.ensure_future(disturb())
                disturbing.add_done_callback(lambda task: task.cancelled() or task.result())
                done = await asyncio.gather(*(one(number) for number in range(options.number)))
                passed = sum(done)
                disturbing.cancel()
                await asyncio.wait({disturbing})
                monkey.calm()
                if (left := await is_empty(pool)) is not None:
                    print(left)
                    passed = min(passed, options.number - 1)
        finally:
            monkey.close()
    counts = f"{monkey.kills} kills, {monkey.stops} stops, {monkey.outages} outages of NATS"
    print(f"chaos: {passed} of {options.number} jobs ({counts}), seed {options.seed}")
    return 0 if passed == options.number else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--number", type=int, default=50)
    parser.add_argument("--node", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.node:
        asyncio.run(node(given.node))
    else:
        sys.exit(asyncio.run(main(given)))
