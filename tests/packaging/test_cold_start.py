"""Modules that must not be imported before they are needed: time differs between machines, imports do not."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: Each of these takes 50 ms to 500 ms, mostly for what it imports in turn.
HEAVY = ("langchain_core", "langgraph", "langsmith", "pydantic", "requests", "httpx", "anyio", "sqlite3", "mcp")


def loaded(code: str, *heavy: str) -> list[str]:
    """Run code in a new interpreter; return the packages of a list that it has loaded."""
    asks = f"import sys; print('LOADED', *(name for name in {heavy!r} if name in sys.modules))"
    script = f"try:\n    exec({code!r})\nexcept SystemExit:\n    pass\n{asks}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("LOADED"))
    return line.split()[1:]


def test_the_check_sees_what_is_loaded() -> None:
    assert loaded("import sqlite3, pydantic", *HEAVY) == ["pydantic", "sqlite3"]


def test_importing_what_a_backend_needs_loads_no_langchain_and_no_engine() -> None:
    assert loaded("from stategraph import AgentRuntime, create_run, sse", *HEAVY, "stategraph.engine.engine") == []


def test_a_runtime_is_opened_and_closed_without_langchain_and_the_engine() -> None:
    code = """
import asyncio
from stategraph import AgentRuntime

async def main():
    async with AgentRuntime(runs_kept=3) as runtime:
        runtime.statistics(), repr(runtime), runtime.get_run("none"), runtime.abort("none")

asyncio.run(main())
"""
    assert loaded(code, *HEAVY, "stategraph.engine.engine") == []


def test_an_event_is_encoded_without_langchain() -> None:
    code = """
from stategraph import RunEvent
RunEvent(1, "on_run_end", {"status": "completed", "at": (1, {2}, b"x")}).to_sse()
"""
    assert loaded(code, *HEAVY) == []


@pytest.mark.parametrize("command", ["--help", "--version", "worker --help", "runs --help", "doctor --help"])
def test_help_of_the_command_loads_no_loop_and_no_package_of_others(command: str) -> None:
    code = f"from stategraph.cli import main; main({command.split()!r})"
    assert loaded(code, *HEAVY, "asyncio", "stategraph.core", "stategraph.engine") == []


def test_a_graph_is_compiled_and_run_without_what_neither_needs() -> None:
    code = """
from stategraph import END, START, StateGraph
graph = StateGraph(dict).add_node("node", lambda state: state).add_edge(START, "node").add_edge("node", END).compile()
graph.invoke({})
"""
    needless = ("sqlite3", "mcp", "websockets", "langgraph.pregel", "langgraph_sdk")
    ours = ("run", "agent", "workers", "telemetry", "engine.remote", "engine.streams.events", "graph.func")
    assert loaded(code, *needless, *(f"stategraph.{name}" for name in ours)) == []
