"""Agents and networks that controllers compile, with scripted models."""

from __future__ import annotations

import pytest

from stategraph.resources.errors import InvalidResource, NotReady, UnresolvedReference
from stategraph.testing import call, reply
from tests.resources.world import World

pytestmark = pytest.mark.anyio

AGENT = """
apiVersion: stategraph.dev/v1
kind: Agent
metadata: {name: a}
spec:
"""


def agent(**fields):
    lines = "".join(f"  {name}: {value}\n" for name, value in fields.items())
    return AGENT + "  instructions: Be brief.\n  model: 'openai:gpt'\n" + lines


async def test_an_agent_answers_and_remembers_its_thread():
    world = World(agent(), {"agent/default/a": ["one", "two"]})
    program = await world.made("agent/a")
    first = await program.generate("hi")
    second = await program.generate("again", thread_id=first.thread_id)
    assert (first.text, second.text) == ("one", "two")
    sent = [each.text for each in world.models["agent/default/a"].requests[1].messages]
    assert sent == ["Be brief.", "hi", "one", "again"]


def test_an_agent_answers_where_nothing_can_be_awaited():
    import asyncio

    world = World(agent(), {"agent/default/a": ["one"]})
    program = asyncio.run(world.made("agent/a"))
    assert program.generate_sync("hi").text == "one"


async def test_tools_of_every_source():
    text = (
        agent(tools="[{name: find, ref: finder}, agents/helper, workflows/shout]")
        + """
---
apiVersion: stategraph.dev/v1
kind: Tool
metadata: {name: finder}
spec: {function: "tests.resources.world_tools:find", description: Finds., risk: read, timeout: 5s}
---
apiVersion: stategraph.dev/v1
kind: Agent
metadata: {name: helper}
spec: {instructions: Help., model: {provider: openai, name: gpt}}
---
apiVersion: stategraph.dev/v1
kind: Workflow
metadata: {name: shout}
spec:
  inputs: {input: {type: string}}
  state: {loud: {type: string}}
  steps: [{id: s, set: {loud: "${{ input.input + '!' }}"}}]
"""
    )
    calls = [call("find", {"q": "x"}), call("helper", {"input": "help"}), call("shout", {"input": "hey"})]
    world = World(
        text, {"agent/default/a": [reply("", *calls), "done"], "agent/default/helper": ["helped"]}, ["tests."]
    )
    answer = await (await world.made("agent/a")).generate("go")
    results = {each.name: each.text for each in answer.messages if each.type == "tool"}
    assert results == {"find": "found x", "helper": "helped", "shout": '{"loud": "hey!"}'}
    assert answer.text == "done"


async def test_functions_are_imported_under_allowed_prefixes_only():
    tool = {"function": "'os:system'"}
    text = AGENT.replace("Agent", "Tool") + "".join(f"  {key}: {value}\n" for key, value in tool.items())
    with pytest.raises(InvalidResource, match="may not be named by manifests; allowed prefixes: none"):
        await World(text).made("tool/a")
    with pytest.raises(InvalidResource, match="allowed prefixes: tests"):
        await World(text, allow=["tests."]).made("tool/a")


async def test_a_tool_that_the_program_registered_is_found_by_its_id():
    def recipe_finder(query: str) -> str:
        """Find recipes."""
        return f"soup of {query}"

    text = agent(tools="[{name: recipe-finder, refName: cooking.recipe-finder}]")
    world = World(text, {"agent/default/a": [reply("", call("recipe-finder", {"query": "rice"})), "ok"]})
    with pytest.raises(UnresolvedReference, match=r"nor is a tool registered .* \(registered: none\)"):
        await world.made("agent/a")
    world.services["tools"] = {"cooking/recipe-finder": recipe_finder}
    answer = await (await world.made("agent/a")).generate("go")
    assert [each.text for each in answer.messages if each.type == "tool"] == ["soup of rice"]


