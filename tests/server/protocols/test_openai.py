"""The API of OpenAI, called by its own client, over a socket."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from typing import Any, TypedDict

import pytest
from langchain_core.runnables import RunnableConfig
from openai import AsyncOpenAI, BadRequestError, InternalServerError, NotFoundError, OpenAI

from stategraph import START, StateGraph, interrupt
from stategraph.testing import ScriptedChatModel, call, reply
from tests.server.protocols import logs
from tests.server.protocols.logs import said
from tests.server.protocols.serving import served

pytestmark = pytest.mark.anyio

#: The address of a server that has `graphs`, from `make judges`; None: one is started here. Tests do not see
#: the variable, so it is read before them.
ADDRESS = os.environ.get("STATEGRAPH_OPENAI_ADDRESS")


class Number(TypedDict):
    number: int


TOOL = {"name": "confirm", "description": "Ask.", "parameters": {"type": "object", "properties": {}}}


def counting() -> Any:
    """Return a graph that says how many messages it sees, and repeats the last."""

    def count(state: logs.Talk, config: RunnableConfig) -> Any:
        said = [str(each.content) for each in state["messages"]]
        return {"messages": [("ai", f"{len(said)}: {said[-1]}")]}

    return StateGraph(logs.Talk).add_node("count", count).add_edge(START, "count")


def with_client_tool() -> Any:
    """Return an agent that calls a tool of the client, in every conversation."""

    async def think(state: logs.Talk, config: RunnableConfig) -> Any:
        is_answered = state["messages"][-1].type == "tool"
        asks = said("Hm.", call("confirm", x=1))
        answer = said(f"You said {state['messages'][-1].content}.") if is_answered else asks
        model = ScriptedChatModel(replies=[answer]).bind_tools(config["configurable"]["client_tools"])
        return {"messages": [await model.ainvoke(state["messages"])]}

    return StateGraph(logs.Talk).add_node("think", think).add_edge(START, "think")


def adding() -> Any:
    """Return a graph that takes a number."""
    return StateGraph(Number).add_node("add", lambda state: {"number": state["number"] + 1}).add_edge(START, "add")


def asking() -> Any:
    """Return a graph that asks for a colour."""

    def ask(state: logs.Talk) -> Any:
        return {"messages": [("ai", f"It is {interrupt('Which colour?')}.")]}

    return StateGraph(logs.Talk).add_node("ask", ask).add_edge(START, "ask")


def failing() -> Any:
    """Return a graph that fails."""

    def fail(state: logs.Talk) -> Any:
        raise RuntimeError("hunter2")

    return StateGraph(logs.Talk).add_node("fail", fail).add_edge(START, "fail")


def slow() -> Any:
    """Return an agent that never comes to an end by itself."""

    async def think(state: logs.Talk) -> Any:
        model = ScriptedChatModel(replies=[reply("word " * 5000, gap_s=0.02)])
        return {"messages": [await model.ainvoke(state["messages"])]}

    return StateGraph(logs.Talk).add_node("think", think).add_edge(START, "think")


def telling() -> Any:
    """Return a graph that says what it finds of the request in its config."""

    def tell(state: logs.Talk, config: RunnableConfig) -> Any:
        return {"messages": [("ai", json.dumps(config["configurable"]["openai"], sort_keys=True))]}

    return StateGraph(logs.Talk).add_node("tell", tell).add_edge(START, "tell")


def deleting() -> Any:
    """Return an agent that asks before it deletes two files."""
    calls = said("I delete.", call("delete", name="a.txt"), call("delete", name="b.txt"))
    return logs.tool_agent(calls, said("Done."), asks=True, anew=True)


def graphs() -> dict[str, Any]:
    """Return the graphs that are called, by their ids."""
    builders = {
        "agent": logs.looking_up(anew=True),
        "branches": logs.branches(),
        "expert": logs.agent_as_tool(anew=True),
        "counting": counting(),
        "client-tool": with_client_tool(),
        "asking": asking(),
        "failing": failing(),
        "slow": slow(),
        "deleting": deleting(),
        "telling": telling(),
        "numbers": adding(),
    }
    return {name: builder.compile() for name, builder in builders.items()}


@pytest.fixture
def address() -> Iterator[str]:
    if ADDRESS:
        yield f"{ADDRESS}/v1"
        return
    with served(graphs()) as found:
        yield f"{found}/v1"


@pytest.fixture
def client(address: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=address, api_key="none", max_retries=0) as found:
        yield found


# Responses.


def test_a_response_has_reasoning_messages_and_calls_of_the_servers_tools(client: OpenAI) -> None:
    response = client.responses.create(model="agent", input="what is it?", metadata={"a": "b"})
    assert response.output_text == "I look it up.It is a and b."
    assert [each.type for each in response.output] == ["reasoning", "message", "mcp_call", "mcp_call", "message"]
    first = response.output[2]
    assert first.type == "mcp_call"
    assert (first.name, first.arguments, first.output) == ("search", '{"word":"a"}', "a found")
    assert first.status == "completed"
    assert (response.status, response.metadata) == ("completed", {"a": "b"})
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.output_tokens, response.usage.total_tokens) == (20, 10, 30)


def test_events_of_a_response_come_in_order_and_again_from_any_number(client: OpenAI) -> None:
    events = list(client.responses.create(model="agent", input="what is it?", stream=True))
    assert [each.sequence_number for each in events] == list(range(len(events)))
    kinds = [each.type for each in events]
    assert kinds[:4] == [
        "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
    ]  # fmt: skip
    assert kinds[-1] == "response.completed"
    assert kinds.count("response.output_item.added") == kinds.count("response.output_item.done") == 5
    text = "".join(each.delta for each in events if each.type == "response.output_text.delta")
    assert text == "I look it up.It is a and b."
    last: Any = events[-1]
    again = client.responses.retrieve(last.response.id)
    assert again.to_dict() == last.response.to_dict()
    for number in (0, 7, len(events) - 2):
        more = list(client.responses.retrieve(last.response.id, stream=True, starting_after=number))
        assert [each.sequence_number for each in more] == list(range(number + 1, len(events)))


def test_the_streaming_helper_of_the_client_puts_a_response_together(client: OpenAI) -> None:
    for name, text in (("agent", "I look it up.It is a and b."), ("expert", "I ask.The expert knows.")):
        with client.responses.stream(model=name, input="what is it?") as stream:
            for _ in stream:
                pass
            assert stream.get_final_response().output_text == text
    with client.responses.stream(model="branches", input="go") as stream:
        final = stream.get_final_response()
    spoken: Any = [each for each in final.output if each.type == "message"]
    assert sorted(each.content[0].text for each in spoken) == [
        *(f"Here is branch {name} with some words." for name in ("one", "three", "two")),
        "Whole.",
    ]


async def test_the_async_client_does_the_same(address: str) -> None:
    async with AsyncOpenAI(base_url=address, api_key="none", max_retries=0) as client:
        async with client.responses.stream(model="counting", input="one") as stream:
            final = await stream.get_final_response()
        assert final.output_text == "1: one"
        messages: Any = [{"role": "user", "content": "two"}]
        completion = await client.chat.completions.create(model="counting", messages=messages)
        assert completion.choices[0].message.content == "1: two"
        assert [each.id async for each in client.models.list()][:2] == ["agent", "asking"]


def test_a_response_continues_another_and_forks_where_others_came_after_it(client: OpenAI) -> None:
    first = client.responses.create(model="counting", input="one")
    second = client.responses.create(model="counting", input="two", previous_response_id=first.id)
    assert second.output_text == "3: two"
    assert first.conversation is not None and second.conversation is not None
    assert second.conversation.id == first.conversation.id
    fork = client.responses.create(model="counting", input="other", previous_response_id=first.id)
    assert fork.output_text == "3: other"
    after = client.responses.create(model="counting", input="more", previous_response_id=fork.id)
    assert after.output_text == "5: more"
    behind = client.responses.create(model="counting", input="late", previous_response_id=second.id)
    assert behind.output_text == "5: late"
    with pytest.raises(BadRequestError) as refused:
        client.responses.create(model="counting", input="x", previous_response_id="resp_none")
    assert refused.value.code == "previous_response_not_found"


def test_instructions_are_those_of_the_last_request(client: OpenAI) -> None:
    first = client.responses.create(model="counting", input="one", instructions="Be short.")
    assert first.output_text == "2: one"
    second = client.responses.create(
        model="counting", input="two", instructions="Be long.", previous_response_id=first.id
    )
    assert second.output_text == "4: two"
    assert second.conversation is not None
    items: Any = list(client.conversations.items.list(second.conversation.id, order="asc"))
    assert items[0].content[0].text == "Be long."
    third = client.responses.create(model="counting", input="three", previous_response_id=second.id)
    assert third.output_text == "5: three"


def test_a_tool_of_the_client_is_called_and_answered(client: OpenAI) -> None:
    tools: Any = [{"type": "function", **TOOL}]
    first = client.responses.create(model="client-tool", input="ask me", tools=tools)
    (called,) = [each for each in first.output if each.type == "function_call"]
    assert (called.name, called.arguments) == ("confirm", '{"x":1}')
    output: Any = [{"type": "function_call_output", "call_id": called.call_id, "output": "yes"}]
    second = client.responses.create(model="client-tool", input=output, tools=tools, previous_response_id=first.id)
    assert second.output_text == "You said yes."
    whole: Any = [{"role": "user", "content": "ask me"}, *[each.to_dict() for each in first.output], *output]
    assert client.responses.create(model="client-tool", input=whole, tools=tools).output_text == "You said yes."


def test_approvals_are_requested_and_answered(client: OpenAI) -> None:
    first = client.responses.create(model="deleting", input="go")
    asked = [each for each in first.output if each.type == "mcp_approval_request"]
    assert [(each.name, each.arguments) for each in asked] == [
        ("delete", '{"name":"a.txt"}'),
        ("delete", '{"name":"b.txt"}'),
    ]
    answers: Any = [
        {"type": "mcp_approval_response", "approval_request_id": each.id, "approve": True} for each in asked
    ]
    with pytest.raises(BadRequestError, match="has to be decided about"):
        client.responses.create(model="deleting", input=answers[:1], previous_response_id=first.id)
    second = client.responses.create(model="deleting", input=answers, previous_response_id=first.id)
    assert second.output_text == "Done."
    results = [each for each in second.output if each.type == "mcp_call"]
    assert [(each.arguments, each.output) for each in results] == [
        ('{"name":"a.txt"}', "deleted a.txt"),
        ('{"name":"b.txt"}', "deleted b.txt"),
    ]


def test_another_question_is_a_function_call(client: OpenAI) -> None:
    first = client.responses.create(model="asking", input="go")
    (asked,) = [each for each in first.output if each.type == "function_call"]
    assert (asked.name, json.loads(asked.arguments)) == ("interrupt", {"payload": "Which colour?"})
    answer: Any = [{"type": "function_call_output", "call_id": asked.call_id, "output": "blue"}]
    second = client.responses.create(model="asking", input=answer, previous_response_id=first.id)
    assert second.output_text == "It is blue."


def test_a_response_in_the_background_is_retrieved_cancelled_and_deleted(client: OpenAI) -> None:
    started = client.responses.create(model="slow", input="go", background=True)
    assert started.status in ("queued", "in_progress")
    assert client.responses.retrieve(started.id).status in ("queued", "in_progress")
    stopped = client.responses.cancel(started.id)
    assert stopped.status == "cancelled"
    assert client.responses.retrieve(started.id).status == "cancelled"
    client.responses.delete(started.id)
    with pytest.raises(NotFoundError):
        client.responses.retrieve(started.id)


def test_the_items_of_a_request_are_listed(client: OpenAI) -> None:
    parts = [{"type": "input_text", "text": "two"}]
    given: Any = [{"role": "user", "content": "one"}, {"role": "user", "content": parts}]
    response = client.responses.create(model="counting", input=given)
    listed = list(client.responses.input_items.list(response.id, order="asc"))
    assert [each.content[0].text for each in listed if each.type == "message"] == ["one", "two"]  # type: ignore[union-attr]
    one = client.responses.input_items.list(response.id, limit=1)
    assert one.has_more


def test_a_failed_run_is_a_failed_response_without_its_message(client: OpenAI) -> None:
    response = client.responses.create(model="failing", input="go")
    assert response.status == "failed"
    assert response.error is not None
    assert "hunter2" not in response.to_json()
    events = list(client.responses.create(model="failing", input="go", stream=True))
    assert events[-1].type == "response.failed"


# Conversations.


def test_a_conversation_has_items_and_responses(client: OpenAI) -> None:
    first: Any = [{"type": "message", "role": "user", "content": "Hi."}]
    made = client.conversations.create(metadata={"a": "b"}, items=first)
    assert made.metadata == {"a": "b"}
    client.conversations.items.create(made.id, items=[{"type": "message", "role": "user", "content": "Ho."}])
    assert len(list(client.conversations.items.list(made.id))) == 2
    response = client.responses.create(model="counting", input="one", conversation=made.id)
    assert response.output_text == "3: one"
    more = client.responses.create(model="counting", input="two", conversation={"id": made.id})
    assert more.output_text == "5: two"
    items: Any = list(client.conversations.items.list(made.id, order="asc"))
    assert [each.role for each in items] == ["user", "user", "user", "assistant", "user", "assistant"]
    found: Any = client.conversations.items.retrieve(items[0].id, conversation_id=made.id)
    assert found.id == items[0].id
    assert client.conversations.update(made.id, metadata={"c": "d"}).metadata == {"c": "d"}
    assert client.conversations.retrieve(made.id).metadata == {"c": "d"}
    assert client.conversations.delete(made.id).deleted
    with pytest.raises(NotFoundError):
        client.conversations.retrieve(made.id)
    with pytest.raises(NotFoundError):
        client.responses.create(model="counting", input="x", conversation=made.id)


# Chat completions.


def test_a_chat_completion_as_a_whole_and_in_chunks(client: OpenAI) -> None:
    messages: Any = [{"role": "user", "content": "what is it?"}]
    whole = client.chat.completions.create(model="agent", messages=messages)
    assert whole.choices[0].message.content == "I look it up.\n\nIt is a and b."
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage is not None
    assert whole.usage.total_tokens == 30
    chunks = list(
        client.chat.completions.create(
            model="expert", messages=messages, stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(each.choices[0].delta.content or "" for each in chunks if each.choices)
    assert text == "I ask.\n\nThe expert knows."
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices == [] and chunks[-1].usage is not None
    with client.chat.completions.stream(model="branches", messages=messages) as stream:
        final = stream.get_final_completion()
    spoken = (final.choices[0].message.content or "").split("\n\n")
    assert sorted(spoken) == [
        *(f"Here is branch {name} with some words." for name in ("one", "three", "two")),
        "Whole.",
    ]


def test_a_chat_completion_has_the_history_and_tools_of_the_client(client: OpenAI) -> None:
    tools: Any = [{"type": "function", "function": TOOL}]
    messages: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "ask me"}]
    with client.chat.completions.stream(model="client-tool", messages=messages, tools=tools) as stream:
        first = stream.get_final_completion()
    assert first.choices[0].finish_reason == "tool_calls"
    (called,) = first.choices[0].message.tool_calls or ()
    assert called.function.arguments == '{"x":1}'
    messages += [first.choices[0].message.to_dict(), {"role": "tool", "tool_call_id": called.id, "content": "no"}]
    second = client.chat.completions.create(model="client-tool", messages=messages, tools=tools)
    assert second.choices[0].message.content == "You said no."


def test_a_chat_completion_asks_and_is_answered(client: OpenAI) -> None:
    messages: Any = [{"role": "user", "content": "go"}]
    first = client.chat.completions.create(model="deleting", messages=messages)
    calls: Any = first.choices[0].message.tool_calls
    assert [(each.function.name, json.loads(each.function.arguments)["args"]) for each in calls] == [
        ("approve", {"name": "a.txt"}),
        ("approve", {"name": "b.txt"}),
    ]
    messages.append(first.choices[0].message.to_dict())
    messages += [{"role": "tool", "tool_call_id": each.id, "content": "yes"} for each in calls]
    second = client.chat.completions.create(model="deleting", messages=messages)
    assert second.choices[0].message.content == "Done."
    asked = client.chat.completions.create(model="asking", messages=[{"role": "user", "content": "go"}])
    (question,) = asked.choices[0].message.tool_calls or ()
    history: Any = [asked.choices[0].message.to_dict(), {"role": "tool", "tool_call_id": question.id, "content": "red"}]
    answered = client.chat.completions.create(model="asking", messages=history)
    assert answered.choices[0].message.content == "It is red."


def test_a_failed_run_is_an_error_of_the_server(client: OpenAI) -> None:
    messages: Any = [{"role": "user", "content": "go"}]
    with pytest.raises(InternalServerError) as failed:
        client.chat.completions.create(model="failing", messages=messages)
    assert "hunter2" not in str(failed.value)


# Models, errors.


def test_what_a_request_sets_reaches_the_graph(client: OpenAI) -> None:
    messages: Any = [{"role": "user", "content": "x"}]
    response = client.responses.create(
        model="telling", input="x", temperature=0.5, max_output_tokens=7, include=["reasoning.encrypted_content"]
    )
    told = {"include": ["reasoning.encrypted_content"], "max_output_tokens": 7, "temperature": 0.5}
    assert json.loads(response.output_text) == told
    completion = client.chat.completions.create(
        model="telling", messages=messages, temperature=0.5, max_tokens=7, stop=["."], extra_body={"top_k": 3}
    )
    told = {"max_tokens": 7, "stop": ["."], "temperature": 0.5, "top_k": 3}
    assert json.loads(completion.choices[0].message.content or "") == told


def test_a_response_that_is_not_stored_is_gone_after_it_was_given(client: OpenAI) -> None:
    response = client.responses.create(model="counting", input="hello", store=False)
    assert (response.output_text, response.store, response.conversation) == ("1: hello", False, None)
    with client.responses.stream(model="counting", input="hello", store=False) as stream:
        assert stream.get_final_response().output_text == "1: hello"
    with pytest.raises(NotFoundError):
        client.responses.retrieve(response.id)
    with pytest.raises(BadRequestError) as unknown:
        client.responses.create(model="counting", input="again", previous_response_id=response.id)
    assert unknown.value.code == "previous_response_not_found"
    stored = client.responses.create(model="counting", input="hello")
    for more in ({"previous_response_id": stored.id}, {"conversation": stored.conversation}, {"background": True}):
        with pytest.raises(BadRequestError) as refused:
            client.responses.create(model="counting", input="x", store=False, **more)  # type: ignore[call-overload]
        assert refused.value.param == "store"


def test_models_are_the_assistants(client: OpenAI) -> None:
    assert "agent" in [each.id for each in client.models.list()]
    assert client.models.retrieve("agent").owned_by == "stategraph"
    with pytest.raises(NotFoundError) as unknown:
        client.models.retrieve("other")
    assert unknown.value.code == "model_not_found"


def test_a_graph_that_takes_no_messages_is_refused_with_what_it_takes(client: OpenAI) -> None:
    expected = "The graph 'numbers' takes no 'messages' but number"
    with pytest.raises(BadRequestError, match=expected) as completion:
        client.chat.completions.create(model="numbers", messages=[{"role": "user", "content": "x"}])
    with pytest.raises(BadRequestError, match=expected) as response:
        client.responses.create(model="numbers", input="x")
    for each in (completion.value, response.value):
        assert (each.param, each.code) == ("model", "model_without_messages")


def test_requests_that_make_no_sense_are_refused_with_the_field(client: OpenAI) -> None:
    messages: Any = [{"role": "user", "content": "x"}]
    wrong: Any = [
        (client.responses.create, {"model": "agent", "input": 3}, "input"),
        (client.responses.create, {"model": "agent", "input": [{"type": "computer_call"}]}, "input"),
        (client.responses.create, {"model": "agent", "input": "x", "tools": [{"type": "web_search"}]}, "tools"),
        (client.responses.create, {"model": "agent", "input": [{"role": "robot", "content": "x"}]}, "input"),
        (client.chat.completions.create, {"model": "agent", "messages": messages, "n": 2}, "n"),
        (client.chat.completions.create, {"model": "agent", "messages": []}, "messages"),
        (client.chat.completions.create, {"model": "agent", "messages": messages, "functions": [{}]}, "functions"),
        (client.responses.create, {"model": "agent", "prompt": {"id": "pmpt_1"}}, "prompt"),
    ]
    for function, given, param in wrong:
        with pytest.raises(BadRequestError) as refused:
            function(**given)
        assert refused.value.param == param
    with pytest.raises(NotFoundError):
        client.responses.create(model="other", input="x")
    with pytest.raises(NotFoundError):
        client.responses.retrieve("resp_none")


def test_a_streamed_response_whose_reader_leaves_is_stopped_and_one_in_the_background_is_not(client: OpenAI) -> None:
    def left(*, background: bool) -> str:
        stream = client.responses.create(model="slow", input="go", stream=True, background=background)
        first: Any = next(iter(stream))
        stream.close()
        name: str = first.response.id
        return name

    stays, stops = left(background=True), left(background=False)
    deadline = time.monotonic() + 60
    while client.responses.retrieve(stops).status == "in_progress":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert client.responses.retrieve(stops).status == "cancelled"
    assert client.responses.retrieve(stays).status == "in_progress"
    client.responses.cancel(stays)
