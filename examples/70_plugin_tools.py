"""A plug-in's function as a Tool: an agent and a workflow call it, it is replaced while it works, and loses a tool.

Prints::

    ready: agent/default/host, plugin/default/people, tool/default/welcome, workflow/default/flow
    the agent: welcome said {"text": "hello Ada"}
    a step: hello Eve
    replaced: good day Eve
    degraded: the plug-in 'people' has no tool 'greet'; it has: wave
"""

import asyncio

from pydantic import BaseModel

from stategraph.resources import Runtime
from stategraph.resources.plugins import Plugin, PluginContext
from stategraph.testing import ScriptedChatModel, call, reply

MANIFESTS = """\
apiVersion: stategraph.dev/v1
kind: Plugin
metadata: {name: people}
spec: {module: "MODULE:Greeter", trust: trusted, config: {word: hello}}
---
apiVersion: stategraph.dev/v1
kind: Tool
metadata: {name: welcome}
spec: {plugin: {pluginRef: people, tool: greet}, description: Welcomes somebody., risk: read}
---
apiVersion: stategraph.dev/v1
kind: Agent
metadata: {name: host}
spec: {instructions: You welcome guests., model: "openai:gpt-4.1", tools: [welcome]}
---
apiVersion: stategraph.dev/v1
kind: Workflow
metadata: {name: flow}
spec:
  inputs: {who: {type: string}}
  state: {text: {}}
  steps: [{id: greet, tool: welcome, input: {name: "${{ input.who }}"}, output: {text: "${{ result.text }}"}}]
""".replace("MODULE", __name__)


class Words(BaseModel):
    word: str = "hello"


class Greeter(Plugin):
    """Greets people in its own words."""

    permissions = frozenset(("tools",))
    Config = Words

    async def start(self, context: PluginContext) -> None:
        """Offer a tool."""
        self.word = context.config.word
        context.add_tool(self.greet)

    async def greet(self, name: str) -> dict[str, str]:
        """Greet somebody."""
        return {"text": f"{self.word} {name}"}


class Waver(Plugin):
    """Does not speak."""

    permissions = frozenset(("tools",))

    async def start(self, context: PluginContext) -> None:
        """Offer another tool."""
        context.add_tool(self.wave)

    async def wave(self) -> str:
        """Wave."""
        return "waves"


def model_of(request: object) -> ScriptedChatModel:
    """Return a model whose replies are written down."""
    del request
    return ScriptedChatModel(replies=[reply("", call("welcome", {"name": "Ada"})), "Welcome, Ada."])


async def main() -> None:
    async with Runtime.from_url("memory:", allow=(__name__,), model_factory=model_of) as runtime:
        await runtime.load_from_string(MANIFESTS)
        print("ready:", ", ".join(sorted(str(each.key) for each in await runtime.list() if each.is_ready)))
        answer = await runtime.agent("host").generate("Ada is here.")
        said = next(each for each in answer.messages if each.type == "tool")
        print(f"the agent: {said.name} said {said.text}")
        print("a step:", (await runtime.get_workflow("flow").execute("Eve")).output["text"])
        await runtime.load_from_string(MANIFESTS.replace("word: hello", "word: good day"))
        print("replaced:", (await runtime.get_workflow("flow").execute("Eve")).output["text"])
        await runtime.load_from_string(MANIFESTS.replace("Greeter", "Waver").replace("config: {word: hello}", ""))
        await runtime.settled()
        welcome = await runtime.get("tool/welcome")
        degraded = None if welcome is None else welcome.condition("Degraded")
        assert degraded is not None
        print("degraded:", degraded.message.partition("spec.plugin.tool: ")[2])


asyncio.run(main())
