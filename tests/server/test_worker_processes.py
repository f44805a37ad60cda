"""`stategraph serve --workers 2`: runs are executed by processes of their own, which may be killed and end with it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import httpx
import pytest

pytest.importorskip("starlette")


from stategraph.workers.registry.runs import RunRegistry

LIMIT_S = 120

GRAPHS = """
import os
import time
from pathlib import Path
from typing import TypedDict

from langchain_core.runnables import RunnableConfig

from stategraph import START, StateGraph


class State(TypedDict, total=False):
    first: int
    second: int


def first(state: State) -> State:
    return {"first": os.getpid()}


def second(state: State, config: RunnableConfig) -> State:
    if config["metadata"]["run_attempt"] == 1:
        Path("busy.part").write_text(str(os.getpid()))
        Path("busy.part").rename("busy")
        time.sleep(600)
    return {"second": os.getpid()}


builder = StateGraph(State).add_node("first", first).add_node("second", second)
graph = builder.add_edge(START, "first").add_edge("first", "second").compile()
"""

SETTINGS = "[leases]\nlease_s = 2.0\nheartbeat_s = 0.5\n"


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Serve the graphs with two workers; return address and process."""
    (folder / "graphs.py").write_text(GRAPHS)
    (folder / "server.toml").write_text(SETTINGS)
    config = {"graphs": {"steps": "./graphs.py:graph"}, "dependencies": ["."]}
    (folder / "langgraph.json").write_text(json.dumps(config))
    words = ["serve", "--port", "0", "--store", "sqlite:///runs.db", "--settings", "server.toml", "--workers", "2"]
    with (folder / "errors").open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "stategraph", *words], cwd=folder, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    watch = threading.Timer(LIMIT_S, process.kill)
    watch.start()
    try:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found is not None, (folder / "errors").read_text()
        yield found[0], process
    finally:
        watch.cancel()
        process.kill()
        process.communicate()


def until(true: Callable[[], bool]) -> None:
    """Wait for a condition."""
    limit = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < limit, "it never came true"
        time.sleep(0.05)


def is_over(client: httpx.Client, path: str) -> bool:
    """Return whether a run has ended."""
    return client.get(path).json()["status"] not in ("pending", "running")


def workers(registry: RunRegistry) -> set[int]:
    """Return the processes of the workers that are known: those that ended well are not."""

    async def known() -> set[int]:
        return {each.pid for each in await registry.workers()}

    return anyio.run(known)


def test_a_run_goes_on_when_its_worker_is_killed_and_workers_end_with_the_server(tmp_path: Path) -> None:
    with serving(tmp_path) as (address, process):
        registry = RunRegistry.from_url(f"sqlite:///{tmp_path / 'runs.db'}")
        until(lambda: len(workers(registry)) == 2)
        with httpx.Client(base_url=address, timeout=LIMIT_S, trust_env=False) as client:
            thread = client.post("/threads", json={}).json()["thread_id"]
            run = client.post(f"/threads/{thread}/runs", json={"assistant_id": "steps", "input": {}}).json()["run_id"]
            path = f"/threads/{thread}/runs/{run}"
            until(lambda: (tmp_path / "busy").exists() or is_over(client, path))
            assert (tmp_path / "busy").exists(), (tmp_path / "errors").read_text()
            killed = int((tmp_path / "busy").read_text())
            assert killed in workers(registry) and killed != process.pid
            os.kill(killed, signal.SIGKILL)
            values = client.get(f"{path}/join").json()
            assert client.get(path).json()["status"] == "success"
        assert values["first"] == killed
        assert values["second"] not in (killed, process.pid)
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT_S) == 0
        # Whoever ends well says so; the killed one cannot.
        until(lambda: workers(registry) <= {killed})
        anyio.run(registry.aclose)
