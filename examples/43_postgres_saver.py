"""Threads in PostgreSQL: many at once over one saver, read by another, kept small, and errors that say what to do.

It needs a database whose user may make tables: set `STATEGRAPH_POSTGRES` to its address, such as
`postgresql://user@host/database`, and install `stategraph[postgres]`. It deletes the threads that it makes; the first
line is printed where there are no tables yet.

Prints::

    without tables: The database has no tables for checkpoints yet: call the saver's setup() once
    20 conversations of 3 turns at once: 6 messages each
    a sync saver on a pool of the program's own reads the same: True
    pruned: 8 checkpoints of 9
    a server that is not there: There is no connection to PostgreSQL, database 'chats' on 127.0.0.1, port 1
"""

import asyncio
import os
import sys
from typing import Any
from uuid import uuid4

from langchain_core.messages import AIMessage, HumanMessage
from psycopg import OperationalError, errors
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

from stategraph import END, START, MessagesState, StateGraph
from stategraph.savers import AsyncPostgresSaver, PostgresSaver

URL = os.environ.get("STATEGRAPH_POSTGRES") or sys.exit(
    "Set STATEGRAPH_POSTGRES to the address of a database, such as postgresql://user@host/database."
)
THREADS: list[Any] = [{"configurable": {"thread_id": f"chat-{uuid4()}"}} for _ in range(20)]
TURNS = 3


async def answer(state: MessagesState) -> dict[str, Any]:
    return {"messages": [AIMessage(f"answer {len(state['messages'])}")]}


builder = StateGraph(MessagesState).add_node("answer", answer).add_edge(START, "answer").add_edge("answer", END)


async def converse(saver: AsyncPostgresSaver) -> None:
    """Have conversations on all threads at once; each save is one round trip, on whichever connection is free."""
    graph = builder.compile(checkpointer=saver)

    async def turns(thread: Any) -> int:
        for turn in range(TURNS):
            state = await graph.ainvoke({"messages": HumanMessage(f"question {turn}")}, thread)
        return len(state["messages"])

    (messages,) = set(await asyncio.gather(*map(turns, THREADS)))
    print(f"{len(THREADS)} conversations of {TURNS} turns at once: {messages} messages each")


def read_elsewhere() -> None:
    """Read a thread as another process would, on connections that the program opens as it likes."""
    options: Any = {"autocommit": True, "row_factory": dict_row}
    with ConnectionPool(URL, min_size=1, max_size=4, kwargs=options, open=False) as pool:
        saver = PostgresSaver(pool)
        state = builder.compile(checkpointer=saver).get_state(THREADS[0])
        print("a sync saver on a pool of the program's own reads the same:", len(state.values["messages"]) == 2 * TURNS)
        (pruned,) = saver.prune([THREADS[0]["configurable"]["thread_id"]], keep_last=1)
        print(f"pruned: {pruned.checkpoints} checkpoints of {3 * TURNS}")


async def main() -> None:
    async with AsyncPostgresSaver.from_conn_string(URL) as saver:
        try:
            await saver.aget_tuple(THREADS[0])
        except errors.UndefinedTable as error:
            print("without tables:", str(error).partition(" (")[0])
        await saver.setup()
        await converse(saver)
        await asyncio.to_thread(read_elsewhere)
        for thread in THREADS:
            await saver.adelete_thread(thread["configurable"]["thread_id"])
    try:
        async with AsyncPostgresSaver.from_conn_string("postgresql://user:secret@127.0.0.1:1/chats"):
            pass
    except OperationalError as error:
        print("a server that is not there:", str(error).partition(" as user")[0])


if __name__ == "__main__":
    asyncio.run(main())
