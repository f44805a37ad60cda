"""A process of `22_one_thread.py`: `python thread_writer.py FILE POLICY` writes to the thread under a policy."""

import asyncio
import operator
import sys
from contextlib import asynccontextmanager
from typing import Annotated, TypedDict

from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from stategraph import START, StateGraph
from stategraph.workers import LeaseSettings, RunRegistry, ThreadBusy, hold

THREAD = {"configurable": {"thread_id": "order-7"}}


class State(TypedDict):
    said: Annotated[list[str], operator.add]


builder = StateGraph(State)
builder.add_node("note", lambda state: {})
builder.add_edge(START, "note")
graph = builder.compile()


@asynccontextmanager
async def opened(file: str):
    """Open the registry and the saver of a file."""
    registry = RunRegistry.from_url(f"sqlite:///{file}", settings=LeaseSettings(lease_s=3.0, heartbeat_s=0.3))
    async with AsyncSqliteSaver.from_conn_string(file) as saver:
        yield registry, saver
    await registry.aclose()


async def main(file: str, policy: str) -> None:
    async with opened(file) as (registry, saver):
        try:
            async with hold(registry, "order-7", on_conflict=policy) as held:
                fenced = graph.copy({"checkpointer": held.fence(saver)})
                await fenced.ainvoke({"said": [f"by the second process: {policy}"]}, THREAD)
                print("wrote")
        except ThreadBusy:
            print("was refused: ThreadBusy")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
