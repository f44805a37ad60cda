"""The UI message stream: chunks of it, and chats of the AI SDK itself where Node and the package `ai` are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.runnables import RunnableConfig

from stategraph import START, StateGraph, interrupt
from stategraph.server.vercel import routes
from stategraph.testing import ScriptedChatModel, Think, call, reply
from tests.server.protocols import logs
from tests.server.protocols.logs import said
from tests.server.protocols.serving import frames_of, serving

pytestmark = pytest.mark.anyio


def message(text: str, message_id: str = "user-1") -> dict[str, Any]:
    """Return a message of the user."""
    return {"id": message_id, "role": "user", "parts": [{"type": "text", "text": text}]}


def chat(*messages: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Return the body that the transport sends."""
    return {"id": "chat-1", "messages": list(messages or [message("what is it?")]), "trigger": "submit-message", **more}


async def send(client: Any, name: str, body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Send a body and return the chunks, their order checked."""
    answer = await client.post(f"/vercel/{name}", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-vercel-ai-ui-message-stream"] == "v1"
    found = [data for _, _, data in frames_of(answer.text)]
    assert found.pop() == "[DONE]"
    check(found)
    return found


def check(chunks: list[dict[str, Any]]) -> None:
    """Raise an AssertionError unless each piece is of something that is open."""
    kinds = [each["type"] for each in chunks]
    assert kinds[0] == "start"
    assert kinds[-1] in ("finish", "abort")
    assert kinds.count("start-step") == kinds.count("finish-step")
    texts: set[str] = set()
    calls: set[str] = set()
    for each in chunks:
        thing, _, what = each["type"].rpartition("-")
        if thing in ("text", "reasoning"):
            key = f"{thing}{each['id']}"
            if what == "start":
                assert key not in texts
                texts.add(key)
            elif what == "delta":
                assert key in texts and each["delta"]
            else:
                texts.remove(key)
        elif each["type"] == "tool-input-start":
            calls.add(each["toolCallId"])
        elif each["type"] == "tool-input-delta":
            assert each["toolCallId"] in calls
        elif each["type"] == "finish-step":
            assert not texts, "the end of a step closes its texts"
    assert not texts


def of(chunks: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """Return the chunks of a kind."""
    return [each for each in chunks if each["type"] == kind]


def text(chunks: list[dict[str, Any]]) -> str:
    """Return all text."""
    return "".join(each["delta"] for each in of(chunks, "text-delta"))


async def test_an_answer_with_tools_is_one_message_of_two_steps() -> None:
    async with serving({"agent": logs.looking_up().compile()}, routes) as client:
        chunks = await send(client, "agent", chat())
    assert text(chunks) == "I look it up.It is a and b."
    assert "".join(each["delta"] for each in of(chunks, "reasoning-delta")) == "What may it be?"
    assert len(of(chunks, "start-step")) == 2
    assert [each["input"] for each in of(chunks, "tool-input-available")] == [{"word": "a"}, {"word": "b"}]
    assert [each["output"] for each in of(chunks, "tool-output-available")] == ["a found", "b found"]
    assert sorted(each["data"]["searching"] for each in of(chunks, "data-custom")) == ["a", "b"]
    assert chunks[-1]["finishReason"] == "stop"
    assert chunks[-1]["messageMetadata"]["usage"]["inputTokens"] == 20


async def test_branches_share_a_step_and_agents_in_tools_are_left_out() -> None:
    graphs = {"branches": logs.branches().compile(), "expert": logs.agent_as_tool().compile()}
    async with serving(graphs, routes) as client:
        chunks = await send(client, "branches", chat())
        spoken_by = [f"Here is branch {name} with some words." for name in ("one", "two", "three")]
        assert sorted(text(chunks)) == sorted("".join([*spoken_by, "Whole."]))
        chunks = await send(client, "expert", chat(id="chat-2"))
    assert text(chunks) == "I ask.The expert knows."
    assert [each["toolName"] for each in of(chunks, "tool-input-start")] == ["ask_expert"]


async def test_a_later_message_is_new_whether_all_or_the_last_is_sent() -> None:
    graph = logs.tool_agent(said("One."), said("Two."), said("Three.")).compile()
    async with serving({"agent": graph}, routes) as client:
        first = await send(client, "agent", chat())
        answer = {"id": first[0]["messageId"], "role": "assistant", "parts": [{"type": "text", "text": "One."}]}
        second = await send(client, "agent", chat(message("what is it?"), answer, message("and?", "user-2")))
        assert text(second) == "Two."
        third = await send(client, "agent", {"id": "chat-1", "message": message("more?", "user-3")})
        assert text(third) == "Three."
        again = await send(client, "agent", chat(message("more?", "user-3"), message("last", "user-4")))
    assert of(again, "error")  # the script has no fourth answer: the run failed, and says so without details
    assert again[-1]["finishReason"] == "error"


async def test_failed_tools_and_arguments_that_are_no_json_are_errors() -> None:
    graph = logs.tool_agent(said(call("search", word="fail")), said("Sorry.")).compile()
    broken = StateGraph(logs.Talk)
    model = ScriptedChatModel(replies=[reply(call("search", '{"word": '))])

    async def think(state: logs.Talk) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    broken.add_node("think", think).add_edge(START, "think")
    async with serving({"agent": graph, "broken": broken.compile()}, routes) as client:
        chunks = await send(client, "broken", chat(id="chat-2"))
        assert of(chunks, "tool-input-error")[0]["input"] == '{"word": '
        chunks = await send(client, "agent", chat())
    assert "nothing there" not in text(chunks)
    assert of(chunks, "error") or of(chunks, "tool-output-error")


async def test_wrong_bodies_are_refused_with_a_sentence() -> None:
    async with serving({"agent": logs.looking_up().compile()}, routes) as client:
        for body, sentence in (
            ([], "no JSON object"),
            ({"messages": []}, "no 'id'"),
            ({"id": "c"}, "no list 'messages'"),
            ({"id": "c", "messages": [{"role": "robot", "parts": []}]}, "messages[0] is no message"),
            ({"id": "c", "messages": [{"role": "user", "parts": ["x"]}]}, "messages[0].parts"),
            (chat(tools=3), "'tools' is int"),
            (chat(resume={"x": 1}), "Nothing waits for an answer to 'x'"),
        ):
            answer = await client.post("/vercel/agent", json=body)
            assert (answer.status_code, sentence in answer.json()["detail"]) == (422, True), answer.text
        assert (await client.post("/vercel/agent", content=b"{")).status_code == 422
        assert (await client.post("/vercel/other", json=chat())).status_code == 404
        assert (await client.get("/vercel/agent/none/stream")).status_code == 204
        assert (await client.post("/vercel/agent/none/stop")).status_code == 204
        assert (await client.get("/vercel/other/none/stream")).status_code == 404
        assert (await client.post("/vercel/other/none/stop")).status_code == 404


async def test_files_of_the_user_become_content_blocks() -> None:
    seen: list[Any] = []

    def look(state: logs.Talk) -> Any:
        seen.append(state["messages"][-1].content)
        return {"messages": [("ai", "Seen.")]}

    graph = StateGraph(logs.Talk).add_node("look", look).add_edge(START, "look").compile()
    files = [
        {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,QUJD"},
        {"type": "file", "mediaType": "application/pdf", "url": "https://example.com/a.pdf"},
    ]
    sent = {"id": "user-1", "role": "user", "parts": [{"type": "text", "text": "See"}, *files]}
    async with serving({"look": graph}, routes) as client:
        assert text(await send(client, "look", chat(sent))) == "Seen."
    assert seen == [
        [
            {"type": "text", "text": "See"},
            {"type": "image", "mime_type": "image/png", "base64": "QUJD"},
            {"type": "file", "mime_type": "application/pdf", "url": "https://example.com/a.pdf"},
        ]
    ]


# Chats of the package itself.


def asking() -> Any:
    """Return an agent that asks before it deletes two files."""
    calls = said("I delete.", call("delete", name="a.txt"), call("delete", name="b.txt"))
    return logs.tool_agent(calls, said("Done."), asks=True)


def with_client_tool() -> Any:
    """Return an agent that calls a tool of the client."""
    model = ScriptedChatModel(replies=[said(call("confirm", text="ok?")), said("You said yes.")])

    async def think(state: logs.Talk, config: RunnableConfig) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    return StateGraph(logs.Talk).add_node("think", think).add_edge(START, "think")


def with_question() -> Any:
    """Return a graph that asks for a value."""

    def ask(state: logs.Talk) -> Any:
        return {"messages": [("ai", f"It is {interrupt('Which colour?')}.")]}

    return StateGraph(logs.Talk).add_node("ask", ask).add_edge(START, "ask")


def looking_up_slowly() -> Any:
    """Return an agent that looks something up, and then speaks slowly."""
    last = reply("It takes a while to say what it is.", gap_s=0.1)
    return logs.tool_agent(said("I look.", call("search", word="a")), last)


def slow() -> Any:
    """Return an agent that speaks slowly."""
    model = ScriptedChatModel(replies=[reply("This takes a while to say.", gap_s=0.1)])

    async def think(state: logs.Talk) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    return StateGraph(logs.Talk).add_node("think", think).add_edge(START, "think")


async def test_a_chat_is_read_as_messages_of_the_user_interface() -> None:
    graphs = {"agent": logs.tool_agent(said("I look.", call("search", word="a")), said("It is a.")), "asks": asking()}
    graphs |= {"question": with_question()}
    async with serving({name: each.compile() for name, each in graphs.items()}, routes) as client:
        await send(client, "agent", chat(message("look")))
        found = (await client.get("/vercel/agent/chat-1")).json()
        await send(client, "asks", {**chat(message("delete")), "id": "chat-2"})
        waiting = (await client.get("/vercel/asks/chat-2")).json()["messages"][-1]["parts"]
        await send(client, "question", {**chat(message("ask")), "id": "chat-3"})
        asked = (await client.get("/vercel/question/chat-3")).json()["messages"][-1]
        assert (await client.get("/vercel/agent/nothing")).json()["messages"] == []
        assert (await client.get("/vercel/none/chat-1")).status_code == 404
    assert (found["id"], found["isActive"]) == ("chat-1", False)
    user, answer = found["messages"]
    assert user == {"id": "user-1", "role": "user", "parts": [{"type": "text", "text": "look"}]}
    assert [each["type"] for each in answer["parts"]] == ["step-start", "text", "tool-search", "step-start", "text"]
    assert (answer["parts"][2]["state"], answer["parts"][2]["output"]) == ("output-available", "a found")
    calls = [each for each in waiting if each["type"] == "tool-delete"]
    assert [each["state"] for each in calls] == ["approval-requested"] * 2
    assert len({each["approval"]["id"] for each in calls}) == 2
    assert asked["role"] == "assistant"
    assert [each["data"]["payload"] for each in asked["parts"]] == ["Which colour?"]


async def test_files_reasoning_and_failed_tools_are_read_again() -> None:
    async def think(state: logs.Talk) -> Any:
        model = ScriptedChatModel(replies=[said(Think("Hm."), "I look.", call("search", word="fail"))])
        answered = await model.ainvoke(state["messages"])
        failed = ToolMessage("nothing there", tool_call_id=answered.tool_calls[0]["id"], status="error")
        return {"messages": [answered, failed]}

    graph = StateGraph(logs.Talk).add_node("think", think).add_edge(START, "think")
    files = [
        {"type": "text", "text": "see"},
        {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,QQ=="},
        {"type": "file", "mediaType": "application/pdf", "url": "https://example.com/a.pdf"},
    ]
    async with serving({"agent": graph.compile()}, routes) as client:
        await send(client, "agent", chat({"id": "user-1", "role": "user", "parts": files}))
        user, answer = (await client.get("/vercel/agent/chat-1")).json()["messages"]
    assert user["parts"] == files
    thought, call_part = answer["parts"][1], answer["parts"][3]
    assert (thought["type"], thought["text"]) == ("reasoning", "Hm.")
    assert (call_part["state"], call_part["errorText"]) == ("output-error", "nothing there")
