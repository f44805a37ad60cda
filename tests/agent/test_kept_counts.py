"""Token counts of messages in the state: all of them are known, and few bytes are stored for each turn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.checkpoint.memory import InMemorySaver

from stategraph.agent.context import kept_counts
from stategraph.agent.context.context_state import ContextState
from stategraph.agent.context.kept_counts import LEVELS
from stategraph.agent.state import AgentState
from stategraph.graph.state import StateGraph

THREAD: Any = {"configurable": {"thread_id": "t"}}


def counts(first: int, last: int) -> dict[str, int]:
    return {f"run-{number:036}": number % 900 for number in range(first, last)}


class Talk:
    """A thread of an agent whose context knows some more counts after every turn.

    Args:
        messages: How many a turn adds.
    """

    def __init__(self, messages: int = 4) -> None:
        self.saver = InMemorySaver()
        self.known: dict[str, int] = {}
        inner = StateGraph(AgentState)
        inner.add_node("llm", self.llm)
        inner.set_entry_point("llm")
        outer = StateGraph(AgentState)
        outer.add_node("a", inner.compile())
        outer.set_entry_point("a")
        self.graph = outer.compile(checkpointer=self.saver)
        self._messages = messages

    def llm(self, state: AgentState) -> dict[str, Any]:
        context_state = ContextState.of_agent(state, "a")
        assert context_state.counts == self.known
        self.known |= counts(len(self.known), len(self.known) + self._messages)
        return replace(context_state, counts=dict(self.known)).update("a")

    def turns(self, number: int) -> None:
        for _ in range(number):
            self.graph.invoke({"messages": []}, THREAD, durability="exit")

    @property
    def stored(self) -> int:
        """Bytes of the counts in all checkpoints."""
        of_counts = ("windows", *LEVELS)
        return sum(len(blob or b"") for (_, _, name, _), (_, blob) in self.saver.blobs.items() if name in of_counts)


def test_stored_bytes_grow_with_the_conversation_and_not_with_its_square() -> None:
    talk, found = Talk(), dict[int, int]()
    for turns in (100, 200, 400):
        talk.turns(turns - max(found, default=0))
        found[turns] = talk.stored
    assert found[200] / found[100] < 2.5 and found[400] / found[200] < 2.5, found
    assert found[400] / 400 < 2_500, found  # a turn's


@given(st.lists(st.integers(0, 200), min_size=1, max_size=12), st.data())
def test_every_count_is_known_after_any_changes(sizes: list[int], data: st.DataObject) -> None:
    state: dict[str, Any] = {}
    known: dict[str, int] = {}
    for writes, size in enumerate(sizes, 1):
        known |= counts(len(known), len(known) + size)
        for name in data.draw(st.sets(st.sampled_from(sorted(known)), max_size=5)) if known else ():
            known[name] += 1
        for name in data.draw(st.sets(st.sampled_from(sorted(known)), max_size=5)) if known else ():
            del known[name]
        before = ContextState.of_agent(state, "a")
        state |= replace(before, counts=dict(known), writes=writes).update("a")
        read = ContextState.of_agent(state, "a").counts
        assert {name: count for name, count in read.items() if name in known} == known
        assert len(state["windows"]["a"].get("counts", {})) <= 32


def test_counts_of_messages_that_are_gone_are_dropped_when_a_level_is_written() -> None:
    front, written = kept_counts.spread(counts(0, 300), ())
    assert (front, {key: len(value) for key, value in written.items()}) == ({}, {"counts_1": 0, "counts_2": 300})
    levels: tuple[Mapping[str, int], ...] = ({}, written["counts_2"], {})
    _, written = kept_counts.spread(counts(290, 600), levels)
    assert {key: len(value) for key, value in written.items()} == {"counts_1": 0, "counts_2": 310}
    _, written = kept_counts.spread(counts(0, 3000), ({}, counts(0, 2000), {}))
    assert {key: len(value) for key, value in written.items()} == {"counts_1": 0, "counts_2": 0, "counts_3": 3000}


def test_a_thread_that_was_stored_before_there_were_levels_goes_on() -> None:
    talk = Talk()
    talk.known = counts(0, 1000)
    old = ContextState(counts=dict(talk.known)).stored()
    assert len(old["counts"]) == 1000
    talk.graph.update_state(THREAD, {"windows": {"a": old}}, as_node="a")
    talk.turns(3)
    values = talk.graph.get_state(THREAD).values
    assert ContextState.of_agent(values, "a").counts == talk.known == counts(0, 1012)
    assert len(values["windows"]["a"].get("counts", {})) <= 32


def test_agents_side_by_side_keep_their_own_counts() -> None:
    def agent(name: str, last: int) -> Any:
        def node(state: AgentState) -> dict[str, Any]:
            context_state = ContextState.of_agent(state, name)
            return replace(context_state, counts=counts(0, len(context_state.counts) + last)).update(name)

        graph = StateGraph(AgentState)
        graph.add_node("llm", node)
        graph.set_entry_point("llm")
        return graph.compile()

    graph = StateGraph(AgentState)
    for name, last in (("one", 50), ("two", 5)):
        graph.add_node(name, agent(name, last))
        graph.set_entry_point(name)
    talk = graph.compile(checkpointer=InMemorySaver())
    for _ in range(8):
        talk.invoke({"messages": []}, THREAD)
    values = talk.get_state(THREAD).values
    assert ContextState.of_agent(values, "one").counts == counts(0, 400)
    assert ContextState.of_agent(values, "two").counts == counts(0, 40)


@pytest.mark.parametrize("key", LEVELS)
def test_a_level_that_nothing_newer_comes_for_is_not_stored_again(key: str) -> None:
    graph = StateGraph(AgentState)
    graph.add_node("node", lambda state: {key: state.get(key)})
    graph.set_entry_point("node")
    saver = InMemorySaver()
    talk = graph.compile(checkpointer=saver)
    talk.invoke({"messages": [], key: {"a": {"writes": 1, "counts": {"m": 1}}}}, THREAD)
    before = len([name for _, _, name, _ in saver.blobs if name == key])
    for _ in range(3):
        talk.invoke({"messages": [], key: {"a": {"writes": 1, "counts": {"m": 1}}}}, THREAD)
    assert len([name for _, _, name, _ in saver.blobs if name == key]) == before
    talk.invoke({"messages": [], key: {"a": {"writes": 2, "counts": {"m": 2}}}}, THREAD)
    assert len([name for _, _, name, _ in saver.blobs if name == key]) == before + 1
