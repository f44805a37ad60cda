"""Compiling: what the statements of a builder become, and what that costs."""

import operator
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from pydantic import BaseModel
from typing_extensions import TypedDict

from stategraph.constants import END, START
from stategraph.engine.compile import subgraphs
from stategraph.engine.compile.node import DEFAULT_BOUND, NodeBuilder, PregelNode
from stategraph.engine.compile.write import SKIP_WRITE, ChannelWrite, ChannelWriteEntry, assemble
from stategraph.errors import InvalidUpdateError
from stategraph.graph import migrate
from stategraph.graph.compiled import CompiledStateGraph
from stategraph.graph.state import StateGraph
from stategraph.types import Send


class State(TypedDict):
    log: Annotated[list[str], operator.add]


@dataclass
class Record:
    log: list[str]


class Model(BaseModel):
    log: list[str]


def nothing(state: State) -> None:
    return None


def diamond(schema: Any = State) -> StateGraph:
    builder = StateGraph(schema)
    for name in "abcd":
        builder.add_node(name, lambda state: None)
    builder.add_edge(START, "a").add_edge("a", "b").add_edge("a", "c").add_edge(["b", "c"], "d").add_edge("d", END)
    return builder


def test_channels_are_named_as_stored_checkpoints_name_them() -> None:
    graph = diamond().compile()
    names = {"log", "__start__", "branch:to:a", "branch:to:b", "branch:to:c", "branch:to:d", "join:b+c:d"}
    assert names <= set(graph.channels)
    assert graph.nodes["d"].triggers == ["branch:to:d", "join:b+c:d"]
    assert graph.input_channels == "__start__"


def test_all_plain_edges_of_a_node_are_one_writer() -> None:
    graph = diamond().compile()
    assert [len(node.writers) for node in graph.nodes.values()] == [1] * 5
    (writer,) = graph.nodes["a"].writers
    assert isinstance(writer, ChannelWrite)
    assert writer.pairs(None) == [("branch:to:b", None), ("branch:to:c", None)]


def test_the_order_of_edges_does_not_depend_on_the_order_they_were_added_in() -> None:
    forward, backward = diamond(), diamond()
    forward.add_edge("a", "d").add_edge("b", "a")
    backward.add_edge("b", "a").add_edge("a", "d")
    pairs = [graph.compile().nodes["a"].writers[0].pairs(None) for graph in (forward, backward)]
    assert pairs[0] == pairs[1]


def test_an_edge_attached_after_a_router_is_written_after_it() -> None:
    graph = diamond().add_conditional_edges("a", lambda state: "d").compile()
    graph.attach_edge("a", "d")
    assert [type(writer).__name__ for writer in graph.nodes["a"].writers] == [
        "StateWriter",
        "BranchWriter",
        "ChannelWrite",
    ]


def test_a_deferred_node_gets_channels_that_wait_for_the_end() -> None:
    builder = StateGraph(State).add_node("a", nothing).add_node("b", nothing).add_node("z", nothing, defer=True)
    builder.add_edge(START, "a").add_edge(START, "b").add_edge(["a", "b"], "z")
    graph = builder.compile()
    kinds = {name: type(graph.channels[name]).__name__ for name in ("branch:to:z", "join:a+b:z", "branch:to:a")}
    assert kinds == {
        "branch:to:z": "LastValueAfterFinish",
        "join:a+b:z": "NamedBarrierValueAfterFinish",
        "branch:to:a": "EphemeralValue",
    }


@pytest.mark.parametrize("schema", [Record, Model])
def test_classes_are_built_from_the_state_and_dicts_are_passed_on(schema: Any) -> None:
    graph = diamond(schema).compile()
    mapper = graph.nodes["a"].mapper
    assert mapper is not None
    assert mapper({"log": ["x"]}) == schema(log=["x"])
    assert graph.nodes["b"].mapper is mapper
    assert diamond().compile().nodes["a"].mapper is None


def test_policies_and_metadata_reach_the_node() -> None:
    builder = StateGraph(State).add_node("a", nothing, metadata={"k": 1}).set_entry_point("a")
    node = builder.compile().nodes["a"]
    assert node.metadata == {"k": 1}
    assert builder.compile().nodes[START].tags == ["langsmith:hidden"]


