"""A run is stopped by an exception that no node raised: it ends, and its thread goes on as if nothing had been."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from stategraph.engine.checkpoints import saving
from stategraph.engine.runs import driver, procedure, step
from stategraph.engine.tasks import threads
from tests.stopping.graphs import Stop, build, expected, finish

ROOT = Path(__file__).parent.parent.parent
ROUNDS = 2
WATCHED = {module.__file__ for module in (driver, procedure, saving, step, threads)}
THREAD: Any = {"configurable": {"thread_id": "t"}}


class Lines:
    """Counts the lines that this thread runs in the watched modules, and raises at one of them."""

    def __init__(self, raise_at: int | None = None) -> None:
        self.raise_at = raise_at
        self.count = 0

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename not in WATCHED:
            return None
        if event == "line":
            self.count += 1
            if self.count == self.raise_at:
                raise Stop
        return self


def run(saver: Any, durability: Any, lines: Lines) -> Any:
    graph = build(saver, rounds=ROUNDS)
    options = {} if durability is None else {"durability": durability}
    sys.settrace(lines)
    try:
        graph.invoke({"log": ["in"]}, THREAD, **options)
    finally:
        sys.settrace(None)


@pytest.mark.parametrize("durability", [None, "sync", "async", "exit"])
def test_an_exception_at_any_line_of_the_waiting_thread_ends_the_run_and_loses_nothing(durability: Any) -> None:
    counted = Lines()
    run(None if durability is None else InMemorySaver(), durability, counted)
    for line in range(1, counted.count + 1):
        saver = None if durability is None else InMemorySaver()
        lines = Lines(line)
        # How the work is spread over threads differs from run to run, and so does the number of lines.
        if line < counted.count // 2:
            with pytest.raises(Stop):
                run(saver, durability, lines)
        else:
            try:
                run(saver, durability, lines)
            except Stop:
                pass
        if saver is not None:
            assert finish(build(saver, rounds=ROUNDS), THREAD, durability=durability) == expected(ROUNDS), line


def test_what_ends_while_the_run_is_being_stopped_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()
    ran: Counter[str] = Counter()

    def hold(name: str) -> None:
        if name == "a00":
            begun.set()
            assert go_on.wait(20)

    def stop(self: Any, deadline: Any) -> None:
        assert begun.wait(20)
        go_on.set()
        raise Stop

    graph = build(InMemorySaver(), rounds=1, ran=ran, hold=hold)
    with monkeypatch.context() as patch:
        patch.setattr(driver.Driver, "_wait", stop)
        with pytest.raises(Stop):
            graph.invoke({"log": ["in"]}, THREAD)

    assert finish(graph, THREAD) == expected(1)
    assert ran == {"a00": 1, "b00": 1, "end": 1}


def test_signals_at_random_times_leave_no_run_hanging_and_no_write_lost() -> None:
    command = [sys.executable, "-m", "tests.stopping.signals", "--number", "80", "--seed", "7"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stdout + done.stderr
