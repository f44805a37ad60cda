"""The adapters of LangGraph and LangChain, with graphs of this engine and models of langchain-core."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver
from typing_extensions import TypedDict

from stategraph import START, MessagesState, StateGraph, interrupt
from stategraph.fleet import message
from stategraph.fleet.adapters.frameworks import langchain, langgraph
from stategraph.fleet.adapters.port import AdapterError
from tests.fleet.adapters.asking import hosted

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Counting(TypedDict):
    n: int


def talk(state: MessagesState) -> Any:
    said = [f"{each.type}:{each.content}" for each in state["messages"]]
    if said[-1] == "human:book":
        return {"messages": [AIMessage(f"booked: {interrupt({'question': 'Shall I?'})}")]}
    if said[-1] == "human:fail":
        raise RuntimeError("the node is broken")
    return {"messages": [AIMessage(" ".join(said))]}


def graph(checkpointer: Any = None) -> Any:
    return StateGraph(MessagesState).add_node("talk", talk).add_edge(START, "talk").compile(checkpointer)


@pytest.mark.parametrize("saver", [None, InMemorySaver])
async def test_a_graph_remembers_with_and_without_threads_of_its_own(saver: Any) -> None:
    async with hosted(langgraph.adapter(graph(saver and saver()), "1")) as asks:
        assert (await asks.ask("one", "a")).text == "human:one"
        assert (await asks.ask("two", "a")).text == "human:one ai:human:one human:two"
        assert (await asks.ask("one", "b")).text == "human:one"
        failed = await asks.ask("fail", "b")
        assert (failed.state, "the node is broken" in failed.problem) == ("failed", True)


async def test_an_interrupt_is_a_question_and_the_next_message_its_answer() -> None:
    async with hosted(langgraph.adapter(graph(InMemorySaver()), "1")) as asks:
        heard = await asks.ask("book", "a")
        assert (heard.state, heard.problem) == ("input_required", '{"question": "Shall I?"}')
        request = message("yes", context_id="a")
        request.message.task_id = heard.task_id
        again = await asks.ask("", request=request)
        assert (again.state, again.text) == ("completed", "booked: yes")


async def test_a_model_streams_token_by_token_inside_a_graph_and_is_told_once() -> None:
    model = GenericFakeChatModel(messages=iter([AIMessage("good morning to you")]))

    async def think(state: MessagesState) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    made = StateGraph(MessagesState).add_node("think", think).add_edge(START, "think").compile()
    async with hosted(langgraph.adapter(made, "1")) as asks:
        heard = await asks.ask("hello")
        assert heard.text == "good morning to you"
        assert heard.pieces > 2


async def test_a_chain_is_given_the_conversation() -> None:
    prompt = ChatPromptTemplate.from_messages([("system", "Be kind."), ("placeholder", "{messages}")])
    chain = prompt | RunnableLambda(lambda value: AIMessage(str(len(value.to_messages()))))
    async with hosted(langchain.adapter(chain, "1")) as asks:
        assert (await asks.ask("one", "a")).text == "2"
        assert (await asks.ask("two", "a")).text == "4"


async def test_a_model_alone_answers() -> None:
    model = GenericFakeChatModel(messages=iter([AIMessage("good morning")]))
    async with hosted(langchain.adapter(model, "1")) as asks:
        assert (await asks.ask("hello", "a")).text == "good morning"


async def test_a_value_that_a_runnable_returns_is_data() -> None:
    async with hosted(langchain.adapter(RunnableLambda(lambda messages: {"count": len(messages)}), "1")) as asks:
        heard = await asks.ask("hello", "a")
        task = (await asks.call("GetTask", id=heard.task_id))["result"]
        assert task["artifacts"][0]["parts"] == [{"data": {"count": 1}}]


def test_what_is_no_graph_is_refused() -> None:
    with pytest.raises(AdapterError, match="LangGraph runs a compiled graph; this is int"):
        langgraph.adapter(3, "1")

    def count(state: Any) -> Any:
        return {"n": state["n"] + 1}

    made = StateGraph(Counting).add_node("count", count).add_edge(START, "count").compile()
    with pytest.raises(AdapterError, match=r"no 'messages' in its input; it has \['n'\]"):
        langgraph.adapter(made, "1")
