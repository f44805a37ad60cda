"""Long-term memory: its tools, and a run that uses them after a turn."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import ToolException
from langgraph.store.memory import InMemoryStore

from stategraph.run.long_term import LongTermMemory, MemoryChange, remember
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel

pytestmark = pytest.mark.anyio

SPACE = ("memories", "user-1")


class SlowStore(InMemoryStore):
    """A store whose searches let others go first."""

    async def asearch(self, *given: Any, **named: Any) -> Any:
        found = await super().asearch(*given, **named)
        await asyncio.sleep(0)
        return found

    async def aget(self, *given: Any, **named: Any) -> Any:
        found = await super().aget(*given, **named)
        await asyncio.sleep(0)
        return found


class MeetingStore(InMemoryStore):
    """A store in which two threads that read at the same time go on together, if they can both read."""

    def __init__(self) -> None:
        super().__init__()
        self._meeting = threading.Barrier(2, timeout=0.1)

    def search(self, *given: Any, **named: Any) -> Any:
        return self._met(super().search(*given, **named))

    def get(self, *given: Any, **named: Any) -> Any:
        return self._met(super().get(*given, **named))

    def _met(self, found: Any) -> Any:
        with suppress(threading.BrokenBarrierError):
            self._meeting.wait()
        return found


class CountedStore(InMemoryStore):
    """A store that counts searches, and perhaps returns the first page for every other one."""

    def __init__(self, *, pages: bool = True) -> None:
        super().__init__()
        self.searches = 0
        self._pages = pages

    async def asearch(self, *given: Any, offset: int = 0, **named: Any) -> Any:
        self.searches += 1
        assert self.searches < 10, "the same page is read without end"
        return await super().asearch(*given, offset=offset if self._pages else 0, **named)


class AsyncStore(InMemoryStore):
    """A store that may not be used in a blocking way."""

    def get(self, *given: Any, **named: Any) -> Any:
        raise AssertionError("blocks the event loop")

    search = put = delete = get


async def test_a_model_sets_and_deletes_what_it_knows_of_a_person() -> None:
    store = InMemoryStore()
    await store.aput(SPACE, "city", {"value": "Lives in Rome."})
    memory = LongTermMemory(store, SPACE)
    calls = (script.call("set_memory", {"key": "name", "value": "Ada"}), script.call("delete_memory", {"key": "city"}))
    model = ScriptedChatModel(replies=[script.reply(*calls)])
    changes = await remember(
        [HumanMessage("I am Ada, and I left Rome."), AIMessage("Noted.")],
        memory,
        {"agent_id": "memory", "model": model},
        run_id="r-memory",
    )
    assert changes == [MemoryChange("set", "name", "Ada"), MemoryChange("delete", "city")]
    assert await memory.read() == {"name": "Ada"}
    system, asked = model.requests[0].messages
    assert "- city: Lives in Rome." in str(system.content)
    assert "User: I am Ada, and I left Rome." in str(asked.content)
    assert len(model.requests) == 1


async def test_what_is_kept_in_namespaces_below_is_another_memory() -> None:
    store = InMemoryStore()
    await store.aput(SPACE, "city", {"value": "Rome"})
    await store.aput((*SPACE, "work"), "city", {"value": "Milan"})
    for number in range(150):
        await store.aput((*SPACE, "work"), f"k{number:03}", {"value": "x"})
        await store.aput(SPACE, f"own{number:03}", {"value": "y"})
    memory = LongTermMemory(store, SPACE)
    known = await memory.read()
    assert known["city"] == "Rome"
    assert len(known) == 151
    assert memory._read() == known


async def test_keys_and_length_are_limited_and_the_model_is_told() -> None:
    memory = LongTermMemory(InMemoryStore(), SPACE, valid_keys=["name"], token_limit=2)
    with pytest.raises(ToolException, match="'pet' is not allowed; use one of: name"):
        await memory.set("pet", "A cat")
    with pytest.raises(ToolException, match="needs 3 tokens and 2 of 2 are left"):
        await memory.set("name", "Ada Lovelace")
    await memory.set("name", "Ada King")
    await memory.set("name", "Ada")
    assert await memory.read() == {"name": "Ada"}
    with pytest.raises(ToolException, match="no memory 'pet'; there are: name"):
        await memory.delete("pet")


async def test_more_memories_than_a_page_are_all_read() -> None:
    memory = LongTermMemory(InMemoryStore(), SPACE)
    for number in range(230):
        await memory.set(f"key-{number:03}", str(number))
    known = await memory.read()
    assert len(known) == 230
    assert (await memory.text()).splitlines()[0] == "- key-000: 0"


async def test_memories_that_are_set_at_the_same_time_keep_to_the_limit() -> None:
    memory = LongTermMemory(SlowStore(), SPACE, token_limit=3)
    told = await asyncio.gather(*(memory.set(f"key{n}", "12345678") for n in range(3)), return_exceptions=True)
    assert [isinstance(each, ToolException) for each in told] == [False, True, True]
    assert len(await memory.read()) == 1


async def test_a_memory_is_deleted_once() -> None:
    memory = LongTermMemory(SlowStore(), SPACE)
    await memory.set("name", "Ada")
    told = await asyncio.gather(memory.delete("name"), memory.delete("name"), return_exceptions=True)
    assert [isinstance(each, ToolException) for each in told] == [False, True]
    assert memory.changes == [MemoryChange("set", "name", "Ada"), MemoryChange("delete", "name")]


def test_the_tools_work_without_an_event_loop_and_from_several_threads() -> None:
    memory = LongTermMemory(InMemoryStore(), SPACE, valid_keys=["name", "pet"], token_limit=2)
    set_memory, delete_memory = memory.tools()
    with ThreadPoolExecutor(4) as threads:
        given = [{"key": key, "value": "12345678"} for key in ("name", "pet") * 4]
        told = list(threads.map(set_memory.invoke, given))
    assert sum("is set" in each for each in told) == 4
    (kept,) = memory.store.search(SPACE)
    assert delete_memory.invoke({"key": kept.key}) == f"The memory '{kept.key}' is deleted."
    assert "no memory" in delete_memory.invoke({"key": kept.key})
    assert "not allowed" in set_memory.invoke({"key": "city", "value": "Rome"})
    assert [change.type for change in memory.changes] == ["set"] * 4 + ["delete"]


async def test_two_turns_at_once_are_told_each_its_own_changes() -> None:
    memory = LongTermMemory(InMemoryStore(), SPACE)

    async def turn(key: str) -> list[MemoryChange]:
        model = ScriptedChatModel(replies=[script.reply(script.call("set_memory", {"key": key, "value": "x"}))])
        return await remember([HumanMessage("hi")], memory, {"agent_id": "memory", "model": model}, run_id=key)

    first, second = await asyncio.gather(turn("one"), turn("two"))
    assert (first, second) == ([MemoryChange("set", "one", "x")], [MemoryChange("set", "two", "x")])
    assert sorted(change.key for change in memory.changes) == ["one", "two"]


async def test_a_memory_of_several_lines_takes_one() -> None:
    memory = LongTermMemory(InMemoryStore(), SPACE)
    await memory.set("name", "Ada\n- city: Rome")
    assert await memory.text() == "- name: Ada - city: Rome"


async def test_a_model_is_told_what_to_do_and_nothing_of_a_memory_that_is_empty() -> None:
    model = ScriptedChatModel(replies=[script.reply("Nothing to do."), script.reply("Nothing to do.")])
    agent = {"agent_id": "memory", "model": model}
    for instructions in (None, "Remember pets only."):
        memory = LongTermMemory(InMemoryStore(), SPACE)
        assert await remember(["hi"], memory, agent, run_id="r", instructions=instructions) == []
    usual, own = (str(request.messages[0].content) for request in model.requests)
    assert usual.startswith("You keep the long-term memory of an assistant.")
    assert own == "Remember pets only."
    assert "known now" not in usual


@pytest.mark.parametrize(("number", "pages", "searches"), [(0, True, 1), (5, True, 1), (150, True, 2), (150, False, 2)])
async def test_a_store_is_searched_until_a_page_is_not_full_or_brings_nothing_new(
    number: int, pages: bool, searches: int
) -> None:
    store = CountedStore(pages=pages)
    for each in range(number):
        await store.aput(SPACE, f"{each:03}", {"value": "x"})
    known = await LongTermMemory(store, SPACE).read()
    assert store.searches == searches
    assert len(known) == number if pages else 0 < len(known) < number


def test_threads_that_set_memories_at_the_same_time_keep_to_the_limit() -> None:
    memory = LongTermMemory(MeetingStore(), SPACE, token_limit=3)
    set_memory, _ = memory.tools()
    with ThreadPoolExecutor(2) as threads:
        told = list(threads.map(set_memory.invoke, [{"key": key, "value": "12345678"} for key in ("name", "pet")]))
    assert sorted("is set" in each for each in told) == [False, True]
    assert len(memory.changes) == 1


def test_threads_delete_a_memory_once() -> None:
    memory = LongTermMemory(MeetingStore(), SPACE)
    set_memory, delete_memory = memory.tools()
    set_memory.invoke({"key": "name", "value": "Ada"})
    with ThreadPoolExecutor(2) as threads:
        told = list(threads.map(delete_memory.invoke, [{"key": "name"}] * 2))
    assert sorted("is deleted" in each for each in told) == [False, True]


async def test_the_tools_of_a_run_do_not_block_its_event_loop() -> None:
    memory = LongTermMemory(AsyncStore(), SPACE, token_limit=10)
    set_memory, delete_memory = memory.tools()
    assert await set_memory.ainvoke({"key": "name", "value": "Ada"}) == "The memory 'name' is set."
    assert await delete_memory.ainvoke({"key": "name"}) == "The memory 'name' is deleted."
    assert await memory.read() == {}
