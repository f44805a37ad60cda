"""A long conversation in a SQLite file: each message is stored once, and every checkpoint of the thread can be read.

Prints::

    compact: 60 turns, 120 messages, 180 checkpoints
    plain:   60 turns, 120 messages, 180 checkpoints
    the same threads: True
    the compact file is less than a fifth of the plain one
    forked at turn 20: 42 messages
    LangGraph's own saver reads the plain file: 120 messages
"""

import tempfile
from pathlib import Path
from typing import Any, Literal

from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.sqlite import SqliteSaver as LangGraphSaver

from stategraph import END, START, MessagesState, StateGraph
from stategraph.savers import SqliteSaver

THREAD: Any = {"configurable": {"thread_id": "1"}}
TURNS = 60


def answer(state: MessagesState) -> dict[str, Any]:
    return {"messages": [AIMessage(f"answer {len(state['messages'])} " * 5, id=f"a{len(state['messages'])}")]}


builder = StateGraph(MessagesState).add_node("answer", answer).add_edge(START, "answer").add_edge("answer", END)


def converse(path: Path, mode: Literal["compact", "plain"]) -> list[Any]:
    """Have a conversation; return the checkpoints of its thread."""
    with SqliteSaver.from_conn_string(str(path), mode=mode) as saver:
        graph = builder.compile(checkpointer=saver)
        for turn in range(TURNS):
            graph.invoke({"messages": [HumanMessage(f"question {turn} " * 5, id=f"q{turn}")]}, THREAD)
        states = list(graph.get_state_history(THREAD))
    messages = len(states[0].values["messages"])
    print(f"{mode + ':':8} {TURNS} turns, {messages} messages, {len(states)} checkpoints")
    return [state.values for state in states]


with tempfile.TemporaryDirectory() as folder:
    compact, plain = Path(folder, "compact.db"), Path(folder, "plain.db")
    print("the same threads:", converse(compact, "compact") == converse(plain, "plain"))
    is_small = compact.stat().st_size < plain.stat().st_size / 5
    print(f"the compact file is {'less' if is_small else 'more'} than a fifth of the plain one")

    # A file keeps its form: what opens it need not know.
    with SqliteSaver.from_conn_string(str(compact)) as saver:
        graph = builder.compile(checkpointer=saver)
        turn_20 = next(
            state for state in graph.get_state_history(THREAD) if len(state.values.get("messages", ())) == 40
        )
        forked = graph.invoke({"messages": [HumanMessage("another question")]}, turn_20.config)
        print(f"forked at turn 20: {len(forked['messages'])} messages")

    with LangGraphSaver.from_conn_string(str(plain)) as theirs:
        found = theirs.get_tuple(THREAD)
        assert found is not None
        read = len(found.checkpoint["channel_values"]["messages"])
        print(f"LangGraph's own saver reads the plain file: {read} messages")
