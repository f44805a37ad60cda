"""Workers that are processes: how they die, what they are given, what they may use."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from stategraph.errors import AbortError, ConfigurationError, JobTimeoutError, TransferError, WorkerError
from stategraph.workers.process import framing, launching, limits, supervisor
from stategraph.workers.process.supervisor import ProcessPool
from tests.workers.contract import Gate, first, job
from tests.workers.waiting import until

ROOT = Path(__file__).resolve().parents[2]
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells it on Linux alone")


def run(work: Callable[[ProcessPool], Awaitable[None]], workers: int = 1, **settings: Any) -> None:
    async def main() -> None:
        async with asyncio.timeout(60), ProcessPool(workers, allow=["tests.workers"], **settings) as pool:
            await work(pool)

    asyncio.run(main())


def is_there(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for by its new parent does not."""
    try:
        os.kill(pid, 0)
        return sys.platform != "linux" or Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


async def result_of(pool: ProcessPool, name: str, given: Any = None, **fields: Any) -> Any:
    return await (await pool.submit(job(name, given, **fields))).result()


def test_a_worker_that_is_killed_is_named_with_the_job_that_it_held() -> None:
    async def work(pool: ProcessPool) -> None:
        pid = await result_of(pool, "tells_its_process", id="before")

        with pytest.raises(WorkerError) as caught:
            await result_of(pool, "is_killed", id="fatal")

        said = f"Worker 'process-1' (process {pid}) was killed by signal 9 (SIGKILL), while it held job 'fatal'"
        assert str(caught.value) == said
        health = await pool.health()
        assert (health.restarts, health.last_error) == (1, said)
        assert await result_of(pool, "tells_its_process", id="after") != pid
        assert pool.statistics().failed == 1

    run(work)


def test_jobs_that_share_a_worker_are_all_told_that_it_died() -> None:
    async def work(pool: ProcessPool) -> None:
        gate = Gate()
        other = await pool.submit(job("waits_for_the_host", 1, id="other"), calls=gate.calls)
        await first(other, "begun")

        with pytest.raises(WorkerError, match=r"exit status 7, while it held job 'fatal' \(and 'other'\)"):
            await result_of(pool, "leaves", 7, id="fatal")
        with pytest.raises(WorkerError, match=r"while it held job 'other' \(and 'fatal'\)"):
            await other.result()

    run(work, max_concurrency_per_worker=2)


def test_events_that_came_before_a_worker_died_are_kept() -> None:
    async def work(pool: ProcessPool) -> None:
        gate = Gate()
        handle = await pool.submit(job("waits_for_the_host", 1), calls=gate.calls)
        await first(handle, "begun")
        (worker,) = pool.statistics().workers
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)

        events = [event async for event in handle.events()]
        assert [event.event for event in events] == ["begun", "on_run_end"]
        assert events[1].data == {"status": "failed", "error": {"type": "WorkerError"}}

    run(work)


def test_a_task_that_loops_for_ever_is_stopped_at_its_deadline() -> None:
    async def work(pool: ProcessPool) -> None:
        pid = await result_of(pool, "tells_its_process", id="before")

        with pytest.raises(JobTimeoutError, match="'endless' had not ended at its deadline"):
            await result_of(pool, "loops_for_ever", id="endless", kind="task", deadline=time.time() + 0.2)

        await until(lambda: not is_there(pid))
        assert await result_of(pool, "double", 2, id="after") == 4
        assert (await pool.health()).restarts == 0  # stopped, not crashed

    run(work)


def test_a_task_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    async def work(pool: ProcessPool) -> None:
        await result_of(pool, "double", 1, id="before")
        handle = await pool.submit(job("ignores_sigterm", str(tmp_path / "pid"), kind="task"))
        await until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() != "")
        pid = int((tmp_path / "pid").read_text())

        assert await handle.cancel("too slow")

        with pytest.raises(AbortError, match="too slow"):
            await handle.result()
        await until(lambda: not is_there(pid))
        assert await result_of(pool, "double", 2, id="after") == 4

    run(work, grace_s=0.1)


def test_a_job_that_takes_no_notice_of_being_cancelled_is_stopped_with_its_worker() -> None:
    async def work(pool: ProcessPool) -> None:
        handle = await pool.submit(job("will_not_end"))
        await first(handle, "begun")

        assert await handle.cancel()

        assert await result_of(pool, "double", 2, id="after") == 4

    run(work, grace_s=0.05)


