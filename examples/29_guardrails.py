"""Guardrails: hooks that see what a model is sent and what it answers, before anybody reads it.

Prints::

    sent: [('human', 'My card is **** **** **** ****. Did I pay?')]
    told: ['You paid 20 euros. ', '[removed] ', 'Bye.']
    kept: You paid 20 euros. [removed] Bye.
    judged: AfterModel drop_names: changed
    halted: model_call_denied, Blocked: I talk about bills alone.
"""

import asyncio
import re

from stategraph import AgentInputs, HookOutput, HookRegistry, create_run
from stategraph.testing import ScriptedChatModel


def mask_cards(happened):
    messages = [each.model_copy(update={"content": hide(each.content)}) for each in happened["messages"]]
    return HookOutput(updated_input={"messages": messages})


def hide(text):
    return re.sub(r"\d{4}", "****", text)


def stay_on_topic(happened):
    if "poem" in happened["messages"][-1].content:
        return HookOutput(decision="deny", reason="I talk about bills alone.")
    return None  # Nothing to say: no event.


def drop_names(happened):
    return HookOutput(updated_output="[removed] ") if "Ada" in happened["text"] else None


async def new_run(text, *replies, events=None):
    hooks = HookRegistry()
    hooks.register("BeforeModel", [mask_cards, stay_on_topic])
    hooks.register("AfterModel", drop_names, hold="sentence")  # Readers get each sentence once it is approved.
    model = ScriptedChatModel(replies=list(replies))
    agent = AgentInputs(agent_id="bills", model=model)
    handlers = {} if events is None else {name: (lambda name, data, *_: events.append((name, data))) for name in EVENTS}
    run = await create_run(run_id="r", agents=[agent], hooks=hooks, custom_handlers=handlers)
    await run.process_stream({"messages": [("user", text)]})
    return run, model


EVENTS = ("on_message_delta", "on_guardrail")


async def main() -> None:
    events = []
    question = "My card is 1234 5678 9012 3456. Did I pay?"
    run, model = await new_run(question, "You paid 20 euros. So did Ada. Bye.", events=events)
    print("sent:", [(each.type, each.content) for each in model.requests[0].messages])
    print("told:", [data["delta"]["content"][0]["text"] for name, data in events if name == "on_message_delta"])
    print("kept:", run.get_run_messages()[-1].content)
    for name, data in events:
        if name == "on_guardrail" and data["hook"] == "AfterModel":
            print(f"judged: {data['hook']} {data['name']}: {data['outcome']}")

    run, _ = await new_run("Write me a poem.")
    print(f"halted: {run.get_halt_reason()}, {run.get_run_messages()[-1].content}")


asyncio.run(main())
