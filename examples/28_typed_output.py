"""Answers as values of a type: by a tool, a second try after a wrong one, a union, and what has come of one so far.

Prints::

    the model was told: total: Input should be greater than 0, found -3
    Invoice: 3 tea for 7.5
    so far: {'number': 3}
    so far: {'number': 3, 'drink': 'tea'}
    so far: {'number': 3, 'drink': 'tea', 'total': 7.5}
    Refusal: we sell no coffee
    OutputError: 2 answers of agent 'orders' were not valid
"""

import asyncio
from dataclasses import dataclass

from pydantic import BaseModel, Field

from stategraph import AgentInputs, OutputError, create_run
from stategraph.testing import CallPart, ScriptedChatModel, call, reply


class Invoice(BaseModel):
    """An order that can be paid."""

    number: int
    drink: str
    total: float = Field(gt=0)


@dataclass
class Refusal:
    """Why there is no order."""

    reason: str


TEA = {"number": 3, "drink": "tea", "total": 7.5}


async def order(*replies, output_type=Invoice, **settings):
    model = ScriptedChatModel(replies=list(replies))  # or "openai:gpt-5-mini", or any LangChain chat model
    agent = AgentInputs(agent_id="orders", model=model, output_type=output_type, **settings)
    return await create_run(run_id="order-1", agents=[agent])


async def main() -> None:
    asked = {"messages": [("user", "Three tea, please.")]}

    run = await order(reply(call("final_answer", {**TEA, "total": -3})), reply(call("final_answer", TEA)))
    run.handler_registry.register(
        "on_output_refused", lambda _, data, *__: print(f"the model was told: {data['problems'][0]}")
    )
    await run.process_stream(asked)
    print(f"Invoice: {run.output.number} {run.output.drink} for {run.output.total}")

    pieces = ['{"number": 3, ', '"drink": "tea", ', '"total": 7.5}']
    run = await order(reply(CallPart(0, "", "final_answer", "call_1"), *(CallPart(0, each) for each in pieces)))
    async for event in run.stream(asked):
        if event.event == "on_output_delta":
            print(f"so far: {event.data['value']}")

    run = await order(
        reply(call("final_answer_Refusal", reason="we sell no coffee")),
        output_type=Invoice | Refusal,
    )
    await run.process_stream(asked)
    match run.output:
        case Invoice():
            print("paid")
        case Refusal(reason):
            print(f"Refusal: {reason}")

    run = await order("Sure!", "As I said: sure!", output_retries=1)
    try:
        await run.process_stream(asked)
    except OutputError as error:
        print(f"OutputError: {error.tries} answers of agent '{error.agent_id}' were not valid")


asyncio.run(main())
