"""Kill and stop workers at random moments, and see that nothing is lost and nothing happens twice.

    make chaos SEED=7 N=50                  processes with SQLite
    make chaos SEED=7 N=50 STORE=postgres   processes with a PostgreSQL of our own
    make chaos SEED=7 N=50 STORE=nats       the same, woken by a NATS server that is stopped and killed as well

The driver is this process. Workers are processes of their own; they are killed (SIGKILL) or stopped past their lease
and continued (SIGSTOP, SIGCONT) at uniformly random moments of each case, not at points that the program names. The
judge reads three things and nothing beside them: what an HTTP server was asked to do and how often, the final state,
which has to be that of an undisturbed run (of LangGraph, with `--reference`), and two readers that were attached from
the beginning and in the middle.

The server does what it is asked once for each idempotency id, as providers of payments do, and counts the requests that
came again. There is one where a worker is stopped or killed while its request is on its way: the next one asks the
server, which has not seen it yet. No engine can tell; so there may be one for each kill or stop of a case, not more.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.workers.nats_server import NatsServer

ROOT = Path(__file__).resolve().parents[2]
LEASE_S = 1.0
WORKERS = 2
CASE_S = 60.0


class Sink:
    """The destination: it commits what it is asked, once for each idempotency id, and counts."""

    def __init__(self) -> None:
        self.commits: Counter[str] = Counter()
        self.again: Counter[str] = Counter()
        self.ids: set[str] = set()
        self.lock = threading.Lock()


@contextmanager
def sink_running(host: str = "127.0.0.1") -> Iterator[tuple[Sink, str]]:
    sink = Sink()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            key = self.path.rpartition("/")[2]
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            idempotency_id = self.headers["Idempotency-Key"]
            with sink.lock:
                (sink.again if idempotency_id in sink.ids else sink.commits)[key] += 1
                sink.ids.add(idempotency_id)
            self.reply({"answer": f"paid {key}"})

        def do_GET(self) -> None:
            key = self.path.rpartition("/")[2]
            self.reply({"count": sink.commits[key], "answer": f"paid {key}"})

        def reply(self, body: Any) -> None:
            content = json.dumps(body).encode()
            try:
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except OSError:
                pass  # whoever asked was killed

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer((host, 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield sink, f"http://{host}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


class Fleet:
    """Worker processes, and the monkey that kills them, and the server of their bus."""

    def __init__(self, url: str, log: Path, bus: NatsServer | None) -> None:
        self._url = url
        self._log = log
        self._bus = bus
        self._bus_is_due: float | None = None
        self.outages = 0
        self._workers: list[subprocess.Popen[bytes]] = []
        self._stopped: list[tuple[float, subprocess.Popen[bytes]]] = []
        self.kills = self.stops = 0

    def fill(self) -> None:
        """Continue who was stopped long enough, and replace who is gone."""
        now = time.monotonic()
        if self._bus is not None and self._bus_is_due is not None and now >= self._bus_is_due:
            self._bus.start()
            self._bus_is_due = None
        for due, worker in list(self._stopped):
            if now >= due and worker.poll() is None:
                worker.send_signal(signal.SIGCONT)
                self._stopped.remove((due, worker))
        self._workers = [worker for worker in self._workers if worker.poll() is None]
        while len(self._workers) < WORKERS + len(self._stopped):
            with self._log.open("ab") as log:
                bus = [] if self._bus is None else [self._bus.url]
                command = [sys.executable, "-m", "tests.workers.process", self._url, str(LEASE_S), *bus]
                self._workers.append(
                    subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
                )

    def hit(self, chance: random.Random) -> None:
        """Kill or stop a worker that runs, and the server of the bus now and then."""
        if self._bus is not None and self._bus_is_due is None and chance.random() < 0.3:
            self._bus.stop(kill=chance.random() < 0.5)
            self._bus_is_due = time.monotonic() + chance.uniform(0.0, 2.0)
            self.outages += 1
        stopped = {worker.pid for _, worker in self._stopped}
        running = [worker for worker in self._workers if worker.poll() is None and worker.pid not in stopped]
        if not running:
            return
        worker = chance.choice(running)
        if chance.random() < 0.6:
            worker.kill()
            worker.wait()
            self.kills += 1
        else:
            worker.send_signal(signal.SIGSTOP)
            self._stopped.append((time.monotonic() + LEASE_S * chance.uniform(1.2, 2.0), worker))
            self.stops += 1

    def counts(self) -> str:
        outages = "" if self._bus is None else f", {self.outages} outages of NATS"
        return f"{self.kills} kills, {self.stops} stops{outages}"

    def close(self) -> None:
        for worker in self._workers:
            worker.kill()
        for worker in self._workers:
            worker.communicate()


async def case(number: int, seed: int, registry: Any, saver: Any, fleet: Fleet, sink: Sink, sink_url: str) -> list[str]:
    """Run one case; return what is wrong."""
    from stategraph.workers.eventlog import attach
    from tests.workers import chaos_app

    chance = random.Random(seed * 1_000_003 + number)
    name = f"c{seed}-{number}"
    problems: list[str] = []
    hits = chance.randint(1, 3)
    moments = sorted(chance.uniform(0.0, 2.5) for _ in range(hits))
    began = time.monotonic()

    async def read(run_id: str, late_s: float, into: list[Any]) -> None:
        await asyncio.sleep(late_s)
        async for event in attach(registry, run_id):
            into.append((event.seq, event.attempt, event.type, repr(event.data)))

    async def monkey() -> None:
        for moment in moments:
            await asyncio.sleep(max(0.0, began + moment - time.monotonic()))
            fleet.hit(chance)
        while True:
            fleet.fill()
            await asyncio.sleep(0.05)

    disturbing = asyncio.create_task(monkey())
    try:
        async with asyncio.timeout(CASE_S):
            run_id = await registry.submit(
                name, {"sink": sink_url, "case": name}, target="tests.workers.chaos_app:graph", run_id=f"{name}-a"
            )
            for step in range(2):
                early: list[Any] = []
                late: list[Any] = []
                await asyncio.gather(read(run_id, 0.0, early), read(run_id, chance.uniform(0.0, 2.0), late))
                if early != late:
                    problems.append(f"two readers of {run_id} saw different events: {early} and {late}")
                if [event[0] for event in early] != list(range(1, len(early) + 1)):
                    problems.append(f"numbers of {run_id} have holes or doubles: {[event[0] for event in early]}")
                info = await registry.get(run_id)
                wanted = "interrupted" if step == 0 else "success"
                if info.status != wanted:
                    problems.append(f"{run_id} is {info.status} ({info.error}), not {wanted}")
                    return problems
                if step == 0:
                    run_id = await registry.resume(run_id, "yes", new_id=f"{name}-b")
            state = await chaos_app.graph.copy({"checkpointer": saver}).aget_state(
                {"configurable": {"thread_id": name}}
            )
    except TimeoutError:
        shown = await registry.list(thread_id=name)
        return [*problems, f"{name} did not end in {CASE_S:g} s: {shown}"]
    finally:
        disturbing.cancel()
        await asyncio.wait({disturbing})
    for key, commits in sink.commits.items():
        if key.startswith(f"{name}-") and commits != 1:
            problems.append(f"the effect {key} happened {commits} times")
    again = {key: count for key, count in sink.again.items() if key.startswith(f"{name}-")}
    if sum(again.values()) > hits:
        problems.append(f"requests came again more often than there were {hits} hits: {again}")
    found = json.dumps(_plain(state.values, name), sort_keys=True)
    if found != EXPECTED:
        problems.append(f"the state of {name} is {found}, not {EXPECTED}")
    return problems


def _plain(values: Any, name: str) -> Any:
    kept = {key: values.get(key) for key in ("done", "total", "answer")}
    return json.loads(json.dumps(kept).replace(name, "CASE"))


def expected_state(python: str) -> str:
    """The final state of an undisturbed run, in an environment of its own: LangGraph's, if that Python has it."""
    program = """
import json, os, sys
os.environ["CHAOS_PLAIN"] = "1"
sys.path.insert(0, sys.argv[1])
import asyncio, importlib.util
spec = importlib.util.spec_from_file_location("chaos_app", sys.argv[1] + "/tests/workers/chaos_app.py")
app = importlib.util.module_from_spec(spec); sys.modules["chaos_app"] = app; spec.loader.exec_module(app)
app.pay = lambda url, case, name: f"paid {case}-{name}"
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
graph = app.build().compile(checkpointer=InMemorySaver())
config = {"configurable": {"thread_id": "CASE"}}
asyncio.run(graph.ainvoke({"sink": "", "case": "CASE"}, config))
done = asyncio.run(graph.ainvoke(Command(resume="yes"), config))
print(json.dumps({key: done.get(key) for key in ("done", "total", "answer")}, sort_keys=True))
import langgraph.pregel
print(langgraph.pregel.__file__, file=sys.stderr)
"""
    command = [python, "-E", "-c", program, str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"the undisturbed run failed on {python}: {done.stderr[-800:]}")
    print(f"expected state from {done.stderr.strip().splitlines()[-1]}")
    return done.stdout.strip().splitlines()[-1]


