"""A graph of LangGraph with threads: a model, a tool, and a question that it asks."""

import os

from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import interrupt


@tool
def weather(city: str) -> str:
    """Say how the weather is in a city."""
    return f"sunny in {city}"


model = ChatOpenAI(
    model="fake",
    base_url=os.environ["MODEL_URL"],
    api_key=os.environ["MODEL_KEY"],
    max_retries=0,
    stream_usage=True,
).bind_tools([weather])


async def think(state: MessagesState):
    return {"messages": [await model.ainvoke(state["messages"])]}


def ask(state: MessagesState):
    answer = interrupt("Shall I book it?")
    return {"messages": [AIMessage(f"booked: {answer}")]}


def first(state: MessagesState):
    return "ask" if "book" in str(state["messages"][-1].content) else "think"


agent = (
    StateGraph(MessagesState)
    .add_node("think", think)
    .add_node("tools", ToolNode([weather]))
    .add_node("ask", ask)
    .add_conditional_edges(START, first, ["think", "ask"])
    .add_conditional_edges("think", tools_condition, {"tools": "tools", END: END})
    .add_edge("tools", "think")
    .compile(InMemorySaver())
)
