"""Programs of those who asked for scheduling without a barrier, by their threads: LG is LangGraph, JS its twin."""

from __future__ import annotations

import operator
import threading
from typing import Annotated, Any, TypedDict

import pytest

from stategraph import END, START, StateGraph
from tests.conftest import Driver

DEADLINE_S = 60


class State(TypedDict):
    ran: Annotated[list[str], operator.add]


class Nodes:
    """Nodes that note when they ran; the slow ones take until another one has ended.

    Attributes:
        ended: Their names, in the order of the ends.
        graph: The builder they are added to.
    """

    def __init__(self, *names: str, slow: dict[str, str] | None = None) -> None:
        self.ended: list[str] = []
        self._over = {name: threading.Event() for name in names}
        self.graph = StateGraph(State)
        for name in names:
            self.graph.add_node(name, self._node(name, (slow or {}).get(name)))

    def _node(self, name: str, after: str | None) -> Any:
        def node(state: State) -> dict[str, Any]:
            if after is not None:
                assert self._over[after].wait(DEADLINE_S), f"'{name}' holds up '{after}'"
            self.ended.append(name)
            self._over[name].set()
            return {"ran": [name]}

        return node

    def run(self, driver: Driver) -> list[str]:
        ran: list[str] = driver.invoke(self.graph.compile(scheduling="dataflow"), {"ran": []})["ran"]
        return ran


def test_lg_6320_a_slow_sibling_does_not_block_an_unrelated_fast_branch(driver: Driver) -> None:
    nodes = Nodes("slow", "fast", "after_fast", slow={"slow": "after_fast"})
    nodes.graph.add_edge(START, "slow").add_edge(START, "fast").add_edge("fast", "after_fast")
    nodes.graph.add_edge("slow", END).add_edge("after_fast", END)
    nodes.run(driver)
    assert nodes.ended == ["fast", "after_fast", "slow"]


def test_lg_4673_a_node_does_not_wait_for_a_parallel_node_it_has_no_edge_from(driver: Driver) -> None:
    nodes = Nodes("node0", "node1", "node2", "node3", slow={"node0": "node2"})
    nodes.graph.add_edge(START, "node0").add_edge(START, "node1").add_edge("node1", "node2")
    nodes.graph.add_edge(["node0", "node2"], "node3").add_edge("node3", END)
    nodes.run(driver)
    assert nodes.ended == ["node1", "node2", "node0", "node3"]


@pytest.mark.parametrize("slow", ["a", "b"])
def test_lg_3617_two_chains_run_beside_each_other(driver: Driver, slow: str) -> None:
    other = {"a": "d", "b": "c"}[slow]
    nodes = Nodes("a", "b", "c", "d", slow={slow: other})
    nodes.graph.add_edge(START, "a").add_edge(START, "b").add_edge("a", "c").add_edge("b", "d")
    nodes.graph.add_edge(["c", "d"], END)
    assert nodes.run(driver) == ["a", "b", "c", "d"]
    assert nodes.ended.index(other) < nodes.ended.index(slow)


def test_lg_6005_no_node_runs_before_those_that_lead_to_it_and_none_needs_defer(driver: Driver) -> None:
    """Branches of one, two and three nodes, which meet in the middle and at the end."""
    nodes = Nodes(*(f"node{number}" for number in range(1, 11)))
    for start, end in [(1, 2), (1, 3), (1, 4), (3, 5), (4, 6), (6, 7), (2, 8), (5, 8), (7, 9), (8, 10), (9, 10)]:
        nodes.graph.add_edge(f"node{start}", f"node{end}")
    nodes.graph.add_edge(START, "node1")
    assert sorted(nodes.run(driver)) == sorted(f"node{number}" for number in range(1, 11))
    place = nodes.ended.index
    assert place("node8") > max(place("node2"), place("node5"))
    assert place("node10") == 9


def test_lg_954_the_final_node_waits_for_all_that_lead_to_it(driver: Driver) -> None:
    nodes = Nodes("agent", "short", "long", "longer", "final")
    nodes.graph.add_edge(START, "agent").add_edge("agent", "short").add_edge("agent", "long").add_edge("long", "longer")
    nodes.graph.add_edge("short", "final").add_edge("longer", "final").add_edge("final", END)
    assert nodes.run(driver) == ["agent", "long", "short", "longer", "final"]
    assert nodes.ended[-1] == "final"


@pytest.mark.parametrize("route", ["A", "B"])
def test_js_2666_a_join_goes_on_with_the_branch_that_was_selected(driver: Driver, route: str) -> None:
    nodes = Nodes("A", "B", "C", "D")
    nodes.graph.add_conditional_edges(START, lambda state: route, ["A", "B"])
    nodes.graph.add_edge(["A", "B"], "C", join="all_selected").add_edge("C", "D").add_edge("D", END)
    assert nodes.run(driver) == [route, "C", "D"]
