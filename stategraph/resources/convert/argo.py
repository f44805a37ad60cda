"""Workflows of Argo: templates with steps or a DAG become workflows, everything that runs becomes a tool.

| there | here |
|---|---|
| a template with `steps` or `dag` | a Workflow; where another one uses it, a step with `workflow` |
| a template with `container`, `script`, `resource`, `http` or the like | a Tool, registered by id |
| `suspend: {}` | a step with `interrupt`, of the type `approval` |
| groups of `steps`, `depends` of `&&`, `dependencies` | `next`, and `after` where several are waited for |
| `when` | a switch; where others wait for the step, it and its absence meet in a node `<id>_end` |
| `withItems`, `withSequence` of numbers, `withParam` of a result | `each` |
| `{{inputs.parameters.x}}`, `{{item}}` | `${{ input["x"] }}`, `${{ item }}` |
| `{{steps.a.outputs.result}}` | `${{ steps["a"] }}`, of a loop the list of its results |
| `outputs` of a template: parameters and artifacts | fields of the mapping that its tool, or its workflow, returns |
| artifacts that are handed on, or have a location | arguments: what the tool returned for the file, or the location |
| `templateRef`, `workflowTemplateRef` | the template, if it is among the documents; else refused |
| `inline`, `templateDefaults`, `target` of a DAG | the same as written out |
| a CronWorkflow | a Schedule, and its workflow |
| `retryStrategy` with a number, `activeDeadlineSeconds`, `timeout` | `retry`, `timeout` |
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from stategraph.resources.convert import argo_values as values
from stategraph.resources.convert.argo_values import Reading
from stategraph.resources.convert.conversion import Conversion, Document, name_of, resource_name, step_id

_KINDS: Final = ("Workflow", "WorkflowTemplate", "ClusterWorkflowTemplate")
_RUNS: Final = ("container", "script", "resource", "http", "containerSet", "data", "plugin")
_REFUSED_OF_SPEC: Final = {
    "onExit": "what runs after a workflow however it ends has no counterpart",
    "hooks": "hooks have no counterpart",
    "synchronization": "locks between workflows have no counterpart",
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
}


_CRON: Final = frozenset({"schedule", "schedules", "timezone", "concurrencyPolicy", "workflowSpec", "suspend"})
_TOLD: Final = frozenset(
    {"workflowMetadata", "successfulJobsHistoryLimit", "failedJobsHistoryLimit", "startingDeadlineSeconds"}
)


def convert(document: Document, documents: Sequence[Document] = ()) -> Iterator[Conversion]:
    """Convert a document of Argo; it becomes one conversion.

    Args:
        document: The document.
        documents: All documents, among which templates that it refers to are looked for.
    """
    conversion = Conversion(f"{document.get('kind')} {name_of(document)}")
    kind, spec = document.get("kind"), document.get("spec") or {}
    library = {name_of(each): each.get("spec") or {} for each in documents if str(each.get("kind")) in _KINDS[1:]}
    if kind == "CronWorkflow":
        _schedule(name_of(document), spec, conversion)
        spec = spec.get("workflowSpec") or {}
    elif kind not in _KINDS:
        conversion.refuse(str(kind), "kind", "this kind has no counterpart")
        yield conversion
        return
    _Converting(name_of(document), spec, conversion, library).run()
    yield conversion


def _schedule(name: str, spec: Mapping[str, Any], into: Conversion) -> None:
    """Convert the times of a CronWorkflow."""
    for field_name in sorted(set(spec) - _CRON - _TOLD):
        into.refuse(field_name, f"spec.{field_name}", "it has no counterpart of the same meaning")
    for field_name in sorted(set(spec) & _TOLD):
        into.notes.append(f"spec.{field_name} is left out: it is about the records of the cluster")
    times = [*([spec["schedule"]] if spec.get("schedule") else []), *(spec.get("schedules") or ())]
    if spec.get("concurrencyPolicy") not in (None, "", "Allow"):
        into.refuse("concurrencyPolicy", "spec.concurrencyPolicy", "runs of a schedule do not wait for each other")
    if not times:
        into.refuse("schedule", "spec.schedule", "there is no time")
    for number, each in enumerate(times):
        made: dict[str, Any] = {"cron": str(each), "ref": f"workflow/{resource_name(name)}"}
        made |= {"suspend": True} if spec.get("suspend") else {}
        made |= {"timezone": str(spec["timezone"])} if spec.get("timezone") else {}
        into.add("Schedule", name if not number else f"{name}-{number + 1}", made)


@dataclass(slots=True)
class _Task:
    """A step of a template, or a task of a DAG.

    Attributes:
        id: Its id.
        written: What is written of it.
        place: Its field.
        template: The key of its template; empty: it has none.
        waits: The steps that it waits for.
        end: The node after which others go on: its own, or the one where its absence meets it.
    """

    id: str
    written: Mapping[str, Any]
    place: str
    template: str
    waits: list[str] = field(default_factory=list)
    end: str = ""

    @property
    def is_loop(self) -> bool:
        """True if it runs for each of several items."""
        return any(self.written.get(name) is not None for name in ("withItems", "withParam", "withSequence"))


class _Converting:
    """One document that is being converted.

    Args:
        name: Its name.
        spec: Its spec.
        conversion: What it becomes.
        library: Specs of WorkflowTemplates by their names.
    """

    def __init__(
        self, name: str, spec: Mapping[str, Any], conversion: Conversion, library: Mapping[str, Mapping[str, Any]]
    ) -> None:
        self._name = name
        self._library = library
        self._into = conversion
        self._spec = self._completed(spec)
        self._templates: dict[str, Mapping[str, Any]] = {}
        self._take("", self._spec)
        self._tools: set[str] = set()
        self._waiting: list[str] = []

    def _completed(self, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a spec with that of the template that it is to be made of."""
        reference = spec.get("workflowTemplateRef")
        if not reference:
            return spec
        known = self._library.get(str(reference.get("name")))
        if known is None:
            self._absent("workflowTemplateRef", "spec.workflowTemplateRef")
            return spec
        arguments: dict[str, Any] = {}
        for part in ("parameters", "artifacts"):
            by_name = {
                str(each["name"]): each
                for given in (known, spec)
                for each in (given.get("arguments") or {}).get(part) or ()
            }
            arguments[part] = list(by_name.values())
        own = {key: value for key, value in spec.items() if key != "workflowTemplateRef"}
        return {**known, **own, "arguments": arguments}

    def _take(self, origin: str, spec: Mapping[str, Any]) -> None:
        """Note the templates of a spec, each with the defaults of all of them."""
        defaults = spec.get("templateDefaults") or {}
        for each in spec.get("templates") or ():
            name = str(each.get("name"))
            self._templates[f"{origin}/{name}" if origin else name] = {**defaults, **each}

    def _absent(self, construct: str, place: str) -> None:
        self._into.refuse(construct, place, "the template is in a document that is not given; give it, too")

    def run(self) -> None:
        """Convert it."""
        self._check(self._spec, _REFUSED_OF_SPEC, "spec")
        self._note()
        own = list(self._templates)
        graphs = [each for each in own if _is_graph(self._templates[each])]
        entry = str(self._spec.get("entrypoint") or (graphs[0] if graphs else ""))
        if not own or (entry and entry not in own):
            self._into.refuse("templates", "spec.templates", "there is no template to begin with")
            return
        if entry not in graphs and entry:
            alone = {"name": entry, "steps": [[{"name": entry, "template": entry}]]}
            self._workflow(self._name, alone, "", is_entry=True)
        self._waiting = list(graphs)
        self._work_off(entry)

    def _note(self) -> None:
        """Note what is left out."""
        if self._spec.get("parallelism") or any(each.get("parallelism") for each in self._templates.values()):
            self._into.notes.append("parallelism is left out: say maxConcurrency of the steps with 'each' that need it")

    def _work_off(self, entry: str) -> None:
        """Convert the templates that wait, and those that they use."""
        done: set[str] = set()
        while self._waiting:
            key = self._waiting.pop(0)
            if key not in done:
                done.add(key)
                is_entry = key == entry
                self._recursion(key, [key])
                name = self._name if is_entry else f"{self._name}-{key}"
                self._workflow(name, self._templates[key], key, is_entry=is_entry)

    def _recursion(self, key: str, way: list[str]) -> None:
        for index, written in enumerate(_written(self._templates.get(key) or {})):
            used = self._key(written, key, f"spec.templates[{key}][{index}]", quiet=True)
            if used in way:
                self._into.refuse("recursion", f"spec.templates[{key}]", f"the template uses itself: {used}")
                return
            self._recursion(used, [*way, used])

    def _key(self, written: Mapping[str, Any], owner: str, place: str, *, quiet: bool = False) -> str:
        """Return the key of the template of a step; empty if there is none.

        Args:
            written: The step.
            owner: The key of the template that has it.
            place: Its field.
            quiet: Whether nothing is refused.
        """
        if written.get("inline"):
            key = f"{owner}.{written.get('name')}" if owner else str(written.get("name"))
            self._templates.setdefault(key, {**written["inline"], "name": key})
            return key
        reference, origin = written.get("templateRef"), owner.rpartition("/")[0]
        name = str(written.get("template") or "")
        if reference:
            origin, name = str(reference.get("name")), str(reference.get("template"))
            if origin in self._library:
                self._take(origin, self._library[origin])
            elif not quiet:
                self._absent("templateRef", f"{place}.templateRef")
                return ""
        key = f"{origin}/{name}" if origin else name
        if key in self._templates:
            return key
        if not quiet:
            self._into.refuse("template", f"{place}.template", f"there is no template {key!r}")
        return ""

    def _check(self, given: Mapping[str, Any], refused: Mapping[str, str], place: str) -> None:
        for name, reason in refused.items():
            if given.get(name) not in (None, False, [], {}):
                self._into.refuse(name, f"{place}.{name}", reason)

    # Workflows.

    def _workflow(self, name: str, template: Mapping[str, Any], key: str, *, is_entry: bool) -> None:
        place = f"spec.templates[{key or template['name']}]"
        self._check(template, _REFUSED_OF_TEMPLATE, place)
        tasks = self._tasks(template, key, place)
        reading = Reading(self._into, {each.id: self._kind_of(each) for each in tasks})
        steps = self._all_steps(tasks, reading)
        returned = self._returned(template, steps, reading, place)
        state: dict[str, Any] = {}
        for id in sorted(reading.lists):
            state[id] = {"type": "array", "merge": "append"}
            steps[id]["output"] = {**steps[id].get("output", {}), id: "${{ result }}"}
        state |= {field_name: {"merge": "last"} for field_name in returned}
        parts = {"inputs": self._inputs(template, is_entry), "state": state, "outputs": {each: {} for each in returned}}
        spec: dict[str, Any] = {"steps": list(steps.values()), **{part: each for part, each in parts.items() if each}}
        roots = [_target(task) for task in tasks if not task.waits]
        if roots and roots != [next(iter(steps), None)]:
            spec["initialStep"] = roots[0] if len(roots) == 1 else roots
        self._into.add("Workflow", name, spec)

    def _all_steps(self, tasks: Sequence[_Task], reading: Reading) -> dict[str, dict[str, Any]]:
        """Return the steps of a template by their ids."""
        by_id = {task.id: task for task in tasks}
        followers = {task.id: [each for each in tasks if task.id in each.waits] for task in tasks}
        for task in tasks:
            joined = len(followers[task.id]) > 1 or any(len(each.waits) > 1 for each in followers[task.id])
            task.end = f"{task.id}_end" if task.written.get("when") is not None and joined else task.id
        several = (each for task in tasks for each in self._steps(task, followers[task.id], by_id, reading))
        return {each["id"]: each for each in several}

    def _returned(
        self, template: Mapping[str, Any], steps: Mapping[str, dict[str, Any]], reading: Reading, place: str
    ) -> list[str]:
        """Have the steps write what a template returns, and return the fields of that."""
        found: list[str] = []
        for name, source in _outputs(template):
            written = source.get("parameter") or source.get("from")
            step, value = reading.written(str(written), f"{place}.outputs") if written else ("", "")
            if step not in steps or source.get("globalName"):
                reason = "outputs that are worked out, global, or not those of a step"
                self._into.refuse("outputs", f"{place}.outputs", reason)
                continue
            steps[step]["output"] = {**steps[step].get("output", {}), name: value}
            found.append(name)
        return found

    def _kind_of(self, task: _Task) -> values.Source:
        """Return what others may read of a task."""
        template = self._templates.get(task.template) or {}
        fields = frozenset(name for name, _ in _outputs(template))
        kind: values.Kind = "answer" if "suspend" in template else "fields" if fields else "value"
        return values.Source(kind, fields, is_loop=task.is_loop)

    def _inputs(self, template: Mapping[str, Any], is_entry: bool) -> dict[str, Any]:
        given = [template.get("inputs") or {}, *([self._spec.get("arguments") or {}] if is_entry else [])]
        found: dict[str, Any] = {}
        for each in (each for side in given for each in side.get("parameters") or ()):
            value = each.get("value", each.get("default"))
            found[str(each["name"])] = found.get(str(each["name"]), {}) | _default(value)
        for each in (each for side in given for each in side.get("artifacts") or ()):
            known = {"optional": True} if each.get("optional") else {}
            known |= _default(values.location(each))
            found[str(each["name"])] = found.get(str(each["name"]), {}) | known
        return found

    def _tasks(self, template: Mapping[str, Any], key: str, place: str) -> list[_Task]:
        if "dag" in template:
            return self._of_dag(template["dag"] or {}, key, place)
        tasks: list[_Task] = []
        before: list[str] = []
        for number, group in enumerate(template.get("steps") or ()):
            several = group if isinstance(group, Sequence) else [group]
            now = [
                self._task(each, key, f"{place}.steps[{number}][{index}]", list(before))
                for index, each in enumerate(several)
            ]
            tasks += now
            before = [each.id for each in now]
        return tasks

    def _task(self, written: Mapping[str, Any], owner: str, place: str, waits: list[str]) -> _Task:
        return _Task(step_id(str(written["name"])), written, place, self._key(written, owner, place), waits)

    def _of_dag(self, dag: Mapping[str, Any], key: str, place: str) -> list[_Task]:
        if dag.get("failFast") is False:
            self._into.refuse("failFast", f"{place}.dag.failFast", _REFUSED_OF_TEMPLATE["failFast"])
        tasks = []
        for index, each in enumerate(dag.get("tasks") or ()):
            where = f"{place}.dag.tasks[{index}]"
            waits = [step_id(str(name)) for name in each.get("dependencies") or ()]
            depends = str(each.get("depends") or "")
            if depends:
                names = [name.strip().strip("()").strip().removesuffix(".Succeeded") for name in depends.split("&&")]
                if "||" in depends or "!" in depends or any("." in name for name in names):
                    reason = (
                        "a task waits for all of several, and for their success; other conditions have no counterpart"
                    )
                    self._into.refuse("depends", f"{where}.depends", reason)
                    names = []
                waits += [step_id(name) for name in names]
            tasks.append(self._task(each, key, where, list(dict.fromkeys(waits))))
        return self._wanted(tasks, str(dag.get("target") or ""), place)

    def _wanted(self, tasks: list[_Task], target: str, place: str) -> list[_Task]:
        """Return the tasks that lead to the targets of a DAG; all if it names none."""
        if values.MARK.search(target):
            self._into.refuse("target", f"{place}.dag.target", "a target that is worked out at run time")
        if not target or values.MARK.search(target):
            return tasks
        by_id = {each.id: each for each in tasks}
        waiting, found = [step_id(each) for each in target.split()], set[str]()
        while waiting:
            each = waiting.pop()
            if each in by_id and each not in found:
                found.add(each)
                waiting += by_id[each].waits
        return [each for each in tasks if each.id in found]

    # Steps.

    def _steps(
        self, task: _Task, followers: Sequence[_Task], by_id: Mapping[str, _Task], reading: Reading
    ) -> list[dict[str, Any]]:
        self._check(task.written, _REFUSED_OF_STEP, task.place)
        step: dict[str, Any] = {"id": task.id, **self._call(task), **self._loop(task, reading)}
        if "interrupt" not in step:
            step["input"] = self._given(task, reading)
        onward = [_target(each) for each in followers if len(each.waits) == 1]
        is_conditional = task.written.get("when") is not None
        steps, last = [step], step
        if task.end != task.id:
            step["next"] = task.end
            last = {"id": task.end, "set": {}}
            steps.append(last)
        if onward:
            last["next"] = onward[0] if len(onward) == 1 else onward
        if is_conditional:
            condition = reading.condition(str(task.written["when"]), f"{task.place}.when")
            skipped = task.end if task.end != task.id else onward[0] if onward else "END"
            cases = [{"when": condition, "next": task.id}, {"next": skipped}]
            steps.insert(0, {"id": f"{task.id}_when", "switch": cases})
        if len(task.waits) > 1:
            ends = [by_id[each].end if each in by_id else each for each in task.waits]
            if is_conditional or task.is_loop:
                begins = {"id": f"{task.id}_begin", "set": {}, "next": _target(task), "after": ends}
                steps.insert(0, begins)
            else:
                step["after"] = ends
        return steps

    def _given(self, task: _Task, reading: Reading) -> dict[str, Any]:
        """Return the arguments of a step: parameters and artifacts, and locations that its template has."""
        arguments = task.written.get("arguments") or {}
        given = {
            str(each["name"]): reading.value(each.get("value"), task.place)
            for each in arguments.get("parameters") or ()
        }
        template = self._templates.get(task.template) or {}
        own = (template.get("inputs") or {}).get("artifacts") or ()
        if _is_graph(template):  # a workflow has them as defaults of its inputs
            own = ()
        for each in (*own, *(arguments.get("artifacts") or ())):
            place = f"{task.place}.arguments"
            if each.get("fromExpression"):
                self._into.refuse("expression", place, "a file that is chosen by an expression")
            elif each.get("from"):
                given[str(each["name"])] = reading.value(str(each["from"]), place)
            elif (location := values.location(each)) is not None:
                given[str(each["name"])] = reading.value(location, place)
        return given

    def _call(self, task: _Task) -> dict[str, Any]:
        template = self._templates.get(task.template)
        if template is None:
            return {"tool": "missing"}
        name = task.template
        self._check(template, _REFUSED_OF_TEMPLATE, f"spec.templates[{name}]")
        limits = self._limits(template, task)
        if _is_graph(template):
            self._waiting.append(name)
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
        given = template.get("inputs") or {}
        names = [str(each["name"]) for part in ("parameters", "artifacts") for each in given.get(part) or ()]
        schema = {"type": "object", "properties": {each: {} for each in names}}
        kind = next((each for each in _RUNS if each in template), "step")
        self._into.add("Tool", name, {"id": name, "description": f"The {kind} {name}.", "inputSchema": schema})
        returned = [each for each, _ in _outputs(template)]
        told = f", and returns a mapping with result, {', '.join(returned)}" if returned else ""
        self._into.notes.append(f"register a tool under the id {name!r}: it was a {kind}{told}")
        if any(source.get("globalName") for _, source in _outputs(template)):
            self._into.refuse("globalName", f"spec.templates[{name}].outputs", "outputs of the whole workflow")

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

    # Loops.

    def _loop(self, task: _Task, reading: Reading) -> dict[str, Any]:
        written = task.written
        if written.get("withItems") is not None:
            items = values.listed(written["withItems"])
            if items is None:
                self._into.refuse("withItems", f"{task.place}.withItems", "a list that is worked out at run time")
            return {"each": items or []}
        sequence = written.get("withSequence")
        if sequence is not None:
            return self._sequence(sequence, f"{task.place}.withSequence")
        if written.get("withParam") is not None:
            known = values.listed(written["withParam"])
            if known is not None:
                return {"each": known}
            value = reading.value(written["withParam"], task.place)
            if not (isinstance(value, str) and value.startswith("${{") and value.count("${{") == 1):
                self._into.refuse("withParam", f"{task.place}.withParam", "a list that is written as text")
            return {"each": value}
        return {}

    def _sequence(self, sequence: Mapping[str, Any], place: str) -> dict[str, Any]:
        found = values.sequence(sequence)
        if found is None:
            self._into.refuse("withSequence", place, "numbers that are worked out at run time")
        return {"each": found or []}


def _default(value: Any) -> dict[str, Any]:
    """Return the default of an input; nothing where there is none, or it is worked out at run time."""
    return {} if value is None or values.MARK.search(str(value)) else {"default": value}


def _is_graph(template: Mapping[str, Any]) -> bool:
    return "steps" in template or "dag" in template


def _outputs(template: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the names of what a template returns, each with where that comes from."""
    outputs = template.get("outputs") or {}
    for each in outputs.get("parameters") or ():
        yield str(each["name"]), {**(each.get("valueFrom") or {}), "globalName": each.get("globalName")}
    for each in outputs.get("artifacts") or ():
        yield str(each["name"]), each


def _target(task: _Task) -> str:
    """Return the step that leads to a task."""
    return task.id if task.written.get("when") is None else f"{task.id}_when"


def _written(template: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for group in template.get("steps") or ():
        yield from group if isinstance(group, Sequence) else [group]
    yield from (template.get("dag") or {}).get("tasks") or ()