@contextmanager
def bus_of(store: str) -> Iterator[NatsServer | None]:
    """The server of the bus; None if the database is its own bus, or there is none."""
    if store != "nats":
        yield None
        return
    from tests.workers import nats_server

    with nats_server.serving() as server:
        yield server


@contextmanager
def database(store: str, folder: Path) -> Iterator[str]:
    """The address of an empty database; a PostgreSQL is started for it, and stopped."""
    if store == "sqlite":
        yield f"sqlite:///{folder}/runs.db"
        return
    from tests import postgres

    server, url = postgres.serve_on_socket(folder)
    try:
        yield url
    finally:
        postgres.stop(server)


async def main(options: argparse.Namespace) -> int:
    from stategraph.workers.leases import LeaseSettings
    from stategraph.workers.registry.runs import RunRegistry
    from tests.workers.savers import async_saver

    global EXPECTED
    EXPECTED = expected_state(options.reference or sys.executable)
    passed = 0
    with (
        tempfile.TemporaryDirectory(prefix="stategraph-chaos-") as folder,
        sink_running() as (sink, sink_url),
        database(options.store, Path(folder)) as url,
        bus_of(options.store) as bus,
    ):
        settings = LeaseSettings(lease_s=LEASE_S, heartbeat_s=LEASE_S / 4, max_attempts=50)
        registry = RunRegistry.from_url(url, settings=settings, bus=None if bus is None else bus.url)
        await registry.set_up()
        log = Path(folder) / "log"
        fleet = Fleet(url, log, bus)
        try:
            async with async_saver(url) as saver:
                fleet.fill()
                for number in range(options.number):
                    problems = await case(number, options.seed, registry, saver, fleet, sink, sink_url)
                    passed += not problems
                    for problem in problems:
                        print(f"case {number}: {problem}", flush=True)
                    if (number + 1) % 10 == 0:
                        print(f"{number + 1} cases, {fleet.counts()}", flush=True)
        finally:
            fleet.close()
            await registry.aclose()
        if passed != options.number:
            print(log.read_text(errors="replace")[-2_000:])
    again = f"{sink.again.total()} requests came again and were refused by the destination"
    print(f"chaos: {passed} of {options.number} ({fleet.counts()}; {again}), seed {options.seed}")
    return 0 if passed == options.number else 1


EXPECTED = ""

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--number", type=int, default=50)
    parser.add_argument("--store", choices=["sqlite", "postgres", "nats"], default="sqlite")
    parser.add_argument("--reference", help="a Python that has LangGraph, for the state that is expected")
    sys.exit(asyncio.run(main(parser.parse_args())))
