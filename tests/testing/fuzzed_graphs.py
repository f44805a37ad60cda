"""Graphs that processes of the signal fuzzer import, and one that crashes at every save."""

from __future__ import annotations

import operator
import os
import threading
import time
from pathlib import Path
from typing import Annotated, Any, TypedDict

from stategraph import END, START, Send, StateGraph, interrupt
from stategraph.testing import count_effect


class State(TypedDict, total=False):
    done: Annotated[list[str], operator.add]
    answer: str
    process: bool


def building(third: Any, ask: Any = lambda state: {"answer": interrupt("go?")}) -> Any:
    builder = StateGraph(State)
    builder.add_node("first", lambda state: {"done": ["first"]})
    builder.add_node("each", lambda state: {"done": [f"each {state['done'][0]}"]})
    builder.add_node("ask", ask)
    builder.add_node("third", third)
    builder.add_edge(START, "first")
    builder.add_conditional_edges("first", lambda state: [Send("each", {"done": [name]}) for name in "ab"], ["each"])
    builder.add_edge("each", "ask")
    builder.add_edge("ask", "third")
    builder.add_edge("third", END)
    return builder


def _third(state: State) -> State:
    count_effect("third")
    return {"done": ["third"]}


builder = building(_third)
compiled = builder.compile()


asking_twice = building(lambda state: {"done": [interrupt("and?")]})


def with_saver(saver: Any) -> Any:
    return builder.compile(checkpointer=saver)


async def _third_async(state: State) -> State:
    return _third(state)


asynchronous = building(_third_async)

# Graphs that are found out.


def _counting(state: State) -> State:
    """Count in a file: a node that runs again does not come to the same."""
    path = Path(os.environ["STATEGRAPH_EFFECTS_FILE"] + ".count")
    times = int(path.read_text()) + 1 if path.exists() else 1
    path.write_text(str(times))
    return {"done": [f"time {times}"]}


def _slow_count(state: State) -> State:
    count_effect("pay")
    count = _counting(state)
    for _ in range(3_000):  # most points are behind the count and before its write is stored
        len(count)
    return count


counting = building(_slow_count, lambda state: {})


def _once_only(state: State) -> State:
    """Fail where it is run again, as what takes a lock that the dead process holds."""
    count = _counting(state)
    if count["done"] != ["time 1"]:
        raise FileExistsError("it is locked")
    for _ in range(3_000):
        len(count)
    return {"done": ["third"]}


locking = building(_once_only, lambda state: {})


def _twice(state: State) -> State:
    count_effect("pay")
    for _ in range(3_000):
        len(state)
    return {"done": ["paid"]}


paying = building(_twice, lambda state: {})
by_clock = building(lambda state: {"done": [str(time.monotonic_ns())]}, lambda state: {})


def _fails(state: State) -> State:
    raise KeyError("no such order")


failing = building(_fails, lambda state: {})
hanging = building(lambda state: threading.Event().wait(), lambda state: {})


def _hangs_in_sight(state: State) -> None:
    """Write into a pipe that is closed when this process ends."""
    os.write(os.open(os.environ["STATEGRAPH_EFFECTS_FILE"], os.O_WRONLY), b"begun")
    threading.Event().wait()


hanging_in_sight = building(_hangs_in_sight, lambda state: {})
dying = building(lambda state: os._exit(7), lambda state: {})


def _stubborn(state: State) -> State:
    try:
        for _ in range(20_000):
            len(state)
    except KeyboardInterrupt:
        pass
    return {"done": ["third"]}


stubborn = building(_stubborn, lambda state: {})
number = 7


def makes_number(saver: Any) -> int:
    return 7
