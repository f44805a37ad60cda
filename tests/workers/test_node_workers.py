"""The processes behind nodes on workers: who has which, how they are replaced, and how they end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stategraph.errors import ConfigurationError, JobError, WorkerError
from stategraph.workers import close_node_workers, configure_node_workers
from stategraph.workers.nodes import processes
from stategraph.workers.nodes.executor import node_workers
from stategraph.workers.process import launching
from tests.conftest import Driver
from tests.workers import nodes
from tests.workers.test_nodes import graph_of
from tests.workers.test_process import LINUX, ROOT, is_there


@pytest.fixture
def configured() -> Iterator[Callable[..., None]]:
    def configure(**settings: Any) -> None:
        close_node_workers()
        configure_node_workers(**{"workers": 1, "allow": ["tests.workers"], **settings})

    yield configure
    close_node_workers()
    configure_node_workers()


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not is_so():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def test_a_node_runs_in_the_main_thread_of_its_worker_which_is_used_again(
    configured: Callable[..., None], driver: Driver
) -> None:
    configured()

    seen = [driver.invoke(graph_of(nodes.says_where), {"seen": []})["seen"] for _ in range(3)]

    assert seen == [[seen[0][0], True]] * 3 and seen[0][0] != os.getpid()


def test_a_node_that_is_stopped_may_clean_up(
    configured: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    configured()
    monkeypatch.setattr(processes, "_STEPS", (*processes._STEPS[:1], (60.0, signal.SIGKILL)))  # for slow machines
    path = tmp_path / "note"

    async def main() -> None:
        work = asyncio.ensure_future(graph_of(nodes.cleans_up).ainvoke({"path": str(path), "seen": []}))
        await until(lambda: path.with_suffix(".began").exists())
        work.cancel()
        await asyncio.wait([work])
        await until(lambda: path.exists() and path.read_text() == "cleaned up")

    asyncio.run(main())


def test_nothing_but_the_end_of_its_time_interrupts_a_node_that_cleans_up(
    configured: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    configured()
    monkeypatch.setattr(processes, "_STEPS", (*processes._STEPS[:1], (60.0, signal.SIGKILL)))
    path = tmp_path / "note"

    async def main() -> None:
        work = asyncio.ensure_future(graph_of(nodes.cleans_up_slowly).ainvoke({"path": str(path), "seen": []}))
        await until(lambda: path.with_suffix(".began").exists())
        work.cancel()
        await asyncio.wait([work])
        await until(lambda: path.with_suffix(".cleaning").exists())
        os.kill(int(path.with_suffix(".pid").read_text()), signal.SIGTERM)
        await asyncio.sleep(0.6)  # longer than a node has once its host is gone
        path.with_suffix(".told").touch()
        await until(lambda: path.exists() and path.read_text() == "cleaned up")

    asyncio.run(main())


def test_a_node_that_tells_more_than_is_read_waits_and_loses_nothing(
    configured: Callable[..., None], driver: Driver
) -> None:
    configured()

    parts = driver.stream(graph_of(nodes.tells_much), {"number": 2000, "seen": []}, stream_mode="custom")

    assert [each["number"] for each in parts] == list(range(2000))


def test_what_threads_of_a_node_tell_arrives_whole_and_in_the_order_of_each(
    configured: Callable[..., None], driver: Driver
) -> None:
    configured()

    parts = driver.stream(graph_of(nodes.tells_from_threads), {"seen": []}, stream_mode="custom")

    for thread in range(4):
        assert [each for of, each in map(tuple, parts) if of == thread] == list(range(50))


def test_nothing_that_is_told_after_the_end_of_a_node_belongs_to_the_next(
    configured: Callable[..., None], driver: Driver
) -> None:
    configured()
    driver.invoke(graph_of(nodes.leaves_a_thread_that_tells), {"seen": []})

    parts = driver.stream(graph_of(nodes.is_not_told_to), {"seen": []}, stream_mode="custom")

    assert parts == ["mine"]


def test_nodes_share_no_context(configured: Callable[..., None], driver: Driver) -> None:
    configured()
    graph = graph_of(nodes.sets_a_context_variable)

    assert [driver.invoke(graph, {"seen": []})["seen"] for _ in range(2)] == [["not set"]] * 2


def test_a_function_that_returns_an_awaitable_is_awaited_on_its_worker(
    configured: Callable[..., None], driver: Driver
) -> None:
    configured()

    assert driver.invoke(graph_of(nodes.returns_an_awaitable), {"seen": []})["seen"] == ["later"]


def test_a_node_that_exits_fails_and_its_worker_stays(configured: Callable[..., None], driver: Driver) -> None:
    configured()
    (pid, _) = driver.invoke(graph_of(nodes.says_where), {"seen": []})["seen"]

    with pytest.raises(JobError, match="SystemExit: 3"):
        driver.invoke(graph_of(nodes.exits), {"seen": []})

    assert driver.invoke(graph_of(nodes.says_where), {"seen": []})["seen"][0] == pid


def test_nodes_wait_for_a_worker_in_their_order(configured: Callable[..., None]) -> None:
    configured()
    graph = graph_of(nodes.says_where)
    ended: list[int] = []

    async def one(number: int) -> int:
        (pid, _) = (await graph.ainvoke({"seen": []}))["seen"]
        ended.append(number)
        return int(pid)

    async def main() -> list[int]:
        return await asyncio.gather(*map(one, range(8)))

    assert len(set(asyncio.run(main()))) == 1
    assert ended == list(range(8))


def test_a_node_that_is_cancelled_while_it_waits_takes_no_worker_with_it(
    configured: Callable[..., None], tmp_path: Path
) -> None:
    configured()
    path = tmp_path / "pid"

    async def main() -> None:
        holds = asyncio.ensure_future(graph_of(nodes.waits).ainvoke({"path": str(path), "seen": []}))
        await until(lambda: path.exists() and path.read_text() != "")
        waits = [asyncio.ensure_future(graph_of(nodes.says_where).ainvoke({"seen": []})) for _ in range(4)]
        await until(lambda: len(node_workers()._waiting) == 4)
        for each in (waits[0], waits[2], holds):
            each.cancel()
        ended = await asyncio.gather(*waits, return_exceptions=True)
        assert [isinstance(each, BaseException) for each in ended] == [True, False, True, False]

    asyncio.run(main())


def test_a_worker_is_replaced_after_so_many_nodes(configured: Callable[..., None], driver: Driver) -> None:
    configured(max_jobs_per_worker=2)

    pids = [driver.invoke(graph_of(nodes.says_where), {"seen": []})["seen"][0] for _ in range(5)]

    assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4]
    asyncio.run(until(lambda: not is_there(pids[0])))


def test_a_worker_that_has_grown_is_replaced_when_its_node_has_ended(
    configured: Callable[..., None], driver: Driver
) -> None:
    configured(memory_limit_mb=300)
    (first,) = driver.invoke(graph_of(nodes.grows), {"number": 250, "seen": []})["seen"]

    asyncio.run(until(lambda: not is_there(first)))

    assert driver.invoke(graph_of(nodes.says_where), {"seen": []})["seen"][0] != first


def test_the_end_of_the_workers_ends_what_they_do_and_what_waits_for_them(
    configured: Callable[..., None], tmp_path: Path
) -> None:
    configured()
    path = tmp_path / "pid"
    errors: list[BaseException] = []

    def call(graph: Any, given: Any) -> None:
        try:
            graph.invoke(given)
        except WorkerError as error:
            errors.append(error)

    holds = threading.Thread(target=call, args=(graph_of(nodes.waits), {"path": str(path), "seen": []}))
    holds.start()
    asyncio.run(until(lambda: path.exists() and path.read_text() != ""))
    waits = threading.Thread(target=call, args=(graph_of(nodes.says_where), {"seen": []}))
    waits.start()
    asyncio.run(until(lambda: len(node_workers()._waiting) == 1))

    close_node_workers()

    for thread in (waits, holds):
        thread.join(60)
    said = sorted(map(str, errors))
    assert said[0].startswith("The workers for nodes were closed")
    assert "was stopped: the workers for nodes were closed, while it held job 'waits/" in said[1]
    assert not is_there(int(path.read_text()))


@LINUX
def test_workers_end_with_a_program_that_is_killed_even_if_a_node_holds_the_interpreter(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.workers.node_host", str(tmp_path / "pid")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as program:
        assert program.stdout is not None
        pids = [int(each) for each in program.stdout.readline().split()]
        assert len(pids) == 2 and all(map(is_there, pids))
        program.kill()
    asyncio.run(until(lambda: not any(map(is_there, pids))))


def test_workers_that_cannot_start_are_tried_again(
    configured: Callable[..., None], driver: Driver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    configured()
    boot = launching._BOOT
    monkeypatch.setattr(launching, "_BOOT", "import sys; sys.exit(3)")
    node_workers()
    asyncio.run(until(lambda: caplog.text.count("ended with exit status 3") >= 2))

    monkeypatch.setattr(launching, "_BOOT", boot)

    assert driver.invoke(graph_of(nodes.doubles), {"number": 2, "seen": []})["number"] == 4


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"workers": 0}, "'workers' is 0"),
        ({"memory_limit_mb": -1}, "'memory_limit_mb' is -1"),
        ({"max_jobs_per_worker": True}, "'max_jobs_per_worker' is True"),
        ({"preload": "my_app"}, "'preload' is 'my_app', a text"),
    ],
)
def test_settings_that_make_no_sense_are_refused_at_once(
    configured: Callable[..., None], settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        configured(**settings)
