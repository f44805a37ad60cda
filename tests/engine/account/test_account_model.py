"""Random graphs: the account of a thread agrees with what a recorder inside of the nodes saw."""

from __future__ import annotations

import asyncio
import json
import warnings
from collections import Counter
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stategraph import START
from stategraph.engine.state.account import asking
from stategraph.engine.state.account.explanation import Explanation
from stategraph.engine.state.account.facts import TaskAccount
from stategraph.errors import GraphRecursionError
from stategraph.graph.edges.flows import JoinWarning
from tests.dataflow.flow_kit import Plan, Program, Recorder, plans

INPUT: Any = {"log": []}
THREAD: Any = {"configurable": {"thread_id": "1"}, "recursion_limit": 25}


def compiled(program: Program, scheduling: Any, **options: Any) -> Any:
    with warnings.catch_warnings(action="ignore", category=JoinWarning):
        return program.graph.compile(scheduling=scheduling, **options)


def ran(explanation: Explanation) -> Counter[str]:
    return Counter(task.node for task in explanation.tasks() if task.ran and task.node != START)


def written(explanation: Explanation) -> list[str]:
    """What the account says was written to the log, by writer, in the order of the steps."""
    entries = []
    for _, change in explanation.changes("log"):
        for writer in change.writers:
            for entry in json.loads(writer.value):
                assert entry.startswith(f"{writer.node}(")
                entries.append(entry)
    return entries


def check_causes(plan: Plan, explanation: Explanation) -> None:
    """Who led to each task is an edge of the plan, and has run before it."""
    before: Counter[str] = Counter()
    for task in explanation.tasks():
        if task.node == START or task.status == "open":
            continue
        sources = list(task.sources())
        assert sources, task
        for source in sources:
            assert source.way in ("edge", "router", "join", "send"), task
            assert source.node == START or before[source.node], task
            check_way(plan, source.node, task, source.way)
        before[task.node] += task.ran


def check_way(plan: Plan, source: str, task: TaskAccount, way: str) -> None:
    start = -1 if source == START else int(source[1:])
    end = int(task.node[1:])
    if way == "edge":
        assert (start, end) in plan.edges
    elif way == "join":
        assert any(start in starts and end == target for starts, target in plan.joins)
    elif way == "send":
        assert plan.sends[start][0] == end
    else:
        assert any(end in answer for answer in plan.routes[start])


def check_verdicts(explanation: Explanation) -> None:
    counts = ran(explanation)
    waiting = {task.node for task in explanation.upcoming if task.status == "open"}
    for verdict in explanation.verdicts:
        assert verdict.times == counts[verdict.node]
        assert verdict.reasons, verdict
        assert str(verdict.status) == (
            "waits"
            if verdict.node in waiting or verdict.status == "waits"
            else "ran"
            if verdict.times
            else "did not run"
        )
        if verdict.node in waiting:
            assert verdict.status == "waits"


@pytest.mark.parametrize("scheduling", ["barrier", "dataflow"])
@given(plan=plans(), seed=st.integers(0, 999))
@settings(max_examples=30)
def test_an_account_agrees_with_what_a_recorder_in_the_nodes_saw(scheduling: str, plan: Plan, seed: int) -> None:
    program = Program(plan, seed)
    graph = compiled(program, scheduling, checkpointer=Recorder())
    try:
        result = asyncio.run(graph.ainvoke(INPUT, THREAD))
    except GraphRecursionError:
        return
    explanation = graph.explain(THREAD)
    assert ran(explanation) == Counter(node for node, _ in program.ran)
    assert written(explanation) == result["log"]
    assert explanation.is_over
    assert not explanation.unknown
    assert {verdict.node for verdict in explanation.verdicts if verdict.status == "waits"} == set()
    check_causes(plan, explanation)
    check_verdicts(explanation)
    assert str(explanation)
    json.dumps(explanation.to_json())


@pytest.mark.parametrize("scheduling", ["barrier", "dataflow"])
@given(plan=plans(), seed=st.integers(0, 999), cut=st.floats(0, 1))
@settings(max_examples=30)
def test_an_account_of_a_run_that_was_killed_tells_what_was_stored_and_what_waits(
    scheduling: str, plan: Plan, seed: int, cut: float
) -> None:
    saver = Recorder()
    program = Program(plan, seed)
    try:
        asyncio.run(compiled(program, scheduling, checkpointer=saver).ainvoke(INPUT, THREAD, durability="sync"))
    except GraphRecursionError:
        return
    left = saver.after(1 + round(cut * (len(saver.calls) - 1)))
    stored = Recorder()
    stored.calls = saver.calls[: 1 + round(cut * (len(saver.calls) - 1))]
    graph = compiled(Program(plan, seed + 1), scheduling, checkpointer=left)
    explanation = graph.explain(THREAD)
    assert sum(ran(explanation).values()) == len(stored.recorded())
    assert Counter(entry.partition("(")[0] for entry in stored.recorded()) == ran(explanation)
    check_causes(plan, explanation)
    check_verdicts(explanation)
    open_ = Counter(task.node for task in explanation.upcoming if task.status == "open")
    if open_:
        assert open_ == Counter(graph.get_state(THREAD).next)


@example(plan=Plan(6, edges=((-1, 0), (0, 5)), joins=(((1, 2), 5),), routes={}, sends={}), seed=0)
@given(plan=plans(), seed=st.integers(0, 999))
@settings(max_examples=20)
def test_a_saver_alone_tells_who_ran_and_who_wrote(plan: Plan, seed: int) -> None:
    program = Program(plan, seed)
    saver = Recorder()
    graph = compiled(program, "barrier", checkpointer=saver)
    try:
        result = asyncio.run(graph.ainvoke(INPUT, THREAD))
    except GraphRecursionError:
        return
    explanation = asyncio.run(asking.aexplain_stored(saver, "1"))
    assert ran(explanation) == Counter(node for node, _ in program.ran)
    # Ids of tasks count all channels that start a node, and nothing stored names a join at which nobody has arrived.
    arrived = {node for node, _ in program.ran}
    hidden = {f"n{target}" for members, target in plan.joins if not arrived & {f"n{each}" for each in members}}
    told, log = (
        [entry for entry in entries if entry.partition("(")[0] not in hidden]
        for entries in (written(explanation), result["log"])
    )
    assert told == log
    assert explanation.unknown


@pytest.mark.parametrize("scheduling", ["barrier", "dataflow"])
@given(plan=plans(), seed=st.integers(0, 999))
@settings(max_examples=20)
def test_two_runs_of_a_graph_are_the_same_whatever_ends_first(scheduling: str, plan: Plan, seed: int) -> None:
    saver = Recorder()
    for thread, number in (("1", seed), ("2", seed + 1)):
        graph = compiled(Program(plan, number), scheduling, checkpointer=saver)
        config: Any = {"configurable": {"thread_id": thread}, "recursion_limit": 25}
        try:
            asyncio.run(graph.ainvoke(INPUT, config))
        except GraphRecursionError:
            return
    found = graph.diff("1", "2")
    assert found.is_same, str(found)
