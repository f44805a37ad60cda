"""Tools whose source is a plug-in: wherever it runs, while it is replaced, killed, and when it fails."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from stategraph.resources.plugins.errors import PluginCallError
from stategraph.testing import call, reply
from stategraph.workers.process import bubblewrap
from tests.resources.sources.kit import Models, called, eventually, running, said

pytestmark = pytest.mark.anyio

WHERE = [
    "trusted",
    "verified",
    pytest.param("public", marks=pytest.mark.skipif(bubblewrap.program() is None, reason="there is no bubblewrap")),
]

PLUGIN = """
apiVersion: stategraph.dev/v1
kind: Plugin
metadata: {name: people}
spec: {module: "tests.resources.plugins.samples:CLASS", trust: TRUST, healthSeconds: 0.2, config: {}}
---
"""
TOOL = """
apiVersion: stategraph.dev/v1
kind: Tool
metadata: {name: NAME}
spec: {plugin: {pluginRef: people, tool: OFFERED}, description: DESCRIBED, risk: read, timeout: 20s}
---
"""
AGENT = """
apiVersion: stategraph.dev/v1
kind: Agent
metadata: {name: host}
spec: {instructions: Greet., model: "openai:gpt", tools: [welcome, {name: sum, ref: add}, plugins/people]}
---
"""
FLOW = """
apiVersion: stategraph.dev/v1
kind: Workflow
metadata: {name: flow}
spec:
  inputs: {who: {type: string}}
  state: {text: {type: string}}
  steps: [{id: greet, tool: welcome, input: {name: "${{ input.who }}"}, output: {text: "${{ result.text }}"}}]
---
"""


def plugin(cls="Greeter", trust="trusted"):
    return PLUGIN.replace("CLASS", cls).replace("TRUST", trust)


def tool(name, offered=None, described="Says something."):
    text = TOOL.replace("NAME", name).replace("DESCRIBED", described)
    return text.replace(", tool: OFFERED", "") if offered is None else text.replace("OFFERED", offered)


@pytest.mark.parametrize("trust", WHERE)
async def test_agents_and_steps_call_a_tool_of_a_plugin_wherever_that_runs(trust):
    calls = [call("welcome", {"name": "Ada"}), call("sum", {"a": 1}), call("fail", {"text": "no"})]
    models = Models(agent__default__host=[reply("", *calls), reply("", call("greet", {"name": "Bob"})), "done"])
    # The agent comes before what it needs: the order of documents does not matter.
    text = AGENT + FLOW + tool("welcome", "greet") + tool("add") + tool("fail") + plugin(trust=trust)
    async with running(text, model_factory=models) as runtime:
        await runtime.wait("agent/host", "Ready", 60)
        answer = await runtime.agent("host").generate("go")
        results = {each.name: each.text for each in answer.messages if each.type == "tool"}
        assert results["welcome"] == '{"text": "hello Ada"}'
        assert (results["sum"], results["greet"]) == ("3", '{"text": "hello Bob"}')
        assert "ValueError: no" in results["fail"]
        assert (await runtime.get_workflow("flow").execute({"who": "Eve"})).output == {"text": "hello Eve"}
        with pytest.raises(PluginCallError, match="ValueError: nothing"):
            await called(runtime, "fail", text="nothing")
        status = (await runtime.get("tool/welcome")).status
        assert (status["arguments"], status["risk"]) == (["name"], "read")


def test_a_tool_of_a_plugin_is_called_where_nothing_can_be_awaited():
    from stategraph.resources import BlockingRuntime, Runtime

    runtime = Runtime.from_url("memory:", allow=("tests.",), model_factory=Models())
    with BlockingRuntime(runtime) as blocking:
        blocking.load_from_string(plugin() + tool("add"))
        assert blocking.compiled("tool/add").tool.invoke({"a": 40}) == 42


@pytest.mark.parametrize("trust", ["trusted", "verified"])
async def test_calls_that_are_under_way_end_while_the_plugin_is_replaced(trust):
    async with running(plugin("Rude", trust) + tool("sleep") + tool("soon")) as runtime:
        slow = asyncio.create_task(called(runtime, "sleep", seconds=0.5))
        host = runtime.compiled("plugin/people").host

        async def is_under_way():
            return host.status("people").running == 1

        await eventually(is_under_way)
        changed = asyncio.create_task(
            runtime.load_from_string(plugin("Rude", trust).replace("config: {}", "config: {a: 1}"))
        )
        while not changed.done():  # there is always an instance that answers
            assert await called(runtime, "soon") == "now"
        await changed
        assert host.status("people").replaced == 1
        assert await slow == "slept"
        assert (await runtime.get("tool/soon")).is_ready


async def test_a_plugin_that_is_killed_fails_the_call_and_its_tool_works_again():
    async with running(plugin("Greeter", "verified") + tool("add") + tool("where")) as runtime:
        pid = (await called(runtime, "where"))["pid"]
        os.kill(pid, signal.SIGKILL)

        async def works():
            try:
                return await called(runtime, "add", a=1) == 3
            except Exception:
                return False

        await eventually(works)
        assert (await called(runtime, "where"))["pid"] != pid
        await said(runtime, "tool/add", "Ready", "True")


async def test_a_tool_that_a_new_plugin_does_not_offer_is_degraded_and_comes_back():
    async with running(plugin() + tool("add")) as runtime:
        assert await called(runtime, "add", a=1) == 3
        await runtime.load_from_string(plugin("Rude"))
        gone = await said(runtime, "tool/add", "Degraded", "True")
        assert "the plug-in 'people' has no tool 'add'; it has: become_sick, block" in gone.message
        assert (await said(runtime, "tool/add", "ReferencesResolved", "False")).reason == "ToolNotFound"
        with pytest.raises(PluginCallError, match="has no tool 'add'"):
            await called(runtime, "add", a=1)
        await runtime.load_from_string(plugin())
        await said(runtime, "tool/add", "Ready", "True")
        assert await called(runtime, "add", a=2) == 4


@pytest.mark.parametrize(
    ("text", "reason", "told"),
    [
        (tool("add"), "ReferencesUnresolved", "there is no plugin/default/people"),
        (tool("ad") + plugin(), "ReferencesUnresolved", "has no tool 'ad'; it has: add"),
        (tool("add") + plugin("DiesAtStart"), "DependencyNotReady", "OSError: no disk"),
        (
            tool("add") + plugin().replace("config: {}", "permissions: [events:publish]"),
            "DependencyNotReady",
            "needs permissions that it was not granted: tools",
        ),
        (
            tool("add").replace("risk: read", "function: 'a:b'"),
            "Invalid",
            "exactly one of function, mcp, plugin",
        ),
    ],
)
async def test_a_tool_whose_plugin_has_nothing_for_it_says_why(text, reason, told):
    async with running(text) as runtime:
        found = next(each for each in await runtime.list() if each.kind == "Tool")
        ready = found.condition("Ready")
        assert (ready.status, ready.reason) == ("False", reason)
        assert told in ready.message
