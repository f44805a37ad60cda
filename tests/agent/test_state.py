"""The state that agents share: how what they write at the same time is put together, and where a turn begins."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolMessage

from stategraph.agent import state as states
from stategraph.agent.state import AgentState
from stategraph.constants import END, START
from stategraph.graph.state import StateGraph

MEMORY = {"count": 1, "steps": ["a"]}
NEWER = {"count": 2, "steps": ["b"]}


def written(key: str, *values: Any) -> Any:
    """What is in the state after writes of one key, one after the other."""
    graph: Any = StateGraph(AgentState)
    nodes = [f"n{number}" for number in range(len(values))]
    for name, value in zip(nodes, values, strict=True):
        graph.add_node(name, lambda _, value=value: {key: value})
    for before, after in zip([START, *nodes], [*nodes, END], strict=True):
        graph.add_edge(before, after)
    return graph.compile().invoke({"messages": []})[key]


@pytest.mark.parametrize(
    ("key", "values", "kept"),
    [
        ("halt_reason", ["enough", None], "enough"),
        ("halt_reason", ["enough", "too long"], "too long"),
        ("halt_reason", ["enough", ""], ""),
        ("halt_reason", [None, "enough"], "enough"),
        ("usage", [{"total_tokens": 1}, {"total_tokens": 2}], {"total_tokens": 2}),
        ("usage", [{"total_tokens": 1}, None], None),
        ("memory", [MEMORY, None], MEMORY),
        ("memory", [None, MEMORY], MEMORY),
        ("memory", [None, None], None),
        ("memory", [MEMORY, NEWER], NEWER),
        ("memory", [NEWER, MEMORY], NEWER),
        ("memory", [MEMORY, {**MEMORY, "steps": ["c"]}], {**MEMORY, "steps": ["c"]}),
        ("memory", [{"steps": ["a"]}, {"steps": ["b"]}], {"steps": ["b"]}),
        ("memory", [{"count": 0, "steps": ["a"]}, {"steps": ["b"]}], {"steps": ["b"]}),
        ("memory", [{"steps": ["a"]}, {"count": 0, "steps": ["b"]}], {"count": 0, "steps": ["b"]}),
        ("memory", [MEMORY, {"steps": ["b"]}], MEMORY),
        ("memory", [{"steps": ["a"]}, MEMORY], MEMORY),
        ("windows", [None, None], {}),
        ("windows", [{"a": {"writes": 1}}, None], {"a": {"writes": 1}}),
        ("windows", [{"a": {"writes": 1}}, {"b": {"writes": 1}}], {"a": {"writes": 1}, "b": {"writes": 1}}),
        (
            "windows",
            [{"a": {"writes": 2}, "b": {"writes": 2}}, {"a": {"writes": 3}, "b": {"writes": 1}}],
            {"a": {"writes": 3}, "b": {"writes": 2}},
        ),
        ("windows", [{"a": {"writes": 2}}, {"a": {"writes": 2, "wanted": True}}], {"a": {"writes": 2, "wanted": True}}),
    ],
)
def test_what_is_written_last_or_is_the_latest_counts(key: str, values: list[Any], kept: Any) -> None:
    assert written(key, *values) == kept


ASKED = HumanMessage("hi")
ADDED = HumanMessage("be kind", additional_kwargs={"source": "hook"})
META = HumanMessage("as said", additional_kwargs={"isMeta": True})
INJECTED = HumanMessage("more", additional_kwargs={states.INJECTED: True})
ANSWER = AIMessage("hello")
RESULT = ToolMessage("done", tool_call_id="c")


@pytest.mark.parametrize(
    ("message", "synthetic"),
    [
        (ASKED, False),
        (ADDED, True),
        (META, True),
        (INJECTED, True),
        (HumanMessage("hi", additional_kwargs={"isMeta": False, "source": ""}), False),
        (AIMessage("hi", additional_kwargs={"isMeta": True}), False),
        (SystemMessage("hi", additional_kwargs={"source": "hook"}), False),
    ],
)
def test_a_message_of_a_human_that_has_a_mark_was_not_written_by_a_person(message: Any, synthetic: bool) -> None:
    assert states.is_synthetic(message) is synthetic


@pytest.mark.parametrize(
    ("messages", "turn"),
    [
        ([], []),
        ([ASKED], []),
        ([ANSWER], [ANSWER]),
        ([ADDED], [ADDED]),
        ([ADDED, ANSWER], [ADDED, ANSWER]),
        ([ASKED, ANSWER, RESULT], [ANSWER, RESULT]),
        ([ASKED, ANSWER, ASKED], []),
        ([ASKED, ANSWER, ASKED, RESULT], [RESULT]),
        ([ASKED, ADDED, META], []),
        ([ASKED, ADDED, META, ANSWER], [ANSWER]),
        ([ASKED, ANSWER, ADDED, RESULT], [ANSWER, ADDED, RESULT]),
        ([ASKED, ADDED, ANSWER, INJECTED], [ANSWER, INJECTED]),
    ],
)
def test_a_turn_is_what_follows_the_words_of_a_person_and_what_the_host_added_to_them(
    messages: list[AnyMessage], turn: list[AnyMessage]
) -> None:
    assert states.turn_of(messages) == turn


@pytest.mark.parametrize(
    ("reason", "messages", "halted"),
    [
        ("enough", [ASKED, ANSWER], True),
        ("enough", [ASKED, ANSWER, ASKED], False),
        ("", [ASKED, ANSWER], False),
        (None, [ASKED, ANSWER], False),
    ],
)
def test_a_reason_to_halt_counts_in_the_turn_in_which_it_was_given(
    reason: str | None, messages: list[AnyMessage], halted: bool
) -> None:
    assert states.was_halted({"messages": messages, "halt_reason": reason}) is halted
    assert states.was_halted({"messages": messages}) is False
