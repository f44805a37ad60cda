"""Replicas of the server on PostgreSQL that are killed, and readers that go from one to the other all the time.

    python -m tests.server.replicas --replicas 3 --runs 200 --seed 1

Each run asks a model that streams a known text three times. Readers of it stay 200 ms at a replica, chosen at random,
and go on elsewhere with the id of the last frame that they got. Meanwhile replicas are killed (SIGKILL) and started
again. At the end each reader has read the whole script, every event of the run once, in order; readers of the same run
have read the same. One line tells of it; the exit code is 1 if something was wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import sys
import tempfile
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests import postgres
from tests.server.replicas import alone
from tests.server.replicas.readers import HOP_S, Reader, faults
from tests.server.replicas.replicas import ReplicaError, Replicas
from tests.server.replicas.script import STEPS, script

LIMIT_S = 300.0


@dataclass(slots=True)
class Told:
    """What the runs came to.

    Attributes:
        ended: How many ended.
        readers: How many readers they had.
        hops: How often these went elsewhere.
        frames: How many frames they got.
        taken_over: How many attempts were taken over.
        wrong: What was wrong.
    """

    ended: int = 0
    readers: int = 0
    hops: int = 0
    frames: int = 0
    taken_over: int = 0
    wrong: list[str] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)


class Trial:
    """Runs, and their readers.

    Args:
        replicas: Where they are.
        client: Sends the requests.
        arguments: Those of the command.
    """

    #: Seconds after which readers go elsewhere.
    hop_s = HOP_S

    def __init__(self, replicas: Replicas, client: httpx.AsyncClient, arguments: argparse.Namespace) -> None:
        self._replicas = replicas
        self._client = client
        self._arguments = arguments
        self._chosen = random.Random(f"{arguments.seed}/readers")
        self.told = Told()

    def _choose(self) -> str:
        return self._chosen.choice(self._replicas.running).address

    async def run(self) -> None:
        """Begin the runs, some at a time, and read them."""
        places = asyncio.Semaphore(self._arguments.concurrency)

        async def one(number: int) -> None:
            async with places:
                await self._one(f"run {self._arguments.seed}.{number}")

        await asyncio.gather(*(one(number) for number in range(self._arguments.runs)))

    async def _one(self, name: str) -> None:
        readers: list[Reader] = []
        try:
            async with asyncio.timeout(LIMIT_S):
                thread_id = str(uuid.uuid4())
                run_id = await self._begin(name, thread_id)
                path = f"/threads/{thread_id}/runs/{run_id}/stream"
                readers = [Reader(path, self.hop_s) for _ in range(self._arguments.readers)]
                await asyncio.gather(*(each.read(self._client, self._choose, self._chosen) for each in readers))
                wrong = await self._end(name, thread_id, run_id)
        except TimeoutError:
            wrong = [f"not at its end after {LIMIT_S:g} s, {[len(each.frames) for each in readers]} frames read"]
        for each in readers:
            wrong += faults(name, each.frames)
            self.told.refused.update(each.refused)
        if any(each.frames != readers[0].frames for each in readers):
            wrong.append("its readers have read different things")
        self.told.ended += 1
        self.told.readers += len(readers)
        self.told.hops += sum(each.hops for each in readers)
        self.told.frames += sum(len(each.frames) for each in readers)
        attempts = [each for each in readers[0].frames if each.event == "metadata"] if readers else []
        self.told.taken_over += max(0, len(attempts) - 1)
        self.told.wrong += [f"{name}: {each}" for each in wrong]
        for text in wrong:
            print(f"{name}: {text}", file=sys.stderr, flush=True)

    async def _begin(self, name: str, thread_id: str) -> str:
        """Begin a run, at whichever replica is there, and return its id."""
        body = {
            "assistant_id": "script",
            "input": {"name": name},
            "stream_mode": ["messages-tuple", "updates"],
            "stream_resumable": True,
            "if_not_exists": "create",
            "multitask_strategy": "reject",
            "on_disconnect": "continue",
        }
        path = f"/threads/{thread_id}/runs"
        answer = await self._ask("POST", path, json=body)
        if answer.status_code == 409:  # the replica was killed before it could tell that it had begun one
            answer = await self._ask("GET", path)
            (run,) = answer.json()
            return str(run["run_id"])
        return str(answer.raise_for_status().json()["run_id"])

    async def _end(self, name: str, thread_id: str, run_id: str) -> list[str]:
        """Look at what the thread has at the end; return what is wrong with it."""
        run = (await self._ask("GET", f"/threads/{thread_id}/runs/{run_id}")).raise_for_status().json()
        state = (await self._ask("GET", f"/threads/{thread_id}/state")).raise_for_status().json()
        wrong = [] if run["status"] == "success" else [f"it ended as {run['status']}"]
        texts = [each["content"] for each in state["values"].get("messages", [])]
        if texts != ["".join(script(name, step)) for step in range(STEPS)]:
            wrong.append("the thread has other messages than the script")
        return wrong

    async def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        while True:
            try:
                answer = await self._client.request(method, self._choose() + path, **options)
            except httpx.TransportError:
                await asyncio.sleep(0.1)
                continue
            if answer.status_code < 500:
                return answer
            self.told.refused[f"{answer.status_code}: {answer.text[:200]}"] += 1
            await asyncio.sleep(0.1)


async def tried(arguments: argparse.Namespace, store: str, folder: Path) -> int:
    """Start the replicas, have the runs run, and return the exit code."""
    replicas = Replicas(store, folder)
    replicas.prepare()
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    async with httpx.AsyncClient(timeout=60.0, limits=limits, trust_env=False) as client:
        try:
            for _ in range(arguments.replicas):
                await replicas.start()
            began = time.monotonic()
            trial = Trial(replicas, client, arguments)
            working = asyncio.create_task(trial.run())
            killing = asyncio.create_task(
                replicas.kill_some(random.Random(f"{arguments.seed}/kills"), arguments.kill_every)
            )
            await asyncio.wait({working, killing}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                working.cancel()
                await asyncio.gather(working, return_exceptions=True)
                await killing
            killing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await killing
            await working
            seconds = time.monotonic() - began
        except ReplicaError as error:
            print(error, file=sys.stderr)
            return 1
        finally:
            await replicas.stop()
    told = trial.told
    for text, count in told.refused.most_common(10):
        print(f"answered {count} times: {text}", file=sys.stderr)
    for text in replicas.errors():
        print(text, file=sys.stderr)
    refused = sum(told.refused.values())
    print(
        f"replicas: {told.ended} runs at {arguments.replicas} replicas, {replicas.kills} killed, {told.taken_over} "
        f"attempts taken over; {told.readers} readers, {told.hops:,} hops, {told.frames:,} frames, {refused} requests "
        f"refused; {len(told.wrong)} faults; {seconds:.0f} s"
    )
    return 1 if told.wrong or told.ended != arguments.runs else 0


def main() -> int:
    """Run the command, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.server.replicas", description=__doc__)
    parser.add_argument("--replicas", type=int, default=3, help="servers at a time (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=200, help="(default: %(default)s)")
    parser.add_argument("--readers", type=int, default=2, help="of each run (default: %(default)s)")
    parser.add_argument("--concurrency", type=int, default=10, help="runs at a time (default: %(default)s)")
    parser.add_argument("--kill-every", type=float, default=5.0, metavar="S", help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of scripts, hops and kills (default: %(default)s)")
    parser.add_argument("--alone", type=int, metavar="TRIALS", help="kill one server on SQLite so often instead")
    parser.add_argument("--keep", metavar="FOLDER", help="keep the logs of the replicas in this new folder")
    arguments = parser.parse_args()
    if arguments.alone:
        return alone.main(arguments.alone, arguments.runs, arguments.seed)
    with contextlib.ExitStack() as stack:
        try:
            database = stack.enter_context(tempfile.TemporaryDirectory(prefix="stategraph-replicas-"))
            server, store = postgres.serve_on_socket(Path(database))
        except postgres.UnavailableError as error:
            print(error, file=sys.stderr)
            return 2
        stack.callback(postgres.stop, server)
        if arguments.keep:
            folder = Path(arguments.keep)
            folder.mkdir(parents=True)
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stategraph-replicas-logs-")))
        return asyncio.run(tried(arguments, store, folder))


if __name__ == "__main__":
    sys.exit(main())
