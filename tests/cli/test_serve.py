"""`stategraph serve` as a process: how it refuses to start, and how it ends while a run goes on."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette")

from tests.cli.programs import LIMIT_S, stategraph, write

TOKEN = "a-token-of-the-test"

WAITING = """
import asyncio
from pathlib import Path
from typing import Annotated, TypedDict

from stategraph.graph.message import add_messages
from stategraph.graph.state import START, StateGraph


class State(TypedDict):
    messages: Annotated[list, add_messages]


async def wait(state):
    Path("busy").touch()
    while not Path("go").exists():
        await asyncio.sleep(0.01)
    return {"messages": [("ai", "It went.")]}


builder = StateGraph(State)
builder.add_node("wait", wait)
builder.add_edge(START, "wait")
graph = builder.compile()
"""


class Server:
    """A server whose node waits for a file."""

    def __init__(self, folder: Path, address: str, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._folder = folder
        self._address = address

    def ask(self, path: str, body: object = None) -> tuple[int, Any]:
        """Send a request, and return status and JSON of the answer."""
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(
                urllib.request.Request(f"{self._address}{path}", data, headers), timeout=LIMIT_S
            ) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def begin(self) -> str:
        """Begin a run, and return its thread once its node waits."""
        thread: str = self.ask("/v1/threads", {})[1]["id"]
        assert self.ask(f"/v1/threads/{thread}/turns", {"run_id": "r", "text": "hi"})[0] == 201
        until((self._folder / "busy").exists)
        return thread


def until(true: Any) -> None:
    """Wait for a condition."""
    limit = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < limit, "it never came true"
        time.sleep(0.01)


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    words = ["serve", "waiting:graph", "--port", "0", "--store", "sqlite:///threads.db", "--drain", str(LIMIT_S)]
    process = subprocess.Popen(
        [sys.executable, "-m", "stategraph", *words],
        cwd=write(folder, waiting=WAITING),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "STATEGRAPH_TOKEN": TOKEN},
    )
    watch = threading.Timer(LIMIT_S, process.kill)
    watch.start()
    try:
        assert process.stdout is not None
        found = re.fullmatch(r"graph is served at (http://127\.0\.0\.1:\d+)\n", process.stdout.readline())
        assert found is not None
        assert process.stdout.readline() == "Requests need the token.\n"
        yield Server(folder, found[1], process)
    finally:
        watch.cancel()
        process.kill()
        process.communicate()


def test_a_run_comes_to_its_end_before_the_server_does(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        thread = server.begin()
        server.process.send_signal(signal.SIGTERM)
        until(lambda: server.ask("/health") == (503, {"status": "stopping"}))
        refused = server.ask(f"/v1/threads/{thread}/turns", {"run_id": "r2", "text": "hi"})
        assert refused[0] == 503
        (tmp_path / "go").touch()
        said, errors = server.process.communicate()
        assert (server.process.returncode, errors) == (0, "")
    assert said.startswith("Stopping: a run has ")
    assert TOKEN not in said
    shown = stategraph(tmp_path, "thread", "show", thread, "--store", "sqlite:///threads.db")
    assert shown.stdout.splitlines()[-2:] == ["assistant", "  It went."]


def test_a_second_signal_stops_a_run_that_goes_on_and_the_next_server_continues_it(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        thread = server.begin()
        until(lambda: server.ask(f"/v1/threads/{thread}/export")[1]["messages"])
        assert server.process.stdout is not None
        server.process.send_signal(signal.SIGINT)
        assert server.process.stdout.readline().startswith("Stopping: a run has ")
        server.process.send_signal(signal.SIGINT)
        said, errors = server.process.communicate()
        assert (server.process.returncode, errors) == (0, "")
    assert said == "Runs that were stopped: 1. Threads that can be continued: 1.\n"
    (tmp_path / "go").touch()
    with serving(tmp_path) as server:
        path = f"/v1/threads/{thread}"
        assert server.ask(path)[1]["thread"]["status"] == "unfinished"
        assert server.ask(f"{path}/continue", {})[0] == 200
        until(lambda: server.ask(path)[1]["thread"]["status"] == "idle")
        assert [each["content"][0]["text"] for each in server.ask(path)[1]["turns"]] == ["hi", "It went."]


@pytest.mark.parametrize(
    ("words", "token", "sentence"),
    [
        (["--host", "0.0.0.0"], None, "set the environment variable STATEGRAPH_TOKEN: give it a token that requests"),
        (["--port", "0"], "", "STATEGRAPH_TOKEN is set, and empty: give it a token that requests have to have"),
        (["--port", "0"], " ", "STATEGRAPH_TOKEN is set, and empty"),
        (["--port", "0"], "short", "The token has to have 16 characters or more"),
    ],
)
def test_it_does_not_start_without_a_good_token(
    tmp_path: Path, words: list[str], token: str | None, sentence: str
) -> None:
    done = stategraph(tmp_path, "serve", *words, **({} if token is None else {"STATEGRAPH_TOKEN": token}))
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
