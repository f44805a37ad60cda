"""A process that calls a graph until its thread has ended, or it is killed.

As a program (`python -m stategraph.testing.signals.life`), it reads what to do from standard input.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

from stategraph import import_paths
from stategraph.savers.sqlite.saver import SqliteSaver
from stategraph.savers.sqlite_files import SCHEME, path_in
from stategraph.savers.urls import saver_at
from stategraph.testing.courses import Course, calls
from stategraph.testing.signals.effects import VARIABLE
from stategraph.testing.signals.points import Points, Saves
from stategraph.testing.signals.spec import Spec

#: Exit codes of a life that was not killed.
ENDED, STOPPED, FAILED = 0, 1, 3

_SHOWN: Final = 2_000


def live(spec: Spec) -> int:
    """Live, and return the exit code."""
    known = set(sys.modules)
    random.seed()  # a fork has the generator of its server
    os.environ[VARIABLE] = spec.effects
    report = os.open(spec.report, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def tell(**said: object) -> None:
        os.write(report, f"{json.dumps(said)}\n".encode())

    points = Points(spec.at, spec.signal, lambda: tell(fired=True))
    saves = Saves(spec.save, spec.after, lambda: tell(fired=True))
    try:
        points.arm()
        course = Course(spec.inputs, spec.answers, dict(spec.answered))
        if spec.is_async:
            state = asyncio.run(_alive_async(spec, course, tell, saves))
        else:
            state = _alive(spec, course, tell, saves)
        passed = points.disarm()
        tell(state=state, saves=saves.made, points=passed, fired=points.fired, modules=sorted(set(sys.modules) - known))
    except BaseException as error:
        points.disarm()
        if points.fired:  # by Ctrl-C, or what the program made of it
            return STOPPED
        tell(error=f"{type(error).__name__}: {error}"[:_SHOWN])
        return FAILED
    return ENDED


def _alive(spec: Spec, course: Course, tell: Any, saves: Saves) -> object:
    with _saver(spec.store) as saver:
        if spec.deletes:
            saver.delete_thread(spec.thread)
            return None
        saves.watch(saver)
        graph, steps = _made(spec.target, saver), calls(course, _config(spec), spec.durability)
        method, args, named = next(steps)
        while True:
            tell(answered=course.answered)
            returned = getattr(graph, method)(*args, **named)
            try:
                method, args, named = steps.send(returned)
            except StopIteration as end:
                return end.value


async def _alive_async(spec: Spec, course: Course, tell: Any, saves: Saves) -> object:
    async with _saver_async(spec.store) as saver:
        if spec.deletes:
            await saver.adelete_thread(spec.thread)
            return None
        saves.watch(saver)
        graph, steps = _made(spec.target, saver), calls(course, _config(spec), spec.durability)
        method, args, named = next(steps)
        while True:
            tell(answered=course.answered)
            returned = await getattr(graph, f"a{method}")(*args, **named)
            try:
                method, args, named = steps.send(returned)
            except StopIteration as end:
                return end.value


def _config(spec: Spec) -> Mapping[str, Any]:
    return {**spec.config, "configurable": {**spec.config.get("configurable", {}), "thread_id": spec.thread}}


def _made(target: str, saver: Any) -> Any:
    """Return the graph with a saver: a compiled graph gets it, a builder is compiled with it, a function is called."""
    found = import_paths.imported(target, "The graph")
    if hasattr(found, "get_state"):
        found.checkpointer = saver
        return found
    graph = found.compile(checkpointer=saver) if hasattr(found, "compile") else found(saver)
    if not hasattr(graph, "get_state"):
        raise TypeError(
            f"'{target}' gives a value of type {type(graph).__name__}; expected a compiled graph, a StateGraph, or a "
            "function of a saver that returns a compiled graph"
        )
    return graph


@contextmanager
def _saver(store: str) -> Iterator[Any]:
    if store.startswith(SCHEME):
        with SqliteSaver.from_conn_string(path_in(store)) as saver:
            yield saver
    else:
        from stategraph.savers import PostgresSaver  # an extra

        with PostgresSaver.from_conn_string(store) as on_server:
            on_server.setup()
            yield on_server


@asynccontextmanager
async def _saver_async(store: str) -> AsyncIterator[Any]:
    async with saver_at(store) as saver:
        yield saver


def main() -> int:
    """Live as standard input says, and return the exit code."""
    request = json.load(sys.stdin)
    sys.path[:] = request["path"]
    return live(Spec(**request["spec"]))


if __name__ == "__main__":
    os._exit(main())  # threads of the graph end with it, as in a fork
