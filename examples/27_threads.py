"""Threads of a chat: listed, searched, read, renamed, copied at a message, exported, deleted, erased.

Prints::

    ada's: ['Weather in Rome', 'Tides']
    found: ['Tides']
    user: [{'type': 'text', 'text': 'Why are there tides?'}]
    assistant: [{'type': 'text', 'text': 'The moon.'}]
    a copy says: ['Why are there tides?', 'The moon.', 'And the sun?', 'A little.']
    the first still: 2 messages
    exported: stategraph.thread/1, 4 messages; imported for bob: Tides
    waits: Really send it? (interrupted)
    erased with 1 memory; left: ['Tides', 'Tides']
"""

import asyncio
from typing import Any

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.memory import InMemoryStore

from stategraph import AgentInputs, AgentRuntime, interrupt
from stategraph.testing import ScriptedChatModel, call, reply


def send() -> str:
    """Send the letter."""
    return str(interrupt("Really send it?"))


def agent(*replies: Any) -> AgentInputs:
    return AgentInputs(agent_id="assistant", model=ScriptedChatModel(replies=list(replies)), tools=(send,))


async def main() -> None:
    store = InMemoryStore()
    # Or checkpointer="sqlite:///threads.db", or "postgresql://...": titles go to a table beside the checkpoints.
    async with AgentRuntime(checkpointer=InMemorySaver(), store=store) as runtime:
        threads = runtime.threads

        async def turn(thread_id: str, text: str, *replies: Any) -> None:
            run = await runtime.create_run(run_id=f"{thread_id}/{text}", agents=[agent(*replies)])
            await run.process_stream({"messages": [("user", text)]}, {"configurable": {"thread_id": thread_id}})

        await threads.create("t1", title="Tides", owner="ada", metadata={"folder": "science"})
        await threads.create("t2", owner="ada")
        await turn("t1", "Why are there tides?", "The moon.")
        await turn("t2", "Send my letter.", reply(call("send")))
        await threads.rename("t2", "Weather in Rome")
        print("ada's:", [each.title for each in (await threads.list(owner="ada", limit=20)).threads])
        print("found:", [each.title for each in (await threads.search("tides", owner="ada")).threads])

        view = await threads.get("t1")
        for each in view.content:
            print(f"{each['role']}: {each['content']}")

        copy = await threads.fork("t1", message_id=view.messages[-1].id)
        await turn(copy.id, "And the sun?", "A little.")
        print("a copy says:", [message.content for message in (await threads.get(copy.id)).messages])
        print("the first still:", len((await threads.get("t1")).messages), "messages")

        exported = await threads.export(copy.id)
        again = await threads.import_thread(exported, new_thread_id="t3", owner="bob")
        print(f"exported: {exported['format']}, {len(exported['messages'])} messages; imported for bob: {again.title}")

        waiting = await threads.get("t2")
        print(f"waits: {waiting.interrupts[0].payload} ({waiting.thread.status})")

        await store.aput(("threads", "t2"), "address", {"city": "Rome"})
        erased = await threads.erase("t2")
        await threads.delete("t3")
        left = [each.title for each in (await threads.list()).threads]
        print(f"erased with {erased.store_items} memory; left: {left}")


asyncio.run(main())
