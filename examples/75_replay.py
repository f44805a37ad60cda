"""A run is recorded and replayed without a model; a change of the program is found, and said in words.

Prints::

    Recorded: Take an umbrella.
    Replayed: Take an umbrella. (1 call of the graph, models and tools were asked 0 times)
    The program has changed:
    In node 'ask' call 1 is now of model 'ScriptedChatModel scripted', with something else than in the recording:
      messages[0].fields.content
        recorded: "Be brief."
        now:      "Be thorough."
"""

import tempfile
from pathlib import Path

from langchain_core.messages import SystemMessage
from langchain_core.tools import tool

from stategraph import START, MessagesState, StateGraph
from stategraph.prebuilt.tool_node import ToolNode, tools_condition
from stategraph.replay import ReplayMismatch, assert_replays, record, recorded, replay
from stategraph.testing import ScriptedChatModel, call, reply

asked: list[str] = []


@tool
def forecast(city: str) -> str:
    """Tell tomorrow's weather in a city."""
    asked.append(city)
    return "rain"


def compiled(prompt: str):  # type: ignore[no-untyped-def] # a compiled graph
    """Return the agent; a model that is not scripted would be marked by `recorded` just so."""
    chat = ScriptedChatModel(replies=[reply(call("forecast", city="Rome")), "Take an umbrella."])
    model = recorded(chat).bind_tools([forecast])

    def ask(state: MessagesState) -> MessagesState:
        return {"messages": [model.invoke([SystemMessage(prompt), *state["messages"]])]}

    builder = StateGraph(MessagesState).add_node("ask", ask).add_node("tools", ToolNode([forecast]))
    builder.add_edge(START, "ask").add_conditional_edges("ask", tools_condition).add_edge("tools", "ask")
    return builder.compile()


with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "umbrella.jsonl"
    with record(file, compiled("Be brief.")) as recorder:
        result = recorder.invoke({"messages": [("user", "Umbrella?")]})
    print("Recorded:", result["messages"][-1].content)

    asked.clear()
    found = assert_replays(file, compiled("Be brief."))
    answer = found.results[0]["messages"][-1].content
    print(f"Replayed: {answer} ({found.calls} call of the graph, models and tools were asked {len(asked)} times)")

    try:
        replay(file, compiled("Be thorough."))
    except ReplayMismatch as difference:
        print("The program has changed:")
        print("\n".join(str(difference).splitlines()[:4]))
