"""Runs of graphs that the host made: their events, their ends, and their threads."""

from __future__ import annotations

import asyncio
import copy
import operator
from collections.abc import Mapping
from typing import Annotated, Any

import pytest
from langchain_core.callbacks import adispatch_custom_event
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.prebuilt import ToolNode
from typing_extensions import TypedDict

from stategraph.agent.limits.errors import LimitReachedError
from stategraph.constants import END, START
from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.engine.config.context import get_stream_writer
from stategraph.engine.tasks.interrupts import interrupt
from stategraph.errors import AbortError, ConfigurationError, InvalidAnswerError, UnknownInterruptError
from stategraph.graph.func import entrypoint, task
from stategraph.graph.message import MessagesState
from stategraph.graph.state import StateGraph
from stategraph.run.graphs import loading
from stategraph.run.run import Run
from stategraph.run.runtime import AgentRuntime, create_run
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from stategraph.types import Command, Send

THREAD: dict[str, Any] = {"configurable": {"thread_id": "t"}}
ASK = {"messages": [("user", "hi")]}


@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"Sunny in {city}"


@tool
def broken(city: str) -> str:
    """Fails."""
    raise ValueError(f"No {city}")


def model(*replies: Any) -> ScriptedChatModel:
    return ScriptedChatModel(replies=list(replies))


def speaking(llm: ScriptedChatModel) -> Any:
    async def speak(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await llm.ainvoke(state["messages"])]}

    return speak


def calling(*tools: Any) -> Any:
    """A node that executes calls with LangChain's tools."""
    known = {each.name: each for each in tools}

    async def call(state: MessagesState) -> dict[str, Any]:
        results = []
        for each in state["messages"][-1].tool_calls:  # type: ignore[union-attr]
            try:
                results.append(await known[each["name"]].ainvoke({**each, "type": "tool_call"}))
            except ValueError as error:
                results.append(ToolMessage(str(error), tool_call_id=each["id"], status="error"))
        return {"messages": results}

    return call


def talking(llm: ScriptedChatModel, *tools: Any, saver: Any = None, **compiled: Any) -> Any:
    """An agent by hand: `model` and `tools`."""
    builder = StateGraph(MessagesState)
    builder.add_node("model", speaking(llm))
    builder.add_node("tools", calling(*tools))
    builder.add_edge(START, "model")
    builder.add_conditional_edges(
        "model",
        lambda state: "tools" if state["messages"][-1].tool_calls else END,  # type: ignore[attr-defined]
        ["tools", END],
    )
    builder.add_edge("tools", "model")
    return builder.compile(checkpointer=saver, **compiled)


def weather_twice() -> ScriptedChatModel:
    calls = (script.call("get_weather", {"city": city}, id=city) for city in ("Rome", "Oslo"))
    return model(script.reply("Let me look.", *calls), "Sunny twice.")


async def run_of(graph: Any, run_id: str = "r", **settings: Any) -> Run:
    return await Run.create({"run_id": run_id, "graph": graph, **settings})


async def told(graph: Any, given: Any = ASK, **settings: Any) -> list[Any]:
    run = await run_of(graph, **settings)
    return [each async for each in run.stream(given, THREAD)]


def gist(events: list[Any]) -> list[Any]:
    """What front ends show."""
    seen: list[Any] = []
    for each in events:
        match each.event:
            case "on_message_delta":
                seen.append(each.data["delta"]["content"][0]["text"])
            case "on_run_step" if each.data["type"] == "tool_calls":
                seen.append(("call", each.data["stepDetails"]["tool_calls"][0]["name"]))
            case "on_run_step_completed":
                call = each.data["result"]["tool_call"]
                seen.append(("result", call["id"], call["args"], call["output"]))
            case "on_custom_event":
                seen.append(each.data["data"])
            case "on_run_end":
                seen.append(each.data["status"])
    return seen


def agents(events: list[Any]) -> dict[str, str]:
    """The text of each agent."""
    owner = {each.data["id"]: each.data["agentId"] for each in events if each.event == "on_run_step"}
    said: dict[str, str] = {}
    for each in events:
        if each.event == "on_message_delta":
            agent = owner[each.data["id"]]
            said[agent] = said.get(agent, "") + each.data["delta"]["content"][0]["text"]
    return said


def names(events: list[Any]) -> list[str]:
    return [str(each.event) for each in events]


# What is told


