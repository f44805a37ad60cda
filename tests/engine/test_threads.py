"""The pool of worker threads: it reuses, it shrinks, it finishes what was begun, and it survives a fork."""

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from queue import Empty, SimpleQueue
from types import SimpleNamespace
from typing import Any

import pytest

from stategraph.engine.tasks import threads
from stategraph.engine.tasks.threads import Pool

TIMEOUT_S = 60.0


@pytest.fixture
def pool() -> Iterator[Pool]:
    made = Pool()
    yield made
    made.finish()


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread does right after it reported."""
    limit = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < limit, "it never came true"
        time.sleep(0.001)


def test_a_result_and_an_error_reach_whoever_waits(pool: Pool) -> None:
    assert pool.submit(divmod, 7, 2).result(TIMEOUT_S) == (3, 1)
    assert pool.submit(dict, a=1).result(TIMEOUT_S) == {"a": 1}
    assert isinstance(pool.submit(divmod, 7, 0).exception(TIMEOUT_S), ZeroDivisionError)


def test_an_error_that_is_no_exception_leaves_the_thread_working(pool: Pool) -> None:
    def leave() -> None:
        raise SystemExit(3)

    assert isinstance(pool.submit(leave).exception(TIMEOUT_S), SystemExit)
    assert pool.submit(int, "4").result(TIMEOUT_S) == 4


def test_idle_threads_are_reused(pool: Pool) -> None:
    used = set()
    for _ in range(50):
        used.add(pool.submit(threading.get_ident).result(TIMEOUT_S))
        until(lambda: pool.spare_count() == pool.thread_count())
    assert len(used) == 1


def test_work_never_waits_for_a_thread(pool: Pool) -> None:
    together = threading.Barrier(40)
    futures = [pool.submit(together.wait, TIMEOUT_S) for _ in range(40)]
    assert {future.result(TIMEOUT_S) for future in futures} == set(range(40))


def test_work_that_waits_for_work_does_not_deadlock(pool: Pool) -> None:
    def down(levels: int) -> int:
        return 0 if levels == 0 else 1 + pool.submit(down, levels - 1).result(TIMEOUT_S)

    assert pool.submit(down, 30).result(TIMEOUT_S) == 30


def test_a_thread_that_stays_idle_ends() -> None:
    pool = Pool(idle_s=0.01)
    together = threading.Barrier(3)
    wait([pool.submit(together.wait, TIMEOUT_S) for _ in range(3)], TIMEOUT_S)
    until(lambda: pool.thread_count() == 0)
    assert pool.submit(int, "1").result(TIMEOUT_S) == 1


def test_nothing_is_lost_between_a_thread_that_gives_up_and_one_who_needs_it() -> None:
    pool = Pool(idle_s=0.0)
    for i in range(300):
        assert pool.submit(int, i).result(TIMEOUT_S) == i


def test_many_submitters_at_once_lose_nothing(pool: Pool) -> None:
    def submitter(n: int) -> int:
        return sum(pool.submit(int, i).result(TIMEOUT_S) for i in range(n))

    futures = [pool.submit(submitter, 100) for _ in range(8)]
    assert [future.result(TIMEOUT_S) for future in futures] == [4950] * 8
    assert pool.thread_count() < 64


def test_a_short_job_frees_its_thread_for_the_next(pool: Pool) -> None:
    wait([pool.submit(int, i) for i in range(1000)], TIMEOUT_S)
    until(lambda: pool.spare_count() == pool.thread_count())
    before = pool.thread_count()
    for _ in range(5):
        wait([pool.submit(int, i) for i in range(before)], TIMEOUT_S)
        until(lambda: pool.spare_count() == pool.thread_count())
    assert pool.thread_count() == before


def test_what_was_cancelled_before_it_began_does_not_run() -> None:
    ran: list[int] = []
    cancelled: Future[None] = Future()
    assert cancelled.cancel()
    threads._run(cancelled, ran.append, (1,), {})
    assert ran == []


def test_a_thread_that_cannot_start_leaves_no_work_behind(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    ran: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start"):
            pool.submit(ran.append, 1)
    assert pool.thread_count() == 0
    pool.submit(ran.append, 2).result(TIMEOUT_S)
    assert ran == [2]


def test_finish_waits_for_work_and_for_what_that_work_needs() -> None:
    pool = Pool()
    go, begun = threading.Event(), threading.Event()
    done = []

    def work() -> None:
        begun.set()
        go.wait(TIMEOUT_S)
        done.append(pool.submit(int, "1").result(TIMEOUT_S))

    pool.submit(work)
    begun.wait(TIMEOUT_S)
    finisher = threading.Thread(target=pool.finish)
    finisher.start()
    go.set()
    finisher.join(TIMEOUT_S)
    assert not finisher.is_alive()
    assert done == [1]
    assert pool.thread_count() == 0


class Looks(SimpleQueue[Any]):
    """A pool's queue that counts how often a thread found nothing in it, and how long it was ready to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waits_s: list[float | None] = []

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        try:
            return super().get(block, timeout)
        except Empty:
            self.waits_s.append(timeout)
            raise


