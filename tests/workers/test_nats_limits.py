"""Jobs over NATS whose messages or objects can never be brought over end with an error that says so."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from stategraph.errors import TransferError, WorkerError
from stategraph.workers.cluster import queue as queues
from stategraph.workers.cluster.links import Link, Links
from stategraph.workers.cluster.pool import NatsPool
from stategraph.workers.execution import JobPort, job_target
from stategraph.workers.nats.connection import NatsUnavailableError
from stategraph.workers.wire import pack
from tests.workers.contract import Gate, first, job
from tests.workers.nats_server import NatsServer, serving
from tests.workers.test_nats_pool import assert_nothing_is_left, came, eventually, host, node_here, result
from tests.workers.waiting import until

pytestmark = pytest.mark.anyio

LARGE = 100_000

#: Ends the functions that wait; they run in threads of this process.
released = threading.Event()


def returns_much(given: int) -> bytes:
    released.wait(60)
    return b"x" * given


@job_target
async def waits_for_news(port: JobPort) -> None:
    await port.emit("begun")
    await anyio.sleep_forever()


@pytest.fixture(autouse=True)
def _held() -> Iterator[None]:
    released.clear()
    yield
    released.set()


@contextmanager
def server_that_takes_less(folder: Path) -> Iterator[tuple[NatsServer, Any]]:
    """A server, and how it is made one that takes smaller messages."""
    config = folder / "server.conf"
    config.write_text("max_payload: 1048576\n")
    with serving("-c", str(config)) as server:

        def take_less() -> None:
            config.write_text("max_payload: 32768\n")
            server.start()

        yield server, take_less


def here(name: str, value: Any = None, **options: Any) -> Any:
    given = job("double", value, **options)
    return type(given)(**{**{key: getattr(given, key) for key in given.__slots__}, "target": f"{__name__}:{name}"})


async def test_what_a_node_said_to_a_server_that_takes_less_now_ends_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, link = list[Link](), Links.link

    def noted(self: Links, *arguments: Any) -> Link:
        made.append(link(self, *arguments))
        return made[-1]

    monkeypatch.setattr(Links, "link", noted)
    with server_that_takes_less(tmp_path) as (server, take_less):
        async with host(server.url, 1) as pool:
            handle = await pool.submit(here("returns_much", LARGE))
            await until(lambda: handle.worked)
            await anyio.to_thread.run_sync(server.stop)
            await until(lambda: not pool.session.is_up)
            released.set()
            (of_node,) = [each for each in made if each._links is not pool.links]
            await until(lambda: bool(of_node.channel.unacknowledged()))
            await anyio.to_thread.run_sync(take_less)

            with pytest.raises(TransferError, match=r"takes messages of at most 32,768 \(max_payload\): give all"):
                await result(handle)
            assert await result(await pool.submit(job("double", 2, id="after"))) == 4
            await assert_nothing_is_left(pool)


async def test_what_a_host_said_to_a_server_that_takes_less_now_ends_the_job(tmp_path: Path) -> None:
    with server_that_takes_less(tmp_path) as (server, take_less):
        async with host(server.url, 1) as pool:
            handle = await pool.submit(here("waits_for_news"))
            await first(handle, "begun")
            await anyio.to_thread.run_sync(server.stop)
            await until(lambda: not pool.session.is_up)
            handle.tell("news", "x" * LARGE)
            await anyio.to_thread.run_sync(take_less)

            with pytest.raises(WorkerError, match=r"was given up, as a message .* takes messages of at most 32,768"):
                await result(handle)
            assert await result(await pool.submit(job("double", 2, id="after"))) == 4
            await assert_nothing_is_left(pool)


async def test_a_job_that_waits_and_does_not_fit_through_a_server_that_takes_less_now_fails(tmp_path: Path) -> None:
    with server_that_takes_less(tmp_path) as (server, take_less):
        async with host(server.url, ack_wait_s=0.2) as pool:
            handle = await pool.submit(job("echo", b"x" * LARGE))
            await anyio.to_thread.run_sync(server.stop)
            await until(lambda: not pool.session.is_up)
            pool._placed["job"].number = 7  # as if the server had lost its disk
            await anyio.to_thread.run_sync(take_less)

            with pytest.raises(TransferError, match=r"Job 'job' has .* bytes, and the NATS server takes messages of"):
                await result(handle)


async def damage(pool: NatsPool, keep: int) -> None:
    """Delete parts of the object in a pool's bucket."""
    bucket = pool.queue._bucket

    async def delete(js: Any) -> None:
        (name,) = [each.name for each in await (await js.object_store(bucket)).list()]
        about = await (await js.object_store(bucket)).get_info(name)
        await js.purge_stream(f"OBJ_{bucket}", subject=f"$O.{bucket}.C.{about.nuid}", keep=keep)

    await pool.session.jetstream(delete)


@pytest.mark.parametrize("keep", [0, 2])
async def test_a_job_whose_object_lacks_parts_is_a_dead_letter(nats_url: str, keep: int) -> None:
    async with host(nats_url) as pool:
        handle = await pool.submit(job("echo", b"x" * 600_000))
        await damage(pool, keep)
        async with node_here(nats_url):
            with pytest.raises(WorkerError, match=rf"lacks parts in the NATS server: {keep} of \d are there"):
                await result(handle)
            (letter,) = await eventually(pool.dead_letters)
            assert letter.job_id == "job" and "lacks parts" in letter.reason
            assert await result(await pool.submit(job("double", 2, id="after"))) == 4


async def test_an_object_that_is_not_what_was_stored_is_named(nats_url: str) -> None:
    async with host(nats_url) as pool:
        name = await pool.queue.store(b"x" * 300_000)

        async def spoil(js: Any) -> None:
            bucket = pool.queue._bucket
            about = await (await js.object_store(bucket)).get_info(name)
            chunk = f"$O.{bucket}.C.{about.nuid}"
            await js.purge_stream(f"OBJ_{bucket}", subject=chunk, keep=about.chunks - 1)
            await js.publish(chunk, b"something else")

        await pool.session.jetstream(spoil)
        with pytest.raises(TransferError, match="is damaged in the NATS server: DigestMismatchError"):
            await pool.queue.load(name)


async def test_an_object_that_the_server_does_not_give_is_not_asked_for_without_end(
    nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def unanswered(self: Any, name: str) -> bytes:
        asked.append(name)
        raise NatsUnavailableError("no answer")

    monkeypatch.setattr(queues.JobQueue, "load", unanswered)
    async with host(nats_url, 1, max_attempts=2) as pool:
        with pytest.raises(WorkerError, match="it was begun 2 times"):
            await result(await pool.submit(job("grown", 600_000)))
        assert len(asked) == 10
        monkeypatch.undo()
        assert await result(await pool.submit(job("double", 2, id="after"))) == 4


@pytest.mark.parametrize("answer", [b"\xc1", pack(("job", 1)), pack((7,)), pack((("job", "x"),))])
async def test_an_answer_that_a_node_cannot_read_does_not_end_it(
    nats_url: str, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    gate, asked = Gate(), 0

    def answers(self: Any, message: Any) -> None:
        nonlocal asked
        asked += 1
        self._spawn(self.session.publish(message.reply, answer))

    monkeypatch.setattr(NatsPool, "_told_held", answers)
    async with host(nats_url, 1) as pool:
        handle = await pool.submit(job("waits_for_the_host", "x"), calls=gate.calls)
        await came(gate)
        await until(lambda: asked >= 2)
        gate.opened.set()
        assert await result(handle) == "x"
        assert await result(await pool.submit(job("double", 2, id="after"))) == 4
