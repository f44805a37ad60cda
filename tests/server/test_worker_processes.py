"""`stategraph serve --workers 2`: runs are executed by processes of their own, which may be killed and end with it.

The server governs its runs, so each attempt finds the session of who asked for it, whichever process makes it.
"""

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


from stategraph.governance.context import Principal
from stategraph.server.access import api_keys
from stategraph.workers.registry.runs import RunRegistry

LIMIT_S = 120

PRINCIPAL = Principal("acme", "ann").name

GRAPHS = """
import os
import time
from pathlib import Path
from typing import TypedDict

from langchain_core.runnables import RunnableConfig

from stategraph import START, StateGraph
from stategraph.governance.session import current


class State(TypedDict, total=False):
    first: int
    second: int
    who: str


def first(state: State) -> State:
    return {"first": os.getpid()}


def second(state: State, config: RunnableConfig) -> State:
    if config["metadata"]["run_attempt"] == 1:
        Path("busy.part").write_text(str(os.getpid()))
        Path("busy.part").rename("busy")
        time.sleep(600)
    return {"second": os.getpid(), "who": current().context.principal.name}


builder = StateGraph(State).add_node("first", first).add_node("second", second)
graph = builder.add_edge(START, "first").add_edge("first", "second").compile()
"""

SESSIONS = """
from stategraph.governance.context import AgentRef, Principal, RuntimeSessionContext
from stategraph.governance.session import Session
from stategraph.governance.session_signing import SessionSigner
from stategraph.server.sessions import GovernedSessions


def session(ids):
    principal = Principal(ids.org_id, ids.user_id)
    return Session(RuntimeSessionContext(principal, AgentRef(ids.agent_id), ids.session_id))


sessions = GovernedSessions(SessionSigner({"k": b"k" * 32}), session, org_of=lambda caller: "acme")
"""

SETTINGS = """
sessions = "sessions.py:sessions"

[leases]
lease_s = 2.0
heartbeat_s = 0.5

[auth.api_keys]
file = "keys.jsonl"
"""


@contextmanager
def serving(folder: Path) -> Iterator[tuple[httpx.Client, subprocess.Popen[str]]]:
    """Serve the graphs with two workers; return a client of Ann, and the process."""
    secret, kept = api_keys.make("ann")
    (folder / "keys.jsonl").write_text(kept.to_line() + "\n")
    (folder / "sessions.py").write_text(SESSIONS)
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
        known = {"X-Api-Key": secret}
        with httpx.Client(base_url=found[0], headers=known, timeout=LIMIT_S, trust_env=False) as client:
            yield client, process
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
    with serving(tmp_path) as (client, process):
        registry = RunRegistry.from_url(f"sqlite:///{tmp_path / 'runs.db'}")
        until(lambda: len(workers(registry)) == 2)
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
        assert values["who"] == PRINCIPAL
        assert values["second"] not in (killed, process.pid)
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT_S) == 0
        # Whoever ends well says so; the killed one cannot.
        until(lambda: workers(registry) <= {killed})
        anyio.run(registry.aclose)
