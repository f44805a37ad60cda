"""A program of a user in a folder, and the command run there as a process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cli import forked

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 120

DESK = """
from typing import Annotated, TypedDict
import operator

from stategraph import AgentInputs, interrupt
from stategraph.graph.message import add_messages
from stategraph.graph.state import END, START, StateGraph
from stategraph.testing import ScriptedChatModel


class Order(TypedDict):
    number: int
    kind: str
    notes: Annotated[list, operator.add]


def classify(state):
    return {"kind": "refund" if state["number"] > 9 else "order", "notes": ["classified"]}


def approve(state):
    return {"notes": [interrupt({"question": f"Refund order {state['number']}?"})]}


def fail(state):
    return {"notes": [1 / (state["number"] - state["number"])]}


builder = StateGraph(Order)
builder.add_node("classify", classify)
builder.add_node("approve", approve)
builder.add_edge(START, "classify")
builder.add_conditional_edges("classify", lambda state: state["kind"], {"refund": "approve", "order": END})
graph = builder.compile()

broken_builder = StateGraph(Order)
broken_builder.add_node("fail", fail)
broken_builder.add_edge(START, "fail")
broken = broken_builder.compile()


class Chat(TypedDict):
    messages: Annotated[list, add_messages]


model = ScriptedChatModel(replies=["Your lamp is on its way."])
talking = StateGraph(Chat)
talking.add_node("talk", lambda state: {"messages": [model.invoke(state["messages"])]})
talking.add_edge(START, "talk")
chat = talking.compile()

agents = [AgentInputs(agent_id="desk", model=ScriptedChatModel(replies=["Hello."]))]


def needs(one):
    return graph


def make():
    return graph
"""


@contextmanager
def forgetting(folder: Path) -> Iterator[None]:
    """Forget the modules of a folder, and the folder, when the block has ended."""
    path = list(sys.path)
    try:
        yield
    finally:
        sys.path[:] = path
        for name, module in list(sys.modules.items()):
            if (getattr(module, "__file__", None) or "").startswith(str(folder)):
                del sys.modules[name]


def write(folder: Path, **modules: str) -> Path:
    """Write modules to a folder."""
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    return folder


#: Commands that are several, each with a name of its own behind theirs.
OF_SEVERAL = frozenset(
    {
        *("agents", "approvals", "audit", "capabilities", "completion", "graph", "keys", "plugin", "policy"),
        *("runs", "skills", "store", "thread"),
    }
)
_started: set[tuple[str, ...]] = set()


def stategraph(folder: Path, *words: str, given: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command of `stategraph` in a folder, as a person would.

    The first run of each command is `python -m stategraph`; those after it, in the same process of pytest, are forks of
    a process that has imported what commands share.
    """
    command = words[: 2 if words and words[0] in OF_SEVERAL else 1]
    if command not in _started or forked.must_start_anew(given, variables):
        _started.add(command)
        return started(folder, *words, given=given, **variables)
    return forked.forks().run(folder, words, given, _variables(variables), LIMIT_S)


def started(folder: Path, *words: str, given: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m stategraph` in a folder."""
    return subprocess.run(
        [sys.executable, "-m", "stategraph", *words],
        cwd=folder,
        input=given,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=LIMIT_S,
        env=_variables(variables),
    )


def _variables(more: dict[str, str]) -> dict[str, str]:
    without = {name: value for name, value in os.environ.items() if not name.startswith(("STATEGRAPH_", "PYTEST_"))}
    return {**without, **more}
