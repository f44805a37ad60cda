"""Graphs written for LangGraph: how each is made with a saver, its input, and what a person answers.

They import `langgraph` and the packages that are built on it alone, so that they run on either engine; `run_tool` and
`guard_model` let hooks of a run decide about a graph's tools and models.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from langchain_core.callbacks import adispatch_custom_event
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.config import get_stream_writer
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import ToolNode, create_react_agent, tools_condition
from langgraph.types import Command, Send, interrupt
from pydantic import BaseModel
from typing_extensions import TypedDict

from stategraph.run.graphs.model_guards import guard_model, run_model
from stategraph.run.graphs.tool_hooks import run_tool
from tests.runs.model import RuleModel, results


@dataclass(frozen=True)
class Scenario:
    """A graph and how it is used.

    Attributes:
        make: Makes the graph, given a saver or None.
        given: Its input.
        again: The input of a later turn on the same thread.
        answers: What a person answers to its questions, in order.
        hooked: Makes the graph with tools that hooks of the run decide about; None: it is not tested with hooks.
        guarded: The same with models that hooks decide about, and whose last answer has two sentences.
        pause_before: A node of the outermost graph, to pause before in the test of resuming in another process; None:
            its own questions pause it.
        texts: Words that have to be told, so that a graph that says nothing is noticed.
        agents: Agents that have to be named.
    """

    make: Callable[[Any], Any]
    given: Any
    again: Any
    texts: tuple[str, ...]
    agents: tuple[str, ...]
    answers: tuple[Any, ...] = ()
    hooked: Callable[[Any], Any] | None = None
    guarded: Callable[[Any], Any] | None = None
    pause_before: str | None = None


def said(text: str) -> dict[str, Any]:
    return {"messages": [("user", text)]}


@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"Sunny in {city}"


@tool
def fails(reason: str) -> str:
    """Always fails."""
    raise ValueError(f"It broke: {reason}")


# create_react_agent


def react(saver: Any) -> Any:
    def rule(messages: list[AnyMessage]) -> Any:
        if results(messages) == 0:
            return "I look twice.", [("get_weather", {"city": "Rome"}, "a"), ("get_weather", {"city": "Oslo"}, "b")]
        return "Sunny in both."

    return create_react_agent(RuleModel(rule=rule), [get_weather], checkpointer=saver)


def react_hooked(saver: Any) -> Any:
    def rule(messages: list[AnyMessage]) -> Any:
        if results(messages) == 0:
            return "I look twice.", [("get_weather", {"city": "Rome"}, "a"), ("get_weather", {"city": "Oslo"}, "b")]
        return "So much for the weather."

    tools = ToolNode([get_weather], awrap_tool_call=run_tool)
    return create_react_agent(RuleModel(rule=rule), tools, checkpointer=saver)


def _looks_then_says(messages: list[AnyMessage]) -> Any:
    if results(messages) == 0:
        return "I look.", [("get_weather", {"city": "Rome"}, "a")]
    return "It is sunny. My name is Ada."


def by_hand_guarded(saver: Any) -> Any:
    model = RuleModel(rule=_looks_then_says)

    async def call(state: MessagesState) -> Any:
        return {"messages": [await run_model(model, state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("talk", call)
    builder.add_node("tools", ToolNode([get_weather]))
    builder.add_edge(START, "talk")
    builder.add_conditional_edges("talk", tools_condition)
    builder.add_edge("tools", "talk")
    return builder.compile(checkpointer=saver)


# A tool node by hand: reasoning, a tool that fails, a sync model node


def by_hand(saver: Any) -> Any:
    def rule(messages: list[AnyMessage]) -> Any:
        if results(messages) == 0:
            return "I should try.||Trying.", [("fails", {"reason": "of course"}, "f")]
        return "It does not work."

    model = RuleModel(rule=rule)

    def call(state: MessagesState) -> Any:
        return {"messages": [model.invoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("talk", call)
    builder.add_node("tools", ToolNode([fails], handle_tool_errors=True))
    builder.add_edge(START, "talk")
    builder.add_conditional_edges("talk", tools_condition)
    builder.add_edge("tools", "talk")
    return builder.compile(checkpointer=saver)


# create_agent


def middleware(saver: Any) -> Any:
    from langchain.agents import create_agent
    from langchain.agents.middleware import AgentMiddleware, ModelCallLimitMiddleware

    class Polite(AgentMiddleware[Any, Any]):
        """Adds a message before the first call, answers one tool by itself, and rewrites nothing else."""

        def before_agent(self, state: Any, runtime: Any) -> Any:
            return {"messages": [HumanMessage("Be polite.", id=f"polite-{len(state['messages'])}")]}

        async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
            result = await handler(request)
            return result.model_copy(update={"content": f"{result.content}, politely"})

        async def awrap_model_call(self, request: Any, handler: Any) -> Any:
            return await handler(request)

    def rule(messages: list[AnyMessage]) -> Any:
        if results(messages) == 0:
            return "One moment.", [("get_weather", {"city": "Lima"}, "a")]
        return "It is sunny, thank you."

    return create_agent(
        RuleModel(rule=rule),
        [get_weather],
        middleware=[Polite(), ModelCallLimitMiddleware(run_limit=5)],
        checkpointer=saver,
        name="polite",
    )


def middleware_hooked(saver: Any) -> Any:
    from langchain.agents import create_agent
    from langchain.agents.middleware import AgentMiddleware

    class RunTools(AgentMiddleware[Any, Any]):
        """Lets the hooks of the run decide."""

        async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
            return await run_tool(request, handler)

    def rule(messages: list[AnyMessage]) -> Any:
        if results(messages) == 0:
            return "I look twice.", [("get_weather", {"city": "Rome"}, "a"), ("get_weather", {"city": "Oslo"}, "b")]
        return "So much for the weather."

    return create_agent(RuleModel(rule=rule), [get_weather], middleware=[RunTools()], checkpointer=saver)


def middleware_guarded(saver: Any) -> Any:
    from langchain.agents import create_agent
    from langchain.agents.middleware import AgentMiddleware, ModelRetryMiddleware

    class GuardModels(AgentMiddleware[Any, Any]):
        """Lets the hooks of the run decide."""

        async def awrap_model_call(self, request: Any, handler: Any) -> Any:
            return await guard_model(request, handler)

    return create_agent(
        RuleModel(rule=_looks_then_says),
        [get_weather],
        system_prompt="Be brief.",
        middleware=[ModelRetryMiddleware(max_retries=2), GuardModels()],
        checkpointer=saver,
        name="guarded",
    )


class Forecast(BaseModel):
    """A forecast."""

    city: str
    sunny: bool


def response_format(saver: Any) -> Any:
    from langchain.agents import create_agent
    from langchain.agents.structured_output import ToolStrategy

    def rule(messages: list[AnyMessage]) -> Any:
        if results(messages, "get_weather") == 0:
            return "", [("get_weather", {"city": "Lima"}, "a")]
        return "", [("Forecast", {"city": "Lima", "sunny": True}, "b")]

    return create_agent(RuleModel(rule=rule), [get_weather], response_format=ToolStrategy(Forecast), checkpointer=saver)


def approvals(saver: Any) -> Any:
    from langchain.agents import create_agent
    from langchain.agents.middleware import HumanInTheLoopMiddleware

    def rule(messages: list[AnyMessage]) -> Any:
        if results(messages) == 0:
            calls = [("get_weather", {"city": "Rome"}, "a"), ("get_weather", {"city": "Oslo"}, "b")]
            return "May I?", calls
        return "Thanks for looking."

    review = HumanInTheLoopMiddleware(interrupt_on={"get_weather": True})
    return create_agent(RuleModel(rule=rule), [get_weather], middleware=[review], checkpointer=saver)


# Several agents


def supervisor(saver: Any) -> Any:
    from langgraph_supervisor import create_supervisor

    def expert(messages: list[AnyMessage]) -> Any:
        if results(messages, "get_weather") == 0:
            return "Looking.", [("get_weather", {"city": "Bern"}, "w")]
        return "Bern is sunny."

    def boss(messages: list[AnyMessage]) -> Any:
        if results(messages, "transfer_to_weather") == 0:
            return "I ask the expert.", [("transfer_to_weather", {}, "t")]
        return "The expert says: sunny."

    weather = create_react_agent(RuleModel(rule=expert), [get_weather], name="weather")
    return create_supervisor([weather], model=RuleModel(rule=boss)).compile(checkpointer=saver)


def swarm(saver: Any) -> Any:
    from langgraph_swarm import create_handoff_tool, create_swarm

    def ada(messages: list[AnyMessage]) -> Any:
        return "Bob knows.", [("transfer_to_bob", {}, "t")]

    def bob(messages: list[AnyMessage]) -> Any:
        return "I am Bob, and it is sunny."

    agents = [
        create_react_agent(RuleModel(rule=ada), [create_handoff_tool(agent_name="bob")], name="ada"),
        create_react_agent(RuleModel(rule=bob), [create_handoff_tool(agent_name="ada")], name="bob"),
    ]
    return create_swarm(agents, default_active_agent="ada").compile(checkpointer=saver)


def deep(saver: Any) -> Any:
    from deepagents import create_deep_agent

    def main(messages: list[AnyMessage]) -> Any:
        if results(messages, "task") == 0:
            todo = {"description": "Find the weather in Lima", "subagent_type": "researcher"}
            return "I delegate.", [("task", todo, "d")]
        return "My researcher says: sunny in Lima."

    def researcher(messages: list[AnyMessage]) -> Any:
        if results(messages, "get_weather") == 0:
            return "Researching.", [("get_weather", {"city": "Lima"}, "w")]
        return "It is sunny in Lima."

    helper = {
        "name": "researcher",
        "description": "Finds things out",
        "system_prompt": "Find out.",
        "tools": [get_weather],
        "model": RuleModel(rule=researcher),
    }
    return create_deep_agent(
        model=RuleModel(rule=main), tools=[], subagents=[helper], system_prompt="Delegate.", checkpointer=saver
    )


# Many models


class Topics(TypedDict):
    """The state of the map-reduce graph; it has no conversation."""

    topics: list[str]
    jokes: Annotated[list[str], operator.add]
    best: str


def map_reduce(saver: Any) -> Any:
    def rule(messages: list[AnyMessage]) -> Any:
        return f"A joke about {messages[-1].content}."

    model = RuleModel(rule=rule)

    async def joke(state: Any) -> Any:
        answer = await model.ainvoke([HumanMessage(state["topic"])])
        return {"jokes": [answer.text]}

    async def pick(state: Topics) -> Any:
        answer = await model.ainvoke([HumanMessage("the best")])
        return {"best": answer.text}

    def fan_out(state: Topics) -> list[Send]:
        return [Send("joke", {"topic": topic}) for topic in state["topics"]]

    builder = StateGraph(Topics)
    builder.add_node("joke", joke)
    builder.add_node("pick", pick)
    builder.add_conditional_edges(START, fan_out, ["joke"])
    builder.add_edge("joke", "pick")
    builder.add_edge("pick", END)
    return builder.compile(checkpointer=saver)


def branches(saver: Any) -> Any:
    def node(name: str, rule: Callable[[list[AnyMessage]], Any]) -> Callable[[Any], Any]:
        model = RuleModel(rule=rule)

        async def run(state: MessagesState) -> Any:
            return {"messages": [await model.ainvoke(state["messages"])]}

        return run

    builder = StateGraph(MessagesState)
    builder.add_node("pro", node("pro", lambda _: "There are many reasons for it."))
    builder.add_node("contra", node("contra", lambda _: "And as many against it."))
    builder.add_node("judge", node("judge", lambda _: "Undecided."))
    for name in ("pro", "contra"):
        builder.add_edge(START, name)
        builder.add_edge(name, "judge")
    return builder.compile(checkpointer=saver)


class Draft(TypedDict):
    """The state of the nested graph."""

    messages: Annotated[list[AnyMessage], add_messages]
    title: str


def nested(saver: Any) -> Any:
    writer = RuleModel(rule=lambda _: "A draft about rivers.")

    async def write(state: Draft) -> Any:
        return {"messages": [await writer.ainvoke(state["messages"])]}

    def ask(state: Draft) -> Any:
        title = interrupt(
            {"question": "Which title?", "choices": ["Rivers", "Streams"], "draft": len(state["messages"])}
        )
        return {"title": title}

    inner = StateGraph(Draft)
    inner.add_node("write", write)
    inner.add_node("ask", ask)
    inner.add_edge(START, "write")
    inner.add_edge("write", "ask")

    async def publish(state: Draft) -> Any:
        sure = interrupt("Publish?")
        model = RuleModel(rule=lambda _: f"Published as {state['title']}, as you said {sure}.")
        return {"messages": [await model.ainvoke(state["messages"])]}

    builder = StateGraph(Draft)
    builder.add_node("editor", inner.compile())
    builder.add_node("publish", publish)
    builder.add_edge(START, "editor")
    builder.add_edge("editor", "publish")
    return builder.compile(checkpointer=saver)


def functional(saver: Any) -> Any:
    model = RuleModel(rule=lambda messages: f"Thoughts about {messages[-1].content}.")

    @task
    async def think(topic: str) -> str:
        return (await model.ainvoke([HumanMessage(topic)])).text

    @entrypoint(checkpointer=saver)
    async def essay(topic: str) -> str:
        first = await think(topic)
        wanted = interrupt({"ask": "More?", "so far": first})
        return first + await think(f"{topic} and {wanted}")

    return essay


def events(saver: Any) -> Any:
    """Custom events, messages that no model streams, and a model whose answers are left out of the stream."""
    silent = RuleModel(rule=lambda _: "Not to be shown.").with_config(tags=["nostream"])

    async def start(state: MessagesState) -> Any:
        writer = get_stream_writer()
        writer({"progress": 0})
        await silent.ainvoke("quietly")
        writer({"progress": 50})
        await adispatch_custom_event("note", {"from": "langchain"})
        return {"messages": [AIMessage("Ready made.", id="ready")]}

    def more(state: MessagesState) -> Any:
        get_stream_writer()(["any", "payload"])
        call = {"name": "lookup", "args": {"key": "k"}, "id": "l1"}
        return {"messages": [AIMessage("Calling by hand.", tool_calls=[call])]}

    @tool
    def lookup(key: str) -> str:
        """Looks up."""
        get_stream_writer()({"looking up": key})
        return f"value of {key}"

    builder = StateGraph(MessagesState)
    builder.add_node("start", start)
    builder.add_node("more", more)
    builder.add_node("tools", ToolNode([lookup]))
    builder.add_edge(START, "start")
    builder.add_edge("start", "more")
    builder.add_edge("more", "tools")
    return builder.compile(checkpointer=saver)


def fallback(saver: Any) -> Any:
    """A model that fails in the middle and is replaced by another, and a graph that a tool calls."""
    broken = RuleModel(rule=lambda _: "I was about to", fails="about")
    inner_model = RuleModel(rule=lambda _: "The answer from inside.")

    async def think(state: MessagesState) -> Any:
        return {"messages": [await inner_model.ainvoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("think", think)
    builder.add_edge(START, "think")
    inner = builder.compile()

    @tool
    async def expert(question: str) -> str:
        """Asks an expert."""
        state = await inner.ainvoke(said(question))
        return str(state["messages"][-1].text)

    def rule(messages: list[AnyMessage]) -> Any:
        return ("Ask.", [("expert", {"question": "why"}, "e")]) if results(messages) == 0 else "So it is."

    model = broken.with_fallbacks([RuleModel(rule=rule)])

    async def talk(state: MessagesState) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    outer = StateGraph(MessagesState)
    outer.add_node("talk", talk)
    outer.add_node("tools", ToolNode([expert]))
    outer.add_edge(START, "talk")
    outer.add_conditional_edges("talk", tools_condition)
    outer.add_edge("tools", "talk")
    return outer.compile(checkpointer=saver)


def commands(saver: Any) -> Any:
    """Nodes that go on by `Command`, a nested graph that hands over to its parent, and two questions at once."""
    greeter = RuleModel(rule=lambda _: "Hello from inside.")

    async def greet(state: MessagesState) -> Any:
        answer = await greeter.ainvoke(state["messages"])
        return Command(goto=["left", "right"], graph=Command.PARENT, update={"messages": [answer]})

    inner = StateGraph(MessagesState)
    inner.add_node("greet", greet)
    inner.add_edge(START, "greet")

    def asking(side: str) -> Callable[[Any], Any]:
        def ask(state: MessagesState) -> Any:
            return {"messages": [AIMessage(f"{side} got {interrupt(side)}.", id=f"said-{side}")]}

        return ask

    builder = StateGraph(MessagesState)
    builder.add_node("inner", inner.compile(), destinations=("left", "right"))
    builder.add_node("left", asking("left"))
    builder.add_node("right", asking("right"))
    builder.add_edge(START, "inner")
    return builder.compile(checkpointer=saver)


LATER = said("again")

EDITED: dict[str, Any] = {"name": "get_weather", "args": {"city": "Ostia"}}

SCENARIOS: dict[str, Scenario] = {
    "create_react_agent": Scenario(
        react,
        said("hi"),
        LATER,
        ("Sunny in both.",),
        ("agent",),
        pause_before="agent",
        hooked=react_hooked,
    ),
    "tool node by hand": Scenario(
        by_hand,
        said("hi"),
        LATER,
        ("I should try.", "It does not work."),
        ("talk",),
        guarded=by_hand_guarded,
        pause_before="tools",
    ),
    "create_agent, middleware": Scenario(
        middleware,
        said("hi"),
        LATER,
        ("thank you.",),
        ("polite",),
        pause_before="tools",
        hooked=middleware_hooked,
        guarded=middleware_guarded,
    ),
    "create_agent, response_format": Scenario(response_format, said("hi"), LATER, (), ("model",), pause_before="tools"),
    "create_agent, HumanInTheLoopMiddleware": Scenario(
        approvals,
        said("hi"),
        LATER,
        ("May I?", "Thanks for looking."),
        ("model",),
        answers=({"decisions": [{"type": "approve"}, {"type": "reject", "message": "Not Oslo"}]},),
    ),
    "create_agent, HumanInTheLoopMiddleware edits": Scenario(
        approvals,
        said("hi"),
        LATER,
        ("May I?", "Thanks for looking."),
        ("model",),
        answers=({"decisions": [{"type": "edit", "edited_action": EDITED}, {"type": "approve"}]},),
    ),
    "create_supervisor": Scenario(
        supervisor, said("hi"), LATER, ("sunny.",), ("supervisor", "weather"), pause_before="weather"
    ),
    "create_swarm": Scenario(swarm, said("hi"), LATER, ("I am Bob",), ("ada", "bob"), pause_before="bob"),
    "create_deep_agent": Scenario(
        deep, said("hi"), LATER, ("I delegate.", "Researching."), ("researcher",), pause_before="tools"
    ),
    "map-reduce with Send": Scenario(
        map_reduce,
        {"topics": ["cats", "dogs", "fish"]},
        {"topics": ["again"]},
        ("cats.", "fish."),
        ("joke", "pick"),
        pause_before="pick",
    ),
    "parallel branches": Scenario(
        branches, said("hi"), LATER, ("reasons", "against"), ("pro", "contra", "judge"), pause_before="judge"
    ),
    "nested graphs, interrupts": Scenario(
        nested,
        {"messages": [HumanMessage("hi")]},
        {"messages": [HumanMessage("again")]},
        ("A draft", "Published as Streams, as you said yes."),
        ("editor", "publish"),
        answers=("Streams", "yes"),
    ),
    "functional API": Scenario(
        functional, "rain", "again", ("about rain.", "rain and snow."), ("think",), answers=("snow",)
    ),
    "custom events": Scenario(events, said("hi"), LATER, ("Ready made.",), ("start", "more"), pause_before="more"),
    "fallback, graph in a tool": Scenario(
        fallback, said("hi"), LATER, ("I was", "from inside.", "So it is."), ("talk", "expert"), pause_before="tools"
    ),
    "commands, two questions at once": Scenario(
        commands, said("hi"), LATER, ("Hello from inside.", "left got yes."), ("inner", "left"), answers=("yes",)
    ),
}
