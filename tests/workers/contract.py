"""What every backend of the worker pool has to do: one suite, run by each of them.

Each function is given an open pool of two workers that each run one job at a time, and fails by an AssertionError or by
its time limit. `test_contract.py` runs them, and shows that backends which break the contract do not pass.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import pytest
from langchain_core.messages import AIMessage

from stategraph.errors import AbortError, ConfigurationError, JobError, JobTimeoutError, TransferError, WorkerError
from stategraph.run.events.run_log import RunEvent
from stategraph.workers import carrying
from stategraph.workers.pool import Job, JobHandle, WorkerPool
from stategraph.workers.wire import encode
from tests.workers import jobs
from tests.workers.jobs import HERE

#: Seconds that anything here may take: long enough for processes that start on a busy machine.
LIMIT_S = 60.0

Clause: TypeAlias = Callable[[WorkerPool], Awaitable[None]]
CONTRACT: list[Clause] = []


def clause(function: Clause) -> Clause:
    CONTRACT.append(function)
    return function


def job(name: str, given: Any = None, *, id: str = "job", kind: Any = "run", **fields: Any) -> Job:
    return Job(id=id, kind=kind, target=f"{HERE}:{name}", input=encode(given, "input"), **fields)


async def read(handle: JobHandle, after_seq: int = 0) -> list[RunEvent]:
    return [event async for event in handle.events(after_seq)]


async def first(handle: JobHandle, name: str) -> RunEvent:
    """Wait for an event of a job."""
    async for event in handle.events():
        if event.event == name:
            return event
    raise AssertionError(f"the job ended without {name!r}")


class Gate:
    """Jobs that wait for the host, until it opens."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.came = asyncio.Semaphore(0)
        self.order: list[Any] = []

    async def wait(self, value: Any) -> Any:
        self.order.append(value)
        self.came.release()
        await self.opened.wait()
        return value

    @property
    def calls(self) -> dict[str, Any]:
        return {"wait": self.wait}


# Results and errors.


@clause
async def returns_what_a_sync_and_an_async_target_return(pool: WorkerPool) -> None:
    for kind in ("run", "task"):
        first_one = await pool.submit(job("double", 21, id=f"sync {kind}", kind=kind))
        second = await pool.submit(job("echo", {"a": [1, None]}, id=f"async {kind}", kind=kind))

        assert await first_one.result() == 42
        assert await second.result() == {"a": [1, None]}


@clause
async def gives_values_back_in_their_types(pool: WorkerPool) -> None:
    given = {"parcel": jobs.Parcel(3, "x"), "pair": (1, 2), "set": {1}, "bytes": b"\x00\xff", 5: "number"}

    back = await (await pool.submit(job("echo", given, id="values"))).result()
    message = await (await pool.submit(job("answer_of", "hi", id="message"))).result()

    assert back == given and type(back["pair"]) is tuple
    assert message == AIMessage(content="hi", id="a1", additional_kwargs={"n": 1})


@clause
async def takes_values_of_several_megabytes(pool: WorkerPool) -> None:
    given = b"x" * 5_000_000

    assert await (await pool.submit(job("echo", given))).result() == given


@clause
async def raises_what_the_job_raised_with_its_cause_and_the_workers_traceback(pool: WorkerPool) -> None:
    handle = await pool.submit(job("fails", "no such thing"))

    with pytest.raises(ValueError, match="no such thing") as caught:
        await handle.result()
    assert isinstance(caught.value.__cause__, KeyError)
    notes = "\n".join(caught.value.__notes__)
    assert "In worker '" in notes and "in fails" in notes and "KeyError: 'the cause'" in notes


@clause
async def makes_exceptions_again_whose_constructors_are_their_own(pool: WorkerPool) -> None:
    handle = await pool.submit(job("fails_oddly", 3))

    with pytest.raises(jobs.OddError, match="odd 3") as caught:
        await handle.result()
    assert (caught.value.code, caught.value.about) == (3, jobs.Parcel(3, "x"))


@clause
async def says_what_an_exception_was_that_cannot_cross(pool: WorkerPool) -> None:
    handle = await pool.submit(job("fails_with_what_cannot_cross", 4))

    with pytest.raises(JobError, match=r"OSError: .*odd 4") as caught:
        await handle.result()
    assert caught.value.kind == "OSError"