def test_signatures_are_read_when_nodes_are_added_and_never_at_compile_time(monkeypatch: pytest.MonkeyPatch) -> None:
    import inspect
    import typing

    builder = diamond()
    for module, name in ((inspect, "signature"), (typing, "get_type_hints")):
        monkeypatch.setattr(module, name, lambda *args, **kwargs: pytest.fail("nothing new is to be learnt here"))
    builder.compile()


def test_one_function_as_many_nodes_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from stategraph.graph import assembly

    looked: list[Any] = []
    inner = assembly.node_hints
    monkeypatch.setattr(assembly, "node_hints", lambda action: looked.append(action) or inner(action))
    builder = StateGraph(State)
    for number in range(10):
        builder.add_node(f"n{number}", nothing)
    assert looked == [nothing]


# --- nodes and writers ---


def test_a_node_is_a_runnable_of_its_work_and_its_writers() -> None:
    node = NodeBuilder().subscribe_only("in").do(lambda x: x + 1).write_to("out", double=lambda x: 2 * x).build()
    sent: list[Any] = []
    assert node.node is not None
    node.node.invoke(1, {"configurable": {"__pregel_send": sent.extend}})
    assert sent == [("out", 2), ("double", 4)]
    assert node.node is node.node


def test_a_node_that_does_and_writes_nothing_has_nothing_to_run() -> None:
    assert PregelNode(channels="x", triggers=["x"]).node is None
    assert PregelNode(channels="x", triggers=["x"]).bound is DEFAULT_BOUND


def test_writers_added_later_are_part_of_the_runnable() -> None:
    node = PregelNode(channels="x", triggers=["x"], writers=[ChannelWrite([ChannelWriteEntry("a")])])
    first = node.node
    node.writers.append(ChannelWrite([ChannelWriteEntry("b")]))
    assert node.node is not first
    (merged,) = node.flat_writers
    assert isinstance(merged, ChannelWrite)
    assert merged.pairs(1) == [("a", 1), ("b", 1)]


def test_a_copy_of_a_node_differs_in_what_was_replaced_only() -> None:
    node = NodeBuilder().subscribe_to("a", "b").meta("tag", key=1).build()
    copy = node.copy({"channels": ["a"]})
    assert (copy.channels, copy.triggers, copy.tags, copy.metadata) == (["a"], ["a", "b"], ["tag"], {"key": 1})
    assert node.channels == ["a", "b"]


def test_a_single_channel_and_several_do_not_mix() -> None:
    with pytest.raises(ValueError, match="subscribe_to for several"):
        NodeBuilder().subscribe_to("a").subscribe_only("b")
    with pytest.raises(ValueError, match="bare value"):
        NodeBuilder().subscribe_only("a").subscribe_to("b")
    with pytest.raises(ValueError, match="bare value"):
        NodeBuilder().subscribe_only("a").read_from("b")


def test_entries_say_what_is_written() -> None:
    entries = [
        ChannelWriteEntry("as it is"),
        ChannelWriteEntry("constant", 7),
        ChannelWriteEntry("mapped", mapper=lambda x: x * 2),
        ChannelWriteEntry("skipped", mapper=lambda x: SKIP_WRITE),
        ChannelWriteEntry("none", None, skip_none=True),
        Send("node", 1),
    ]
    assert assemble(entries, 5) == [
        ("as it is", 5),
        ("constant", 7),
        ("mapped", 10),
        ("__pregel_tasks", Send("node", 1)),
    ]


