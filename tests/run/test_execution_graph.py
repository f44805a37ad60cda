"""The graph of a run as its host reads it: the steps by id and by agent, and the messages."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolCall

from stategraph.agent.facts import ModelCall, Place
from stategraph.run.events.execution_graph import ExecutionGraph
from stategraph.run.events.handler_registry import EventHandlerRegistry
from stategraph.testing.clock import FakeClock


def graph_of(*agents: str, several: bool = True) -> ExecutionGraph:
    """A graph in which each of these agents has begun a message and called a tool, in this order."""
    nothing: Any = None
    graph = ExecutionGraph("r", nothing, EventHandlerRegistry(), (), several_agents=several)
    for agent_id in agents:
        about = ModelCall(Place(agent_id, agent_id, "", {}), "openai", "m", [HumanMessage("hi")], 1)
        list(graph.tracker.chunk(about, AIMessageChunk("looking")))
        list(graph.tracker.end(about, AIMessage("looking", tool_calls=[ToolCall(name="n", args={}, id="call_1")])))
    return graph


def test_steps_are_read_by_id_by_agent_and_by_index() -> None:
    graph = graph_of("a", "b")
    steps = graph.get_run_steps()
    assert [step["index"] for step in steps] == [0, 1, 2, 3]
    assert graph.get_run_step(steps[1]["id"]) == steps[1]
    assert graph.get_run_step("unknown") is None
    assert graph.get_run_steps("a") == steps[:2]
    assert graph.get_run_steps("b") == steps[2:]
    assert graph.get_run_steps("c") == []
    assert graph.get_run_steps_by_agent() == {"a": steps[:2], "b": steps[2:]}
    assert graph.get_active_agent_ids() == ["a", "b"]
    assert graph.get_content_part_agent_map() == {0: "a", 1: "a", 2: "b", 3: "b"}
    assert graph.tool_call_step_ids == {"call_1": steps[3]["id"]}


def test_steps_of_the_only_agent_do_not_name_it() -> None:
    graph = graph_of("a", several=False)
    assert len(graph.get_run_steps()) == 2
    assert graph.get_run_steps("a") == []
    assert graph.get_run_steps_by_agent() == {}
    assert graph.get_active_agent_ids() == []
    assert graph.get_content_part_agent_map() == {}


def test_a_new_turn_forgets_the_messages_and_unless_content_goes_on_the_steps() -> None:
    graph = graph_of("a")
    graph.keep_messages([AIMessage("kept")])
    graph.reset_values(keep_content=True)
    assert graph.get_run_messages() == []
    assert graph.get_content_parts() == []
    assert len(graph.get_run_steps()) == 2
    graph.reset_values()
    assert graph.get_run_steps() == []
    assert graph.tool_call_step_ids == {}


def test_messages_outlive_the_steps_and_are_the_readers_to_change() -> None:
    graph = graph_of("a")
    brought: list[Any] = [AIMessage("kept")]
    graph.keep_messages(brought)
    graph.clear_heavy_state()
    brought.append(AIMessage("later"))
    graph.get_run_messages().clear()
    assert graph.get_run_steps() == []
    assert graph.get_run_messages() == [AIMessage("kept")]
    assert graph.get_content_parts() == [{"type": "text", "text": "kept"}]


def test_steps_are_stamped_with_milliseconds_of_the_clock_in_use() -> None:
    clock = FakeClock()
    clock.advance(2.5)
    with clock.for_runs():
        (step, *_) = graph_of("a").get_run_steps()
        assert step["created_at"] == 2_500
