"""Tools written for LangGraph get from the graph what they declare."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, InjectedToolCallId, tool
from langgraph.prebuilt import InjectedState, InjectedStore, ToolRuntime
from langgraph.store.memory import InMemoryStore
from pydantic import BaseModel
from typing_extensions import TypedDict

from stategraph.agent.graphs import assemble
from stategraph.agent.invocation import injection
from stategraph.agent.ports import AgentContext
from stategraph.agent.settings.inputs import AgentInputs
from stategraph.agent.tools.tools_node import ToolsNode
from stategraph.constants import END, START
from stategraph.graph.message import add_messages
from stategraph.graph.state import StateGraph
from stategraph.testing.chat_model import ScriptedChatModel
from tests.conftest import Driver


class State(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]
    topic: str


def compiled(*tools: Any, store: Any = None, context_schema: Any = None) -> tuple[Any, ToolsNode]:
    model = ScriptedChatModel(replies=[])
    node = ToolsNode(assemble.make_agent(AgentInputs(agent_id="a", model=model, tools=tools)))
    builder = StateGraph(State, context_schema=context_schema).add_node("tools", node.as_runnable())
    return builder.add_edge(START, "tools").add_edge("tools", END).compile(store=store), node


def call(driver: Driver, graph: Any, name: str, context: Any = None, **args: Any) -> ToolMessage:
    answer = AIMessage(content="", tool_calls=[{"name": name, "args": args, "id": "c1"}])
    given = {"messages": [HumanMessage("hi"), answer], "topic": "tides"}
    made = driver.invoke(graph, given, context=context)["messages"][-1]
    assert isinstance(made, ToolMessage)
    return made


@tool
def whole(x: int, state: Annotated[dict[str, Any], InjectedState], call_id: Annotated[str, InjectedToolCallId]) -> str:
    """All of the state."""
    return f"{x} {state['topic']} {len(state['messages'])} {call_id}"


@tool
def key(
    topic: Annotated[str, InjectedState("topic")], notes: Annotated[list[str] | None, InjectedState("other")] = None
) -> str:
    """Keys of the state."""
    return f"{topic} {notes}"


@tool
def missing(other: Annotated[str, InjectedState("other")]) -> str:
    """A key that there is not."""
    return other


@tool
def remember(text: str, store: Annotated[Any, InjectedStore()]) -> str:
    """The store."""
    store.put(("notes",), "last", {"text": text})
    return store.get(("notes",), "last").value["text"]


@tool
async def surroundings(x: int, runtime: ToolRuntime[Any, State]) -> str:
    """The runtime."""
    runtime.stream_writer({"seen": x})
    return f"{x} {runtime.state['topic']} {runtime.tool_call_id} {runtime.context} {runtime.config['tags']}"


@tool
def surroundings_sync(runtime: ToolRuntime) -> str:
    """The runtime."""
    return (
        f"{runtime.state['topic']} {runtime.tool_call_id} {runtime.store} {sorted(each.name for each in runtime.tools)}"
    )


class Schema(BaseModel):
    x: int
    topic: Annotated[str, InjectedState("topic")]


class ByClass(BaseTool):
    name: str = "by_class"
    description: str = "By a schema of its own."
    args_schema: type[BaseModel] = Schema

    def _run(self, x: int, topic: str) -> str:
        return f"{x} {topic}"


def test_the_state_or_a_key_of_it_is_injected_and_the_model_cannot_give_it(driver: Driver) -> None:
    graph, _ = compiled(whole, key, missing, ByClass())
    assert call(driver, graph, "whole", x=1).content == "1 tides 2 c1"
    assert call(driver, graph, "whole", x=1, state={"topic": "forged", "messages": []}).content == "1 tides 2 c1"
    assert call(driver, graph, "key", topic="forged").content == "tides None"
    assert call(driver, graph, "by_class", x=1, topic="forged").content == "1 tides"
    assert "wants 'other' of the state" in str(call(driver, graph, "missing").content)


def test_the_store_is_injected_and_a_missing_one_named(driver: Driver) -> None:
    graph, _ = compiled(remember, store=InMemoryStore())
    assert call(driver, graph, "remember", text="x").content == "x"
    graph, _ = compiled(remember)
    assert "compiled without one" in str(call(driver, graph, "remember", text="x").content)


def test_a_runtime_is_made_with_what_there_is(driver: Driver) -> None:
    graph, _ = compiled(surroundings_sync)
    assert call(driver, graph, "surroundings_sync").content == "tides c1 None ['surroundings_sync']"


@pytest.mark.anyio
async def test_an_async_tool_streams_through_its_runtime_and_sees_the_callers_context() -> None:
    answer = AIMessage(content="", tool_calls=[{"name": "surroundings", "args": {"x": 1}, "id": "c1"}])
    given = {"messages": [HumanMessage("hi"), answer], "topic": "tides"}
    for schema, context in ((dict, {"user": "u"}), (AgentContext, AgentContext(context={"user": "u"}))):
        graph, _ = compiled(surroundings, context_schema=schema)
        chunks = [
            chunk
            async for chunk in graph.astream(given, {"tags": ["t"]}, context=context, stream_mode=["custom", "values"])
        ]
        assert ("custom", {"seen": 1}) in chunks
        assert chunks[-1][1]["messages"][-1].content == "1 tides c1 {'user': 'u'} ['t']"


def test_a_signature_is_looked_at_once(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    real = injection.Injection.of
    monkeypatch.setattr(injection.Injection, "of", lambda given: (looked.append(given.name), real(given))[1])
    graph, _ = compiled(whole, key)
    for _ in range(3):
        call(driver, graph, "whole", x=1)
    assert looked == ["whole"]


def test_what_is_injected_is_not_offered_to_the_model() -> None:
    for each in (whole, key, remember, surroundings, surroundings_sync):
        assert set(each.tool_call_schema.model_json_schema().get("properties", {})) <= {"x", "text"}
