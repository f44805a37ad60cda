"""The worker command on a terminal, and with readers that are slow: signals of a key, lines that nobody takes."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stategraph.cli import lines
from stategraph.cli.lines import Lines
from tests.workers.test_command_line import LIMIT_S, ROOT, Site, lives, until

#: Puts a program into a session of its own, with its standard input as the terminal.
ON_TERMINAL = (
    "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execv(sys.argv[1], sys.argv[1:])"
)
WORKER = (sys.executable, "-m", "stategraph", "worker", "--json", "--allow", "tests.workers", "--poll", "0.05")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, process: subprocess.Popen[bytes], keyboard: int) -> None:
        self.process = process
        self._keyboard = keyboard
        self._told: list[dict[str, Any]] = []
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        with open(self._keyboard, "rb", closefd=False) as screen:
            try:
                for line in screen:
                    self._told.append(json.loads(line))
            except OSError:  # the last process has left the terminal
                pass

    def told(self, event: str) -> list[dict[str, Any]]:
        return [each for each in self._told if each["event"] == event]

    def press_control_c(self) -> None:
        os.write(self._keyboard, b"\x03")

    def end(self) -> int:
        code = self.process.wait(LIMIT_S)
        self._reading.join(LIMIT_S)
        return code


def _keep_lines_whole(screen: int) -> None:
    """Have a terminal lose nothing at ^C.

    It would show the key between a line and its end, and, after it has sent the signal, drop what is not read yet.
    """
    attributes = termios.tcgetattr(screen)
    attributes[3] = (attributes[3] & ~termios.ECHO) | termios.NOFLSH
    termios.tcsetattr(screen, termios.TCSANOW, attributes)


@contextmanager
def on_terminal(site: Site, *arguments: str) -> Iterator[Terminal]:
    keyboard, screen = pty.openpty()
    _keep_lines_whole(screen)
    command = [sys.executable, "-c", ON_TERMINAL, *WORKER, *arguments]
    environment = {**os.environ, "STATEGRAPH_STORE": site.url}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdin=screen, stdout=screen) as process:
        os.close(screen)
        try:
            yield Terminal(process, keyboard)
        finally:
            process.kill()
            process.wait()
            os.close(keyboard)


@pytest.mark.parametrize("workers", [1, 2])
def test_control_c_drains_then_gives_back_then_kills_whatever_hangs(site: Site, workers: int) -> None:
    """A fleet hears the key once: its processes are told by it alone."""
    speakers = workers + (workers > 1)
    with on_terminal(site, "--workers", str(workers), "--capacity", "2") as terminal:  # so that each has two
        until(lambda: len(terminal.told("ready")) == workers)
        pids = [int(each["owner"].split(":")[1]) for each in terminal.told("ready")]
        runs = {site.submit("tests.workers.app:hanging", thread=str(number)) for number in range(2 * workers)}
        until(lambda: site.ran("stuck") == 2 * workers)
        terminal.press_control_c()
        until(lambda: len(terminal.told("draining")) == speakers)
        assert terminal.told("stopping") == []
        terminal.press_control_c()
        until(lambda: len(terminal.told("stopping")) == speakers)
        until(lambda: len(terminal.told("stopped")) == workers)
        assert {each["run_id"] for each in terminal.told("returned")} == runs
        assert all(map(lives, pids))  # for the threads of the nodes, whose results are dropped
        terminal.press_control_c()
        assert terminal.end() == -signal.SIGINT
        until(lambda: not any(map(lives, pids)))
        assert terminal.told("replaced") == []
    listed = json.loads(site.run("list", "--json"))
    assert {(run["status"], run["attempt"]) for run in listed} == {("pending", 0)}


def test_control_c_twice_ends_a_fleet_whose_runs_can_be_stopped(site: Site) -> None:
    with on_terminal(site, "--workers", "2") as terminal:
        until(lambda: len(terminal.told("ready")) == 2)
        run_id = site.submit("tests.workers.app:endless")
        until(lambda: site.ran("stuck") == 1)
        terminal.press_control_c()
        until(lambda: len(terminal.told("draining")) == 3)  # a worker that has not heard would take the run again
        terminal.press_control_c()
        until(lambda: terminal.told("stopping"))
        assert terminal.end() == 0
        assert [each["run_id"] for each in terminal.told("returned")] == [run_id]
        assert len(terminal.told("stopped")) == 2
    (run,) = json.loads(site.run("list", "--json"))
    assert (run["status"], run["attempt"]) == ("pending", 0)


# Readers that take their time.


def full_pipe() -> tuple[int, int]:
    """Return the ends of a pipe that takes nothing more until something is read."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, b"x" * 512)
    except BlockingIOError:
        os.set_blocking(writing, True)
    return reading, writing


