"""One switch for long conversations: messages are stored as what each step added, not as the whole list each time.

Prints::

    the same conversation: True
    80 turns as deltas keep less than a tenth of the bytes
    forked at turn 40: 81 messages
    an older thread goes on as deltas: 4 messages
"""

from typing import Any

from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import START, MessagesState, StateGraph

THREAD: Any = {"configurable": {"thread_id": "1"}}


def answer(state: MessagesState) -> dict[str, Any]:
    return {"messages": [AIMessage(f"answer {len(state['messages'])}")]}


builder = StateGraph(MessagesState).add_node("answer", answer).add_edge(START, "answer")


def conversation(turns: int, delta_messages: bool) -> tuple[Any, int]:
    """Have a conversation; return its graph, and the bytes of messages that its saver keeps."""
    saver = InMemorySaver()
    graph = builder.compile(checkpointer=saver, delta_messages=delta_messages)
    for turn in range(turns):
        graph.invoke({"messages": [HumanMessage(f"question {turn}")]}, THREAD)
    kept = [blob for _, blob in saver.blobs.values()]
    kept += [write[2][1] for writes in saver.writes.values() for write in writes.values()]
    return graph, sum(map(len, kept))


in_full, bytes_in_full = conversation(80, delta_messages=False)
graph, bytes_of_deltas = conversation(80, delta_messages=True)
texts = [[each.content for each in either.get_state(THREAD).values["messages"]] for either in (in_full, graph)]
print("the same conversation:", texts[0] == texts[1])
print(f"80 turns as deltas keep {'less' if bytes_of_deltas < bytes_in_full / 10 else 'more'} than a tenth of the bytes")

turn_40 = next(each for each in graph.get_state_history(THREAD) if len(each.values["messages"]) == 80)
fork = graph.update_state(turn_40.config, {"messages": HumanMessage("and now?")}, as_node="answer")
print(f"forked at turn 40: {len(graph.get_state(fork).values['messages'])} messages")

saver = InMemorySaver()
builder.compile(checkpointer=saver).invoke({"messages": [HumanMessage("stored in full")]}, THREAD)
deltas = builder.compile(checkpointer=saver, delta_messages=True)
after = deltas.invoke({"messages": [HumanMessage("as deltas")]}, THREAD)
print(f"an older thread goes on as deltas: {len(after['messages'])} messages")
