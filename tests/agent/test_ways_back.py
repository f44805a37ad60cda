"""Handoffs that return, turns that begin with whom was spoken to last, and names of transfers that are too long."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage

from stategraph.agent.context import handoff
from stategraph.agent.graphs import assemble
from stategraph.agent.ports import AgentContext, Halt
from stategraph.agent.settings.inputs import AgentInputs, GraphEdge
from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.errors import ConfigurationError
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from tests.agent.test_multi import Team, ask, direct, said, transfer
from tests.agent.test_multi import handoff as to
from tests.conftest import Driver
from tests.run.hosting import THREAD

# Returning.


def test_an_agent_gives_the_conversation_back_when_it_has_answered(driver: Driver) -> None:
    team = Team(
        {"desk": [script.reply(transfer("expert")), "So it is."], "expert": ["It is blue."]},
        to("desk", "expert", returns=True),
    )
    result = driver.invoke(team.graph, ask("colour?"))
    assert [text for kind, text in said(result["messages"]) if kind == "ai"] == ["", "It is blue.", "So it is."]
    assert team.asked("desk", 1) == [
        ("human", "colour?"),
        ("ai", "It is blue."),
        ("human", "The conversation is back with you. Go on from what was said above."),
    ]
    assert (team.calls("desk"), team.calls("expert")) == (2, 1)


def test_it_comes_back_as_often_as_it_was_handed_over(driver: Driver) -> None:
    desk = [script.reply(transfer("expert", "c1")), script.reply(transfer("expert", "c2")), "Done."]
    team = Team({"desk": desk, "expert": ["One.", "Two."]}, to("desk", "expert", returns=True))
    result = driver.invoke(team.graph, ask())
    answers = [text for kind, text in said(result["messages"]) if kind == "ai" and text]
    assert answers == ["One.", "Two.", "Done."]


def test_agents_side_by_side_give_it_back_together(driver: Driver) -> None:
    desk = [script.reply(transfer("left", "c1"), transfer("right", "c2")), "Both."]
    edges = [to("desk", name, returns=True) for name in ("left", "right")]
    team = Team({"desk": desk, "left": ["L."], "right": ["R."]}, *edges)
    result = driver.invoke(team.graph, ask())
    assert said(result["messages"])[-1] == ("ai", "Both.")
    assert [team.calls(name) for name in ("desk", "left", "right")] == [2, 1, 1]


def test_ways_that_return_can_be_nested(driver: Driver) -> None:
    team = Team(
        {
            "desk": [script.reply(transfer("expert")), "Done."],
            "expert": [script.reply(transfer("lab")), "Measured."],
            "lab": ["7 cm."],
        },
        to("desk", "expert", returns=True),
        to("expert", "lab", returns=True),
    )
    result = driver.invoke(team.graph, ask())
    assert [text for kind, text in said(result["messages"]) if kind == "ai" and text] == ["7 cm.", "Measured.", "Done."]


def test_an_agent_that_hands_over_itself_gives_nothing_back(driver: Driver) -> None:
    team = Team(
        {"desk": [script.reply(transfer("expert"))], "expert": [script.reply(transfer("sales"))], "sales": ["Buy."]},
        to("desk", "expert", returns=True),
        to("expert", "sales"),
    )
    result = driver.invoke(team.graph, ask())
    assert said(result["messages"])[-1] == ("ai", "Buy.")
    assert team.calls("desk") == 1


def test_its_direct_edges_are_not_taken_when_it_gives_the_conversation_back(driver: Driver) -> None:
    team = Team(
        {"desk": [script.reply(transfer("expert")), "Done."], "expert": ["Fact."], "editor": ["Edited."]},
        to("desk", "expert", returns=True),
        direct("expert", "editor"),
    )
    driver.invoke(team.graph, ask())
    assert (team.calls("desk"), team.calls("editor")) == (2, 0)


def test_a_condition_chooses_whom_it_comes_back_from(driver: Driver) -> None:
    call = script.call("conditional_transfer")
    team = Team(
        {"desk": [script.reply(call), "Done."], "left": ["L."], "right": ["R."]},
        to("desk", ["left", "right"], condition=lambda _: "right", returns=True),
    )
    driver.invoke(team.graph, ask())
    assert [team.calls(name) for name in ("desk", "left", "right")] == [2, 0, 1]


def test_a_turn_that_was_halted_does_not_return() -> None:
    class Gate:
        def before(self, request: Any, /) -> Any:
            return Halt("quota") if request.at.agent_id == "expert" else request

        def after(self, request: Any, answer: AIMessage, /) -> AIMessage:
            return answer

    team = Team({"desk": [script.reply(transfer("expert")), "Done."], "expert": []}, to("desk", "expert", returns=True))
    result = team.graph.invoke(ask(), context=AgentContext(model_gates=[Gate()]))
    assert (result["halt_reason"], team.calls("desk")) == ("quota", 1)


def test_direct_edges_cannot_return() -> None:
    with pytest.raises(ConfigurationError, match="the direct edge from a to b has 'returns', which is for handoffs"):
        GraphEdge.of(direct("a", "b", returns=True))


# Long names.

LONG = ["agent-of-the-department-for-refunds-in-the-north-of-the-country-" + end for end in ("one", "two")]


def test_names_that_are_too_long_for_providers_are_cut_and_tell_agents_apart(driver: Driver) -> None:
    names = [handoff.tool_name(each) for each in LONG]
    cut = "lc_transfer_to_agent-of-the-department-for-refunds-in_"
    assert names == [f"{cut}756c665d4d", f"{cut}5f07e48e2b"]
    assert {len(name) for name in names} == {64}
    assert handoff.tool_name("x" * 49) == "lc_transfer_to_" + "x" * 49
    desk = [script.reply(script.call(names[1], {}, id="c"))]
    team = Team({"desk": desk, LONG[0]: ["No."], LONG[1]: ["Yes."]}, *(to("desk", each) for each in LONG))
    result = driver.invoke(team.graph, ask())
    assert said(result["messages"])[-2:] == [("tool", f"Successfully transferred to {LONG[1]}"), ("ai", "Yes.")]
    assert team.models["desk"].requests[0].tools == tuple(names)
    # The receiver is shown no transfer, also where a host has stored nothing but its content.
    stored = ToolMessage("Successfully transferred to x", name=names[1], tool_call_id="c")
    call = AIMessage("", tool_calls=[{"name": names[1], "args": {}, "id": "c"}])
    assert handoff.without_transfers([HumanMessage("hi"), call, stored]) == [HumanMessage("hi")]


# Sticky agents.


class Sticky:
    """Three agents of a sticky graph, on a thread or not."""

    def __init__(self, *edges: dict[str, Any], saver: Any = None, **replies: list[Any]) -> None:
        self.models = {name: ScriptedChatModel(replies=given) for name, given in replies.items()}
        inputs = [AgentInputs.of({"agent_id": name, "model": model}) for name, model in self.models.items()]
        ways = [GraphEdge.of(edge) for edge in edges]
        self.graph = assemble.build(inputs, ways, sticky=True)[1].compile(checkpointer=saver)

    def calls(self) -> list[int]:
        return [len(model.requests) for model in self.models.values()]


def test_the_next_turn_begins_with_the_agent_that_spoke_last(driver: Driver) -> None:
    saver = in_memory_saver()
    edges = [to("desk", "sales"), to("sales", "desk")]
    first = Sticky(*edges, saver=saver, desk=[script.reply(transfer("sales"))], sales=["Hello."])
    driver.invoke(first.graph, ask("buy"), THREAD)
    again = Sticky(*edges, saver=saver, desk=["Desk."], sales=["Still sales.", script.reply(transfer("desk"))])
    result = driver.invoke(again.graph, ask("more"), THREAD)
    assert (said(result["messages"])[-1], again.calls()) == (("ai", "Still sales."), [0, 1])
    result = driver.invoke(again.graph, ask("desk please"), THREAD)
    assert (said(result["messages"])[-1], again.calls()) == (("ai", "Desk."), [1, 2])
    last = Sticky(*edges, saver=saver, desk=["Desk again."], sales=[])
    assert said(driver.invoke(last.graph, ask("x"), THREAD)["messages"])[-1] == ("ai", "Desk again.")


def test_an_agent_to_which_an_edge_led_is_remembered_too(driver: Driver) -> None:
    team = Sticky(direct("writer", "editor"), saver=in_memory_saver(), writer=["W."], editor=["E.", "E2."])
    driver.invoke(team.graph, ask(), THREAD)
    driver.invoke(team.graph, ask(), THREAD)
    assert team.calls() == [1, 2]


@pytest.mark.parametrize("stored", [False, True])
def test_without_a_thread_the_last_handoff_of_the_history_says_where_to_begin(driver: Driver, stored: bool) -> None:
    edges = [to("desk", LONG[0]), to("desk", "sales")]
    first = Sticky(*edges, desk=[script.reply(script.call(handoff.tool_name(LONG[0])))], sales=[], **{LONG[0]: ["Hi."]})
    history: list[AnyMessage] = driver.invoke(first.graph, ask())["messages"]
    if stored:
        history = [each.model_copy(update={"additional_kwargs": {}}) for each in history]
    again = Sticky(*edges, desk=[], sales=[], **{LONG[0]: ["Again."]})
    driver.invoke(again.graph, {"messages": [*history, HumanMessage("more")]})
    assert again.calls() == [0, 0, 1]


def test_after_a_way_that_returned_the_turn_begins_where_it_came_back(driver: Driver) -> None:
    edge = to("desk", "expert", returns=True)
    first = Sticky(edge, desk=[script.reply(transfer("expert")), "So."], expert=["Fact."])
    history = driver.invoke(first.graph, ask())["messages"]
    again = Sticky(edge, desk=["Desk."], expert=[])
    driver.invoke(again.graph, {"messages": [*history, HumanMessage("more")]})
    assert again.calls() == [1, 0]


def test_an_agent_that_there_is_no_more_and_one_that_others_wait_for_begin_nothing(driver: Driver) -> None:
    join = direct(["left", "right"], "sum")
    for last in ("gone", "left"):
        team = Sticky(join, left=["L."], right=["R."], sum=["S."])
        driver.invoke(team.graph, {**ask(), "active_agent": last})
        assert team.calls() == [1, 1, 1]
