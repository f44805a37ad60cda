"""Programs that show bugs reported to LangGraph, written against its API so that either engine can run them.

    python cases.py            runs all of them, prints what came of each as JSON

Each returns plain data. Errors are data too: what a user would see.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import json
import logging
import operator
import sys
import threading
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, TypedDict

from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import NodeError
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph
from langgraph.types import CachePolicy, Command, Send, interrupt


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    answer: Any


Case = Callable[[], Any]
CASES: dict[str, Case] = {}


def case(function: Case) -> Case:
    CASES[function.__name__] = function
    return function


def outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def both(graph: Any, input: Any, config: Any = None) -> list[Any]:
    return [
        outcome(lambda: graph.invoke(input, config)),
        outcome(lambda: asyncio.run(graph.ainvoke(input, config))),
    ]


# -- LG#8458: replaying from a checkpoint inside a subgraph runs the whole subgraph again ---------------------------


def nested(ran: list[str], *, asks: bool, levels: int = 1, fan_out: bool = False) -> Any:
    def node(name: str) -> Callable[[State], State]:
        def run(state: State) -> State:
            ran.append(name)
            answer = interrupt("approve?") if asks and name == "c" else None
            return {"log": [name if answer is None else f"{name}:{answer}"]}

        return run

    inner = StateGraph(State)
    for name in "abc":
        inner.add_node(name, node(name))
    inner.add_edge(START, "a").add_edge("a", "b").add_edge("b", "c")
    graph: Any = inner.compile()
    for level in range(levels):
        outer = StateGraph(State).add_node("first", node("first")).add_node("sub", graph).add_node("last", node("last"))
        outer.add_edge(START, "first")
        if fan_out:
            outer.add_conditional_edges("first", lambda _: [Send("sub", {"log": [n]}) for n in ("1", "2")], ["sub"])
        else:
            outer.add_edge("first", "sub")
        outer.add_edge("sub", "last")
        graph = outer.compile(checkpointer=InMemorySaver() if level == levels - 1 else None)
    return graph


def inside(graph: Any, config: Any, next_node: str, depth: int = 1) -> list[Any]:
    """The checkpoints before a node of the subgraph, oldest run first."""
    namespaces = {saved.config["configurable"]["checkpoint_ns"] for saved in graph.checkpointer.list(config)}
    found = []
    for ns in sorted(ns for ns in namespaces if ns.count("|") == depth - 1 and ns):
        place = {"configurable": {**config["configurable"], "checkpoint_ns": ns}}
        found += [state.config for state in graph.get_state_history(place) if state.next == (next_node,)]
    return found


def replayed(asks: bool, levels: int, use_async: bool) -> Any:
    ran: list[str] = []
    graph = nested(ran, asks=asks, levels=levels)
    config = {"configurable": {"thread_id": "1"}}

    def invoke(input: Any, where: Any) -> Any:
        return asyncio.run(graph.ainvoke(input, where)) if use_async else graph.invoke(input, where)

    invoke({"log": ["in"]}, config)
    (place,) = inside(graph, config, "b", levels)
    ran.clear()
    result = invoke(None, place)
    shown: list[Any] = [list(ran), result["log"][-3:]]
    if asks:
        ran.clear()
        shown += [list(ran), invoke(Command(resume="yes"), config)["log"][-4:], list(ran)]
        shown[2:4] = [shown[3]]
    return shown


@case
def replay_inside_a_subgraph() -> Any:
    return [replayed(False, 1, use_async) for use_async in (False, True)]


@case
def replay_inside_a_subgraph_that_asks() -> Any:
    return [replayed(True, 1, use_async) for use_async in (False, True)]


@case
def replay_two_levels_down() -> Any:
    return [replayed(False, 2, use_async) for use_async in (False, True)]


@case
def replay_twice_from_the_same_place() -> Any:
    ran: list[str] = []
    graph = nested(ran, asks=False)
    config = {"configurable": {"thread_id": "1"}}
    graph.invoke({"log": ["in"]}, config)
    (place,) = inside(graph, config, "c")
    ran.clear()
    return [graph.invoke(None, place)["log"] for _ in range(2)], ran


@case
def replay_inside_one_of_two_parallel_subgraphs() -> Any:
    ran: list[str] = []
    graph = nested(ran, asks=False, fan_out=True)
    config = {"configurable": {"thread_id": "1"}}
    graph.invoke({"log": ["in"]}, config)
    places = inside(graph, config, "c")
    shown = []
    for place in places:
        ran.clear()
        graph.invoke(None, place)
        shown.append(sorted(Counter(ran).items()))
    return shown


# -- LG#8277: a handled error is raised all the same when the node has neighbours in its step ----------------------


@case
def handled_error_beside_another_node() -> Any:
    def boom(state: State) -> State:
        raise RuntimeError("boom")

    def handler(state: State, error: NodeError) -> State:
        return {"log": [f"handled {error.node}"]}

    graph = StateGraph(State).add_node("boom", boom, error_handler=handler).add_node("ok", lambda _: {"log": ["ok"]})
    compiled = graph.add_edge(START, "boom").add_edge(START, "ok").compile()
    streamed = outcome(lambda: [mode for mode, _ in compiled.stream({"log": []}, stream_mode=["custom", "values"])])
    return [*both(compiled, {"log": []}), streamed]


# -- LG#9002: a handler that had finished runs again when the thread is resumed -------------------------------------


@case
def handler_after_resume() -> Any:
    shown = []
    for use_async in (False, True):
        for asks in (False, True):
            calls: Counter[str] = Counter()
            shown.append([_resumed_beside_a_handler(calls, asks, use_async), calls["handler"]])
    return shown


def _resumed_beside_a_handler(calls: Counter[str], asks: bool, use_async: bool) -> Any:
    handled = threading.Event()

    def fails(state: State) -> State:
        raise ValueError("a failed")

    def handler(state: State) -> State:
        calls["handler"] += 1
        handled.set()
        return {"log": [f"handler {calls['handler']}"]}

    def fails_once(state: State) -> State:
        calls["neighbour"] += 1
        if asks:
            interrupt("go on?")
        elif calls["neighbour"] == 1:
            raise ValueError("not yet")
        return {"log": ["neighbour"]}

    async def fails_once_async(state: State) -> State:
        await asyncio.to_thread(handled.wait, 5)
        await asyncio.sleep(0.05)
        return fails_once(state)

    def fails_once_sync(state: State) -> State:
        handled.wait(5)
        threading.Event().wait(0.05)  # the handler has run; its end has to be recorded
        return fails_once(state)

    graph = StateGraph(State).add_node("fails", fails, error_handler=handler)
    graph.add_node("neighbour", fails_once_async if use_async else fails_once_sync)
    compiled: Any = graph.add_edge(START, "fails").add_edge(START, "neighbour").compile(checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    run = (lambda i: asyncio.run(compiled.ainvoke(i, config))) if use_async else (lambda i: compiled.invoke(i, config))
    outcome(lambda: run({"log": []}))
    return outcome(lambda: run(Command(resume="yes") if asks else None)["log"])


# -- LG#8753: nodes that are no plain functions share one cache namespace -------------------------------------------


class HandlerA:
    def __call__(self, state: State) -> State:
        return {"answer": "A"}


class HandlerB:
    def __call__(self, state: State) -> State:
        return {"answer": "B"}


class Says:
    def __init__(self, what: str) -> None:
        self.what = what
        self.calls = 0

    def __call__(self, state: State) -> State:
        self.calls += 1
        return {"answer": self.what}

    def method(self, state: State) -> State:
        return {"answer": self.what}


def says(state: State, what: str) -> State:
    return {"answer": what}


def saying(what: str) -> Any:
    count = 0

    def answer(state: State) -> State:
        nonlocal count
        count += 1
        return {"answer": what}

    return answer


async def says_a(state: State) -> State:
    return {"answer": "A"}


async def says_b(state: State) -> State:
    return {"answer": "B"}


def subgraph(work: Any) -> Any:
    return StateGraph(State).add_node("n", work).add_edge(START, "n").compile()


PAIRS: dict[str, tuple[Any, Any]] = {
    "callable objects": (HandlerA(), HandlerB()),
    "objects of one class": (Says("A"), Says("B")),
    "methods": (Says("A").method, Says("B").method),
    "partials": (partial(says, what="A"), partial(says, what="B")),
    "lambdas": (lambda _: {"answer": "A"}, lambda _: {"answer": "B"}),
    "closures": (saying("A"), saying("B")),
    "async functions": (says_a, says_b),
    "subgraphs": (subgraph(saying("A")), subgraph(saying("B"))),
}


def cached(work: Any, cache: Any) -> Any:
    builder = StateGraph(State).add_node("n", work, cache_policy=CachePolicy())
    return asyncio.run(builder.add_edge(START, "n").compile(cache=cache).ainvoke({"log": []}))["answer"]


@case
def two_graphs_with_one_cache() -> Any:
    shown = {}
    for kind, (one, other) in PAIRS.items():
        cache: Any = InMemoryCache()
        shown[kind] = [cached(one, cache), cached(other, cache), cached(one, cache)]
    return shown


@case
def the_same_node_in_another_graph_finds_its_result() -> Any:
    cache: Any = InMemoryCache()
    node = Says("A")
    return [[cached(node, cache) for _ in range(3)], node.calls]


# -- LG#8009: arrays of the same bytes but another type have the same cache key -------------------------------------


class Numbers:
    """As much of an array as a cache key can see."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, dtype: str, values: list[int]) -> None:
        self.dtype, self.values = dtype, values

    def tobytes(self) -> bytes:
        return bytes(value % 256 for value in self.values)