def test_text_calls_and_results_are_told_in_order_and_once() -> None:
    async def main() -> None:
        run = await run_of(talking(weather_twice(), get_weather))
        events = [each async for each in run.stream(ASK, THREAD)]
        assert gist(events) == [
            "Let ",
            "me ",
            "look.",
            ("call", "get_weather"),
            ("call", "get_weather"),
            ("result", "Rome", '{"city":"Rome"}', "Sunny in Rome"),
            ("result", "Oslo", '{"city":"Oslo"}', "Sunny in Oslo"),
            "Sunny ",
            "twice.",
            "completed",
        ]
        assert [each.type for each in run.get_run_messages()] == ["ai", "tool", "tool", "ai"]
        ends = [each.data["output"].text for each in events if each.event == "on_chat_model_end"]
        assert ends == ["Let me look.", "Sunny twice."]
        starts = [len(each.data["input"]["messages"][0]) for each in events if each.event == "on_chat_model_start"]
        assert starts == [1, 4]
        assert names(events).count("on_tool_start") == names(events).count("on_tool_end") == 2

    asyncio.run(main())


def test_callbacks_around_models_and_tools_come_where_they_happened() -> None:
    events = asyncio.run(told(talking(weather_twice(), get_weather)))
    kept = [each for each in names(events) if each.startswith(("on_chat_model_st", "on_chat_model_e", "on_tool"))]
    shorter = [each for i, each in enumerate(kept) if each != "on_chat_model_stream" or kept[i - 1] != each]
    assert shorter == [
        "on_chat_model_start",
        "on_chat_model_stream",
        "on_chat_model_end",
        "on_tool_start",
        "on_tool_end",
        "on_tool_start",
        "on_tool_end",
        "on_chat_model_start",
        "on_chat_model_stream",
        "on_chat_model_end",
    ]


def test_a_tool_that_fails_is_told_to_its_callback_and_its_result_is_shown() -> None:
    async def main() -> None:
        errors: list[Any] = []
        llm = model(script.reply("", script.call("broken", {"city": "Rome"}, id="c")), "Sorry.")
        run = await run_of(talking(llm, broken))
        note = {"handle_tool_error": lambda graph, error, call_id: errors.append((str(error), call_id))}
        await run.process_stream(ASK, THREAD, {"callbacks": note})  # type: ignore[typeddict-item]
        assert errors == [("No Rome", "c")]
        assert ("result", "c", '{"city":"Rome"}', "No Rome") in gist([each async for each in run.attach()])

    asyncio.run(main())


def test_a_message_that_a_node_just_returns_is_told_whole_and_once() -> None:
    def ready(state: MessagesState) -> dict[str, Any]:
        call = {"name": "get_weather", "args": {"city": "Bern"}, "id": "b"}
        return {"messages": [AIMessage("By hand.", id="one", tool_calls=[call])]}

    def again(state: MessagesState) -> dict[str, Any]:
        return {"messages": [*state["messages"], HumanMessage("and you?", id="two")]}

    builder = StateGraph(MessagesState)
    builder.add_node("ready", ready)
    builder.add_node("tools", calling(get_weather))
    builder.add_node("again", again)
    builder.add_edge(START, "ready")
    builder.add_edge("ready", "tools")
    builder.add_edge("tools", "again")

    async def main() -> None:
        run = await run_of(builder.compile())
        events = [each async for each in run.stream(ASK, THREAD)]
        result = ("result", "b", '{"city":"Bern"}', "Sunny in Bern")
        assert gist(events) == ["By hand.", ("call", "get_weather"), result, "completed"]
        assert "on_chat_model_start" not in names(events)
        assert [each.text for each in run.get_run_messages()] == ["By hand.", "Sunny in Bern", "and you?"]

    asyncio.run(main())


def test_custom_events_come_between_the_pieces_of_an_answer_where_they_were_written() -> None:
    llm = model("One two.", "Three.")

    async def node(state: MessagesState) -> dict[str, Any]:
        writer = get_stream_writer()
        writer({"progress": 1})
        first = await llm.ainvoke("a")
        writer(["half"])
        await adispatch_custom_event("note", "dispatched")
        second = await llm.ainvoke("b")
        writer("done")
        return {"messages": [first, second]}

    builder = StateGraph(MessagesState)
    builder.add_node("node", node)
    builder.add_edge(START, "node")
    events = asyncio.run(told(builder.compile()))
    shown = [each for each in gist(events) if each != "dispatched"]
    assert shown == [{"progress": 1}, "One ", "two.", ["half"], "Three.", "done", "completed"]
    (note,) = [each.data for each in events if each.event == "on_custom_event" and "name" in each.data]
    assert note == {"data": "dispatched", "namespace": [], "name": "note"}