@LINUX
def test_workers_end_with_their_host_even_if_they_hold_the_interpreter(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    host = subprocess.Popen(
        [sys.executable, "-m", "tests.workers.host", str(mark)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert host.stdout is not None
        pids = [int(each) for each in host.stdout.readline().split()]
        assert len(pids) == 2

        async def wait() -> None:
            async with asyncio.timeout(30):
                await until(lambda: mark.exists() and mark.read_text() != "")
            host.kill()
            async with asyncio.timeout(2):
                await until(lambda: not any(map(is_there, pids)))

        asyncio.run(wait())
    finally:
        host.kill()
        host.wait()
        assert host.stdout is not None
        host.stdout.close()


def test_a_worker_ends_when_its_connection_does() -> None:
    async def work(pool: ProcessPool) -> None:
        pid = await result_of(pool, "tells_its_process", id="before")
        await pool.submit(job("loops_for_ever"))
        (seat,) = pool._seats
        link = seat.link
        assert isinstance(link, supervisor.ProcessLink) and link._framed is not None

        link._framed.close()

        await until(lambda: not is_there(pid))

    run(work)


def test_workers_do_not_get_the_environment_of_their_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_KEY", "secret")
    monkeypatch.setenv("OTHER_KEY", "secret")

    async def work(pool: ProcessPool) -> None:
        seen = await result_of(pool, "tells_its_environment")
        assert (seen.get("MODEL_KEY"), seen.get("OTHER_KEY"), seen["OWN"]) == ("secret", None, "1")
        assert seen["PATH"] == os.environ["PATH"]
        extra = set(seen) - limits.KEPT - {"MODEL_KEY", "OWN"}
        assert [name for name in extra if not name.startswith(limits.KEPT_PREFIXES)] == []

    run(work, pass_environment=["MODEL_KEY"], environment={"OWN": "1"})


@LINUX
def test_workers_inherit_no_file_but_their_connection(tmp_path: Path) -> None:
    async def work(pool: ProcessPool) -> None:
        files = await result_of(pool, "tells_its_descriptors")
        assert [each for each in files if str(tmp_path) in each] == []
        # Input, output, errors; the event loop's poll and socket pair; the connection.
        assert len(files) <= 7
        assert "0 /dev/null" in files

    with (tmp_path / "open").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        run(work)


def test_a_worker_is_replaced_after_so_many_jobs() -> None:
    async def work(pool: ProcessPool) -> None:
        pids = [await result_of(pool, "tells_its_process", id=str(number)) for number in range(5)]
        assert pids[0] == pids[1] and pids[2] == pids[3]
        assert len(set(pids)) == 3
        assert pool.statistics().recycled == 2
        assert (await pool.health()).restarts == 0

    run(work, max_jobs_per_worker=2)


@LINUX
def test_a_worker_that_grows_far_beyond_its_memory_limit_is_killed_with_its_job() -> None:
    async def work(pool: ProcessPool) -> None:
        with pytest.raises(WorkerError, match=r"was stopped: it used \d+ MiB .* limit is 150 MiB, while it held job"):
            await result_of(pool, "grows", 400_000_000)
        assert await result_of(pool, "double", 2, id="after") == 4

    run(work, memory_limit_mb=150)


@LINUX
def test_a_worker_that_has_grown_beyond_its_memory_limit_is_replaced_after_its_job() -> None:
    async def work(pool: ProcessPool) -> None:
        pid = await result_of(pool, "keeps", 140_000_000, id="large")
        await until(lambda: pool.statistics().recycled >= 1)
        await until(lambda: not is_there(pid))
        assert await result_of(pool, "tells_its_process", id="after") != pid

    run(work, memory_limit_mb=150)


def test_a_message_that_is_too_long_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(pool: ProcessPool) -> None:
        assert await result_of(pool, "double", 1, id="before") == 2
        monkeypatch.setattr(framing, "MOST_BYTES", 1000)
        with pytest.raises(TransferError, match=r"'job' has [\d,]+ bytes; at most 1,000 can be sent"):
            await result_of(pool, "echo", b"x" * 2000, id="large")
        assert await result_of(pool, "double", 2, id="after") == 4

    run(work)


def test_workers_that_cannot_start_are_named_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(pool: ProcessPool) -> None:
        handle = await pool.submit(job("double", 2))
        while (await pool.health()).restarts < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert "ended with exit status 3" in str((await pool.health()).last_error)
        monkeypatch.setattr(launching, "_BOOT", boot)

        assert await handle.result() == 4

    boot = launching._BOOT
    monkeypatch.setattr(launching, "_BOOT", "import sys; sys.exit(3)")
    run(work)


@pytest.mark.parametrize("error", [OSError("no more processes"), DeprecationWarning("an error by the host's choice")])
def test_whatever_keeps_a_process_from_starting_is_told_and_the_pool_still_ends(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    start = asyncio.create_subprocess_exec

    async def fails(*command: str, **options: Any) -> Any:
        monkeypatch.setattr(asyncio, "create_subprocess_exec", start)
        raise error

    async def work(pool: ProcessPool) -> None:
        handle = await pool.submit(job("double", 2))
        assert await handle.result() == 4
        health = await pool.health()
        assert health.restarts == 1
        assert "could not be started" in str(health.last_error) and str(error) in str(health.last_error)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", fails)
    run(work)


def test_what_fails_behind_the_start_of_a_process_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[asyncio.subprocess.Process] = []
    start = asyncio.create_subprocess_exec

    async def noted(*command: str, **options: Any) -> Any:
        started.append(await start(*command, **options))
        return started[-1]

    def unfit(*args: Any) -> Any:
        monkeypatch.setattr(supervisor, "Framed", framing.Framed)
        raise RuntimeError("no connection")

    async def work(pool: ProcessPool) -> None:
        handle = await pool.submit(job("double", 2))
        assert await handle.result() == 4
        assert "RuntimeError('no connection')" in str((await pool.health()).last_error)
        assert await started[0].wait() == -signal.SIGKILL

    monkeypatch.setattr(asyncio, "create_subprocess_exec", noted)
    monkeypatch.setattr(supervisor, "Framed", unfit)
    run(work)


def test_a_job_whose_workers_cannot_start_can_be_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(pool: ProcessPool) -> None:
        handle = await pool.submit(job("double", 2))
        await pool.aclose()
        with pytest.raises((AbortError, WorkerError)):
            await handle.result()

    monkeypatch.setattr(launching, "_BOOT", "import sys; sys.exit(3)")
    run(work)


def test_limits_that_make_no_sense_are_refused() -> None:
    for settings in ({"memory_limit_mb": 0}, {"max_jobs_per_worker": 0}, {"max_concurrency_per_worker": True}):
        with pytest.raises(ConfigurationError, match="expected"):
            ProcessPool(1, **settings)
