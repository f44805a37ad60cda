"""Ways between agents: a question that comes back to who asked it, and a turn that begins with whom was spoken to last.

Prints::

    turn 1: refunds: I have refunded order 7.
    turn 2: refunds: Anything else?
    turn 3: ledger: It was 20 euros. / refunds: 20 euros are on their way.
    spoke last: refunds
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from langgraph.checkpoint.memory import InMemorySaver

from stategraph import AgentInputs, GraphEdge, create_run
from stategraph.testing import ScriptedChatModel, call, reply

models = {
    "desk": ScriptedChatModel(replies=[reply(call("lc_transfer_to_refunds"))]),
    "refunds": ScriptedChatModel(
        replies=[
            "I have refunded order 7.",
            "Anything else?",
            reply(call("lc_transfer_to_ledger")),
            "20 euros are on their way.",
        ]
    ),
    "ledger": ScriptedChatModel(replies=["It was 20 euros."]),
}
edges = [
    GraphEdge(from_="desk", to="refunds"),
    GraphEdge(from_="refunds", to="ledger", returns=True),  # Once it has answered, refunds goes on.
]
saver = InMemorySaver()  # With a saver on disk, each turn may be another process.


async def turn(number: int, text: str) -> None:
    agents = [AgentInputs(agent_id=name, model=model) for name, model in models.items()]
    said: list[tuple[Mapping[str, Any], Any]] = []

    def hear(event: str, data: Any, metadata: Mapping[str, Any] | None, graph: object) -> None:
        said.append((metadata or {}, data))

    run = await create_run(
        run_id=f"turn-{number}",
        agents=agents,
        edges=edges,
        checkpointer=saver,
        sticky_agents=True,
        custom_handlers={"on_chat_model_end": hear},
    )
    await run.process_stream({"messages": [("user", text)]}, {"configurable": {"thread_id": "shop"}})
    answers = [f"{metadata['agentId']}: {data['output'].content}" for metadata, data in said if data["output"].content]
    print(f"turn {number}:", " / ".join(answers))
    if number == 3:
        print("spoke last:", run.get_active_agent())


async def main() -> None:
    await turn(1, "I want my money back for order 7.")
    await turn(2, "Thanks.")
    await turn(3, "How much was it?")


asyncio.run(main())
