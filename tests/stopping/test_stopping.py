"""A run is stopped by an exception that no node raised: it ends, and its thread goes on as if nothing had been."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from types import FrameType
from typing import Any, TypeAlias

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from stategraph.core import checkpointing, machine, outcomes, records
from stategraph.core.state import state, versioning
from stategraph.engine.checkpoints import saving
from stategraph.engine.runs import driver, execution, procedure, step, teardown
from stategraph.engine.tasks import threads
from tests.stopping.graphs import Stop, build, expected, finish

Line: TypeAlias = tuple[str, int]
"""A line of code: its file and number."""

ROOT = Path(__file__).parent.parent.parent
ROUNDS = 2
WAITING = {str(module.__file__) for module in (driver, procedure, saving, step, threads)}
KEEPING = {
    str(module.__file__)
    for module in (checkpointing, execution, machine, outcomes, records, state, teardown, versioning)
}
THREAD: Any = {"configurable": {"thread_id": "t"}}


class Lines:
    """Counts the lines that this thread runs in some modules, and raises at one of them.

    Args:
        watched: The files of the modules.
        stops: Returns whether it raises at a line: the how-many-eth of all, the line, and the how-many-eth time.
    """

    def __init__(
        self, watched: Collection[str], stops: Callable[[int, Line, int], bool] = lambda number, line, time: False
    ) -> None:
        self.watched = watched
        self.stops = stops
        self.count = 0
        self.times: Counter[Line] = Counter()

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename not in self.watched:
            return None
        if event == "line":
            line = frame.f_code.co_filename, frame.f_lineno
            self.count += 1
            self.times[line] += 1
            if self.stops(self.count, line, self.times[line]):
                raise Stop
        return self


def run(graph: Any, config: Any, lines: Lines, *, begun: bool = False, **options: Any) -> Any:
    sys.settrace(lines)
    try:
        graph.invoke(None if begun else {"log": ["in"]}, config, **options)
    finally:
        sys.settrace(None)


def thread(number: int) -> Any:
    return {"configurable": {"thread_id": str(number)}}


@pytest.mark.parametrize("durability", [None, "sync", "async", "exit"])
def test_an_exception_at_any_line_of_the_waiting_thread_ends_the_run_and_loses_nothing(durability: Any) -> None:
    graph = build(None if durability is None else InMemorySaver(), rounds=ROUNDS)
    options = {} if durability is None else {"durability": durability}
    counted = Lines(WAITING)
    run(graph, thread(0), counted, **options)
    for number in range(1, counted.count + 1):
        lines = Lines(WAITING, lambda passed, _line, _time, number=number: passed == number)  # type: ignore[misc]
        # How the work is spread over threads differs from run to run, and so does the number of lines.
        if number < counted.count // 2:
            with pytest.raises(Stop):
                run(graph, thread(number), lines, **options)
        else:
            try:
                run(graph, thread(number), lines, **options)
            except Stop:
                pass
        if durability is not None:
            assert finish(graph, thread(number), durability=durability) == expected(ROUNDS), number


@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
@pytest.mark.parametrize("begun", [False, True], ids=["new", "continued"])
def test_an_exception_at_any_line_that_keeps_what_a_run_stores_at_its_end_loses_nothing(
    begun: bool, last: bool
) -> None:
    """A step is applied, described and recorded in many lines, and what is stored has to be of one step."""
    graph = build(InMemorySaver(), rounds=ROUNDS)

    def prepared(number: int) -> Any:
        if begun:
            graph.invoke({"log": ["in"]}, thread(number), durability="exit", interrupt_before=["a01", "b01"])
        return thread(number)

    seen = Lines(KEEPING)
    run(graph, prepared(0), seen, begun=begun, durability="exit")
    for number, (place, times) in enumerate(sorted(seen.times.items()), 1):
        at = place, times if last else 1
        config = prepared(number)
        try:
            lines = Lines(KEEPING, lambda _passed, line, time, at=at: (line, time) == at)  # type: ignore[misc]
            run(graph, config, lines, begun=begun, durability="exit")
        except Stop:
            pass
        assert finish(graph, config, durability="exit") == expected(ROUNDS), at


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
