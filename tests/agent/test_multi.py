"""Several agents as a graph: edges that are always taken, joins, prompts, groups, and what is refused."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from stategraph.agent.graphs import agent_graph, assemble, multi_agent
from stategraph.agent.ports import AgentContext, Allow, Reviewed
from stategraph.agent.settings.inputs import AgentInputs, GraphEdge
from stategraph.errors import ConfigurationError
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from tests.conftest import Driver


class Team:
    """Agents on scripted models, and their graph.

    Args:
        agents: What each agent answers, by id.
        edges: The ways between them.
        settings: Further settings of agents, by id.
        compiled: How to compile.
    """

    def __init__(
        self,
        agents: dict[str, Sequence[Any]],
        *edges: dict[str, Any],
        settings: dict[str, dict[str, Any]] | None = None,
        **compiled: Any,
    ) -> None:
        self.models = {name: ScriptedChatModel(replies=list(replies)) for name, replies in agents.items()}
        inputs = [
            AgentInputs.of({"agent_id": name, "model": model, **(settings or {}).get(name, {})})
            for name, model in self.models.items()
        ]
        self.agents, builder = assemble.build(inputs, [GraphEdge.of(edge) for edge in edges])
        self.graph = builder.compile(**compiled)

    def asked(self, name: str, number: int = 0) -> list[tuple[str, str]]:
        """What an agent's model was sent."""
        return said(self.models[name].requests[number].messages)

    def calls(self, name: str) -> int:
        """How often an agent's model was asked."""
        return len(self.models[name].requests)


def said(messages: Sequence[BaseMessage]) -> list[tuple[str, str]]:
    return [(message.type, str(message.content)) for message in messages]


def ask(text: str = "hi") -> dict[str, Any]:
    return {"messages": [HumanMessage(text)]}


def direct(source: Any, to: Any, **settings: Any) -> dict[str, Any]:
    return {"from": source, "to": to, "edge_type": "direct", **settings}


def handoff(source: Any, to: Any, **settings: Any) -> dict[str, Any]:
    return {"from": source, "to": to, "edge_type": "handoff", **settings}


def transfer(to: str, call_id: str | None = None, **arguments: Any) -> script.ToolCall:
    return script.call(f"lc_transfer_to_{to}", arguments, id=call_id)


def test_an_agent_follows_another_and_sees_what_it_said(driver: Driver) -> None:
    team = Team({"writer": ["Draft."], "editor": ["Polished."]}, direct("writer", "editor"))
    result = driver.invoke(team.graph, ask("write"))
    assert said(result["messages"]) == [("human", "write"), ("ai", "Draft."), ("ai", "Polished.")]
    assert team.asked("editor") == [("human", "write"), ("ai", "Draft.")]


def test_agents_fan_out_and_a_join_waits_for_all_of_them(driver: Driver) -> None:
    team = Team(
        {"start": ["Intro."], "left": ["L1."], "long": ["L2."], "right": ["R."], "join": ["Sum."]},
        direct("start", ["left", "right"]),
        direct("left", "long"),
        direct(["long", "right"], "join"),
    )
    driver.invoke(team.graph, ask())
    assert team.calls("join") == 1
    assert [text for _, text in team.asked("join")] == ["hi", "Intro.", "L1.", "R.", "L2."]


def test_agents_that_no_edge_leads_to_start_side_by_side_and_the_turn_ends_once(driver: Driver) -> None:
    team = Team({"a": ["A1."], "b": ["B1."], "after": ["A2."]}, direct("a", "after"))
    updates = driver.stream(team.graph, ask(), stream_mode="updates")
    names = [name for update in updates for name in update]
    assert (sorted(names[:2]), names[2:]) == (["a", "b"], ["after", "done"])
    assert team.asked("b") == [("human", "hi")]


def test_if_every_agent_is_led_to_the_first_one_starts(driver: Driver) -> None:
    team = Team({"a": ["Done."], "b": []}, handoff("a", "b"), handoff("b", "a"))
    driver.invoke(team.graph, ask())
    assert (team.calls("a"), team.calls("b")) == (1, 0)


