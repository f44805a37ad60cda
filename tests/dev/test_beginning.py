"""Turns begun, answered and gone on with once: by several at once, again, and after a restart."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

import httpx
from langchain_core.messages import AIMessage, AnyMessage

from stategraph import END, START, StateGraph, add_messages
from stategraph.dev.conversations import Conversations
from stategraph.run.runtime import AgentRuntime
from stategraph.run.threads.threads import Threads
from stategraph.testing import Gate, Hold, call, reply
from tests.dev.serving import an_agent, answered, asking, new_thread, reading, send, serving, text_of

pytestmark = pytest.mark.anyio

JSON = {"Content-Type": "application/json"}


class _State(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]


def _stopping(gate: asyncio.Event) -> Any:
    """A graph that stops at a breakpoint, and waits in the node behind it."""

    async def second(_: _State) -> dict[str, Any]:
        await gate.wait()
        return {"messages": [AIMessage("second")]}

    builder = StateGraph(_State)
    builder.add_node("first", lambda _: {"messages": [AIMessage("first")]})
    builder.add_node("second", second)
    builder.add_edge(START, "first")
    builder.add_edge("first", "second")
    builder.add_edge("second", END)
    return builder.compile(interrupt_before=["second"])


async def _go_on(client: httpx.AsyncClient, thread: str) -> httpx.Response:
    return await client.post(f"/api/threads/{thread}/continue", json={})


@pytest.mark.parametrize("restarts", [False, True])
async def test_of_several_who_go_on_with_a_turn_at_once_one_does(tmp_path: Path, restarts: bool) -> None:
    gate, store = asyncio.Event(), f"sqlite:///{tmp_path}/threads.db"

    async def three(client: httpx.AsyncClient, thread: str) -> None:
        async with reading(client, thread) as reader:
            replies = await asyncio.gather(*(_go_on(client, thread) for _ in range(3)))
            assert sorted(each.status_code for each in replies) == [200, 409, 409]
            assert all("being written" in each.json()["error"] for each in replies if each.status_code == 409)
            run = (await client.get(f"/api/threads/{thread}")).json()["run"]
            assert (run["id"], run["running"], "error" in run) == ("r1", True, False)
            gate.set()
            while (await reader.until("paused"))[-1][1]["run"]["paused"]:
                pass  # of the first execution
        told = (await client.get(f"/api/threads/{thread}")).json()
        assert "error" not in told["run"]
        assert [part["text"] for part in told["turns"][-1]["content"]][-1] == "second"
        done = await _go_on(client, thread)
        assert (done.status_code, "Nothing is unfinished" in done.json()["error"]) == (409, True)

    async with serving(_stopping(gate), store=store) as client:
        thread = await new_thread(client)
        await send(client, thread, "Go.", "r1")
        async with reading(client, thread) as reader:
            await reader.until("paused")
        if not restarts:
            await three(client, thread)
    if restarts:
        async with serving(_stopping(gate), store=store) as client:
            await three(client, thread)


async def test_where_nothing_is_unfinished_nothing_goes_on() -> None:
    async with serving(asking(reply(call("pay", amount=1, id="c1")), "Done.")) as client:
        thread = await new_thread(client)
        empty = await _go_on(client, thread)
        assert (empty.status_code, "Nothing is unfinished" in empty.json()["error"]) == (409, True)
        assert (await client.get(f"/api/threads/{thread}")).json()["run"] is None
        assert (await _go_on(client, "none")).status_code == 404
        await send(client, thread, "Pay.", "r1")
        async with reading(client, thread) as reader:
            (question,) = (await reader.until("paused"))[-1][1]["run"]["waiting"]
            waits = await _go_on(client, thread)
            assert (waits.status_code, "waits for an answer" in waits.json()["error"]) == (409, True)
            await answered(client, thread, {question["id"]: [{"type": "approve"}]})
            assert text_of(await reader.until("paused")) == "Done."


async def test_of_two_messages_at_once_one_begins_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    make = Conversations._make

    async def slowly(self: Conversations, run_id: str) -> Any:
        await asyncio.sleep(0.05)  # as where a package is imported or a server is asked
        return await make(self, run_id)

    monkeypatch.setattr(Conversations, "_make", slowly)
    gate = Gate()
    async with serving(an_agent(reply("one ", Hold(gate)))) as client:
        thread = await new_thread(client)
        replies = await asyncio.gather(send(client, thread, "A", "a"), send(client, thread, "B", "b"))
        assert sorted(each.status_code for each in replies) == [201, 409]
        begun = next(each.json()["id"] for each in replies if each.status_code == 201)
        run = (await client.get(f"/api/threads/{thread}")).json()["run"]
        assert (run["id"], run["running"]) == (begun, True)
        gate.open()


async def test_a_wrong_answer_after_a_restart_leaves_the_question_to_be_answered(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/threads.db"
    async with serving(asking(reply(call("pay", amount=5, id="c1"))), store=store) as client:
        thread = await new_thread(client)
        await send(client, thread, "Pay.", "r1")
        async with reading(client, thread) as reader:
            (question,) = (await reader.until("paused"))[-1][1]["run"]["waiting"]
    async with serving(asking("Done."), store=store) as client, reading(client, thread) as reader:
        assert (await answered(client, thread, {question["id"]: [{"type": "ok"}]})).status_code == 400
        assert (await answered(client, thread, {question["id"]: [{"type": "approve"}]})).status_code == 200
        assert text_of(await reader.until("paused")) == "Done."


async def test_a_turn_is_not_begun_again_after_another_or_after_a_restart(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/threads.db"
    async with serving(an_agent("First.", "Second.", "Again."), store=store) as client:
        thread = await new_thread(client)
        async with reading(client, thread) as reader:
            for text, run_id in (("One?", "r1"), ("Two?", "r2")):
                assert (await send(client, thread, text, run_id)).status_code == 201
                await reader.until("paused")
        again = await send(client, thread, "One, again?", "r1")
        assert (again.status_code, "'r1' was begun before" in again.json()["error"]) == (409, True)
        assert (await send(client, thread, "Two?", "r2")).json()["id"] == "r2"  # the newest, which is returned
        other = await new_thread(client)
        assert (await send(client, other, "Hi.", "r1")).status_code == 201
    async with serving(an_agent("Again."), store=store) as client:
        for run_id in ("r1", "r2"):
            assert (await send(client, thread, "Again?", run_id)).status_code == 409
        turns = (await client.get(f"/api/threads/{thread}")).json()["turns"]
    assert [turn["content"][0]["text"] for turn in turns] == ["One?", "First.", "Two?", "Second."]


async def test_a_thread_is_read_once_for_all_its_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    get = Threads.get

    async def counted(self: Threads, thread_id: str, **more: Any) -> Any:
        read.append(thread_id)
        return await get(self, thread_id, **more)

    monkeypatch.setattr(Threads, "get", counted)
    monkeypatch.setattr("stategraph.dev.conversations._NAMED", 1)
    forgotten: set[str] = set()  # runs of long ago, which the runtime does not keep
    get_run = AgentRuntime.get_run
    monkeypatch.setattr(
        AgentRuntime, "get_run", lambda self, run_id: None if run_id in forgotten else get_run(self, run_id)
    )
    async with serving(an_agent(*("Hello." for _ in range(5)))) as client:
        thread, other = await new_thread(client), await new_thread(client)

        async def turns(of: str, *run_ids: str) -> None:
            async with reading(client, of) as reader:
                for run_id in run_ids:
                    assert (await send(client, of, "Hi.", run_id)).status_code == 201
                    await reader.until("paused")

        await turns(thread, "r1", "r2", "r3")
        assert read == [thread]
        forgotten.add("r1")
        assert (await send(client, thread, "Hi.", "r1")).status_code == 409
        assert read == [thread]
        await turns(other, "r4")  # now the names of the first are forgotten, and read again
        assert (await send(client, thread, "Hi.", "r2")).status_code == 409
        assert read == [thread, other, thread]


async def test_half_a_character_is_replaced_and_the_turn_begins() -> None:
    async with serving(an_agent("Hello.")) as client:
        thread = await new_thread(client)
        body = b'{"run_id": "r1", "text": "hi \\ud83d, \\ud83d\\ude00"}'
        begun = await client.post(f"/api/threads/{thread}/turns", content=body, headers=JSON)
        assert begun.status_code == 201
        async with reading(client, thread) as reader:
            await reader.until("paused")
        told = (await client.get(f"/api/threads/{thread}")).json()
        assert told["turns"][0]["content"][0]["text"] == told["thread"]["title"] == "hi \ufffd, \U0001f600"


async def test_a_turn_has_begun_also_if_its_thread_cannot_be_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def failing(*_: Any) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(Threads, "rename", failing)
    async with serving(an_agent("Hello.")) as client:
        thread = await new_thread(client)
        assert (await send(client, thread, "Hi.", "r1")).status_code == 201
        async with reading(client, thread) as reader:
            assert text_of(await reader.until("paused")) == "Hello."
    assert "was given no title" in caplog.text