@pytest.mark.parametrize(
    ("entry", "error"), [(ChannelWriteEntry("__pregel_tasks", 1), InvalidUpdateError), ("text", ValueError)]
)
def test_entries_that_cannot_be_written_are_refused(entry: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        assemble([entry], None)


def test_a_foreign_writer_keeps_a_node_off_the_fast_path() -> None:
    from langchain_core.runnables import RunnableLambda

    own = ChannelWrite([ChannelWriteEntry("a")])
    foreign = ChannelWrite.register_writer(RunnableLambda(lambda x: x))
    assert PregelNode(channels="x", triggers=["x"], writers=[own]).fast_writers == (own,)
    assert PregelNode(channels="x", triggers=["x"], writers=[own, foreign]).fast_writers is None


# --- subgraphs ---


def test_a_graph_that_a_function_calls_is_its_subgraph() -> None:
    inner = diamond().compile()

    class Holder:
        graph = inner

    holder = Holder()

    def captured(state: State) -> Any:
        return inner.invoke(state)

    def through_an_attribute(state: State) -> Any:
        return [holder.graph.invoke(state) for _ in range(2)]

    def elsewhere(state: State) -> Any:
        return {"inner": [inner][:0]}

    builder = StateGraph(State).add_node("itself", inner).add_node(captured).add_node(through_an_attribute)
    graph = builder.add_node("none", nothing).set_entry_point("itself").compile()
    assert [len(graph.nodes[name].subgraphs) for name in ("itself", "captured", "through_an_attribute", "none")] == [
        1,
        1,
        1,
        0,
    ]
    assert graph.nodes["captured"].subgraphs[0] is inner
    assert inner in subgraphs.function_nonlocals(elsewhere)


def test_a_graph_without_checkpoints_is_no_subgraph() -> None:
    inner = diamond().compile(checkpointer=False)
    graph = StateGraph(State).add_node("inner", inner).set_entry_point("inner").compile()
    assert list(graph.nodes["inner"].subgraphs) == []


# --- older checkpoints ---


def checkpoint(versions: dict[str, int], seen: dict[str, dict[str, int]], values: dict[str, Any], v: int = 1) -> Any:
    return {"v": v, "channel_versions": versions, "versions_seen": seen, "channel_values": values}


def test_triggers_of_older_checkpoints_move_to_the_channels_of_today() -> None:
    old = checkpoint(
        {"start:a": 3, "branch:a:route:b": 4, "branch:b:route:gone": 2, "log": 1},
        {"a": {"start:a": 2}, "__interrupt__": {"start:a": 3, "branch:a:route:b": 1}},
        {"branch:a:route:b": "a"},
    )
    migrate.move_triggers(old, {"a", "b"}, set())
    assert old["channel_versions"] == {"branch:to:a": 3, "branch:to:b": 4, "branch:b:route:gone": 2, "log": 1}
    assert old["versions_seen"] == {
        "a": {"branch:to:a": 2},
        "__interrupt__": {"branch:to:a": 3, "branch:to:b": 1},
    }
    assert old["channel_values"] == {"branch:to:b": "a"}


def test_a_trigger_named_after_a_node_moves_to_all_nodes_that_follow_it() -> None:
    old = checkpoint({"a": 5, "branch:to:b": 6}, {"b": {"a": 4}, "__interrupt__": {"a": 5}}, {"a": "done"})
    migrate.move_triggers(old, {"a", "b", "c", START}, {("a", "b"), ("a", "c"), ("c", END), (START, "a")})
    assert old["channel_versions"] == {"branch:to:b": 6, "branch:to:c": 5}
    assert old["versions_seen"] == {"b": {"branch:to:b": 4}, "__interrupt__": {"branch:to:b": 5, "branch:to:c": 5}}
    assert old["channel_values"] == {"branch:to:b": "done", "branch:to:c": "done"}


def test_a_compiled_graph_brings_an_older_checkpoint_up_to_date_under_the_name_that_langgraph_has_for_it() -> None:
    graph: Any = StateGraph(State).add_node("a", lambda _: {"log": ["a"]}).add_edge(START, "a").compile()
    old = checkpoint({"start:a": 3, "log": 1}, {"a": {"start:a": 2}}, {})
    graph._migrate_checkpoint(old)
    assert old["channel_versions"] == {"branch:to:a": 3, "log": 1}
    assert old["versions_seen"] == {"a": {"branch:to:a": 2}}


@pytest.mark.parametrize("v", [3, 4])
def test_checkpoints_of_today_stay_as_they_are(v: int) -> None:
    new = checkpoint({"start:a": 3}, {}, {}, v=v)
    migrate.move_triggers(new, {"a"}, set())
    assert new == checkpoint({"start:a": 3}, {}, {}, v=v)


def test_the_compiled_class_is_public_where_it_is_built() -> None:
    assert type(diamond().compile()) is CompiledStateGraph