@clause
async def leaves_out_attributes_of_an_exception_that_cannot_cross_and_names_them(pool: WorkerPool) -> None:
    handle = await pool.submit(job("fails_with_an_attribute_that_cannot_cross", 4))

    with pytest.raises(jobs.OddError, match="odd 4") as caught:
        await handle.result()
    assert caught.value.code == 4 and not hasattr(caught.value, "about")
    assert any("stayed in worker '" in note and note.endswith(": about") for note in caught.value.__notes__)


@clause
async def keeps_the_attributes_of_errors_of_this_package(pool: WorkerPool) -> None:
    handle = await pool.submit(job("fails_with_ours"))

    with pytest.raises(Exception, match="unknown") as caught:
        await handle.result()
    assert vars(caught.value)["pending_ids"] == ("a", "b")


@clause
async def names_the_value_that_cannot_be_sent_back(pool: WorkerPool) -> None:
    handle = await pool.submit(job("unsendable"))

    with pytest.raises(TransferError, match=r"result of job 'job'.* type lock at \['parcels'\]\[1\]"):
        await handle.result()


@clause
async def refuses_targets_that_are_not_allowed_before_anything_runs(pool: WorkerPool) -> None:
    for target, why in (
        ("os:getpid", "may not import"),
        ("tests.run.hosting:anything", "may not import"),
        ("no path", "no import path"),
    ):
        with pytest.raises(TransferError, match=why):
            await pool.submit(Job(id="refused", kind="run", target=target))
    assert pool.statistics().submitted == 0


@clause
async def says_why_a_target_cannot_be_had(pool: WorkerPool) -> None:
    for number, (name, why) in enumerate(
        (
            (f"{HERE}:missing", "has no attribute 'missing'"),
            ("tests.workers.nowhere:function", "cannot be imported: ModuleNotFoundError"),
            (f"{HERE}:system", "is defined in the module 'posix'"),
            (f"{HERE}:os.getpid", "leads through the module 'os'"),
            (f"{HERE}:NUMBER", "is a value of type int; expected a function"),
        )
    ):
        handle = await pool.submit(Job(id=str(number), kind="run", target=name))

        with pytest.raises(TransferError, match=why):
            await handle.result()


# Events.


@clause
async def tells_events_in_order_without_a_gap(pool: WorkerPool) -> None:
    handle = await pool.submit(job("counts", 300))

    *events, last = await read(handle)
    assert [event.seq for event in events] == list(range(1, 301))
    assert [(event.event, event.data) for event in events] == [("number", number) for number in range(300)]
    assert events[3].metadata == {"parity": 1}
    assert (last.event, last.data, last.seq) == ("on_run_end", {"status": "completed"}, 301)
    assert await handle.result() == 300


@clause
async def tells_events_of_a_sync_target_in_order(pool: WorkerPool) -> None:
    handle = await pool.submit(job("counts_in_a_thread", 2000))

    events = await read(handle)
    assert [event.data for event in events[:-1]] == list(range(2000))


@clause
async def loses_nothing_to_a_reader_that_is_slower_than_the_job(pool: WorkerPool) -> None:
    for name in ("counts", "counts_in_a_thread"):
        handle = await pool.submit(job(name, 6000, id=name))
        seen = []
        async for event in handle.events():
            seen.append(event.seq)
            if event.seq % 500 == 0:
                await asyncio.sleep(0.001)

        assert seen == list(range(1, 6002))


@clause
async def shows_each_reader_each_event_whenever_it_comes(pool: WorkerPool) -> None:
    gate = Gate()
    handle = await pool.submit(job("waits_for_the_host", "x"), calls=gate.calls)
    early = asyncio.ensure_future(read(handle))
    await first(handle, "begun")
    during = asyncio.ensure_future(read(handle, 1))
    gate.opened.set()

    assert await handle.result() == "x"
    everything = ["begun", "on_run_end"]
    assert [event.event for event in await early] == everything
    assert [event.event for event in await during] == everything[1:]
    assert [event.event for event in await read(handle)] == everything
    assert [event.event for event in await read(handle, 2)] == []


@clause
async def ends_the_events_of_a_job_that_failed_by_saying_so(pool: WorkerPool) -> None:
    handle = await pool.submit(job("fails", "x"))

    assert (await read(handle))[-1].data == {"status": "failed", "error": {"type": "ValueError"}}


