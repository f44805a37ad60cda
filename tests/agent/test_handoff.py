"""Handing the conversation over: the call, what it leaves in the state, and what the receiver is shown."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.language_models import LangSmithParams
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.messages.tool import invalid_tool_call

from stategraph import interrupt
from stategraph.agent.context import handoff
from stategraph.agent.context.handoff import Handoff, Role
from stategraph.agent.graphs import assemble
from stategraph.agent.ports import AgentContext, Allow, Answer, Reviewed, Verdict
from stategraph.agent.settings.inputs import AgentInputs
from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.engine.config import environment
from stategraph.engine.config.environment import Environment
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from stategraph.testing.clock import FakeClock
from stategraph.testing.ids import CountedIds
from stategraph.types import Command
from tests.agent.test_multi import Team, ask, direct, said, transfer
from tests.agent.test_multi import handoff as to
from tests.conftest import Driver

ROUTING = "Routing is already handled if requested, unless you can route further."


def get_weather(city: str) -> str:
    """The weather of a city."""
    return f"Sunny in {city}"


# One receiver.


def test_the_receiver_sees_no_transfer_but_who_handed_over_and_the_instructions(driver: Driver) -> None:
    team = Team(
        {"one": [script.reply("Wait.", transfer("two", instructions="Refund it."))], "two": ["Refunded."]},
        to("one", "two", prompt="What to do?"),
        settings={"one": {"name": "One"}, "two": {"name": "Two", "instructions": "You refund."}},
    )
    result = driver.invoke(team.graph, ask("money back"))
    (system, preamble), *seen = team.asked("two")
    assert (system, preamble.splitlines()[1]) == ("system", 'You are "Two", transferred from "One".')
    assert preamble.endswith(f"{ROUTING}\n\nYou refund.")
    assert seen == [("human", "money back"), ("ai", "Wait."), ("human", "Refund it.")]
    assert said(result["messages"])[2:] == [
        ("tool", "Successfully transferred to two\n\nInstructions: Refund it."),
        ("human", "Refund it."),
        ("ai", "Refunded."),
    ]
    assert result["messages"][1].tool_calls[0]["name"] == "lc_transfer_to_two"
    assert result["messages"][2].additional_kwargs == {
        "handoff_source_name": "One",
        "handoff_instructions": "Refund it.",
    }


def test_without_instructions_nothing_is_added_and_an_agent_may_get_the_conversation_back(driver: Driver) -> None:
    team = Team(
        {"one": [script.reply(transfer("two")), "Done."], "two": [script.reply(transfer("one"))]},
        to("one", "two"),
        to("two", "one"),
    )
    driver.invoke(team.graph, ask())
    assert team.asked("two")[1:] == [("human", "hi")]
    assert team.asked("one", 1)[1:] == [("human", "hi")]
    assert 'transferred from "two"' in team.asked("one", 1)[0][1]


def test_what_the_tool_offers_is_as_the_edge_says() -> None:
    team = Team({"one": [], "two": []}, to("one", "two", description="Billing.", prompt="Which?", prompt_key="topic"))
    (tool,) = team.agents[0].handoffs.values()
    assert tool.definition.description == "Billing."
    assert tool.definition.parameters == {
        "type": "object",
        "properties": {"topic": {"type": "string", "description": "Which?"}},
        "required": [],
    }
    plain = Team({"one": [], "two": []}, to("one", "two"), settings={"two": {"name": "Two"}})
    (tool,) = plain.agents[0].handoffs.values()
    assert "Two" in (tool.definition.description or "")
    assert tool.definition.parameters == {"type": "object", "properties": {}, "required": []}


def test_other_tools_of_the_same_answer_run_and_the_receiver_sees_their_results(driver: Driver) -> None:
    calls = script.reply(script.call("get_weather", city="Rome", id="w"), transfer("two", "t", instructions="Go on."))
    team = Team(
        {"one": [calls], "two": ["Fine."]},
        to("one", "two", prompt="?"),
        settings={"one": {"tools": [get_weather]}, "two": {"tools": [get_weather]}},
    )
    result = driver.invoke(team.graph, ask())
    seen = team.models["two"].requests[0].messages
    assert [message.type for message in seen] == ["system", "human", "ai", "tool", "ai", "human"]
    assert [call["name"] for call in seen[2].tool_calls] == ["get_weather"]
    assert seen[3].content == "Sunny in Rome"
    assert [message.type for message in result["messages"]] == ["human", "ai", "tool", "tool", "human", "ai"]


def test_an_agent_without_tools_is_told_results_as_text(driver: Driver) -> None:
    agents: dict[str, Any] = {
        "one": [
            script.reply("Looking.", script.call("get_weather", city="Rome", id="w")),
            script.reply(transfer("two")),
        ],
        "two": ["Fine."],
    }
    team = Team(agents, to("one", "two"), settings={"one": {"tools": [get_weather]}})
    driver.invoke(team.graph, ask())
    told = 'Results of tools that were used before:\n\nget_weather {"city":"Rome"}\nSunny in Rome'
    assert team.asked("two")[1:] == [("human", "hi"), ("ai", "Looking."), ("human", told)]


def test_a_handoff_that_is_told_later_in_the_thread_leaves_no_trace_in_the_next_turn(driver: Driver) -> None:
    team = Team(
        {"one": [script.reply(transfer("two", instructions="X.")), "Again."], "two": ["Two."]},
        to("one", "two", prompt="?"),
        checkpointer=in_memory_saver(),
    )
    config = {"configurable": {"thread_id": "t"}}
    driver.invoke(team.graph, ask("first"), config)
    driver.invoke(team.graph, ask("second"), config)
    assert team.asked("one", 1) == [("human", "first"), ("human", "X."), ("ai", "Two."), ("human", "second")]


# Several at once.


def test_several_transfers_in_one_answer_run_side_by_side_in_the_order_of_the_calls(driver: Driver) -> None:
    split = script.reply(transfer("two", "1", instructions="Do A."), transfer("three", "2", instructions="Do B."))
    team = Team(
        {"one": [split], "two": ["Did A."], "three": ["Did B."], "join": ["Both."]},
        to("one", ["two", "three"], prompt="?"),
        direct(["two", "three"], "join"),
    )
    result = driver.invoke(team.graph, ask("split"))
    assert team.asked("two")[1:] == [("human", "split"), ("human", "Do A.")]
    assert team.asked("three")[1:] == [("human", "split"), ("human", "Do B.")]
    assert "Running in parallel with: three." in team.asked("two")[0][1]
    told = [("human", "Do A."), ("ai", "Did A."), ("human", "Do B."), ("ai", "Did B.")]
    assert said(result["messages"])[4:] == [*told, ("ai", "Both.")]
    assert team.asked("join") == [("human", "split"), *told]
    roles = {agent.id: agent.role for agent in team.agents}
    groups = {name: role.group_id(result["messages"]) for name, role in roles.items() if role is not None}
    assert groups["two"] == groups["three"]
    assert groups["two"] is not None
    assert 100_000 < groups["two"] < 2**53
    assert groups["one"] is None


def test_two_transfers_to_the_same_agent_are_one_with_both_instructions(driver: Driver) -> None:
    twice = script.reply(transfer("two", "1", instructions="A."), transfer("two", "2", instructions="B."))
    team = Team({"one": [twice], "two": ["Did."]}, to("one", "two", prompt="?"))
    driver.invoke(team.graph, ask())
    assert team.calls("two") == 1
    assert team.asked("two")[1:] == [("human", "hi"), ("human", "A.\n\nB.")]
    assert "parallel" not in team.asked("two")[0][1]


# Conditions.


@pytest.mark.parametrize(
    ("choice", "asked"), [("two", ["two"]), (["three"], ["three"]), (True, ["two", "three"]), (["two"], ["two"])]
)
def test_a_condition_chooses_to_whom_a_transfer_leads(driver: Driver, choice: Any, asked: list[str]) -> None:
    agents: dict[str, Any] = {"one": [script.reply(script.call("conditional_transfer"))], "two": ["2"], "three": ["3"]}
    team = Team(agents, {"from": "one", "to": ["two", "three"], "condition": lambda state: choice})
    driver.invoke(team.graph, ask())
    assert [name for name in ("two", "three") if team.calls(name)] == asked
    assert all('transferred from "one"' in team.asked(name)[0][1] for name in asked)


def test_a_condition_that_says_no_is_told_to_the_agent_which_goes_on(driver: Driver) -> None:
    agents: dict[str, Any] = {"one": [script.reply(script.call("conditional_transfer")), "Then I do it."], "two": []}
    team = Team(agents, to("one", "two", condition=lambda state: len(state["messages"]) > 9))
    driver.invoke(team.graph, ask())
    assert team.asked("one", 1)[-1] == ("tool", "Not transferred: the condition for it does not hold now.")


def test_a_condition_that_fails_or_chooses_somebody_else_is_told_to_the_model(driver: Driver) -> None:
    agents: dict[str, Any] = {"one": [script.reply(script.call("conditional_transfer")), "Sorry."], "two": []}
    team = Team(agents, to("one", "two", condition=lambda state: "z"))
    result = driver.invoke(team.graph, ask())
    assert result["messages"][2].status == "error"
    assert "chose 'z'; expected one or several of two" in result["messages"][2].content


def test_an_async_condition_works_async_and_a_sync_call_says_how() -> None:
    async def yes(state: Any) -> bool:
        return True

    agents: dict[str, Any] = {"one": [script.reply(script.call("conditional_transfer")), "Sorry."], "two": ["2"]}
    edge = to("one", "two", condition=yes)
    asyncio.run(Team(agents, edge).graph.ainvoke(ask()))
    result = Team(agents, edge).graph.invoke(ask())
    assert "is async: run the graph with ainvoke() or astream()" in result["messages"][2].content


# Tools that lead out of their agent by themselves.


def test_a_tool_of_a_host_may_lead_to_another_agent_and_takes_the_state_along(driver: Driver) -> None:
    def escalate() -> Command[Any]:
        """Escalates."""
        done = ToolMessage(content="Escalated.", tool_call_id="e")
        return Command(graph=Command.PARENT, goto="two", update={"messages": [done]})

    team = Team(
        {"one": [script.reply("Wait.", script.call("escalate", id="e"))], "two": ["Two."]},
        to("one", "two"),
        settings={"one": {"tools": [escalate]}},
    )
    result = driver.invoke(team.graph, ask())
    assert said(result["messages"]) == [("human", "hi"), ("ai", "Wait."), ("tool", "Escalated."), ("ai", "Two.")]
    assert team.calls("two") == 1


# Gates.


class Gate:
    """A gate that answers calls itself, rewords results, or adds something to them."""

    def __init__(self, *, answer: str | None = None, reword: bool = False, add: str | None = None) -> None:
        self._answer, self._reword, self._add = answer, reword, add

    async def before(self, at: Any, calls: Any, /) -> list[Verdict]:
        text = self._answer
        return [Allow(call) if text is None else Answer(call, text, "success") for call in calls]

    async def after(self, at: Any, call: Any, message: ToolMessage, /) -> tuple[ToolMessage, None]:
        reworded = ToolMessage(content="reworded", tool_call_id=message.tool_call_id)
        return reworded if self._reword else message, None

    async def finish(self, at: Any, calls: Any, messages: Any, remarks: Any, /) -> Reviewed:
        added = [] if self._add is None else [HumanMessage(self._add, additional_kwargs={"source": "hook"})]
        return Reviewed(messages, injected=added)


def handing_over(*more: Any) -> Team:
    agents = {"one": [script.reply(transfer("two", instructions="A.")), *more], "two": ["Two."]}
    return Team(agents, to("one", "two", prompt="?"))


@pytest.mark.anyio
async def test_a_result_that_a_gate_rewords_still_hands_over() -> None:
    team = handing_over()
    result = await team.graph.ainvoke(ask(), context=AgentContext(gates=(Gate(reword=True),)))
    assert team.asked("two")[1:] == [("human", "hi"), ("human", "A.")]
    assert said(result["messages"])[2] == ("tool", "reworded")


@pytest.mark.anyio
async def test_what_is_added_to_the_results_does_not_hide_the_handoff_from_the_receiver() -> None:
    team = handing_over()
    await team.graph.ainvoke(ask(), context=AgentContext(gates=(Gate(add="Mind the law."),)))
    assert team.asked("two")[1:] == [("human", "hi"), ("human", "Mind the law."), ("human", "A.")]


@pytest.mark.anyio
async def test_a_transfer_that_somebody_else_answers_is_a_result_that_the_agent_reads() -> None:
    team = handing_over("Then not.")
    await team.graph.ainvoke(ask(), context=AgentContext(gates=(Gate(answer="Stay."),)))
    assert team.calls("two") == 0
    assert team.asked("one", 1)[-1] == ("tool", "Stay.")


# Pauses and travels.


def test_a_handoff_survives_an_interrupt_in_the_receiver(driver: Driver) -> None:
    def confirm() -> str:
        """Asks a person."""
        return f"they said {interrupt('sure?')}"

    team = Team(
        {
            "one": [script.reply(transfer("two", "1", instructions="A."), transfer("three", "2"))],
            "two": [script.reply(script.call("confirm")), "Done."],
            "three": ["Three."],
        },
        to("one", ["two", "three"], prompt="?"),
        settings={"two": {"tools": [confirm]}},
        checkpointer=in_memory_saver(),
    )
    config = {"configurable": {"thread_id": "t"}}
    paused = driver.invoke(team.graph, ask(), config)
    assert paused["__interrupt__"][0].value == "sure?"
    result = driver.invoke(team.graph, Command(resume="yes"), config)
    assert (team.calls("two"), team.calls("three")) == (2, 1)
    assert team.asked("two", 1)[1:] == [("human", "hi"), ("human", "A."), ("ai", ""), ("tool", "they said yes")]
    assert "Running in parallel with: three." in team.asked("two", 1)[0][1]
    assert [text for _, text in said(result["messages"])].count("A.") == 1


def test_a_pause_before_the_receiver_lets_a_person_edit_what_it_sees(driver: Driver) -> None:
    team = Team(
        {"one": [script.reply(transfer("two", instructions="A."))], "two": ["Two."]},
        to("one", "two", prompt="?"),
        checkpointer=in_memory_saver(),
        interrupt_before=["two"],
    )
    config = {"configurable": {"thread_id": "t"}}
    driver.invoke(team.graph, ask(), config)
    assert driver.get_state(team.graph, config).next == ("two",)
    driver.update_state(
        team.graph, config, {"messages": [HumanMessage("by the way", additional_kwargs={"isMeta": True})]}
    )
    driver.invoke(team.graph, None, config)
    assert [text for _, text in team.asked("two")[1:]] == ["hi", "by the way", "A."]


def test_a_handoff_can_be_travelled_back_to(driver: Driver) -> None:
    team = Team(
        {"one": [script.reply(transfer("two", instructions="A."))], "two": ["First.", "Second."]},
        to("one", "two", prompt="?"),
        checkpointer=in_memory_saver(),
    )
    config = {"configurable": {"thread_id": "t"}}
    driver.invoke(team.graph, ask(), config)
    before = next(state for state in driver.history(team.graph, config) if state.next == ("two",))
    result = driver.invoke(team.graph, None, before.config)
    assert team.asked("two", 1) == team.asked("two", 0)
    assert said(result["messages"])[-2:] == [("human", "A."), ("ai", "Second.")]


# What an agent is shown, as a function.


def role(*, has_tools: bool = True, needs_cue: bool = False) -> Role:
    return Role("two", {"one": "One", "two": "Two"}, has_tools, needs_cue)


def transferred(*calls: str, text: Any = "") -> list[AnyMessage]:
    """An answer with calls, and their results."""
    made = [{"name": name, "args": {}, "id": name} for name in calls]
    marks = {"handoff_source_name": "One", "handoff_instructions": "Do it."}
    results = [
        ToolMessage(
            content="r",
            name=name,
            tool_call_id=name,
            additional_kwargs=marks if name.startswith(handoff.TRANSFER) else {},
        )
        for name in calls
    ]
    return [AIMessage(content=text, tool_calls=made), *results]


def test_a_conversation_without_transfers_is_shown_as_it_is() -> None:
    messages = [HumanMessage("hi"), *transferred("get_weather")]
    assert handoff.without_transfers(messages) is messages


def test_blocks_and_unreadable_calls_of_a_transfer_are_taken_out_too() -> None:
    name = "lc_transfer_to_two"
    text = [{"type": "text", "text": "Wait."}, {"type": "tool_use", "id": name, "name": name, "input": {}}]
    answer, result = transferred(name, text=text)
    seen = handoff.without_transfers([answer, result])
    assert [message.content for message in seen] == [[{"type": "text", "text": "Wait."}]]
    broken = AIMessage(content="Wait.", invalid_tool_calls=[invalid_tool_call(name=name, args="{", id=name)])
    (kept,) = handoff.without_transfers([broken, result])
    assert isinstance(kept, AIMessage)
    assert kept.invalid_tool_calls == []


def test_transfers_of_a_stored_history_are_known_by_name_and_text_and_failed_ones_stay() -> None:
    stored = transferred("lc_transfer_to_two")
    stored[1].additional_kwargs, stored[1].content = {}, "Successfully transferred to two"
    assert handoff.without_transfers(stored) == []
    failed = ToolMessage(content="Error", name="lc_transfer_to_two", tool_call_id="lc_transfer_to_two", status="error")
    assert list(handoff.without_transfers([stored[0], failed])) == [stored[0], failed]


def test_an_answer_stands_between_results_and_instructions() -> None:
    messages = [HumanMessage("hi"), *transferred("get_weather"), *transferred("lc_transfer_to_two")]
    seen = role().look(None, messages).messages
    assert [message.type for message in seen] == ["human", "ai", "tool", "ai", "human"]
    assert seen[-1].content == "Do it."


def test_word_of_the_handoff_does_not_change_the_beginning_of_instructions_that_are_cached() -> None:
    messages = [HumanMessage("hi"), *transferred("lc_transfer_to_two")]
    blocks = SystemMessage(content=[{"type": "text", "text": "Own."}])
    assert str(role().look(None, messages).system).startswith("content='## Multi-Agent Workflow")
    shown = role().look(blocks, messages).system
    assert shown is not None
    assert [block["text"][:5] for block in shown.content if isinstance(block, dict)] == ["Own.", "## Mu"]


@pytest.mark.parametrize(("needs_cue", "last"), [(True, "human"), (False, "ai")])
def test_a_provider_that_would_go_on_with_the_text_before_gets_a_cue(needs_cue: bool, last: str) -> None:
    messages = [HumanMessage("hi"), AIMessage("Draft.")]
    assert role(needs_cue=needs_cue).look(None, messages).messages[-1].type == last


@pytest.mark.parametrize(("provider", "needs_cue"), [("anthropic", True), ("amazon_bedrock", True), ("openai", False)])
def test_a_provider_that_needs_a_cue_is_known_by_its_name(provider: str, needs_cue: bool) -> None:
    class Model(ScriptedChatModel):
        def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
            return LangSmithParams(ls_provider=provider)

    (agent,), _ = assemble.build([AgentInputs.of({"agent_id": "a", "model": Model()})], [])
    assert agent.role is not None
    assert agent.role.needs_cue is needs_cue


# The tool, as a function.


def tool_of(**settings: Any) -> Handoff:
    return Handoff("go", "Go.", "One", **{"destinations": ("two", "three"), **settings})


@pytest.mark.parametrize(
    ("settings", "arguments", "text", "marks"),
    [
        ({"destinations": ("two",)}, {}, "two", {}),
        ({"destinations": ("two",)}, {"instructions": "A."}, "two", {}),
        ({"parameter": "topic"}, {}, "two, three", {}),
        ({"parameter": "topic"}, {"topic": " "}, "two, three", {}),
        ({"parameter": "topic"}, {"topic": 7}, "two, three", {}),
        ({"parameter": "topic"}, {"other": "A."}, "two, three", {}),
        ({"parameter": "topic"}, {"topic": "A."}, "two, three\n\nTopic: A.", {"handoff_instructions": "A."}),
        ({"condition": lambda state: "three"}, {}, "three", {"handoff_destinations": ["three"]}),
        (
            {"condition": lambda state: ["three", "two", "three"]},
            {},
            "three, two",
            {"handoff_destinations": ["three", "two"]},
        ),
        ({"condition": lambda state: True}, {}, "two, three", {"handoff_destinations": ["two", "three"]}),
    ],
)
@pytest.mark.parametrize("call_id", ["c", None])
def test_a_transfer_says_where_it_leads_and_what_is_told(
    settings: Any, arguments: Any, text: str, marks: dict[str, Any], call_id: str | None
) -> None:
    made = tool_of(**settings).take({"name": "go", "args": arguments, "id": call_id}, {"messages": []})
    assert isinstance(made, Command)
    assert made.graph == Command.PARENT
    (result,) = made.update["messages"]
    assert (result.text, result.name) == (f"Successfully transferred to {text}", "go")
    assert result.tool_call_id == (call_id or "")
    assert made.goto == text.partition("\n")[0].split(", ")
    assert result.additional_kwargs == {"handoff_source_name": "One", **marks}


@pytest.mark.parametrize("choice", [None, False, [], ()])
@pytest.mark.parametrize("call_id", ["c", None])
def test_a_transfer_whose_condition_does_not_hold_is_a_result_and_leads_nowhere(
    choice: Any, call_id: str | None
) -> None:
    made = tool_of(condition=lambda state: choice).take({"name": "go", "args": {}, "id": call_id}, {"messages": []})
    assert isinstance(made, ToolMessage)
    assert (made.name, made.tool_call_id, made.additional_kwargs) == ("go", call_id or "", {})


@pytest.mark.parametrize("choice", ["four", ["two", "four"], 7, {"two"}])
def test_a_condition_that_chooses_something_else_is_an_error(choice: Any) -> None:
    with pytest.raises(ValueError, match=r"The edge chose .*; expected one or several of two, three, or a bool"):
        handoff.chosen(choice, ("two", "three"), "The edge")


def test_a_group_of_parallel_handoffs_has_a_large_number_that_json_can_hold() -> None:
    answer = AIMessage("", tool_calls=[{"name": "go", "args": {}, "id": "c"}])
    outputs = [tool_of(condition=lambda state: True).take(answer.tool_calls[0], {"messages": []})]

    class Drawn(CountedIds):
        """Ids of which the random numbers are known."""

        def __init__(self, number: float) -> None:
            super().__init__()
            self._number = number

        def random(self) -> float:
            return self._number

    for number, group in ((0.0, 2**40), (0.5, 2**52 + 2**39)):
        with environment.use(Environment(FakeClock(), Drawn(number))):
            left = handoff.departure({"messages": [answer]}, outputs, (), None)
        arrivals = [handoff.arrival_of(each, dict(left.update)["messages"]) for each in ("one", "two", "three")]
        assert arrivals[0] is None
        assert [(each.parallel, each.group_id) for each in arrivals if each is not None] == [
            (("three",), group),
            (("two",), group),
        ]


@pytest.mark.parametrize(
    "messages",
    [[], [HumanMessage("hi"), AIMessage("hello")], [SystemMessage("s"), AIMessage([{"type": "text", "text": "a"}])]],
)
def test_a_conversation_without_calls_is_not_put_into_other_words(messages: list[AnyMessage]) -> None:
    assert handoff.flattened(messages) is messages
    assert handoff.without_transfers(messages) is messages


@pytest.mark.parametrize(
    ("messages", "told"),
    [
        ([*transferred("a")], [("human", "a {}\nr")]),
        ([*transferred("a", "b")], [("human", "a {}\nr\n\nb {}\nr")]),
        ([*transferred("a", text="Wait."), HumanMessage("x")], [("ai", "Wait."), ("human", "a {}\nr"), ("human", "x")]),
        ([AIMessage(" ", tool_calls=transferred("a")[0].tool_calls)], [("human", "")]),
        ([AIMessage("Hm."), transferred("a")[1]], [("ai", "Hm."), ("human", "a \nr")]),
    ],
)
def test_calls_and_results_become_text_for_an_agent_without_tools(
    messages: list[AnyMessage], told: list[tuple[str, str]]
) -> None:
    beginning = "Results of tools that were used before:"
    shown = [(kind, text.removeprefix(beginning).strip()) for kind, text in said(handoff.flattened(messages))]
    assert shown == [(kind, text) for kind, text in told]
    assert all(not getattr(each, "tool_calls", None) for each in handoff.flattened(messages))
