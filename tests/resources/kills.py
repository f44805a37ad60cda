"""Kill the controller's process at every transaction of its work, and see that the next one ends in the same state.

    python -m tests.resources.kills --points 5 --seed 1     # some points at random
    python -m tests.resources.kills                         # all of them

Each trial has a file of its own: documents are applied, a process that reconciles them is killed before or after its
n-th transaction that writes, and the next one is left alone; then other documents are applied and some deleted, and it
is all done again. Nothing may differ from a trial in which nobody is killed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stategraph.resources import Resource, Runtime, load_text
from stategraph.resources.store.opening import open_store
from stategraph.workers.registry.sqlite import SqliteDatabase, SqliteSession
from tests.resources.kit import PART, CleaningParts, part, state

SYSTEM = """apiVersion: stategraph.dev/v1
kind: System
metadata: {name: s}
spec:
  resources:
    - {kind: Part, name: x, spec: {value: 1}}
    - {kind: Part, name: y, spec: {needs: [x, a]}}
    - {kind: System, name: inner, spec: {resources: [{kind: Part, name: z, spec: {needs: [y]}}]}}
"""

FIRST = [part("a", value=1), part("b", needs=["a"]), part("bad", valu=1), part("gone", needs=["b"])]
SECOND = [part("a", value=2), part("bad", value=3), part("b", needs=["a"], fail="invalid")]


def apply_first(url: str) -> None:
    _apply(url, [*FIRST, *load_text(SYSTEM)], ())


def apply_second(url: str) -> None:
    system = load_text(SYSTEM.replace("    - {kind: Part, name: x, spec: {value: 1}}\n", "").replace("[x, a]", "[a]"))
    _apply(url, [*SECOND, *system], ("part/gone",))


def _apply(url: str, resources: list[Resource], deleted: tuple[str, ...]) -> None:
    async def run() -> None:
        runtime = Runtime(open_store(url), environment={})
        runtime.define_kind(PART, CleaningParts())
        await runtime.apply(resources)
        for each in deleted:
            await runtime.delete(each)
        await runtime.stop()

    asyncio.run(run())


def reconcile(url: str) -> dict[str, Any]:
    """Reconcile everything once, and return what it came to."""

    async def run() -> dict[str, Any]:
        runtime = Runtime.from_url(url, environment={})
        runtime.define_kind(PART, CleaningParts())
        async with runtime:
            await runtime.settled(60)
            compiled = {str(key): each.value for key, each in sorted(runtime._shared.compiled.items())}
            return {"resources": state(await runtime.list()), "compiled": compiled}

    return asyncio.run(run())


def killed(work: Callable[[], object], at: int, *, after: bool) -> bool:
    """Do some work in a process that is killed at its n-th transaction that writes; returns whether it came to that."""
    child = os.fork()
    if child == 0:
        _kill_at(at, after=after)
        try:
            work()
        except BaseException as error:
            print(f"the process that was to be killed failed: {error!r}", file=sys.stderr)
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return True
    assert os.WIFEXITED(status), status
    assert os.WEXITSTATUS(status) == 0, status
    return False


def _kill_at(at: int, *, after: bool) -> None:
    count = 0
    transaction = SqliteDatabase.transaction

    @contextmanager
    def counted(self: SqliteDatabase, *, write: bool = True, durable: bool = False) -> Iterator[SqliteSession]:
        nonlocal count
        with transaction(self, write=write, durable=durable) as session:
            yield session
            count += write
            if write and count == at and not after:
                os.kill(os.getpid(), signal.SIGKILL)
        if write and count == at and after:
            os.kill(os.getpid(), signal.SIGKILL)

    SqliteDatabase.transaction = counted  # type: ignore[method-assign]


def apart(work: Callable[[], Any]) -> Any:
    """Do some work in a process of its own, and return its result."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            with os.fdopen(writing, "w") as out:
                json.dump(work(), out)
        except BaseException as error:
            print(f"a process failed: {error!r}", file=sys.stderr)
            os._exit(1)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as found:
        text = found.read()
    _, status = os.waitpid(child, 0)
    assert status == 0, "a process failed"
    return json.loads(text)


def trial(folder: Path, first: int, second: int, *, after: bool) -> tuple[Any, bool]:
    """Run one trial; returns what it came to, and whether any process was killed. 0 kills nobody."""
    url = f"sqlite:///{folder}/resources.db"
    hit, found = False, []
    for apply, at in ((apply_first, first), (apply_second, second)):
        apart(lambda apply=apply: apply(url))  # type: ignore[misc]
        if at:
            hit |= killed(lambda: reconcile(url), at, after=after)
        found.append(apart(lambda: reconcile(url)))
    return found, hit


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill the process that reconciles, at every point.")
    parser.add_argument(
        "--points", type=int, default=0, help="so many points at random; 0 for all, one after the other"
    )
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as scratch:
        folders = (Path(scratch, str(number)) for number in range(1_000_000))

        def run(first: int, second: int, *, after: bool) -> tuple[Any, bool]:
            folder = next(folders)
            folder.mkdir()
            return trial(folder, first, second, after=after)

        expected, _ = run(0, 0, after=False)
        tried = 0
        number = 0
        while not options.points or tried < options.points:
            number += 1
            at = rng.randint(1, 25) if options.points else number
            kills = [(at, after) for after in ((rng.random() < 0.5,) if options.points else (False, True))]
            hits = False
            for point, after in kills:
                for first, second in ((point, rng.randint(1, 20)),) if options.points else ((point, 0), (0, point)):
                    found, hit = run(first, second, after=after)
                    tried += 1
                    hits |= hit
                    if found != expected:
                        print(f"killed at {first} and {second}, {'after' if after else 'before'} the commit: differs")
                        print(json.dumps(expected, indent=1, sort_keys=True, ensure_ascii=False))
                        print(json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False))
                        return 1
            if not options.points and not hits:
                break
    print(f"{tried} trials, each killed at up to two points: the end is the same in all of them")
    return 0


if __name__ == "__main__":
    sys.exit(main())
