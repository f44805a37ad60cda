"""Reading a run's events: as its owner, and coming back to it."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from stategraph.errors import ConfigurationError, HandlerError
from stategraph.run.log import LAG, RunLog
from stategraph.run.run import Run
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel

pytestmark = pytest.mark.anyio

ASK = {"messages": [HumanMessage("hi")]}


async def make(*replies: Any, **config: Any) -> Run:
    agent = {"agent_id": "a", "model": ScriptedChatModel(replies=list(replies))}
    return await Run.create({"run_id": "r", "graph_config": {"agents": [agent]}, **config})


async def test_the_owner_reads_every_event_in_order_and_how_the_run_ended() -> None:
    run = await make("One two three.")
    events = [event async for event in run.stream(ASK)]
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert events[-1].event == "on_run_end"
    assert events[-1].data == {"status": "completed"}
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
