"""Reading a run's events: as its owner, and coming back to it."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from langchain_core.messages import HumanMessage, ToolMessage
from pydantic import BaseModel

from stategraph.errors import AbortError, ConfigurationError, HandlerError
from stategraph.run.events.event_types import GraphEvents
from stategraph.run.events.run_log import LAG, RunEvent, RunLog, sse
from stategraph.run.run import Run
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel

pytestmark = pytest.mark.anyio

ASK = {"messages": [HumanMessage("hi")]}


def usage_of(calls: int, unreported: int) -> dict[str, int]:
    """What the last event tells of a run whose model reports no tokens."""
    told = {"modelCalls": calls, "toolCalls": 0, "inputTokens": 0, "outputTokens": 0, "totalTokens": 0}
    return {**told, "unreportedCalls": unreported} if unreported else told


async def make(*replies: Any, **config: Any) -> Run:
    agent = {"agent_id": "a", "model": ScriptedChatModel(replies=list(replies))}
    return await Run.create({"run_id": "r", "graph_config": {"agents": [agent]}, **config})


async def test_the_owner_reads_every_event_in_order_and_how_the_run_ended() -> None:
    run = await make("One two three.")
    events = [event async for event in run.stream(ASK)]
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert events[-1].event == "on_run_end"
    assert events[-1].data == {"status": "completed", "usage": usage_of(calls=1, unreported=1)}
    text = [event.data["delta"]["content"][0]["text"] for event in events if event.event == "on_message_delta"]
    assert "".join(text) == "One two three."


async def test_the_owner_is_given_the_error_after_the_last_event() -> None:
    def fail(*_: Any) -> None:
        raise ValueError("no")

    run = await make("Hello.", custom_handlers={"on_run_step": fail})
    seen = []
    with pytest.raises(HandlerError):
        async for event in run.stream(ASK):
            seen.append(event)
    assert seen[-1].data["status"] == "failed"
    assert seen[-1].data["error"]["type"] == "HandlerError"


async def test_input_that_makes_no_sense_is_refused_and_nobody_waits() -> None:
    run = await make("Hello.")
    with pytest.raises(ConfigurationError, match="messages"):
        async for _ in run.stream({}):
            pass


async def test_an_owner_that_leaves_ends_the_run() -> None:
    gate = script.Gate()
    run = await make(script.Reply((script.Text("one "), script.Hold(gate), script.Text("two"))))
    async with aclosing(run.stream(ASK)) as events:
        async for event in events:
            if event.event == "on_message_delta":
                break
    (cut,) = run.get_run_messages()
    assert cut.content == "one "


async def test_a_watcher_that_comes_back_goes_on_where_it_was() -> None:
    gate = script.Gate()
    run = await make(script.Reply((script.Text("one "), script.Hold(gate), script.Text("two"))))
    work = asyncio.create_task(run.process_stream(ASK))
    await gate.wait_reached_async()
    first = []
    async with aclosing(run.attach()) as events:
        async for event in events:
            first.append(event)
            if event.event == "on_message_delta":
                break
    gate.open()
    second = [event async for event in run.attach(first[-1].seq)]
    await work
    assert [event.seq for event in (*first, *second)] == list(range(1, second[-1].seq + 1))
    assert second[-1].event == "on_run_end"


async def test_what_is_no_longer_kept_is_a_gap_and_not_silence() -> None:
    run = await make("a b c d e f g h", event_log_size=5)
    await run.process_stream(ASK)
    gap, *kept = [event async for event in run.attach(after_seq=2)]
    assert gap.event == "on_gap"
    assert gap.data == {"afterSeq": 2, "lostTo": kept[0].seq - 1}
    assert len(kept) == 5


async def test_a_run_waits_for_its_owner_and_not_for_watchers() -> None:
    log = RunLog(1000)
    log.begin()
    events = log.read(0, owns=True)
    log.put("event", {"number": 0}, None)
    assert (await anext(events)).data == {"number": 0}
    for number in range(1, LAG + 2):
        log.put("event", {"number": number}, None)
    waiting = asyncio.create_task(log.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    await anext(events)
    await anext(events)
    await asyncio.wait_for(waiting, 5)
    watcher = log.read(0)
    await anext(watcher)
    await events.aclose()
    await asyncio.wait_for(log.room(), 5)
    await watcher.aclose()


async def test_a_run_waits_for_the_reader_of_its_stream() -> None:
    words = [f"{number} " for number in range(LAG * 2)]
    run = await make(script.Reply(tuple(map(script.Text, words))))
    async with aclosing(run.stream(ASK)) as events:
        first = await anext(events)
        for _ in range(len(words) * 20):
            await asyncio.sleep(0)
        assert run.running
        told = [first, *[event async for event in events]]
    assert [event.seq for event in told] == list(range(1, len(told) + 1))
    assert sum(event.event == "on_message_delta" for event in told) == len(words)


async def test_a_run_does_not_wait_for_the_owner_of_the_execution_before() -> None:
    log = RunLog(1000)
    log.begin()
    events = log.read(0, owns=True)
    log.put("event", {"number": 0}, None)
    await anext(events)
    log.end("completed", None)
    log.begin()
    for number in range(LAG + 2):
        log.put("event", {"number": number}, None)
    await asyncio.wait_for(log.room(), 5)
    assert [event.event async for event in events] == ["on_run_end"]


async def test_a_frame_has_the_number_the_name_and_the_payload() -> None:
    run = await make("Hi.")
    frames = [event.to_sse() async for event in run.stream(ASK) if event.event == "on_message_delta"]
    head, kind, data, *_ = frames[0].split("\n")
    assert head.startswith("id: ")
    assert kind == "event: message"
    payload = json.loads(data.removeprefix("data: "))
    assert payload["event"] == "on_message_delta"
    assert payload["data"]["delta"]["content"] == [{"type": "text", "text": "Hi."}]


async def test_a_run_that_keeps_no_events_says_so() -> None:
    run = await make("Hi.", event_log_size=0)
    with pytest.raises(ConfigurationError, match="event_log_size"):
        async for _ in run.attach():
            pass


# Coming and going.


async def test_a_run_is_not_streamed_twice_at_once_and_the_second_reader_does_not_hold_it_up() -> None:
    gate = script.Gate()
    run = await make(script.Reply((script.Text("one "), script.Hold(gate), script.Text("two"))))
    work = asyncio.create_task(run.process_stream(ASK))
    await gate.wait_reached_async()
    with pytest.raises(ConfigurationError, match="being executed already"):
        async for _ in run.stream(ASK):
            pytest.fail("these are the events of another execution")
    gate.open()
    await work


async def test_a_watcher_from_before_the_start_sees_everything() -> None:
    run = await make("Hello.")
    watcher = asyncio.create_task(_all(run.attach()))
    await asyncio.sleep(0)
    await run.process_stream(ASK)
    events = await asyncio.wait_for(watcher, 5)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert events[-1].event == "on_run_end"


async def test_a_watcher_of_a_run_that_is_started_and_cancelled_at_once_is_told_and_let_go() -> None:
    run = await make("Hello.")
    work = run.start(ASK)
    work.cancel()
    watcher = asyncio.create_task(_all(run.attach()))
    with pytest.raises(asyncio.CancelledError):
        await work
    (told,) = await asyncio.wait_for(watcher, 5)
    assert (told.event, told.data) == ("on_run_end", {"status": "cancelled", "error": {"type": "CancelledError"}})
    assert not run.running
    assert await _all(run.stream(ASK, None)) == await _all(run.attach(told.seq))


async def test_a_watcher_leaves_with_the_execution_that_it_watches_also_if_the_next_one_begins_at_once() -> None:
    run = await make("One.", "Two.")
    watcher = asyncio.create_task(_all(run.attach()))
    await asyncio.sleep(0)
    await run.process_stream(ASK)
    await run.process_stream(ASK)
    seen = await asyncio.wait_for(watcher, 5)
    assert [event.event for event in seen].count("on_run_end") == 1
    assert seen[-1].event == "on_run_end"
    assert (await _all(run.attach()))[: len(seen)] == seen


async def test_two_watchers_read_the_same() -> None:
    run = await make("One two three.")
    first, second = asyncio.create_task(_all(run.attach())), asyncio.create_task(_all(run.attach()))
    await asyncio.sleep(0)
    await run.process_stream(ASK)
    assert await asyncio.wait_for(first, 5) == await asyncio.wait_for(second, 5)


async def test_numbers_go_on_when_a_run_is_executed_again() -> None:
    run = await make("One.", "Two.")
    first = await _all(run.stream(ASK))
    second = await _all(run.stream(ASK))
    assert second[0].seq == first[-1].seq + 1
    assert second[-1].event == "on_run_end"
    assert await _all(run.attach(first[-1].seq)) == second


async def test_a_watcher_that_knows_numbers_of_another_process_is_told_and_misses_nothing() -> None:
    run = await make("Hello.")
    watcher = asyncio.create_task(_all(run.attach(after_seq=500)))
    await asyncio.sleep(0)
    await run.process_stream(ASK)
    gap, *events = await asyncio.wait_for(watcher, 5)
    assert (gap.event, gap.seq, gap.data) == ("on_gap", 0, {"afterSeq": 500, "lostTo": 0})
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert (await _all(run.attach(after_seq=500)))[0] == gap


async def test_a_run_that_fails_tells_front_ends_what_failed_and_no_secrets() -> None:
    run = await make(script.Failure(status=401, message="Incorrect API key provided: sk-123"))
    with pytest.raises(Exception, match="sk-123"):
        await run.process_stream(ASK)
    events = await _all(run.attach())
    assert events[-1].data == {
        "status": "failed",
        "error": {"type": "ScriptedModelError"},
        "usage": usage_of(calls=1, unreported=0),
    }
    frames = [frame async for frame in sse(run.attach())]
    assert "sk-123" not in "".join(frames)


async def test_why_a_run_was_aborted_is_told_to_front_ends() -> None:
    run = await make("Hello.")
    run.abort("The person left")
    with pytest.raises(AbortError):
        await run.process_stream(ASK)
    events = await _all(run.attach())
    error = {"type": "AbortError", "message": "The person left"}
    assert events[-1].data == {"status": "cancelled", "error": error}


# JSON.


class Point(BaseModel):
    x: float


@dataclass
class Pair:
    left: int
    right: Any


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (float("nan"), None),
        (float("-inf"), None),
        ({"deep": [1.5, float("inf")]}, {"deep": [1.5, None]}),
        (Point(x=1), {"x": 1.0}),
        (Pair(1, Point(x=2)), {"left": 1, "right": {"x": 2.0}}),
        (b"\xff\x00", "/wA="),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00+00:00"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (ValueError("no"), {"type": "ValueError", "message": "no"}),
        ({1: "one"}, {"1": "one"}),
        ({"b", "a"}, ["a", "b"]),
        (frozenset({"b", 1, None}), [1, None, "b"]),
        ("line\u2028break\r\nand \ud83d", "line\u2028break\r\nand \ud83d"),
    ],
)
def test_values_that_are_no_json_are_told_as_near_as_can_be(value: Any, shown: Any) -> None:
    text = RunEvent(1, "event", {"value": value, "kept": 1}).to_json()
    text.encode()
    read = json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} is no JSON"))
    assert read == {"event": "event", "data": {"value": shown, "kept": 1}}


def test_what_cannot_be_told_is_left_out_of_mappings() -> None:
    cyclic: dict[str, Any] = {"x": 1}
    cyclic["self"] = cyclic
    data = {"answer": lambda: None, "kept": 1, "in": [object(), 2], "cyclic": cyclic}
    read = json.loads(RunEvent(1, "event", data).to_json())["data"]
    assert read["kept"] == 1
    assert read["in"] == [2]
    assert "answer" not in read
    assert read["cyclic"]["x"] == 1


def test_a_message_with_an_artifact_is_told() -> None:
    message = ToolMessage("x", tool_call_id="c", artifact={"figure": float("nan"), "open": object()})
    read = json.loads(RunEvent(1, "on_tool_end", {"output": message}).to_json())
    assert read["data"]["output"]["kwargs"]["content"] == "x"


def test_a_frame_is_one_line_of_data() -> None:
    frame = RunEvent(3, "event", {"text": "a\nb\r\nc\rd"}).to_sse()
    assert frame.startswith("id: 3\nevent: message\ndata: ")
    assert frame.endswith("\n\n")
    assert len(frame.splitlines()) == 4


async def _all(events: Any) -> list[RunEvent]:
    return [event async for event in events]


async def test_a_run_can_be_executed_again_as_soon_as_its_execution_has_ended() -> None:
    run = await make("One.", "Two.")
    first = run.start(ASK)
    await run.ended()
    second = run.start(ASK)
    await first
    assert run.running
    await second
    assert [message.content for message in run.get_run_messages()] == ["Two."]
    assert not run.running


async def test_a_run_that_keeps_no_events_tells_its_handlers_all_of_them() -> None:
    def heard_by(events: list[str]) -> dict[str, Any]:
        return dict.fromkeys(GraphEvents, lambda event, *_: events.append(event))

    with_log, without = list[str](), list[str]()
    await (await make("Hi.", custom_handlers=heard_by(with_log))).process_stream(ASK)
    await (await make("Hi.", event_log_size=0, custom_handlers=heard_by(without))).process_stream(ASK)
    assert "on_message_delta" in without
    assert without == with_log
