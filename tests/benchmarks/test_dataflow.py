"""The graphs of `benchmarks.dataflow` in virtual time, and what a graph pays that does not ask for dataflow."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from benchmarks import dataflow, docs
from benchmarks.dataflow import Shape
from stategraph import END, START, StateGraph
from stategraph.testing import FakeClock


def seconds_of(shape: Shape, scheduling: Any) -> float:
    clock = FakeClock()
    graph = shape.build(StateGraph, asyncio.sleep).compile(scheduling=scheduling)
    return clock.run(dataflow.timed(graph, clock.now))


@pytest.mark.parametrize("shape", dataflow.SHAPES, ids=lambda shape: shape.name)
def test_without_a_barrier_a_graph_takes_its_longest_path_and_with_one_more(shape: Shape) -> None:
    path_s = shape.critical_path_s()
    assert seconds_of(shape, "dataflow") == pytest.approx(path_s)
    assert seconds_of(shape, "barrier") > path_s * 1.2


def test_the_longest_path_is_that_of_the_slowest_branch_before_each_node() -> None:
    shape = Shape("s", {"a": 1, "b": 2, "c": 4}, ((START, "a"), (START, "b"), (("a", "b"), "c"), ("c", END)))
    assert shape.critical_path_s() == 6
    assert shape.critical_path_s("a") == 1


def test_a_graph_that_does_not_ask_for_dataflow_runs_none_of_its_code() -> None:
    config: Any = {"configurable": {"thread_id": "1"}}
    for saver in (None, InMemorySaver()):
        plain = partial(dataflow.chain(StateGraph, 3, checkpointer=saver).invoke, {"ran": []}, config)
        assert dataflow.bytecodes(plain, dataflow.DATAFLOW) == 0
        assert dataflow.bytecodes(plain) > 1_000
    asked = partial(dataflow.chain(StateGraph, 3, scheduling="dataflow").invoke, {"ran": []})
    assert dataflow.bytecodes(asked, dataflow.DATAFLOW) > 100


def test_a_row_says_whether_the_longest_path_is_reached() -> None:
    near = dataflow.Figure("x", 2.0, 1.5, 1.049, 1.0)
    assert near.cells() == ("2.000 s", "1.500 s", "1.049 s", "1.000 s", "+4.9 %", "yes")
    far = dataflow.Figure("x", None, 1.5, 1.06, 1.0)
    assert far.cells()[0] == ""
    assert far.cells()[-2:] == ("+6.0 %", "no")
    assert len(far.cells()) + 1 == len(docs.HEADINGS["dataflow"])
