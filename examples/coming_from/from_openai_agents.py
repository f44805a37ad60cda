"""Coming from OpenAI's Agents SDK: a tool, a typed answer, a session, a guardrail around the turn, and usage.

Prints::

    3 tea for 7.5: 2 calls, 65 tokens
    4 tea for 10.0: 1 calls, 50 tokens
    refused: I sell drinks.
"""

from langgraph.checkpoint.memory import InMemorySaver
from pydantic import BaseModel

from stategraph import AgentInputs, AgentRuntime, HookOutput, HookRegistry
from stategraph.testing import ScriptedChatModel, call, reply


class Quote(BaseModel):
    drink: str
    number: int
    total: float


def price(drink: str) -> float:
    """Return the price of a drink in euros."""
    return {"tea": 2.5, "coffee": 3.0}[drink]


def drinks_only(happened):
    if "poem" in happened["prompt"]:
        return HookOutput(prevent_continuation=True, stop_reason="I sell drinks.")
    return None


model = ScriptedChatModel(  # or "openai:gpt-5-mini"
    replies=[
        reply(call("price", drink="tea"), usage=(20, 5)),
        reply(call("final_answer", drink="tea", number=3, total=7.5), usage=(30, 10)),
        reply(call("final_answer", drink="tea", number=4, total=10.0), usage=(40, 10)),
    ]
)
agent = AgentInputs(agent_id="seller", instructions="Quote drinks.", model=model, tools=(price,), output_type=Quote)
hooks = HookRegistry()
hooks.register("UserPromptSubmit", drinks_only)
thread = {"configurable": {"thread_id": "ada"}}

with AgentRuntime(checkpointer=InMemorySaver(), hooks=hooks) as runtime:
    for number, text in enumerate(("Three tea, please.", "One more.", "Write me a poem.")):
        run = runtime.create_run_sync(run_id=f"turn-{number}", agents=[agent])
        run.run_sync({"messages": [("user", text)]}, thread)
        if reason := run.get_halt_reason():
            print("refused:", reason)
            break
        quote, usage = run.output, run.usage.total
        print(f"{quote.number} {quote.drink} for {quote.total}: {usage.model_calls} calls, {usage.total_tokens} tokens")
