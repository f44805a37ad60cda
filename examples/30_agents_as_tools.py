"""Agents as tools: one agent has two others work side by side, one of which asks a person first.

Prints::

    the shopper asks for approval: buy {'what': 'saffron'}
    planner: list Rice, saffron.
    planner: shop Bought saffron.
    planner says: Risotto tonight.
    shopper was sent: [('human', 'Buy saffron.'), ('ai', ''), ('tool', 'saffron is in the bag')]
    updates: lister start ... stop, shopper start ... stop
    tokens: 54
"""

import asyncio

from langgraph.checkpoint.memory import InMemorySaver

from stategraph import AgentInputs, HookOutput, HookRegistry, HumanInTheLoop, SubagentConfig, create_run
from stategraph.testing import ScriptedChatModel, call, reply

thread = {"configurable": {"thread_id": "dinner"}}


def buy(what: str) -> str:
    """Buy something."""
    return f"{what} is in the bag"


planner = ScriptedChatModel(
    replies=[
        reply(
            call("subagent", subagent_type="lister", description="What does risotto need?", id="list"),
            call("subagent", subagent_type="shopper", description="Buy saffron.", id="shop"),
            usage=(10, 8),
        ),
        reply("Risotto tonight.", usage=(12, 3)),
    ]
)
shopper = ScriptedChatModel(
    replies=[reply(call("buy", what="saffron", id="b1"), usage=(5, 2)), reply("Bought saffron.", usage=(5, 2))]
)
lister = ScriptedChatModel(replies=[reply("Rice, saffron.", usage=(4, 3))])

agent = AgentInputs(
    agent_id="planner",
    model=planner,
    subagent_configs=[
        SubagentConfig(
            type="lister",
            description="Lists what a dish needs.",
            agent_inputs=AgentInputs(agent_id="l", model=lister),
        ),
        SubagentConfig(
            type="shopper",
            description="Buys things.",
            agent_inputs=AgentInputs(agent_id="s", model=shopper, tools=[buy]),
        ),
    ],
)


async def main() -> None:
    updates, tokens = {}, []

    def note(event, data, metadata, graph):
        if event == "on_subagent_update":
            updates.setdefault(data["subagentType"], []).append(data["phase"])
        else:  # Usage of subagents is counted like any other.
            tokens.append(data["output"].usage_metadata["total_tokens"])

    hooks = HookRegistry()
    hooks.register("PreToolUse", lambda happened: HookOutput(decision="ask"), pattern="^buy$")
    run = await create_run(
        run_id="r",
        agents=[agent],
        checkpointer=InMemorySaver(),
        custom_handlers={"on_subagent_update": note, "on_chat_model_end": note},
        hooks=hooks,
        human_in_the_loop=HumanInTheLoop(enabled=True),
    )
    await run.process_stream({"messages": [("user", "Dinner?")]}, thread)
    (request,) = run.get_interrupt().payload["action_requests"]
    print(f"the shopper asks for approval: {request['name']} {request['arguments']}")

    await run.resume([{"type": "approve"}], thread)
    _, listed, shopped, answer = run.get_run_messages()
    print(f"planner: {listed.tool_call_id} {listed.content}")
    print(f"planner: {shopped.tool_call_id} {shopped.content}")
    print(f"planner says: {answer.content}")
    print("shopper was sent:", [(each.type, each.content) for each in shopper.requests[1].messages])
    print("updates:", ", ".join(f"{name} {phases[0]} ... {phases[-1]}" for name, phases in sorted(updates.items())))
    print("tokens:", sum(tokens))


asyncio.run(main())