def test_updates_of_the_state_are_told_to_those_who_ask() -> None:
    async def main() -> None:
        quiet = await told(talking(model("Hi."), get_weather))
        assert "on_state_update" not in names(quiet)
        events = await told(talking(model("Hi."), get_weather), state_updates=True)
        (update,) = [each.data for each in events if each.event == "on_state_update"]
        assert (update["node"], update["namespace"]) == ("model", [])
        assert [each.text for each in update["update"]["messages"]] == ["Hi."]

    asyncio.run(main())


# Who says it


def test_branches_beside_each_other_are_agents_of_one_group() -> None:
    builder = StateGraph(MessagesState)
    for name in ("pro", "contra"):
        builder.add_node(name, speaking(model(f"I am {name}.")))
        builder.add_edge(START, name)
    builder.add_node("judge", speaking(model("Even.")))
    builder.add_edge(["pro", "contra"], "judge")
    events = asyncio.run(told(builder.compile()))
    assert agents(events) == {"pro": "I am pro.", "contra": "I am contra.", "judge": "Even."}
    groups = {each.data["agentId"]: each.data.get("groupId") for each in events if each.event == "on_run_step"}
    assert groups == {"pro": 1, "contra": 1, "judge": None}


def test_calls_with_equal_ids_in_branches_get_their_own_results() -> None:
    class State(TypedDict):
        notes: Annotated[list[str], operator.add]

    async def ask(given: Any) -> dict[str, Any]:
        call = script.call("get_weather", {"city": given["city"]}, id="same")
        inner = talking(model(script.reply("", call), f"{given['city']} is done."), get_weather)
        state = await inner.ainvoke(ASK)
        return {"notes": [state["messages"][-1].text]}

    builder = StateGraph(State)
    builder.add_node("ask", ask)
    builder.add_conditional_edges(START, lambda _: [Send("ask", {"city": each}) for each in ("A", "B")], ["ask"])
    events = asyncio.run(told(builder.compile(), {"notes": []}))
    results = [each for each in gist(events) if each[0] == "result"]
    assert sorted(results) == [
        ("result", "same", '{"city":"A"}', "Sunny in A"),
        ("result", "same", '{"city":"B"}', "Sunny in B"),
    ]
    opened = {each.data["id"] for each in events if each.event == "on_run_step"}
    completed = {each.data["result"]["id"] for each in events if each.event == "on_run_step_completed"}
    assert len(completed) == 2
    assert completed < opened


def test_nested_graphs_are_named_after_their_node_and_those_in_a_tool_after_the_tool() -> None:
    inner = talking(model("From inside."))

    @tool
    async def expert(question: str) -> str:
        """Asks an expert."""
        state = await talking(model("I know.")).ainvoke(ASK)
        return str(state["messages"][-1].text)

    builder = StateGraph(MessagesState)
    builder.add_node("team", inner)
    asking = script.reply("Ask.", script.call("expert", {"question": "why"}, id="e"))
    builder.add_node("boss", talking(model(asking, "So."), expert))
    builder.add_edge(START, "team")
    builder.add_edge("team", "boss")

    async def main() -> None:
        run = await run_of(builder.compile())
        events = [each async for each in run.stream(ASK, THREAD)]
        assert agents(events) == {"team": "From inside.", "boss": "Ask.So.", "expert": "I know."}
        # What was said inside of the tool is no part of the conversation.
        assert [each.text for each in run.get_run_messages()] == ["From inside.", "Ask.", "I know.", "So."]
        assert [each.type for each in run.get_run_messages()] == ["ai", "ai", "tool", "ai"]

    asyncio.run(main())


def test_a_graph_without_a_conversation_runs_and_leaves_its_values() -> None:
    class State(TypedDict):
        topic: str
        text: str

    llm = model("A text.")

    async def write(state: State) -> dict[str, Any]:
        return {"text": (await llm.ainvoke(state["topic"])).text}

    builder = StateGraph(State)
    builder.add_node("write", write)
    builder.add_edge(START, "write")

    async def main() -> None:
        run = await run_of(builder.compile(), return_content=True)
        parts = await run.process_stream({"topic": "rain"}, THREAD)
        assert run.graph.values == {"topic": "rain", "text": "A text."}
        assert parts == [{"type": "text", "text": "A text."}]

    asyncio.run(main())


def test_an_entrypoint_takes_any_input_and_its_tasks_are_agents() -> None:
    llm = model("Thought.")

    @task
    async def think(topic: str) -> str:
        return (await llm.ainvoke(topic)).text

    @entrypoint()
    async def essay(topic: str) -> str:
        return f"{topic}: {await think(topic)}"

    async def main() -> None:
        run = await run_of(essay)
        events = [each async for each in run.stream("rain", THREAD)]  # type: ignore[arg-type]
        assert agents(events) == {"think": "Thought."}
        assert run.graph.values == "rain: Thought."

    asyncio.run(main())


