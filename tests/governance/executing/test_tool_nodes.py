"""Graphs of `langgraph.prebuilt` that act through an executor, and LangChain's agents where they are installed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, create_react_agent
from langgraph.types import Command

from stategraph import AgentRuntime
from stategraph.governance.gates.agents import ActionGate
from stategraph.governance.gates.middleware import action_middleware
from stategraph.governance.gates.toolnode import ToolCallGate
from stategraph.governance.labels import SqlLabels
from stategraph.governance.session import Session
from stategraph.run.graphs.tool_hooks import ToolDeniedError, run_tool
from stategraph.run.run import Run
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from tests.governance.executing.kit import ANN, BOB, FLOW, World, session, world

THREAD: Any = {"configurable": {"thread_id": "t"}}
MINE = session(ANN, approver=BOB)
CALLS = [
    {"name": "look_up", "args": {"order": "7"}, "id": "1", "type": "tool_call"},
    {"name": "send_mail", "args": {"to": "ann"}, "id": "2", "type": "tool_call"},
    {"name": "refund", "args": {"order": "7", "cents": 500}, "id": "3", "type": "tool_call"},
]
ANSWER = script.reply("", *(script.call(each["name"], each["args"], id=each["id"]) for each in CALLS))


@pytest.fixture(params=["sync", "async"])
def go(request: pytest.FixtureRequest) -> Any:
    """Run a graph, by either body."""

    def sync(graph: Any, given: Any) -> Any:
        with Session(MINE).active_sync("run-1", "t"):
            return graph.invoke(given, THREAD)

    async def anew(graph: Any, given: Any) -> Any:
        async with Session(MINE).active("run-1", "t"):
            return await graph.ainvoke(given, THREAD)

    return sync if request.param == "sync" else lambda graph, given: asyncio.run(anew(graph, given))


@pytest.fixture
def worlds(tmp_path: Path) -> Iterator[Any]:
    from contextlib import ExitStack

    with ExitStack() as stack:
        yield lambda: stack.enter_context(world(tmp_path))


def tools_of(made: World) -> list[Any]:
    office = made.office
    return [tool(each) for each in (office.look_up, office.send_mail, office.refund, office.drop_all)]


def node_of(made: World, **options: Any) -> Any:
    gate = ToolCallGate(made.executor())
    return ToolNode(tools_of(made), wrap_tool_call=gate.wrap, awrap_tool_call=gate.awrap, **options)


def graph_of(made: World, saver: Any, calls: Any = None) -> Any:
    builder = StateGraph(MessagesState)
    builder.add_node("model", lambda _: {"messages": [AIMessage("", tool_calls=calls or CALLS)]})
    builder.add_node("tools", node_of(made))
    builder.add_edge(START, "model").add_edge("model", "tools").add_edge("tools", END)
    return builder.compile(checkpointer=saver)


def results(state: Any) -> list[str]:
    return [each.content for each in state["messages"] if isinstance(each, ToolMessage)]


def test_a_tool_node_asks_about_all_calls_together_and_goes_on_elsewhere(worlds: Any, go: Any) -> None:
    saver, first = InMemorySaver(), worlds()
    state = go(graph_of(first, saver), {"messages": [HumanMessage("go")]})
    (asked,) = state["__interrupt__"]
    assert [each["tool_call_id"] for each in asked.value["action_requests"]] == ["2", "3"]
    assert first.office.done == []
    second = worlds()
    answers = {"decisions": [{"type": "approve"}, {"type": "reject", "message": "no"}]}
    state = go(graph_of(second, saver), Command(resume=answers))
    assert results(state)[:2] == ["7: on its way", "sent to ann"]
    assert results(state)[2].startswith("Not executed (approval_denied): 'bob' denied it: no.")
    assert sorted(second.office.done) == [("look_up", "7"), ("send_mail", "ann", "")]


@pytest.mark.filterwarnings("ignore:create_react_agent has been moved")
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_react_agent_acts_through_its_tool_node(worlds: Any, go: Any, version: Any) -> None:
    saver, first = InMemorySaver(), worlds()
    agent = create_react_agent(ScriptedChatModel(replies=[ANSWER]), node_of(first), checkpointer=saver, version=version)
    state = go(agent, {"messages": [("user", "go")]})
    asked = state["__interrupt__"]
    assert len(asked) == (1 if version == "v1" else 2)
    second = worlds()
    model = ScriptedChatModel(replies=["Done."])
    agent = create_react_agent(model, node_of(second), checkpointer=saver, version=version)
    each = {"type": "approve"}
    answers: Any = [each, each] if version == "v1" else {question.id: each for question in asked}
    state = go(agent, Command(resume=answers))
    assert results(state) == ["7: on its way", "sent to ann", "refunded 500"]
    done = sorted([*first.office.done, *second.office.done])
    assert done == [("look_up", "7"), ("refund", "7", 500), ("send_mail", "ann", "")]


def test_labels_of_what_was_read_count_for_later_calls(worlds: Any, go: Any) -> None:
    made = worlds()
    labels = SqlLabels.from_url(f"sqlite:///{made.folder / 'labels.db'}")
    gate = ToolCallGate(made.executor(FLOW, labels=labels))
    builder = StateGraph(MessagesState)
    node = ToolNode(tools_of(made), wrap_tool_call=gate.wrap, awrap_tool_call=gate.awrap)
    builder.add_node("read", node)
    builder.add_node("model", lambda _: {"messages": [AIMessage("", tool_calls=CALLS[1:2])]})
    builder.add_node("send", node)
    builder.add_edge(START, "read").add_edge("read", "model").add_edge("model", "send").add_edge("send", END)
    state = go(builder.compile(), {"messages": [AIMessage("", tool_calls=CALLS[:1])]})
    assert results(state)[0] == "7: on its way"
    assert results(state)[1].startswith("Not executed (secret_read_before): ")
    assert made.office.done == [("look_up", "7")]
    labels.close()


def test_edits_reach_the_tool(worlds: Any, go: Any) -> None:
    saver, first = InMemorySaver(), worlds()
    go(graph_of(first, saver, CALLS[1:2]), {"messages": [HumanMessage("go")]})
    second = worlds()
    edit = {"type": "edit", "edited_action": {"name": "send_mail", "args": {"to": "cleo", "body": "hi"}}}
    state = go(graph_of(second, saver, CALLS[1:2]), Command(resume={"decisions": [edit]}))
    assert results(state) == ["sent to cleo"]
    assert second.office.done == [("send_mail", "cleo", "hi")]


def test_an_error_that_the_node_does_not_handle_is_raised_as_before_and_told(worlds: Any, go: Any) -> None:
    made = worlds()
    made.office.raises = LookupError("who?")
    calls = [{**CALLS[1], "name": "send_mail"}]
    gate = ToolCallGate(made.executor(None))
    builder = StateGraph(MessagesState)
    node = ToolNode([tool(made.office.send_mail)], wrap_tool_call=gate.wrap, awrap_tool_call=gate.awrap)
    builder.add_node("tools", node).add_edge(START, "tools").add_edge("tools", END)
    with pytest.raises(LookupError, match="who"):
        go(builder.compile(), {"messages": [AIMessage("", tool_calls=calls)]})
    assert made.log.types == ["action.started", "action.failed"]


def test_the_agents_of_langchain_act_through_a_middleware(worlds: Any, go: Any) -> None:
    agents = pytest.importorskip("langchain.agents", reason="langchain is in the environment of `make traps PEERS=1`")
    saver, first = InMemorySaver(), worlds()

    def agent(made: World, *replies: Any) -> Any:
        return agents.create_agent(
            ScriptedChatModel(replies=list(replies)),
            tools_of(made),
            middleware=[action_middleware(made.executor())],
            checkpointer=saver,
        )

    state = go(agent(first, ANSWER), {"messages": [("user", "go")]})
    (asked,) = state["__interrupt__"]
    assert [each["name"] for each in asked.value["action_requests"]] == ["send_mail", "refund"]
    second = worlds()
    edit = {"type": "edit", "edited_action": {"name": "send_mail", "args": {"to": "cleo", "body": "hi"}}}
    answers = {"decisions": [edit, {"type": "respond", "message": "It was paid back already."}]}
    state = go(agent(second, "Done."), Command(resume=answers))
    assert results(state) == ["7: on its way", "sent to cleo", "It was paid back already."]
    assert sorted(second.office.done) == [("look_up", "7"), ("send_mail", "cleo", "hi")]


@pytest.mark.anyio
async def test_a_run_of_a_graph_acts_through_the_gate_of_the_run_and_nothing_passes_it_by(worlds: Any) -> None:
    def graph(made: World, wrapped: bool) -> Any:
        builder = StateGraph(MessagesState)
        builder.add_node("model", lambda _: {"messages": [AIMessage("", tool_calls=CALLS[1:2])]})
        builder.add_node("tools", ToolNode(tools_of(made), awrap_tool_call=run_tool if wrapped else None))
        builder.add_edge(START, "model").add_edge("model", "tools").add_edge("tools", END)
        return builder.compile()

    async with AgentRuntime(checkpointer=InMemorySaver()) as runtime:

        async def run(made: World, wrapped: bool = True) -> Run:
            return await runtime.create_run(
                run_id="r",
                graph=graph(made, wrapped),
                tool_gates=[ActionGate(made.executor())],
                session=Session(MINE),
                human_in_the_loop={"enabled": True},
            )

        first, second = worlds(), worlds()
        begun = await run(first)
        await begun.process_stream({"messages": [("user", "go")]}, THREAD)
        assert [each.payload["action_requests"][0]["name"] for each in begun.get_interrupts()] == ["send_mail"]
        again = await run(second)
        await again.resume([{"type": "approve"}], THREAD)
        assert [each.content for each in again.get_run_messages() if isinstance(each, ToolMessage)] == ["sent to ann"]
        assert [*first.office.done, *second.office.done] == [("send_mail", "ann", "")]
        assert second.log.types.count("action.started") == 1
        third = worlds()
        bare = await run(third, wrapped=False)
        with pytest.raises(ToolDeniedError, match="a gate of the run has to execute it"):
            await bare.process_stream({"messages": [("user", "go")]}, {"configurable": {"thread_id": "other"}})
        assert third.office.done == []