class Lost(list[None]):
    """Tokens that are gone at once: each was taken for a job that never comes."""

    def append(self, token: None) -> None:
        pass


def without_its_token(idle_s: float) -> tuple[Pool, Looks]:
    """A pool with an idle thread that is counted on for a job that never comes."""
    pool = Pool(idle_s)
    pool._jobs, pool._spare = looks, _ = Looks(), Lost()
    assert pool.submit(int).result(TIMEOUT_S) == 0
    return pool, looks


def test_a_thread_that_is_counted_on_stays_as_long_as_the_pool_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_CLOSING_S", 0.001)
    pool, looks = without_its_token(idle_s=0.002)
    until(lambda: len(looks.waits_s) > 2 * threads._CLOSING_LOOKS)
    assert pool.thread_count() == 1
    assert set(looks.waits_s) == {0.002}
    pool.finish()


def test_the_exit_does_not_wait_for_a_thread_whose_job_never_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_CLOSING_S", 0.001)
    pool, looks = without_its_token(idle_s=0.05)
    finisher = threading.Thread(target=pool.finish, daemon=True)
    finisher.start()
    finisher.join(TIMEOUT_S)
    assert not finisher.is_alive()
    assert pool.thread_count() == 0
    assert looks.waits_s.count(0.001) >= threads._CLOSING_LOOKS - 1


def test_it_serves_an_event_loop(pool: Pool) -> None:
    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(pool, int, i) for i in range(10)))

    assert asyncio.run(main()) == list(range(10))


def test_a_waiting_thread_holds_nothing_of_its_last_work(pool: Pool) -> None:
    class Thing:
        def work(self) -> None:
            pass

    thing = Thing()
    gone = weakref.ref(thing)
    pool.submit(thing.work).result(TIMEOUT_S)
    del thing
    until(lambda: pool.spare_count() == pool.thread_count())
    gc.collect()
    assert gone() is None


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


class _Overtaken(SimpleQueue[Any]):
    """A queue in which a thread that waits is overtaken once by another, when it is told to end."""

    def __init__(self, begin: threading.Event) -> None:
        super().__init__()
        self.waiting: threading.Thread | None = None
        self._begin = begin

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        job = super().get(block, timeout)
        if job is None and threading.current_thread() is self.waiting:
            self.waiting = None
            self._begin.set()  # the other one comes to the end of its work
            self.put(None)
            until(lambda: self.qsize() == 0)  # and takes this
            job = super().get(block, timeout)
        return job


def test_finish_ends_a_thread_whose_word_another_one_took() -> None:
    pool, begin = Pool(idle_s=600.0), threading.Event()
    jobs = pool._jobs = _Overtaken(begin)
    busy = pool.submit(begin.wait)
    jobs.waiting = pool.submit(threading.current_thread).result(TIMEOUT_S)
    until(lambda: pool.spare_count() == 1)
    finisher = threading.Thread(target=pool.finish, daemon=True)
    finisher.start()
    finisher.join(TIMEOUT_S)
    assert not finisher.is_alive()
    assert busy.result(0)


def finishes(pool: Pool) -> bool:
    """Whether a pool comes to its end."""
    finisher = threading.Thread(target=pool.finish, daemon=True)
    finisher.start()
    finisher.join(TIMEOUT_S)
    return not finisher.is_alive()