@pytest.mark.parametrize("reads", [True, False])
def test_a_worker_whose_output_is_not_read_executes_its_runs_and_ends(site: Site, reads: bool) -> None:
    reading, writing = full_pipe()
    environment = {**os.environ, "STATEGRAPH_STORE": site.url}
    run_id = site.submit("tests.workers.app:steps")
    with subprocess.Popen(
        WORKER, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=writing, stderr=writing
    ) as worker:
        os.close(writing)
        until(lambda: json.loads(site.run("show", run_id, "--json"))["status"] == "success")
        worker.terminate()
        if reads:
            with open(reading, "rb") as reader:
                told = [json.loads(line) for line in reader.read().lstrip(b"x").splitlines()]
            events = [each["event"] for each in told]
            assert (*events[:2], *events[4:]) == ("ready", "claimed", "stopped")
            # The end of a run is told after it is stored, and the signal may come in between.
            assert sorted(events[2:4]) == ["draining", "ended"]
        assert worker.wait(LIMIT_S) == 0
        if not reads:
            os.close(reading)


def test_lines_that_nobody_takes_are_left_out_and_counted_and_the_last_ones_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lines, "KEPT", 10)
    reading, writing = full_pipe()
    output = Lines(writing, lambda number: f"{number} left out")
    for number in range(30):
        output.put(f"line {number}", optional=True)
    output.put("important")
    for number in range(30, 35):
        output.put(f"line {number}", optional=True)
    output.put("the last")
    with open(reading, "rb") as reader:
        taken = threading.Thread(target=lambda: (output.close(), os.close(writing)), daemon=True)
        taken.start()
        told = reader.read().lstrip(b"x").decode().splitlines()
    # The thread has the first line in its hands, if it was quick.
    first = told.index("important") - 1
    assert told[:first] == [f"line {number}" for number in range(first)]
    assert first in (10, 11)
    assert told[first:] == [f"{30 - first} left out", "important", "5 left out", "the last"]


@pytest.mark.parametrize("end", ["gone", "silent"])
def test_a_reader_that_takes_nothing_is_not_waited_for(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "PATIENCE_S", 0.01)
    reading, writing = full_pipe()
    output = Lines(writing, str)
    output.put("line")
    if end == "gone":
        os.close(reading)
    closing = threading.Thread(target=output.close, daemon=True)
    closing.start()
    closing.join(LIMIT_S)
    assert not closing.is_alive()
    if end == "silent":
        os.close(reading)  # sets its thread free
    output._thread.join(LIMIT_S)
    os.close(writing)


def test_a_line_comes_out_whole_where_another_process_made_the_pipe_not_wait() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    output = Lines(writing, str)
    long = "x" * 200_000
    output.put(long)
    output.put("\udcff is no letter")
    ending = threading.Thread(target=lambda: (output.close(), os.close(writing)), daemon=True)
    ending.start()
    with open(reading, "rb") as reader:
        assert reader.read().decode().splitlines() == [long, "\\udcff is no letter"]
