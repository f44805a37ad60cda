"""An instrumentation that waits for a module of LangGraph to be imported gets its turn before the engine is used."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

HOOK = """
import sys

class Hook:
    def find_spec(self, name, path=None, target=None):
        if name in ("langgraph.pregel._executor", "langgraph._internal._runnable", "langgraph.pregel._loop",
                    "langgraph.stream.run_stream"):
            print(name.rpartition(".")[2], end=" ")

sys.meta_path.insert(0, Hook())
"""

BUILD = """
graph = StateGraph(dict).add_node("one", lambda state: print("ran", end=" ")).add_edge("__start__", "one").compile()
"""


def printed(code: str) -> list[str]:
    """Run code under the hook, with the drop-in first on the path, and return the words that were printed."""
    command = [sys.executable, "-c", f"{HOOK}\nsys.path.insert(0, {str(ROOT / 'compat')!r})\n{code}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    "code",
    [
        f"from langgraph.graph import StateGraph\n{BUILD}",
        f"from stategraph import StateGraph\n{BUILD}\nimport langgraph.graph",
        "import langgraph.func",
        "import langgraph.pregel.remote",
    ],
    ids=["graph", "graph, after our own", "func", "remote"],
)
def test_a_hook_on_the_engine_fires_when_the_engine_is_loaded(code: str) -> None:
    assert {"_executor", "_runnable", "_loop"} <= set(printed(code))


def test_a_hook_fires_before_the_first_node_runs() -> None:
    words = printed(f"from langgraph.graph import StateGraph\n{BUILD}\ngraph.invoke({{}})")
    assert words.index("_executor") < words.index("ran")


def test_a_hook_on_event_streams_fires_when_they_are_first_used() -> None:
    code = f"from langgraph.graph import StateGraph\n{BUILD}\nprint('streams', end=' ')\n"
    words = printed(code + "list(graph.stream_events({}, version='v3'))")
    assert words.index("streams") < words.index("run_stream") < words.index("ran")


def test_importing_the_builder_loads_no_engine() -> None:
    assert printed("import langgraph.graph; print('stategraph.engine.engine' in sys.modules)") == ["False"]


def test_a_program_of_our_own_api_is_not_shown_to_instrumentations_of_langgraph() -> None:
    assert printed(f"from stategraph import StateGraph\n{BUILD}\ngraph.invoke({{}})") == ["ran"]
