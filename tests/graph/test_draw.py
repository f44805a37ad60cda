"""Drawing: the edges that a walk finds, what they look like, and subgraphs in place of nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.runnables import RunnablePassthrough
from langchain_core.runnables.graph import Graph
from pydantic import BaseModel
from typing_extensions import TypedDict

from stategraph.constants import END, START
from stategraph.core.channels import LastValue
from stategraph.engine.compile.functions import RunnableCallable
from stategraph.engine.compile.node import NodeBuilder, PregelNode
from stategraph.engine.compile.write import ChannelWrite, ChannelWriteEntry, ChannelWriteTupleEntry
from stategraph.engine.engine import StateGraphEngine
from stategraph.engine.state import draw
from stategraph.engine.state.draw import Picture, Plan, PlanNode, PossibleWrite, Write
from stategraph.graph.state import StateGraph
from stategraph.types import Command, Send


class State(TypedDict):
    value: int


def _pass(state: State) -> None:
    """A node that does nothing."""


def _builder(*names: str, **options: dict[str, Any]) -> StateGraph[Any, Any, Any, Any]:
    builder = StateGraph(State)
    for name in names:
        builder.add_node(name, _pass, **options.get(name, {}))
    return builder


def _edges(graph: Graph) -> list[str]:
    """Edges as text: ``a -> b`` or ``a ..label.. b``."""
    return [
        f"{edge.source} ..{edge.data or ''}.. {edge.target}" if edge.conditional else f"{edge.source} -> {edge.target}"
        for edge in graph.edges
    ]


# --- state graphs ---


def test_edges_are_solid_and_end_where_the_graph_ends() -> None:
    builder = _builder("a", "b").add_edge(START, "a").add_edge("a", "b").add_edge("b", END)
    assert _edges(builder.compile().get_graph()) == [f"{START} -> a", "a -> b", f"b -> {END}"]


def test_a_node_that_leads_nowhere_leads_to_the_end() -> None:
    builder = _builder("a", "b", "c").add_edge(START, "a").add_edge("a", "b").add_edge("a", "c")
    assert _edges(builder.compile().get_graph())[-2:] == [f"b -> {END}", f"c -> {END}"]


def test_routes_are_dashed_and_labelled_unless_the_label_is_the_target() -> None:
    builder = _builder("a", "b", "c").add_edge(START, "a")
    builder.add_conditional_edges("a", _pass, {"yes": "b", "c": "c", "no": END})
    assert _edges(builder.compile().get_graph()) == [
        f"{START} -> a",
        f"a ..no.. {END}",
        "a ..yes.. b",
        "a .... c",
        f"b -> {END}",
        f"c -> {END}",
    ]


def test_a_router_that_does_not_say_where_it_goes_adds_no_edges_to_nodes() -> None:
    builder = _builder("a", "b").add_edge(START, "a")
    builder.add_conditional_edges("a", _pass)
    assert _edges(builder.compile().get_graph()) == [f"{START} -> a", f"a -> {END}"]


def test_a_node_may_declare_where_its_commands_go() -> None:
    def decide(state: State) -> Command[Literal["b", "__end__"]]:
        return Command(goto="b")

    builder = _builder("b", "c", c={"destinations": {"a": "again"}})
    builder.add_node("a", decide).add_edge(START, "a").add_edge("b", "c")
    assert _edges(builder.compile().get_graph()) == [
        f"{START} -> a",
        f"a .... {END}",
        "a .... b",
        "b -> c",
        "c ..again.. a",
    ]


def test_all_nodes_that_a_join_waits_for_lead_to_it() -> None:
    builder = _builder("a", "b", "c", "d").add_edge(START, "a").add_edge("a", "b").add_edge(START, "c")
    builder.add_edge(["b", "c"], "d")
    assert _edges(builder.compile().get_graph()) == [
        f"{START} -> a",
        f"{START} -> c",
        "a -> b",
        "b -> d",
        "c -> d",
        f"d -> {END}",
    ]


def test_a_deferred_node_is_marked_and_gets_its_edges() -> None:
    builder = _builder("a", "b", "c", c={"defer": True, "metadata": {"team": "x"}})
    builder.add_edge(START, "a").add_edge("a", "b").add_edge("a", "c")
    graph = builder.compile().get_graph()
    assert graph.nodes["c"].metadata == {"team": "x", "defer": True}
    assert "a -> c" in _edges(graph)


def test_stops_are_marked() -> None:
    builder = _builder("a", "b").add_edge(START, "a").add_edge("a", "b")
    graph = builder.compile(interrupt_before=["a"], interrupt_after=["a", "b"]).get_graph()
    assert graph.nodes["a"].metadata == {"__interrupt": "before,after"}
    assert graph.nodes["b"].metadata == {"__interrupt": "after"}
    assert builder.compile(interrupt_before="*").get_graph().nodes["a"].metadata is None


def test_a_node_that_has_tools_names_them() -> None:
    node = RunnableCallable(_pass)
    node.tools_by_name = {"search": object(), "read": object()}  # type: ignore[attr-defined]
    graph = StateGraph(State).add_node("tools", node).add_edge(START, "tools").compile().get_graph()
    assert graph.nodes["tools"].metadata == {"__tools": ["search", "read"]}


def test_a_circle_is_drawn_once() -> None:
    builder = _builder("a", "b").add_edge(START, "a").add_edge("a", "b").add_edge("b", "a")
    assert _edges(builder.compile().get_graph()) == [
        f"{START} -> a",
        "a -> b",
        "b -> a",
        f"b .... {END}",
    ]


def test_a_chain_longer_than_any_circle_is_drawn_to_its_end() -> None:
    names = [f"n{at:03}" for at in range(400)]
    builder = _builder(*names).add_edge(START, names[0])
    for one, other in pairwise(names):
        builder.add_edge(one, other)
    assert _edges(builder.compile().get_graph())[-1] == f"n399 -> {END}"


def test_a_graph_whose_state_is_one_value_is_drawn() -> None:
    builder: Any = StateGraph(Annotated[list, lambda left, right: left + right])
    builder.add_node("a", _pass)
    builder.add_edge(START, "a")
    assert _edges(builder.compile().get_graph()) == [f"{START} -> a", f"a -> {END}"]


# --- graphs of channels ---


def test_a_graph_of_channels_gets_a_start() -> None:
    engine = StateGraphEngine(
        nodes={
            "one": NodeBuilder().subscribe_only("input").do(_pass).write_to("between").build(),
            "two": NodeBuilder().subscribe_only("between").do(_pass).write_to("output").build(),
        },
        channels={name: LastValue(int) for name in ("input", "between", "output")},
        input_channels="input",
        output_channels="output",
    )
    assert _edges(engine.get_graph()) == [f"{START} -> one", "one -> two", f"two -> {END}"]


def test_a_graph_whose_input_goes_to_several_channels_is_drawn_without_edges() -> None:
    engine = StateGraphEngine(
        nodes={"one": NodeBuilder().subscribe_to("a", "b").do(_pass).write_to("output").build()},
        channels={name: LastValue(int) for name in ("a", "b", "output")},
        input_channels=["a", "b"],
        output_channels="output",
    )
    graph = engine.get_graph()
    assert list(graph.nodes) == ["one", START]
    assert graph.edges == []


# --- subgraphs ---


def _nested() -> Any:
    innermost = _builder("x").add_edge(START, "x").compile()
    inner = StateGraph(State)
    inner.add_node("deep", innermost).add_node("flat", _pass)
    inner.add_edge(START, "deep").add_edge("deep", "flat")
    outer = StateGraph(State)
    outer.add_node("inner", inner.compile()).add_edge(START, "inner")
    return outer.compile()


@pytest.mark.parametrize(
    ("xray", "names"),
    [
        (False, ["inner"]),
        (1, ["inner:deep", "inner:flat"]),
        (2, ["inner:deep:x", "inner:flat"]),
        (True, ["inner:deep:x", "inner:flat"]),
    ],
)
def test_xray_says_how_deep_to_look(xray: int | bool, names: list[str]) -> None:
    graph = _nested()
    drawn = graph.get_graph(xray=xray)
    assert sorted(set(drawn.nodes) - {START, END}) == names
    assert asyncio.run(graph.aget_graph(xray=xray)) == drawn


def test_edges_go_to_the_entry_and_from_the_exit_of_a_subgraph() -> None:
    assert _edges(_nested().get_graph(xray=1)) == [
        f"{START} -> inner:deep",
        f"inner:flat -> {END}",
        "inner:deep -> inner:flat",
    ]


def test_a_subgraph_with_two_entries_is_put_in_with_its_own_start() -> None:
    inner = _builder("x", "y").add_edge(START, "x").add_edge(START, "y").compile()
    outer = StateGraph(State)
    outer.add_node("inner", inner).add_edge(START, "inner")
    drawn = outer.compile().get_graph(xray=True)
    assert f"{START} -> inner:{START}" in _edges(drawn)


# --- JSON ---


def test_json_names_classes_as_its_readers_know_them() -> None:
    compiled = _nested()
    kinds = {node["id"]: node.get("data", {}).get("id") for node in compiled.get_graph().to_json()["nodes"]}
    assert kinds["inner"] == ["langgraph", "graph", "state", "CompiledStateGraph"]
    assert kinds[START] == ["langgraph", "_internal", "_runnable", "RunnableCallable"]


def test_json_describes_states_that_are_nodes_as_langchain_does() -> None:
    class Shown(BaseModel):
        at: int = 0

    plain, picture = Graph(), Picture()
    for drawn in (plain, picture):
        drawn.add_node(Shown)
        drawn.add_node(RunnablePassthrough())
    for with_schemas in (False, True):
        kinds = [
            [(node["type"], node["data"]) for node in drawn.to_json(with_schemas=with_schemas)["nodes"]]
            for drawn in (plain, picture)
        ]
        assert kinds[0] == kinds[1]


def test_a_picture_equals_a_plain_one_that_shows_the_same() -> None:
    drawn = _builder("a").add_edge(START, "a").compile().get_graph()
    plain = Graph(nodes=dict(drawn.nodes), edges=list(drawn.edges))
    assert drawn == plain
    assert plain == drawn
    assert drawn != Graph()


# --- plans ---


def _plan(nodes: dict[str, tuple[Sequence[str], Sequence[Write], Sequence[PossibleWrite]]]) -> Plan:
    """Nodes as what starts them, what they write, what they may write; ``in`` is the input."""
    plan_nodes = {
        name: PlanNode(None, {}, triggers, writes, possible) for name, (triggers, writes, possible) in nodes.items()
    }
    return Plan(plan_nodes, inputs=("in",))


def test_a_write_that_is_both_certain_and_possible_is_possible_the_first_time() -> None:
    plan = _plan({"a": (["in"], [Write("b")], [PossibleWrite("b", "maybe")]), "b": (["b"], [], [])})
    assert _edges(draw.picture(plan)) == [f"{START} -> a", "a ..maybe.. b", f"b -> {END}"]


def test_a_node_started_by_an_old_write_is_led_to_by_the_step_before() -> None:
    plan = Plan(
        {
            "a": PlanNode(None, {}, ["in"], [Write("held"), Write("b")]),
            "b": PlanNode(None, {}, ["b"]),
            "last": PlanNode(None, {}, ["held"]),
        },
        inputs=("in",),
        held=frozenset({"held"}),
    )
    assert _edges(draw.picture(plan)) == [f"{START} -> a", "a -> b", "a -> last", "b .... last", f"last -> {END}"]


_NODES = ("a", "b", "c", "d")


@given(
    writes=st.dictionaries(st.sampled_from(_NODES), st.sets(st.sampled_from(_NODES)), max_size=4),
    possible=st.dictionaries(st.sampled_from(_NODES), st.sets(st.sampled_from((*_NODES, END))), max_size=4),
)
def test_what_is_drawn_is_what_can_be_reached(writes: dict[str, set[str]], possible: dict[str, set[str]]) -> None:
    plan = _plan(
        {
            name: (
                [name] if name != "a" else ["in", "a"],
                [Write(end) for end in sorted(writes.get(name, ()))],
                [PossibleWrite(end) for end in sorted(possible.get(name, ()))],
            )
            for name in _NODES
        }
    )
    reached, queue = {"a"}, ["a"]
    for name in queue:
        new = (writes.get(name, set()) | possible.get(name, set())) - reached - {END}
        reached |= new
        queue += sorted(new)
    expected = {(name, end) for name in reached for end in writes.get(name, set()) | possible.get(name, set())}
    drawn = {(edge.source, edge.target) for edge in draw.picture(plan).edges}
    assert {pair for pair in drawn if START not in pair and END not in pair} == {
        pair for pair in expected if END not in pair
    }
    assert {pair for pair in expected if END in pair} <= drawn


def test_writes_whose_channel_is_known_only_when_they_are_made_are_drawn_as_they_declare() -> None:
    entries = [
        Send("c", {}),
        ChannelWriteTupleEntry(lambda value: None, static=[("b", None, "perhaps")]),
        ChannelWriteEntry("c", None, skip_none=True),
        ChannelWriteEntry("d", None, skip_none=True, mapper=lambda value: value),
    ]
    nodes: dict[str, Any] = {"a": PregelNode(channels="a", triggers=["a"], writers=[ChannelWrite(entries)])}
    nodes |= {name: NodeBuilder().subscribe_only(name) for name in "bcd"}
    graph = StateGraphEngine(
        nodes=nodes, channels={name: LastValue(int) for name in "abcd"}, input_channels="a", output_channels="d"
    )
    assert _edges(graph.get_graph())[:3] == [f"{START} -> a", "a ..perhaps.. b", "a -> d"]


def test_a_held_channel_that_is_not_released_is_kept_when_its_node_starts_for_another_reason() -> None:
    plan = Plan(
        {
            "a": PlanNode(None, {}, ["in"], [Write("held"), Write("b")]),
            "b": PlanNode(None, {}, ["b", "held"], [Write("c")]),
            "c": PlanNode(None, {}, ["c"]),
        },
        inputs=("in",),
        held=frozenset({"held"}),
    )
    assert _edges(draw.picture(plan)) == [f"{START} -> a", "a -> b", "b -> c", "c .... b", f"c .... {END}"]


def test_a_join_waits_for_those_that_it_names_and_for_no_others() -> None:
    plan = Plan(
        {
            "a": PlanNode(None, {}, ["in"], [Write("join", "other"), Write("join", "a"), Write("b")]),
            "b": PlanNode(None, {}, ["b"], [Write("join", "b")]),
            "c": PlanNode(None, {}, ["join"]),
        },
        inputs=("in",),
        joins={"join": {"a", "b"}},
    )
    assert _edges(draw.picture(plan)) == [f"{START} -> a", "a -> b", "a -> c", "b -> c", f"c -> {END}"]


def test_a_join_that_has_started_its_node_waits_for_all_again() -> None:
    plan = Plan(
        {
            "a": PlanNode(None, {}, ["in"], [Write("join", "a"), Write("b")]),
            "b": PlanNode(None, {}, ["b"], [Write("join", "b")]),
            "c": PlanNode(None, {}, ["join"], [Write("d")]),
            "d": PlanNode(None, {}, ["d"], [Write("join", "a")]),
        },
        inputs=("in",),
        joins={"join": {"a", "b"}},
    )
    edges = [f"{START} -> a", "a -> b", "a -> c", "b -> c", "c -> d", f"d -> {END}"]
    assert _edges(draw.picture(plan)) == edges


def test_a_picture_without_an_entry_and_an_exit_takes_no_nodes_place() -> None:
    plan = _plan({"a": (["in"], [], [])})
    lone, whole = Graph(), _builder("x", "y").add_edge(START, "x").add_edge("x", "y").compile().get_graph()
    lone.add_node(None, "only")
    plain = _edges(draw.picture(plan))
    assert _edges(draw.picture(plan, subgraphs={"a": Graph()})) == plain
    assert _edges(draw.picture(plan, subgraphs={"a": lone})) == plain
    assert _edges(draw.picture(plan, subgraphs={"other": whole})) == plain
    assert "a:x" in draw.picture(plan, subgraphs={"a": whole}).nodes