@case
def arrays_of_the_same_bytes() -> Any:
    @task(cache_policy=CachePolicy())
    def total(numbers: Any) -> int:
        return sum(numbers.values)

    @entrypoint(cache=InMemoryCache())
    def graph(numbers: Any) -> int:
        return total(numbers=numbers).result()

    return [graph.invoke(Numbers("uint8", [200])), graph.invoke(Numbers("int8", [-56]))]


# -- LG#7094: saves pile up behind a slow saver ---------------------------------------------------------------------

STEPS = 300


class Slow(InMemorySaver):
    """A saver whose saves do not end before the graph has run as far as it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.open = 0
        self.most = 0

    async def aput(self, *args: Any, **options: Any) -> Any:
        await asyncio.sleep(0.002)
        return super().put(*args, **options)

    async def aput_writes(self, *args: Any, **options: Any) -> None:
        super().put_writes(*args, **options)


@case
def tasks_behind_a_slow_saver() -> Any:
    most = 0

    async def work(state: State) -> State:
        nonlocal most
        most = max(most, len(asyncio.all_tasks()))
        return {"answer": state["answer"] + 1}

    builder = StateGraph(State).add_node("n", work).add_edge(START, "n")
    builder.add_conditional_edges("n", lambda state: "n" if state["answer"] < STEPS else "__end__", ["n", "__end__"])
    config = {"configurable": {"thread_id": "1"}, "recursion_limit": STEPS + 1}
    asyncio.run(builder.compile(checkpointer=Slow()).ainvoke({"answer": 0}, config))
    gc.collect()
    return most


# -- LG#7066: values that do not come back from the store as what they were ----------------------------------------


@dataclasses.dataclass
class Derived:
    """Its constructor does not take all of its fields."""

    x: int = 1
    y: int = dataclasses.field(init=False, default=2)


def local_class() -> Any:
    @dataclasses.dataclass
    class Local:
        x: int = 1

    return Local()


class Opaque:
    pass


VALUES: dict[str, Callable[[], Any]] = {
    "opaque": lambda: {"items": [1, {"deep": Opaque()}]},
    "local class": lambda: [local_class()],
    "field that is not initialised": Derived,
    "set of tuples": lambda: {(1, 2)},
}


@case
def values_that_do_not_survive() -> Any:
    shown = {}
    for kind, make in VALUES.items():
        messages: list[str] = []
        handler = logging.Handler()
        handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]  # noqa: B023
        logging.getLogger().addHandler(handler)
        graph = StateGraph(State).add_node("n", lambda _, make=make: {"answer": make()}).add_edge(START, "n")
        compiled: Any = graph.compile(checkpointer=InMemorySaver())
        config: Any = {"configurable": {"thread_id": "1"}}
        ended = outcome(lambda: repr(compiled.invoke({"log": []}, config)["answer"]))  # noqa: B023
        at_write = list(messages)
        read = outcome(lambda: repr(compiled.get_state(config).values.get("answer")))  # noqa: B023
        logging.getLogger().removeHandler(handler)
        shown[kind] = {"run": ended, "logged by the run": at_write, "read": read}
    return shown


if __name__ == "__main__":
    json.dump({name: CASES[name]() for name in sys.argv[1:] or CASES}, sys.stdout)