def test_usage_is_summed_over_all_agents(driver: Driver) -> None:
    replies = [script.reply("x", usage=(10, 5))]
    team = Team({"a": replies, "b": replies, "c": replies}, direct(["a", "b"], "c"))
    usage = driver.invoke(team.graph, ask())["usage"]
    assert usage == {"input_tokens": 30, "output_tokens": 15, "total_tokens": 45}
    silent = Team({"a": ["x"]}).graph
    assert driver.invoke(silent, ask())["usage"] == {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}


class Runs(BaseCallbackHandler):
    """The names of the runs that a tracer is told of."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def on_chain_start(self, *_: Any, name: str = "", **__: Any) -> None:
        self.names.append(name)


def test_a_tracer_is_told_of_agents_and_nodes_and_not_of_what_is_within_them(driver: Driver) -> None:
    team = Team(
        {"a": ["One."], "b": [script.reply(transfer("c"))], "c": ["Three."]},
        direct("a", "b", prompt="Go on", condition=lambda _: True),
        handoff("b", "c"),
    )
    runs = Runs()
    driver.invoke(team.graph, ask(), {"callbacks": [runs]})
    assert team.calls("c") == 1
    counted = Counter(runs.names)
    nodes = ("agent=a", "agent=b", "agent=c", "tools=b", "fan_in_b_prompt", "done")
    assert {name: counted[name] for name in nodes} == dict.fromkeys(nodes, 1)
    assert {counted[name] for name in ("a", "b", "c")} == {2}  # the node, and the graph in it
    assert counted["route"] == 0


# Prompts.


def test_a_prompt_with_results_tells_them_in_place_of_the_messages(driver: Driver) -> None:
    team = Team(
        {"a": ["One."], "b": ["Two."], "join": ["Sum."]},
        direct(["a", "b"], "join", prompt="Sum up {braces}: {results}"),
    )
    result = driver.invoke(team.graph, ask())
    prompt = "Sum up {braces}: AI: One.\nAI: Two."
    assert team.asked("join") == [("human", "hi"), ("human", prompt)]
    assert [text for _, text in said(result["messages"])] == ["hi", "One.", "Two.", prompt, "Sum."]
    told = result["messages"][-2]
    assert told.additional_kwargs["source"] == "routing"
    assert told.additional_kwargs["isMeta"] is True


@pytest.mark.parametrize(
    ("prompt", "exclude", "shown"),
    [
        ("Go on.", None, ["hi", "One.", "Go on."]),
        ("Go on.", True, ["hi", "Go on."]),
        ("So far: {results}", False, ["hi", "One.", "So far: AI: One."]),
        ("", True, ["hi", "One."]),
    ],
)
def test_a_prompt_hides_the_messages_only_if_it_tells_them_or_is_asked_to(
    driver: Driver, prompt: str, exclude: bool | None, shown: list[str]
) -> None:
    team = Team({"a": ["One."], "b": ["Two."]}, direct("a", "b", prompt=prompt, exclude_results=exclude))
    driver.invoke(team.graph, ask())
    assert [text for _, text in team.asked("b")] == shown


def test_a_prompt_can_be_made_by_a_function_of_the_messages_and_where_the_run_began(driver: Driver) -> None:
    def summarise(messages: Sequence[BaseMessage], start: int) -> str:
        return f"{len(messages)} messages, the run began at {start}: {messages[start].content}"

    team = Team({"a": ["One."], "b": ["Two."]}, direct("a", "b", prompt=summarise, exclude_results=True))
    driver.invoke(team.graph, {"messages": [HumanMessage("old"), AIMessage("Old."), HumanMessage("new")]})
    told = "4 messages, the run began at 3: One."
    assert [text for _, text in team.asked("b")] == ["old", "Old.", "new", told]


def test_what_a_host_adds_to_the_input_is_not_something_that_the_run_has_brought(driver: Driver) -> None:
    added = HumanMessage("Be kind.", additional_kwargs={"role": "system", "source": "hook"})
    team = Team({"a": ["One."], "b": ["Two."]}, direct("a", "b", prompt="{results}"))
    driver.invoke(team.graph, {"messages": [HumanMessage("hi"), added]})
    assert [text for _, text in team.asked("b")] == ["hi", "Be kind.", "AI: One."]


def test_a_prompt_that_is_no_text_is_refused_by_the_name_of_the_agent(driver: Driver) -> None:
    team = Team({"a": ["One."], "b": ["Two."]}, direct("a", "b", prompt=lambda messages, start: start + 1))
    with pytest.raises(TypeError, match="makes the prompt for agent 'b' returned a value of type int; expected a text"):
        driver.invoke(team.graph, ask())


@pytest.mark.parametrize("nothing", [None, ""])
def test_without_a_prompt_after_all_the_agent_follows_and_is_told_nothing(driver: Driver, nothing: str | None) -> None:
    team = Team({"a": ["One."], "b": ["Two."]}, direct("a", "b", prompt=lambda messages, start: nothing))
    result = driver.invoke(team.graph, ask())
    assert team.asked("b") == [("human", "hi"), ("ai", "One.")]
    assert said(result["messages"])[1:] == [("ai", "One."), ("ai", "Two.")]


@pytest.mark.parametrize("text", ["Told later.", None])
def test_an_async_prompt_works_async_and_a_sync_call_says_how(text: str | None) -> None:
    async def summarise(messages: Sequence[BaseMessage], start: int) -> str | None:
        return text

    team = Team({"a": ["One."], "b": ["Two."]}, direct("a", "b", prompt=summarise))
    asyncio.run(team.graph.ainvoke(ask()))
    assert [said for _, said in team.asked("b")] == ["hi", "One.", *([] if text is None else [text])]
    team = Team({"a": ["One."], "b": ["Two."]}, direct("a", "b", prompt=summarise))
    with pytest.raises(TypeError, match=r"agent 'b' is made by an async function.*ainvoke"):
        team.graph.invoke(ask())


def test_the_same_prompt_on_two_edges_is_told_once(driver: Driver) -> None:
    team = Team(
        {"a": ["One."], "b": ["Two."], "c": ["Sum."]}, direct("a", "c", prompt="Sum."), direct("b", "c", prompt="Sum.")
    )
    driver.invoke(team.graph, ask())
    assert [text for _, text in team.asked("c")] == ["hi", "One.", "Two.", "Sum."]


# Conditions on direct edges.


@pytest.mark.parametrize(
    ("choice", "asked"), [("b", [1, 0]), (["c", "b"], [1, 1]), (True, [1, 1]), (False, [0, 0]), (None, [0, 0])]
)
def test_a_condition_of_a_direct_edge_chooses_who_follows(driver: Driver, choice: Any, asked: list[int]) -> None:
    team = Team(
        {"a": ["One."], "b": ["Two."], "c": ["Three."]}, direct("a", ["b", "c"], condition=lambda state: choice)
    )
    result = driver.invoke(team.graph, ask())
    assert [team.calls("b"), team.calls("c")] == asked
    assert "usage" in result


def test_a_condition_that_chooses_somebody_else_is_named(driver: Driver) -> None:
    team = Team({"a": ["One."], "b": []}, direct("a", "b", condition=lambda state: "z"))
    with pytest.raises(ValueError, match=r"The edge a -> b chose 'z'; expected one or several of b"):
        driver.invoke(team.graph, ask())


def test_an_async_condition_of_a_direct_edge_works_async_and_a_sync_call_says_how() -> None:
    async def to_c(state: Any) -> str:
        await asyncio.sleep(0)
        return "c"

    agents: dict[str, Any] = {"a": ["One."], "b": ["Two."], "c": ["Three."]}
    edges = (direct("a", ["b", "c"], condition=to_c), direct("c", "b", condition=lambda state: False))
    team = Team(agents, *edges)
    result = asyncio.run(team.graph.ainvoke(ask()))
    assert said(result["messages"])[1:] == [("ai", "One."), ("ai", "Three.")]
    assert team.calls("b") == 0
    with pytest.raises(TypeError, match=r"The condition of the edge a -> b, c is async: run the graph with ainvoke"):
        Team(agents, *edges).graph.invoke(ask())


def test_an_agent_that_handed_over_is_not_asked_where_to_go_by_an_async_condition() -> None:
    async def refuse(state: Any) -> str:
        raise AssertionError("asked")

    agents = {"a": [script.reply(transfer("c"))], "b": ["Two."], "c": ["Three."]}
    team = Team(agents, direct("a", "b", condition=refuse), handoff("a", "c"))
    asyncio.run(team.graph.ainvoke(ask()))
    assert (team.calls("b"), team.calls("c")) == (0, 1)


# Handing over wins.


def test_an_agent_that_hands_over_is_not_followed_by_its_direct_edges(driver: Driver) -> None:
    agents = {"a": [script.reply(transfer("expert"))], "expert": ["I know."], "next": ["Next."]}
    team = Team(agents, direct("a", "next"), handoff("a", "expert"))
    driver.invoke(team.graph, ask())
    assert (team.calls("expert"), team.calls("next")) == (1, 0)


def test_an_agent_that_could_hand_over_and_does_not_is_followed(driver: Driver) -> None:
    team = Team({"a": ["No need."], "expert": [], "next": ["Next."]}, direct("a", "next"), handoff("a", "expert"))
    driver.invoke(team.graph, ask())
    assert (team.calls("expert"), team.calls("next")) == (0, 1)


# Groups.


def groups_of(names: str, *edges: dict[str, Any]) -> dict[str, int]:
    wiring = multi_agent.wire([(name, name) for name in names.split()], [GraphEdge.of(edge) for edge in edges])
    return dict(wiring.groups)


def test_a_sequence_has_no_groups() -> None:
    assert groups_of("a b c", direct("a", "b"), direct("b", "c")) == {}


def test_groups_count_from_one_in_the_order_of_the_ways() -> None:
    edges = [direct("b", ["d", "e"]), direct("a", ["b", "c"]), direct(["d", "e"], "f")]
    assert groups_of("a b c d e f", *edges) == {"b": 1, "c": 1, "d": 2, "e": 2}


def test_agents_that_start_together_are_the_first_group_and_the_first_group_counts() -> None:
    edges = [direct("a", "c"), direct("a", "d"), direct("b", ["c", "d", "e"])]
    assert groups_of("a b c d e", *edges) == {"a": 1, "b": 1, "c": 2, "d": 2, "e": 3}


def test_an_edge_without_a_type_is_direct_only_if_it_leads_from_one_agent_to_several_without_a_condition() -> None:
    fan = GraphEdge.of({"from": "a", "to": ["b", "c"]})
    assert fan.direct
    assert not GraphEdge.of({"from": "a", "to": ["b", "c"], "condition": lambda state: True}).direct
    assert not GraphEdge.of({"from": "a", "to": "b"}).direct
    assert not GraphEdge.of({"from": ["a", "b"], "to": ["c", "d"]}).direct


# What is refused.


@pytest.mark.parametrize(
    ("agents", "edges", "problem"),
    [
        ("x", [direct("x", "missing")], r'not present in agents: \["missing"\].*x -> missing.*agents are x'),
        ("a a", [], r"Several agents have the id 'a'"),
        ("done", [], r"'done': a node of the graph has that name"),
        ("a fan_in_a_prompt", [], r"'fan_in_a_prompt'"),
        ("a:b", [], r"'a:b': ':' separates names in checkpoints"),
        ("a|b", [], r"'\|' separates"),
        ("a b.c", [handoff("a", "b.c")], r"'b\.c' cannot be handed over to.*letters, digits"),
        ("a b c", [handoff("a", "b"), direct("a", "c", prompt="p")], r"a -> c has a prompt, and a may hand over"),
        ("a b c", [handoff("a", "b"), direct(["a", "b"], "c")], r"a, b -> c waits for several agents, and a may"),
        ("a b c", [direct(["a", "b"], "c", condition=bool)], r"a, b -> c waits for several agents and has a condition"),
        ("a b c", [direct("a", "c", prompt="1"), direct("b", "c", prompt="2")], r"a -> c and b -> c tell 'c' diff"),
        ("a b", [handoff("a", "b"), handoff("a", "b")], r"handoffs of agent 'a' are called 'lc_transfer_to_b'"),
        ("a b", [handoff("a", "b", condition=bool)] * 2, r"called 'conditional_transfer'"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(agents: str, edges: list[Any], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        multi_agent.wire([(name, name) for name in agents.split()], [GraphEdge.of(edge) for edge in edges])


def test_a_tool_with_the_name_of_a_handoff_is_refused() -> None:
    settings = {"a": {"tool_definitions": [{"name": "lc_transfer_to_b"}]}}
    message = r"Agent 'a': the name 'lc_transfer_to_b' is used by a tool and by a handoff"
    with pytest.raises(ConfigurationError, match=message):
        Team({"a": [], "b": []}, handoff("a", "b"), settings=settings)


def test_an_agent_on_its_own_cannot_have_a_name_that_no_node_can_have() -> None:
    with pytest.raises(ConfigurationError, match="'a:b'"):
        assemble.build([AgentInputs.of({"agent_id": "a:b", "model": ScriptedChatModel()})])


# The graph as a graph.


def test_every_agents_graph_has_the_name_of_its_agent() -> None:
    team = Team({"a": [], "b": []}, direct("a", "b"))
    assert {name: graph.get_name() for name, graph in team.graph.get_subgraphs()} == {"a": "a", "b": "b"}


def test_the_graph_is_drawn_with_handoffs_joins_and_prompts() -> None:
    team = Team(
        {"a": [], "b": [], "c": [], "d": []},
        handoff("a", "b"),
        direct("b", ["c", "d"]),
        direct(["c", "d"], "a", prompt="{results}"),
    )
    drawn = team.graph.get_graph().draw_mermaid()
    for line in (
        "__start__ --> a;",
        "a -.-> b;",
        "a -.-> done;",
        "b --> c;",
        "b --> d;",
        "c --> fan_in_a_prompt;",
        "d --> fan_in_a_prompt;",
        "fan_in_a_prompt -.-> a;",
    ):
        assert line in drawn, line


@pytest.mark.parametrize("alone", [True, False])
def test_an_agent_looks_whether_the_turn_has_ended_only_if_there_are_others(alone: bool) -> None:
    given = AgentInputs.of({"agent_id": "a", "model": ScriptedChatModel()})
    (agent,), _ = assemble.build([given], None if alone else [])
    drawn = agent_graph.agent_subgraph(agent).compile().get_graph()
    first = [(edge.target, edge.conditional) for edge in drawn.edges if edge.source == "__start__"]
    assert sorted(first) == ([("agent=a", False)] if alone else [("__end__", True), ("agent=a", True)])


class HaltAt:
    """A gate that ends the turn after the tools of one agent."""

    def __init__(self, agent_id: str) -> None:
        self._agent_id = agent_id

    async def before(self, at: Any, calls: Any, /) -> Any:
        return [Allow(call) for call in calls]

    async def after(self, at: Any, call: Any, message: ToolMessage, /) -> tuple[ToolMessage, None]:
        return message, None

    async def finish(self, at: Any, calls: Any, messages: Any, remarks: Any, /) -> Reviewed:
        return Reviewed(messages, halt="enough" if at.agent_id == self._agent_id else None)


@pytest.mark.anyio
async def test_a_turn_that_is_halted_lets_those_beside_it_end_and_nobody_start() -> None:
    def noop() -> str:
        """Does nothing."""
        return "ok"

    team = Team(
        {"a": [script.reply(script.call("noop"))], "z": ["Z."], "join": [], "told": []},
        direct(["a", "z"], "join"),
        direct("z", "told", prompt=lambda messages, start: pytest.fail("nobody is told anything")),
        settings={"a": {"tools": [noop]}},
    )
    result = await team.graph.ainvoke(ask(), context=AgentContext(gates=(HaltAt("a"),)))
    assert result["halt_reason"] == "enough"
    assert said(result["messages"])[2:] == [("tool", "ok"), ("ai", "Z.")]
    assert (team.calls("join"), team.calls("told")) == (0, 0)
    assert "usage" in result


@pytest.mark.anyio
async def test_a_handoff_in_a_turn_that_is_halted_is_not_gone_through_with() -> None:
    team = Team({"a": [script.reply(transfer("b"))], "b": []}, handoff("a", "b"))
    result = await team.graph.ainvoke(ask(), context=AgentContext(gates=(HaltAt("a"),)))
    assert team.calls("b") == 0
    assert result["messages"][-1].type == "tool"
    assert "usage" in result


# The ways between agents, as a function.


def wiring(names: str, *edges: dict[str, Any]) -> multi_agent.Wiring:
    return multi_agent.wire([(each, each.upper()) for each in names.split()], [GraphEdge.of(edge) for edge in edges])


@pytest.mark.parametrize(
    ("names", "edges", "starts"),
    [
        ("a b c", [], ("a", "b", "c")),
        ("b a", [direct("b", "a")], ("b",)),
        ("a b c", [direct("a", "c"), handoff("b", "c")], ("a", "b")),
        ("b a", [direct("b", "a"), handoff("a", "b")], ("b",)),
        ("a b", [handoff("b", "a"), handoff("a", "b")], ("a",)),
    ],
)
def test_agents_to_which_no_way_leads_start_or_else_the_first_one(
    names: str, edges: list[Any], starts: tuple[str, ...]
) -> None:
    assert wiring(names, *edges).starts == starts


@pytest.mark.parametrize(
    ("edge", "tools"),
    [
        (handoff("a", "b"), [("lc_transfer_to_b", "Hand the conversation over to the agent B.", ("b",), None, "")]),
        (handoff("a", "b", description="Bills."), [("lc_transfer_to_b", "Bills.", ("b",), None, "")]),
        (handoff("a", "b", prompt_key="topic"), [("lc_transfer_to_b", None, ("b",), None, "")]),
        (handoff("a", "b", prompt="Why?"), [("lc_transfer_to_b", None, ("b",), "instructions", "Why?")]),
        (handoff("a", "b", prompt="Why?", prompt_key="why"), [("lc_transfer_to_b", None, ("b",), "why", "Why?")]),
        (
            handoff("a", ["b", "c-1_X"], description="D."),
            [("lc_transfer_to_b", "D.", ("b",), None, ""), ("lc_transfer_to_c-1_X", "D.", ("c-1_X",), None, "")],
        ),
        (
            handoff("a", ["b", "c-1_X"], condition=bool, prompt="Why?"),
            [("conditional_transfer", None, ("b", "c-1_X"), "instructions", "Why?")],
        ),
        (
            handoff("a", "b", condition=bool, description="D."),
            [("conditional_transfer", "D.", ("b",), None, "")],
        ),
    ],
)
def test_a_handoff_edge_is_a_tool_for_each_destination_or_one_that_chooses(edge: Any, tools: list[Any]) -> None:
    made = wiring("a b c-1_X", edge)
    assert made.direct == ()
    assert list(made.handoffs) == ["a"]
    found = [(each.name, each.destinations, each.parameter, each.parameter_description) for each in made.handoffs["a"]]
    assert found == [(name, *rest) for name, _, *rest in tools]
    assert {each.source_name for each in made.handoffs["a"]} == {"A"}
    for each, (_, description, *_) in zip(made.handoffs["a"], tools, strict=True):
        assert each.description
        assert each.description == (description or each.description)
        assert (each.condition is bool) is ("condition" in edge)


def test_an_edge_from_several_agents_is_a_tool_of_each_of_them() -> None:
    made = wiring("a b c", handoff(["a", "b"], "c"), handoff("a", "b"))
    assert {name: [each.name for each in its] for name, its in made.handoffs.items()} == {
        "a": ["lc_transfer_to_c", "lc_transfer_to_b"],
        "b": ["lc_transfer_to_c"],
    }


def test_words_are_told_line_by_line_with_who_said_them_and_transfers_are_not() -> None:
    transferring = AIMessage("", tool_calls=[{"name": "lc_transfer_to_b", "args": {}, "id": "t"}])
    marks = {"handoff_source_name": "A"}
    spoken = [
        HumanMessage("hi"),
        SystemMessage("be kind"),
        AIMessage([{"type": "text", "text": "I "}, {"type": "text", "text": "look."}]),
        ToolMessage("sunny", tool_call_id="c", name="look"),
        AIMessage(""),
        transferring,
        ToolMessage("over", tool_call_id="t", name="lc_transfer_to_b", additional_kwargs=marks),
    ]
    assert multi_agent.transcript(spoken) == "Human: hi\nSystem: be kind\nAI: I look.\nTool: sunny"
    assert multi_agent.transcript([]) == ""
