"""The core in an interpreter with a lock of its own, and what keeps graphs out of one; see docs/free-threading.md."""

from __future__ import annotations

import sys
from typing import Any

import pytest

interpreters: Any = pytest.importorskip("_interpreters", reason="they came with Python 3.13")

RUNS = """
import operator
from stategraph.core.channels.binop import BinaryOperatorAggregate
from stategraph.core.channels.last_value import LastValue
from stategraph.core.machine import Machine

total = BinaryOperatorAggregate(int, operator.add)
total.update([40, 2])
last = LastValue(str)
last.update(["done"])
assert (total.get(), last.get()) == (42, "done"), (total.get(), last.get())
"""


def said(code: str) -> str:
    """Run code in an interpreter of its own; return what it raised, empty if nothing."""
    made = interpreters.create("isolated")
    try:
        raised = interpreters.exec(made, f"import sys\nsys.path[:] = {sys.path!r}\n{code}")
        return "" if raised is None else f"{raised.type.__name__}: {raised.msg}"
    finally:
        interpreters.destroy(made)


def test_the_core_runs_in_an_interpreter_of_its_own() -> None:
    assert said(RUNS) == ""


def test_what_keeps_graphs_out_is_pydantic_core() -> None:
    """Once this fails, docs/free-threading.md is to be written anew."""
    assert "pydantic_core" in said("from stategraph import StateGraph\nStateGraph(dict).add_node('a', print)")
