"""Work in other processes: nodes that can be stopped, and whole runs behind the same API.

Prints::

    counting
    4 words, counted in another process: True
    gave up on hang after 0.5 s
    on_run_step_completed on_message_delta
    the tool ran in another process: True
"""

import asyncio
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # workers import `heavy_work` as this program does

import heavy_work

from stategraph import END, START, AgentInputs, NodeError, NodeTimeoutError, StateGraph
from stategraph.workers import MultiProcessRuntime, close_node_workers, imported

SHOWN = ("on_run_step_completed", "on_message_delta")


def gave_up(state: heavy_work.State, error: NodeError) -> heavy_work.State:
    assert isinstance(error.error, NodeTimeoutError)
    print(f"gave up on {error.node} after {error.error.timeout} s")
    return {}


def nodes() -> None:
    """Two nodes on workers, the second of which has to be stopped."""
    builder = StateGraph(heavy_work.State)
    builder.add_node(heavy_work.count_words, executor="process")
    builder.add_node(heavy_work.hang, executor="process", timeout=0.5, error_handler=gave_up)
    builder.add_edge(START, "count_words").add_edge("count_words", "hang").add_edge("hang", END)
    given = {"host": os.getpid(), "page": "the tide is high"}
    for mode, part in builder.compile().stream(given, stream_mode=["custom", "updates"]):
        if mode == "custom":
            print(part)
        elif "count_words" in part:
            found = part["count_words"]
            print(f"{found['words']} words, counted in another process: {found['elsewhere']}")
    close_node_workers()


async def runs() -> None:
    """A run of an agent in a worker process; its events arrive here."""
    agent = AgentInputs(
        agent_id="assistant",
        model=imported("heavy_work:model", host=os.getpid()),
        tools=[heavy_work.is_elsewhere],
    )
    async with MultiProcessRuntime(workers=1) as runtime:
        run = await runtime.create_run(run_id="answer-1", agents=[agent])
        events = [event.event async for event in run.stream({"messages": [("user", "Where are you?")]})]
        print(*(event for event in events if event in SHOWN))
        print(f"the tool ran in another process: {run.get_run_messages()[1].content}")


if __name__ == "__main__":
    nodes()
    asyncio.run(runs())