# Calls.


@clause
async def answers_calls_after_the_events_before_them(pool: WorkerPool) -> None:
    order: list[Any] = []

    async def later(value: int) -> int:
        order.append(("called", value, len(handle_events)))
        await asyncio.sleep(0)
        return 2 * value

    handle_events: list[RunEvent] = []
    handle = await pool.submit(job("asks", 5), calls={"double": later})
    async for event in handle.events():
        handle_events.append(event)

    assert await handle.result() == [0, 2, 4, 6, 8]
    assert [value for _, value, _ in order] == [0, 1, 2, 3, 4]
    assert [event.data for event in handle_events[:-1]] == [0, 1, 2, 3, 4]


@clause
async def raises_the_hosts_own_exception_from_a_call(pool: WorkerPool) -> None:
    raised = ValueError("the host refused")

    def refuse(value: Any) -> None:
        raise raised

    through = await pool.submit(job("asks_in_vain", "refuse", id="through"), calls={"refuse": refuse})
    caught = await pool.submit(job("asks_in_vain_and_catches", "refuse", id="caught"), calls={"refuse": refuse})
    unknown = await pool.submit(job("asks_in_vain_and_catches", "x", id="unknown"), calls={"refuse": refuse})

    with pytest.raises(ValueError) as error:
        await through.result()
    assert error.value is raised
    assert await caught.result() == "ValueError: the host refused"
    assert await unknown.result() == "LookupError: Job 'unknown' called 'x' of its host, which offers refuse"


# Stopping.


@clause
async def cancels_a_running_job_and_lets_it_clean_up(pool: WorkerPool) -> None:
    handle = await pool.submit(job("cleans_up"))
    events = asyncio.ensure_future(read(handle))
    await first(handle, "begun")

    assert await handle.cancel("enough of it")

    with pytest.raises(AbortError, match="enough of it"):
        await handle.result()
    assert [event.event for event in await events] == ["begun", "cleaned up", "on_run_end"]
    assert (await events)[1].data == "enough of it"
    assert (await events)[2].data["status"] == "cancelled"
    assert not await handle.cancel()


@clause
async def cancels_a_job_that_waits_for_a_worker(pool: WorkerPool) -> None:
    gate = Gate()
    held = [await pool.submit(job("waits_for_the_host", n, id=str(n)), calls=gate.calls) for n in range(2)]
    waiting = await pool.submit(job("double", 1, id="waiting"))

    assert await waiting.cancel("not needed")

    with pytest.raises(AbortError, match="not needed"):
        await waiting.result()
    gate.opened.set()
    assert [await each.result() for each in held] == [0, 1]
    assert pool.statistics().cancelled == 1


@clause
async def goes_on_when_a_sync_job_was_cancelled(pool: WorkerPool) -> None:
    handle = await pool.submit(job("counts_in_a_thread", 50_000, kind="task"))
    await first(handle, "number")

    assert await handle.cancel()

    after = [await pool.submit(job("double", n, id=f"after {n}")) for n in range(4)]
    assert [await each.result() for each in after] == [0, 2, 4, 6]


@clause
async def ends_a_job_at_its_deadline_whether_it_runs_or_waits(pool: WorkerPool) -> None:
    soon = time.time() + 0.05
    held = [await pool.submit(job("cleans_up", id=str(n), deadline=time.time() + 0.05)) for n in range(2)]
    waiting = await pool.submit(job("double", 1, id="waiting", deadline=soon))

    for handle in (*held, waiting):
        with pytest.raises(JobTimeoutError, match="deadline"):
            await handle.result()
    assert await (await pool.submit(job("double", 4, id="after"))).result() == 8


@clause
async def cancels_what_is_left_when_it_is_closed(pool: WorkerPool) -> None:
    running = await pool.submit(job("cleans_up", id="running"))
    await first(running, "begun")
    others = [await pool.submit(job("cleans_up", id=str(n))) for n in range(3)]

    await pool.aclose()
    await pool.aclose()

    for handle in (running, *others):
        with pytest.raises(AbortError, match="closed"):
            await handle.result()
    with pytest.raises(WorkerError, match="'late' was not accepted: the pool is closed"):
        await pool.submit(job("double", 1, id="late"))


