"""The embedded demo: an agent on a scripted model, which needs no key and no network.

It shows what the page can do: text that streams, reasoning, tools, a call that a person has to approve, Markdown.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.messages import BaseMessage, ToolMessage
from langchain_core.tools import tool

from stategraph.agent.settings.inputs import AgentInputs
from stategraph.agent.settings.limits import ModelPrice, Prices
from stategraph.dev.target import TEXTS, Suggestion, Target
from stategraph.run.hooks.hook_registry import HookOutput, HookRegistry
from stategraph.testing import ModelRequest, Reply, Script, ScriptedChatModel, Think, Usage, call, reply

_GAP_S = 0.035
_NOTE = (
    "A scripted model answers here, so nothing is sent anywhere. Start the server with your own agent to talk to it."
)

_ORDERS = {"1042": {"item": "Desk lamp", "price_eur": 89.0, "status": "lost in transit"}}
_WEATHER = {"rome": (31, "sunny"), "oslo": (12, "light rain"), "tokyo": (24, "clear")}


@tool
def look_up_weather(city: str) -> str:
    """Return the weather in a city."""
    degrees, sky = _WEATHER.get(city.lower(), (18, "cloudy"))
    return json.dumps({"city": city, "celsius": degrees, "sky": sky})


@tool
def look_up_order(order_id: str) -> str:
    """Return an order by its number."""
    return json.dumps(_ORDERS.get(order_id, {"error": f"there is no order {order_id}"}))


@tool
def pay_refund(order_id: str, amount_eur: float) -> str:
    """Pay money back to the customer."""
    return f"{amount_eur:.2f} EUR are on their way for order {order_id}"


def _guard(_: Any) -> HookOutput:
    return HookOutput(decision="ask", reason="Money leaves the account, so a person has to agree.")


_TOUR = """\
Here is what an answer may look like.

### Text and lists

1. **Bold**, *emphasis*, `code`, and [links](https://commonmark.org).
2. Tables, quotes and code keep their shape while they arrive.

| Engine | 20,000 sends | Checkpoints |
|---|--:|---|
| stategraph | one graph | deltas |
| another | one graph | whole states |

```python
from stategraph import AgentInputs, create_run

agent = AgentInputs(agent_id="assistant", model="openai:gpt-5-mini")
run = await create_run(run_id="answer-1", agents=[agent])
async for event in run.stream({"messages": [("user", "Hello")]}):
    print(event.event)
```

> The page runs no script that an answer brings along, and loads nothing from elsewhere.
"""

_WELCOME = """\
I am the embedded demo: a **scripted model** that runs on the real engine. Ask me about

- the *weather* in Rome, Oslo or Tokyo: I think, and use a tool,
- a *refund* for order 1042: I use two tools, and one needs your approval,
- *Markdown*: I show a table and some code.

Your own agent takes my place with `stategraph dev my_app.agents:support`.
"""


def _answer(request: ModelRequest[BaseMessage]) -> Reply:
    said = list(request.messages)
    results = _results(said)
    text = next((str(each.text) for each in reversed(said) if each.type == "human"), "").lower()
    for words, scene in _SCENES:
        if any(word in text for word in words):
            return scene(text, results)
    return _reply(_WELCOME)


def _results(said: Sequence[BaseMessage]) -> list[ToolMessage]:
    """Return the results of the turn so far."""
    begins = max((at for at, each in enumerate(said) if each.type == "human"), default=-1)
    return [each for each in said[begins + 1 :] if isinstance(each, ToolMessage)]


def _weather(text: str, results: Sequence[ToolMessage]) -> Reply:
    city = next((name.title() for name in _WEATHER if name in text), "Rome")
    if not results:
        thought = f"The person asks about the weather in {city}. I should not guess, as there is a tool that knows it."
        return _reply(Think(thought), "Let me look that up. ", call("look_up_weather", city=city))
    seen = json.loads(str(results[-1].content))
    return _reply(f"In **{seen['city']}** it is {seen['celsius']} °C, with {seen['sky']}.")


def _refund(_: str, results: Sequence[ToolMessage]) -> Reply:
    if not results:
        return _reply(
            Think("First the order, then the money."),
            "I am sorry to hear that. I look at the order first. ",
            call("look_up_order", order_id="1042"),
        )
    if len(results) == 1:
        thought = "The parcel is lost, so the full price is to be refunded. That needs an approval."
        return _reply(
            Think(thought),
            "Your desk lamp was **lost in transit**. I propose a full refund. ",
            call("pay_refund", order_id="1042", amount_eur=89.0),
        )
    result = results[-1]
    if "on their way" not in str(result.content):
        return _reply("I did not pay anything. Tell me how you would like to go on.")
    return _reply(f"Done: {result.content}.")


def _markdown(_: str, __: Sequence[ToolMessage]) -> Reply:
    return _reply(_TOUR)


_Scene = Callable[[str, Sequence[ToolMessage]], Reply]
_SCENES: tuple[tuple[tuple[str, ...], _Scene], ...] = (
    (("weather", "warm", "cold", "rain"), _weather),
    (("refund", "order", "1042", "parcel"), _refund),
    (("markdown", "table", "code"), _markdown),
)


def _reply(*parts: Any) -> Reply:
    words = sum(len(str(getattr(each, "text", each)).split()) for each in parts)
    thought = sum(len(each.text.split()) for each in parts if isinstance(each, Think))
    usage = Usage(input_tokens=420, output_tokens=int(words * 1.4) + 1, reasoning_tokens=int(thought * 1.4))
    return reply(*parts, usage=usage, gap_s=_GAP_S)


def target() -> Target:
    """Return the demo."""
    hooks = HookRegistry()
    hooks.register("PreToolUse", _guard, pattern="^pay_")
    agent = AgentInputs(
        agent_id="demo",
        name="Demo agent",
        model=ScriptedChatModel(replies=Script([_answer], repeat_last=True), model_name="scripted-demo"),
        tools=(look_up_weather, look_up_order, pay_refund),
    )
    price = ModelPrice(model="scripted-demo", input=0.25, output=2.0)
    return Target(
        name="Demo agent",
        settings={"agents": [agent], "hooks": hooks, "prices": Prices(models=(price,), known=False)},
        config={},
        agents={"demo": "Demo agent"},
        accepts=(TEXTS,),
        suggestions=(
            Suggestion("Use a tool", "What is the weather in Tokyo?"),
            Suggestion("Ask for approval", "My order 1042 never arrived. I would like a refund."),
            Suggestion("Show Markdown", "Show me what Markdown looks like here, with a table and code."),
        ),
        note=_NOTE,
    )
