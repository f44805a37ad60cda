"""Checks of a workflow as a whole, each with the place of what is wrong."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Final

from stategraph.resources.compile import expr
from stategraph.resources.compile.data import Fields, Object
from stategraph.resources.compile.workflows.state import INPUT, LAST, STEPS
from stategraph.resources.kinds.workflow import CALLS, Step, WorkflowSpec
from stategraph.resources.places import Path, Problem

END: Final = "END"
_RESERVED: Final = frozenset({"END", "START", "__start__", "__end__"})
_VARIABLES: Final = frozenset({"state", INPUT, LAST, STEPS})
_CALL_ONLY: Final = ("each", "as_", "error_output", "max_concurrency")


def problems_of(spec: WorkflowSpec) -> list[Problem]:
    """Return what is wrong with a workflow beyond what its schema says; none if it can be compiled."""
    found = [*_ids(spec), *_fields(spec), *_names(spec), *_shapes(spec)]
    if not found:
        found += [*_switches(spec), *_reachable(spec), *_expressions(spec)]
    return found


def expressions(spec: WorkflowSpec) -> Iterator[tuple[Path, Any, frozenset[str], bool]]:
    """Yield what may have expressions: the field, the value, the names it may use, whether it is a condition."""
    for index, step in enumerate(spec.steps):
        at: Path = ("spec", "steps", index)
        item = frozenset({step.as_ or "item", "index"}) if step.each is not None else frozenset[str]()
        if step.each is not None:
            yield (*at, "each"), step.each, _VARIABLES, False
        if step.input is not None:
            yield (*at, "input"), step.input, _VARIABLES | item, False
        if step.output is not None:
            yield (*at, "output"), step.output, _VARIABLES | item | {"result"}, False
        if step.error_output is not None:
            yield (*at, "errorOutput"), step.error_output, _VARIABLES | item | {"error"}, False
        if step.set is not None:
            yield (*at, "set"), step.set, _VARIABLES, False
        if step.interrupt is not None:
            yield (*at, "interrupt", "prompt"), step.interrupt.prompt, _VARIABLES, False
            yield (*at, "interrupt", "data"), step.interrupt.data, _VARIABLES, False
        for number, case in enumerate(step.switch or ()):
            if case.when is not None:
                yield (*at, "switch", number, "when"), case.when, _VARIABLES, True


def onward(step: Step) -> tuple[str, ...]:
    """Return the steps that a step leads to by itself, END among them."""
    if step.switch is not None:
        return tuple(case.next for case in step.switch)
    return step.next or (END,)


def _ids(spec: WorkflowSpec) -> Iterator[Problem]:
    seen = {f"{step.id}_done" for step in spec.steps if step.each is not None}
    for index, step in enumerate(spec.steps):
        path: Path = ("spec", "steps", index, "id")
        if step.id in seen:
            yield Problem(
                "the id of a step is used twice, or by the end of an 'each' step",
                path,
                found=repr(step.id),
                expected="one of its own",
            )
        if step.id in _RESERVED:
            yield Problem("this word is not the id of a step", path, found=repr(step.id), expected="another id")
        seen.add(step.id)


def _fields(spec: WorkflowSpec) -> Iterator[Problem]:
    taken = {LAST: "the result of the step before", STEPS: "the results of steps"}
    if spec.inputs is None:
        taken[INPUT] = "the input, which has no declared fields"
    for name in spec.state:
        if name in taken:
            yield Problem(
                f"a field of the state cannot be called {name!r}: that is {taken[name]}",
                ("spec", "state", name),
                expected="another name",
            )
    for name in spec.inputs or ():
        if name in (LAST, STEPS):
            yield Problem(
                f"a field of the input cannot be called {name!r}: that is {taken[name]}", ("spec", "inputs", name)
            )
    for name in spec.outputs or ():
        if name not in spec.state:
            yield Problem(
                "an output is a field of the state",
                ("spec", "outputs", name),
                found=repr(name),
                **_near(name, spec.state, "a field of the state"),
            )


def _names(spec: WorkflowSpec) -> Iterator[Problem]:
    ids = [step.id for step in spec.steps]
    for number, name in enumerate(spec.initial_step or ()):
        if name not in ids:
            yield _unknown(name, ids, ("spec", "initialStep", number))
    for index, step in enumerate(spec.steps):
        at: Path = ("spec", "steps", index)
        if step.switch is not None:
            for number, case in enumerate(step.switch):
                if case.next not in (*ids, END):
                    yield _unknown(case.next, [*ids, END], (*at, "switch", number, "next"))
        for name in step.next or ():
            if name not in (*ids, END):
                yield _unknown(name, [*ids, END], (*at, "next"))
        for number, name in enumerate(step.after):
            if name not in ids:
                yield _unknown(name, ids, (*at, "after", number))


def _unknown(name: str, known: Collection[str], path: Path) -> Problem:
    return Problem("there is no such step", path, found=repr(name), **_near(name, known, "a step"))


def _near(name: str, known: Iterable[str], what: str) -> Object:
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return {"suggestion": near[0]}
    return {"expected": f"{what}: {', '.join(sorted(names))}" if names else f"{what}, of which there are none"}


_SHOWN: Final = {"as_": "as", "error_output": "errorOutput", "max_concurrency": "maxConcurrency"}
_IDLE: Final = {
    "switch": ("next", "after", "input", "output", "timeout", "retry"),
    "set": ("input", "output"),
    "interrupt": ("input", "timeout", "retry"),
    "node": ("input", "output"),
}
"""Fields that have no effect, by the kind of the step."""


def _shapes(spec: WorkflowSpec) -> Iterator[Problem]:
    by_id = {step.id: step for step in spec.steps}
    for index, step in enumerate(spec.steps):
        at: Path = ("spec", "steps", index)
        yield from _idle(step, at)
        for number, name in enumerate(step.after):
            if name in by_id and by_id[name].switch is not None:
                yield Problem(
                    "a switch is not waited for: it is a choice between ways; name the step that comes before it",
                    (*at, "after", number),
                    found=repr(name),
                )
        if step.after and step.each is not None:
            yield Problem("a step with 'each' waits for one way only; put a step between", (*at, "after"))
        for where, written in (("output", step.output), ("set", step.set), ("errorOutput", step.error_output)):
            for name in written or ():
                if name not in spec.state:
                    yield Problem(
                        "the state has no such field; declare it in 'state'",
                        (*at, where, name),
                        found=repr(name),
                        **_near(name, spec.state, "a field"),
                    )


def _idle(step: Step, at: Path) -> Iterator[Problem]:
    """Yield the fields of a step that would have no effect."""
    if step.kind not in CALLS:
        for name in _CALL_ONLY:
            if getattr(step, name) is not None:
                shown = _SHOWN.get(name, name)
                yield Problem(f"'{shown}' has an effect on steps with {', '.join(CALLS)} only", (*at, shown))
    elif step.each is None and (step.as_ or step.error_output or step.max_concurrency):
        yield Problem("'as', 'errorOutput' and 'maxConcurrency' are of steps with 'each'", at)
    for name in _IDLE.get(step.kind, ()):
        if getattr(step, name) not in (None, ()):
            yield Problem(f"'{name}' has no effect on a step with '{step.kind}'; leave it out", (*at, name))


def _switches(spec: WorkflowSpec) -> Iterator[Problem]:
    by_id = {step.id: step for step in spec.steps}
    for index, step in enumerate(spec.steps):
        if step.switch is None:
            continue
        path: Path = ("spec", "steps", index, "switch")
        if not step.switch or step.switch[-1].when is not None:
            yield Problem("the last case of a switch has no 'when': add {next: END}", path)
        for number, case in enumerate(step.switch[:-1]):
            if case.when is None:
                yield Problem("cases after this one are never reached: it has no 'when'", (*path, number))
        if _leads_to(step, step.id, by_id):
            yield Problem("a switch that leads back to itself without a step between never ends", path)


def _leads_to(step: Step, target: str, by_id: Mapping[str, Step]) -> bool:
    waiting, seen = [case.next for case in step.switch or ()], set[str]()
    while waiting:
        name = waiting.pop()
        if name == target:
            return True
        if name in by_id and by_id[name].switch is not None and name not in seen:
            seen.add(name)
            waiting += [case.next for case in by_id[name].switch or ()]
    return False


def _reachable(spec: WorkflowSpec) -> Iterator[Problem]:
    by_id = {step.id: step for step in spec.steps}
    reached = set[str]()
    waiting = list(spec.initial_step or (spec.steps[0].id,))
    while waiting:
        name = waiting.pop()
        if name in reached or name not in by_id:
            continue
        reached.add(name)
        waiting += onward(by_id[name])
        waiting += [step.id for step in spec.steps if name in step.after]
    for index, step in enumerate(spec.steps):
        if step.id not in reached:
            before = f"'{spec.steps[index - 1].id}'" if index else "another step"
            yield Problem(f"no step leads to '{step.id}': add 'next: {step.id}' to {before}", ("spec", "steps", index))


def _expressions(spec: WorkflowSpec) -> Iterator[Problem]:
    for path, written, variables, is_condition in expressions(spec):
        place = f"step '{spec.steps[int(path[2])].id}'"
        compile: Callable[..., expr.Template] = expr.condition if is_condition else expr.template
        try:
            template = compile(list(written) if isinstance(written, tuple) else written, variables, place)
        except expr.ExpressionError as error:
            yield Problem(f"the expression {error.source!r} {error.why}", path)
            continue
        yield from _reads(spec, path, template.reads)


def _reads(spec: WorkflowSpec, path: Path, reads: expr.Reads) -> Iterator[Problem]:
    for name in reads.get("state") or ():
        if name not in spec.state:
            given = spec.inputs is not None and name in spec.inputs
            hint = {"suggestion": f"input.{name}"} if given else _near(name, spec.state, "a field")
            yield Problem("the state has no such field", path, found=f"'state.{name}'", **hint)
    if spec.inputs is not None:
        yield from _input_reads(spec, spec.inputs, path, reads.get(INPUT) or ())
    asked = reads.get(STEPS, frozenset())
    if asked is None:
        yield Problem("'steps' is read by the id of a step", path, expected='steps.<id>, or steps["<id>"]')
        return
    ids = {step.id: step for step in spec.steps if step.kind in (*CALLS, "interrupt") and step.each is None}
    for name in asked:
        if name not in ids:
            yield Problem(
                "no step of this id has a result", path, found=f"'steps.{name}'", **_near(name, ids, "a step")
            )


def _input_reads(spec: WorkflowSpec, inputs: Fields, path: Path, names: Collection[str]) -> Iterator[Problem]:
    for name in names:
        if name not in inputs:
            hint = _near(name, inputs, "a field")
            yield Problem("the input has no such field", path, found=f"'input.{name}'", **hint)
        elif name in spec.state:
            yield Problem(
                "this input is a field of the state too, which steps may change",
                path,
                found=f"'input.{name}'",
                suggestion=f"state.{name}",
            )
