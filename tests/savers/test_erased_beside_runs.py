"""A thread that the command erases while a graph runs on it: it is stored anew, or the run fails; nothing half."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from stategraph import END, START, MessagesState, StateGraph
from stategraph.cli import main
from stategraph.savers import SqliteSaver
from tests.savers.drivers import at
from tests.savers.test_upkeep import chain

THREAD: Any = {"configurable": {"thread_id": "t"}}
NODES = ("one", "two", "three", "four")


def graph_on(saver: Any, path: Path, *, delta: bool) -> Any:
    """A graph of four nodes, of which the second has its thread erased by the command."""

    def node(name: str) -> Any:
        def run(_: Any) -> Any:
            if name == "two":
                code: list[int] = []
                words = ["store", "erase", "t", "--store", f"sqlite:///{path}"]
                thread = threading.Thread(target=lambda: code.append(main(words)))  # as another process would
                thread.start()
                thread.join(60)
                assert code == [0]
            return {"messages": [AIMessage(f"{name} " * 40, id=name)]}

        return run

    builder = StateGraph(MessagesState)
    for name in NODES:
        builder.add_node(name, node(name))
    for before, after in zip((START, *NODES), (*NODES, END), strict=True):
        builder.add_edge(before, after)
    return builder.compile(checkpointer=saver, delta_messages=delta)


@pytest.mark.parametrize("mode", ["compact", "plain"])
@pytest.mark.parametrize("durability", ["sync", "exit"])
def test_a_run_stores_all_of_its_state_again(tmp_path: Path, mode: Any, durability: Any) -> None:
    path = tmp_path / "runs.db"
    with SqliteSaver.from_conn_string(str(path), mode=mode) as saver:
        graph = graph_on(saver, path, delta=False)
        graph.update_state(THREAD, {"messages": [HumanMessage("before", id="before")]}, as_node="four")
        found = graph.invoke({"messages": [HumanMessage("hi", id="hi")]}, THREAD, durability=durability)
        history = list(graph.get_state_history(THREAD))
        everything = ["before", "hi", *NODES]
        assert [each.id for each in found["messages"]] == everything
        assert history[0].values == found
        stored = [[message.id for message in each.values["messages"]] for each in history]
        assert all(each == everything[: len(each)] for each in stored)
        assert min(map(len, stored)) >= everything.index("two")  # of what was there before nothing is left
    with SqliteSaver.from_conn_string(str(path)) as fresh:  # that knows nothing of the thread
        assert graph_on(fresh, path, delta=False).get_state(THREAD).values == found


@pytest.mark.parametrize("mode", ["compact", "plain"])
@pytest.mark.parametrize("durability", ["sync", "async"])
def test_a_run_whose_channels_hold_what_was_added_fails_and_leaves_nothing(
    tmp_path: Path, mode: Any, durability: Any
) -> None:
    path = tmp_path / "runs.db"
    with SqliteSaver.from_conn_string(str(path), mode=mode) as saver:
        chain(saver, "other", 2)
        graph = graph_on(saver, path, delta=True)
        with pytest.raises(sqlite3.IntegrityError, match=r"'t' was erased .* of 'messages' only .*begin the run anew"):
            graph.invoke({"messages": [HumanMessage("hi", id="hi")]}, THREAD, durability=durability)
        assert list(saver.list(at("t"))) == []
        assert graph.get_state(THREAD).values == {}
        assert len(list(saver.list(at("other")))) == 2


def test_checkpoints_of_delta_channels_that_are_stored_together_are_a_chain(tmp_path: Path) -> None:
    with SqliteSaver.from_conn_string(str(tmp_path / "runs.db")) as saver:
        builder = StateGraph(MessagesState).add_node("one", lambda _: {"messages": [AIMessage("1", id="1")]})
        graph = builder.add_edge(START, "one").compile(checkpointer=saver, delta_messages=True)
        for number in range(3):
            graph.invoke({"messages": [HumanMessage("hi", id=f"h{number}")]}, THREAD, durability="async")
        found = [[each.id for each in state.values["messages"]] for state in graph.get_state_history(THREAD)]
        assert found[0] == ["h0", "1", "h1", "h2"]
