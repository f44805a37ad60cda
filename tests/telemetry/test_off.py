"""What is not measured costs nothing: OpenTelemetry is not imported, and nothing of ours either."""

from __future__ import annotations

import subprocess
import sys

import pytest

from stategraph.errors import MissingPackageError
from stategraph.telemetry import Telemetry

PROGRAM = """
import asyncio, sys
sys.modules["opentelemetry"] = None  # whoever imports it fails
from stategraph import START, Run, StateGraph
from stategraph.telemetry import Telemetry  # to have it at hand is not to use it
from stategraph.testing.chat_model import ScriptedChatModel

graph = StateGraph(dict).add_node("n", lambda state: {}).add_edge(START, "n").compile()
graph.invoke({"a": 1})

async def main():
    run = await Run.create({"run_id": "r", "graph_config": {"agents": [
        {"agent_id": "a", "model": ScriptedChatModel(replies=["Hi."])}]}})
    await run.process_stream({"messages": [("user", "hi")]})

asyncio.run(main())
print([name for name in sys.modules if name.startswith("stategraph.telemetry.")])
"""


def test_a_program_that_measures_nothing_imports_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "['stategraph.telemetry.settings']"


def test_without_opentelemetry_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "stategraph.telemetry.recorder", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'stategraph\[otel\]'"):
        Telemetry().handler()
