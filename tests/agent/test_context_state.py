"""What is known about contexts, as it is kept in the state."""

from __future__ import annotations

import json
from typing import Any

from langchain_core.messages import AnyMessage, HumanMessage, SystemMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from stategraph.agent.context.calibration import Calibration
from stategraph.agent.context.context_state import ContextState, Correction, Summary, covered, uncovered
from stategraph.agent.messages.compaction import FadingTier
from stategraph.agent.state import AgentState
from stategraph.graph.state import StateGraph

FULL = ContextState(
    counts={"m1": 10, "m2": 7},
    calibration=Calibration(1.5, 100, 150, 370, 0.25),
    tier=FadingTier(2, True),
    newest="m2",
    oldest="m1",
    reported=(400, 0),
    tools=Correction(48, 348),
    size=Correction(4000, 3000),
    summary=Summary("Short.", 71, 2, "m0"),
    summarised_at=3,
    failed_after="m1",
    wanted=True,
    rejected=1,
)


def test_a_context_state_survives_json_and_a_serialiser_that_allows_no_classes() -> None:
    stored = FULL.stored()
    strict = JsonPlusSerializer(allowed_msgpack_modules=None)
    for read in (json.loads(json.dumps(stored)), strict.loads_typed(strict.dumps_typed(stored))):
        again = ContextState.of(read)
        assert again.writes == 1
        assert again.stored() == {**stored, "writes": 2}


def test_what_is_stored_is_what_json_makes_of_it() -> None:
    stored = FULL.stored()
    assert stored["reported"] is not None
    assert json.loads(json.dumps(stored)) == stored


def test_what_a_later_version_noted_besides_is_passed_over() -> None:
    stored = FULL.stored()
    later = {
        name: {**value, "more": 1} if isinstance(value, dict) and name != "counts" else value
        for name, value in stored.items()
    }
    assert ContextState.of({**later, "more": 1}) == ContextState.of(stored)


def test_agents_without_a_context_state_have_the_initial_one_in_common() -> None:
    initial = ContextState.of_agent({}, "one")
    assert initial is ContextState.of_agent({"windows": {"one": {"writes": 1}}}, "other")
    kept = initial.update("one")
    kept["windows"]["one"]["counts"] = {"m1": 1}
    assert initial == ContextState()


def test_an_empty_context_state_takes_no_room() -> None:
    assert ContextState().stored() == {"writes": 1}
    assert (
        ContextState.of_agent({}, "a")
        == ContextState.of_agent({"windows": {"b": {"writes": 1}}}, "a")
        == ContextState()
    )


def test_a_calibration_without_a_comparison_is_json_too() -> None:
    stored = ContextState(calibration=Calibration(2.0)).stored()
    assert "Infinity" not in json.dumps(stored)
    assert ContextState.of(stored).calibration == Calibration(2.0)


def test_agents_that_end_side_by_side_keep_each_its_own_context_state() -> None:
    def writes(**states: int) -> dict[str, Any]:
        return {"windows": {agent_id: {"writes": count} for agent_id, count in states.items()}}

    graph = StateGraph(AgentState)
    graph.add_node("one", lambda _: writes(one=5, two=1))
    graph.add_node("two", lambda _: writes(one=4, two=2))
    for name in ("one", "two"):
        graph.set_entry_point(name)
    ended = graph.compile().invoke({"messages": [], **writes(one=4, two=1)})
    assert ended["windows"] == {"one": {"writes": 5}, "two": {"writes": 2}}


def test_a_summary_stands_for_all_up_to_its_last_message_but_a_leading_system_message() -> None:
    messages: list[AnyMessage] = [SystemMessage("s", id="s"), HumanMessage("a", id="a"), HumanMessage("b", id="b")]
    summary = Summary("Short.", 1, 1, "a")
    assert covered(messages, summary) == 2
    assert [each.id for each in uncovered(messages, summary)] == ["s", "b"]
    assert [each.id for each in uncovered(messages[1:], summary)] == ["b"]
    assert list(uncovered(messages, Summary("Short.", 1, 1, "s"))) == messages
    assert list(uncovered(messages[:1], Summary("Short.", 1, 1, "s"))) == messages[:1]


def test_a_summary_of_messages_that_are_gone_hides_nothing() -> None:
    messages: list[AnyMessage] = [HumanMessage("b", id="b")]
    assert uncovered(messages, Summary("Short.", 1, 1, "a")) is messages
    assert uncovered(messages, None) is messages
