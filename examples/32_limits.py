"""Limits and usage of a run: a turn that ends with what there is, a person who raises a limit, a cost.

Prints::

    ended: tool_calls_limit, after 2 of 3 searches
    completed: True, 5 calls of models, 90 tokens, 0.0045 dollars
    asked: {'type': 'limit_reached', 'limit': 'model_calls', 'allowed': 2, 'used': 2, 'agentId': 'researcher'}
    answer: Tides follow the moon. after 3 calls
    by agent: {'researcher': 3} by model: {'scriptedchatmodel/scripted': 48}
    raised: The run has reached its limit cost=0.001
"""

import asyncio

from langgraph.checkpoint.memory import InMemorySaver

from stategraph import AgentInputs, AgentRuntime, LimitReachedError, ModelPrice, Prices, RunLimits
from stategraph.testing import Reply, ScriptedChatModel, call, reply


def search(topic: str) -> str:
    """Search for a topic."""
    return f"notes about {topic}"


def searches(*topics: str) -> Reply:
    return reply(*(call("search", topic=topic) for topic in topics), usage=(12, 4))


def researcher(*replies: Reply) -> AgentInputs:
    model = ScriptedChatModel(replies=list(replies))  # or model="openai:gpt-5-mini"
    return AgentInputs(agent_id="researcher", model=model, tools=(search,))


ASK = {"messages": [("user", "Why are there tides?")]}
DONE = reply("Tides follow the moon.", usage=(12, 4))
# Prices of models that the package genai-prices knows need not be given.
PRICES = Prices(models=(ModelPrice(model="scripted", input=50, output=50),), known=False)


async def main() -> None:
    async with AgentRuntime(checkpointer=InMemorySaver(), prices=PRICES) as runtime:
        agent = researcher(searches("tides", "moon", "sun"))
        run = await runtime.create_run(run_id="1", agents=[agent], limits=RunLimits(tool_calls=2))
        await run.process_stream(ASK)
        print(f"ended: {run.get_halt_reason()}, after {run.usage.total.tool_calls} of 3 searches")

        agent = researcher(*(searches("tides") for _ in range(4)), reply("The moon.", usage=(18, 8)))
        run = await runtime.create_run(run_id="2", agents=[agent], limits=RunLimits(cost=0.01))
        await run.process_stream(ASK)
        used = run.usage.total
        print(
            f"completed: {run.get_halt_reason() is None}, {used.model_calls} calls of models, "
            f"{used.total_tokens} tokens, {used.cost} dollars"
        )

        agent = researcher(searches("tides"), searches("moon"), DONE)
        limits = RunLimits(model_calls=2, on_limit="ask")
        run = await runtime.create_run(run_id="3", agents=[agent], limits=limits)
        await run.process_stream(ASK)
        asked = run.get_interrupt()
        assert asked is not None
        print("asked:", asked.payload)
        await run.resume({"type": "raise", "to": 10})  # or {"type": "end"}; also in another process
        print(f"answer: {run.get_run_messages()[-1].content} after {run.usage.total.model_calls} calls")
        by_agent = {name: used.model_calls for name, used in run.usage.by_agent.items()}
        by_model = {name: used.total_tokens for name, used in run.usage.by_model.items()}
        print("by agent:", by_agent, "by model:", by_model)

        agent = researcher(searches("tides"), searches("moon"), DONE)
        limits = RunLimits(cost=0.001, on_limit="raise")
        run = await runtime.create_run(run_id="4", agents=[agent], limits=limits)
        try:
            await run.process_stream(ASK)
        except LimitReachedError as reached:
            print("raised:", str(reached).partition(": ")[0])


asyncio.run(main())
