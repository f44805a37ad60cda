"""The graphs of `20_effects_once.py`, which workers import by their names, and the bank that they call."""

import os
import signal
import time
from pathlib import Path
from typing import TypedDict

from stategraph import END, START, StateGraph
from stategraph.workers import EffectRecord, Found, NotFound, current_effect, effect


class State(TypedDict, total=False):
    folder: str
    order: str
    receipt: str


def charged(folder: str) -> list[str]:
    """What the bank has charged: a line for each time."""
    book = Path(folder) / "bank"
    return book.read_text().splitlines() if book.exists() else []


def ask_the_bank(record: EffectRecord) -> Found | NotFound:
    """Find out whether a call that was cut off has charged."""
    line = f"{record.arguments['order']} {record.idempotency_id}"
    return (
        Found(f"receipt for {record.arguments['order']}") if line in charged(record.arguments["folder"]) else NotFound()
    )


def call_the_bank(folder: str, order: str) -> str:
    call = current_effect()
    with (Path(folder) / "bank").open("a") as book:
        book.write(f"{order} {call.idempotency_id}\n")
    if call.attempt == 1:  # the power fails when both orders are charged, and before the answers are stored
        while len(charged(folder)) < 2:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
    return f"receipt for {order}"


@effect(key=lambda a: f"charge:{a.order}", on_doubt=ask_the_bank)
def charge(folder: str, order: str) -> str:
    return call_the_bank(folder, order)


@effect(key=lambda a: f"charge:{a.order}")  # no way to ask the bank: a person is asked
def charge_or_ask(folder: str, order: str) -> str:
    return call_the_bank(folder, order)


def graph_of(pay):
    builder = StateGraph(State)
    builder.add_node("pay", lambda state: {"receipt": pay(state["folder"], state["order"])})
    return builder.add_edge(START, "pay").add_edge("pay", END).compile()


reconciled = graph_of(charge)
asking = graph_of(charge_or_ask)
