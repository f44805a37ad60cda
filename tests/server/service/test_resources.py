"""Assistants, threads, items and schedules, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from stategraph.server.service.assistants import id_of
from stategraph.server.service.database import SCHEMA_TABLE, Tables
from stategraph.server.service.schedules import next_after
from stategraph.server.service.values import (
    ANYONE,
    AssistantSettings,
    ConflictError,
    InvalidError,
    MalformedError,
    NotFoundError,
    Page,
    RunRequest,
    UnavailableError,
)
from tests.server.service.assembly import Assembly, assembled
from tests.server.service.conftest import steps

pytestmark = pytest.mark.anyio

OTHER = "00000000-0000-4000-8000-000000000000"


async def change(assembly: Assembly, statement: str, *values: Any) -> int:
    return await assembly.tables.write(lambda session: session.change(assembly.tables.say(statement), values))


# -- the tables --------------------------------------------------------------------------------------------------------


async def test_tables_of_a_newer_version_are_left_alone(assembly: Assembly):
    await assembly.tables.set_up()
    await change(assembly, f"UPDATE {SCHEMA_TABLE} SET version = 99")
    with pytest.raises(UnavailableError, match="version 99"):
        await Tables(assembly.registry.operations).set_up()


async def test_tables_are_made_once(assembly: Assembly):
    await assembly.threads.create(ANYONE, thread_id=OTHER)
    await Tables(assembly.registry.operations).set_up()
    assert (await assembly.threads.get(ANYONE, OTHER)).thread_id == OTHER


# -- assistants --------------------------------------------------------------------------------------------------------


async def test_each_graph_is_an_assistant(assembly: Assembly):
    by_name, by_id = [await assembly.assistants.get(ANYONE, name) for name in ("steps", id_of("steps"))]
    assert by_name == by_id
    assert (by_name.graph_id, by_name.metadata, by_name.version) == ("steps", {"created_by": "system"}, 1)
    with pytest.raises(ConflictError, match="stands for a graph"):
        await assembly.assistants.delete(ANYONE, by_name.assistant_id)


async def test_a_change_is_a_version_that_can_come_back(assembly: Assembly):
    own = assembly.assistants
    made = await own.create(ANYONE, "steps", AssistantSettings(name="one", metadata={"a": 1}, context={"tone": "kind"}))
    assert made.config == {"configurable": {"tone": "kind"}}
    changed = await own.update(
        ANYONE, made.assistant_id, AssistantSettings(context={"tone": "curt"}, metadata={"b": 2})
    )
    assert (changed.version, changed.metadata, changed.name) == (2, {"a": 1, "b": 2}, "one")
    assert [each.version for each in await own.versions(ANYONE, made.assistant_id)] == [2, 1]
    back = await own.set_latest(ANYONE, made.assistant_id, 1)
    assert (back.version, back.context, back.metadata) == (1, {"tone": "kind"}, {"a": 1})
    again = await own.update(ANYONE, made.assistant_id, AssistantSettings(name="three"))
    assert (again.version, again.context) == (3, {"tone": "kind"})
    with pytest.raises(NotFoundError, match="Version 9"):
        await own.set_latest(ANYONE, made.assistant_id, 9)


async def test_assistants_are_looked_for(assembly: Assembly):
    own = assembly.assistants
    names = [f"Helper {number}" for number in range(5)]
    for name in names:
        await own.create(ANYONE, "steps", AssistantSettings(name=name, metadata={"of": "test"}))
    page = Page(limit=2, offset=1, sort_by="name", sort_order="asc")
    found = await own.search(ANYONE, metadata={"of": "test"}, page=page)
    assert [each.name for each in found] == names[1:3]
    assert await own.count(ANYONE, name="HELPER 3") == 1
    assert await own.count(ANYONE, name="100%") == 0
    assert await own.count(ANYONE, graph_id="none") == 0
    with pytest.raises(InvalidError, match="sorted by 'config'"):
        await own.search(ANYONE, page=Page(sort_by="config"))


async def test_an_assistant_that_is_there_is_kept_or_refused(assembly: Assembly):
    own = assembly.assistants
    made = await own.create(ANYONE, "steps", AssistantSettings(name="first"), assistant_id=OTHER)
    assert await own.create(ANYONE, "steps", assistant_id=OTHER, if_exists="do_nothing") == made
    with pytest.raises(ConflictError):
        await own.create(ANYONE, "steps", assistant_id=OTHER)
    with pytest.raises(NotFoundError, match="Graph 'none'"):
        await own.create(ANYONE, "none")
    with pytest.raises(MalformedError, match="both configurable and context"):
        await own.create(ANYONE, "steps", AssistantSettings(config={"configurable": {"a": 1}}, context={"a": 1}))


# -- threads -----------------------------------------------------------------------------------------------------------


async def test_threads_are_those_of_runtimes_too(assembly: Assembly):
    from stategraph import AgentRuntime

    made = await assembly.threads.create(ANYONE, metadata={"folder": "science"})
    async with AgentRuntime(checkpointer=assembly.saver) as runtime:
        assert (await runtime.threads.info(made.thread_id)).metadata == {"folder": "science"}
        own = await runtime.threads.create(title="Mine", metadata={"folder": "art"})
    assert (await assembly.threads.get(ANYONE, own.id)).metadata == {"folder": "art"}
    assert [each.thread_id for each in await assembly.threads.search(ANYONE, metadata={"folder": "art"})] == [own.id]


async def test_a_thread_is_written_to_and_tells_of_it(assembly: Assembly):
    own = assembly.threads
    thread = (await own.create(ANYONE, metadata={"graph_id": "steps"})).thread_id
    await own.update_state(ANYONE, thread, {"log": ["given"]}, as_node="first")
    found = await own.get(ANYONE, thread)
    assert (found.status, found.values, found.error) == ("interrupted", {"log": ["given"]}, None)
    assert [each.thread_id for each in await own.search(ANYONE, values={"log": ["given"]})] == [thread]
    assert await own.search(ANYONE, values={"log": ["other"]}) == []
    assert await own.count(ANYONE, status="interrupted") == 1
    with pytest.raises(MalformedError):
        await own.update_state(ANYONE, thread, {}, as_node="no node")
    assert (await own.get(ANYONE, thread)).status == "interrupted"
    history = await own.history(ANYONE, thread, limit=10)
    assert [state.values for state in history] == [{"log": ["given"]}]


async def test_a_thread_begins_with_steps_or_not_at_all(assembly: Assembly):
    own = assembly.threads
    updates = [{"updates": [{"values": {"log": ["a"]}, "as_node": "first"}]}]
    made = await own.create(ANYONE, metadata={"graph_id": "steps"}, supersteps=updates)
    assert made.values == {"log": ["a"]}
    wrong = [{"updates": [{"values": {"log": ["a"]}, "as_node": "no node"}]}]
    with pytest.raises(MalformedError):
        await own.create(ANYONE, thread_id=OTHER, metadata={"graph_id": "steps"}, supersteps=wrong)
    with pytest.raises(NotFoundError):
        await own.get(ANYONE, OTHER)


async def test_a_copy_has_the_whole_history_and_goes_its_own_way(assembly: Assembly):
    own = assembly.threads
    thread = (await own.create(ANYONE, metadata={"graph_id": "steps", "a": 1})).thread_id
    for word in ("one", "two"):
        await own.update_state(ANYONE, thread, {"log": [word]}, as_node="first")
    copy = await own.copy(ANYONE, thread)
    assert copy.metadata == {"graph_id": "steps", "a": 1}
    await own.update_state(ANYONE, copy.thread_id, {"log": ["three"]}, as_node="first")
    logs = [state.values["log"] for state in await own.history(ANYONE, copy.thread_id)]
    assert logs == [["one", "two", "three"], ["one", "two"], ["one"]]
    assert (await own.get(ANYONE, thread)).values == {"log": ["one", "two"]}


async def test_what_a_thread_takes_is_measured(assembly: Assembly):
    own = assembly.threads
    thread = (await own.create(ANYONE, metadata={"graph_id": "steps"})).thread_id
    assert (await own.storage(ANYONE, thread)).checkpoints == 0
    await own.update_state(ANYONE, thread, {"log": ["x"]}, as_node="first")
    small = await own.storage(ANYONE, thread)
    await own.update_state(ANYONE, thread, {"log": ["y" * 1000]}, as_node="first")
    large = await own.storage(ANYONE, thread)
    assert (small.checkpoints, large.checkpoints) == (1, 2)
    assert large.channels["log"] > small.channels["log"] + 1000
    with pytest.raises(NotFoundError):
        await own.storage(ANYONE, OTHER)


async def test_a_deleted_thread_leaves_nothing(assembly: Assembly):
    own = assembly.threads
    thread = (await own.create(ANYONE, metadata={"graph_id": "steps"})).thread_id
    await own.update_state(ANYONE, thread, {"log": ["x"]}, as_node="first")
    await assembly.crons.create(ANYONE, {"assistant_id": "steps", "schedule": "@yearly"}, thread_id=thread)
    run = await assembly.runs.create(ANYONE, RunRequest(assistant_id="steps", thread_id=thread, input={}))
    await own.delete(ANYONE, thread)
    for look in (own.get, own.state, own.history, own.delete):
        with pytest.raises(NotFoundError):
            await look(ANYONE, thread)
    with pytest.raises(NotFoundError):
        await assembly.runs.get(ANYONE, run.run_id)
    assert await assembly.crons.count(ANYONE) == 0
    assert [each async for each in assembly.saver.alist({"configurable": {"thread_id": thread}})] == []
    assert await assembly.registry.list(thread_id=thread) == []


async def test_threads_are_swept_when_their_time_is_over(assembly: Assembly):
    own = assembly.threads
    gone, kept, pruned = [
        (await own.create(ANYONE, metadata={"graph_id": "steps"}, ttl=ttl)).thread_id
        for ttl in ({"ttl": 1}, {"ttl": 60}, {"ttl": 1, "strategy": "keep_latest"})
    ]
    for thread in (gone, kept, pruned):
        for word in ("one", "two"):
            await own.update_state(ANYONE, thread, {"log": [word]}, as_node="first")
    assert await own.sweep() == 0
    await change(assembly, "UPDATE sg_thread SET expires_at = expires_at - 120")
    assert await own.sweep() == 2
    assert await own.sweep() == 0
    with pytest.raises(NotFoundError):
        await own.get(ANYONE, gone)
    assert [len(await own.history(ANYONE, thread)) for thread in (kept, pruned)] == [2, 1]


@pytest.mark.parametrize("ttl", [{"ttl": "x"}, {"ttl": -1}, {"ttl": True}, {"ttl": 1, "strategy": "burn"}])
async def test_a_life_that_makes_no_sense_is_refused(assembly: Assembly, ttl: Any):
    with pytest.raises(InvalidError):
        await assembly.threads.create(ANYONE, ttl=ttl)


async def test_runs_are_told_by_their_threads(url: str):
    async with assembled(url, {"steps": steps}, works=True) as assembly:
        own, runs = assembly.threads, assembly.runs
        thread = (await own.create(ANYONE)).thread_id
        run = await runs.create(ANYONE, RunRequest(assistant_id="steps", thread_id=thread, input={"log": []}))
        await runs.wait(ANYONE, run.run_id)
        (found,) = await own.search(ANYONE, status="interrupted")
        assert found.thread_id == thread
        assert found.metadata["graph_id"] == "steps"
        assert [each["value"] for asked in found.interrupts.values() for each in asked] == ["which?"]
        request = RunRequest(assistant_id="steps", thread_id=thread, command={"resume": "this"})
        await runs.wait(ANYONE, (await runs.create(ANYONE, request)).run_id)
        found = await own.get(ANYONE, thread)
        assert (found.status, found.values, found.interrupts) == ("idle", {"log": ["first", "this"]}, {})


# -- the store ---------------------------------------------------------------------------------------------------------


async def test_the_store_of_graphs_is_that_of_clients(assembly: Assembly):
    await assembly.items.aput(("a", "b"), "k", {"n": 1, "s": "x"})
    item = await assembly.store.get(ANYONE, ["a", "b"], "k")
    assert (item.value, item.namespace) == ({"n": 1, "s": "x"}, ("a", "b"))
    await assembly.store.put(ANYONE, ["a", "bc"], "k", {"n": 3})
    assert [each.value["n"] for each in await assembly.items.asearch(("a",))] == [1, 3]
    assert [each.value["n"] for each in await assembly.items.asearch(("a", "b"))] == [1]
    assert await assembly.store.namespaces(ANYONE, prefix=["a", "*"]) == [("a", "b"), ("a", "bc")]
    assert await assembly.store.namespaces(ANYONE, suffix=["bc"]) == [("a", "bc")]
    assert await assembly.store.namespaces(ANYONE, max_depth=1) == [("a",)]
    await assembly.store.delete(ANYONE, ["a", "b"], "k")
    assert await assembly.items.aget(("a", "b"), "k") is None


@pytest.mark.parametrize(
    ("filter", "found"),
    [
        ({"n": 1}, [1]),
        ({"n": {"$ne": 1}}, [2, 3]),
        ({"n": {"$gt": 1}}, [2, 3]),
        ({"n": {"$gte": 2, "$lt": 3}}, [2]),
        ({"n": {"$lte": 1}}, [1]),
        ({"in": {"x": 2}}, [2]),
        ({"n": "1"}, []),
        ({"none": {"$gt": 0}}, []),
    ],
)
async def test_items_are_looked_for(assembly: Assembly, filter: Any, found: list[int]):
    for number in (1, 2, 3):
        await assembly.items.aput(("a",), str(number), {"n": number, "in": {"x": number, "y": 0}})
    assert [each.value["n"] for each in await assembly.items.asearch(("a",), filter=filter)] == found


async def test_items_live_for_their_time(assembly: Assembly):
    await assembly.items.aput(("a",), "short", {}, ttl=1)
    await assembly.items.aput(("a",), "long", {}, ttl=60)
    await change(assembly, "UPDATE sg_item SET expires_at = expires_at - 120")
    assert [each.key for each in await assembly.items.asearch(("a",))] == ["long"]
    assert await assembly.items.aget(("a",), "short") is None
    assert await assembly.items.sweep() == 1
    await change(assembly, "UPDATE sg_item SET expires_at = expires_at - 3000")
    await assembly.items.aget(("a",), "long")  # lives on for 60 minutes
    await change(assembly, "UPDATE sg_item SET expires_at = expires_at - 3000")
    assert await assembly.items.aget(("a",), "long") is not None


@pytest.mark.parametrize("namespace", [["a", ""], ["a.b"], [""]])
async def test_a_namespace_that_is_none_is_refused(assembly: Assembly, namespace: list[str]):
    with pytest.raises(InvalidError, match="Namespace label"):
        await assembly.store.put(ANYONE, namespace, "k", {})


# -- schedules ---------------------------------------------------------------------------------------------------------


async def due_now(assembly: Assembly) -> datetime:
    """Let all schedules have been due at some time that is over."""
    due = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=3)
    await change(assembly, "UPDATE sg_cron SET next_run_at = ?, claimed_until = 0", due.timestamp())
    return due


async def test_a_schedule_begins_one_run_in_all_processes(assembly: Assembly, url: str):
    made = await assembly.crons.create(
        ANYONE, {"assistant_id": "steps", "schedule": "0 0 1 1 *", "input": {"log": ["x"]}, "metadata": {"a": 1}}
    )
    assert made.next_run_at is not None
    assert (made.next_run_at.month, made.next_run_at.day) == (1, 1)
    await due_now(assembly)
    async with assembled(url, {"steps": steps}) as beside:
        begun = [await each.crons.begin_due() for each in (assembly, beside, assembly)]
    assert begun == [1, 0, 0]
    (run,) = await assembly.registry.list()
    assert (await assembly.runs.get(ANYONE, run.run_id)).metadata["a"] == 1
    assert (await assembly.crons.get(ANYONE, made.cron_id)).next_run_at == made.next_run_at


async def test_a_run_that_a_process_was_about_to_begin_is_begun_by_another(assembly: Assembly):
    await assembly.crons.create(ANYONE, {"assistant_id": "steps", "schedule": "0 0 1 1 *"})
    await due_now(assembly)
    await assembly.tables.write(assembly.crons._claim)  # by a process that dies
    assert await assembly.crons.begin_due() == 0
    await change(assembly, "UPDATE sg_cron SET claimed_until = 0")
    assert await assembly.crons.begin_due() == 1
    assert len(await assembly.registry.list()) == 1


async def test_a_schedule_ends(assembly: Assembly):
    payload = {"assistant_id": "steps", "schedule": "0 0 1 1 *", "end_time": "2020-01-01T00:00:00Z"}
    made = await assembly.crons.create(ANYONE, payload)
    await due_now(assembly)
    await assembly.crons.begin_due()
    found = await assembly.crons.get(ANYONE, made.cron_id)
    assert (found.enabled, found.next_run_at) == (False, None)
    assert await assembly.registry.list() == []


async def test_a_schedule_that_is_off_begins_nothing(assembly: Assembly):
    made = await assembly.crons.create(ANYONE, {"assistant_id": "steps", "schedule": "@hourly", "enabled": False})
    await due_now(assembly)
    assert await assembly.crons.begin_due() == 0
    changed = await assembly.crons.update(ANYONE, made.cron_id, {"enabled": True, "metadata": {"b": 1}})
    assert changed.next_run_at is not None
    assert changed.next_run_at > datetime.now(UTC)
    assert (changed.metadata, changed.enabled) == ({"b": 1}, True)


@pytest.mark.parametrize(
    ("schedule", "timezone", "due"),
    [
        ("0 9 * * *", "Europe/Berlin", "2026-03-28T08:00:00+00:00"),
        ("0 9 29 * *", "Europe/Berlin", "2026-03-29T07:00:00+00:00"),  # the clock has been put forward
        ("*/15 * * * *", None, "2026-03-27T12:45:00+00:00"),
        ("@daily", "Asia/Tokyo", "2026-03-27T15:00:00+00:00"),
    ],
)
def test_a_schedule_goes_by_the_clock_of_its_time_zone(schedule: str, timezone: str | None, due: str):
    now = datetime(2026, 3, 27, 12, 31, tzinfo=UTC)
    assert next_after(schedule, timezone, now).isoformat() == due


@pytest.mark.parametrize(
    "payload",
    [
        {"schedule": "not a schedule"},
        {"schedule": "0 0 30 2 *"},
        {"schedule": "@daily", "timezone": "Nowhere/Else"},
        {"schedule": "@daily", "timezone": "../etc/passwd"},
        {"schedule": "@daily", "end_time": "soon"},
        {"schedule": "@daily", "on_run_completed": "burn"},
        {"schedule": 5},
    ],
)
async def test_a_schedule_that_makes_no_sense_is_refused(assembly: Assembly, payload: Any):
    with pytest.raises(InvalidError):
        await assembly.crons.create(ANYONE, {"assistant_id": "steps", **payload})
    assert await assembly.crons.count(ANYONE) == 0


async def test_what_a_schedule_needs_has_to_be_there(assembly: Assembly):
    with pytest.raises(NotFoundError):
        await assembly.crons.create(ANYONE, {"assistant_id": "none", "schedule": "@daily"})
    with pytest.raises(NotFoundError):
        await assembly.crons.create(ANYONE, {"assistant_id": "steps", "schedule": "@daily"}, thread_id=str(uuid4()))
