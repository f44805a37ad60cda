"""The end of a turn: what it has cost, why it ended, and what need not be kept."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolMessage

from stategraph.agent.context.context_state import ContextState, Summary
from stategraph.agent.graphs import done

TALK: list[AnyMessage] = [
    SystemMessage("s", id="s"),
    HumanMessage("q1", id="q1"),
    AIMessage("a1", id="a1"),
    HumanMessage("q2", id="q2"),
    AIMessage("a2", id="a2"),
    AIMessage("a3", id="a3"),
]


def ended(messages: list[AnyMessage], *agent_ids: str, **more: Any) -> dict[str, Any]:
    state: Any = {"messages": messages, **more}
    return done.after(agent_ids or ("a",))(state)


def test_the_node_is_sync_and_async() -> None:
    node, state = done.node(("a",)), {"messages": TALK, "halt_reason": "stop"}
    update = node.invoke(state)
    assert update["halt_reason"] == "stop"
    assert asyncio.run(node.ainvoke(state)) == update == ended(TALK, halt_reason="stop")


def covering(**newest: str) -> dict[str, Any]:
    """The states of agents' contexts, with summaries up to some messages."""
    return {agent: ContextState(summary=Summary("s", 1, 1, covers)).stored() for agent, covers in newest.items()}


@pytest.mark.parametrize(
    ("agents", "newest", "removed"),
    [
        ("a", {}, []),
        ("a", {"a": "a1"}, ["q1", "a1"]),
        ("a", {"a": "q1"}, ["q1"]),
        ("a", {"a": "s"}, []),
        ("a", {"a": "a3"}, ["q1", "a1"]),
        ("a", {"a": "gone"}, []),
        ("ab", {"a": "a1"}, []),
        ("ab", {"a": "a1", "b": "q1"}, ["q1"]),
        ("ab", {"a": "q1", "b": "a1"}, ["q1"]),
    ],
)
def test_messages_of_earlier_turns_go_once_all_agents_have_a_summary_of_them(
    agents: str, newest: dict[str, str], removed: list[str]
) -> None:
    update = ended(TALK, *agents, windows=covering(**newest))
    assert [each.id for each in update.get("messages", [])] == removed
    assert ("messages" in update) is bool(removed)


def test_messages_without_an_id_stay_and_so_does_what_no_answer_has_come_to() -> None:
    bare = [HumanMessage("q0"), *TALK[1:4]]
    assert [each.id for each in ended(bare, windows=covering(a="q2"))["messages"]] == ["q1", "a1"]
    assert "messages" not in ended(TALK[1:2], windows=covering(a="q1"))


def usage(read: int, written: int, **details: int) -> Any:
    return {
        "input_tokens": read,
        "output_tokens": written,
        "total_tokens": read + written,
        **({"input_token_details": details} if details else {}),
    }


@pytest.mark.parametrize(
    ("messages", "total"),
    [
        ([], (0, 0)),
        ([AIMessage("a")], (0, 0)),
        ([AIMessage("a", usage_metadata=usage(5, 2)), HumanMessage("q")], (0, 0)),
        ([HumanMessage("q"), AIMessage("a", usage_metadata=usage(5, 2))], (5, 2)),
        (
            [
                HumanMessage("q"),
                AIMessage("", usage_metadata=usage(5, 2)),
                ToolMessage("r", tool_call_id="c"),
                AIMessage("b"),
                AIMessage("a", usage_metadata=usage(7, 4, cache_read=10)),
            ],
            (5 + 7 + 10, 6),
        ),
    ],
)
def test_usage_is_summed_over_the_calls_of_the_turn(messages: list[AnyMessage], total: tuple[int, int]) -> None:
    assert ended(messages) == {"usage": usage(*total), "halt_reason": None}
    assert ended(messages, halt_reason="enough")["halt_reason"] == "enough"