def test_a_model_that_fails_and_is_replaced_leaves_a_failed_step_and_the_others_answer() -> None:
    first = model(script.reply("I was ", script.Fault("gone")))
    llm = first.with_fallbacks([model("Here I am.")])

    async def node(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await llm.ainvoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("node", node)
    builder.add_edge(START, "node")

    async def main() -> None:
        run = await run_of(builder.compile())
        events = [each async for each in run.stream(ASK, THREAD)]
        closed = [each.data["status"] for each in events if each.event == "on_run_step_closed"]
        assert closed == ["failed", "completed"]
        assert [each.text for each in run.get_run_messages()] == ["Here I am."]

    asyncio.run(main())


# Waiting


class Title(TypedDict):
    """The state of a graph that asks."""

    messages: Annotated[list[AnyMessage], operator.add]
    title: str


def asking(saver: Any, *replies: str) -> Any:
    llm = model(*replies)

    async def ask(state: Title) -> dict[str, Any]:
        return {"title": interrupt({"question": "Which?", "options": ("a", "b")})}

    async def write(state: Title) -> dict[str, Any]:
        return {"messages": [await llm.ainvoke(state["title"])]}

    inner = StateGraph(Title)
    inner.add_node("ask", ask)
    inner.add_edge(START, "ask")
    builder = StateGraph(Title)
    builder.add_node("before", write)
    builder.add_node("inner", inner.compile())
    builder.add_node("after", write)
    builder.add_edge(START, "before")
    builder.add_edge("before", "inner")
    builder.add_edge("inner", "after")
    return builder.compile(checkpointer=saver)


def test_a_question_of_any_form_waits_and_is_answered_by_another_process() -> None:
    async def main() -> None:
        saver = in_memory_saver()
        first = await run_of(asking(saver, "Before."))
        before = [each async for each in first.stream({"title": "none"}, THREAD)]
        assert gist(before) == ["Before.", "interrupted"]
        (waiting,) = first.get_interrupts()
        assert waiting.payload == {"question": "Which?", "options": ("a", "b")}
        second = await run_of(asking(saver, "After."))
        await second.resume("b", THREAD)
        after = [each async for each in second.attach()]
        assert gist(after) == ["After.", "completed"]
        indices = [each.data["index"] for each in [*before, *after] if each.event == "on_run_step"]
        assert indices == [0, 1]
        assert second.graph.values["title"] == "b"

    asyncio.run(main())


def test_a_turn_that_waited_before_it_said_anything_has_all_its_messages_in_the_end() -> None:
    def asks(name: str) -> Any:
        return lambda state: {"messages": [AIMessage(f"{name}: {interrupt(name)}", id=name)]}

    async def main() -> None:
        saver = in_memory_saver()
        builder = StateGraph(MessagesState)
        for name in ("one", "two"):
            builder.add_node(name, asks(name))
            builder.add_edge(START, name)
        graph = builder.compile(checkpointer=saver)

        async def elsewhere(answers: dict[str, str] | None) -> Run:
            run = await create_run(run_id="r", graph=graph)
            await (run.process_stream(ASK, THREAD) if answers is None else run.resume(answers, THREAD))
            return run

        asked = {each.payload: each.interrupt_id for each in (await elsewhere(None)).get_interrupts()}
        first = await elsewhere({asked["one"]: "yes"})  # type: ignore[index]
        assert [each.payload for each in first.get_interrupts()] == ["two"]
        last = await elsewhere({asked["two"]: "no"})  # type: ignore[index]
        assert [each.content for each in last.get_run_messages()] == ["one: yes", "two: no"]

    asyncio.run(main())


def test_a_call_that_waited_keeps_its_step_and_arguments_in_another_process() -> None:
    @tool
    def confirm(what: str) -> str:
        """Asks."""
        return f"{what}: {interrupt('Sure?')}"

    async def main() -> None:
        saver = in_memory_saver()
        llm = model(script.reply("", script.call("confirm", {"what": "Delete"}, id="c")))
        before = await told(talking(llm, confirm, saver=saver))
        (opened,) = [each.data for each in before if each.event == "on_run_step" and each.data["type"] == "tool_calls"]
        run = await run_of(talking(model("Done."), confirm, saver=saver))
        await run.resume("yes", THREAD)
        after = [each async for each in run.attach()]
        assert gist(after) == [("result", "c", '{"what":"Delete"}', "Delete: yes"), "Done.", "completed"]
        (result,) = [each.data["result"] for each in after if each.event == "on_run_step_completed"]
        assert result["id"] == opened["id"]
        assert opened["id"] in [each.data["id"] for each in after if each.event == "on_run_step_closed"]

    asyncio.run(main())


def test_an_answer_to_nothing_is_refused_and_a_breakpoint_is_gone_on_with() -> None:
    async def main() -> None:
        saver = in_memory_saver()
        options = {"compile_options": {"checkpointer": saver, "interrupt_before": ["tools"]}}
        run = await run_of(talking(weather_twice(), get_weather), graph_config=options)
        await run.process_stream(ASK, THREAD)
        assert (await run.graph.compiled.aget_state(THREAD)).next == ("tools",)
        await run.resume(None, THREAD)
        assert [each.type for each in run.get_run_messages()] == ["ai", "tool", "tool", "ai"]
        with pytest.raises(UnknownInterruptError):
            await run.resume("late", THREAD)

    asyncio.run(main())


REVIEW = {
    "action_requests": [{"name": "send", "args": {"to": "a"}, "description": "d"}, {"name": "drop", "args": {}}],
    "review_configs": [
        {"action_name": "send", "allowed_decisions": ["approve", "edit", "respond"]},
        {"action_name": "drop", "allowed_decisions": ["approve", "reject"]},
    ],
}


def reviewed(saver: Any) -> Any:
    builder = StateGraph(Title)
    builder.add_node("review", lambda _: {"title": interrupt(REVIEW)})
    builder.add_edge(START, "review")
    return builder.compile(checkpointer=saver)


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        (
            {"decisions": [{"type": "approve"}, {"type": "reject", "message": "no"}]},
            [{"type": "approve"}, {"type": "reject", "message": "no"}],
        ),
        (
            [{"type": "edit", "updated_input": {"to": "b"}}, {"type": "reject", "reason": "no"}],
            [
                {"type": "edit", "edited_action": {"name": "send", "args": {"to": "b"}}},
                {"type": "reject", "message": "no"},
            ],
        ),
        (
            [{"type": "respond", "response_text": "sent already"}, {"type": "approve"}],
            [{"type": "respond", "message": "sent already"}, {"type": "approve"}],
        ),
    ],
)
def test_a_review_in_langchains_form_is_answered_in_its_form_or_in_ours(answer: Any, wanted: Any) -> None:
    async def main() -> None:
        run = await run_of(reviewed(in_memory_saver()))
        await run.process_stream({"title": ""}, THREAD)
        await run.resume(answer, THREAD)
        assert run.graph.values["title"] == {"decisions": wanted}

    asyncio.run(main())


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ([{"type": "approve"}], "2 tool calls wait for review .send, drop., and 1 decisions were given"),
        ([{"type": "reject"}, {"type": "approve"}], "call of 'send' is 'reject'; allowed: approve, edit, respond"),
        ([{"type": "edit"}, {"type": "approve"}], "edits it without arguments"),
        (
            [{"type": "edit", "edited_action": {"name": "rm", "args": {}}}, {"type": "approve"}],
            "one of 'rm', which is no known tool; known are drop, send",
        ),
        ("yes", "is str; expected .'decisions'"),
        ([{}, {}], "without a 'type'"),
    ],
)
def test_a_decision_that_does_not_fit_is_refused_and_the_question_stays(answer: Any, problem: str) -> None:
    async def main() -> None:
        run = await run_of(reviewed(in_memory_saver()))
        await run.process_stream({"title": ""}, THREAD)
        with pytest.raises(InvalidAnswerError, match=problem):
            await run.resume(answer, THREAD)
        await run.resume([{"type": "approve"}, {"type": "approve"}], THREAD)

    asyncio.run(main())


