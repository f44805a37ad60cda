"""Submissions over NATS whose answer is lost: repeated, they are the same job; another process's is another one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from stategraph.errors import WorkerError
from stategraph.workers.cluster import queue as queues
from stategraph.workers.cluster.pool import NatsPool
from stategraph.workers.cluster.submissions import MOST_KEPT, Submissions, Unanswered
from stategraph.workers.nats.connection import NatsUnavailableError
from tests.workers.contract import Gate, job
from tests.workers.test_nats_pool import (
    assert_nothing_is_left,
    came,
    eventually,
    host,
    node_here,
    result,
    size,
    told,
)

pytestmark = pytest.mark.anyio

Lose = Callable[[NatsPool, Exception | None], Any]


@pytest.fixture
def lose(monkeypatch: pytest.MonkeyPatch) -> Lose:
    """Lose the server's answer to a pool's next submission, after the server has taken it."""

    def lose(pool: NatsPool, after: Any = None) -> None:
        put = pool.queue.put

        async def unheard(*arguments: Any, **named: Any) -> int:
            monkeypatch.setattr(pool.queue, "put", put)
            await put(*arguments, **named)
            if after is not None:
                await after()
            raise NatsUnavailableError("the answer was lost")

        monkeypatch.setattr(pool.queue, "put", unheard)

    return lose


async def submitted_unheard(pool: NatsPool, lose: Lose, given: Any, after: Any = None, **options: Any) -> None:
    lose(pool, after)
    with pytest.raises(NatsUnavailableError, match="the answer was lost"):
        await pool.submit(given, **options)


@pytest.mark.parametrize("value", [21, "x" * 400_000], ids=["in the message", "in an object"])
async def test_a_submission_that_is_repeated_is_the_same_job(nats_url: str, lose: Lose, value: Any) -> None:
    async with host(nats_url) as pool:
        await submitted_unheard(pool, lose, job("double", value))
        handle = await pool.submit(job("double", value))
        assert (await size(pool, pool.queue._jobs))[0] == 1
        async with node_here(nats_url):
            assert await result(handle) == 2 * value
            await assert_nothing_is_left(pool)

        async def are_gone() -> bool:
            return (await size(pool, f"OBJ_{pool.queue._bucket}"))[1] < 10_000

        await eventually(are_gone)


async def test_a_submission_is_repeated_as_often_as_the_answer_is_lost(nats_url: str, lose: Lose) -> None:
    async with host(nats_url) as pool:
        for _ in range(3):
            await submitted_unheard(pool, lose, job("double", 1))
        handle = await pool.submit(job("double", 1))
        assert (await size(pool, pool.queue._jobs))[0] == 1
        async with node_here(nats_url):
            assert await result(handle) == 2


async def test_a_submission_that_was_cancelled_while_it_waited_for_the_answer_can_be_repeated(
    nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with host(nats_url) as pool:
        put, has_put = pool.queue.put, asyncio.Event()

        async def hangs(*arguments: Any, **named: Any) -> int:
            await put(*arguments, **named)
            has_put.set()
            await asyncio.get_running_loop().create_future()
            raise AssertionError  # not reached

        monkeypatch.setattr(pool.queue, "put", hangs)
        waiting = asyncio.ensure_future(pool.submit(job("double", 1)))
        with anyio.fail_after(60):
            await has_put.wait()
        waiting.cancel()
        await asyncio.wait([waiting])
        monkeypatch.undo()
        handle = await pool.submit(job("double", 1))
        async with node_here(nats_url):
            assert await result(handle) == 2


async def test_a_repeated_submission_with_another_content_is_refused(nats_url: str, lose: Lose) -> None:
    async with host(nats_url) as pool:
        await submitted_unheard(pool, lose, job("double", 1))
        with pytest.raises(WorkerError, match="a job of this id with another content was submitted just before"):
            await pool.submit(job("double", 2))
        handle = await pool.submit(job("double", 1))
        async with node_here(nats_url):
            assert await result(handle) == 2


async def test_a_submission_of_another_process_is_refused_also_with_the_same_content(nats_url: str, lose: Lose) -> None:
    async with host(nats_url) as one, host(nats_url) as two:
        await submitted_unheard(one, lose, job("double", 1))
        with pytest.raises(WorkerError, match="a job of this id was submitted by another process"):
            await two.submit(job("double", 1))
        handle = await one.submit(job("double", 1))
        async with node_here(nats_url):
            assert await result(handle) == 2


async def test_a_submission_that_another_process_made_first_is_not_taken_for_an_own_one(
    nats_url: str, lose: Lose
) -> None:
    async with host(nats_url) as one, host(nats_url) as two:
        await one.submit(job("double", 1))

        async def refused(*_: Any, **__: Any) -> int:
            raise NatsUnavailableError("the answer was lost")

        put, two.queue.put = two.queue.put, refused  # type: ignore[method-assign]
        with pytest.raises(NatsUnavailableError):
            await two.submit(job("double", 1))
        two.queue.put = put  # type: ignore[method-assign]
        with pytest.raises(WorkerError, match="a job of this id was submitted by another process"):
            await two.submit(job("double", 1))


async def test_a_job_that_a_node_was_told_to_leave_is_put_into_the_queue_again(nats_url: str, lose: Lose) -> None:
    async with host(nats_url) as pool, node_here(nats_url):
        await submitted_unheard(pool, lose, job("double", 1))

        async def is_taken() -> bool:
            return (await size(pool, pool.queue._jobs))[0] == 0

        pool._signal(job("double", 1))
        await eventually(is_taken)

        assert await result(await pool.submit(job("double", 1))) == 2
        await assert_nothing_is_left(pool)


async def test_a_job_that_had_begun_when_its_answer_was_lost_is_begun_again(nats_url: str, lose: Lose) -> None:
    gate = Gate()
    given = job("waits_for_the_host", "x")

    async def has_begun() -> None:
        pool._signal(given)
        await came(gate)

    async with host(nats_url) as pool, node_here(nats_url):
        await submitted_unheard(pool, lose, given, has_begun, calls=gate.calls)
        handle = await pool.submit(given, calls=gate.calls)
        gate.opened.set()

        assert await result(handle) == "x"
        events = await told(handle)
        assert [name for name, _ in events] == ["run.attempt", "begun", "on_run_end"]
        assert events[0][1]["attempt"] == 2
        await assert_nothing_is_left(pool)


async def test_what_was_stored_for_a_submission_without_an_answer_is_deleted_in_the_end(
    nats_url: str, lose: Lose, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with host(nats_url) as two:
        async with host(nats_url) as pool:
            await submitted_unheard(pool, lose, job("echo", b"x" * 600_000))
            assert (await size(two, f"OBJ_{two.queue._bucket}"))[1] > 600_000
        assert (await size(two, f"OBJ_{two.queue._bucket}"))[1] < 10_000


def test_submissions_are_kept_for_a_while_and_not_too_many() -> None:
    kept = Submissions()
    for number in range(MOST_KEPT + 2):
        kept.keep(Unanswered(job_id=str(number), digest=b"", data=b"", stored=None, begun=0, at=float(number)))

    assert [each.job_id for each in kept.old(0.0)] == ["0", "1"]
    assert [each.job_id for each in kept.old(4.0)] == ["2", "3"]
    assert kept.again("3", b"") is None and kept.again("4", b"") is not None
    assert queues.DUPLICATES_S >= 120
