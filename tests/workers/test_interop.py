"""One thread on LangGraph and on a worker: begun by one, taken up by the other, and back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from stategraph.types import Command
from stategraph.workers.eventlog import attach
from stategraph.workers.registry.runs import RunRegistry

ROOT = Path(__file__).resolve().parents[2]
BENCH_PYTHON = Path(os.environ.get("STATEGRAPH_BENCH_PYTHON") or ROOT / ".venv-bench" / "bin" / "python")
TARGET = "tests.workers.interop_graph:graph"
LIMIT_S = 60

PIECES = ["piece 0", "piece 1", "piece 2"]

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not BENCH_PYTHON.exists(), reason="needs the environment with LangGraph: make interop makes it"),
]


def on_langgraph(store: str, *arguments: str) -> dict[str, Any]:
    """Begin, resume or (with an empty answer) look at a thread in a process of the real LangGraph."""
    program = ROOT / "tests" / "workers" / "interop_langgraph.py"
    environment = {key: value for key, value in os.environ.items() if key not in ("STATEGRAPH_RUNTIME", "PYTHONPATH")}
    command = [str(BENCH_PYTHON), str(program), store, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert "compat" not in found.pop("engine")
    return found


class Workers:
    """A registry, and a worker of the command line beside it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.registry = RunRegistry.from_url(url)

    async def ended(self, run_id: str) -> str:
        with anyio.fail_after(LIMIT_S):
            assert [event async for event in attach(self.registry, run_id)]
        return (await self.registry.get(run_id)).status

    def start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "stategraph", "worker", "--allow", "tests.workers", "--poll", "0.05"]
        environment = {
            **os.environ,
            "STATEGRAPH_STORE": self.url,
            "STATEGRAPH_RUNTIME": "true",
            "PYTHONPATH": str(ROOT),
        }
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


async def test_a_thread_goes_from_langgraph_to_a_worker_and_back(url: str) -> None:
    asked = on_langgraph(url, "a")
    assert asked == {"values": {"done": ["start"]}, "next": ["ask1"], "asked": [{"question": 1, "seen": 1}]}
    workers = Workers(url)
    process = workers.start()
    try:
        # The worker takes up what LangGraph began.
        taken_up = await workers.registry.submit("a", None, target=TARGET)
        assert await workers.ended(taken_up) == "interrupted"
        run_id = await workers.registry.resume(taken_up, "one")
        assert await workers.ended(run_id) == "interrupted"
        seen = on_langgraph(url, "a", "")
        assert seen == {
            "values": {"done": ["start", "answer 1: one"]},
            "next": ["ask2"],
            "asked": [{"question": 2, "seen": 2}],
        }
        # LangGraph goes on, then a worker again.
        on_langgraph(url, "a", "two")
        last = await workers.registry.submit("a", Command(resume="three"), target=TARGET)
        assert await workers.ended(last) == "success"

        # And a thread that a worker began.
        began = await workers.registry.submit("b", {"done": ["start"]}, target=TARGET)
        assert await workers.ended(began) == "interrupted"
        on_langgraph(url, "b", "one")
        on_langgraph(url, "b", "two")
        on_langgraph(url, "b", "three")
    finally:
        process.terminate()
        assert process.wait(LIMIT_S) == 0
        await workers.registry.aclose()
    expected = ["start", "answer 1: one", "answer 2: two", *PIECES, "answer 3: three"]
    for thread in ("a", "b"):
        assert on_langgraph(url, thread, "") == {"values": {"done": expected}, "next": [], "asked": []}