@pytest.mark.parametrize("nested", [False, True])
def test_a_call_may_be_edited_to_be_one_of_another_tool_of_the_graph(nested: bool) -> None:
    async def main() -> None:
        builder = StateGraph(Title)
        builder.add_node("review", lambda _: {"title": interrupt(REVIEW)})
        builder.add_node("tools", ToolNode([get_weather]))
        builder.add_edge(START, "review")
        graph = builder.compile()
        if nested:
            outer = StateGraph(Title)
            outer.add_node("inner", graph)
            outer.add_edge(START, "inner")
            graph = outer.compile()
        run = await run_of(graph, graph_config={"compile_options": {"checkpointer": in_memory_saver()}})
        await run.process_stream({"title": ""}, THREAD)
        edit = {"type": "edit", "edited_action": {"name": "get_weather", "args": {}}}
        await run.resume([edit, {"type": "approve"}], THREAD)
        assert run.graph.values["title"] == {"decisions": [edit, {"type": "approve"}]}

    asyncio.run(main())


# The end


def test_an_aborted_run_keeps_what_was_said_and_the_next_turn_goes_on_from_it() -> None:
    async def main() -> None:
        gate = script.Gate()
        saver = in_memory_saver()
        llm = model(script.reply("Half ", script.Hold(gate), "of it."), "Again.")
        run = await run_of(talking(llm, saver=saver))
        work = run.start(ASK, THREAD)
        await gate.wait_reached_async()
        async for each in run.attach():
            if each.event == "on_message_delta":
                break
        run.abort("enough")
        with pytest.raises(AbortError, match="enough"):
            await work
        (cut,) = run.get_run_messages()
        assert (cut.text, cut.additional_kwargs) == ("Half ", {"incomplete": "aborted"})
        events = [each async for each in run.attach()]
        assert [each.data["status"] for each in events if each.event == "on_run_step_closed"] == ["cancelled"]
        later = await run_of(talking(model("Again."), saver=saver), "later")
        await later.process_stream({"messages": [("user", "and?")]}, THREAD)
        state = await later.graph.compiled.aget_state(THREAD)
        assert [each.text for each in state.values["messages"]] == ["hi", "Half ", "and?", "Again."]

    asyncio.run(main())