# Scheduling.


@clause
async def does_jobs_of_one_id_once(pool: WorkerPool) -> None:
    one = await pool.submit(job("double", 1))
    same = await pool.submit(job("double", 100))
    assert await one.result() == await same.result() == 2

    later = await pool.submit(job("double", 100))

    assert await later.result() == 2
    assert pool.statistics().submitted == 1


@clause
async def runs_as_many_jobs_at_a_time_as_it_has_workers(pool: WorkerPool) -> None:
    gate = Gate()
    handles = [await pool.submit(job("waits_for_the_host", n, id=str(n)), calls=gate.calls) for n in range(4)]
    for _ in range(2):
        await gate.came.acquire()

    health = await pool.health()

    assert (health.workers, health.busy, health.queued) == (2, 2, 2)
    assert health.oldest_wait_s > 0
    gate.opened.set()
    assert [await each.result() for each in handles] == [0, 1, 2, 3]
    health = await pool.health()
    assert (health.busy, health.queued, health.oldest_wait_s, health.restarts) == (0, 0, 0.0, 0)
    assert pool.statistics().succeeded == 4


@clause
async def begins_jobs_by_priority_then_in_their_order(pool: WorkerPool) -> None:
    gate = Gate()
    await pool.resize(1)
    await pool.submit(job("waits_for_the_host", "first", id="first"), calls=gate.calls)
    await gate.came.acquire()
    order = (("low", -1), ("a", 0), ("b", 0), ("high", 5))
    handles = [
        await pool.submit(job("waits_for_the_host", name, id=name, priority=priority), calls=gate.calls)
        for name, priority in order
    ]
    gate.opened.set()
    await asyncio.gather(*(each.result() for each in handles))

    assert gate.order == ["first", "high", "a", "b", "low"]


@clause
async def gives_a_task_its_worker_to_itself(pool: WorkerPool) -> None:
    gate = Gate()
    await pool.resize(1)
    task = await pool.submit(job("waits_for_the_host", 1, id="task", kind="task"), calls=gate.calls)
    await first(task, "begun")
    await pool.submit(job("double", 1, id="run"))

    assert (await pool.health()).queued == 1
    gate.opened.set()
    assert await task.result() == 1


@clause
async def grows_and_shrinks_while_it_works(pool: WorkerPool) -> None:
    gate = Gate()
    handles = [await pool.submit(job("waits_for_the_host", n, id=str(n)), calls=gate.calls) for n in range(3)]
    await pool.resize(3)
    for handle in handles:
        await first(handle, "begun")

    await pool.resize(1)

    health = await pool.health()
    assert (health.workers, health.busy) == (1, 3)
    gate.opened.set()
    assert [await each.result() for each in handles] == [0, 1, 2]
    assert await (await pool.submit(job("double", 2, id="after"))).result() == 4
    with pytest.raises(ConfigurationError, match="'workers' is 0; expected a whole number of 1 or more"):
        await pool.resize(0)


@clause
async def takes_no_more_jobs_while_it_is_drained_and_ends_those_that_are_there(pool: WorkerPool) -> None:
    gate = Gate()
    handles = [await pool.submit(job("waits_for_the_host", n, id=str(n)), calls=gate.calls) for n in range(3)]
    draining = asyncio.ensure_future(pool.drain())
    await asyncio.sleep(0)

    with pytest.raises(WorkerError, match="being drained"):
        await pool.submit(job("double", 1, id="late"))
    gate.opened.set()
    await draining
    assert [await each.result() for each in handles] == [0, 1, 2]


@clause
async def cancels_what_a_drain_does_not_bring_to_its_end(pool: WorkerPool) -> None:
    handle = await pool.submit(job("cleans_up"))
    await first(handle, "begun")

    await pool.drain(timeout=0.01)

    with pytest.raises(AbortError, match=r"drained for 0\.01 s"):
        await handle.result()


# Context.


@clause
async def carries_the_context_variables_that_were_chosen_and_no_others(pool: WorkerPool) -> None:
    jobs.tenant.set("acme")
    with_it = job("tells_its_tenant", id="with", context=carrying.carried([f"{HERE}:tenant"]))

    assert await (await pool.submit(with_it)).result() == "acme"
    assert await (await pool.submit(job("tells_its_tenant", id="without"))).result() == "nobody"
