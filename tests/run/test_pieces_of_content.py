"""What answers, parts and results are read as: every form in which providers, histories and hosts give them."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage

from stategraph.agent.ports import HostResult
from stategraph.errors import ConfigurationError
from stategraph.run.abort import AbortController
from stategraph.run.config import RunConfig
from stategraph.run.events import chunk_text, content
from stategraph.run.events.content_parts import content_parts
from stategraph.run.events.handler_registry import EventHandlerRegistry
from stategraph.run.events.handlers import ChatModelStreamHandler, ModelEndHandler, ToolEndHandler, create_handlers
from stategraph.run.history import stored_messages
from stategraph.run.turn.client_tools import ToolExecuteRequest

# -- pieces of an answer -------------------------------------------------


@pytest.mark.parametrize(
    ("said", "pieces"),
    [
        ("hello", [(False, "hello")]),
        ("", []),
        (["bare", {"type": "text", "text": "marked"}], [(False, "bare"), (False, "marked")]),
        ([{"type": "text"}, {"type": "text", "text": None}], [(False, ""), (False, "")]),
        ([{"type": "text", "text": 7}], [(False, "7")]),
        ([{"type": "thinking", "thinking": "hm"}], [(True, "hm")]),
        ([{"type": "reasoning", "reasoning": "so"}], [(True, "so")]),
        ([{"type": "reasoning", "text": "well"}], [(True, "well")]),
        ([{"type": "reasoning_content", "reasoning_content": {"text": "aha"}}], [(True, "aha")]),
        ([{"type": "reasoning_content", "reasoning_content": {}}], [(True, "")]),
        ([{"type": "reasoning", "summary": [{"text": "a"}, "?", {"text": None}, {"text": "b"}]}], [(True, "ab")]),
        ([{"type": "reasoning"}], [(True, "")]),
        ([{"type": "image_url", "image_url": "x"}, {"type": "text", "text": "y"}], [(False, "y")]),
    ],
)
def test_a_chunk_says_text_and_reasoning_in_whatever_form(said: Any, pieces: Any) -> None:
    assert list(chunk_text.of(AIMessageChunk(content=said))) == pieces


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning"])
def test_reasoning_beside_the_content_comes_ahead_of_it(key: str) -> None:
    chunk = AIMessageChunk(content="so", additional_kwargs={key: "hm"})
    assert list(chunk_text.of(chunk)) == [(True, "hm"), (False, "so")]
    for nothing in ("", None, {"text": "hm"}):
        chunk = AIMessageChunk(content="so", additional_kwargs={key: nothing})
        assert list(chunk_text.of(chunk)) == [(False, "so")]


@pytest.mark.parametrize(
    ("chunk", "text"),
    [
        (AIMessageChunk(content="hi"), "hi"),
        (AIMessage(content="hi"), "hi"),
        (AIMessageChunk(content=""), None),
        (AIMessageChunk(content=[{"type": "text", "text": "hi"}]), None),
        (AIMessageChunk(content="a <think>"), None),
        (AIMessageChunk(content="hi", additional_kwargs={"reasoning_content": "hm"}), None),
        (AIMessage(content="hi", tool_calls=[{"id": "c", "name": "n", "args": {}}]), None),
        (
            AIMessageChunk(
                content="hi",
                tool_call_chunks=[{"id": None, "name": None, "args": "{", "index": 0, "type": "tool_call_chunk"}],
            ),
            None,
        ),
    ],
)
def test_only_chunks_of_nothing_but_text_are_plain(chunk: Any, text: str | None) -> None:
    assert chunk_text.plain_text(chunk) == text


# -- parts of messages ---------------------------------------------------

CALL = {"id": "c", "name": "n", "args": {"x": 1}, "type": "tool_call"}


def test_an_answer_that_calls_a_tool_is_a_text_with_the_calls_and_the_call_with_its_output() -> None:
    messages = [AIMessage("looking", tool_calls=[CALL]), ToolMessage("found", tool_call_id="c")]
    assert content_parts(messages) == [
        {"type": "text", "text": "looking", "tool_call_ids": ["c"]},
        {"type": "tool_call", "tool_call": {**CALL, "output": "found"}},
    ]


def test_calls_that_stand_alone_have_an_empty_text_before_them() -> None:
    for said in ("", [{"type": "tool_use", "id": "c", "name": "n", "input": {}}]):
        assert content_parts([AIMessage(said, tool_calls=[CALL])]) == [  # type: ignore[arg-type]
            {"type": "text", "text": "", "tool_call_ids": ["c"]}
        ]


def test_a_result_whose_call_is_not_among_the_messages_is_its_own_call() -> None:
    (part,) = content_parts(
        [HumanMessage("hi"), ToolMessage([{"type": "text", "text": "a"}], tool_call_id="c", name="n")]
    )
    assert part == {"type": "tool_call", "tool_call": {"name": "n", "id": "c", "output": "a"}}


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning"])
def test_thoughts_texts_and_other_blocks_have_parts_in_their_order(key: str) -> None:
    blocks: Any = [
        {"type": "thinking", "thinking": "hm"},
        {"type": "reasoning", "reasoning": "so"},
        {"type": "reasoning"},
        "bare",
        {"type": "text", "text": ""},
        {"type": "input_json_delta", "partial_json": "{"},
        {"type": "image_url", "image_url": "u"},
    ]
    assert content_parts([AIMessage(blocks, additional_kwargs={key: "beside"})]) == [
        {"type": "think", "think": "beside"},
        {"type": "think", "think": "hm"},
        {"type": "think", "think": "so"},
        {"type": "think", "think": ""},
        {"type": "text", "text": "bare"},
        {"type": "image_url", "image_url": "u"},
    ]


def test_the_calls_of_an_answer_are_named_by_its_last_text() -> None:
    blocks: Any = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    first, last = content_parts([AIMessage(blocks, tool_calls=[CALL])])
    assert "tool_call_ids" not in first
    assert last == {"type": "text", "text": "b", "tool_call_ids": ["c"]}


# -- parts of events -----------------------------------------------------


def step(step_id: str, index: int, *calls: dict[str, Any], **more: Any) -> dict[str, Any]:
    kind = "tool_calls" if calls else "message_creation"
    details = {"type": kind, "tool_calls": list(calls)} if calls else {"type": kind, kind: {"message_id": "m"}}
    return {"id": step_id, "index": index, "type": kind, "stepDetails": details, "usage": None, **more}


@pytest.mark.parametrize(
    ("event", "data", "said"),
    [
        (
            "on_message_delta",
            {"id": "?", "delta": {"content": []}},
            "No run step or runId found for message delta event",
        ),
        ("on_reasoning_delta", {"id": "?", "delta": {}}, "No run step or runId found for reasoning delta event"),
        ("on_run_step_delta", {"id": "?", "delta": {}}, "No run step or runId found for run step delta event"),
        ("on_summarize_delta", {"id": "?", "delta": {"summary": {}}}, "No run step or runId found for summarize delta"),
        ("on_summarize_delta", {"id": "s", "delta": {}}, "No run step or runId found for summarize delta event"),
        (
            "on_run_step_completed",
            {"result": {"id": "?", "type": "tool_call", "tool_call": {"id": "?"}}},
            "No run step or tool call found for completed step event",
        ),
        (
            "on_message_delta",
            {"id": "t", "delta": {"content": [{"type": "text", "text": "x"}]}},
            "Content type mismatch",
        ),
        ("on_summarize_delta", {"id": "t", "delta": {"summary": {"content": []}}}, "Content type mismatch"),
    ],
)
def test_what_has_no_place_is_logged_and_left_out(
    event: str, data: Any, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    aggregator = content.create_content_aggregator()
    aggregator.aggregate_content("on_run_step", step("s", 0))
    aggregator.aggregate_content("on_run_step", step("t", 1, {"id": "c", "name": "n", "args": {}}))
    before = [part and dict(part) for part in aggregator.content_parts]
    with caplog.at_level(logging.WARNING):
        aggregator.aggregate_content(event, data)
    (record,) = caplog.records
    assert record.getMessage().startswith(said)
    assert aggregator.content_parts == before


def test_what_says_nothing_is_no_content(caplog: pytest.LogCaptureFixture) -> None:
    aggregator = content.create_content_aggregator()
    aggregator.aggregate_content("on_run_step", step("s", 0))
    for event, delta in (
        ("on_message_delta", {"content": "text"}),
        ("on_message_delta", {"content": [7, {"no": "type"}]}),
        ("on_run_step_delta", {"type": "message_creation"}),
        ("on_run_step_delta", {"type": "tool_calls"}),
        ("on_something_else", {}),
    ):
        aggregator.aggregate_content(event, {"id": "s", "delta": delta})
    assert aggregator.content_parts == []
    assert caplog.records == []


def test_one_piece_is_as_good_as_a_list_of_one() -> None:
    aggregator = content.create_content_aggregator()
    aggregator.aggregate_content("on_run_step", step("s", 0))
    for piece in ({"type": "text", "text": "a"}, [{"type": "text", "text": "b", "tool_call_ids": ["c"]}]):
        aggregator.aggregate_content("on_message_delta", {"id": "s", "delta": {"content": piece}})
    assert aggregator.content_parts == [{"type": "text", "text": "ab", "tool_call_ids": ["c"]}]


def test_the_ids_of_calls_may_stand_beside_the_text() -> None:
    aggregator = content.create_content_aggregator()
    aggregator.aggregate_content("on_run_step", step("s", 0))
    delta = {"content": [{"type": "text", "text": "a"}], "tool_call_ids": ["c"]}
    aggregator.aggregate_content("on_message_delta", {"id": "s", "delta": delta})
    assert aggregator.content_parts == [{"type": "text", "text": "a", "tool_call_ids": ["c"]}]


def test_a_result_without_a_known_id_belongs_to_the_only_call_of_its_step() -> None:
    aggregator = content.create_content_aggregator()
    aggregator.aggregate_content("on_run_step", step("s", 0, {"name": "n", "args": {}}))
    done = {"id": "late", "name": "n", "args": "{}", "output": "o", "outcome": "denied"}
    aggregator.aggregate_content(
        "on_run_step_completed", {"result": {"id": "s", "type": "tool_call", "tool_call": done}}
    )
    (part,) = aggregator.content_parts
    assert part == {
        "type": "tool_call",
        "tool_call": {**done, "type": "tool_call", "progress": 1},
    }


def test_what_a_call_needs_to_be_signed_in_stays_on_its_part() -> None:
    aggregator = content.create_content_aggregator()
    aggregator.aggregate_content("on_run_step", step("s", 0, {"id": "c", "name": "n", "args": ""}))
    signing_in = {
        "type": "tool_calls",
        "auth": "https://login",
        "expires_at": 9,
        "tool_calls": [{"id": "c", "args": ""}],
    }
    aggregator.aggregate_content("on_run_step_delta", {"id": "s", "delta": signing_in})
    call = {"id": "c", "name": "n", "args": "{}", "output": "o"}
    aggregator.aggregate_content(
        "on_run_step_completed", {"result": {"id": "s", "type": "tool_call", "tool_call": call}}
    )
    (part,) = aggregator.content_parts
    assert part is not None
    assert (part["tool_call"]["auth"], part["tool_call"]["expires_at"]) == ("https://login", 9)
    assert part["tool_call"]["output"] == "o"


def test_pieces_of_a_summary_add_up_until_the_whole_is_there() -> None:
    aggregator = content.create_content_aggregator()
    aggregator.aggregate_content("on_run_step", step("s", 0, agentId="a"))
    for text in "ab":
        piece = {"type": "summary", "content": [{"type": "text", "text": text}]}
        aggregator.aggregate_content("on_summarize_delta", {"id": "s", "delta": {"summary": piece}})
    (part,) = aggregator.content_parts
    assert part is not None
    assert [each["text"] for each in part["content"]] == ["a", "b"]
    for ignored in (None, {"text": "no boundary"}):
        aggregator.aggregate_content("on_summarize_complete", {"id": "s", "summary": ignored})
    assert aggregator.content_parts == [part]
    whole = {"type": "summary", "text": "ab", "boundary": {"contentIndex": 0}}
    aggregator.aggregate_content("on_summarize_complete", {"id": "s", "summary": whole})
    assert aggregator.content_parts == [{**whole, "agentId": "a"}]


# -- stored messages -----------------------------------------------------


def formatted(*stored: dict[str, Any], **options: Any) -> list[Any]:
    return stored_messages.format_agent_messages(stored, **options).messages


def test_what_a_host_says_to_the_model_is_a_system_message() -> None:
    (said,) = formatted({"role": "system", "content": "be kind"})
    assert (said.type, said.content) == ("system", [{"type": "text", "text": "be kind"}])
    assert formatted({"role": "system"})[0].text == ""


def test_holes_in_a_users_message_are_left_out_and_a_text_is_a_part() -> None:
    one, other, none = formatted(
        {"role": "user", "content": [None, {"type": "text", "text": "hi"}]},
        {"role": "user", "content": "ho"},
        {"role": "user", "content": None},
    )
    assert one.content == [{"type": "text", "text": "hi"}]
    assert one.additional_kwargs["provenance"]["parts"][0]["sourceContentPartIndices"] == [1]
    assert other.content == [{"type": "text", "text": "ho"}]
    assert none.content == [{"type": "text", "text": ""}]


@pytest.mark.parametrize(
    ("args", "read"),
    [
        ({"x": 1}, {"x": 1}),
        ('{"x": 1}', {"x": 1}),
        ("", {}),
        (None, {}),
        ("[1]", {"input": "[1]"}),
        ("{x", {"input": "{x"}),
        ([1], {"input": [1]}),
    ],
)
def test_arguments_of_stored_calls_are_objects(args: Any, read: Any) -> None:
    part = {"type": "tool_call", "tool_call": {"id": "c", "name": "n", "args": args, "output": "o"}}
    answer, _ = formatted({"role": "assistant", "content": [part]})
    assert answer.tool_calls[0]["args"] == read


@pytest.mark.parametrize(("output", "read"), [("o", "o"), (None, ""), ({"a": [1]}, '{"a":[1]}')])
def test_outputs_of_stored_calls_are_texts(output: Any, read: str) -> None:
    part = {"type": "tool_call", "tool_call": {"id": "c", "name": "n", "args": {}, "output": output}}
    _, result = formatted({"role": "assistant", "content": [part]})
    assert (result.content, result.tool_call_id, result.name) == (read, "c", "n")


def test_a_stored_call_may_lack_its_id_and_needs_a_name_or_a_result() -> None:
    def of(**call: Any) -> list[Any]:
        return formatted({"role": "assistant", "content": [{"type": "tool_call", "tool_call": call}]})

    assert of() == of(id="c") == of(name="", output="") == []
    for name, output in (("get", ""), ("", "found")):
        answer, result = of(name=name, output=output)
        assert [(call["id"], call["name"], call["args"]) for call in answer.tool_calls] == [(None, name, {})]
        assert (result.content, result.tool_call_id) == (output, "")


@pytest.mark.parametrize("output", ["no json", "{", "[1]", '{"tools": null}', '{"tools": [1, {"name": 2}]}', None, 7])
def test_a_search_that_found_nothing_readable_makes_no_tool_known(output: Any) -> None:
    searched = {"type": "tool_call", "tool_call": {"id": "s", "name": "tool_search", "args": {}, "output": output}}
    called = {"type": "tool_call", "tool_call": {"id": "c", "name": "found", "args": {}, "output": "o"}}
    messages = formatted({"role": "assistant", "content": [searched, called]}, tools=["tool_search"])
    assert [call["name"] for call in messages[0].tool_calls] == ["tool_search"]


def test_counts_of_tokens_are_shared_out_and_add_up_also_where_nothing_was_said() -> None:
    def counts(*parts: Any, total: int = 10) -> Any:
        stored = [{"role": "assistant", "content": list(parts)}]
        return stored_messages.format_agent_messages(stored, {0: total}).index_token_count_map

    called = {"type": "tool_call", "tool_call": {"id": "c", "name": "get", "args": "", "output": ""}}
    said_nothing = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    steered = {"type": "steer", "media": [said_nothing]}
    assert counts() == {}
    assert counts(called, total=5) == {0: 5, 1: 0}
    assert counts(said_nothing, steered, total=5) == {0: 2, 1: 3}
    assert sum(counts(called, called, {"type": "text", "text": "abc"}, total=11).values()) == 11


# -- results of a host's tools -------------------------------------------


async def answer_of(answering: Callable[[ToolExecuteRequest], Any], early: Any = None) -> list[HostResult]:
    async def nothing(result: HostResult) -> None:
        pass

    request = ToolExecuteRequest({"toolCalls": []}, early or nothing)
    waiting = asyncio.ensure_future(request.answered())
    answer = answering(request)
    if isinstance(answer, Awaitable):
        await answer
    async with asyncio.timeout(10):
        return await waiting


@pytest.mark.anyio
async def test_results_are_taken_as_values_and_as_json_in_both_spellings() -> None:
    own = HostResult("a", "done")
    wire = {
        "toolCallId": "b",
        "content": 3,
        "status": "error",
        "errorMessage": "no",
        "artifact": 1,
        "outcome": "denied",
    }
    other = {"tool_call_id": "c", "content": [{"type": "text", "text": "x"}], "error_message": None}
    results = await answer_of(lambda request: request.resolve([own, wire, other]))
    assert results == [
        own,
        HostResult("b", "3", "error", "no", 1, "denied", []),
        HostResult("c", [{"type": "text", "text": "x"}], "success", None, None, None, []),
    ]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("results", "message"),
    [
        ("text", "was given a value of type str; expected a list of results"),
        (7, "was given a value of type int"),
        ([7], "A tool result is a mapping with the keys toolCallId and content; found 7"),
        ([{"content": "x"}], "A tool result has toolCallId None and status 'success'; expected the id of a call"),
        ([{"toolCallId": "c", "status": "fine"}], "has toolCallId 'c' and status 'fine'"),
    ],
)
async def test_what_is_no_list_of_results_is_refused_and_the_run_goes_on_waiting(results: Any, message: str) -> None:
    def answering(request: ToolExecuteRequest) -> None:
        with pytest.raises(ValueError, match=message):
            request.resolve(results)
        request.resolve([HostResult("c", "at last")])
        request.resolve([HostResult("c", "too late")])
        request.reject("too late")

    assert await answer_of(answering) == [HostResult("c", "at last")]


@pytest.mark.anyio
async def test_a_host_may_answer_from_a_thread_of_its_own() -> None:
    async def answering(request: ToolExecuteRequest) -> None:
        thread = threading.Thread(target=request.resolve, args=([HostResult("c", "x")],))
        thread.start()
        await asyncio.to_thread(thread.join, 10)

    assert await answer_of(answering) == [HostResult("c", "x")]


def test_an_answer_after_the_end_of_the_loop_reaches_nobody() -> None:
    async def ask() -> ToolExecuteRequest:
        return ToolExecuteRequest({}, lambda result: asyncio.sleep(0))

    request = asyncio.run(ask())
    request.resolve([HostResult("c", "x")])
    request.reject("no")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ("no", RuntimeError, "^no$"),
        (KeyError("k"), KeyError, "k"),
        (asyncio.CancelledError(), RuntimeError, "Cancelled"),
    ],
)
async def test_a_host_can_fail_the_run(given: Any, kind: Any, message: str) -> None:
    with pytest.raises(kind, match=message):
        await answer_of(lambda request: request.reject(given))


@pytest.mark.anyio
async def test_results_ahead_of_the_others_are_told_before_the_run_goes_on() -> None:
    told: list[HostResult] = []
    gate = asyncio.Event()

    async def early(result: HostResult) -> None:
        await gate.wait()
        told.append(result)

    def answering(request: ToolExecuteRequest) -> None:
        request.on_result({"toolCallId": "a", "content": "first"})
        request.resolve([HostResult("a", "first"), HostResult("b", "second")])
        request.on_result(HostResult("b", "after all"))
        asyncio.get_running_loop().call_soon(gate.set)

    results = await answer_of(answering, early)
    assert [result.tool_call_id for result in results] == ["a", "b"]
    assert told == [HostResult("a", "first", "success", None, None, None, [])]


@pytest.mark.anyio
async def test_a_run_that_the_host_fails_while_a_result_is_being_told_has_the_host_s_error() -> None:
    cancelled: list[str] = []

    async def early(result: HostResult) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(result.tool_call_id)

    async def answering(request: ToolExecuteRequest) -> None:
        request.on_result(HostResult("a", "x"))
        await asyncio.sleep(0)
        request.reject(LookupError("mine"))

    with pytest.raises(LookupError, match="mine"):
        await answer_of(answering, early)
    assert cancelled == ["a"]


@pytest.mark.anyio
async def test_a_result_that_cannot_be_told_fails_the_run() -> None:
    async def early(result: HostResult) -> None:
        raise LookupError("nobody to tell")

    with pytest.raises(LookupError, match="nobody to tell"):
        await answer_of(lambda request: request.on_result(HostResult("a", "x")), early)


# -- handlers ------------------------------------------------------------


@pytest.mark.anyio
async def test_results_of_tools_are_given_to_a_function_and_what_it_raises_goes_no_further(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[Any] = []

    async def later(data: Any, metadata: Any) -> None:
        told.append((data["output"].content, metadata))

    def fail(data: Any, metadata: Any) -> None:
        raise ValueError("mine")

    result = {"input": {}, "output": ToolMessage("x", tool_call_id="c", name="n")}
    await ToolEndHandler(later).handle("on_tool_end", result, {"run_id": "r"}, None)
    await ToolEndHandler(lambda data, metadata: told.append("sync")).handle("on_tool_end", result, None, None)
    await ToolEndHandler(later).handle("on_tool_end", {"output": "a Command"}, None, None)
    assert told == [("x", {"run_id": "r"}), "sync"]
    await ToolEndHandler(fail).handle("on_tool_end", result, None, None)
    (record,) = caplog.records
    assert record.getMessage() == "The callback for the result of tool 'n' failed"
    assert record.exc_info is not None


def test_usage_is_collected_in_the_list_that_was_given() -> None:
    usage: Any = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    given: list[Any] = []
    for handler in (ModelEndHandler(given), ModelEndHandler()):
        handler.handle("on_chat_model_end", {"output": SimpleNamespace(usage_metadata=usage)}, None, None)
        handler.handle("on_chat_model_end", {"output": SimpleNamespace(usage_metadata=None)}, None, None)
        assert handler.collected_usage == [usage]
    assert given == [usage]
    ChatModelStreamHandler().handle("on_chat_model_stream", {}, None, None)


@pytest.mark.anyio
async def test_ready_made_handlers_aggregate_and_collect_and_call_the_hosts_after_themselves() -> None:
    seen: list[Any] = []
    made = create_handlers({"on_message_delta": lambda *about: seen.append(list(made.content_parts))})
    registry = EventHandlerRegistry(made.handlers)

    async def tell(event: str, data: Any) -> None:
        handle = registry.get_handle(event)
        assert handle is not None
        answer = handle(event, data, None, None)
        if isinstance(answer, Awaitable):
            await answer

    await tell("on_run_step", step("s", 0))
    await tell("on_message_delta", {"id": "s", "delta": {"content": [{"type": "text", "text": "hi"}]}})
    usage: Any = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    await tell("on_chat_model_end", {"output": SimpleNamespace(usage_metadata=usage)})
    assert seen == [[{"type": "text", "text": "hi"}]]
    assert made.content_parts is made.aggregator.content_parts
    assert made.collected_usage == [usage]
    assert registry.get_handler("on_message_delta") is made.handlers["on_message_delta"]
    assert registry.get_handler("on_nothing") is None


# -- signals and configurations ------------------------------------------


def test_who_listens_to_a_signal_that_was_given_is_called_at_once() -> None:
    controller, told = AbortController(), []
    controller.signal.listen(lambda: told.append("first"))
    leave = controller.signal.listen(lambda: told.append("left"))
    leave()
    leave()
    controller.abort("enough")
    controller.abort("again")
    assert (told, controller.signal.reason) == (["first"], "enough")
    controller.signal.listen(lambda: told.append("late"))()
    assert told == ["first", "late"]


def test_every_listener_is_called_and_the_first_error_raised() -> None:
    controller, told = AbortController(), []

    def fail() -> None:
        raise ValueError("mine")

    controller.signal.listen(fail)
    controller.signal.listen(lambda: told.append("told"))
    with pytest.raises(ValueError, match="mine"):
        controller.abort()
    assert told == ["told"]


def test_a_configuration_is_read_from_a_mapping_and_taken_as_it_is() -> None:
    agent = {"agentId": "a", "provider": "openAI", "clientOptions": {"model": "m"}}
    config = RunConfig.of({"runId": "r", "graphConfig": {"agents": [agent]}})
    assert (config.run_id, [each.agent_id for each in config.graph_config.agents]) == ("r", ["a"])
    assert RunConfig.of(config) is config
    old = RunConfig.of(
        {
            "run_id": "r",
            "graph_config": {
                "type": "standard",
                "llmConfig": {"provider": "openAI", "model": "m"},
                "instructions": "be kind",
            },
        }
    )
    (only,) = old.graph_config.agents
    assert (only.agent_id, only.instructions) == ("default", "be kind")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (7, "A run is configured by a RunConfig or a mapping, not by int"),
        ({}, "Run ID not provided"),
        ({"runId": "r"}, "Graph config not provided"),
        ({"runId": "r", "graphConfig": {"type": "multi-agent"}}, "At least one agent configuration is required"),
        (
            {"runId": "r", "graph_config": {"agents": []}},
            "Graph config not provided|At least one agent must be provided",
        ),
    ],
)
def test_a_configuration_that_says_too_little_is_refused(given: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        RunConfig.of(given)
