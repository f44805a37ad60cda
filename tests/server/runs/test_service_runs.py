"""Runs of the server: begun, read, stopped, taken back, deleted; from one process or several."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import anyio
import pytest

from stategraph.server.service.port import (
    ANYONE,
    Caller,
    ConflictError,
    InvalidError,
    LoggedEvent,
    NotFoundError,
    RunRecord,
    RunRequest,
)
from stategraph.workers.hosted.tails import Tails
from stategraph.workers.wakeups.signals import Signal, SignalKind
from tests.server.runs.graphs import ALL
from tests.server.runs.world import World, world

LIMIT_S = 60

pytestmark = pytest.mark.anyio


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(f"sqlite:///{tmp_path / 'runs.db'}", ALL) as made:
        yield made


async def begun(here: World, graph: str, given: Any = None, thread_id: str | None = None, **options: Any) -> RunRecord:
    asked = {"input": {"log": []} if given is None and "command" not in options else given, **options}
    return await here.runs.create(ANYONE, RunRequest(assistant_id=graph, thread_id=thread_id, **asked))


async def read(here: World, run: RunRecord, after: int = 0) -> list[LoggedEvent]:
    with anyio.fail_after(LIMIT_S):
        return [event async for event in here.runs.events(ANYONE, run.run_id, after)]


async def ended(here: World, run: RunRecord) -> RunRecord:
    with anyio.fail_after(LIMIT_S):
        return await here.runs.wait(ANYONE, run.run_id)


async def until_it_waits(here: World, run: RunRecord) -> None:
    with anyio.fail_after(LIMIT_S):
        async for event in here.runs.events(ANYONE, run.run_id):
            if event.type == "updates":
                return


async def test_a_run_is_executed_and_its_events_have_numbers_without_holes(here: World) -> None:
    run = await begun(here, "steps", thread_id=await here.thread())
    assert run.status == "pending"
    events = await read(here, run)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert [(event.type, event.data) for event in events if event.type == "updates"] == [
        ("updates", {"first": {"log": ["first"]}}),
        ("updates", {"second": {"log": ["second"]}}),
    ]
    assert [event.type for event in events if event.type == "values"] == ["values"] * 3
    assert events[-1].type == "run.end"
    assert await read(here, run, after=3) == events[3:]
    assert (await ended(here, run)).status == "success"
    assert await here.runs.output(ANYONE, run.run_id) == {"log": ["first", "second"]}


async def test_a_record_says_what_was_asked_for(here: World) -> None:
    thread = await here.thread()
    run = await begun(
        here, "told", thread_id=thread, metadata={"for": "us"}, context={"tone": "dry"}, durability="exit"
    )
    assert run.assistant_id == "the-told"
    assert run.metadata == {
        "created_by": "system",
        "graph_id": "told",
        "assistant_id": "the-told",
        "for": "us",
    }
    assert run.kwargs["input"] == {"log": []}
    assert run.kwargs["context"] == {"tone": "dry"}
    assert run.kwargs["durability"] == "exit"
    assert run.kwargs["config"]["configurable"]["tone"] == "dry"
    await ended(here, run)
    assert await here.runs.output(ANYONE, run.run_id) == {"log": [run.run_id, "told", "dry"]}


async def test_graphs_inside_are_told_with_their_place(here: World) -> None:
    deep = await read(here, await begun(here, "nested", thread_id=await here.thread(), stream_subgraphs=True))
    names = [event.type for event in deep if event.type.startswith("updates")]
    assert names[0].startswith("updates|below:")
    assert names[1] == "updates"
    flat = await read(here, await begun(here, "nested"))
    assert [event.type for event in flat if event.type.startswith("updates")] == ["updates"]


async def test_events_of_all_runnables_are_told(here: World) -> None:
    run = await begun(here, "steps", stream_modes=["events"])
    told = [event.data["event"] for event in await read(here, run) if event.type == "events"]
    assert told[0] == "on_chain_start"
    assert told[-1] == "on_chain_end"
    assert [event.data for event in await read(here, run) if event.type == "updates"] == [
        {"first": {"log": ["first"]}},
        {"second": {"log": ["second"]}},
    ]


async def test_a_question_is_answered_by_a_command(here: World) -> None:
    thread = await here.thread()
    run = await begun(here, "questions", thread_id=thread)
    asked = [event.data for event in await read(here, run) if event.type == "updates"][-1]
    assert asked["__interrupt__"][0].value == "go on?"
    assert (await ended(here, run)).status == "success"
    # Pages send an input with it, such as agent-chat-ui an empty one; it is the command that counts.
    answer = await begun(here, "questions", {"log": ["no"]}, thread_id=thread, command={"resume": "yes"})
    await ended(here, answer)
    assert await here.runs.output(ANYONE, answer.run_id) == {"log": ["first", "yes"]}
    moved = await begun(here, "questions", thread_id=thread, command={"goto": "first", "update": [["log", ["now"]]]})
    assert (await ended(here, moved)).status == "success"


async def test_a_run_stops_before_and_after_nodes(here: World) -> None:
    thread = await here.thread()
    await ended(here, await begun(here, "steps", thread_id=thread, interrupt_before=["second"]))
    assert (await here.threads.state(ANYONE, thread)).next == ("second",)
    await ended(here, await begun(here, "steps", None, thread, command={}, interrupt_after="*"))
    assert (await here.threads.state(ANYONE, thread)).values == {"log": ["first", "second"]}


async def test_a_run_begins_at_a_checkpoint(here: World) -> None:
    thread = await here.thread()
    await ended(here, await begun(here, "steps", thread_id=thread))
    earlier = next(state for state in await here.history(thread) if state.next == ("second",))
    place = {"checkpoint_id": earlier.config["configurable"]["checkpoint_id"]}
    again = await here.runs.create(ANYONE, RunRequest(assistant_id="steps", thread_id=thread, checkpoint=place))
    assert [event.data for event in await read(here, again) if event.type == "updates"] == [
        {"second": {"log": ["second"]}}
    ]


async def test_a_failed_run_says_why(here: World) -> None:
    run = await ended(here, await begun(here, "broken", thread_id=await here.thread()))
    assert run.status == "error"
    assert run.error == "ValueError: it cannot be"


async def test_values_that_json_lacks_are_told_by_their_fields(here: World) -> None:
    run = await begun(here, "odds")
    assert [event.data for event in await read(here, run) if event.type == "updates"] == [
        {"odd": {"log": [{"number": 7}, "after"]}}
    ]


async def test_a_run_is_stopped_and_its_thread_stays_where_it_was(here: World) -> None:
    thread = await here.thread()
    run = await begun(here, "stops", {"wait": True}, thread)
    await until_it_waits(here, run)
    with anyio.fail_after(LIMIT_S):
        await here.runs.cancel(ANYONE, run.run_id, wait=True)
    assert (await here.runs.get(ANYONE, run.run_id)).status == "interrupted"
    assert (await here.threads.state(ANYONE, thread)).next == ("waits",)
    with pytest.raises(ConflictError):
        await here.runs.cancel(ANYONE, run.run_id)


async def test_a_run_is_taken_back_with_all_that_it_wrote(here: World) -> None:
    thread = await here.thread()
    before = await begun(here, "stops", thread_id=thread)
    await ended(here, before)
    known = [state.config for state in await here.history(thread)]
    run = await begun(here, "stops", {"wait": True}, thread)
    await until_it_waits(here, run)
    with anyio.fail_after(LIMIT_S):
        await here.runs.cancel(ANYONE, run.run_id, action="rollback", wait=True)
    with pytest.raises(NotFoundError):
        await here.runs.get(ANYONE, run.run_id)
    assert [state.config for state in await here.history(thread)] == known
    assert (await here.runs.get(ANYONE, before.run_id)).status == "success"


@pytest.mark.parametrize(
    ("strategy", "first", "log"),
    [
        ("interrupt", "interrupted", ["first", "second input", "first", "went on"]),
        ("rollback", None, ["second input", "first", "went on"]),
    ],
)
async def test_a_second_run_takes_the_thread(here: World, strategy: Any, first: str | None, log: list[str]) -> None:
    thread = await here.thread()
    waiting = await begun(here, "stops", {"wait": True}, thread)
    await until_it_waits(here, waiting)
    given = {"log": ["second input"], "wait": False}
    second = await begun(here, "stops", given, thread, multitask_strategy=strategy)
    assert (await ended(here, second)).status == "success"
    assert (await here.threads.state(ANYONE, thread)).values["log"] == log
    if first is None:
        with pytest.raises(NotFoundError):
            await here.runs.get(ANYONE, waiting.run_id)
    else:
        assert (await here.runs.get(ANYONE, waiting.run_id)).status == first


async def test_a_second_run_is_refused_or_waits(here: World) -> None:
    thread = await here.thread()
    waiting = await begun(here, "stops", {"wait": True}, thread)
    await until_it_waits(here, waiting)
    with pytest.raises(ConflictError, match="already running"):
        await begun(here, "stops", {}, thread, multitask_strategy="reject")
    queued = await begun(here, "stops", {"wait": False}, thread, multitask_strategy="enqueue")
    assert (await here.runs.get(ANYONE, queued.run_id)).status == "pending"
    await here.runs.cancel_many(ANYONE, thread_id=thread, run_ids=[waiting.run_id])
    assert (await ended(here, queued)).status == "success"
    assert [run.run_id for run in await here.runs.list(ANYONE, thread)] == [queued.run_id, waiting.run_id]
    assert [run.run_id for run in await here.runs.list(ANYONE, thread, status="success")] == [queued.run_id]


async def test_who_waits_for_an_end_does_not_look_after_each_event(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []
    look = here.registry.labelled.with_last_event

    async def counted(run_id: str, type: str) -> Any:
        looks.append(run_id)
        return await look(run_id, type)

    monkeypatch.setattr(here.registry, "tails", Tails())
    monkeypatch.setattr(here.registry.labelled, "with_last_event", counted)
    run = await begun(here, "stops", {"wait": True}, await here.thread())
    await until_it_waits(here, run)
    records: list[RunRecord] = []

    async def wait() -> None:
        record, _ = await here.runs.outcome(ANYONE, run.run_id)
        records.append(record)

    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            for _ in range(60):
                here.registry.bus.publish([Signal(SignalKind.EVENTS, run.run_id, "")])
                await anyio.sleep(0.005)
            await here.runs.cancel(ANYONE, run.run_id)
    assert records[0].status == "interrupted"
    assert len(looks) < 20  # at first and at the end, and every 5 seconds in any case


async def test_the_outcome_of_a_failed_run_has_no_values(here: World) -> None:
    run = await begun(here, "broken", thread_id=await here.thread())
    with anyio.fail_after(LIMIT_S):
        record, values = await here.runs.outcome(ANYONE, run.run_id)
    assert (record.status, values) == ("error", None)


async def test_all_runs_in_a_status_are_stopped(here: World) -> None:
    runs = [await begun(here, "stops", {"wait": True}) for _ in range(2)]
    for run in runs:
        await until_it_waits(here, run)
    await here.runs.cancel_many(ANYONE, status="all")
    assert [(await ended(here, run)).status for run in runs] == ["interrupted"] * 2
    with pytest.raises(NotFoundError):
        await here.runs.cancel_many(ANYONE, status="running")
    with pytest.raises(InvalidError):
        await here.runs.cancel_many(ANYONE)


async def test_the_thread_of_a_stateless_run_is_deleted_some_time_after_its_end(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stategraph.server.service.runs.requests.KEPT_S", 0.0)
    run = await begun(here, "steps")
    kept = await begun(here, "steps", on_completion="keep")
    await read(here, run)
    await ended(here, kept)
    with anyio.fail_after(LIMIT_S):
        while run.thread_id in here.threads.rows:
            await here.erasing.tidy()
            await anyio.sleep(0.01)
    with pytest.raises(NotFoundError):
        await here.runs.get(ANYONE, run.run_id)
    assert (await here.runs.get(ANYONE, kept.run_id)).status == "success"


async def test_a_run_that_has_ended_is_deleted(here: World) -> None:
    thread = await here.thread()
    run = await begun(here, "stops", {"wait": True}, thread)
    await until_it_waits(here, run)
    with pytest.raises(ConflictError):
        await here.runs.delete(ANYONE, run.run_id)
    await here.runs.cancel(ANYONE, run.run_id, wait=True)
    await here.runs.delete(ANYONE, run.run_id)
    with pytest.raises(NotFoundError):
        await here.runs.delete(ANYONE, run.run_id)


async def test_what_makes_no_sense_is_refused(here: World) -> None:
    thread = await here.thread()
    for wrong in (
        {"stream_modes": ["nonsense"]},
        {"command": {"unknown": 1}},
        {"command": {"goto": 3}},
        {"after_seconds": -1},
        {"after_seconds": 1e300},
        {"after_seconds": float("nan")},
        {"context": {}, "config": {"configurable": {"a": 1}}},
    ):
        with pytest.raises(InvalidError):
            await begun(here, "steps", thread_id=thread, **wrong)
    with pytest.raises(InvalidError, match="steps"):
        await begun(here, "no graph", thread_id=thread)
    with pytest.raises(NotFoundError):
        await begun(here, "00000000-0000-4000-8000-00000000000f", thread_id=thread)
    with pytest.raises(NotFoundError):
        await begun(here, "steps", thread_id="00000000-0000-4000-8000-00000000000f")
    made = await begun(here, "steps", thread_id="00000000-0000-4000-8000-00000000000f", if_not_exists="create")
    assert (await ended(here, made)).status == "success"


async def test_runs_of_others_are_not_there(here: World) -> None:
    thread = await here.thread(owner="ada")
    ada, bob = Caller("ada"), Caller("bob")
    run = await here.runs.create(ada, RunRequest(assistant_id="stops", thread_id=thread, input={"wait": True}))
    assert (await here.runs.get(ada, run.run_id)).run_id == run.run_id
    for call in (here.runs.get, here.runs.wait, here.runs.output, here.runs.cancel, here.runs.delete):
        with pytest.raises(NotFoundError):
            await call(bob, run.run_id)
    with pytest.raises(NotFoundError):
        await anext(here.runs.events(bob, run.run_id))
    with pytest.raises(NotFoundError):
        await here.runs.cancel_many(bob, status="all")
    with pytest.raises(NotFoundError):
        await here.runs.create(bob, RunRequest(assistant_id="stops", thread_id=thread))


async def test_a_run_begins_later(here: World) -> None:
    run = await begun(here, "steps", after_seconds=3600)
    assert run.status == "pending"
    await here.runs.cancel(ANYONE, run.run_id, wait=True)
    assert (await here.runs.get(ANYONE, run.run_id)).status == "interrupted"


async def test_a_run_that_begins_later_holds_up_no_other_of_its_thread_and_no_reader(here: World) -> None:
    thread = await here.thread()
    later = await begun(here, "steps", thread_id=thread, after_seconds=3600)
    now = await begun(here, "steps", thread_id=thread)
    assert (await ended(here, now)).status == "success"
    assert (await here.runs.get(ANYONE, later.run_id)).status == "pending"
    async with aclosing(here.runs.follow(ANYONE, thread, (0, 0))) as events:
        with anyio.fail_after(LIMIT_S):
            assert (await anext(events))[0].run_id == now.run_id
    await here.runs.cancel(ANYONE, later.run_id, wait=True)


async def test_settings_of_the_assistant_are_under_those_of_the_request(tmp_path: Path) -> None:
    settings = {"config": {"tags": ["a"], "recursion_limit": 7}, "context": {"tone": "kind", "length": 3}}
    async with world(f"sqlite:///{tmp_path / 'runs.db'}", ALL, works=False, **settings) as here:
        run = await begun(here, "told", context={"tone": "curt"}, config={"recursion_limit": 9})
        config = run.kwargs["config"]
        assert (config["tags"], config["recursion_limit"]) == (["a"], 9)
        assert run.kwargs["context"] == {"tone": "curt", "length": 3}


async def test_what_a_process_left_is_erased_by_the_next(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    async with world(url, ALL, works=False) as here:
        run = await begun(here, "steps", thread_id=await here.thread())
        await here.registry.cancel(run.run_id, "rolled back by the client")
    async with world(url, ALL, works=False) as other:
        await other.erasing.tidy()
        with pytest.raises(NotFoundError):
            await other.runs.get(ANYONE, run.run_id)


async def test_all_questions_are_in_the_values_of_a_run_that_asks(tmp_path: Path) -> None:
    async with world(f"sqlite:///{tmp_path / 'runs.db'}", ALL) as here:
        run = await begun(here, "twice", thread_id=await here.thread())
        await ended(here, run)
        values = await here.runs.output(ANYONE, run.run_id)
        assert sorted(question.value for question in values["__interrupt__"]) == ["one?", "two?"]


async def test_errors_of_tasks_are_told_as_kind_and_message(here: World) -> None:
    run = await begun(here, "broken", stream_modes=["debug", "tasks"])
    events = await read(here, run)
    said = [event.data["payload"].get("error") for event in events if event.type == "debug"]
    assert {"error": "ValueError", "message": "it cannot be"} in said
    assert {"error": "ValueError", "message": "it cannot be"} in [
        event.data.get("error") for event in events if event.type == "tasks"
    ]
