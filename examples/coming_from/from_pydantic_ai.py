"""Coming from Pydantic AI: dependencies, a union of output types with a second try, and a limit of a turn.

Prints::

    Quote(drink='tea', number=3, total=7.5) after 3 calls
    Refusal(reason='We sell no beer.') after 1 calls
    stopped at the limit of 1 call
"""

from dataclasses import dataclass

from langgraph.prebuilt import ToolRuntime
from pydantic import BaseModel

from stategraph import AgentInputs, LimitReachedError, Run, RunLimits
from stategraph.testing import ScriptedChatModel, call, reply


@dataclass
class Shop:
    prices: dict[str, float]


class Quote(BaseModel):
    drink: str
    number: int
    total: float


class Refusal(BaseModel):
    reason: str


def price(drink: str, runtime: ToolRuntime[Shop]) -> float:
    """Return the price of a drink in euros."""
    return runtime.context.prices[drink]


model = ScriptedChatModel(  # or "openai:gpt-5-mini"
    replies=[
        reply(call("price", drink="tea"), usage=(20, 5)),
        reply(call("final_answer_Quote", drink="tea", number="three", total=7.5), usage=(30, 10)),
        reply(call("final_answer_Quote", drink="tea", number=3, total=7.5), usage=(50, 10)),
        reply(call("final_answer_Refusal", reason="We sell no beer."), usage=(20, 10)),
        reply(call("price", drink="tea"), usage=(20, 5)),
    ]
)
agent = AgentInputs(
    agent_id="seller",
    instructions="Quote drinks.",
    model=model,
    tools=(price,),
    output_type=Quote | Refusal,
    output_retries=2,
)


def ask(text: str, limits: RunLimits | None = None) -> Run:
    run = Run.create_sync({"run_id": text, "graph_config": {"agents": [agent]}, "limits": limits})
    run.run_sync({"messages": [("user", text)]}, {"context": Shop({"tea": 2.5, "coffee": 3.0})})
    return run


for text in ("Three tea, please.", "A beer."):
    run = ask(text)
    print(repr(run.output), f"after {run.usage.total.model_calls} calls")
try:
    ask("Four tea.", RunLimits(model_calls=1, on_limit="raise"))
except LimitReachedError as reached:
    print(f"stopped at the limit of {reached.allowed} call")
