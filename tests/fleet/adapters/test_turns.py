"""Turns of a scripted framework as tasks of A2A."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from a2a.types import Part

from stategraph.fleet import message
from stategraph.fleet.adapters.port import Fact, Losses, Question, Said, Turn, Usage
from stategraph.fleet.messages import Data, File, Reasoning, ToolCall, ToolResult
from tests.fleet.adapters.asking import hosted

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def told(turn: Turn) -> AsyncGenerator[Fact | str]:
    yield Reasoning("thinking")
    yield "I "
    yield Said("look")
    yield ToolCall("c1", "weather", {"city": "Rome"})
    yield ToolResult("c1", "sunny", "weather")
    yield f" - {turn.message.text}"
    yield Usage(3, 4)
    yield Usage(1, 1)
    yield Losses({"id": 1})
    yield Data({"rain": False})
    yield File("image/png", data="aGk=")


async def test_what_a_framework_tells_is_told_in_order() -> None:
    async with hosted(told) as asks:
        heard = await asks.ask("hello", "c")
        assert (heard.state, heard.text, heard.context_id) == ("completed", "I look - hello", "c")
        assert heard.calls == [("weather", {"city": "Rome"})]
        assert heard.results == ["sunny"]
        assert heard.metadata == {
            "stategraph.dev/usage": {"inputTokens": 4, "outputTokens": 5},
            "stategraph.dev/losses": {"id": 1},
        }
        task = (await asks.call("GetTask", id=heard.task_id))["result"]
        assert [each.get("name") for each in task["artifacts"]] == ["answer", "answer", "value", "file"]
        assert ["".join(part.get("text", "") for part in each["parts"]) for each in task["artifacts"][:2]] == [
            "I look",
            " - hello",
        ]
        assert task["artifacts"][2]["parts"] == [{"data": {"rain": False}}]
        assert task["artifacts"][3]["parts"][0]["raw"] == "aGk="
        kinds = [
            part.get("metadata", {}).get("stategraph.dev/part") for each in task["history"] for part in each["parts"]
        ]
        assert [each for each in kinds if each] == ["reasoning", "tool-call", "tool-result"]
        counts = asks.host.counter.statistics()
        assert (counts.requests, counts.completed, counts.input_tokens, counts.output_tokens) == (1, 1, 4, 5)
        assert (counts.first_byte.count, counts.latency.count) == (1, 1)


async def test_a_conversation_remembers_and_another_one_does_not() -> None:
    async def answer(turn: Turn) -> AsyncGenerator[Fact | str]:
        yield " ".join(f"{each.role}:{each.text}" for each in turn.history) or "nothing yet"

    async with hosted(answer) as asks:
        assert (await asks.ask("one", "a")).text == "nothing yet"
        assert (await asks.ask("two", "a")).text == "user:one assistant:nothing yet"
        assert (await asks.ask("one", "b")).text == "nothing yet"


async def test_an_error_is_told_without_secrets_and_the_turn_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVIDER_API_KEY", "a-very-secret-value")

    async def answer(turn: Turn) -> AsyncGenerator[Fact | str]:
        yield "so far"
        if turn.message.text == "fail":
            raise RuntimeError("the key a-very-secret-value is not known, nor is sk-abcdefghijklmnop")
        yield f" {len(turn.history)}"

    async with hosted(answer) as asks:
        heard = await asks.ask("fail", "a")
        assert heard.state == "failed"
        assert heard.problem == "RuntimeError: the key *** is not known, nor is ***"
        assert heard.text == "so far"
        assert (await asks.ask("go on", "a")).text == "so far 0"
        assert asks.host.counter.statistics().failed == 1


async def test_a_question_waits_for_the_next_message() -> None:
    async def answer(turn: Turn) -> AsyncGenerator[Fact | str]:
        if turn.history:
            yield f"booked: {turn.message.text}"
        else:
            yield Question("Shall I?", {"price": 3})

    async with hosted(answer) as asks:
        heard = await asks.ask("book", "a")
        assert (heard.state, heard.problem) == ("input_required", "Shall I?")
        task = (await asks.call("GetTask", id=heard.task_id))["result"]
        assert task["status"]["message"]["parts"] == [{"text": "Shall I?"}, {"data": {"price": 3}}]
        request = message("yes", context_id="a")
        request.message.task_id = heard.task_id
        again = await asks.ask("", request=request)
        assert (again.state, again.text) == ("completed", "booked: yes")


async def test_a_turn_is_cancelled_and_cleans_up() -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def answer(turn: Turn) -> AsyncGenerator[Fact | str]:
        if turn.message.text != "wait":
            yield str(len(turn.history))
            return
        try:
            yield "so far"
            began.set()
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with hosted(answer) as asks:
        asking = asyncio.create_task(asks.ask("wait", "a"))
        await asyncio.wait_for(began.wait(), 10)
        task_id = await asks.task_of("a")
        cancelled = await asks.call("CancelTask", id=task_id)
        assert cancelled["result"]["status"]["state"] == "TASK_STATE_CANCELED"
        assert ended.is_set()
        assert (await asking).state == "canceled"
        assert (await asks.ask("and now?", "a")).text == "0"
        counts = asks.host.counter.statistics()
        assert (counts.canceled, counts.completed, counts.active) == (1, 1, 0)
        again = await asks.call("CancelTask", id=task_id)
        assert "error" in again


async def test_a_cancellation_that_a_framework_makes_an_error_of_is_one_all_the_same() -> None:
    began = asyncio.Event()

    async def answer(turn: Turn) -> AsyncGenerator[Fact | str]:
        del turn
        yield "so far"
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise RuntimeError("interrupted") from None

    async with hosted(answer) as asks:
        asking = asyncio.create_task(asks.ask("wait", "a"))
        await asyncio.wait_for(began.wait(), 10)
        task_id = await asks.task_of("a")
        await asks.call("CancelTask", id=task_id)
        assert (await asking).state == "canceled"


async def test_turns_of_one_conversation_are_one_after_another() -> None:
    gate, running, most = asyncio.Event(), 0, 0

    async def answer(turn: Turn) -> AsyncGenerator[Fact | str]:
        nonlocal running, most
        if turn.context_id == "b":
            yield "apart"
            return
        running += 1
        most = max(most, running)
        await gate.wait()
        running -= 1
        yield turn.message.text

    async with hosted(answer) as asks:
        both = [asyncio.create_task(asks.ask(text, "a")) for text in ("one", "two")]
        assert (await asks.ask("hi", "b")).text == "apart"
        gate.set()
        assert sorted(each.text for each in await asyncio.gather(*both)) == ["one", "two"]
        assert most == 1


async def test_a_stopped_host_fails_the_turns_under_way_and_says_why() -> None:
    began = asyncio.Event()

    async def answer(turn: Turn) -> AsyncGenerator[Fact | str]:
        del turn
        yield "so far"
        began.set()
        await asyncio.Event().wait()

    async with hosted(answer) as asks:
        asking = asyncio.create_task(asks.ask("wait", "a"))
        await asyncio.wait_for(began.wait(), 10)
        await asks.host.stop("The agent was stopped")
        heard = await asking
        assert (heard.state, heard.problem) == ("failed", "The agent was stopped")


async def test_conversations_that_are_too_many_are_closed_and_begin_anew() -> None:
    closed: list[str] = []

    class Conversation:
        def __init__(self, context_id: str) -> None:
            self.context_id = context_id
            self.turns = 0

        async def ask(self, said: Any) -> AsyncGenerator[Fact]:
            del said
            self.turns += 1
            yield Said(str(self.turns))

        async def close(self) -> None:
            closed.append(self.context_id)
            raise RuntimeError("cannot be closed")  # is logged, and holds up nothing

    from stategraph.fleet.adapters.port import About, Sessions

    async with hosted(Sessions(About("scripted", "1"), Conversation), most=2) as asks:
        for context_id in ("a", "b", "a", "c"):
            await asks.ask("hi", context_id)
        assert closed == ["b"]
        assert (await asks.ask("hi", "a")).text == "3"
        assert (await asks.ask("hi", "b")).text == "1"
    assert sorted(closed) == ["a", "b", "b", "c"] or sorted(closed) == ["a", "b", "c", "c"]


async def test_parts_reach_the_framework_in_the_common_shape() -> None:
    seen: list[Any] = []

    async def answer(turn: Turn) -> AsyncGenerator[Fact | str]:
        seen.append(turn.message)
        yield "ok"

    async with hosted(answer) as asks:
        request = message("look", context_id="a", message_id="m1")
        request.message.parts.append(Part(url="https://files.example/cat.png", media_type="image/png"))
        assert (await asks.ask("", request=request)).text == "ok"
        (said,) = seen
        assert (said.role, said.id, said.text) == ("user", "m1", "look")
        assert said.parts[1] == File("image/png", "https://files.example/cat.png")


async def test_a_conversation_that_cannot_be_opened_fails_the_task() -> None:
    from stategraph.fleet.adapters.port import About, AdapterError, Sessions

    def opening(context_id: str) -> Any:
        raise AdapterError(f"there is no room for {context_id}")

    async with hosted(Sessions(About("scripted", "1"), opening)) as asks:
        heard = await asks.ask("hi", "a")
        assert (heard.state, heard.problem) == ("failed", "AdapterError: there is no room for a")
