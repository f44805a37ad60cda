"""Turns over HTTP: streamed, taken up again, followed by several, approved, stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from stategraph import START, MessagesState, ModelPrice, Prices, StateGraph, interrupt
from stategraph.testing import Gate, Hold, Think, call, reply
from tests.dev.serving import an_agent, answered, asking, new_thread, numbers_of, reading, send, serving, text_of

pytestmark = pytest.mark.anyio


async def test_a_turn_is_streamed_and_is_in_the_history_afterwards() -> None:
    agent = an_agent(reply(Think("Let me see."), "Hello ", "Ada.", usage=(10, 5)))
    prices = Prices(models=(ModelPrice(model="scripted", input=1.0, output=2.0),), known=False)
    async with serving({"agents": [agent], "prices": prices}) as client:
        thread = await new_thread(client)
        begun = await send(client, thread, "Who are you?", "r1")
        assert (begun.status_code, begun.json()["id"]) == (201, "r1")
        async with reading(client, thread) as reader:
            frames = await reader.until("paused")
        assert frames[0][0] == "run"
        assert frames[0][1]["run"]["content"] == [{"type": "text", "text": "Who are you?"}]
        assert text_of(frames) == "Hello Ada."
        ended = frames[-1][1]["run"]
        assert (ended["running"], ended["waiting"], ended["usage"]["totalTokens"]) == (False, [], 15)
        assert ended["usage"]["cost"] == 0.00002

        told = (await client.get(f"/api/threads/{thread}")).json()
        assert [turn["role"] for turn in told["turns"]] == ["user", "assistant"]
        usage = told["turns"][1]["usage"]
        assert (usage["modelCalls"], usage["inputTokens"], usage["totalTokens"], usage["cost"]) == (1, 10, 15, 0.00002)
        assert told["thread"]["title"] == "Who are you?"
        listed = (await client.get("/api/threads", params={"q": "who"})).json()["threads"]
        assert [each["id"] for each in listed] == [thread]
        assert (await client.get("/api/threads", params={"q": "nothing"})).json()["threads"] == []


async def test_a_reader_that_lost_the_connection_gets_each_event_once() -> None:
    gate = Gate()
    agent = an_agent(reply("one ", "two ", Hold(gate), "three ", "four"))
    async with serving(agent) as client:
        thread = await new_thread(client)
        await send(client, thread, "Count.", "r1")
        async with reading(client, thread) as reader:
            first = await reader.until("on_message_delta")
            seen = reader.last_id
        async with reading(client, thread, headers={"Last-Event-ID": seen}) as reader:
            more = await reader.until("on_message_delta")
            seen = reader.last_id
        gate.open()
        run, _, seq = seen.rpartition("/")
        async with reading(client, thread, params={"run": run, "after_seq": seq}) as reader:
            rest = await reader.until("paused")
    assert text_of([*first, *more, *rest]) == "one two three four"
    numbers = numbers_of([*first, *more, *rest])
    assert numbers == sorted(set(numbers))
    assert [name for name, _ in [*more, *rest]].count("run") == 0


async def test_several_readers_follow_a_thread_from_run_to_run() -> None:
    async with serving(an_agent("First.", "Second.")) as client:
        thread = await new_thread(client)
        async with reading(client, thread) as one, reading(client, thread) as other:
            await send(client, thread, "One?", "r1")
            assert [text_of(await each.until("paused")) for each in (one, other)] == ["First.", "First."]
            await send(client, thread, "Two?", "r2")
            frames = [await each.until("paused") for each in (one, other)]
            assert [text_of(each) for each in frames] == ["Second.", "Second."]
            begun = next(data["run"] for name, data in frames[1] if name == "run")
            assert (begun["id"], begun["previous"]) == ("r2", "r1")


async def test_readers_are_told_of_changes_in_the_list() -> None:
    async with serving(an_agent()) as client:
        thread = await new_thread(client)
        async with reading(client, thread) as reader:
            renamed = await client.patch(f"/api/threads/{thread}", json={"title": "Tides"})
            assert renamed.json()["title"] == "Tides"
            assert (await reader.frame())[0] == "threads"


async def test_a_reader_of_a_run_that_is_not_known_is_told_so() -> None:
    async with serving(an_agent("Hi.")) as client:
        thread = await new_thread(client)
        async with reading(client, thread, headers={"Last-Event-ID": "of-another-process/57"}) as reader:
            assert await reader.frame() == ("gone", {"run": "of-another-process"})
            await send(client, thread, "Hello?", "r1")
            assert text_of(await reader.until("paused")) == "Hi."


async def test_a_reader_that_has_all_is_sent_nothing_again_but_what_comes_next() -> None:
    async with serving(asking(reply(call("pay", amount=1, id="c1")), "Done.")) as client:
        thread = await new_thread(client)
        await send(client, thread, "Pay.", "r1")
        async with reading(client, thread) as reader:
            waiting = (await reader.until("paused"))[-1][1]["run"]["waiting"]
        async with reading(client, thread, params={"run": "r1", "after_seq": "end"}) as reader:
            assert (await reader.until("paused"))[0][0] == "paused"
            await answered(client, thread, {waiting[0]["id"]: [{"type": "approve"}]})
            assert text_of(await reader.until("paused")) == "Done."


@pytest.mark.parametrize(
    ("decision", "result"),
    [
        ({"type": "approve"}, "paid 5"),
        ({"type": "edit", "updated_input": {"amount": 3}}, "paid 3"),
        ({"type": "reject", "reason": "too much"}, "too much"),
        ({"type": "respond", "response_text": "paid by hand"}, "paid by hand"),
    ],
)
async def test_a_call_is_decided_about(decision: dict[str, Any], result: str) -> None:
    async with serving(asking(reply("I pay. ", call("pay", amount=5, id="c1")), "Done.")) as client:
        thread = await new_thread(client)
        await send(client, thread, "Pay.", "r1")
        async with reading(client, thread) as reader:
            (question,) = (await reader.until("paused"))[-1][1]["run"]["waiting"]
            assert question["payload"]["action_requests"][0]["name"] == "pay"
            told = (await client.get(f"/api/threads/{thread}")).json()
            assert (told["run"]["followed"], told["turns"]) == (True, [])
            assert [each["id"] for each in told["waiting"]] == [question["id"]]

            wrong = await answered(client, thread, {question["id"]: [{"type": "ok"}]})
            assert wrong.status_code == 400
            assert "allowed: approve, reject, edit, respond" in wrong.json()["error"]

            await answered(client, thread, {question["id"]: [decision]})
            frames = await reader.until("paused")
        results = [data["data"]["result"] for _, data in frames if data.get("event") == "on_run_step_completed"]
        assert result in results[0]["tool_call"]["output"]
        assert text_of(frames) == "Done."
        again = await answered(client, thread, {question["id"]: [decision]})
        assert again.status_code == 409


async def test_an_answer_to_a_question_that_does_not_wait_changes_nothing() -> None:
    def one(state: MessagesState) -> dict[str, Any]:
        return {"messages": [("ai", str(interrupt("Delete one?")))]}

    def all_(state: MessagesState) -> dict[str, Any]:
        return {"messages": [("ai", str(interrupt("Delete all?")))]}

    builder = StateGraph(MessagesState).add_node("one", one).add_node("all", all_)
    builder.add_edge(START, "one").add_edge("one", "all")
    async with serving(builder.compile()) as client:
        thread = await new_thread(client)
        await send(client, thread, "Go.", "r1")
        async with reading(client, thread) as reader:
            await reader.until("paused")
            (first,) = (await client.get("/api/runs/r1")).json()["waiting"]
            await answered(client, thread, {first["id"]: "no"})
            await reader.until("paused")
            told = (await client.get("/api/runs/r1")).json()
            assert (told["status"], told["running"]) == ("interrupted", False)
            (second,) = told["waiting"]
            for wrong in ({first["id"]: False}, {"other": 1, second["id"]: 1}):
                refused = await answered(client, thread, wrong)
                assert refused.status_code == 409
                assert f"waits for answers to {second['id']}" in refused.json()["error"]
            assert (await answered(client, thread, {})).status_code == 400
            await answered(client, thread, {second["id"]: "neither"})
            await reader.until("paused")
        texts = [turn["content"][-1]["text"] for turn in (await client.get(f"/api/threads/{thread}")).json()["turns"]]
        assert texts[-1].endswith("neither")
        assert (await client.get("/api/runs/r1")).json()["status"] == "completed"


async def test_a_run_tells_how_it_failed() -> None:
    def fail(state: MessagesState) -> dict[str, Any]:
        raise ValueError("no such order")

    builder = StateGraph(MessagesState).add_node("fail", fail).add_edge(START, "fail")
    async with serving(builder.compile()) as client:
        thread = await new_thread(client)
        await send(client, thread, "Go.", "r1")
        async with reading(client, thread) as reader:
            await reader.until("paused")
        told = (await client.get("/api/runs/r1")).json()
        assert (told["status"], told["error"]) == ("failed", {"type": "ValueError", "message": "no such order"})


async def test_a_question_is_answered_after_a_restart_of_the_server(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/threads.db"
    async with serving(asking(reply("I pay. ", call("pay", amount=5, id="c1"))), store=store) as client:
        thread = await new_thread(client)
        await send(client, thread, "Pay.", "r1")
        async with reading(client, thread) as reader:
            await reader.until("paused")
    async with serving(asking("Done."), store=store) as client:
        told = (await client.get(f"/api/threads/{thread}")).json()
        assert told["run"] is None
        assert [turn["role"] for turn in told["turns"]] == ["user", "assistant"]
        (question,) = told["waiting"]
        async with reading(client, thread) as reader:
            answers = {question["id"]: [{"type": "approve"}]}
            given = await answered(client, thread, answers)
            assert given.json()["id"] == "r1"
            frames = await reader.until("paused")
        assert text_of(frames) == "Done."
        told = (await client.get(f"/api/threads/{thread}")).json()
        parts = [part["type"] for part in told["turns"][-1]["content"]]
        assert parts == ["text", "tool_call", "text"]


async def test_numbers_of_another_process_are_not_taken_for_those_of_this_one(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/threads.db"
    async with serving(asking(reply("I pay. ", call("pay", amount=5, id="c1"))), store=store) as client:
        thread = await new_thread(client)
        await send(client, thread, "Pay.", "r1")
        async with reading(client, thread) as reader:
            waiting = (await reader.until("paused"))[-1][1]["run"]["waiting"]
            seen = reader.last_id
    async with serving(asking("Done."), store=store) as client:
        await answered(client, thread, {waiting[0]["id"]: [{"type": "approve"}]})
        async with reading(client, thread) as reader:
            await reader.until("paused")
        async with reading(client, thread, headers={"Last-Event-ID": seen}) as reader:
            assert await reader.frame() == ("gone", {"run": "r1"})
            assert text_of(await reader.until("paused")) == "Done."


async def test_a_turn_is_stopped_and_what_was_said_stays() -> None:
    agent = an_agent(reply("one ", Hold(Gate()), "two"), "And on.")
    async with serving(agent) as client:
        thread = await new_thread(client)
        await send(client, thread, "Count.", "r1")
        async with reading(client, thread) as reader:
            await reader.until("on_message_delta")
            assert (await client.get("/api/runs/r1")).json()["running"] is True
            assert (await client.post("/api/runs/r1/stop", json={})).json() == {"stopped": True}
            ended = (await reader.until("paused"))[-1][1]["run"]
        assert (ended["running"], "error" in ended) == (False, False)
        assert (await client.post("/api/runs/r1/stop", json={})).json() == {"stopped": False}
        told = (await client.get(f"/api/threads/{thread}")).json()
        assert (told["turns"][1]["content"][0]["text"], told["turns"][1]["incomplete"]) == ("one ", True)
        assert (await send(client, thread, "Go on.", "r2")).status_code == 201


async def test_a_message_that_is_sent_again_begins_no_second_turn() -> None:
    gate = Gate()
    async with serving(an_agent(reply("one ", Hold(gate)))) as client:
        thread = await new_thread(client)
        both = [await send(client, thread, "Count.", "r1") for _ in range(2)]
        assert [each.json()["id"] for each in both] == ["r1", "r1"]
        other = await send(client, thread, "And?", "r2")
        assert other.status_code == 409
        assert "being written" in other.json()["error"]
        refused = await client.delete(f"/api/threads/{thread}")
        assert refused.status_code == 409
        gate.open()
        async with reading(client, thread) as reader:
            await reader.until("paused")
        assert (await client.delete(f"/api/threads/{thread}")).status_code == 204
        assert (await client.get(f"/api/threads/{thread}")).status_code == 404


async def test_an_error_is_told_with_its_text_unless_that_was_turned_off() -> None:
    for tells, message in ((True, "the disk is full"), (False, "")):
        async with serving(an_agent(RuntimeError("the disk is full")), tells_errors=tells) as client:
            thread = await new_thread(client)
            await send(client, thread, "Hi.", "r1")
            async with reading(client, thread) as reader:
                ended = (await reader.until("paused"))[-1][1]["run"]
            assert ended["error"] == {"type": "RuntimeError", "message": message}


async def test_an_error_does_not_tell_the_password_of_an_address() -> None:
    async with serving(an_agent(RuntimeError("no answer of https://ada:hunter2@models.example/v1"))) as client:
        thread = await new_thread(client)
        await send(client, thread, "Hi.", "r1")
        async with reading(client, thread) as reader:
            frames = await reader.until("paused")
        assert frames[-1][1]["run"]["error"]["message"] == "no answer of https://ada:[redacted]@models.example/v1"
        assert "hunter2" not in str(frames)


async def test_the_events_of_one_run_can_be_read_alone() -> None:
    async with serving(an_agent("Hello.")) as client:
        thread = await new_thread(client)
        await send(client, thread, "Hi.", "r1")
        async with client.stream("GET", "/api/runs/r1/events") as response:
            lines = [line async for line in response.aiter_lines() if line.startswith("data: ")]
        assert "on_run_end" in lines[-1]
        assert (await client.get("/api/runs/r2/events")).status_code == 404
