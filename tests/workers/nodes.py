"""Nodes that run on workers in the tests."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any

from langchain_core.runnables import RunnableConfig
from typing_extensions import TypedDict

from stategraph import Command, Runtime, StreamWriter, get_stream_writer, interrupt
from tests.workers.agents import scripted


def joined(left: list[Any], right: list[Any]) -> list[Any]:
    return left + right


class State(TypedDict, total=False):
    number: int
    path: str
    seen: Annotated[list[Any], joined]


def doubles(state: State) -> State:
    return {"number": 2 * state["number"], "seen": [os.getpid()]}


def asks_for_everything(state: State, config: RunnableConfig, runtime: Runtime[Any], writer: StreamWriter) -> State:
    writer({"from": "writer"})
    get_stream_writer()({"from": "get_stream_writer"})
    info = runtime.execution_info
    assert info is not None
    return {
        "seen": [
            config["configurable"]["thread_id"],
            config["metadata"]["mine"],
            runtime.context,
            info.thread_id,
            info.node_attempt,
        ]
    }


def asks_a_person(state: State) -> State:
    first = interrupt({"question": "one"})
    second = interrupt({"question": "two"})
    return {"seen": [first, second, os.getpid()]}


def goes_on(state: State) -> Command[Any]:
    return Command(update={"seen": ["went on"]}, goto="target")


def talks(state: State) -> State:
    answer = scripted(["Hello there."]).invoke("hi")
    return {"seen": [answer.content]}


def loops_for_ever(state: State) -> State:
    Path(state["path"]).write_text(str(os.getpid()))
    while True:
        pass


def waits(state: State) -> State:
    Path(state["path"]).write_text(str(os.getpid()))
    while True:
        time.sleep(60)


def dies_once(state: State) -> State:
    mark = Path(state["path"])
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"seen": ["survived"]}


def fails_once(state: State) -> State:
    mark = Path(state["path"])
    if not mark.exists():
        mark.touch()
        raise ConnectionError("not yet")
    return {"seen": ["worked"]}


def fails(state: State) -> State:
    raise LookupError(f"no {state['number']}")


def returns_what_cannot_be_sent(state: State) -> Any:
    return {"seen": [threading.Lock()]}


def meets(state: State) -> State:
    """Wait until the other of two nodes has come as well: only nodes that run at the same time do."""
    here = Path(state["path"])
    (here / f"{os.getpid()}").touch()
    while len(list(here.iterdir())) < 2:
        time.sleep(0.001)
    return {"seen": ["met"]}


def cleans_up(state: State) -> State:
    """Wait for ever, and leave a note when it is stopped."""
    path = Path(state["path"])
    try:
        path.with_suffix(".began").touch()
        while True:
            time.sleep(60)
    finally:
        path.write_text("cleaned up")


def cleans_up_slowly(state: State) -> State:
    """Wait for ever, and when it is stopped, leave a note once it is told to."""
    path = Path(state["path"])
    try:
        path.with_suffix(".pid").write_text(str(os.getpid()))
        path.with_suffix(".began").touch()
        while True:
            time.sleep(60)
    finally:
        path.with_suffix(".cleaning").touch()
        while not path.with_suffix(".told").exists():
            time.sleep(0.005)
        path.write_text("cleaned up")


def tells_much(state: State, writer: StreamWriter) -> State:
    for number in range(state["number"]):
        writer({"number": number, "text": "x" * 1000})
    return {"seen": [state["number"]]}


def tells_from_threads(state: State, writer: StreamWriter) -> State:
    threads = [threading.Thread(target=lambda n=n: [writer((n, each)) for each in range(50)]) for n in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return {"seen": ["told"]}


def leaves_a_thread_that_tells(state: State, writer: StreamWriter) -> State:
    """End while a thread of it goes on telling: nothing of that belongs to the node that comes next."""

    def tell() -> None:
        while True:
            writer("from an earlier node")
            time.sleep(0.001)

    threading.Thread(target=tell, daemon=True).start()
    return {"seen": ["left"]}


def is_not_told_to(state: State, writer: StreamWriter) -> State:
    time.sleep(0.05)
    writer("mine")
    return {"seen": [os.getpid()]}


def grows(state: State) -> State:
    _kept.append(bytearray(state["number"] * 1024 * 1024))
    return {"seen": [os.getpid()]}


_kept: list[bytearray] = []


def says_where(state: State) -> State:
    return {"seen": [os.getpid(), threading.current_thread() is threading.main_thread()]}


def exits(state: State) -> State:
    raise SystemExit(3)


async def _later() -> State:
    return {"seen": ["later"]}


def returns_an_awaitable(state: State) -> Any:
    return _later()


def sets_a_context_variable(state: State) -> State:
    before = _variable.get()
    _variable.set("set by a node before")
    return {"seen": [before]}


_variable: ContextVar[str] = ContextVar("_variable", default="not set")
