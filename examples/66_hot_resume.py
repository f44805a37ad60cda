"""A node with two questions goes on where it asked; in another process it runs again, with the same answers.

Prints::

    looks the order up
    asks the bank
    20 refunded
    another process:
    looks the order up
    looks the order up
    asks the bank
    5 refunded
"""

import asyncio
from typing import Any, NotRequired, TypedDict

from langgraph.checkpoint.memory import InMemorySaver

from stategraph import START, Command, HotResume, StateGraph, ainterrupt


class State(TypedDict):
    order: int
    result: NotRequired[str]


def thread(name: str) -> Any:
    return {"configurable": {"thread_id": name}}


def graph(saver: Any, hot: HotResume) -> Any:
    @hot
    async def refund(state: State) -> Any:
        print("looks the order up")
        amount = await ainterrupt(f"How much of order {state['order']}?")
        print("asks the bank")
        sure = await ainterrupt(f"Refund {amount}?")
        return {"result": f"{amount} refunded" if sure == "yes" else "nothing"}

    return StateGraph(State).add_node("refund", refund).add_edge(START, "refund").compile(saver)


async def main() -> None:
    saver, hot = InMemorySaver(), HotResume()
    here = graph(saver, hot)
    await here.ainvoke({"order": 7}, thread("a"))
    await here.ainvoke(Command(resume=20), thread("a"))
    print((await here.ainvoke(Command(resume="yes"), thread("a")))["result"])

    print("another process:")
    await here.ainvoke({"order": 8}, thread("b"))
    there = graph(saver, HotResume())  # knows the thread from the saver alone
    await there.ainvoke(Command(resume=5), thread("b"))
    print((await there.ainvoke(Command(resume="yes"), thread("b")))["result"])
    await hot.aclose()


asyncio.run(main())
