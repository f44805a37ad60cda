"""Runs share what is worked out once, and no run changes it for another."""

from __future__ import annotations

import asyncio
import copy
import operator
from typing import Annotated, Any

import pytest
from langchain_core.runnables import RunnableConfig
from typing_extensions import TypedDict

from stategraph import END, START, StateGraph
from stategraph.engine.config.run_config import UNASKED
from stategraph.engine.runs import run_setup


class State(TypedDict):
    steps: Annotated[list[str], operator.add]


def chain(node: Any = None) -> Any:
    builder = StateGraph(State)
    for before, name in ((START, "a"), ("a", "b")):
        builder.add_node(name, node or (lambda state, name=name: {"steps": [name]}))
        builder.add_edge(before, name)
    return builder.add_edge("b", END).compile()


def called(graph: Any, prefix: str, **options: Any) -> Any:
    if prefix:
        return asyncio.run(graph.ainvoke({"steps": []}, **options))
    return graph.invoke({"steps": []}, **options)


both = pytest.mark.parametrize("prefix", ["", "a"])


@both
def test_runs_that_are_called_alike_share_their_setup(prefix: str) -> None:
    graph = chain()
    for _ in range(3):
        assert called(graph, prefix) == {"steps": ["a", "b"]}
    assert len(graph.spec.setups) == 1
    assert called(graph, prefix, output_keys="steps") == ["a", "b"]
    assert len(graph.spec.setups) == 2


@both
def test_what_one_call_asks_is_not_asked_by_the_next(prefix: str) -> None:
    graph = chain()
    updates = [{"a": {"steps": ["a"]}}, {"b": {"steps": ["b"]}}]
    assert called(graph, prefix, stream_mode="updates") == updates
    assert called(graph, prefix) == {"steps": ["a", "b"]}
    assert called(graph, prefix, interrupt_after=("a",))["steps"] == ["a"]
    assert called(graph, prefix) == {"steps": ["a", "b"]}
    assert called(graph, prefix, version="v2").value == {"steps": ["a", "b"]}
    assert list(graph.stream({"steps": []})) == updates
    assert called(graph, prefix) == {"steps": ["a", "b"]}


def test_options_that_cannot_be_looked_up_are_not_kept() -> None:
    graph = chain()
    for modes in (["updates"], ["values"]):
        assert {mode for mode, _ in graph.stream({"steps": []}, stream_mode=modes)} == set(modes)
    assert called(graph, "", output_keys=["steps"], interrupt_before=["b"])["steps"] == ["a"]
    assert graph.spec.setups == {}


def test_a_graph_keeps_so_many_setups_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_setup, "_MOST_KEPT", 1)
    graph = chain()
    assert called(graph, "", output_keys="steps") == ["a", "b"]
    for _ in range(2):
        assert called(graph, "") == {"steps": ["a", "b"]}
    assert len(graph.spec.setups) == 1


@both
def test_a_graph_that_is_changed_is_run_as_it_is_now(prefix: str) -> None:
    graph = chain()
    assert called(graph, prefix)["steps"] == ["a", "b"]
    graph.interrupt_after_nodes = ["a"]
    assert called(graph, prefix)["steps"] == ["a"]
    graph.interrupt_after_nodes = []
    assert called(graph, prefix)["steps"] == ["a", "b"]


def test_output_keys_that_are_no_channels_are_refused_each_time() -> None:
    graph = chain()
    for _ in range(2):
        with pytest.raises(ValueError, match="missing"):
            called(graph, "", output_keys="missing")


@both
def test_a_node_that_changes_its_config_changes_no_other_run(prefix: str) -> None:
    seen: list[Any] = []

    def node(state: State, config: RunnableConfig) -> Any:
        seen.append((dict(config["metadata"]), {*config}, {*config["configurable"]}))
        config["metadata"]["mine"] = config["configurable"]["mine"] = True
        config.setdefault("tags", []).append("mine")
        config["callbacks"].add_tags(["mine"])
        return {"steps": ["x"]}

    before, graph = copy.deepcopy(UNASKED), chain(node)
    for _ in range(2):
        called(graph, prefix)
    assert before == UNASKED
    first, second = seen[:2], seen[2:]
    for one, other in zip(first, second, strict=True):
        assert "mine" not in {*one[0], *one[1], *one[2]}
        volatile = {"langgraph_checkpoint_ns"}
        assert {k: v for k, v in one[0].items() if k not in volatile} == {
            k: v for k, v in other[0].items() if k not in volatile
        }
        assert one[1:] == other[1:]


def test_runs_of_which_nobody_reads_chunks_leave_none_behind() -> None:
    def node(_: State, config: RunnableConfig) -> Any:
        config["configurable"]["__pregel_runtime"].stream_writer("unread")
        return {"steps": ["x"]}

    graph = chain(node)
    assert called(graph, "") == {"steps": ["x", "x"]}
    assert list(graph.stream({"steps": []}, stream_mode="custom")) == ["unread", "unread"]
    assert called(graph, "", stream_mode="custom") == ["unread", "unread"]
    assert called(graph, "") == {"steps": ["x", "x"]}