def test_a_run_aborted_in_a_tool_leaves_a_result_that_says_so() -> None:
    async def main() -> None:
        entered, saver = asyncio.Event(), in_memory_saver()

        @tool
        async def slow(city: str) -> str:
            """Takes forever."""
            entered.set()
            await asyncio.Event().wait()
            return city

        llm = model(script.reply("", script.call("slow", {"city": "Rome"}, id="c")))
        run = await run_of(talking(llm, slow, saver=saver))
        work = run.start(ASK, THREAD)
        await entered.wait()
        run.abort()
        with pytest.raises(AbortError):
            await work
        state = await run.graph.compiled.aget_state(THREAD)
        assert state.next == ()
        assert [each.type for each in state.values["messages"]] == ["human", "ai", "tool"]
        assert state.values["messages"][-1].status == "error"

    asyncio.run(main())


def test_an_error_of_a_node_ends_the_run_as_failed_with_what_was_said() -> None:
    async def fail(state: MessagesState) -> dict[str, Any]:
        raise LookupError("nothing there")

    builder = StateGraph(MessagesState)
    builder.add_node("talk", speaking(model("First.")))
    builder.add_node("fail", fail)
    builder.add_edge(START, "talk")
    builder.add_edge("talk", "fail")

    async def main() -> None:
        saver = in_memory_saver()
        run = await run_of(builder.compile(checkpointer=saver))
        with pytest.raises(LookupError, match="nothing there"):
            await run.process_stream(ASK, THREAD)
        events = [each async for each in run.attach()]
        assert events[-1].data["status"] == "failed"
        assert [each.text for each in run.get_run_messages()] == ["First."]
        state = await run.graph.compiled.aget_state(THREAD)
        assert (state.next, [each.text for each in state.values["messages"]]) == ((), ["hi", "First."])

    asyncio.run(main())


def test_a_paused_thread_that_gets_a_new_turn_is_finished_first() -> None:
    @tool
    def confirm(what: str) -> str:
        """Asks."""
        return str(interrupt("Sure?"))

    async def main() -> None:
        saver = in_memory_saver()
        llm = model(script.reply("", script.call("confirm", {"what": "x"}, id="c")), "New turn.")
        graph = talking(llm, confirm, saver=saver)
        run = await run_of(graph)
        await run.process_stream(ASK, THREAD)
        assert run.get_interrupts()
        await (await run_of(graph, "later")).process_stream({"messages": [("user", "never mind")]}, THREAD)
        messages = (await graph.aget_state(THREAD)).values["messages"]
        assert [each.type for each in messages] == ["human", "ai", "tool", "human", "ai"]

    asyncio.run(main())


# What a host gives


GRAPH = talking(model("By import path."))


def make_graph() -> Any:
    return talking(model("Made."))


def test_a_graph_is_given_by_its_import_path_or_a_function() -> None:
    async def main() -> None:
        for given, text in ((f"{__name__}:GRAPH", "By import path."), (make_graph, "Made.")):
            run = await create_run(run_id="r", graph=given)
            await run.process_stream(ASK)
            assert [each.text for each in run.get_run_messages()] == [text]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("nowhere", "'graph' is 'nowhere'; expected a compiled graph"),
        ("no.such.module:graph", "'no.such.module:graph' cannot be imported"),
        ("stategraph.constants:NOTHING", "has no attribute 'NOTHING'"),
        ("stategraph.constants:START", "'stategraph.constants:START' is a value of type str; expected"),
        (StateGraph(MessagesState), "of type StateGraph, which is not compiled"),
        (7, "'graph' is of type int; expected a compiled graph"),
        (lambda: 7, "returned a value of type int"),
    ],
)
def test_what_is_no_graph_is_refused_in_a_sentence(given: Any, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        asyncio.run(create_run(run_id="r", graph=given))


def test_a_graph_and_agents_together_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="both 'graph' and 'agents' were given"):
        asyncio.run(create_run(run_id="r", graph=GRAPH, agents=[{"agent_id": "a", "model": model("x")}]))


