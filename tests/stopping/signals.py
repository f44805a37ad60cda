"""Stop runs by signals at random times, and say what came of it.

python -m tests.stopping.signals --number 2000 --seed 1

Each run gets one signal, whose handler raises. It has to end by it: a run that is still there after `PATIENCE_S` hung.
Then its thread is resumed, which has to give what a run that nobody stopped gives.
"""

from __future__ import annotations

import argparse
import faulthandler
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver

from tests.stopping.graphs import Stop, build, expected, finish

PATIENCE_S = 30.0
ROUNDS = 10


fired: list[bool] = []


def raise_stop(*_: Any) -> None:
    fired.append(True)
    raise Stop


@contextmanager
def memory(_: Path) -> Iterator[Any]:
    yield InMemorySaver()


@contextmanager
def sqlite(folder: Path) -> Iterator[Any]:
    with SqliteSaver.from_conn_string(str(folder / "threads.sqlite")) as saver:
        yield saver


@contextmanager
def nothing(_: Path) -> Iterator[Any]:
    yield None


SAVERS: tuple[Callable[[Path], Any], ...] = (nothing, memory, sqlite)
KINDS = [
    (saver, node_s, durability)
    for saver, node_s, durability in product(SAVERS, (0.0, 0.001), (None, "sync", "async", "exit"))
    if (saver is nothing) == (durability is None)
]


def stopped(call: Callable[[], Any], after_s: float) -> bool:
    """Call something and have a signal's handler raise in it; return whether it was still at it."""
    fired.clear()
    signal.setitimer(signal.ITIMER_REAL, after_s)
    try:
        call()
    except Stop:
        return True
    except Exception:
        # A library in C that calls back, as the serialiser does, makes an error of its own of what is raised there.
        if not fired:
            raise
        return True
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return False


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--number", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    chance = random.Random(options.seed)
    signal.signal(signal.SIGALRM, raise_stop)
    seen: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for nth, (saver, node_s, durability) in enumerate(KINDS):
            tries = len(range(nth, options.number, len(KINDS)))
            place = Path(folder) / str(nth)
            place.mkdir()
            with saver(place) as opened:
                seen += attack(opened, node_s, durability, tries, chance)
    print(
        f"{options.number} signals, seed {options.seed}: {seen['stopped']} runs stopped, {seen['ended']} ended before"
    )
    for fault in ("lost", "twice"):
        if seen[fault]:
            print(f"{fault}: {seen[fault]}")
    return int(bool(seen["lost"] or seen["twice"]))


def attack(saver: Any, node_s: float, durability: Any, tries: int, chance: random.Random) -> Counter[str]:
    """Stop runs of one kind."""
    seen: Counter[str] = Counter()
    graph = build(saver, rounds=ROUNDS, node_s=node_s)
    options = {} if durability is None else {"durability": durability}
    began = time.perf_counter()
    graph.invoke({"log": ["in"]}, thread("first"), **options)
    took_s = time.perf_counter() - began
    for i in range(tries):
        config = thread(str(i))
        faulthandler.dump_traceback_later(PATIENCE_S, exit=True)
        try:
            hit = stopped(
                lambda config=config: graph.invoke({"log": ["in"]}, config, **options),  # type: ignore[misc]
                chance.random() * took_s + 1e-5,
            )
        except Stop:  # between the end of the call and the end of the timer
            hit = False
        seen["stopped" if hit else "ended"] += 1
        if saver is not None:
            log = finish(graph, config, **options)
            if log != expected(ROUNDS):
                seen["twice" if len(log) > len(expected(ROUNDS)) else "lost"] += 1
                print(f"{type(saver).__name__} {durability} {node_s}: {log}", file=sys.stderr)
        faulthandler.cancel_dump_traceback_later()
    return seen


def thread(name: str) -> Any:
    return {"configurable": {"thread_id": name}}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
