"""Threads as a person sees them, over each saver."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.memory import InMemoryStore

from stategraph import AgentInputs, AgentRuntime, interrupt
from stategraph.errors import ConfigurationError
from stategraph.run.hooks.hook_registry import HookRegistry
from stategraph.run.threads import keeping, rules
from stategraph.run.threads.indexes import index_of
from stategraph.testing import Gate, Hold, ScriptedChatModel, call, reply
from tests.run.threads.conftest import Savers, UnknownSaver

pytestmark = pytest.mark.anyio


def look(city: str) -> str:
    """Look at the weather."""
    return f"Sunny in {city}"


def send() -> str:
    """Send the letter."""
    return f"sent: {interrupt('really?')}"


def agent(*replies: Any) -> AgentInputs:
    return AgentInputs(agent_id="a", model=ScriptedChatModel(replies=list(replies)), tools=(look, send))


async def turn(runtime: AgentRuntime, thread_id: str, *replies: Any, text: str = "hi", run_id: str = "r") -> Any:
    run = await runtime.create_run(run_id=run_id, agents=[agent(*replies)], return_content=True)
    await run.process_stream({"messages": [HumanMessage(text, id=f"{text} of {thread_id}")]}, named(thread_id))
    return run


def named(thread_id: str) -> dict[str, Any]:
    return {"configurable": {"thread_id": thread_id}}


async def ids(runtime: AgentRuntime, **how: Any) -> list[str]:
    return [thread.id for thread in (await runtime.threads.list(**how)).threads]


# Lists.


async def test_threads_are_listed_by_owner_metadata_and_time_page_by_page(saver: Any) -> None:
    async with AgentRuntime(checkpointer=saver) as runtime:
        for number in range(5):
            await runtime.threads.create(
                f"t{number}", owner="ada" if number % 2 else "bob", metadata={"number": number, "pinned": number == 1}
            )
        assert await ids(runtime) == ["t4", "t3", "t2", "t1", "t0"]
        assert await ids(runtime, order="created", oldest_first=True) == ["t0", "t1", "t2", "t3", "t4"]
        assert await ids(runtime, owner="ada") == ["t3", "t1"]
        assert await ids(runtime, metadata={"pinned": True}) == ["t1"]
        assert await ids(runtime, metadata={"number": 1, "pinned": True}) == ["t1"]
        assert await ids(runtime, metadata={"number": True}) == []
        first = await runtime.threads.list(limit=2)
        second = await runtime.threads.list(limit=2, after=first.next)
        third = await runtime.threads.list(limit=2, after=second.next)
        assert [[each.id for each in page.threads] for page in (first, second, third)] == [
            ["t4", "t3"],
            ["t2", "t1"],
            ["t0"],
        ]
        assert third.next is None
        oldest = await runtime.threads.list(limit=4, oldest_first=True)
        assert [each.id for each in (await runtime.threads.list(oldest_first=True, after=oldest.next)).threads] == [
            "t4"
        ]
        since = (await runtime.threads.info("t3")).updated_at
        assert await ids(runtime, updated_after=since) == ["t4", "t3"]
        assert await ids(runtime, updated_before=since) == ["t2", "t1", "t0"]


async def test_titles_and_metadata_are_searched_in_any_case_and_no_sign_is_special(saver: Any) -> None:
    async with AgentRuntime(checkpointer=saver) as runtime:
        await runtime.threads.create("t1", title="Über die Gezeiten", owner="ada")
        await runtime.threads.create("t2", metadata={"folder": "Tides & moons"})
        await runtime.threads.create("t3", title="100% done_now \\ later")
        for text, found in (
            ("ÜBER", ["t1"]),
            ("tides", ["t2"]),
            ("0% d", ["t3"]),
            ("e_n", ["t3"]),
            ("\\ l", ["t3"]),
            ("x", []),
        ):
            assert [each.id for each in (await runtime.threads.search(text)).threads] == found
        assert (await runtime.threads.search("über", owner="bob")).threads == ()


async def test_a_turn_moves_its_thread_to_the_top_and_says_what_goes_on(saver: Any) -> None:
    async with AgentRuntime(checkpointer=saver, thread_index=True) as runtime:
        await runtime.threads.create("old")
        await turn(runtime, "new", "Hello.")
        gate = Gate()
        run = await runtime.create_run(run_id="2", agents=[agent(reply("one", Hold(gate)))])
        task = runtime.start(run, {"messages": [("user", "go on")]}, named("old"))
        async with aclosing(run.attach()) as events:
            async for event in events:
                if event.event == "on_message_delta":
                    break
        assert [(each.id, each.status) for each in (await runtime.threads.list()).threads] == [
            ("old", "running"),
            ("new", "idle"),
        ]
        assert await ids(runtime, status="running") == ["old"]
        gate.open()
        await task
        assert (await runtime.threads.info("old")).status == "idle"
        await turn(runtime, "letter", reply(call("send")), "never")
        assert await ids(runtime, status="interrupted") == ["letter"]
        with pytest.raises(Exception, match="has no reply left"):
            await turn(runtime, "broken")
        assert await ids(runtime, status="failed") == ["broken"]


async def test_threads_from_before_the_index_are_found(saver: Any) -> None:
    async with AgentRuntime(checkpointer=saver) as runtime:
        await turn(runtime, "first", "Hello.")
        await turn(runtime, "second", reply(call("send")), run_id="r2")
        assert await ids(runtime) == ["second", "first"]
        assert await ids(runtime, status="interrupted") == ["second"]
        made = (await runtime.threads.info("first")).created_at
        assert abs(made.timestamp() - keeping.now_s()) < 60
        await index_of(saver).remove(await index_of(saver).get("first"))  # type: ignore[arg-type]
        assert await runtime.threads.repair() == 1
        assert await ids(runtime) == ["second", "first"]


async def test_a_thread_whose_process_died_is_unfinished(saver: Any) -> None:
    async with AgentRuntime(checkpointer=saver) as runtime:
        await runtime.threads.create("t")
        index = index_of(saver)
        long_ago = keeping.now_s() - rules.HELD_S - 1
        await keeping.change(index, "t", lambda row: rules.begun(row, "t", "run@x", long_ago))
        assert await ids(runtime, status="unfinished") == ["t"]
        assert await ids(runtime, status="running") == []
        await turn(runtime, "t", "Hello.")
        assert (await runtime.threads.info("t")).status == "idle"


# One thread.


async def test_a_thread_is_read_as_messages_and_as_content(saver: Any) -> None:
    async with AgentRuntime(checkpointer=saver) as runtime:
        await turn(runtime, "t", reply("Let me look.", call("look", city="Rome")), "It is sunny.", text="Weather?")
        view = await runtime.threads.get("t")
        assert [message.type for message in view.messages] == ["human", "ai", "tool", "ai"]
        user, assistant = view.content
        assert user == {
            "role": "user",
            "message_id": "Weather? of t",
            "content": [{"type": "text", "text": "Weather?"}],
        }
        kinds = [part["type"] for part in assistant["content"]]
        assert (assistant["role"], kinds) == ("assistant", ["text", "tool_call", "text"])
        assert assistant["content"][1]["tool_call"]["output"] == "Sunny in Rome"
        assert "halt_reason" in view.values
        assert not [name for name in view.values if ":" in name]
        with pytest.raises(LookupError, match="There is no thread 'other'"):
            await runtime.threads.get("other")
        with pytest.raises(LookupError, match="has no checkpoint 'x'"):
            await runtime.threads.get("t", checkpoint_id="x")


async def test_messages_that_are_for_the_model_alone_are_not_in_the_content_of_a_thread(saver: Any) -> None:
    hooks = HookRegistry()
    hooks.register("UserPromptSubmit", lambda _: {"additionalContext": "The user is tired."})
    seen = {"role": "user", "content": "Be brief.", "source": "steer"}
    hidden = {**seen, "content": "Never shown.", "isMeta": True, "source": "skill"}
    hooks.register("PostToolBatch", lambda _: {"injectedMessages": [hidden, seen]})
    async with AgentRuntime(checkpointer=saver, hooks=hooks) as runtime:
        await turn(runtime, "t", reply("Let me look.", call("look", city="Rome")), "Sunny.", text="Weather?")
        view = await runtime.threads.get("t")
        assert [str(message.content) for message in view.messages] == [
            *("Weather?", "The user is tired.", "Let me look.", "Sunny in Rome"),
            *("Never shown.", "Be brief.", "Sunny."),
        ]
        texts = [(each["role"], each["content"][0]["text"], each.get("injected", False)) for each in view.content]
        assert texts == [
            ("user", "Weather?", False),
            ("assistant", "Let me look.", False),
            ("user", "Be brief.", True),
            ("assistant", "Sunny.", False),
        ]


async def test_a_thread_that_waits_is_read_with_what_was_said_and_what_is_asked(saver: Any) -> None:
    async with AgentRuntime(checkpointer=saver) as runtime:
        run = await turn(runtime, "t", reply("I will.", call("send")), "Sent.")
        view = await runtime.threads.get("t")
        assert [message.type for message in view.messages] == ["human", "ai"]
        assert [(each.interrupt_id, each.payload) for each in view.interrupts] == [
            (run.get_interrupt().interrupt_id, "really?")
        ]


async def test_details_are_changed_and_metadata_are_laid_over_those_there_are(saver: Any) -> None:
    async with AgentRuntime(checkpointer=saver) as runtime:
        await runtime.threads.create("t", metadata={"a": 1, "b": {"c": [1]}})
        assert (await runtime.threads.rename("t", "Tides")).title == "Tides"
        changed = await runtime.threads.update("t", metadata={"a": None, "d": "x"}, owner="ada")
        assert (changed.title, changed.owner, changed.metadata) == ("Tides", "ada", {"b": {"c": [1]}, "d": "x"})
        assert (await runtime.threads.info("t")) == changed
        assert [each.id for each in (await runtime.threads.search("tides")).threads] == ["t"]
        kept = await runtime.threads.create("t", title="other", if_exists="keep")
        assert kept.title == "Tides"
        with pytest.raises(ConfigurationError, match="There is a thread 't' already"):
            await runtime.threads.create("t")
        with pytest.raises(LookupError, match="There is no thread 'other'"):
            await runtime.threads.rename("other", "x")


async def test_changes_from_several_sides_are_all_kept(savers: Savers) -> None:
    async with (
        savers.open() as one,
        savers.open() as other,
        AgentRuntime(checkpointer=one) as here,
        AgentRuntime(checkpointer=other) as there,
    ):
        await here.threads.create("t")
        await there.threads.info("t")
        sides = [here, there]
        await asyncio.gather(
            *(sides[each % 2].threads.update("t", metadata={f"key{each}": each}) for each in range(10))
        )
        assert (await here.threads.info("t")).metadata == {f"key{each}": each for each in range(10)}
        made = await asyncio.gather(
            *(side.threads.create("new", title=str(each)) for each, side in enumerate(sides)),
            return_exceptions=True,
        )
        assert sorted(type(each).__name__ for each in made) == ["ConfigurationError", "Thread"]


# Copies.


async def test_a_fork_goes_on_by_itself(saver: Any) -> None:
    async with AgentRuntime(checkpointer=saver) as runtime:
        await runtime.threads.create("t", title="Tides", owner="ada", metadata={"a": 1})
        await turn(runtime, "t", "One.")
        await turn(runtime, "t", "Two.", text="more", run_id="r2")
        copy = await runtime.threads.fork("t", new_thread_id="copy")
        assert (copy.title, copy.owner, copy.metadata) == ("Tides", "ada", {"a": 1})
        await turn(runtime, "copy", "Three.", text="and?", run_id="r3")
        said = [[each.content for each in (await runtime.threads.get(name)).messages] for name in ("t", "copy")]
        assert said == [["hi", "One.", "more", "Two."], ["hi", "One.", "more", "Two.", "and?", "Three."]]
        with pytest.raises(ConfigurationError, match="There is a thread 't' already"):
            await runtime.threads.fork("copy", new_thread_id="t")


async def test_a_fork_at_an_earlier_checkpoint_has_what_was_there(saver: Any) -> None:
    async with AgentRuntime(checkpointer=saver) as runtime:
        await turn(runtime, "t", "One.")
        at = (await runtime.threads.get("t")).checkpoint_id
        await turn(runtime, "t", "Two.", text="more", run_id="r2")
        copy = await runtime.threads.fork("t", checkpoint_id=at)
        assert [each.content for each in (await runtime.threads.get(copy.id)).messages] == ["hi", "One."]
        assert [each.content for each in (await runtime.threads.get("t", checkpoint_id=at)).messages] == ["hi", "One."]
        with pytest.raises(LookupError, match="has no checkpoint 'x', so there is nothing to copy"):
            await runtime.threads.fork("t", checkpoint_id="x")


async def test_a_fork_at_a_message_ends_there_and_can_go_on(saver: Any) -> None:
    async with AgentRuntime(checkpointer=saver) as runtime:
        await turn(runtime, "t", reply(call("look", city="Rome")), "It is sunny.")
        await turn(runtime, "t", "Two.", text="more", run_id="r2")
        messages = (await runtime.threads.get("t")).messages
        copy = await runtime.threads.fork("t", message_id=messages[1].id, title="Cut")
        cut = (await runtime.threads.get(copy.id)).messages
        assert [each.type for each in cut] == ["human", "ai", "tool"]
        assert "did not" in str(cut[2].content)
        run = await turn(runtime, copy.id, "Again.", text="again", run_id="r3")
        assert [each.content for each in run.get_run_messages()] == ["Again."]
        assert len((await runtime.threads.get("t")).messages) == 6
        with pytest.raises(LookupError, match="has no message 'x'"):
            await runtime.threads.fork("t", message_id="x")


async def test_a_fork_of_a_thread_that_waits_waits_too_and_each_is_answered_by_itself(saver: Any) -> None:
    async with AgentRuntime(checkpointer=saver) as runtime:
        run = await turn(runtime, "t", reply(call("send")), "Done here.")
        assert (await runtime.threads.fork("t", new_thread_id="copy")).status == "interrupted"
        assert (await runtime.threads.get("copy")).interrupts[0].payload == "really?"
        await run.resume("yes", named("t"))
        other = await runtime.create_run(run_id="r2", agents=[agent("Done there.")])
        await other.resume("no", named("copy"))
        texts = {
            name: [str(each.content) for each in (await runtime.threads.get(name)).messages[2:]]
            for name in ("t", "copy")
        }
        assert texts == {"t": ["sent: yes", "Done here."], "copy": ["sent: no", "Done there."]}


async def test_an_export_is_json_and_can_be_imported_elsewhere(saver: Any) -> None:
    async with AgentRuntime(checkpointer=saver) as runtime:
        await runtime.threads.create("t", title="Weather", owner="ada", metadata={"a": 1})
        await turn(runtime, "t", reply("Let me look.", call("look", city="Rome")), "It is sunny.")
        exported = json.loads(json.dumps(await runtime.threads.export("t")))
        before = await runtime.threads.get("t")
        assert exported["thread"]["title"] == "Weather"
        with pytest.raises(ConfigurationError, match="There is a thread 't' already"):
            await runtime.threads.import_thread(exported)
        made = await runtime.threads.import_thread(exported, new_thread_id="again", owner="bob")
        assert (made.title, made.owner, made.metadata) == ("Weather", "bob", {"a": 1})
        assert (await runtime.threads.import_thread(exported, new_thread_id="nobody's")).owner is None
        after = await runtime.threads.get("again")
        assert after.content == before.content
        assert list(after.messages) == list(before.messages)
        await turn(runtime, "again", "Yes.", text="sure?", run_id="r2")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "its format is 'a value of type list'"),
        ({"format": "other"}, "its format is 'other', expected 'stategraph.thread/1'"),
        ({"format": "stategraph.thread/1"}, "has no 'thread'"),
        (
            {"format": "stategraph.thread/1", "thread": {}, "messages": [{"type": "constructor", "data": {}}]},
            "Message 0 of the export has the type 'constructor'",
        ),
        (
            {"format": "stategraph.thread/1", "thread": {}, "messages": [{"type": "ai", "data": {"content": 5}}]},
            "A message of the export cannot be read",
        ),
        ({"format": "stategraph.thread/1", "thread": {"title": 5}, "messages": []}, "'thread.title' of the export"),
    ],
)
async def test_what_is_no_export_is_refused(given: Any, said: str) -> None:
    async with AgentRuntime(checkpointer=UnknownSaver()) as runtime:
        with pytest.raises(ConfigurationError, match=said):
            await runtime.threads.import_thread(given)


# The end.


async def test_a_deleted_thread_is_gone_with_its_checkpoints(saver: Any) -> None:
    async with AgentRuntime(checkpointer=saver) as runtime:
        await turn(runtime, "t", reply(call("send")), "never")
        await runtime.threads.delete("t")
        assert await saver.aget_tuple(named("t")) is None
        assert [each async for each in saver.alist(named("t"))] == []
        assert await ids(runtime) == []
        with pytest.raises(LookupError, match="There is no thread 't'"):
            await runtime.threads.delete("t")
        await turn(runtime, "t", "Hello again.", run_id="r2")
        assert [each.content for each in (await runtime.threads.get("t")).messages] == ["hi", "Hello again."]


async def test_a_thread_in_which_a_run_goes_on_is_not_deleted(saver: Any) -> None:
    async with AgentRuntime(checkpointer=saver) as runtime:
        gate = Gate()
        run = await runtime.create_run(run_id="r", agents=[agent(reply("one", Hold(gate)))])
        task = runtime.start(run, {"messages": [("user", "hi")]}, named("t"))
        await asyncio.sleep(0)
        with pytest.raises(ConfigurationError, match="Thread 't' cannot be deleted: run 'r' is being executed on it"):
            await runtime.threads.erase("t")
        gate.open()
        await task
        await runtime.threads.delete("t")


async def test_a_run_of_another_process_keeps_a_thread_from_being_deleted_and_a_deletion_keeps_a_run_out(
    savers: Savers,
) -> None:
    async with savers.open() as saver, AgentRuntime(checkpointer=saver) as runtime:
        await runtime.threads.create("t")
        index = index_of(saver)
        async with keeping.executing(index, "t", "elsewhere", lambda: False):
            with pytest.raises(ConfigurationError, match="run 'elsewhere' goes on in it"):
                await runtime.threads.delete("t")
        async with keeping.deleting(index, "t"):
            with pytest.raises(ConfigurationError, match="Thread 't' is being deleted, so no run can begin on it"):
                await turn(runtime, "t", "Hello.")
            assert await ids(runtime) == []
        assert await index.get("t") is None


async def test_a_deletion_that_was_cut_off_is_ended_by_the_repair(saver: Any) -> None:
    async with AgentRuntime(checkpointer=saver) as runtime:
        await turn(runtime, "t", "Hello.")
        await runtime.threads.info("t")
        long_ago = keeping.now_s() - rules.HELD_S - 1
        await keeping.change(index_of(saver), "t", lambda row: rules.deleting(row, "t", "deletion@x", long_ago))
        assert await runtime.threads.repair() == 1
        assert await saver.aget_tuple(named("t")) is None
        assert await index_of(saver).get("t") is None


async def test_erasing_takes_memories_and_runs_with_it(saver: Any) -> None:
    store = InMemoryStore()
    await store.aput(("threads", "t", "notes"), "a", {"text": "x"})
    await store.aput(("threads", "t"), "b", {"text": "x"})
    await store.aput(("threads", "other"), "c", {"text": "x"})
    await store.aput(("people", "ada"), "d", {"text": "x"})
    async with AgentRuntime(checkpointer=saver, store=store) as runtime:
        await turn(runtime, "t", "Hello.", run_id="mine")
        await turn(runtime, "other", "Hello.", run_id="another")
        erased = await runtime.threads.erase("t")
        assert (erased.store_items, erased.runs) == (2, 1)
        assert runtime.get_run("mine") is None
        assert runtime.get_run("another") is not None
        assert sorted(item.key for item in await store.asearch(())) == ["c", "d"]
        erased = await runtime.threads.erase("other", store_namespaces=[("people", "ada")])
        assert (erased.store_items, erased.runs) == (1, 1)
        assert [item.key for item in await store.asearch(())] == ["c"]
        with pytest.raises(LookupError, match="no thread 'never'"):
            await runtime.threads.erase("never")
        await store.aput(("threads", "other"), "e", {"text": "x"})
        assert (await runtime.threads.erase("other")).store_items == 2  # left of a thread that is gone


@pytest.mark.parametrize(
    "namespaces", ["memories", ["memories"], [5], 5, [("memories", 5)], [()], (), ("memories", "")]
)
async def test_namespaces_that_are_none_are_refused_before_anything_is_erased(namespaces: Any) -> None:
    store = InMemoryStore()
    await store.aput(("memories", "ada"), "k", {"v": 1})
    async with AgentRuntime(checkpointer=InMemorySaver(), store=store) as runtime:
        await turn(runtime, "t", "Hello.")
        with pytest.raises(ConfigurationError, match=r"'store_namespaces' has .*; expected a list of namespaces"):
            await runtime.threads.erase("t", store_namespaces=namespaces)
        assert await ids(runtime) == ["t"] and runtime.get_run("r") is not None
        assert len(await store.asearch(())) == 1


async def test_one_namespace_is_a_tuple_of_texts() -> None:
    store = InMemoryStore()
    await store.aput(("memories", "ada"), "k", {"v": 1})
    async with AgentRuntime(checkpointer=InMemorySaver(), store=store) as runtime:
        await turn(runtime, "t", "Hello.")
        assert (await runtime.threads.erase("t", store_namespaces=("memories", "ada"))).store_items == 1
        assert await store.asearch(()) == []


async def test_namespaces_without_a_store_are_refused() -> None:
    async with AgentRuntime(checkpointer=InMemorySaver()) as runtime:
        with pytest.raises(ConfigurationError, match="the runtime has no store"):
            await runtime.threads.erase("t", store_namespaces=[("memories",)])


class Misspelled:
    async def erase_threads(self, thread_id: str) -> int:
        return 0


@pytest.mark.parametrize("also", [5, [5], "x", [Misspelled()], Misspelled()])
async def test_who_cannot_forget_a_thread_is_refused_before_anything_is_erased(also: Any) -> None:
    async with AgentRuntime(checkpointer=InMemorySaver()) as runtime:
        await turn(runtime, "t", "Hello.")
        with pytest.raises(ConfigurationError, match=r"'also' .*expected a list of objects with a method erase_thread"):
            await runtime.threads.erase("t", also=also)
        assert await ids(runtime) == ["t"] and runtime.get_run("r") is not None


async def test_advice_about_an_id_that_is_taken_can_be_followed() -> None:
    async with AgentRuntime(checkpointer=InMemorySaver()) as runtime:
        await turn(runtime, "t", "Hello.")
        await runtime.threads.create("u")
        with pytest.raises(ConfigurationError, match=r"'u' already: use another new_thread_id$"):
            await runtime.threads.fork("t", new_thread_id="u")
        with pytest.raises(ConfigurationError, match=r"'t' already: use another new_thread_id$"):
            await runtime.threads.import_thread(await runtime.threads.export("t"))
        with pytest.raises(ConfigurationError, match=r"'if_exists' is 'foo'; expected 'raise' or 'keep'"):
            await runtime.threads.create("u", if_exists="foo")  # type: ignore[arg-type]


# Savers that are not known, or are not there.


async def test_threads_of_an_unknown_saver_are_listed_as_far_as_it_lists_them() -> None:
    saver = UnknownSaver()
    async with AgentRuntime(checkpointer=saver, thread_index=True) as runtime:
        await turn(runtime, "t1", reply(call("send")), "never")
        await turn(runtime, "t2", "Hello.", run_id="r2")
        assert await ids(runtime) == ["t2", "t1"]
        assert (await runtime.threads.get("t1")).interrupts[0].payload == "really?"
        copy = await runtime.threads.fork("t1")
        assert (await runtime.threads.get(copy.id)).interrupts[0].payload == "really?"
        for refused in (runtime.threads.rename("t1", "x"), runtime.threads.search("x"), runtime.threads.create("t3")):
            with pytest.raises(ConfigurationError, match="of type UnknownSaver has no place for titles"):
                await refused
        await runtime.threads.delete("t1")
        assert sorted(await ids(runtime)) == sorted(["t2", copy.id])


async def test_a_saver_that_lists_nothing_is_told_about_in_a_sentence() -> None:
    saver = UnknownSaver()

    def alist(*_: Any, **__: Any) -> Any:
        raise NotImplementedError

    saver.alist = alist  # type: ignore[method-assign]
    async with AgentRuntime(checkpointer=saver) as runtime:
        with pytest.raises(ConfigurationError, match="UnknownSaver does not list its threads"):
            await runtime.threads.list()


async def test_an_index_of_ones_own_serves_a_saver_that_has_none(savers: Savers) -> None:
    async with (
        savers.open() as indexed,
        AgentRuntime(checkpointer=UnknownSaver(), thread_index=index_of(indexed)) as runtime,
    ):
        await turn(runtime, "t", "Hello.")
        await runtime.threads.rename("t", "Tides")
        assert [each.title for each in (await runtime.threads.list()).threads] == ["Tides"]


async def test_a_runtime_without_a_checkpointer_has_no_threads() -> None:
    async with AgentRuntime() as runtime:
        await turn(runtime, "t", "Hello.")
        with pytest.raises(ConfigurationError, match="keeps no threads: give it a checkpointer"):
            await runtime.threads.list()


async def test_runs_do_not_touch_an_index_that_nobody_uses() -> None:
    async with AgentRuntime(checkpointer=UnknownSaver()) as runtime:
        runtime.threads._entered = None  # type: ignore[assignment,method-assign]
        await turn(runtime, "t", "Hello.")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"limit": 0}, "'limit' is 0"),
        ({"status": "busy"}, "'status' is 'busy'; expected one of idle, running"),
        ({"order": "name"}, "'order' is 'name'"),
        ({"after": "%"}, "'after' is '%'; expected the 'next' of the page before"),
        ({"metadata": {"a": object()}}, "'metadata' cannot be written as JSON"),
        ({"updated_after": 5}, "'updated_after' is 5; expected a datetime with a time zone"),
        ({"metadata": 5}, "'metadata' is a value of type int"),
        ({"metadata": {"a": [{"b\0": 1}]}}, r"'metadata' has the text 'b\\x00'; expected texts without NUL"),
        ({"metadata": {"a": {"b": ["\ud800"]}}}, r"'metadata' has the text '\\ud800'"),
        ({"owner": "\ud800"}, r"'owner' is '\\ud800'; expected a text that is not empty, without NUL"),
    ],
)
async def test_arguments_that_make_no_sense_are_refused(how: Any, said: str) -> None:
    async with AgentRuntime(checkpointer=UnknownSaver()) as runtime:
        with pytest.raises(ConfigurationError, match=said):
            await runtime.threads.list(**how)


async def test_texts_that_no_database_stores_are_refused_and_hurt_nobody(saver: Any) -> None:
    async with AgentRuntime(checkpointer=saver) as runtime:
        await runtime.threads.create("good", owner="ada", metadata={"folder": "\U0001f30a \u0001 \\u0000"})
        for wrong in ("a\0b", "\ud800", "\udc00\ud800"):
            for metadata in ({"note": wrong}, {wrong: 1}, {"deep": [{"er": wrong}]}):
                with pytest.raises(ConfigurationError, match="without NUL and unpaired surrogates"):
                    await runtime.threads.create("bad", owner="eve", metadata=metadata)
                with pytest.raises(ConfigurationError, match="without NUL and unpaired surrogates"):
                    await runtime.threads.update("good", metadata=metadata)
            for refused in (runtime.threads.search(wrong), runtime.threads.search("a", owner=wrong)):
                with pytest.raises(ConfigurationError, match="without NUL and unpaired surrogates"):
                    await refused
        assert await ids(runtime, metadata={"folder": "\U0001f30a \u0001 \\u0000"}) == ["good"]
        assert [each.id for each in (await runtime.threads.search("")).threads] == ["good"]


async def test_a_database_that_fails_does_not_fail_the_run(caplog: pytest.LogCaptureFixture) -> None:
    class Failing:
        keeps = True

        def check(self) -> None: ...

        async def open(self) -> None: ...

        async def unlisted(self) -> Any:
            return ()

        abandoned: Any = lambda self, now: self.unlisted()
        put = remove = find = namespaces = abandoned

        async def get(self, thread_id: str) -> Any:
            raise OSError("the disk is full")

    async with AgentRuntime(checkpointer=UnknownSaver(), thread_index=Failing()) as runtime:  # type: ignore[arg-type]
        run = await turn(runtime, "t", "Hello.")
        assert [each.content for each in run.get_run_messages()] == ["Hello."]
    assert "The index of threads could not be told of thread 't' (OSError: the disk is full)" in caplog.text


async def test_a_copy_that_fails_leaves_nothing(saver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async with AgentRuntime(checkpointer=saver) as runtime:
        await turn(runtime, "t", reply(call("send")), "never")

        async def full(*_: Any, **__: Any) -> None:
            raise OSError("the disk is full")

        with monkeypatch.context() as patch:
            patch.setattr(saver, "aput_writes", full)
            with pytest.raises(OSError, match="the disk is full"):
                await runtime.threads.fork("t", new_thread_id="copy")
        assert await saver.aget_tuple(named("copy")) is None
        assert await ids(runtime) == ["t"]
        await runtime.threads.fork("t", new_thread_id="copy")


async def test_whoever_has_read_the_end_of_a_run_finds_its_thread_idle(saver: Any) -> None:
    async with AgentRuntime(checkpointer=saver, thread_index=True) as runtime:
        for number in range(3):
            run = await runtime.create_run(run_id=f"r{number}", agents=[agent("Hello.")])
            runtime.start(run, {"messages": [HumanMessage("hi")]}, named("t"))
            async for event in runtime.attach(run.id):
                last = event
            assert last.event == "on_run_end"
            assert (await runtime.threads.info("t")).status == "idle"
        (listed,) = (await runtime.threads.list()).threads
        assert (listed.id, listed.status) == ("t", "idle")
