"""Graphs that workers of the tests execute, by their import paths."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from operator import add
from pathlib import Path
from typing import Annotated, Any, TypedDict

from stategraph import END, START, StateGraph, interrupt
from stategraph.engine.config.context import get_stream_writer

SECRET = "the-secret"

#: Set by tests in this process: what `held` waits for, and what it says when it waits.
gates: dict[str, asyncio.Event] = {}


#: What `slow_graph` does when it is imported, set by tests: which imports began, what they wait for, how they end.
imports: list[str] = []
may_import = threading.Event()
import_exits = False


#: What `is_down` needs.
is_up = threading.Event()


class State(TypedDict, total=False):
    folder: str
    done: Annotated[list[str], add]


def note(state: State, name: str) -> dict[str, Any]:
    """Say on the disk that a node ran: what no transaction takes back."""
    if folder := state.get("folder"):
        with (Path(folder) / "ran").open("a") as file:
            file.write(f"{name}\n")
    return {"done": [name]}


def chain(*nodes: Any) -> Any:
    builder = StateGraph(State)
    previous = START
    for node in nodes:
        builder.add_node(node.__name__, node)
        builder.add_edge(previous, node.__name__)
        previous = node.__name__
    builder.add_edge(previous, END)
    return builder.compile()


def one(state: State) -> dict[str, Any]:
    get_stream_writer()({"at": "one"})
    return note(state, "one")


def two(state: State) -> dict[str, Any]:
    return note(state, "two")


def three(state: State) -> dict[str, Any]:
    return note(state, "three")


def asks(state: State) -> dict[str, Any]:
    return {"done": [f"answer {interrupt('well?')}"]}


def fails(state: State) -> dict[str, Any]:
    raise RuntimeError(f"no luck with {SECRET}")


def raises_what_it_is_given(state: State) -> dict[str, Any]:
    raise ValueError(state["done"][0].encode().decode("unicode_escape"))


def asks_again(state: State) -> dict[str, Any]:
    return {"done": [f"second {interrupt('and now?')}"]}


def is_down(state: State) -> dict[str, Any]:
    """Fail until a test says that the other side is there."""
    if not is_up.is_set():
        raise ConnectionError("it is down")
    return note(state, "up")


def checks_the_answer(state: State) -> dict[str, Any]:
    answer = interrupt("well?")
    if answer != "yes":
        raise ValueError(f"{answer!r} is no answer")
    return {"done": [f"answer {answer}"]}


async def held(state: State) -> dict[str, Any]:
    """Wait for the test."""
    gates["waits"].set()
    await gates["go"].wait()
    return note(state, "held")


async def stuck(state: State) -> dict[str, Any]:
    """Never end, the first time: its process is killed."""
    note(state, "stuck")
    if (Path(state["folder"]) / "ran").read_text().count("stuck") == 1:
        await asyncio.Event().wait()
    return {"done": ["stuck"]}


async def goes_on(state: State) -> dict[str, Any]:
    """Never end."""
    note(state, "stuck")
    await asyncio.Event().wait()
    return {}


def hangs(state: State) -> dict[str, Any]:
    """Never end, in a thread, where nothing can stop it."""
    note(state, "stuck")
    threading.Event().wait()
    return {}


def kills(state: State) -> dict[str, Any]:
    """Kill the process."""
    note(state, "deadly")
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


async def unstorable(state: State) -> dict[str, Any]:
    get_stream_writer()(asyncio.Event())
    return {"done": ["unstorable"]}


steps = chain(one, two, three)
asking = chain(one, asks, three)
failing = chain(one, fails)
raising = chain(raises_what_it_is_given)
asking_twice = chain(asks, is_down, asks_again)
asking_strictly = chain(checks_the_answer, asks_again)
holding = chain(one, held, three)
dying = chain(one, stuck, three)
endless = chain(goes_on)
deadly = chain(kills)
hanging = chain(hangs)
odd = chain(unstorable)
not_a_graph = {"a": 1}