def test_a_runtime_gives_its_saver_to_the_graph_and_leaves_the_hosts_graph_as_it_is() -> None:
    async def main() -> None:
        graph = talking(model("One.", "Two."))
        async with AgentRuntime(checkpointer=in_memory_saver()) as runtime:
            for number in ("1", "2"):
                run = await runtime.create_run(run_id=number, graph=graph)
                await run.process_stream(ASK, THREAD)
            state = await run.graph.compiled.aget_state(THREAD)
            assert [each.text for each in state.values["messages"]] == ["hi", "One.", "hi", "Two."]
            assert [each.text for each in run.get_run_messages()] == ["Two."]
        assert graph.checkpointer is None

    asyncio.run(main())


def test_a_graph_keeps_its_own_limit_of_steps_unless_the_host_says_one() -> None:
    class State(TypedDict):
        count: int

    builder = StateGraph(State)
    builder.add_node("step", lambda state: {"count": state["count"] + 1})
    builder.add_edge(START, "step")
    builder.add_conditional_edges("step", lambda state: END if state["count"] >= 70 else "step", ["step", END])
    graph = builder.compile().with_config({"recursion_limit": 100})

    async def main() -> None:
        run = await run_of(graph)
        await run.process_stream({"count": 0})
        assert run.graph.values == {"count": 70}
        with pytest.raises(Exception, match="10"):
            await (await run_of(graph)).process_stream({"count": 0}, {"recursion_limit": 10})

    asyncio.run(main())


def test_nodes_get_the_context_of_the_execution() -> None:
    async def node(state: MessagesState, runtime: Any) -> Mapping[str, Any]:
        return {"messages": [AIMessage(f"Hello {runtime.context['name']}.")]}

    builder = StateGraph(MessagesState)
    from stategraph.engine.config.runtime import Runtime

    node.__annotations__["runtime"] = Runtime
    builder.add_node("node", node)
    builder.add_edge(START, "node")

    async def main() -> None:
        run = await run_of(builder.compile())
        await run.process_stream(ASK, {"context": {"name": "Ada"}})
        assert [each.text for each in run.get_run_messages()] == ["Hello Ada."]

    asyncio.run(main())


def test_a_command_that_goes_elsewhere_is_an_input_too() -> None:
    async def main() -> None:
        saver = in_memory_saver()
        graph = talking(model("One.", "Two."), saver=saver)
        run = await run_of(graph)
        await run.process_stream(ASK, THREAD)
        await run.process_stream(Command(update={"messages": [HumanMessage("more")]}, goto="model"), THREAD)
        state = await graph.aget_state(THREAD)
        assert [each.text for each in state.values["messages"]] == ["hi", "One.", "more", "Two."]

    asyncio.run(main())


def test_only_conversations_are_read_as_messages() -> None:
    class Lines(TypedDict):
        messages: Annotated[list[str], operator.add]

    builder = StateGraph(Lines)
    builder.add_node("node", lambda state: {"messages": [state["messages"][0].upper()]})
    builder.add_edge(START, "node")
    graph = builder.compile()
    assert not loading.takes_messages(graph)

    async def main() -> None:
        run = await run_of(graph)
        await run.process_stream({"messages": ["plain text"]})
        assert run.graph.values == {"messages": ["plain text", "PLAIN TEXT"]}

    asyncio.run(main())


# Usage and limits


def spending(*, calls: int, saver: Any = None) -> Any:
    """An agent that calls its tool so often, and then says so; each answer has usage."""
    wanted = [script.call("get_weather", {"city": str(number)}, id=f"c{number}") for number in range(calls)]
    replies = [script.reply("Once more.", each, usage=(10, 5)) for each in wanted]
    return talking(model(*replies, script.reply("Done.", usage=(20, 1))), get_weather, saver=saver)


