"""A workflow in YAML: items side by side, a question, a new version while a thread waits, and back to YAML.

Prints::

    ready: agent/default/assistant, workflow/default/recipes
    eggs and rice: ['egg soup', 'rice soup'] by check, find, find, find_done
    nothing: waiting for 'Nothing found. Which cuisine?'
    a new version: 2 threads on v1, 1 waiting
    the thread goes on: ['thai soup'] by ask, find, find_done
    a new thread: ['egg soup'] by look, find, find_done
    v1 is removed: 2 threads were on it
    and back: check, find, ask, judge
"""

import asyncio
import tempfile

from stategraph.resources import ModelRequest, Runtime, from_graph
from stategraph.testing import ScriptedChatModel

MANIFESTS = """\
apiVersion: stategraph.dev/v1
kind: Agent
metadata: {name: assistant}
spec: {instructions: You list ingredients as JSON., model: "openai:gpt-4.1"}
---
apiVersion: stategraph.dev/v1
kind: Workflow
metadata: {name: recipes}
spec:
  inputs: {text: {type: string}}
  state: {ingredients: {type: array}, recipes: {type: array, merge: append}}
  steps:
    - {id: check, agent: assistant, input: {text: "${{ input.text }}"},
       output: {ingredients: "${{ result.structured.items }}"}, next: find}
    - {id: find, each: "${{ state.ingredients }}", maxConcurrency: 4, onError: settle, tool: finder,
       input: {item: "${{ item }}"}, output: {recipes: "${{ result }}"}, next: judge}
    - {id: judge, switch: [{when: "size(state.recipes) == 0", next: ask}, {next: END}]}
    - {id: ask, interrupt: {prompt: "Nothing found. Which cuisine?"},
       output: {ingredients: "${{ [result.text] }}"}, next: find}
"""


def finder(item: str) -> list[str]:
    """Find recipes for an ingredient."""
    return [f"{item} soup"]


def model_of(request: ModelRequest) -> ScriptedChatModel:
    """Return a model whose replies are written down: what the three threads are told."""
    return ScriptedChatModel(replies=['{"items": ["egg", "rice"]}', '{"items": []}', '{"items": ["egg"]}'])


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        address = f"sqlite:///{folder}/app.db"
        async with Runtime.from_url(address, model_factory=model_of, tools={"finder": finder}) as runtime:
            await runtime.load_from_string(MANIFESTS)
            ready = [str(each.key) for each in await runtime.list() if each.is_ready]
            print("ready:", ", ".join(ready))

            done = await runtime.get_workflow("recipes").execute({"text": "eggs and rice"})
            print(f"eggs and rice: {done.output['recipes']} by {', '.join(each.step for each in done.history)}")

            waiting = await runtime.get_workflow("recipes").execute({"text": "nothing"})
            print(f"nothing: {waiting.status} for {waiting.interrupts[0].value['question']['question']!r}")
            graph = runtime.graph("workflow/recipes")

            # A step gets another name; the thread that waits is finished as it began.
            await runtime.load_from_string(MANIFESTS.replace("id: check", "id: look"))
            recipes = runtime.get_workflow("recipes")
            print("a new version:", (await recipes.versions())[1])
            going_on = await recipes.resume(waiting.thread_id, "thai")
            print(f"the thread goes on: {going_on.output['recipes']} by {', '.join(e.step for e in going_on.history)}")
            fresh = await recipes.execute({"text": "eggs"})
            print(f"a new thread: {fresh.output['recipes']} by {', '.join(each.step for each in fresh.history)}")
            removed = await recipes.remove_version("v1")
            print(f"v1 is removed: {removed.threads} threads were on it")

            (resource,) = from_graph(graph)
            print("and back:", ", ".join(step["id"] for step in resource.spec["steps"]))


if __name__ == "__main__":
    asyncio.run(main())
