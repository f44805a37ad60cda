"""Ctrl-C while a sync node of `stategraph run` is busy: it is heard at once, and a second one ends the process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cli.programs import LIMIT_S, stategraph, write

SLOW = """
import time
from pathlib import Path
from typing import TypedDict

from stategraph.graph.state import START, StateGraph


class State(TypedDict):
    steps: list


def slow(state):
    print("busy", flush=True)
    while not Path("go").exists():
        time.sleep(0.01)
    return {"steps": ["slow"]}


builder = StateGraph(State)
builder.add_node("slow", slow)
builder.add_node("after", lambda state: {"steps": [*state["steps"], "after"]})
builder.add_edge(START, "slow")
builder.add_edge("slow", "after")
graph = builder.compile()
"""

WORDS = ("run", "slow:graph", "-q", "--store", "sqlite:///threads.db", "--thread", "t")


@contextmanager
def busy(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """The command, once its node is busy."""
    process = subprocess.Popen(
        [sys.executable, "-m", "stategraph", *WORDS, "--input", '{"steps": []}'],
        cwd=write(folder, slow=SLOW),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("STATEGRAPH_")},
    )
    watch = threading.Timer(LIMIT_S, process.kill)
    watch.start()
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "busy\n"
        yield process
    finally:
        watch.cancel()
        process.kill()
        process.communicate()


def interrupted(process: subprocess.Popen[str]) -> str:
    """Press Ctrl-C, and return what is said."""
    assert process.stderr is not None
    process.send_signal(signal.SIGINT)
    return process.stderr.readline() + process.stderr.readline()


def test_the_first_one_stops_after_the_node_and_the_thread_goes_on(tmp_path: Path) -> None:
    with busy(tmp_path) as process:
        assert interrupted(process) == "\nStopping after this node; press Ctrl-C again to end at once.\n"
        (tmp_path / "go").touch()
        _, said = process.communicate()
        assert process.returncode == 130
    assert said == f"Stopped. Go on:\n  stategraph {' '.join(each for each in WORDS if each != '-q')}\n"
    done = stategraph(tmp_path, *WORDS)
    assert (done.returncode, done.stdout) == (0, 'steps  ["slow", "after"]\n'), done.stderr


def test_the_second_one_ends_the_process_while_the_node_is_busy(tmp_path: Path) -> None:
    with busy(tmp_path) as process:
        interrupted(process)
        process.send_signal(signal.SIGINT)
        process.communicate()
        assert process.returncode == -signal.SIGINT
