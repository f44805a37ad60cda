"""An agent: a model that calls tools in a loop, here with a model that follows a script.

Prints::

    human: Is it warmer in Rome or in Oslo?
    ai: -> temperature(Rome), temperature(Oslo)
    tool: 31
    tool: 12
    ai: It is warmer in Rome.
    the model was asked 2 times, with these tools: temperature
"""

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool

from stategraph import END, START, MessagesState, StateGraph
from stategraph.testing import ScriptedChatModel, call, reply


@tool
def temperature(city: str) -> int:
    """The temperature in a city, in degrees Celsius."""
    return {"Rome": 31, "Oslo": 12}[city]


scripted = ScriptedChatModel(
    replies=[
        reply(call("temperature", city="Rome"), call("temperature", city="Oslo")),
        "It is warmer in Rome.",
    ]
)
model = scripted.bind_tools([temperature])


def think(state: MessagesState) -> MessagesState:
    return {"messages": [model.invoke(state["messages"])]}


def act(state: MessagesState) -> MessagesState:
    last = state["messages"][-1]
    assert isinstance(last, AIMessage)
    results: list[AnyMessage] = [
        ToolMessage(str(temperature.invoke(c["args"])), tool_call_id=str(c["id"])) for c in last.tool_calls
    ]
    return {"messages": results}


def has_calls(state: MessagesState) -> str:
    last = state["messages"][-1]
    return "act" if isinstance(last, AIMessage) and last.tool_calls else END


builder = StateGraph(MessagesState)
builder.add_node(think)
builder.add_node(act)
builder.add_edge(START, "think")
builder.add_conditional_edges("think", has_calls, ["act", END])
builder.add_edge("act", "think")
agent = builder.compile()

for message in agent.invoke({"messages": [HumanMessage("Is it warmer in Rome or in Oslo?")]})["messages"]:
    calls = ", ".join(f"{c['name']}({c['args']['city']})" for c in getattr(message, "tool_calls", ()))
    print(f"{message.type}: {'-> ' + calls if calls else message.text}")
print(f"the model was asked {len(scripted.requests)} times, with these tools: {', '.join(scripted.requests[0].tools)}")
