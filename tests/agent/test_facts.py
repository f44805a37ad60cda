"""What a fact says where it is not told better."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import ToolMessage

from stategraph.agent import facts
from stategraph.agent.messages.compaction import FadingTier

AT = facts.Place("a", "A", "agent=a", {})
CALL: Any = {"name": "n", "args": {}, "id": "c"}


@pytest.mark.parametrize(
    ("fact", "without_more"),
    [
        (AT, {"group_id": None}),
        (
            facts.ModelCall(AT, "p", "m", [], 0),
            {"instruction_tokens": 0, "tool_schema_tokens": 0, "off_record": False, "traced_as": ""},
        ),
        (facts.ToolAnswered(AT, CALL, ToolMessage("r", tool_call_id="c"), "r"), {"outcome": None}),
        (facts.Logged(AT, "info", "graph", "m"), {"data": None, "detail": True}),
        (facts.ContextUsed(AT, {}), {"instruction_overhead": None, "tier": FadingTier(0, False)}),
        (facts.SummaryStarted(AT, {}), {"trigger": "default"}),
        (facts.SummaryEnded(AT, None), {"error": None, "left": 0}),
    ],
)
def test_a_fact_of_which_nothing_more_is_told_says_that_there_is_nothing(
    fact: Any, without_more: dict[str, Any]
) -> None:
    assert {name: getattr(fact, name) for name in without_more} == without_more
