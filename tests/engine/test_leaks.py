"""Nothing of a run stays behind: objects, memory, threads, tasks.

Each scenario is run until everything lazy is in place, and then many times
more. What the garbage collector tracks must not grow with the number of runs,
and in a process of its own neither must the resident memory.
"""

import asyncio
import gc
import json
import operator
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import END, START, Command, Send, StateGraph, entrypoint, interrupt, task

WARM_UP = 30
RUNS = 150
OBJECTS_PER_RUN = 0.2
"""Growth allowed: a leak is at least one object a run; caches may still fill a little."""

RSS_BLOCK = 150
RSS_BLOCKS = 8
RSS_BYTES_PER_RUN = 200
"""A leaked object with a dict is more than this, a leaked checkpoint many times more."""


class State(TypedDict, total=False):
    log: Annotated[list[int], operator.add]
    big: str


def work(state: State) -> State:
    return {"log": [1]}


async def awork(state: State) -> State:
    return {"log": [1]}


def fail(state: State) -> State:
    raise ValueError("as planned")


def wait(state: State) -> State:
    return {"log": [interrupt("go on?")]}


def chain(*nodes: Callable[..., Any], saver: InMemorySaver | None = None) -> Any:
    builder = StateGraph(State)
    builder.add_sequence([(f"n{i}", node) for i, node in enumerate(nodes)])
    builder.add_edge(START, "n0")
    return builder.compile(checkpointer=saver)


def fan_out(node: Callable[..., Any]) -> Any:
    builder = StateGraph(State)
    builder.add_node("one", node)
    builder.add_conditional_edges(START, lambda state: [Send("one", state)] * 4, ["one"])
    builder.add_edge("one", END)
    return builder.compile()


def given() -> State:
    return {"log": [], "big": "x" * 2000}


Run = Callable[[], None]


def plain() -> Run:
    graph = chain(work, work, work)
    return lambda: graph.invoke(given())


def parallel() -> Run:
    graph = fan_out(work)
    return lambda: graph.invoke(given())


def nested() -> Run:
    graph = chain(work, chain(work, work), work)
    return lambda: list(graph.stream(given(), stream_mode=["values", "updates", "debug"], subgraphs=True))  # type: ignore[return-value]


def failing() -> Run:
    graph = chain(work, fail)

    def run() -> None:
        with pytest.raises(ValueError, match="as planned"):
            graph.invoke(given())

    return run


def abandoned() -> Run:
    graph = chain(work, work, work)

    def run() -> None:
        stream = graph.stream(given())
        next(stream)
        stream.close()

    return run


def waiting() -> Run:
    saver = InMemorySaver()
    graph = chain(work, wait, saver=saver)

    def run() -> None:
        thread = {"configurable": {"thread_id": "one"}}
        graph.invoke(given(), thread)
        graph.invoke(Command(resume=5), thread)
        saver.delete_thread("one")

    return run


def stored() -> Run:
    saver = InMemorySaver()
    graph = chain(work, work, saver=saver)

    def run() -> None:
        for durability in ("sync", "async", "exit"):
            graph.invoke(given(), {"configurable": {"thread_id": durability}}, durability=durability)
            saver.delete_thread(durability)

    return run


def functional() -> Run:
    @task
    def double(number: int) -> int:
        return 2 * number

    @entrypoint()
    def total(numbers: list[int]) -> int:
        futures = [double(number) for number in numbers]
        return sum(future.result() for future in futures)

    return lambda: total.invoke([1, 2, 3])


def compiled() -> Run:
    return lambda: chain(work, work).invoke(given())


SCENARIOS: dict[str, Callable[[], Run]] = {
    scenario.__name__: scenario
    for scenario in (plain, parallel, nested, failing, abandoned, waiting, stored, functional, compiled)
}


async def aplain(times: int) -> None:
    graph = chain(awork, awork, awork)
    for _ in range(times):
        await graph.ainvoke(given())