async def test_handoffs_may_lead_in_a_circle():
    text = (
        agent(handoffs="[{to: b, description: Knows more.}]")
        + """
---
apiVersion: stategraph.dev/v1
kind: Agent
metadata: {name: b}
spec: {instructions: Know., model: 'openai:gpt', handoffs: [a]}
"""
    )
    world = World(text, {"agent/default/a": [reply("", call("lc_transfer_to_b", {}))], "agent/default/b": ["I know"]})
    assert (await (await world.made("agent/a")).generate("go")).text == "I know"


async def test_typed_output_is_the_structured_answer():
    schema = "{schema: {type: object, properties: {n: {type: integer}}, required: [n]}, mode: prompt}"
    world = World(agent(output=schema), {"agent/default/a": ['{"n": "x"}', '{"n": 3}']})
    assert (await (await world.made("agent/a")).generate("go")).structured == {"n": 3}


async def test_vector_memory_brings_back_what_is_alike_from_other_threads():
    world = World(agent(memory="{enabled: true, type: vector, topK: 1}"), {"agent/default/a": ["Rome.", "Noted.", "?"]})
    program = await world.made("agent/a")
    await program.generate("What is the capital of Italy?", config={"configurable": {"user_id": "ann"}})
    await program.generate("I like green tea.", config={"configurable": {"user_id": "ann"}})
    await program.generate("Tell me about Italy's capital", config={"configurable": {"user_id": "ann"}})
    last = world.models["agent/default/a"].requests[-1].messages[-1]
    assert "Asked: What is the capital of Italy?\nAnswered: Rome." in last.text
    assert "green tea" not in last.text
    assert set(world.services["states"].kept) == {"memory/default/a/ann"}


async def test_vector_memory_forgets_the_oldest():
    world = World(agent(memory="{type: vector, maxItems: 2}"), {"agent/default/a": ["1", "2", "3"]})
    program = await world.made("agent/a")
    for text in ("alpha", "beta", "gamma"):
        await program.generate(text)
    kept = world.services["states"].kept["memory/default/a"]
    assert sorted(each["text"].split("\n")[0] for each in kept.values()) == ["Asked: beta", "Asked: gamma"]


async def test_a_policy_decides_about_the_tools_of_an_agent():
    text = (
        agent(tools="[wipe]", policyRef="strict")
        + """
---
apiVersion: stategraph.dev/v1
kind: Policy
metadata: {name: strict}
spec:
  rules:
    - {name: no-wipe, at: [pre_tool_call], when: "args.what == 'all'", then: {decision: deny, message: Never all.}}
    - {name: rest, at: [pre_tool_call], then: {decision: allow}}
"""
    )
    wiped = []

    def wipe(what: str) -> str:
        """Wipe."""
        wiped.append(what)
        return "wiped"

    calls = [reply("", call("wipe", {"what": "all"})), reply("", call("wipe", {"what": "table"})), "ok"]
    world = World(text, {"agent/default/a": calls}, tools={"wipe": wipe})
    answer = await (await world.made("agent/a")).generate("go")
    results = [each.text for each in answer.messages if each.type == "tool"]
    assert "Never all." in results[0]
    assert results[1] == "wiped"
    assert wiped == ["table"]


async def test_an_agent_without_a_model_takes_the_one_called_default():
    text = AGENT + "  instructions: x\n"
    world = World(text, model_factory=None)
    with pytest.raises(UnresolvedReference, match="declare a Model called 'default'"):
        await world.made("agent/a")


async def test_a_model_that_cannot_be_made_is_told():
    text = AGENT.replace("Agent", "Model") + "  provider: nobody\n  name: x\n"
    with pytest.raises(InvalidResource, match="provider 'nobody' is not known"):
        await World(text, model_factory=None).made("model/a")


