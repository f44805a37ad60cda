"""Messages that a run has loaded: they are looked at once somebody may have changed them, and then all changes count.

At every moment at which code of the program has messages of a run, it may change them in place.
"""

from __future__ import annotations

import threading
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import BaseModel, field_validator

from stategraph import END, START, MessagesState, StateGraph, add_messages, interrupt
from stategraph.engine.checkpoints import message_lists
from tests.engine.test_known_lists import everything

THREAD = {"configurable": {"thread_id": "t"}}
TURNS = 5


class OwnSaver(InMemorySaver):
    """The same saver, as a class of its own: messages are decoded and encoded each time."""


def change(messages: Any, by: int) -> None:
    """Change a message of an earlier turn in place, if there is one."""
    if len(messages) > 2:
        messages[1].additional_kwargs.setdefault("changed", []).append(by)


class Checked(BaseModel):
    """A state whose validator changes messages."""

    messages: Annotated[list[AnyMessage], add_messages]

    @field_validator("messages")
    @classmethod
    def check(cls, messages: Any) -> Any:
        change(messages, len(messages))
        return messages


class Plain(TypedDict):
    """A state whose messages are kept without ids."""

    messages: list[AnyMessage]


def chat(saver: Any, moment: str) -> Any:
    """A chat that changes messages at a moment of a turn."""

    def reducer(left: Any, right: Any) -> Any:
        change(left, len(left))
        return add_messages(left, right)

    messages = Annotated[list[AnyMessage], reducer if moment == "reducer" else add_messages]
    schema = Checked if moment == "validator" else TypedDict("Chat", {"messages": messages, "topic": str})  # type: ignore[operator]

    def answer(state: Any) -> dict[str, Any]:
        messages = state.messages if moment == "validator" else state["messages"]
        if moment in ("node", "node without a question"):
            change(messages, len(messages))
        if moment == "router of a thread that has failed" and len(messages) == 3:
            raise ValueError("no answer")
        return {"messages": [AIMessage("an answer", id=f"a{len(messages)}")]}

    def route(state: Any) -> str:
        if moment.startswith("router"):
            change(state["messages"], len(state["messages"]))
        if moment == "thread":
            thread = threading.Thread(target=change, args=(state["messages"], len(state["messages"])))
            thread.start()
            thread.join()
        return "answer"

    builder = StateGraph(schema).add_node("answer", answer)
    if moment in ("router", "router of a thread that has failed", "thread"):
        builder.add_conditional_edges(START, route, ["answer"])
    else:
        builder.add_edge(START, "answer")
    if moment == "router at the end":
        builder.add_conditional_edges("answer", lambda state: change(state["messages"], 0) or END, [END])
    return builder.add_edge("answer", END).compile(checkpointer=saver)


def say(driver: Any, graph: Any, moment: str, turn: int) -> None:
    given = {"messages": [HumanMessage("a question", id=None if moment == "no ids" else f"q{turn}")]}
    match moment:
        case "stream":
            for chunk in graph.stream(given, THREAD, stream_mode="values", durability="sync"):
                change(chunk["messages"], turn)
        case "node without a question" if turn:
            driver.invoke(graph, {"topic": f"topic {turn}"}, THREAD, durability="sync")
        case "router of a thread that has failed" if turn == 1:
            with pytest.raises(ValueError, match="no answer"):
                driver.invoke(graph, given, THREAD, durability="sync")
        case "result":
            change(driver.invoke(graph, given, THREAD, durability="sync")["messages"], turn)
        case _:
            driver.invoke(graph, given, THREAD, durability="sync")


def stored(saver: Any) -> Any:
    """Return the messages of all checkpoints, as a serialiser alone brings them back."""
    read = OwnSaver()
    read.storage, read.blobs, read.writes = saver.storage, saver.blobs, saver.writes
    return [everything(kept.checkpoint["channel_values"].get("messages")) for kept in read.list(THREAD)]


MOMENTS = [
    "never",
    "node",
    "node without a question",
    "router",
    "router of a thread that has failed",
    "router at the end",
    "thread",
    "reducer",
    "validator",
    "stream",
    "result",
]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_change_at_any_moment_is_stored_as_without(moment: str, driver: Any) -> None:
    kept = []
    for saver in (InMemorySaver(), OwnSaver()):
        graph = chat(saver, moment)
        for turn in range(TURNS):
            say(driver, graph, moment, turn)
        kept.append(stored(saver))
    assert kept[0] == kept[1]
    assert ("changed" in str(kept[0])) == (moment not in ("never", "result"))


@pytest.mark.parametrize("ends_in", ["question", "error"])
def test_a_change_in_a_step_that_has_not_ended_is_stored_at_the_exit(ends_in: str, driver: Any) -> None:
    def answer(state: Any) -> dict[str, Any]:
        messages = state["messages"]
        if len(messages) > 2 * TURNS:
            change(messages, 1)
            if ends_in == "error":
                raise ValueError("no answer")
            interrupt("Shall I?")
        return {"messages": [AIMessage("an answer", id=f"a{len(messages)}")]}

    kept = []
    for saver in (InMemorySaver(), OwnSaver()):
        builder = StateGraph(MessagesState).add_node("answer", answer).add_edge(START, "answer").add_edge("answer", END)
        graph = builder.compile(checkpointer=saver)
        for turn in range(TURNS):
            say(driver, graph, "never", turn)
        try:
            driver.invoke(graph, {"messages": [HumanMessage("a question", id="last")]}, THREAD, durability="exit")
        except ValueError:
            assert ends_in == "error"
        kept.append(stored(saver))
    assert "changed" in str(kept[0][0])
    assert kept[0] == kept[1]


def test_loaded_messages_without_ids_are_stored_with_those_that_the_reducer_gives_them(driver: Any) -> None:
    saver = InMemorySaver()
    builder = StateGraph(Plain).add_node("keep", lambda state: None).add_edge(START, "keep").add_edge("keep", END)
    messages = [HumanMessage("a question"), AIMessage("an answer")]
    driver.invoke(builder.compile(checkpointer=saver), {"messages": messages}, THREAD)
    graph = chat(saver, "never")
    for turn in range(2):
        say(driver, graph, "never", turn)
    longer = [kept.checkpoint["channel_values"].get("messages", ()) for kept in saver.list(THREAD)]
    ids = {tuple(message.id for message in each[:2]) for each in longer if len(each) > 2}
    # They are the same from the first save with them on.
    assert len(ids) == 1
    assert None not in ids.pop()


def test_loaded_messages_are_not_looked_at_before_the_first_node(driver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = chat(InMemorySaver(), "never")
    for turn in range(3):
        say(driver, graph, "never", turn)
    looked_at: list[int] = []
    fields_of = message_lists.fields_of
    monkeypatch.setattr(message_lists, "fields_of", lambda value: looked_at.append(len(value)) or fields_of(value))
    say(driver, graph, "never", 3)
    # What the last turn has added, when it is loaded; the question; and all of them after the node.
    assert looked_at == [2, 1, 8]
