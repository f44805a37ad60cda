"""Long-term memory: its tools, and a run that uses them after a turn."""

from __future__ import annotations

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import ToolException
from langgraph.store.memory import InMemoryStore

from stategraph.run.memory import LongTermMemory, MemoryChange, remember
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel

pytestmark = pytest.mark.anyio

SPACE = ("memories", "user-1")


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
