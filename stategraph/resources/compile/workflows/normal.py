"""The normal form of a workflow: one spelling for everything that may be written in several.

| written | normal |
|---|---|
| references in any spelling | `name` or `namespace/name` |
| durations | seconds |
| `next: END`, `next: [b]`, defaults | nothing, `next: b`, nothing |
| `after: [a]` of one step | `next` of that step |
| switches anywhere among the steps | switches after the other steps, by their ids |
| `outputs` with shapes, or all of the state | a list of names, or nothing |
| `when: "${{ a }}"`, `"${{a}}"` | `when: "a"`, `"${{ a }}"` |
| `input: {type: user-input}` | `input: "${{ input }}"` |
| `output: {type: some-list}` | `output: {some-list: "${{ result }}"}`, and a field `some-list` of the state |
| `input: {from: some-list}` | `input: '${{ state["some-list"] }}'` |

The last three are how workflows of the group `mastra.ai` hand values on; there they stand alone in their mapping.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from stategraph.resources import refs
from stategraph.resources.compile import expr
from stategraph.resources.compile.data import Data, Object
from stategraph.resources.kinds.workflow import CALLS, StateField, Step, WorkflowSpec

_MARKED: Final = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)

#: What a workflow has beside its graph.
HEADER: Final = ("name", "description", "version", "rollout", "policyRef", "budgetRef", "allowedNamespaces", "maxSteps")


def expanded(spec: WorkflowSpec) -> WorkflowSpec:
    """Return a workflow whose steps name what they read and write by expressions."""
    state = dict(spec.state)
    steps = []
    for step in spec.steps:
        changes: Object = {}
        if step.input == {"type": "user-input"}:
            changes["input"] = "${{ input }}"
        elif _is_only(step.input, "from"):
            changes["input"] = '${{ state["' + step.input["from"] + '"] }}'
        if _is_only(step.output, "type"):
            name = (step.output or {})["type"]
            changes["output"] = {name: "${{ result }}"}
            state.setdefault(name, StateField())
        steps.append(step.model_copy(update=changes) if changes else step)
    return spec.model_copy(update={"steps": tuple(steps), "state": state})


def _is_only(value: Data, key: str) -> bool:
    if not isinstance(value, Mapping) or set(value) != {key}:
        return False
    return isinstance(value[key], str) and re.fullmatch(r"[\w.-]+", value[key]) is not None


def spec(given: WorkflowSpec) -> Object:
    """Return the normal form of a workflow's spec."""
    workflow = expanded(given)
    form = header(workflow)
    if workflow.inputs is not None:
        form["inputs"] = {name: dumped(shape) for name, shape in workflow.inputs.items()}
    if workflow.outputs is not None and set(workflow.outputs) != set(workflow.state):
        form["outputs"] = sorted(workflow.outputs)
    if workflow.state:
        form["state"] = {name: dumped(shape) for name, shape in workflow.state.items()}
    nodes = [each for each in workflow.steps if each.switch is None]
    starts = sorted(workflow.initial_step or (workflow.steps[0].id,))
    if not nodes or starts != [nodes[0].id]:
        form["initialStep"] = _one_or_many(starts)
    form["steps"] = _steps(nodes, [each for each in workflow.steps if each.switch is not None])
    return form


def _steps(nodes: Sequence[Step], switches: Sequence[Step]) -> list[Object]:
    """Return the steps in normal form: the switches last, and `after` of one step as `next` of that."""
    onward = {each.id: list(each.next or ()) for each in nodes}
    for each in nodes:
        if len(each.after) == 1:
            onward[each.after[0]].append(each.id)
    form = [{**step(each), **ways(onward[each.id], each.after if len(each.after) > 1 else ())} for each in nodes]
    return form + [step(each) for each in sorted(switches, key=lambda each: each.id)]


def header(workflow: WorkflowSpec) -> Object:
    """Return what a workflow has beside its graph, in normal form."""
    whole = dumped(workflow)
    return {name: whole[name] for name in HEADER if name in whole}


def ways(next: Sequence[str] | None, after: Sequence[str]) -> Object:
    """Return the ways to and from a step in normal form."""
    form: Object = {}
    onward = sorted({each for each in next or () if each != "END"})
    if onward:
        form["next"] = _one_or_many(onward)
    if after:
        form["after"] = sorted(after)
    return form


def step(given: Step) -> Object:
    """Return the normal form of a step without the ways to and from it."""
    whole = dumped(given)
    form: Object = {"id": given.id}
    for name in ("name", "description", "node", "maxConcurrency", "onError", "timeout", "retry", "as"):
        if name in whole:
            form[name] = whole[name]
    for name in CALLS:
        if name in whole:
            form[name] = whole[name]
    if given.interrupt is not None:
        form["interrupt"] = spaced(whole["interrupt"])
    if given.switch is not None:
        form["switch"] = [
            {**({} if case.when is None else {"when": bare(case.when)}), "next": case.next} for case in given.switch
        ]
    if given.each is not None:
        form["each"] = spaced(list(given.each) if isinstance(given.each, tuple) else given.each)
    for name, value in (
        ("set", given.set),
        ("input", given.input),
        ("output", given.output),
        ("errorOutput", given.error_output),
    ):
        if value is not None:
            form[name] = spaced(value)
    return form


def bare(expression: str) -> str:
    """Return a condition without `${{ }}` around it."""
    return expr.whole(expression) or expression.strip()


def spaced(value: Data) -> Data:
    """Return a value with one space at both ends of each expression in it."""
    if isinstance(value, str):
        alone = expr.whole(value)
        if alone is not None:
            return "${{ " + alone + " }}"
        return _MARKED.sub(lambda found: "${{ " + found.group(1).strip() + " }}", value)
    if isinstance(value, Mapping):
        return {str(key): spaced(each) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [spaced(each) for each in value]
    return value


def reference(ref: refs.Reference) -> str:
    """Return a reference in normal form, without its kind, which its place says."""
    return ref.name if ref.namespace is None else f"{ref.namespace}/{ref.name}"


def _one_or_many(names: Sequence[str]) -> str | list[str]:
    return names[0] if len(names) == 1 else list(names)


def dumped(model: Data) -> Object:
    """Return the fields of a model that differ from their defaults, under their names in manifests."""
    form: Object = {}
    for name, info in type(model).model_fields.items():
        value = getattr(model, name)
        default = info.get_default(call_default_factory=True)
        if value != default or (value is not None and default is None):
            form[info.alias or name] = plain(value)
    return form


def plain(value: Data) -> Data:
    """Return a value of a model as a manifest has it."""
    if isinstance(value, refs.Reference):
        return reference(value)
    if hasattr(type(value), "model_fields"):
        return dumped(value)
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
