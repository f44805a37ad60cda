"""Branches that need not all succeed: a race, a quorum, a veto, and failures that are told together.

Prints::

    first_success: ['mirror']
    quorum(2): ['model a', 'model c']
    until: ['jailbreak: dangerous']
    settle: 2 of 3 branches failed: 'b', 'c'
    what succeeded is kept: ['a']
"""

import asyncio
import operator
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypedDict

from langgraph.checkpoint.memory import InMemorySaver

from stategraph import START, StateGraph
from stategraph.scheduling import Branch, FanOut, first_success, quorum, settle, until

THREAD: Any = {"configurable": {"thread_id": "1"}}


class State(TypedDict):
    answers: Annotated[list[str], operator.add]


Work = Callable[[State], Awaitable[dict[str, Any]]]


def says(text: str) -> Work:
    async def work(state: State) -> dict[str, Any]:
        return {"answers": [text]}

    return work


async def hangs(state: State) -> dict[str, Any]:
    await asyncio.Event().wait()  # until it is cancelled
    return {}


async def fails(state: State) -> dict[str, Any]:
    raise ConnectionError("away")


def fan_out(policy: FanOut, **branches: Work) -> Any:
    graph = StateGraph(State)
    for name, work in branches.items():
        graph.add_node(name, work)
    return graph.add_edge(START, list(branches), policy=policy).compile(InMemorySaver())


def is_dangerous(branch: Branch) -> bool:
    return "dangerous" in branch.update["answers"][0]


async def main() -> None:
    empty: Any = {"answers": []}
    race = fan_out(first_success(), origin=hangs, mirror=says("mirror"), broken=fails)
    print("first_success:", (await race.ainvoke(empty, THREAD))["answers"])

    models = fan_out(quorum(2), a=says("model a"), b=hangs, c=says("model c"))
    print("quorum(2):", (await models.ainvoke(empty, THREAD))["answers"])

    checks = fan_out(until(is_dangerous), safety=hangs, abuse=hangs, jailbreak=says("jailbreak: dangerous"))
    print("until:", (await checks.ainvoke(empty, THREAD))["answers"])

    jobs = fan_out(settle(), a=says("a"), b=fails, c=fails)
    try:
        await jobs.ainvoke(empty, THREAD)
    except ExceptionGroup as group:
        print("settle:", group.message)
    print("what succeeded is kept:", jobs.get_state(THREAD).values["answers"])


asyncio.run(main())
