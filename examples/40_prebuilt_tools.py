"""`ToolNode` of `langgraph.prebuilt`: what tools get from the graph, a wrapper around calls, a tool that asks.

Prints::

    Book two seats?
    seats: booked 2 seats for Ada
    weather: sunny in Paris (on attempt 2)
    unknown: Error: fly is not a valid tool, try one of [seats, weather].
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.prebuilt import ToolNode, ToolRuntime, tools_condition
from langgraph.prebuilt.tool_node import ToolCallRequest

from stategraph import START, Command, MessagesState, StateGraph, interrupt


@dataclass
class Traveller:
    name: str


attempts: Counter[str] = Counter()


def seats(number: int, runtime: ToolRuntime[Traveller, MessagesState]) -> str:
    """Book seats, once a person has agreed. The model sees `number` and nothing else."""
    if interrupt("Book two seats?") != "yes":
        return "not booked"
    return f"booked {number} seats for {runtime.context.name}"


def weather(city: str) -> str:
    """Look up the weather."""
    attempts[city] += 1
    if attempts[city] == 1:
        raise ConnectionError("the service does not answer")
    return f"sunny in {city} (on attempt {attempts[city]})"


def try_twice(
    request: ToolCallRequest, execute: Callable[[ToolCallRequest], ToolMessage | Command[Any]]
) -> ToolMessage | Command[Any]:
    """Stand around each call: execute it, and once more if the connection was lost."""
    try:
        return execute(request)
    except ConnectionError:
        return execute(request)


def call(name: str, **args: object) -> dict[str, object]:
    return {"name": name, "args": args, "id": name, "type": "tool_call"}


def model(state: MessagesState) -> dict[str, list[AIMessage]]:
    """Stand for a model: it calls three tools at once, then answers."""
    if isinstance(state["messages"][-1], ToolMessage):
        return {"messages": [AIMessage("done")]}
    calls = [call("seats", number=2), call("weather", city="Paris"), call("fly")]
    return {"messages": [AIMessage("", tool_calls=calls)]}


builder = StateGraph(MessagesState, context_schema=Traveller)
builder.add_node(model)
builder.add_node("tools", ToolNode([seats, weather], wrap_tool_call=try_twice))
builder.add_edge(START, "model")
builder.add_conditional_edges("model", tools_condition)
builder.add_edge("tools", "model")
graph = builder.compile(checkpointer=InMemorySaver())

thread: RunnableConfig = {"configurable": {"thread_id": "1"}}
ada = Traveller("Ada")
paused = graph.invoke({"messages": [HumanMessage("To Paris, please.")]}, thread, context=ada, version="v2")
print(paused.interrupts[0].value)
attempts.clear()  # the calls of a message run in one task, which begins again with the answer
result = graph.invoke(Command(resume="yes"), thread, context=ada)
for message in result["messages"]:
    if isinstance(message, ToolMessage):
        print(f"{message.name if message.status == 'success' else 'unknown'}: {message.content}")