def test_finish_waits_for_a_thread_that_is_being_started(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool()
    starting = threading.Thread(target=lambda: pool._threads.discard(starting))
    pool._threads = {starting}
    # It starts while the exit waits for that: the exit has seen it, and has not joined it.
    clock = SimpleNamespace(sleep=lambda _: starting.start())
    monkeypatch.setattr(threads, "environment", SimpleNamespace(SYSTEM=SimpleNamespace(clock=clock)))
    assert finishes(pool)
    assert pool.thread_count() == 0


class _Cut(set[threading.Thread]):
    """The threads of a pool; an exception of a signal handler comes right after the first is noted."""

    def add(self, thread: threading.Thread) -> None:
        super().add(thread)
        raise KeyboardInterrupt


def test_finish_waits_for_no_thread_whose_start_was_cut_off() -> None:
    pool = Pool()
    pool._threads = _Cut()
    with pytest.raises(KeyboardInterrupt):
        pool.submit(int)
    assert pool.thread_count() == 0
    assert finishes(pool)


def test_running_work_is_finished_at_the_interpreters_exit() -> None:
    done = run_python(
        "import time\n"
        "from stategraph.engine.tasks import threads\n"
        "threads.submit(int).result()\n"
        "threads.submit(lambda: (time.sleep(0.3), print('finished')))\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "finished\n", "")


def test_idle_threads_do_not_delay_the_exit() -> None:
    began = time.monotonic()
    done = run_python("from stategraph.engine.tasks import threads\nthreads.submit(int).result()\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert time.monotonic() - began < threads.IDLE_S / 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
def test_a_forked_child_gets_threads_of_its_own() -> None:
    done = run_python(
        "import os, warnings\n"
        "warnings.simplefilter('ignore')\n"
        "from stategraph.engine.tasks import threads\n"
        "assert threads.submit(int, '1').result(10) == 1\n"
        "child = os.fork()\n"
        "answer = threads.submit(int, '2').result(10)\n"
        "if child == 0:\n"
        "    os._exit(answer)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2\n"
    )
    assert (done.returncode, done.stderr) == (0, "")


# --- as an event loop sees it ---


def in_a_loop(function: Callable[..., object], *args: object) -> object:
    async def main() -> object:
        return await asyncio.get_running_loop().run_in_executor(threads.pool(), function, *args)

    return asyncio.run(main())


def test_a_loop_gets_results_and_exceptions() -> None:
    assert in_a_loop(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        in_a_loop(divmod, 7, 0)


def test_what_no_coroutine_may_raise_is_wrapped() -> None:
    with pytest.raises(RuntimeError, match="StopIteration") as caught:
        in_a_loop(next, iter(()))
    assert isinstance(caught.value.__cause__, StopIteration)


def test_a_cancelled_future_inside_is_a_cancelled_call() -> None:
    def waits_for_a_cancelled_one() -> None:
        future: Future[None] = Future()
        future.cancel()
        future.result()

    with pytest.raises(asyncio.CancelledError):
        in_a_loop(waits_for_a_cancelled_one)


def test_a_call_that_was_given_up_before_it_began_is_not_made() -> None:
    own = threads.LoopPool(Pool(idle_s=0.01))
    called = threading.Event()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        future = own.submit(called.set)
        telling = threads._Telling(loop, future)
        assert telling.set_running_or_notify_cancel()
        future.cancel()
        assert not telling.set_running_or_notify_cancel()

    asyncio.run(main())


def test_a_call_may_end_after_its_loop() -> None:
    own = Pool(idle_s=0.01)
    go, done = threading.Event(), threading.Event()

    def late() -> None:
        go.wait(10)
        done.set()

    async def main() -> None:
        threads.LoopPool(own).submit(late)

    asyncio.run(main())
    go.set()
    assert done.wait(10)
    own.finish()
    assert own.thread_count() == 0


def test_a_ticket_runs_or_is_cancelled_but_never_both() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        assert go_on.wait(TIMEOUT_S)

    running = threads.Ticket()
    threads.start(running, wait)
    assert begun.wait(TIMEOUT_S)
    assert not running.cancel()
    go_on.set()

    refused = threads.Ticket()
    assert refused.cancel()
    assert not refused.cancel()
    assert not refused.set_running_or_notify_cancel()


def test_a_loop_that_refuses_an_answer_and_is_not_closed_is_an_error() -> None:
    class Refusing:
        closed = False

        def call_soon_threadsafe(self, *_: object) -> None:
            raise RuntimeError("not now")

        def is_closed(self) -> bool:
            return self.closed

    loop = Refusing()
    telling = threads._Telling(loop, Future())  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="not now"):
        telling.set_result(1)
    loop.closed = True
    telling.set_result(1)
