"""The topology of foreign documents, read from them without the converters, and that of what they were converted to.

A topology is the set of edges between steps, by their names; `__start__` and `__end__` are those of graphs. A step that
may be skipped also has edges from what is before it to what is after it. Agents have edges to their tools and agents.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from langchain_core.runnables import RunnableLambda

from stategraph.resources.compile.workflows import plan as workflows
from stategraph.resources.kinds.workflow import WorkflowSpec
from stategraph.resources.model import Resource

START, END = "__start__", "__end__"

Edges = set[tuple[str, str]]


def joined(waits: Mapping[str, Sequence[str]], conditional: Iterable[str] = ()) -> Edges:
    """Return the edges of steps.

    Args:
        waits: What each step comes after; nothing: the start.
        conditional: Steps that may be skipped.
    """
    edges = {(before, step) for step, several in waits.items() for before in several or (START,)}
    led = {before for before, _ in edges}
    edges |= {(step, END) for step in waits if step not in led}
    for step in conditional:
        edges |= around(edges, step)
    return edges


def around(edges: Edges, step: str) -> Edges:
    """Return the edges from what is before a step to what is after it."""
    return {(a, b) for a, to in edges if to == step for of, b in edges if of == step}


# Argo.


def argo(document: Mapping[str, Any], library: Mapping[str, Mapping[str, Any]]) -> dict[str, Edges]:
    """Return the edges of the templates of a document, and of those that they use, by their names.

    Args:
        document: The document.
        library: The WorkflowTemplates of all documents.
    """
    spec = document.get("spec") or {}
    spec = spec.get("workflowSpec") or spec
    if spec.get("workflowTemplateRef"):
        spec = {**library[spec["workflowTemplateRef"]["name"]], **spec}
    found: dict[str, Edges] = {}
    waiting = [("", name, template) for name, template in _templates(spec).items()]
    entry = spec.get("entrypoint")
    if entry and not _is_graph(_templates(spec)[entry]):
        found["<entry>"] = {(START, _id(entry)), (_id(entry), END)}
    while waiting:
        origin, name, template = waiting.pop()
        key = f"{origin}/{name}" if origin else name
        if key in found or not _is_graph(template):
            continue
        tasks = _tasks(template)
        found[key] = joined(
            {each: before for each, (before, _) in tasks.items()},
            [each for each, (_, written) in tasks.items() if written.get("when") is not None],
        )
        for _, written in tasks.values():
            waiting.append(_used(key, origin, written, spec, library))
    return found


def _used(key: str, origin: str, written: Mapping[str, Any], spec: Any, library: Any) -> tuple[str, str, Any]:
    if written.get("inline"):
        return "", f"{key}.{written['name']}", written["inline"]
    reference = written.get("templateRef")
    origin, name = (reference["name"], reference["template"]) if reference else (origin, written["template"])
    return origin, name, _templates(library[origin] if origin else spec).get(name) or {}


def _templates(spec: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {str(each["name"]): each for each in spec.get("templates") or ()}


def _is_graph(template: Mapping[str, Any]) -> bool:
    return bool({"steps", "dag"} & set(template))


def _id(name: str) -> str:
    return re.sub(r"[\s:|/]+", "-", str(name))


def _tasks(template: Mapping[str, Any]) -> dict[str, tuple[list[str], Mapping[str, Any]]]:
    """Return the steps of a template: what each waits for, and what is written of it."""
    tasks: dict[str, tuple[list[str], Mapping[str, Any]]] = {}
    before: list[str] = []
    for group in template.get("steps") or ():
        several = group if isinstance(group, list) else [group]
        tasks |= {_id(each["name"]): (before, each) for each in several}
        before = [_id(each["name"]) for each in several]
    for each in (template.get("dag") or {}).get("tasks") or ():
        words = re.findall(r"[\w.-]+", each.get("depends") or "")
        names = [*(each.get("dependencies") or ()), *(word.removesuffix(".Succeeded") for word in words)]
        tasks[_id(each["name"])] = ([_id(name) for name in names], each)
    wanted = set(map(_id, str((template.get("dag") or {}).get("target") or "").split()))
    while wanted and (more := {name for each in wanted for name in tasks[each][0]} - wanted):
        wanted |= more
    return {each: task for each, task in tasks.items() if not wanted or each in wanted}


# CrewAI.


def crewai(document: Mapping[str, Any]) -> Edges:
    """Return the edges of the methods of a flow."""
    methods = document.get("methods") or {}
    emitted: dict[str, list[str]] = {}
    for name, method in methods.items():
        for event in method.get("emit") or ():
            emitted.setdefault(str(event), []).append(name)
    waits: dict[str, list[str]] = {}
    for name, method in methods.items():
        heard = [source for word in _heard(method.get("listen")) for source in emitted.get(word) or [word]]
        waits[name] = [*([START] if method.get("start") else []), *heard]
    edges = joined(waits)
    return edges | {(name, END) for name, method in methods.items() if method.get("router")}


def _heard(listen: Any) -> list[str]:
    if isinstance(listen, Mapping):
        return [each for several in listen.values() for each in several]
    return [listen] if listen else []


# kagent.


def kagent(document: Mapping[str, Any]) -> Edges:
    """Return the edges from an agent to its model, its tools and its agents; of others their name."""
    name, spec = document["metadata"]["name"], document.get("spec") or {}
    if document["kind"] not in ("Agent", "SandboxAgent"):
        return {(document["kind"], name)}
    spec = {**spec, **(spec.get("declarative") or {})}
    edges = {(name, f"model {spec['modelConfig']}")} if spec.get("modelConfig") else set()
    for tool in spec.get("tools") or ():
        if "agent" in tool:
            edges.add((name, f"agent {tool['agent'].get('name') or tool['agent'].get('ref')}"))
            continue
        server = tool["mcpServer"]
        owner = server.get("name") or server.get("toolServer")
        edges |= {(name, f"tool {owner}/{each}") for each in server.get("toolNames") or ("*",)}
    return edges


# Ours.


class _Callee:
    """Something that is never called."""

    target = RunnableLambda(lambda given: given)

    def prepared(self, given: Any) -> Any:
        return given

    def result(self, returned: Any) -> Any:
        return returned


def workflow(resource: Resource, known: Iterable[str]) -> Edges:
    """Return the edges of a workflow, as it is compiled, without the nodes that are there for its edges alone.

    Args:
        resource: The workflow.
        known: The steps.
    """
    spec = WorkflowSpec.model_validate(resource.spec)

    def lookup(kind: str, ref: Any, path: Any, *, several: bool = False) -> Any:
        return _Callee()

    made = workflows.plan(resource.name, spec, lookup, lambda path, field: None).graph()
    drawn = made.get_graph()
    edges = {(each.source, each.target) for each in drawn.edges}
    names = {*known, START, END}
    for extra in set(drawn.nodes) - names:
        edges |= around(edges, extra)
        edges = {each for each in edges if extra not in each}
    return edges


def agents(resources: Iterable[Resource]) -> Edges:
    """Return the edges from agents to their models, tools and agents; of others their name."""
    several = list(resources)
    tools = {each.name: each.spec["mcp"] for each in several if each.kind == "Tool"}
    edges: Edges = set()
    for each in several:
        if each.kind != "Agent":
            continue
        if each.spec.get("modelRef"):
            edges.add((each.name, f"model {each.spec['modelRef']}"))
        for tool in each.spec.get("tools") or ():
            kind, slash, name = tool["ref"].partition("/")
            if not slash:
                mcp = tools[tool["ref"]]
                edges.add((each.name, f"tool {mcp['serverRef']}/{mcp['tool']}"))
            else:
                edges.add((each.name, f"agent {name}" if kind == "agents" else f"tool {name}/*"))
    return edges
