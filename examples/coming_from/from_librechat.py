"""Coming from `@librechat/agents`: a handoff between two agents, a tool, handlers, and the content parts to store.

Prints::

    refund: order 7 is refunded
    Your money is on its way.
"""

import asyncio

from stategraph import AgentInputs, GraphEdge, create_handlers, create_run
from stategraph.testing import ScriptedChatModel, call, reply


def refund(order: int) -> str:
    """Refund an order."""
    return f"order {order} is refunded"


desk = ScriptedChatModel(replies=[reply(call("lc_transfer_to_refunds"), usage=(9, 4))])
refunds = ScriptedChatModel(  # or provider="openAI" and client_options, as the host stores them
    replies=[reply(call("refund", order=7), usage=(20, 5)), reply("Your money is on its way.", usage=(30, 10))]
)
agents = [
    AgentInputs(agent_id="desk", model=desk, instructions="Hand over."),
    AgentInputs(agent_id="refunds", model=refunds, instructions="Refund orders.", tools=(refund,)),
]
edges = [GraphEdge(from_="desk", to="refunds", edge_type="handoff")]


async def main() -> None:
    collected = create_handlers()  # A handler for each event that content parts are made of, and for usage.
    run = await create_run(
        run_id="message-1",
        agents=agents,
        edges=edges,
        custom_handlers=collected.handlers,
    )
    asked = {"messages": [("user", "I want my money back for order 7.")]}
    await run.process_stream(asked, {"configurable": {"thread_id": "ada"}})
    for part in filter(None, collected.content_parts):
        if part["type"] == "text":
            print(part["text"])
        elif part["tool_call"]["name"] == "refund":
            print("refund:", part["tool_call"]["output"])


asyncio.run(main())
