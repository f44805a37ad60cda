"""AG-UI: events that a front end is sent, and requests that it sends."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any
from uuid import uuid4

import jsonpatch
import pytest
from ag_ui.core import Event
from langchain_core.runnables import RunnableConfig
from langgraph.config import get_stream_writer
from pydantic import TypeAdapter

from stategraph import START, StateGraph, interrupt
from stategraph.server.agui import routes
from stategraph.testing import ScriptedChatModel, call
from tests.server.protocols import logs
from tests.server.protocols.logs import said
from tests.server.protocols.serving import frames_of, serving

pytestmark = pytest.mark.anyio

EVENT: TypeAdapter[Any] = TypeAdapter(Event)


def request(text: str | None = "what is it?", **more: Any) -> dict[str, Any]:
    """Return a request of a client of version 1.0, with one message of the user."""
    messages = [] if text is None else [{"id": "user-1", "role": "user", "content": text}]
    return {"threadId": "thread-1", "runId": str(uuid4()), "messages": messages, "protocolVersion": "1.0", **more}


async def run(client: Any, name: str, given: dict[str, Any], **headers: str) -> list[dict[str, Any]]:
    """Send a request and return the events, each checked against the protocol's types and order."""
    answer = await client.post(f"/agui/{name}", json=given, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [data for _, _, data in frames_of(answer.text)]
    if not headers:
        check(events)
    return events


def check(events: list[dict[str, Any]]) -> None:
    """Raise an AssertionError unless events keep the rules of the protocol's clients."""
    kinds = [each["type"] for each in events]
    assert kinds[0] == "RUN_STARTED"
    assert kinds[-1] in ("RUN_FINISHED", "RUN_ERROR")
    assert Counter(kinds)["RUN_STARTED"] == 1
    places: dict[str, set[Any]] = {}
    used: set[Any] = set()
    for each in events:
        EVENT.validate_python(each)
        assert each["timestamp"] > 1_600_000_000_000
        kind = each["type"]
        owner = each.get("subagentRunId")
        thing, _, what = kind.rpartition("_")
        key = {
            "TEXT_MESSAGE": each.get("messageId"),
            "TOOL_CALL": each.get("toolCallId"),
            "REASONING_MESSAGE": each.get("messageId"),
            "REASONING": each.get("messageId"),
            "STEP": (owner, each.get("stepName")),
            "SUBAGENT": owner,
        }.get(thing)
        if key is None:
            continue
        is_open = places.setdefault(thing, set())
        if what in ("START", "STARTED"):
            assert key not in is_open
            if thing != "STEP":
                assert (thing, key) not in used
            used.add((thing, key))
            is_open.add(key)
        elif what == "RESULT":
            assert key not in is_open
        else:
            assert key in is_open, each
        if what in ("END", "FINISHED", "ERROR"):
            is_open.discard(key)
    assert not any(places.values()), places


def of(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """Return the events of a kind."""
    return [each for each in events if each["type"] == kind]


def texts(events: list[dict[str, Any]]) -> list[str]:
    """Return the texts that were streamed, by message."""
    found: dict[str, str] = {}
    for each in of(events, "TEXT_MESSAGE_CONTENT"):
        found[each["messageId"]] = found.get(each["messageId"], "") + each["delta"]
    return list(found.values())


def state_of(events: list[dict[str, Any]]) -> Any:
    """Return the state that a front end has at the end."""
    state: Any = None
    for each in events:
        if each["type"] == "STATE_SNAPSHOT":
            state = each["snapshot"]
        elif each["type"] == "STATE_DELTA":
            state = jsonpatch.apply_patch(state, each["delta"])
    return state


async def test_an_answer_with_reasoning_tools_and_steps_is_streamed() -> None:
    async with serving({"agent": logs.looking_up().compile()}, routes) as client:
        events = await run(client, "agent", request())
    assert texts(events) == ["I look it up.", "It is a and b."]
    assert "".join(each["delta"] for each in of(events, "REASONING_MESSAGE_CONTENT")) == "What may it be?"
    assert [each["toolCallName"] for each in of(events, "TOOL_CALL_START")] == ["search", "search"]
    assert [each["content"] for each in of(events, "TOOL_CALL_RESULT")] == ["a found", "b found"]
    assert [each["stepName"] for each in of(events, "STEP_STARTED")] == ["think", "tools", "think"]
    assert {each["name"] for each in of(events, "CUSTOM")} == {"stategraph.custom"}
    assert sorted(each["value"]["searching"] for each in of(events, "CUSTOM")) == ["a", "b"]
    assert events[0]["protocolVersion"] == "1.0"
    end = events[-1]
    assert end["outcome"] == {"type": "success"}
    assert end["usage"] == [
        {
            "provider": "scriptedchatmodel",
            "model": "scripted",
            "inputTokens": 20,
            "outputTokens": 10,
            "totalTokens": 30,
        }
    ]
    (parent,) = {each["parentMessageId"] for each in of(events, "TOOL_CALL_START")}
    assert parent == of(events, "TEXT_MESSAGE_START")[0]["messageId"]


async def test_the_conversation_at_the_end_is_that_of_the_thread_with_the_ids_that_were_streamed() -> None:
    async with serving({"agent": logs.looking_up().compile()}, routes) as client:
        events = await run(client, "agent", request())
    before, after = of(events, "MESSAGES_SNAPSHOT")
    assert [each["role"] for each in before["messages"]] == ["user"]
    assert [each["role"] for each in after["messages"]] == [
        "user", "reasoning", "assistant", "tool", "tool", "assistant",
    ]  # fmt: skip
    streamed = {each["messageId"] for each in of(events, "TEXT_MESSAGE_START")}
    assert streamed == {each["id"] for each in after["messages"] if each["role"] == "assistant"}
    assert {each["messageId"] for each in of(events, "REASONING_START")} == {
        each["id"] for each in after["messages"] if each["role"] == "reasoning"
    }


async def test_the_next_turn_sends_only_what_is_new() -> None:
    graph = logs.tool_agent(said("First."), said("Second.")).compile()
    async with serving({"agent": graph}, routes) as client:
        first = await run(client, "agent", request())
        conversation = of(first, "MESSAGES_SNAPSHOT")[-1]["messages"]
        more = [*conversation, {"id": "user-2", "role": "user", "content": "And?"}]
        second = await run(client, "agent", request(None, messages=more))
    assert texts(second) == ["Second."]
    assert [each["content"] for each in of(second, "MESSAGES_SNAPSHOT")[-1]["messages"]] == [
        "what is it?", "First.", "And?", "Second.",
    ]  # fmt: skip


async def test_a_user_message_that_is_sent_again_is_answered_anew_from_before_it() -> None:
    graph = logs.tool_agent(said("First."), said("Other.")).compile()
    async with serving({"agent": graph}, routes) as client:
        await run(client, "agent", request())
        again = await run(client, "agent", request())
    assert [each["content"] for each in of(again, "MESSAGES_SNAPSHOT")[-1]["messages"]] == ["what is it?", "Other."]


async def test_branches_at_the_same_time_have_one_step_of_each_name() -> None:
    async with serving({"spread": logs.spread().compile(), "branches": logs.branches().compile()}, routes) as client:
        events = await run(client, "spread", request())
        assert [each["stepName"] for each in of(events, "STEP_STARTED")] == ["speak"]
        assert sorted(texts(events)) == [f"This is number {number}." for number in range(3)]
        events = await run(client, "branches", request(threadId="thread-2"))
        assert len(texts(events)) == 4


async def test_a_nested_agent_is_attributed_and_old_clients_are_told_it_as_the_agents_own() -> None:
    async with serving({"expert": logs.agent_as_tool().compile()}, routes) as client:
        events = await run(client, "expert", request())
        (started,) = of(events, "SUBAGENT_STARTED")
        assert (started["name"], started["parentToolCallId"]) == ("ask_expert", "call_0_0")
        (finished,) = of(events, "SUBAGENT_FINISHED")
        assert finished["outcome"] == {"type": "success"}
        owned = {each.get("subagentRunId") for each in of(events, "TEXT_MESSAGE_START")}
        assert owned == {None, started["subagentRunId"]}
    async with serving({"expert": logs.agent_as_tool().compile()}, routes) as client:
        given = request()
        del given["protocolVersion"]
        events = await run(client, "expert", given)
    assert not [each for each in events if "SUBAGENT" in each["type"] or "subagentRunId" in each]
    assert texts(events) == ["I ask.", "The expert knows."]


async def test_tool_calls_that_need_approval_are_interrupts_and_are_resumed_by_their_ids() -> None:
    asking = said("I delete.", call("delete", name="a.txt"), call("delete", name="b.txt"))
    graph = logs.tool_agent(asking, said("Done."), asks=True).compile()
    async with serving({"agent": graph}, routes) as client:
        events = await run(client, "agent", request())
        outcome = events[-1]["outcome"]
        assert outcome["type"] == "interrupt"
        first, second = outcome["interrupts"]
        assert (first["reason"], first["message"]) == ("tool_call", "Sure?")
        assert first["metadata"]["args"] == {"name": "a.txt"}
        calls = [each["toolCallId"] for each in of(events, "TOOL_CALL_START")]
        assert [first["toolCallId"], second["toolCallId"]] == calls
        assert first["responseSchema"]["required"] == ["approved"]

        one = [{"interruptId": first["id"], "status": "resolved", "payload": {"approved": True}}]
        refused = await client.post("/agui/agent", json=request(None, resume=one))
        assert refused.status_code == 422
        assert second["id"] in refused.json()["detail"]

        edited = {"approved": True, "editedArgs": {"name": "c.txt"}}
        answers = {first["id"]: edited, second["id"]: {"type": "approve"}}
        both = [{"interruptId": key, "status": "resolved", "payload": each} for key, each in answers.items()]
        resumed = await run(client, "agent", request(None, resume=both))
    assert texts(resumed) == ["Done."]
    assert state_of(resumed)["log"] == ["edit", "approve", "no need"]
    assert [each["toolCallId"] for each in of(resumed, "TOOL_CALL_RESULT")] == calls


async def test_a_cancelled_approval_is_a_rejection() -> None:
    graph = logs.tool_agent(said(call("delete", name="a")), said("Kept."), asks=True).compile()
    async with serving({"agent": graph}, routes) as client:
        events = await run(client, "agent", request())
        (asked,) = events[-1]["outcome"]["interrupts"]
        left = {"interruptId": asked["id"], "status": "cancelled"}
        resumed = await run(client, "agent", request(None, resume=[left]))
    assert state_of(resumed)["log"][0] == "reject"


async def test_another_question_is_answered_with_the_value_that_the_graph_gets() -> None:
    def ask(state: logs.Talk) -> Any:
        return {"log": [str(interrupt({"question": "Which?", "reason": "acme:choice"}))]}

    graph = StateGraph(logs.Talk).add_node("ask", ask).add_edge(START, "ask").compile()
    async with serving({"ask": graph}, routes) as client:
        events = await run(client, "ask", request())
        (asked,) = events[-1]["outcome"]["interrupts"]
        assert (asked["reason"], asked["message"]) == ("acme:choice", "Which?")
        answer = {"interruptId": asked["id"], "status": "resolved", "payload": ["this", 1]}
        resumed = await run(client, "ask", request(None, resume=[answer]))
        assert state_of(resumed)["log"] == ["['this', 1]"]
        late = await client.post("/agui/ask", json=request(None, resume=[answer]))
        assert late.status_code == 422
        assert "Nothing waits" in late.json()["detail"]


async def test_an_old_client_is_asked_and_answers_by_forwarded_props() -> None:
    graph = logs.tool_agent(said(call("delete", name="a")), said("Done."), asks=True).compile()
    async with serving({"agent": graph}, routes) as client:
        given = request()
        del given["protocolVersion"]
        events = await run(client, "agent", given)
        (asked,) = of(events, "CUSTOM")
        assert (asked["name"], asked["value"]["action_requests"][0]["name"]) == ("on_interrupt", "delete")
        command = {"command": {"resume": {"decisions": [{"type": "approve"}]}}}
        resumed = await run(client, "agent", request(None, forwardedProps=command))
    assert texts(resumed) == ["Done."]


async def test_a_tool_of_the_front_end_is_called_and_its_result_continues_the_thread() -> None:
    seen: list[Any] = []
    model = ScriptedChatModel(replies=[said("I ask.", call("confirm", text="ok?")), said("You said yes.")])

    async def think(state: logs.Talk, config: RunnableConfig) -> Any:
        tools = config["configurable"]["client_tools"]
        seen.append([each["function"]["name"] for each in tools])
        return {"messages": [await model.bind_tools(tools).ainvoke(state["messages"])]}

    graph = StateGraph(logs.Talk).add_node("think", think).add_edge(START, "think").compile()
    tools = [{"name": "confirm", "description": "Ask the user.", "parameters": {"type": "object", "properties": {}}}]
    async with serving({"agent": graph}, routes) as client:
        events = await run(client, "agent", request(tools=tools))
        (called,) = of(events, "TOOL_CALL_START")
        assert events[-1]["outcome"] == {"type": "success", "pendingToolCallIds": [called["toolCallId"]]}
        conversation = of(events, "MESSAGES_SNAPSHOT")[-1]["messages"]
        result = {"id": "result-1", "role": "tool", "toolCallId": called["toolCallId"], "content": "yes"}
        events = await run(client, "agent", request(None, tools=tools, messages=[*conversation, result]))
    assert texts(events) == ["You said yes."]
    assert seen == [["confirm"], ["confirm"]]
    assert of(events, "TOOL_CALL_RESULT") == []
    assert [each["role"] for each in of(events, "MESSAGES_SNAPSHOT")[-1]["messages"]] == [
        "user", "assistant", "tool", "assistant",
    ]  # fmt: skip


async def test_the_state_is_shared_both_ways() -> None:
    class Recipe(logs.Talk, total=False):
        title: str
        steps: list[str]

    def cook(state: Recipe) -> Any:
        return {"steps": [*state.get("steps", []), "stir"], "log": [state.get("title", "?")]}

    graph = StateGraph(Recipe).add_node("cook", cook).add_edge(START, "cook").compile()
    async with serving({"cook": graph}, routes) as client:
        events = await run(client, "cook", request(state={"title": "Soup", "unknown": 1}))
        assert state_of(events) == {"title": "Soup", "steps": ["stir"], "log": ["Soup"]}
        assert [each["op"] for each in of(events, "STATE_DELTA")[0]["delta"]]
        shown = {**state_of(events), "steps": ["boil"]}
        events = await run(client, "cook", request(None, state=shown))
    assert state_of(events) == {"title": "Soup", "steps": ["boil", "stir"], "log": ["Soup", "Soup"]}


async def test_custom_events_activities_and_predicted_state_are_told() -> None:
    model = ScriptedChatModel(replies=[said(call("write", text="Hello"))])

    async def work(state: logs.Talk, config: RunnableConfig) -> Any:
        write = get_stream_writer()
        write({"name": "acme.progress", "value": 1})
        write({"type": "ACTIVITY_SNAPSHOT", "messageId": "plan", "activityType": "PLAN", "content": {"steps": []}})
        patch = [{"op": "add", "path": "/steps/-", "value": "a"}]
        write({"type": "ACTIVITY_DELTA", "messageId": "plan", "activityType": "PLAN", "patch": patch})
        predicts = [{"state_key": "document", "tool": "write", "tool_argument": "text"}]
        about: Any = {**config, "metadata": {"predict_state": predicts}}
        return {"messages": [await model.ainvoke(state["messages"], about)]}

    graph = StateGraph(logs.Talk).add_node("work", work).add_edge(START, "work").compile()
    async with serving({"work": graph}, routes) as client:
        events = await run(client, "work", request())
    assert [(each["name"], each["value"]) for each in of(events, "CUSTOM")] == [
        ("acme.progress", 1),
        ("PredictState", [{"state_key": "document", "tool": "write", "tool_argument": "text"}]),
    ]
    assert of(events, "ACTIVITY_SNAPSHOT")[0]["content"] == {"steps": []}
    assert of(events, "ACTIVITY_DELTA")[0]["patch"][0]["op"] == "add"


async def test_a_run_that_fails_ends_with_an_error_without_its_message() -> None:
    def fail(state: logs.Talk) -> Any:
        raise RuntimeError("the password is hunter2")

    graph = StateGraph(logs.Talk).add_node("fail", fail).add_edge(START, "fail").compile()
    async with serving({"fail": graph}, routes) as client:
        events = await run(client, "fail", request())
    assert (events[-1]["type"], events[-1]["code"]) == ("RUN_ERROR", "RuntimeError")
    assert "hunter2" not in json.dumps(events)


async def test_a_reader_comes_back_to_a_run_by_repeating_the_request_or_by_its_address() -> None:
    async with serving({"agent": logs.looking_up().compile()}, routes) as client:
        given = request()
        answer = await client.post("/agui/agent", json=given)
        frames = frames_of(answer.text)
        ids = [each for each, _, _ in frames]
        assert len(set(ids)) == len(ids)
        for at in (0, 7, len(ids) - 1):
            again = await client.post("/agui/agent", json=given, headers={"Last-Event-ID": ids[at]})
            path = f"/agui/agent/threads/thread-1/runs/{given['runId']}"
            other = await client.get(path, headers={"Last-Event-ID": ids[at]})
            for body in (again.text, other.text):
                got = frames_of(body)
                assert [each for each, _, _ in got] == ids[at + 1 :]
                assert [each["type"] for _, _, each in got] == [each["type"] for _, _, each in frames[at + 1 :]]
        wrong = await client.get(path, headers={"Last-Event-ID": "x"})
        assert wrong.status_code == 422


async def test_wrong_requests_are_refused_with_a_sentence() -> None:
    async with serving({"agent": logs.looking_up().compile()}, routes) as client:
        nothing = await client.post("/agui/agent", json={"threadId": "t"})
        assert (nothing.status_code, "runId" in nothing.json()["detail"]) == (422, True)
        unknown = await client.post("/agui/other", json=request())
        assert unknown.status_code == 404
        props = await client.post("/agui/agent", json=request(forwardedProps={"config": 3}))
        assert (props.status_code, props.json()["detail"]) == (422, "forwardedProps.config is int; expected an object")
        run_of_nobody = await client.get("/agui/agent/threads/thread-1/runs/none")
        assert run_of_nobody.status_code == 404


async def test_a_run_is_read_only_by_the_name_of_its_own_agent() -> None:
    async with serving({name: logs.looking_up().compile() for name in ("agent", "second")}, routes) as client:
        given = request()
        assert (await client.post("/agui/agent", json=given)).status_code == 200
        for name in ("second", "nope"):
            assert (await client.post(f"/agui/{name}", json=given)).status_code == 404
            path = f"/agui/{name}/threads/thread-1/runs/{given['runId']}"
            assert (await client.get(path)).status_code == 404


async def test_what_the_agent_can_do_is_told() -> None:
    async with serving({"agent": logs.looking_up().compile()}, routes) as client:
        found = (await client.get("/agui/agent")).json()
    assert found["identity"]["name"] == "agent"
    assert found["humanInTheLoop"]["interrupts"]
