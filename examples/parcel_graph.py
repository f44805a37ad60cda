"""The graph of `19_recovery.py` and `21_attach.py`, which workers import by its name."""

import asyncio
import operator
from pathlib import Path
from typing import Annotated, TypedDict

from stategraph import END, START, StateGraph


class State(TypedDict):
    folder: str
    done: Annotated[list[str], operator.add]


def begin(state: State, step: str) -> int:
    """Note on the disk that a step begins; returns how often it has."""
    log = Path(state["folder"]) / "log"
    with log.open("a") as file:
        file.write(f"{step}\n")
    return log.read_text().split().count(step)


def pack(state: State) -> dict[str, list[str]]:
    begin(state, "pack")
    return {"done": ["packed"]}


async def drive(state: State) -> dict[str, list[str]]:
    if begin(state, "drive") == 1:
        await asyncio.Event().wait()  # the road is closed; the worker is killed here
    return {"done": ["driven"]}


def deliver(state: State) -> dict[str, list[str]]:
    begin(state, "deliver")
    return {"done": ["delivered"]}


builder = StateGraph(State)
builder.add_sequence([pack, drive, deliver])
builder.add_edge(START, "pack").add_edge("deliver", END)
graph = builder.compile()