async def test_models_have_fallbacks_and_limits():
    text = """
apiVersion: stategraph.dev/v1
kind: Model
metadata: {name: main}
spec:
  provider: openai
  name: gpt
  secretRef: {name: keys, key: openai}
  parameters: {temperature: 0.5}
  fallback: [spare, 'anthropic:claude']
  limits: {rpm: 60}
  retry: {max: 2}
  timeout: 30s
---
apiVersion: stategraph.dev/v1
kind: Model
metadata: {name: spare}
spec: {provider: openai, name: small, secretRef: keys}
"""
    plan = await World(text, secrets={"keys": "k-1"}).made("model/main")
    settings = plan.settings("agent/x", None)
    assert settings["client_options"] == {"temperature": 0.5, "api_key": "k-1", "model": "gpt"}
    assert [each["client_options"]["model"] for each in settings["fallbacks"]] == ["small", "claude"]
    assert settings["model_rate_limit"] == {"requests_per_minute": 60.0}
    assert settings["model_timeouts"] == {"total_s": 30.0}
    assert "k-1" not in repr(plan)


NETWORK = """
apiVersion: stategraph.dev/v1
kind: Network
metadata: {name: net}
spec:
  instructions: Coordinate.
  agents: [{name: search, ref: agents/searcher, description: finds things}, {name: sum, ref: agents/summer}]
  router: ROUTER
  state: {persistence: true, ttl: 1h}
---
apiVersion: stategraph.dev/v1
kind: Agent
metadata: {name: searcher}
spec: {instructions: searches the web for sources, model: 'openai:gpt'}
---
apiVersion: stategraph.dev/v1
kind: Agent
metadata: {name: summer}
spec: {instructions: adds numbers, model: 'openai:gpt'}
"""


def network(router, replies, **services):
    return World(NETWORK.replace("ROUTER", router), replies, **services)


async def test_a_router_with_a_model_chooses_until_it_answers():
    replies = {
        "network/default/net": [reply("", call("route", {"agent": "search", "task": "find it"})), "sum", "All done."],
        "agent/default/searcher": ["sources"],
        "agent/default/summer": ["42"],
    }
    world = network("{model: 'openai:gpt'}", replies)
    answer = await (await world.made("network/net")).generate("What?")
    assert (answer.text, answer.agents) == ("All done.", ("search", "sum"))
    searched = world.models["agent/default/searcher"].requests[0].messages
    assert [each.text for each in searched][1:] == ["What?", "find it"]
    assert "[search] sources" in [each.text for each in world.models["agent/default/summer"].requests[0].messages]
    assert world.services["states"].kept["network/default/net"]["search"]["text"] == "sources"


async def test_a_router_ends_a_turn_after_its_steps():
    replies = {"network/default/net": ["search"] * 9, "agent/default/searcher": ["s"] * 9}
    world = network("{model: 'openai:gpt', maxSteps: 3}", replies)
    answer = await (await world.made("network/net")).generate("What?")
    assert (answer.text, answer.agents) == ("s", ("search",) * 3)


@pytest.mark.parametrize(
    ("strategy", "turns"),
    [
        ("first", [("search",), ("search",)]),
        ("round_robin", [("search",), ("sum",)]),
        ("sequence", [("search", "sum"), ("search", "sum")]),
        ("capability", [("search",), ("search",)]),
    ],
)
async def test_strategies_choose_without_a_model(strategy, turns):
    program = await network(f"{{strategy: {strategy}}}", {}).made("network/net")
    first = await program.generate("search the web")
    second = await program.generate("search it again", thread_id=first.thread_id)
    assert [first.agents, second.agents] == turns


async def test_a_router_that_calls_something_else_is_told_of():
    replies = {"network/default/net": [reply("", call("route", {"agent": "nobody"}))]}
    world = network("{model: 'openai:gpt'}", replies)
    with pytest.raises(ValueError, match="expected route with one of search, sum"):
        await (await world.made("network/net")).generate("What?")


async def test_an_agent_that_is_its_own_tool_waits_for_itself():
    with pytest.raises(NotReady):
        await World(agent(tools="[agents/a]")).made("agent/a")
