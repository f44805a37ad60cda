"""The graph that is stopped, and what must be true of it afterwards."""

from __future__ import annotations

import operator
import time
from collections import Counter
from typing import Annotated, Any, TypedDict

from stategraph import START, StateGraph

SIDES = "ab"


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]


class Stop(BaseException):
    """What a signal handler raises, as `KeyboardInterrupt` is."""


def build(saver: Any, *, rounds: int, node_s: float = 0.0, ran: Counter[str] | None = None, hold: Any = None) -> Any:
    """Build two chains side by side: every step has two tasks, but the last, which has one.

    Args:
        saver: The checkpointer, or None.
        rounds: How many steps.
        node_s: How long a node takes, in seconds.
        ran: Counts what ran to its end.
        hold: Called with a node's name before it does anything, or None.
    """

    def node(name: str) -> Any:
        def work(state: State) -> State:
            if hold is not None:
                hold(name)
            if node_s:
                time.sleep(node_s)
            if ran is not None:
                ran[name] += 1
            return {"log": [name]}

        return work

    builder = StateGraph(State)
    for side in SIDES:
        for i in range(rounds):
            builder.add_node(f"{side}{i:02}", node(f"{side}{i:02}"))
            builder.add_edge(f"{side}{i - 1:02}" if i else START, f"{side}{i:02}")
    builder.add_node("end", node("end"))
    builder.add_edge([f"{side}{rounds - 1:02}" for side in SIDES], "end")
    return builder.compile(checkpointer=saver)


def expected(rounds: int) -> list[str]:
    """What the graph's log is once it has ended, however often it was stopped."""
    return ["in", *(f"{side}{i:02}" for i in range(rounds) for side in SIDES), "end"]


def finish(graph: Any, config: Any, **options: Any) -> list[str]:
    """Go on with a thread that was stopped, or begin if nothing of it was stored; return its log."""
    begun = bool(graph.get_state(config).values)
    result = graph.invoke(None if begun else {"log": ["in"]}, config, **options)
    if result is None:  # nothing was left to do
        result = graph.get_state(config).values
    log: list[str] = result["log"]
    return log
