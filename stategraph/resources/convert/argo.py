"""Workflows of Argo: templates with steps or a DAG become workflows, everything that runs becomes a tool.

| there | here |
|---|---|
| a template with `steps` or `dag` | a Workflow; where another one uses it, a step with `workflow` |
| a template with `container`, `script`, `resource`, `http` or the like | a Tool, registered by id |
| `suspend: {}` | a step with `interrupt`, of the type `approval` |
| groups of `steps`, `depends` of `&&`, `dependencies` | `next`, and `after` where several are waited for |
| `when` with one comparison | a switch |
| `withItems`, `withSequence` of numbers, `withParam` of a result | `each` |
| `{{inputs.parameters.x}}`, `{{item}}` | `${{ input["x"] }}`, `${{ item }}` |
| `{{steps.a.outputs.result}}` | `${{ steps["a"] }}` |
| `retryStrategy` with a number, `activeDeadlineSeconds`, `timeout` | `retry`, `timeout` |
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from stategraph.resources.convert.conversion import Conversion, Document, name_of, resource_name, step_id

_FILES: Final = "files that travel between steps have no counterpart"
_KINDS: Final = ("Workflow", "WorkflowTemplate", "ClusterWorkflowTemplate")
_RUNS: Final = ("container", "script", "resource", "http", "containerSet", "data", "plugin")
_MARK: Final = re.compile(r"\{\{(.*?)\}\}")
_COMPARISON: Final = re.compile(r"\s*(.+?)\s*(==|!=|>=|<=|>|<)\s*(.+?)\s*")
_REFUSED_OF_SPEC: Final = {
    "onExit": "what runs after a workflow however it ends has no counterpart",
    "hooks": "hooks have no counterpart",
    "synchronization": "locks between workflows have no counterpart",
    "workflowTemplateRef": "the template is in another document; convert that one",
    "templateDefaults": "defaults of all templates have no counterpart; write them where they hold",
}
_REFUSED_OF_TEMPLATE: Final = {
    "synchronization": "locks between workflows have no counterpart",
    "daemon": "a container that goes on beside later steps has no counterpart",
    "memoize": "results are not kept between workflows",
    "hooks": "hooks have no counterpart",
    "failFast": "a branch that fails fails the workflow",
}
_REFUSED_OF_STEP: Final = {
    "continueOn": "a step that fails fails the workflow; only items of a loop may settle",
    "hooks": "hooks have no counterpart",
    "onExit": "what runs after a step however it ends has no counterpart",
    "templateRef": "the template is in another document; convert that one",
    "inline": "templates inside of steps have no counterpart; give the template a name",
    "target": "a part of the graph as its end has no counterpart",
}


def convert(document: Document) -> Iterator[Conversion]:
    """Convert a document of Argo; it becomes one conversion."""
    conversion = Conversion(f"{document.get('kind')} {name_of(document)}")
    kind, spec = document.get("kind"), document.get("spec") or {}
    if kind not in _KINDS:
        reason = "declare a Schedule beside its workflow" if kind == "CronWorkflow" else "this kind has no counterpart"
        conversion.refuse(str(kind), "kind", reason)
    else:
        _Converting(name_of(document), spec, conversion).run()
    yield conversion


@dataclass(slots=True)
class _Task:
    """A step of a template, or a task of a DAG.

    Attributes:
        id: Its id.
        written: What is written of it.
        place: Its field.
        waits: The steps that it waits for.
    """

    id: str
    written: Mapping[str, Any]
    place: str
    waits: list[str] = field(default_factory=list)


class _Converting:
    """One document that is being converted."""

    def __init__(self, name: str, spec: Mapping[str, Any], conversion: Conversion) -> None:
        self._name = name
        self._spec = spec
        self._into = conversion
        self._templates = {str(each.get("name")): each for each in spec.get("templates") or ()}
        self._tools: set[str] = set()

    def run(self) -> None:
        """Convert it."""
        self._check(self._spec, _REFUSED_OF_SPEC, "spec")
        graphs = [each for each in self._templates.values() if "steps" in each or "dag" in each]
        entry = str(self._spec.get("entrypoint") or (graphs[0]["name"] if graphs else ""))
        if not self._templates or (entry and entry not in self._templates):
            self._into.refuse("templates", "spec.templates", "there is no template to begin with")
            return
        if self._templates.get(entry) not in graphs and entry:
            alone = {"name": entry, "steps": [[{"name": entry, "template": entry}]]}
            self._workflow(self._name, alone, f"spec.templates[{entry}]", is_entry=True)
        for template in graphs:
            name = str(template["name"])
            is_entry = name == entry
            self._recursion(name, [name])
            self._workflow(
                self._name if is_entry else f"{self._name}-{name}",
                template,
                f"spec.templates[{name}]",
                is_entry=is_entry,
            )

    def _recursion(self, name: str, way: list[str]) -> None:
        for task in _written(self._templates.get(name) or {}):
            used = str(task.get("template"))
            if used in way:
                self._into.refuse("recursion", f"spec.templates[{name}]", f"the template uses itself: {used}")
                return
            self._recursion(used, [*way, used])

    def _check(self, given: Mapping[str, Any], refused: Mapping[str, str], place: str) -> None:
        for name, reason in refused.items():
            if given.get(name) not in (None, False, [], {}):
                self._into.refuse(name, f"{place}.{name}", reason)

    # Workflows.

    def _workflow(self, name: str, template: Mapping[str, Any], place: str, *, is_entry: bool) -> None:
        self._check(template, _REFUSED_OF_TEMPLATE, place)
        tasks = self._tasks(template, place)
        followers = {task.id: [each.id for each in tasks if task.id in each.waits] for task in tasks}
        steps: list[dict[str, Any]] = []
        for task in tasks:
            steps += self._steps(task, followers, tasks)
        roots = [self._entry(task, steps) for task in tasks if not task.waits]
        given = self._inputs(template, is_entry)
        spec: dict[str, Any] = {"steps": steps, **({"inputs": given} if given else {})}
        if roots != [steps[0]["id"]] and roots:
            spec["initialStep"] = roots[0] if len(roots) == 1 else roots
        self._check_files(template, place)
        self._into.add("Workflow", name, spec)

    def _check_files(self, template: Mapping[str, Any], place: str) -> None:
        """Refuse what travels between steps in files."""
        for side in ("inputs", "outputs"):
            if (template.get(side) or {}).get("artifacts"):
                self._into.refuse("artifacts", f"{place}.{side}", _FILES)
        if (template.get("outputs") or {}).get("parameters"):
            self._into.refuse("outputs.parameters", f"{place}.outputs", "outputs that are read from files")

    def _inputs(self, template: Mapping[str, Any], is_entry: bool) -> dict[str, Any]:
        parameters = list((template.get("inputs") or {}).get("parameters") or ())
        if is_entry:
            parameters += list((self._spec.get("arguments") or {}).get("parameters") or ())
        found: dict[str, Any] = {}
        for each in parameters:
            has_value = each.get("value") is not None or each.get("default") is not None
            value = each.get("value", each.get("default"))
            known = found.setdefault(str(each["name"]), {})
            if has_value and not _MARK.search(str(value)):
                known["default"] = value
        return found

    def _tasks(self, template: Mapping[str, Any], place: str) -> list[_Task]:
        if "dag" in template:
            return self._of_dag(template["dag"] or {}, place)
        tasks: list[_Task] = []
        before: list[str] = []
        for number, group in enumerate(template.get("steps") or ()):
            several = group if isinstance(group, Sequence) else [group]
            now = [
                _Task(step_id(str(each["name"])), each, f"{place}.steps[{number}][{index}]", list(before))
                for index, each in enumerate(several)
            ]
            tasks += now
            before = [each.id for each in now]
        return tasks

    def _of_dag(self, dag: Mapping[str, Any], place: str) -> list[_Task]:
        self._check(dag, {"target": _REFUSED_OF_STEP["target"], "failFast": _REFUSED_OF_TEMPLATE["failFast"]}, place)
        if dag.get("failFast") is False:
            self._into.refuse("failFast", f"{place}.dag.failFast", _REFUSED_OF_TEMPLATE["failFast"])
        tasks = []
        for index, each in enumerate(dag.get("tasks") or ()):
            where = f"{place}.dag.tasks[{index}]"
            waits = [step_id(str(name)) for name in each.get("dependencies") or ()]
            depends = str(each.get("depends") or "")
            if depends:
                names = [name.strip().strip("()").removesuffix(".Succeeded") for name in depends.split("&&")]
                if "||" in depends or "!" in depends or any("." in name for name in names):
                    reason = (
                        "a task waits for all of several, and for their success; other conditions have no counterpart"
                    )
                    self._into.refuse("depends", f"{where}.depends", reason)
                    names = []
                waits += [step_id(name) for name in names]
            tasks.append(_Task(step_id(str(each["name"])), each, where, waits))
        return tasks

    # Steps.

    def _steps(self, task: _Task, followers: Mapping[str, list[str]], tasks: Sequence[_Task]) -> list[dict[str, Any]]:
        self._check(task.written, _REFUSED_OF_STEP, task.place)
        step: dict[str, Any] = {"id": task.id, **self._call(task), **self._loop(task)}
        arguments = task.written.get("arguments") or {}
        if arguments.get("artifacts"):
            self._into.refuse("artifacts", f"{task.place}.arguments", _FILES)
        parameters = arguments.get("parameters") or ()
        if "interrupt" not in step:
            step["input"] = {str(each["name"]): self._value(each.get("value"), task.place) for each in parameters}
        by_id = {each.id: each for each in tasks}
        onward = [self._target(by_id[name]) for name in followers[task.id] if len(by_id[name].waits) == 1]
        if onward:
            step["next"] = onward[0] if len(onward) == 1 else onward
        before: list[dict[str, Any]] = []
        head = step
        if "each" in step and len(task.waits) > 1:
            head = {"id": f"{task.id}_begin", "set": {}, "next": task.id}
            before.append(head)
        if len(task.waits) > 1:
            head["after"] = task.waits
        if task.written.get("when") is not None:
            before.append(self._switch(task, followers, by_id))
        return [*before, step]

    def _target(self, task: _Task) -> str:
        if task.written.get("when") is not None:
            return f"{task.id}_when"
        return task.id

    def _entry(self, task: _Task, steps: Sequence[Mapping[str, Any]]) -> str:
        return self._target(task)

    def _switch(self, task: _Task, followers: Mapping[str, list[str]], by_id: Mapping[str, _Task]) -> dict[str, Any]:
        after = followers[task.id]
        if len(task.waits) > 1 or any(len(by_id[name].waits) > 1 for name in after) or len(after) > 1:
            self._into.refuse(
                "when", f"{task.place}.when", "a step that may be skipped is waited for together with others"
            )
        onward = self._target(by_id[after[0]]) if after else "END"
        condition = self._condition(str(task.written["when"]), f"{task.place}.when")
        return {"id": f"{task.id}_when", "switch": [{"when": condition, "next": task.id}, {"next": onward}]}

    def _call(self, task: _Task) -> dict[str, Any]:
        name = str(task.written.get("template") or "")
        template = self._templates.get(name)
        if template is None:
            if not (set(task.written) & {"templateRef", "inline"}):
                self._into.refuse("template", f"{task.place}.template", f"there is no template {name!r}")
            return {"tool": "missing"}
        self._check(template, _REFUSED_OF_TEMPLATE, f"spec.templates[{name}]")
        limits = self._limits(template, task)
        if "steps" in template or "dag" in template:
            return {"workflow": resource_name(f"{self._name}-{name}"), **limits}
        if "suspend" in template:
            suspend = template["suspend"] or {}
            if suspend.get("duration"):
                self._into.refuse(
                    "suspend", f"spec.templates[{name}].suspend", "a pause by the clock has no counterpart"
                )
            return {"interrupt": {"type": "approval", "prompt": f"Go on with {task.id}?"}}
        self._tool(name, template)
        return {"tool": resource_name(name), **limits}

    def _tool(self, name: str, template: Mapping[str, Any]) -> None:
        if name in self._tools:
            return
        self._tools.add(name)
        if not any(each in template for each in _RUNS):
            self._into.refuse("template", f"spec.templates[{name}]", "nothing says what it does")
        self._check_files(template, f"spec.templates[{name}]")
        given = template.get("inputs") or {}
        names = [str(each["name"]) for each in given.get("parameters") or ()]
        schema = {"type": "object", "properties": {each: {} for each in names}}
        kind = next((each for each in _RUNS if each in template), "step")
        self._into.add("Tool", name, {"id": name, "description": f"The {kind} {name}.", "inputSchema": schema})
        self._into.notes.append(f"register a tool under the id {name!r}: it was a {kind}")

    def _limits(self, template: Mapping[str, Any], task: _Task) -> dict[str, Any]:
        limits: dict[str, Any] = {}
        place = f"spec.templates[{template.get('name')}]"
        seconds = template.get("activeDeadlineSeconds")
        if seconds is not None:
            if str(seconds).isdigit():
                limits["timeout"] = int(seconds)
            else:
                self._into.refuse("activeDeadlineSeconds", place, "a limit that is worked out at run time")
        if template.get("timeout") is not None:
            if re.fullmatch(r"(\d+(ms|s|m|h))+", str(template["timeout"])):
                limits["timeout"] = str(template["timeout"])
            else:
                self._into.refuse("timeout", f"{place}.timeout", "a limit that is worked out at run time")
        retry = template.get("retryStrategy")
        if retry is not None:
            limits |= self._retry(retry, f"{place}.retryStrategy")
        return limits

    def _retry(self, retry: Mapping[str, Any], place: str) -> dict[str, Any]:
        limit = str(retry.get("limit", ""))
        odd = sorted(set(retry) & {"expression", "affinity"})
        if not limit.isdigit() or odd:
            reason = (
                f"{odd[0]} of a retry has no counterpart" if odd else "attempts without a number have no counterpart"
            )
            self._into.refuse("retryStrategy", place, reason)
            return {}
        made: dict[str, Any] = {"max": int(limit) + 1}
        backoff = retry.get("backoff") or {}
        for name, word in (("duration", "backoff"), ("cap", "maxBackoff")):
            if backoff.get(name) is not None:
                text = str(backoff[name])
                made[word] = int(text) if text.isdigit() else text
        if str(backoff.get("factor", "")).isdigit():
            made["factor"] = int(backoff["factor"])
        return {"retry": made}

    # Values.

    def _loop(self, task: _Task) -> dict[str, Any]:
        written = task.written
        if written.get("withItems") is not None:
            items = written["withItems"]
            if isinstance(items, str):
                self._into.refuse("withItems", f"{task.place}.withItems", "a list that is worked out at run time")
                return {}
            return {"each": list(items)}
        sequence = written.get("withSequence")
        if sequence is not None:
            return self._sequence(sequence, f"{task.place}.withSequence")
        if written.get("withParam") is not None:
            value = self._value(written["withParam"], task.place)
            if not (isinstance(value, str) and value.startswith("${{") and value.count("${{") == 1):
                self._into.refuse("withParam", f"{task.place}.withParam", "a list that is written as text")
            return {"each": value}
        return {}

    def _sequence(self, sequence: Mapping[str, Any], place: str) -> dict[str, Any]:
        texts = {name: str(sequence.get(name, "")) for name in ("start", "end", "count")}
        if sequence.get("format") or any(text and not text.isdigit() for text in texts.values()):
            self._into.refuse("withSequence", place, "numbers that are worked out at run time, or formatted")
            return {}
        start = int(texts["start"] or 0)
        if texts["count"]:
            return {"each": [str(each) for each in range(start, start + int(texts["count"]))]}
        end = int(texts["end"] or 0)
        step = 1 if end >= start else -1
        return {"each": [str(each) for each in range(start, end + step, step)]}

    def _value(self, value: Any, place: str) -> Any:
        if not isinstance(value, str):
            return value
        return _MARK.sub(lambda found: "${{ " + self._expression(found.group(1), place) + " }}", value)

    def _expression(self, text: str, place: str) -> str:
        name = text.strip()
        if name.startswith("="):
            self._into.refuse("expression", place, "expressions of Argo's own language ({{=...}}) have no counterpart")
            return "null"
        parts = name.split(".")
        match parts:
            case ["item"]:
                return "item"
            case ["item", *fields]:
                return "item" + "".join(f'["{each}"]' for each in fields)
            case [("inputs" | "workflow"), "parameters", *rest] if rest:
                return f'input["{".".join(rest)}"]'
            case [("steps" | "tasks"), *step, "outputs", "result"] if step:
                return f'steps["{step_id(".".join(step))}"]'
        self._into.refuse("variable", place, f"the variable {name!r} has no counterpart")
        return "null"

    def _condition(self, text: str, place: str) -> str:
        if re.search(r"&&|\|\||[()!]|=~", text) and not re.fullmatch(r"[^&|()=~]*!=[^&|()=~]*", text):
            self._into.refuse("when", place, "a condition of more than one comparison")
            return "true"
        found = _COMPARISON.fullmatch(text)
        if found is None:
            self._into.refuse("when", place, "a condition that is no comparison")
            return "true"
        left, operator, right = found.groups()
        if operator not in ("==", "!="):
            return f"double({self._operand(left, place)}) {operator} double({self._operand(right, place)})"
        return f"string({self._operand(left, place)}) {operator} string({self._operand(right, place)})"

    def _operand(self, text: str, place: str) -> str:
        bare = text.strip().strip("\"'")
        whole = _MARK.fullmatch(bare)
        if whole is not None:
            return self._expression(whole.group(1), place)
        if _MARK.search(bare):
            self._into.refuse("when", place, "a text with a variable inside of it")
        return "'" + bare.replace("'", "") + "'"


def _written(template: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for group in template.get("steps") or ():
        yield from group if isinstance(group, Sequence) else [group]
    yield from (template.get("dag") or {}).get("tasks") or ()
