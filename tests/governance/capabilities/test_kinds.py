"""Capabilities of functions, tools, graphs and agents: what they say of themselves, and how they are executed."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.tools import ToolException
from langchain_core.tools import tool as as_tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.prebuilt import InjectedState

from stategraph import END, START, Command, MessagesState, StateGraph, interrupt
from stategraph.agent.settings.inputs import AgentInputs, GraphEdge
from stategraph.errors import ConfigurationError
from stategraph.governance.actions import RunRef
from stategraph.governance.capabilities import agents, digests, functions, graphs
from stategraph.governance.capabilities.functions import capability
from stategraph.governance.capabilities.port import CapabilityCall, Offer
from stategraph.governance.capabilities.traits import Traits
from stategraph.governance.registry import Registry
from stategraph.governance.view import CapabilityGraph
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from tests.governance.capabilities.given import Acting, context

pytestmark = pytest.mark.anyio


def called(offer: Offer, **arguments: Any) -> CapabilityCall:
    return CapabilityCall(offer.capability, arguments, "call-1", RunRef("run"), context())


@capability(risk="read", version="2", source="shop", idempotent=True, effect_key="price:{item}")
def price(item: str, currency: str = "EUR") -> dict[str, int]:
    """Return the price of an item.

    Args:
        item: The item.
        currency: The currency.
    """
    return {"cents": len(item) * 100, "currency": len(currency)}


async def test_a_function_stays_what_it_is_and_becomes_a_capability() -> None:
    assert price("ab")["cents"] == 200
    offer = functions.offer(price)
    made = offer.capability
    assert (made.id, made.risk, made.idempotent, made.effect_key) == (
        "function:shop/price@2",
        "read",
        True,
        "price:{item}",
    )
    assert made.description.startswith("Return the price") and made.input_schema["required"] == ["item"]
    assert made.output_schema == {"additionalProperties": {"type": "integer"}, "type": "object"}
    assert (await offer.executor.execute(called(offer, item="abc"))).content == '{"cents": 300, "currency": 3}'
    assert offer.executor.execute_sync(called(offer, item="a")).content == '{"cents": 100, "currency": 3}'


async def test_a_tool_keeps_its_artifact_and_what_it_raises_is_raised() -> None:
    @as_tool(response_format="content_and_artifact")
    async def find(word: str) -> tuple[str, list[int]]:
        """Find a word."""
        if not word:
            raise ToolException("an empty word")
        return f"found {word}", [1, 2]

    offer = functions.offer(find, Traits(risk="read", title="Find"))
    result = await offer.executor.execute(called(offer, word="x"))
    assert (result.content, result.artifact, offer.capability.title) == ("found x", [1, 2], "Find")
    with pytest.raises(ToolException, match="an empty word"):
        await offer.executor.execute(called(offer, word=""))
    find.handle_tool_error = True  # it turns the error into words, and it is still one
    with pytest.raises(ToolException, match="an empty word"):
        await offer.executor.execute(called(offer, word=""))


def test_a_tool_that_takes_values_from_the_graph_is_executed_in_place_alone() -> None:
    def count(messages: Annotated[list, InjectedState("messages")]) -> int:
        """Count the messages."""
        return len(messages)

    with pytest.raises(ConfigurationError, match="takes values from the graph"):
        functions.offer(as_tool(count))
    offer = functions.offer(as_tool(count), in_place=True)
    assert offer.executor is None and offer.capability.input_schema["properties"] == {}


def made(body: str) -> Any:
    names: dict[str, Any] = {}
    exec(f"def f(x: int) -> int:\n    'Do it.'\n    {body}", names)
    return names["f"]


def test_a_digest_covers_the_code_and_is_the_same_in_every_process() -> None:
    one = functions.offer(made("return x in {'a', 'b', 'c', 'd'} or (lambda y: y + 1)(x)")).capability.digest
    assert one == functions.offer(made("return x in {'a', 'b', 'c', 'd'} or (lambda y: y + 1)(x)")).capability.digest
    assert one != functions.offer(made("return x in {'a', 'b', 'c', 'd'} or (lambda y: y + 2)(x)")).capability.digest
    program = (
        "from stategraph.governance.capabilities import functions\nnames = {}\n"
        "exec(\"def f(x: int) -> int:\\n    'Do it.'\\n    return x in {'a', 'b', 'c', 'd'} or (lambda y: y + 1)(x)\", "
        "names)\nprint(functions.offer(names['f']).capability.digest)"
    )
    env = {"PYTHONHASHSEED": "7", "PATH": ""}  # sets have another order there
    found = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == one
    assert digests.of_code(print) is None and digests.of_code(partial(price, "a")) == digests.of_code(price)


def test_a_function_that_cannot_be_a_capability_is_named() -> None:
    def silent(x):
        return x

    with pytest.raises(ConfigurationError, match="silent"):
        functions.offer(silent)
    with pytest.raises(ConfigurationError, match="'price' cannot be marked: write @capability below @tool"):
        capability(risk="read")(as_tool(price))
    assert functions.offer(as_tool(price)).capability.id == "function:shop/price@2"
    with pytest.raises(ConfigurationError, match="'price' of 'shop' cannot be made a capability"):
        functions.offer(price, Traits(source="shop", version=""))


# Graphs.


class Refund(TypedDict):
    order: str
    cents: int
    note: str


def refunds(sure: bool = False, checkpointer: Any = None) -> Any:
    def pay(state: Refund) -> dict[str, str]:
        answer = interrupt({"refund": state["order"]}) if sure else "paid"
        return {"note": f"{answer} {state['cents']}"}

    graph = StateGraph(Refund)
    graph.add_node("pay", pay)
    graph.add_edge(START, "pay")
    graph.add_edge("pay", END)
    return graph.compile(name="refund", checkpointer=checkpointer)


async def test_a_graph_is_given_its_input_and_returns_its_output() -> None:
    traits = Traits(description="Refund an order.", risk="destructive")
    offer = graphs.offer(refunds(), traits)
    assert offer.capability.id == "graph:graphs/refund@1"
    assert set(offer.capability.input_schema["properties"]) == {"order", "cents", "note"}
    result = await offer.executor.execute(called(offer, order="A1", cents=5, note=""))
    assert result.content == '{"order":"A1","cents":5,"note":"paid 5"}'
    noted = graphs.offer(refunds(), traits, output="note")
    assert noted.executor.execute_sync(called(noted, order="A1", cents=6, note="")).content == "paid 6"
    assert graphs.offer(refunds(), traits).capability.digest == offer.capability.digest
    assert graphs.offer(refunds(sure=True), traits).capability.digest == offer.capability.digest  # a closure's value

    other = StateGraph(Refund)
    other.add_node("pay", lambda state: {"note": "stolen"})
    other.add_edge(START, "pay")
    other.add_edge("pay", END)
    assert graphs.offer(other.compile(name="refund"), traits).capability.digest != offer.capability.digest
    with pytest.raises(ConfigurationError, match="needs a description"):
        graphs.offer(refunds())
    with pytest.raises(ConfigurationError, match="needs a name"):
        graphs.offer(other.compile(), traits)


async def test_a_graph_of_messages_is_given_a_task() -> None:
    def answer(state: MessagesState) -> dict[str, list[AnyMessage]]:
        return {"messages": [AIMessage(f"done: {state['messages'][-1].content}")]}

    graph = StateGraph(MessagesState)
    graph.add_node("answer", answer)
    graph.add_edge(START, "answer")
    offer = graphs.offer(graph.compile(name="helper"), Traits(description="Help."))
    assert list(offer.capability.input_schema["properties"]) == ["task"]
    assert (await offer.executor.execute(called(offer, task="sweep"))).content == "done: sweep"


async def test_a_nested_graph_pauses_and_resumes_with_the_graph_that_calls_its_tool() -> None:
    registry = Registry(graphs.offer(refunds(sure=True), Traits(description="Refund an order."), output="note"))
    (tool,) = CapabilityGraph.build(registry, context()).tools(Acting(registry), context())

    class Asked(TypedDict):
        result: str

    async def use(state: Asked) -> dict[str, str]:
        call = {"name": "refund", "args": {"order": "A1", "cents": 7, "note": ""}, "id": "c1", "type": "tool_call"}
        return {"result": (await tool.ainvoke(call)).content}

    outer = StateGraph(Asked)
    outer.add_node("use", use)
    outer.add_edge(START, "use")
    graph, config = outer.compile(checkpointer=InMemorySaver()), {"configurable": {"thread_id": "t"}}
    waiting = await graph.ainvoke({"result": ""}, config)
    assert waiting["__interrupt__"][0].value == {"refund": "A1"}
    assert (await graph.ainvoke(Command(resume="approved"), config))["result"] == "approved 7"


# Agents.


def agent(*replies: Any, **more: Any) -> AgentInputs:
    return AgentInputs(agent_id="writer", model=ScriptedChatModel(replies=list(replies)), instructions="Write.", **more)


async def test_an_agent_works_on_a_task_and_its_last_answer_is_the_result() -> None:
    offer = agents.offer(agent("A poem about rain."), Traits(description="Writes poems.", risk="read"))
    assert (offer.capability.id, offer.capability.risk) == ("agent:agents/writer@1", "read")
    assert (await offer.executor.execute(called(offer, description="rain"))).content == "A poem about rain."
    again = agents.offer(agent("A poem."), Traits(description="Writes poems."))
    assert again.executor.execute_sync(called(again, description="rain")).content == "A poem."
    assert again.capability.digest == offer.capability.digest
    changed = agents.offer(agent("x", additional_instructions="Lie."), Traits(description="Writes poems."))
    assert changed.capability.digest != offer.capability.digest
    with pytest.raises(ConfigurationError, match="needs a description"):
        agents.offer(agent("x"), Traits())


async def test_an_agent_that_is_a_capability_uses_its_own_tools() -> None:
    said = agent(script.reply(script.call("price", item="abc")), "It costs 3 euros.", tools=[price])
    offer = agents.offer(said, Traits(description="Knows prices."))
    assert (await offer.executor.execute(called(offer, description="abc?"))).content == "It costs 3 euros."


def test_the_tools_of_agents_are_known_and_executed_in_place() -> None:
    helper = {"type": "helper", "description": "Helps.", "agent_inputs": agent("x")}
    own = {"type": "poet", "description": "Writes.", "agent_inputs": agent("x"), "tool_name": "ask_poet"}
    desk = AgentInputs(
        agent_id="desk", model=ScriptedChatModel(replies=["x"]), tools=[price], subagent_configs=[helper, own]
    )
    hosted = AgentInputs(
        agent_id="hosted",
        model=ScriptedChatModel(replies=["x"]),
        tool_definitions=[{"name": "search", "description": "Search."}, {"name": "open", "server_name": "github"}],
    )
    found = agents.tools_of([desk, hosted], [GraphEdge(from_="desk", to="hosted")], {"search": Traits(risk="external")})
    registry = Registry(*found)
    assert {each.id: each.risk for each in registry} == {
        "function:shop/price@2": "read",
        "agent:desk/subagent@1": "read",
        "agent:desk/ask_poet@1": "read",
        "agent:desk/lc_transfer_to_hosted@1": "read",
        "function:hosted/search@1": "external",
        "mcp:github/open@1": "write",
    }
    view = CapabilityGraph.build(registry, context())
    assert view.get("subagent").input_schema["required"] == ["description", "subagent_type"]
    assert view.tools() == [] and len(view.in_place) == 6
