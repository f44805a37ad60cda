"""Keys whose reducer says that an update changed nothing: they are read as any other, and not stored again."""

from __future__ import annotations

import operator
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

from langgraph.checkpoint.memory import InMemorySaver

from stategraph import END, START, StateGraph
from stategraph.core.channels import ChangedAggregate

if TYPE_CHECKING:
    from tests.conftest import Driver

KEPT = ChangedAggregate(dict, lambda before, after: {**before, **after} if after else before)


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    kept: Annotated[dict[str, int], KEPT]


def test_a_key_that_did_not_change_keeps_its_version_and_is_read_by_nodes_and_routers(driver: Driver) -> None:
    updates: list[dict[str, int]] = [{"a": 1}, {}, {"b": 2}, {}]
    seen: list[Any] = []

    def node(state: State) -> State:
        return {"log": ["."], "kept": updates[len(state["log"])]}

    def route(state: State) -> str:
        seen.append(state["kept"])
        return END if len(state["log"]) == len(updates) else "node"

    builder = StateGraph(State).add_node("node", node).add_edge(START, "node")
    graph = builder.add_conditional_edges("node", route, [END, "node"]).compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t"}}
    result = driver.invoke(graph, {"log": []}, config)

    assert result["kept"] == {"a": 1, "b": 2}
    assert seen == [{"a": 1}, {"a": 1}, {"a": 1, "b": 2}, {"a": 1, "b": 2}]
    stored = [each.checkpoint["channel_versions"].get("kept") for each in graph.checkpointer.list(config)]  # type: ignore[union-attr]
    versions = [each for each in reversed(stored) if each is not None]
    changes = [a != b for a, b in pairwise(versions)]
    assert changes == [False, True, False]
