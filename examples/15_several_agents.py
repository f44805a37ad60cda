"""Several agents: one hands over to two others at once, and a fourth sums up what they found.

Prints::

    desk says: Let me ask around.
    desk calls lc_transfer_to_flights: Successfully transferred to flights | Instructions: Find a flight to Rome.
    desk calls lc_transfer_to_hotels: Successfully transferred to hotels | Instructions: Find a room in Rome.
    flights says: At nine.
    hotels says: Near the Forum.
    summary says: You fly at nine and sleep near the Forum.
    summary was told: Answer the user from this: AI: Let me ask around. ...
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from stategraph import AgentInputs, GraphConfig, GraphEdge, GraphEvents, Run, RunConfig, create_content_aggregator
from stategraph.testing import ScriptedChatModel, call, reply

asked = [
    call("lc_transfer_to_flights", instructions="Find a flight to Rome."),
    call("lc_transfer_to_hotels", instructions="Find a room in Rome."),
]
models = {
    "desk": ScriptedChatModel(replies=[reply("Let me ask around.", *asked)]),
    "flights": ScriptedChatModel(replies=["At nine."]),
    "hotels": ScriptedChatModel(replies=["Near the Forum."]),
    "summary": ScriptedChatModel(replies=["You fly at nine and sleep near the Forum."]),
}
edges = [
    GraphEdge(from_="desk", to=["flights", "hotels"], edge_type="handoff", prompt="What the agent should do."),
    GraphEdge(
        from_=["flights", "hotels"],
        to="summary",
        edge_type="direct",
        prompt="Answer the user from this: {results}",
    ),
]


async def main() -> None:
    content = create_content_aggregator()

    def put(event: str, data: Mapping[str, Any], metadata: object, graph: object) -> None:
        content.aggregate_content(event, data)

    run = await Run.create(
        RunConfig(
            run_id="trip",
            graph_config=GraphConfig(
                type="multi-agent",
                agents=[AgentInputs(agent_id=name, model=model) for name, model in models.items()],
                edges=edges,
            ),
            custom_handlers=dict.fromkeys(GraphEvents, put),
        )
    )
    await run.process_stream({"messages": [("user", "I want to see Rome.")]})
    for part in content.content_parts:
        if part is not None and part["type"] == "text":
            print(f"{part['agentId']} says: {part['text']}")
        elif part is not None:
            tool_call = part["tool_call"]
            print(f"{part['agentId']} calls {tool_call['name']}: {' | '.join(tool_call['output'].split(chr(10) * 2))}")
    told = str(models["summary"].requests[0].messages[-1].content)
    print(f"summary was told: {told.splitlines()[0]} ...")


asyncio.run(main())
