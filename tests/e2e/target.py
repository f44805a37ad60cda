"""The agent of the scenes: its model does what the message says, and stops at gates that a scene opens."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from langchain_core.messages import ToolMessage
from langchain_core.tools import tool

from stategraph import AgentInputs, HookOutput, HookRegistry, ModelPrice, Prices
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


def _perform(request: ModelRequest[Any]) -> Reply:
    said = list(request.messages)
    begins = max(at for at, each in enumerate(said) if each.type == "human")
    text = str(said[begins].text)
    results = [each for each in said[begins + 1 :] if isinstance(each, ToolMessage)]
    if results:
        return _counted(f"The result is: {results[-1].content}")
    word, _, rest = text.partition(" ")
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
    hooks.register("PreToolUse", _approve, pattern="^pay")
    model = ScriptedChatModel(replies=Script([_perform], repeat_last=True), model_name="scenes")
    agent = AgentInputs(agent_id="ada", name="Ada", model=model, tools=(look_up, pay, draw, ask))
    price = ModelPrice(model="scenes", input=1.0, output=2.0)
    return {"agents": [agent], "hooks": hooks, "prices": Prices(models=(price,), known=False)}