async def aparallel(times: int) -> None:
    graph = fan_out(awork)
    for _ in range(times):
        await graph.ainvoke(given())


async def athreads(times: int) -> None:
    graph = chain(work, awork, work)
    for _ in range(times):
        await graph.ainvoke(given())


async def aabandoned(times: int) -> None:
    graph = chain(awork, awork, awork)
    for _ in range(times):
        stream = graph.astream(given())
        await anext(stream)
        await stream.aclose()


async def acancelled(times: int) -> None:
    async def forever(state: State) -> State:
        reached.set()
        await asyncio.Event().wait()
        return {}

    graph = chain(awork, forever)
    for _ in range(times):
        reached = asyncio.Event()
        run = asyncio.create_task(graph.ainvoke(given()))
        await reached.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run


async def astored(times: int) -> None:
    saver = InMemorySaver()
    graph = chain(awork, wait, saver=saver)
    for _ in range(times):
        for durability in ("sync", "async", "exit"):
            thread = {"configurable": {"thread_id": durability}}
            await graph.ainvoke(given(), thread, durability=durability)
            await graph.ainvoke(Command(resume=5), thread, durability=durability)
            saver.delete_thread(durability)


ASYNC_SCENARIOS = {
    scenario.__name__: scenario for scenario in (aplain, aparallel, athreads, aabandoned, acancelled, astored)
}


def tracked() -> int:
    for _ in range(3):
        gc.collect()
    return len(gc.get_objects())


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    # Worker threads may be kept for the next run, but there is an end to their number.
    assert threading.active_count() - before <= 32


@pytest.mark.parametrize("name", SCENARIOS)
def test_objects_do_not_grow_with_runs(name: str) -> None:
    run = SCENARIOS[name]()
    for _ in range(WARM_UP):
        run()
    before = tracked()
    for _ in range(RUNS):
        run()
    assert (tracked() - before) / RUNS < OBJECTS_PER_RUN


@pytest.mark.parametrize("name", ASYNC_SCENARIOS)
def test_objects_do_not_grow_with_async_runs(name: str) -> None:
    scenario = ASYNC_SCENARIOS[name]

    async def measure() -> float:
        await scenario(WARM_UP)
        before = tracked()
        await scenario(RUNS)
        growth = (tracked() - before) / RUNS
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return growth

    assert asyncio.run(measure()) < OBJECTS_PER_RUN


def rss_bytes() -> int:
    for _ in range(3):
        gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def slowest_block(run_block: Callable[[], None]) -> float:
    """Bytes a run that resident memory grew by, in the block of runs in which it grew least.

    A leak grows in every block; an allocator that settles does not.
    """
    growth = []
    before = rss_bytes()
    for _ in range(RSS_BLOCKS):
        run_block()
        now = rss_bytes()
        growth.append((now - before) / RSS_BLOCK)
        before = now
    return min(growth)


def rss_growth() -> dict[str, float]:
    """Bytes of resident memory that each further run costs, by scenario."""
    growth = {}
    for name in ("plain", "stored"):
        run = SCENARIOS[name]()
        growth[name] = slowest_block(lambda run=run: [run() for _ in range(RSS_BLOCK)])  # type: ignore[misc]
    for name in ("aplain", "astored"):
        with asyncio.Runner() as runner:
            growth[name] = slowest_block(lambda r=runner, n=name: r.run(ASYNC_SCENARIOS[n](RSS_BLOCK)))  # type: ignore[misc]
    return growth


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc")
def test_resident_memory_is_flat_over_many_runs() -> None:
    done = subprocess.run(
        [sys.executable, __file__],
        env={"PYTHONPATH": ":".join(p for p in sys.path if p), "LANGSMITH_TRACING": "false"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    growth = json.loads(done.stdout)
    assert {name: bytes_ for name, bytes_ in growth.items() if bytes_ > RSS_BYTES_PER_RUN} == {}


if __name__ == "__main__":
    print(json.dumps(rss_growth()))
