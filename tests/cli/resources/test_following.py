"""Commands that follow changes go on where the log has lost some of them."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stategraph.cli import main
from stategraph.resources.loading import load_text
from stategraph.resources.model import ResourceKey
from stategraph.resources.runtime import Runtime
from stategraph.resources.store.database import DatabaseStore
from stategraph.resources.store.following import changes_over_gaps
from stategraph.resources.store.opening import open_store
from stategraph.resources.store.port import Change
from tests.cli.resources.conftest import STORE, condition

LIMIT_S = 60
CHEF = ResourceKey("agent", "kitchen", "chef")

SECRET = """\
apiVersion: stategraph.dev/v1
kind: Secret
metadata: {name: %s, namespace: kitchen}
spec: {valueFrom: {env: X}}
"""


async def forget(folder: Path, *, deleted: tuple[str, ...] = ()) -> None:
    """Make changes whose beginning the log does not have any more."""
    store = open_store(f"sqlite:///{folder}/app.db")
    assert isinstance(store, DatabaseStore)
    store._log_rows = 2
    try:
        for each in deleted:
            await store.delete(ResourceKey.parse(each))
        await store.apply([each for number in range(10) for each in load_text(SECRET % f"s{number}")])
    finally:
        await store.close()


async def make_ready(folder: Path) -> None:
    store = open_store(f"sqlite:///{folder}/app.db")
    try:
        chef = await store.get(CHEF)
        assert chef is not None
        await store.put_status(replace(chef, status={"conditions": [condition(chef, "Ready", "Ready")]}))
    finally:
        await store.close()


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """An event that is set when somebody begins to watch a store."""
    begun = threading.Event()
    watch = DatabaseStore.watch

    async def seen(self: DatabaseStore, from_version: int) -> AsyncIterator[Change]:
        begun.set()
        changes: Any = watch(self, from_version)
        async with aclosing(changes):
            async for each in changes:
                yield each

    monkeypatch.setattr(DatabaseStore, "watch", seen)
    return begun


@contextmanager
def apart(work: Callable[[], object]) -> Iterator[Future[object]]:
    """Begin work in a thread, and yield its result to be."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(work)


def test_wait_goes_on_over_a_gap_in_the_log(kitchen: Path, watched: threading.Event) -> None:
    with apart(lambda: main(["wait", "agent/chef", "-n", "kitchen", "--timeout", "60", *STORE])) as waiting:
        assert watched.wait(LIMIT_S)
        asyncio.run(forget(kitchen))
        asyncio.run(make_ready(kitchen))
        assert waiting.result(LIMIT_S) == 0


def test_a_runtime_waits_over_a_gap_in_the_log(kitchen: Path, watched: threading.Event) -> None:
    async def wait() -> bool:
        runtime = Runtime.from_url("sqlite:///app.db")
        try:
            return (await runtime.wait(CHEF, timeout=60)).is_ready
        finally:
            await runtime.stop()

    with apart(lambda: asyncio.run(wait())) as waiting:
        assert watched.wait(LIMIT_S)
        asyncio.run(forget(kitchen))
        asyncio.run(make_ready(kitchen))
        assert waiting.result(LIMIT_S) is True


def test_get_lists_again_what_the_log_has_lost_and_goes_on(kitchen: Path) -> None:
    command = [sys.executable, "-m", "stategraph", "get", "-A", "-w", *STORE]
    with subprocess.Popen(command, cwd=kitchen, stdout=subprocess.PIPE, text=True) as process:
        watch = threading.Timer(LIMIT_S, process.kill)
        watch.start()
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(4)]
            assert "suggest" in lines[-1], lines
            asyncio.run(forget(kitchen, deleted=("model/kitchen/default",)))
            told = [process.stdout.readline() for _ in range(11)]
            assert "model/kitchen/default is deleted\n" in told
            named = {found[0] for each in told if (found := re.search(r"\bs\d\b", each))}
            assert named == {f"s{number}" for number in range(10)}, told
            asyncio.run(make_ready(kitchen))
            assert re.search(r"chef .*True", process.stdout.readline())
        finally:
            watch.cancel()
            process.kill()


async def _two(store: Any) -> list[Change | None]:
    found: list[Change | None] = []
    changes: Any = changes_over_gaps(store, 0)
    async with aclosing(changes):
        async for each in changes:
            found.append(each)
            if len(found) == 2:
                break
    return found


def test_a_gap_is_told_once_and_what_comes_after_it_is_yielded(tmp_path: Path) -> None:
    async def follow() -> list[Change | None]:
        await forget(tmp_path)
        store = open_store(f"sqlite:///{tmp_path}/app.db")
        try:
            both = asyncio.create_task(_two(store))
            await asyncio.sleep(0)
            while not both.done():
                await store.apply(load_text(SECRET % "later"))
                await store.delete(ResourceKey.parse("secret/kitchen/later"))
                await asyncio.wait({both}, timeout=0.05)
            return both.result()
        finally:
            await store.close()

    gap, change = asyncio.run(follow())
    assert gap is None
    assert change is not None and change.key.name == "later"