def test_the_usage_of_a_graphs_models_and_tools_is_counted_by_agent() -> None:
    async def main() -> None:
        run = await run_of(spending(calls=2))
        await run.process_stream(ASK, THREAD)
        assert (run.usage.total.model_calls, run.usage.total.tool_calls) == (3, 2)
        assert (run.usage.total.input_tokens, run.usage.total.output_tokens) == (40, 11)
        assert list(run.usage.by_agent) == ["model"]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("limits", "reason", "calls", "tools"),
    [
        ({"model_calls": 2}, "model_calls", 2, 2),
        ({"tool_calls": 1}, "tool_calls", 2, 1),
        ({"total_tokens": 25}, "total_tokens", 2, 2),
    ],
)
def test_a_limit_keeps_the_next_call_from_beginning_and_ends_the_turn(
    limits: Any, reason: str, calls: int, tools: int
) -> None:
    async def main() -> None:
        saver = in_memory_saver()
        run = await run_of(spending(calls=5, saver=saver), limits=limits)
        await run.process_stream(ASK, THREAD)
        halt = run.get_halt_reason()
        assert halt is not None
        assert reason in halt
        assert (run.usage.total.model_calls, run.usage.total.tool_calls) == (calls, tools)
        state = await run.graph.compiled.aget_state(THREAD)
        assert state.next == ()
        types = [each.type for each in state.values["messages"]]
        assert types.count("tool") == types.count("ai") == 2
        strict = await run_of(spending(calls=5), limits={**limits, "on_limit": "raise"})
        with pytest.raises(LimitReachedError, match=reason):
            await strict.process_stream(ASK, THREAD)

    asyncio.run(main())


class Answering(MessagesState):
    structured_response: Any


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_structured_response_of_an_earlier_turn_is_no_output(elsewhere: bool) -> None:
    asyncio.run(_turns(elsewhere))


async def _turns(elsewhere: bool) -> None:
    turns = iter(["first", "asks", "again", "none"])

    async def node(state: Answering) -> dict[str, Any]:
        match next(turns):
            case "asks":
                interrupt("Go on?")
            case "none":
                return {"messages": [AIMessage("No more.")]}
        return {"messages": [AIMessage("Here.")], "structured_response": {"a": 1}}

    builder = StateGraph(Answering)
    builder.add_node("node", node)
    builder.add_edge(START, "node")
    graph = builder.compile(checkpointer=in_memory_saver())

    async def run_of_turn(number: int) -> Run:
        return await Run.create({"run_id": f"r{number}", "graph": graph})

    run = await run_of_turn(1)
    await run.process_stream({"messages": [("user", "hi")]}, THREAD)
    assert run.output == {"a": 1}
    run = await run_of_turn(2)
    await run.process_stream({"messages": [("user", "hi")]}, THREAD)
    assert (len(run.get_interrupts()), run.output) == (1, None)
    run = await run_of_turn(2) if elsewhere else run
    await run.resume("yes", THREAD)
    assert run.output == {"a": 1}
    run = await run_of_turn(3)
    await run.process_stream({"messages": [("user", "hi")]}, THREAD)
    assert [each.content for each in run.get_run_messages()] == ["No more."]
    assert run.output is None


@pytest.mark.parametrize(
    "answers",
    [
        [AIMessage("Hello."), AIMessage("Bye.")],
        [("ai", "Hello."), {"role": "assistant", "content": "Bye."}],
        [("user", "Say bye."), ("ai", "Hello."), AIMessage("Bye.")],
    ],
)
def test_answers_are_told_in_whatever_form_a_node_returns_them(answers: list[Any]) -> None:
    builder = StateGraph(MessagesState)
    builder.add_node("speak", lambda _: {"messages": [copy.copy(each) for each in answers]})
    builder.add_node("idle", lambda _: {})
    builder.add_edge(START, "speak")
    builder.add_edge("speak", "idle")
    graph = builder.compile(checkpointer=in_memory_saver())
    for turn in range(2):  # what the thread has from the turn before is not told again
        assert sorted(asyncio.run(_deltas(graph, f"r{turn}"))) == ["Bye.", "Hello."]


def test_answers_of_nested_graphs_are_told_once_in_whatever_form() -> None:
    inner = StateGraph(MessagesState)
    inner.add_node("speak", lambda _: {"messages": [("ai", "Hello."), AIMessage("Bye.")]})
    inner.add_edge(START, "speak")
    outer = StateGraph(MessagesState)
    outer.add_node("inner", inner.compile())
    outer.add_edge(START, "inner")
    assert sorted(asyncio.run(_deltas(outer.compile(), "r"))) == ["Bye.", "Hello."]


async def _deltas(graph: Any, run_id: str) -> list[str]:
    run = await Run.create({"run_id": run_id, "graph": graph})
    told = [each async for each in run.stream(ASK, THREAD)]
    return [each.data["delta"]["content"][0]["text"] for each in told if each.event == "on_message_delta"]
