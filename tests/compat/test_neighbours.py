"""What other distributions build on LangGraph runs on our engine: prebuilt agents, tool nodes, langchain's agents."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langchain_core.tools import tool
from typing_extensions import TypedDict

pytestmark = [
    pytest.mark.usefixtures("ours_on_the_path"),
    pytest.mark.filterwarnings("ignore:create_react_agent has been moved:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:AgentStatePydantic has been moved:DeprecationWarning"),
]

CALL = {"name": "add", "args": {"a": 1, "b": 2}, "id": "call", "type": "tool_call"}


class Scripted(GenericFakeChatModel):
    """Asks for the tool, then answers."""

    def bind_tools(self, tools: Any, **options: Any) -> "Scripted":
        return self


@pytest.fixture
def model() -> Scripted:
    return Scripted(messages=iter([AIMessage("", tool_calls=[CALL]), AIMessage("It is 3.")]))


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def said(state: dict[str, Any]) -> list[str]:
    return [message.content for message in state["messages"]]


QUESTION = {"messages": [HumanMessage("1 + 2?")]}
TALK = ["1 + 2?", "", "3", "It is 3."]


def test_the_engine_under_test_is_ours():
    import langgraph.graph

    assert Path(langgraph.graph.__file__).is_relative_to(Path(__file__).resolve().parents[2] / "compat")


def test_a_prebuilt_agent_calls_its_tool_and_remembers(model, driver):
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.prebuilt import create_react_agent

    agent = create_react_agent(model, [add], checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    assert said(driver.invoke(agent, QUESTION, config)) == TALK
    assert said(driver.get_state(agent, config).values) == TALK


def test_a_tool_is_given_the_state_the_store_and_the_runtime(model):
    from langgraph.prebuilt import InjectedState, InjectedStore, ToolRuntime, create_react_agent
    from langgraph.store.memory import InMemoryStore

    seen = {}

    @tool("add")
    def spy(
        a: int,
        b: int,
        runtime: ToolRuntime,
        state: Annotated[dict[str, Any], InjectedState],
        store: Annotated[Any, InjectedStore()],
    ) -> str:
        """Look around."""
        seen.update(question=state["messages"][0].content, store=store, call=runtime.tool_call_id)
        return "3"

    store = InMemoryStore()
    agent = create_react_agent(model, [spy], store=store)
    assert said(agent.invoke(QUESTION)) == TALK
    assert seen == {"question": "1 + 2?", "store": store, "call": "call"}


def test_a_tool_node_that_is_sent_bare_calls_finds_the_state_itself():
    from langgraph.graph import START, StateGraph, add_messages
    from langgraph.prebuilt import InjectedState, ToolNode
    from langgraph.types import Send

    class State(TypedDict):
        messages: Annotated[list[AnyMessage], add_messages]
        owner: str

    @tool("add")
    def spy(a: int, b: int, owner: Annotated[str, InjectedState("owner")]) -> str:
        """Look around."""
        return f"{owner} wants {a + b}"

    graph = StateGraph(State)
    graph.add_node("tools", ToolNode([spy]))
    graph.add_conditional_edges(START, lambda state: [Send("tools", [CALL])])
    assert said(graph.compile().invoke({"messages": [], "owner": "Ada"})) == ["Ada wants 3"]


@pytest.mark.parametrize("nested", [False, True])
def test_a_tool_that_was_sent_a_call_sees_the_state_as_its_node_would(nested):
    from langgraph.graph import START, StateGraph, add_messages
    from langgraph.prebuilt import ToolNode, ToolRuntime
    from langgraph.types import Send

    @dataclass
    class State:
        messages: Annotated[list[AnyMessage], add_messages] = field(default_factory=list)
        owner: str = "Ada"

    @tool("add")
    def spy(a: int, b: int, runtime: ToolRuntime[Any, Any]) -> str:
        """Look around."""
        return f"{type(runtime.state).__name__} of {runtime.state.owner}"

    graph = StateGraph(State)
    graph.add_node("tools", ToolNode([spy]))
    graph.add_conditional_edges(START, lambda state: [Send("tools", [CALL])])
    outer = StateGraph(State).add_node("inner", graph.compile()).add_edge(START, "inner") if nested else graph
    assert said(outer.compile().invoke({"owner": "Bo"})) == ["State of Bo"]


def test_only_a_task_that_was_sent_can_read_what_its_node_would_be_given(driver):
    """A graph inside such a task must not take its parent's state for its own."""
    from langgraph.graph import START, StateGraph
    from langgraph.types import Send

    seen = {}

    class State(TypedDict, total=False):
        owner: str

    def look(state, config):
        read = config["configurable"]["__pregel_read_state"]
        seen[config["metadata"]["langgraph_node"]] = read and read()
        return {}

    inner = StateGraph(State).add_node("inside", look).add_edge(START, "inside").compile()
    graph = StateGraph(State).add_node("plain", look).add_node("sent", look).add_node("graph", inner)
    graph.add_conditional_edges(START, lambda state: ["plain", Send("sent", {"owner": "else"}), Send("graph", {})])
    driver.invoke(graph.compile(), {"owner": "Ada"})
    assert seen == {"plain": None, "sent": {"owner": "Ada"}, "inside": None}


def test_a_tool_can_answer_with_a_command(model):
    from langchain_core.messages import ToolMessage
    from langgraph.prebuilt import create_react_agent
    from langgraph.types import Command

    @tool("add")
    def command(a: int, b: int) -> Command:
        """Answer with a command."""
        return Command(update={"messages": [ToolMessage(str(a + b), tool_call_id="call")]})

    assert said(create_react_agent(model, [command]).invoke(QUESTION)) == TALK


def test_a_langchain_agent_runs_sync_and_async(model):
    agents = pytest.importorskip("langchain.agents", reason="langchain is not installed")
    again = Scripted(messages=iter([AIMessage("", tool_calls=[CALL]), AIMessage("It is 3.")]))
    assert said(agents.create_agent(model, [add], name="adder").invoke(QUESTION)) == TALK
    assert said(asyncio.run(agents.create_agent(again, [add]).ainvoke(QUESTION))) == TALK
