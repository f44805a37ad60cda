"""``make manifests``: the manifests that users wrote are read, become ready, and run with a scripted model.

    python -m tests.resources.seed

Agents that they name and nobody declares are declared here; the tool that they name by its id is registered in code.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stategraph.resources import ModelRequest, Resource, Runtime, load, load_text
from stategraph.testing import ScriptedChatModel, call, reply

FOLDER = Path(__file__).parent / "manifests"

#: Agents that the manifests name, by the namespace that they are looked for in.
NAMED = (
    *("extract-agent", "transform-agent", "load-agent"),
    *("search-agent", "analysis-agent", "summary-agent"),
    *("greeter", "technical", "billing"),
)

COMPANIONS = "\n---\n".join(
    f"{{apiVersion: stategraph.dev/v1, kind: Agent, metadata: {{name: {name}}}, "
    f"spec: {{instructions: You are {name}., model: 'openai:gpt-4'}}}}"
    for name in NAMED
)

REPLIES: Mapping[str, Any] = {
    "network/default/research-network": [
        reply("", call("route", {"agent": "search-agent", "task": "search"})),
        reply("", call("route", {"agent": "summary-agent"})),
        "All of it, in one answer.",
    ],
    "network/default/customer-support": ["billing", "It is paid."],
}

_ANSWERS: Mapping[str, str] = {"agent/cooking/recipe-assistant": "eggs, rice"}


def recipe_finder(query: str) -> list[str]:
    """Find recipes for ingredients."""
    return [f"{each.strip()} soup" for each in query.split(",")]


def model_of(request: ModelRequest) -> ScriptedChatModel:
    """Return the scripted model of a resource."""
    answer = _ANSWERS.get(request.used_by, f"{request.used_by.rpartition('/')[2]} done")
    return ScriptedChatModel(replies=REPLIES.get(request.used_by, [answer] * 20), model_name=request.name)


def runtime_at(url: str) -> Runtime:
    """Return a runtime with what the manifests need from a program."""
    return Runtime.from_url(url, model_factory=model_of, tools={"cooking.recipe-finder": recipe_finder})


async def applied(runtime: Runtime) -> list[Resource]:
    """Apply the manifests and what they name, wait until they are ready, and return them."""
    given = load(FOLDER)
    await runtime.apply([*given, *load_text(COMPANIONS)])
    return [await runtime.wait(each.key, "Ready", 60) for each in given]


async def answers(runtime: Runtime) -> dict[str, Any]:
    """Run what the manifests declare, and return the answers."""
    processed = await runtime.get_workflow("default.data-processing").execute("rows.csv")
    suggested = await runtime.get_workflow("recipe-suggestion").execute("I have eggs and rice")
    researched = await runtime.get_network("research-network").generate("What is new?")
    supported = await runtime.get_network("customer-support").generate("Is it paid?")
    flow = await runtime.get_workflow("support-flow").execute("Hello?")
    asked = await runtime.agent("cooking/recipe-assistant").generate("What can I cook?")
    escalated = await runtime.agent("escalation-agent").generate("Help!")
    return {
        "workflow/data-processing": [processed.result["text"], [each.step for each in processed.history]],
        "workflow/recipe-suggestion": suggested.output["recipe-results"],
        "network/research-network": [researched.text, list(researched.agents)],
        "network/customer-support": [supported.text, list(supported.agents)],
        "system/customer-support": [flow.result["text"], escalated.text],
        "agent/recipe-assistant": asked.text,
    }


EXPECTED: Mapping[str, Any] = {
    "workflow/data-processing": ["load-agent done", ["extract", "transform", "load"]],
    "workflow/recipe-suggestion": ["eggs soup", "rice soup"],
    "network/research-network": ["All of it, in one answer.", ["search-agent", "summary-agent"]],
    "network/customer-support": ["It is paid.", ["billing"]],
    "system/customer-support": ["support-agent done", "escalation-agent done"],
    "agent/recipe-assistant": "eggs, rice",
}


async def main() -> int:
    """Print how many manifests are ready and run; return 1 if one does not."""
    async with runtime_at("memory:") as runtime:
        ready = await applied(runtime)
        found = await answers(runtime)
    runs = {name: found.get(name) == expected for name, expected in EXPECTED.items()}
    good = 0
    for resource in ready:
        name = f"{resource.key.kind}/{resource.name}"
        fine = resource.is_ready and runs.get(name, True)
        good += fine
        print(f"{'ok ' if fine else 'BAD'} {name:<45} {found.get(name, 'ready')}")
    print(f"manifests: {good} of {len(ready)}")
    return 0 if good == len(ready) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
