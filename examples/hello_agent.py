"""A first agent: it calls a tool, and its answer is shown while it is written.

Prints::

    you    Do I need an umbrella in Rome tomorrow?
    tool   forecast(city='Rome') -> 14 degrees, rain from noon
    agent  Yes, take one: it rains from noon, at 14 degrees.
    done   completed: 2 calls of the model, 1 of a tool, 143 tokens
"""

import asyncio
import json

from stategraph import AgentInputs, AgentRuntime
from stategraph.testing import ScriptedChatModel, call, reply


def forecast(city: str) -> str:
    """Tell tomorrow's weather in a city."""
    return "14 degrees, rain from noon"


# Stands in for a model, so that this runs without a key: "openai:gpt-5-mini" or any LangChain chat model will do.
MODEL = ScriptedChatModel(
    replies=[
        reply(call("forecast", city="Rome"), usage=(52, 14)),
        reply("Yes, take one: it rains from noon, at 14 degrees.", usage=(64, 13)),
    ]
)


async def main() -> None:
    agent = AgentInputs(agent_id="assistant", model=MODEL, instructions="Be brief.", tools=[forecast])
    question = "Do I need an umbrella in Rome tomorrow?"
    print("you    " + question)
    async with AgentRuntime() as runtime:
        run = await runtime.create_run(run_id="message-1", agents=[agent])
        writing = False
        async for event in run.stream({"messages": [("user", question)]}):
            if event.event == "on_message_delta":
                print(
                    "" if writing else "agent  ", event.data["delta"]["content"][0]["text"], sep="", end="", flush=True
                )
                writing = True
            elif event.event == "on_run_step_completed":
                told = event.data["result"]["tool_call"]
                arguments = ", ".join(f"{name}={value!r}" for name, value in json.loads(told["args"]).items())
                print(f"tool   {told['name']}({arguments}) -> {told['output']}")
        used = run.usage.total
        calls = f"{used.model_calls} calls of the model, {used.tool_calls} of a tool"
        print(f"\ndone   {event.data['status']}: {calls}, {used.total_tokens} tokens")


asyncio.run(main())
