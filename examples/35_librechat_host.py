"""A chat backend ported from TypeScript: stored parts in, events out, new parts to store.

Prints::

    formatted: human: How is Rome? | ai: It is sunny. | human: And tomorrow?
    on_run_step 0 message_creation
    on_run_step 1 tool_calls
    on_run_step 2 message_creation
    to store: [tool_call get_weather -> Rain in Rome] [text Rain, take a coat.]
    the next turn: human, ai, human, ai, tool, ai
"""

import asyncio

from langchain_core.tools import tool
from librechat_agents import (
    GraphEvents,
    HookRegistry,
    Run,
    createContentAggregator,
    createToolPolicyHook,
    formatAgentMessages,
)

from stategraph.testing import ScriptedChatModel, call, reply

stored = [
    {"role": "user", "content": "How is Rome?"},
    {"role": "assistant", "content": [{"type": "think", "think": "Easy."}, {"type": "text", "text": "It is sunny."}]},
    {"role": "user", "content": "And tomorrow?"},
]


@tool
def get_weather(city: str) -> str:
    """Return the weather of a city."""
    return f"Rain in {city}"


model = ScriptedChatModel(replies=[reply(call("get_weather", city="Rome")), reply("Rain, take a coat.")])


def shown(part):
    if part["type"] == "tool_call":
        return f"[tool_call {part['tool_call']['name']} -> {part['tool_call']['output']}]"
    return f"[text {part['text']}]"


async def main() -> None:
    history = formatAgentMessages(stored, {}, {"get_weather"})
    print("formatted:", " | ".join(f"{each.type}: {each.text}" for each in history["messages"]))

    content = createContentAggregator()

    def handle(event, data, metadata, graph):
        content.aggregateContent({"event": event, "data": data})
        if event == GraphEvents.ON_RUN_STEP:
            print(event.value, data["index"], data["type"])

    hooks = HookRegistry()
    hooks.register("PreToolUse", {"hooks": [createToolPolicyHook({"allow": ["get_*"], "mode": "dontAsk"})]})
    run = await Run.create(
        {
            "runId": "message-4",
            "graphConfig": {
                "type": "standard",
                "agents": [{"agentId": "weather", "model": model, "tools": [get_weather]}],
            },
            "customHandlers": dict.fromkeys(GraphEvents, handle),
            "hooks": hooks,
        }
    )
    await run.processStream({"messages": history["messages"]}, {"recursionLimit": 20})

    parts = [part for part in content.contentParts if part]
    print("to store:", *map(shown, parts))
    stored.append({"role": "assistant", "content": parts})
    print("the next turn:", ", ".join(each.type for each in formatAgentMessages(stored)["messages"]))


asyncio.run(main())
