"""No barrier: a node begins when its own inputs are there, and a slow neighbour holds up nobody.

Prints::

    in supersteps, the summary waits: ['draft', 'search', 'check', 'summary', 'publish', 'summary']
    without a barrier: ['draft', 'search', 'check', 'publish', 'summary']
    while the search still runs: ['draft', 'check', 'publish']
    the branch that was not selected: ['draft', 'search', 'check', 'summary']
"""

import asyncio
import operator
from typing import Annotated, Any, Literal, TypedDict

from stategraph import END, START, StateGraph


class State(TypedDict):
    done: Annotated[list[str], operator.add]
    publish: bool


ended: list[str] = []
published, searched = asyncio.Event(), asyncio.Event()


def step(name: str, patient: bool) -> Any:
    async def run(state: State) -> dict[str, Any]:
        if patient:
            # A slow search, which takes until somebody says so.
            await searched.wait()
        ended.append(name)
        if name == "publish":
            published.set()
        return {"done": [name]}

    return run


def after_check(state: State) -> Literal["publish", "__end__"]:
    return "publish" if state["publish"] else END


def build(patient: bool) -> StateGraph[State]:
    graph = StateGraph(State)
    for name in ("search", "draft", "check", "publish", "summary"):
        graph.add_node(name, step(name, patient and name == "search"))
    graph.add_edge(START, "search").add_edge(START, "draft").add_edge("draft", "check")
    graph.add_conditional_edges("check", after_check)
    graph.add_edge("search", "summary").add_edge("publish", "summary")
    return graph


async def main() -> None:
    both: State = {"done": [], "publish": True}
    print("in supersteps, the summary waits:", (await build(False).compile().ainvoke(both))["done"])

    graph = build(True).compile(scheduling="dataflow")
    ended.clear()
    published.clear()
    run = asyncio.ensure_future(graph.ainvoke(both))
    await published.wait()
    early = list(ended)
    searched.set()
    print("without a barrier:", (await run)["done"])
    print("while the search still runs:", early)

    print("the branch that was not selected:", (await graph.ainvoke({**both, "publish": False}))["done"])


asyncio.run(main())
