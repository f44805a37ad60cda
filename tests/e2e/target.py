"""The agent of the scenes: its model does what the message says, and stops at gates that a scene opens."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AIMessage, AnyMessage, ToolMessage
from langchain_core.tools import tool

from stategraph import (
    START,
    AgentInputs,
    GraphEdge,
    HookOutput,
    HookRegistry,
    ModelPrice,
    Prices,
    RunLimits,
    StateGraph,
    add_messages,
    interrupt,
)
from stategraph.agent.mcp.elicitation import Elicitation
from stategraph.run.questions import ask_user_question
from stategraph.testing import Gate, Hold, ModelRequest, Reply, Script, ScriptedChatModel, Think, Usage, call, reply

#: Gates by their names; a scene that needs one names it in its message.
GATES: defaultdict[str, Gate] = defaultdict(Gate)

HOSTILE = """\
<script>window.hacked = 1</script><img src=x onerror="window.hacked = 1">

[click](javascript:window.hacked=1) [data](data:text/html,<script>window.hacked=1</script>)
![pixel](http://evil.invalid/pixel.png) <svg onload="window.hacked=1"></svg>

<a href="javascript:window.hacked=1">here</a> <style>body{display:none}</style>

```html
<script>window.hacked = 1</script>
```

| <b onmouseover="window.hacked=1">x</b> | y |
|---|---|
| `<iframe srcdoc="<script>parent.hacked=1</script>">` | [a]("onclick="window.hacked=1) |
"""

MARKDOWN = """\
# Title

- one
- two

```python
print('hi')
```

| a | b |
|---|--:|
| 1 | 2 |
"""

DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

LONG = " ".join(f"word{number}" for number in range(1, 61))


@tool
def look_up(topic: str) -> str:
    """Look a topic up."""
    return f'{{"topic": "{topic}", "found": 3}}'


@tool
def pay(amount: int) -> str:
    """Pay money."""
    return f"paid {amount}"


@tool
def draw() -> list[Any]:
    """Draw a picture."""
    return [{"type": "text", "text": "a dot"}, {"type": "image", "base64": DOT, "mime_type": "image/png"}]


@tool
def ask(question: str) -> str:
    """Ask the person."""
    given = ask_user_question(
        {"question": question, "options": [{"label": "Tea", "value": "tea"}, {"label": "Coffee", "value": "coffee"}]}
    )
    return f"the person wants {given['answer']}"


FORM = {
    "type": "object",
    "properties": {
        "boxes": {"type": "integer", "minimum": 1, "title": "Boxes", "description": "How many you want"},
        "size": {"type": "string", "enum": ["s", "l"], "enumNames": ["Small", "Large"]},
        "mail": {"type": "string", "format": "email", "title": "Mail for the receipt"},
        "wrapped": {"type": "boolean", "default": False},
    },
    "required": ["boxes", "size"],
}


@tool
def order(item: str) -> str:
    """Order something, as a tool of an MCP server that asks how much of it."""
    asked = Elicitation("shop", "form", f"How many boxes of {item}?", FORM)
    given = interrupt(asked.payload())
    return f"{given['action']}: {json.dumps(given.get('content'), sort_keys=True)}"


@tool
def transfer_between_accounts_of_the_same_company(reference: str) -> str:
    """Move money, with a name that is too long for a phone."""
    return f"moved: {reference}"


def _perform(request: ModelRequest[Any]) -> Reply:
    said = list(request.messages)
    begins = max(at for at, each in enumerate(said) if each.type == "human")
    text = str(said[begins].text)
    results = [each for each in said[begins + 1 :] if isinstance(each, ToolMessage)]
    word, _, rest = text.partition(" ")
    if results and (word != "loop" or len(results) >= int(rest)):
        return _counted(f"The result is: {results[-1].content}")
    match word:
        case "look":
            return _counted(Think("I had better look it up."), "One moment. ", call("look_up", topic=rest or "tides"))
        case "pay":
            return _counted("This needs approval. ", call("pay", amount=int(rest or 5)))
        case "pay-twice":
            return _counted(call("pay", amount=1), call("pay", amount=2))
        case "draw":
            return _counted(call("draw"))
        case "ask":
            return _counted(call("ask", question="Tea or coffee?"))
        case "order":
            return _counted(call("order", item=rest))
        case "move":
            return _counted(call("transfer_between_accounts_of_the_same_company", reference=rest))
        case "loop":
            return _counted("Once more. ", call("look_up", topic=f"part {len(results) + 1}"))
        case "hold":
            first, second = LONG.split(" word31 ")
            return _counted(first, " ", Hold(GATES[rest]), f"word31 {second}")
        case "hostile":
            return _counted(HOSTILE)
        case "markdown":
            return _counted(MARKDOWN)
        case "fail":
            raise RuntimeError("the model is on fire")
    return _counted(f"You said: {text}")


def _counted(*parts: Any) -> Reply:
    return reply(*parts, usage=Usage(100, 20), gap_s=0.002)


def _approve(_: Any) -> HookOutput:
    return HookOutput(decision="ask", reason="Money leaves the account.")


def target() -> dict[str, Any]:
    hooks = HookRegistry()
    hooks.register("PreToolUse", _approve, pattern="^(pay|transfer_)")
    agent = AgentInputs(agent_id="ada", name="Ada", model=a_model(), tools=_TOOLS)
    return {"agents": [agent], "hooks": hooks, "prices": PRICES, "limits": RunLimits(tool_calls=3, on_limit="ask")}


_TOOLS = (look_up, pay, draw, ask, order, transfer_between_accounts_of_the_same_company)

PRICES = Prices(models=(ModelPrice(model="scenes", input=1.0, output=2.0),), known=False)


def a_model(says: Any = _perform) -> ScriptedChatModel:
    """A model that does what the message says, or what a function says."""
    return ScriptedChatModel(replies=Script([says], repeat_last=True), model_name="scenes")


def with_a_budget() -> dict[str, Any]:
    """An agent whose turns end at a cost."""
    agent = AgentInputs(agent_id="ada", name="Ada", model=a_model(), tools=_TOOLS)
    return {"agents": [agent], "prices": PRICES, "limits": RunLimits(cost=0.0003)}


def with_few_steps() -> dict[str, Any]:
    """An agent whose turns have few steps."""
    agent = AgentInputs(agent_id="ada", name="Ada", model=a_model(), tools=_TOOLS)
    return {"agents": [agent], "config": {"recursion_limit": 4}}


def several() -> dict[str, Any]:
    """Two agents: the first hands over to the second."""

    def front(_: ModelRequest[Any]) -> Reply:
        return _counted("That is a matter of orders. ", call("lc_transfer_to_orders"))

    def orders(request: ModelRequest[Any]) -> Reply:
        return _counted("Your order is on its way.")

    return {
        "agents": [
            AgentInputs(agent_id="front", name="Ada", model=a_model(front)),
            AgentInputs(agent_id="orders", name="Orders department", model=a_model(orders)),
        ],
        "edges": [GraphEdge(from_="front", to="orders", edge_type="handoff")],
    }


#: The name of a node.
MARKUP = "<img src=x onerror=window.hacked=1>"


class _Noted(TypedDict, total=False):
    messages: Annotated[list[AnyMessage], add_messages]
    note: str


def marked_up() -> Any:
    """A graph with a node whose name is markup, as is what it writes."""
    builder = StateGraph(_Noted)
    builder.add_node(MARKUP, lambda _: {"messages": [AIMessage("Hello.")], "note": f"</pre>{HOSTILE}{MARKUP}"})
    builder.add_edge(START, MARKUP)
    return builder.compile(name="Ada")
