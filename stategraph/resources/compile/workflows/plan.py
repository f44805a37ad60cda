"""Workflows as graphs.

| of a workflow | becomes |
|---|---|
| a step | a node of its name |
| `next: b`, `next: [b, c]` | edges |
| `after: [a, b]` | an edge from both, which waits for both |
| a switch | a conditional edge of each step that leads to it, by its name |
| `each` | a conditional edge of each step that leads to it, which sends an item to each task of its node |
| an `each` step before a switch or another `each` | also a node `<id>_done`, which runs once after all items |
| a field of the state | a channel, with the reducer that its `merge` names |
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from stategraph.agent.settings.tool_policy import ToolPolicy
from stategraph.constants import END, START
from stategraph.engine.compile.functions import is_async_callable
from stategraph.graph.state import StateGraph
from stategraph.policies import RetryPolicy
from stategraph.resources import refs
from stategraph.resources.compile import expr
from stategraph.resources.compile.calls import Callee
from stategraph.resources.compile.data import Builder, Data, Fields
from stategraph.resources.compile.workflows import checks, normal, state
from stategraph.resources.compile.workflows.routes import Fan, Route, Switch
from stategraph.resources.compile.workflows.state import LAST, STEPS, Names
from stategraph.resources.compile.workflows.steps import AskNode, CallNode, DoneNode, EachNode, Node, SetNode
from stategraph.resources.errors import InvalidResource
from stategraph.resources.kinds.values import Retry
from stategraph.resources.kinds.workflow import CALLS, Step, WorkflowSpec
from stategraph.resources.places import Path


class Lookup(Protocol):
    """Finds what steps call."""

    def __call__(self, kind: str, ref: refs.Reference, path: Path, *, several: bool = False) -> Callee:
        """Return what a step calls.

        Args:
            kind: `agent`, `tool`, `workflow` or `network`.
            ref: The reference.
            path: The field that has it.
            several: Whether it is asked several things at once.
        """


Functions: TypeAlias = Callable[[str, Path], Any]
"""Returns the function of an import path, which the field that is named has."""


@dataclass(frozen=True, slots=True)
class WorkflowPlan:
    """A workflow, compiled up to what it is stored in.

    Attributes:
        name: Its name, for readers.
        spec: Its normal form.
        version: SHA-256 of that: threads that wait are finished on the version that they began with.
        builder: Its graph, to be compiled with a saver and a store.
        names: What its steps may read.
        parsed: Its spec.
    """

    name: str
    spec: Fields
    version: str
    builder: Builder
    names: Names
    parsed: WorkflowSpec = field(repr=False)

    def graph(self, checkpointer: Data = None, store: Data = None) -> Data:
        """Return the graph that runs.

        Args:
            checkpointer: Keeps its threads; None: nothing is kept.
            store: Long-term memory; None: none.
        """
        compiled = self.builder.compile(checkpointer=checkpointer, store=store, name=self.name)
        limit = self.parsed.max_steps
        return compiled if limit is None else compiled.with_config(recursion_limit=limit)


def references(spec: WorkflowSpec) -> Iterator[tuple[str, refs.Reference, Path]]:
    """Yield what the steps of a workflow refer to: the kind, the reference, and the field."""
    for index, step in enumerate(spec.steps):
        if step.kind in CALLS:
            yield step.kind, getattr(step, step.kind), ("spec", "steps", index, step.kind)


def version_of(form: Fields) -> str:
    """Return the version of a workflow in normal form: the SHA-256 of all that its graph is made of, in hex."""
    told = {key: value for key, value in form.items() if key not in ("name", "description", "version", "rollout")}
    return hashlib.sha256(json.dumps(told, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def plan(name: str, spec: WorkflowSpec, lookup: Lookup, functions: Functions) -> WorkflowPlan:
    """Compile a workflow.

    Args:
        name: Its name, for readers.
        spec: What was declared.
        lookup: Finds what steps call.
        functions: Finds functions by their import paths.

    Raises:
        InvalidResource: It makes no sense; every problem has its field.
    """
    workflow = normal.expanded(spec)
    problems = checks.problems_of(workflow)
    if problems:
        raise InvalidResource(problems)
    names = _names_of(workflow)
    form = normal.spec(workflow)
    builder = _Build(workflow, names, lookup, functions).graph()
    builder.declared = normal.header(workflow)  # type: ignore[attr-defined]  # what the graph itself does not say
    return WorkflowPlan(name, form, version_of(form), builder, names, workflow)


def _names_of(spec: WorkflowSpec) -> Names:
    reads: list[expr.Reads] = []
    for _, written, variables, is_condition in checks.expressions(spec):
        values = [written] if is_condition else expr.sources(written)
        reads += [expr.reads_of(normal.bare(each), variables) for each in values]
    together = expr.together(reads)
    keeps_last = LAST in together or _takes_last(spec) or not (spec.state or spec.outputs)
    defaults = {name: each.default for name, each in spec.state.items() if each.default is not None}
    return Names(spec.inputs, spec.state, defaults, frozenset(together.get(STEPS) or ()), keeps_last)


def _takes_last(spec: WorkflowSpec) -> bool:
    """Return whether a step is given the result of the step before it."""
    led_to = {name for step in spec.steps for name in checks.onward(step)}
    led_to |= {step.id for step in spec.steps if step.after}
    calls = [step for step in spec.steps if step.kind in CALLS and step.each is None]
    return any(step.input is None and step.id in led_to for step in calls)


class _Build:
    """A workflow that is being made a graph."""

    def __init__(self, spec: WorkflowSpec, names: Names, lookup: Lookup, functions: Functions) -> None:
        self._spec = spec
        self._names = names
        self._lookup = lookup
        self._functions = functions
        self._switches = {step.id: Switch(step, names) for step in spec.steps if step.switch is not None}
        self._fans: dict[str, Fan] = {}

    def graph(self) -> Builder:
        whole, given, returned = state.schemas(self._spec, self._names)
        graph: Builder = StateGraph(whole, input_schema=given, output_schema=returned)
        for index, step in enumerate(self._spec.steps):
            if step.switch is None:
                self._add(graph, index, step)
        for name in self._spec.initial_step or (self._spec.steps[0].id,):
            self._lead(graph, START, name)
        for step in self._spec.steps:
            if step.switch is not None:
                continue
            onward = step.next or (("END",) if not self._is_awaited(step) else ())
            source = self._after_items(graph, step, onward)
            for name in onward:
                self._lead(graph, source if self._is_chosen(name) else step.id, name)
            if len(step.after) > 1:
                graph.add_edge(list(step.after), step.id)
            elif step.after:
                graph.add_edge(step.after[0], step.id)
        return graph

    def _is_awaited(self, step: Step) -> bool:
        return any(step.id in other.after for other in self._spec.steps)

    def _is_chosen(self, target: str) -> bool:
        return target in self._switches or target in self._fans

    def _after_items(self, graph: Builder, step: Step, onward: Iterable[str]) -> str:
        """Return the node from which a step's ways are chosen.

        A router after tasks that were sent would be asked by each of them, and see only what that one wrote.
        """
        if step.each is None or not any(map(self._is_chosen, onward)):
            return step.id
        done = DoneNode(step, self._names)
        graph.add_node(done.id, done.runnable())
        graph.add_edge(step.id, done.id)
        return done.id

    def _lead(self, graph: Builder, source: str, target: str) -> None:
        if not self._is_chosen(target):
            graph.add_edge(source, END if target == "END" else target)
            return
        route = Route(target, self._switches, self._fans)
        graph.add_conditional_edges(source, route.runnable(), route.ends)

    def _add(self, graph: Builder, index: int, step: Step) -> None:
        path: Path = ("spec", "steps", index)
        retry: Data = None if step.retry is None else retry_policy(step.retry)
        if step.node is not None:
            function = self._functions(step.node, (*path, "node"))
            if step.timeout is not None and not is_async_callable(function):
                raise InvalidResource(
                    "the function is not async, so it cannot be stopped when it takes too long; make it 'async def'",
                    path=(*path, "timeout"),
                )
            told = {name: text for name in ("name", "description") if (text := getattr(step, name)) is not None}
            limits: Fields = {"retry_policy": retry, "timeout": step.timeout, "metadata": told or None}
            # Not the schema that annotates the function: the fields of the workflow are told in the workflow.
            graph.add_node(step.id, function, input_schema=graph.state_schema, **limits)
            return
        node = self._node(step, path)
        timeout = step.timeout
        if isinstance(node, EachNode):
            self._fans[step.id] = Fan(step, node)
            timeout = None  # the node keeps it, without the time in which an item waits for its turn
        policy = _policy_of(node)
        if policy is not None:
            retry = retry or policy.retries or None
            timeout = timeout or (policy.timeout_s if isinstance(node, CallNode) else None)
        graph.add_node(step.id, node.runnable(), retry_policy=retry, timeout=timeout)

    def _node(self, step: Step, path: Path) -> Node:
        if step.set is not None:
            return SetNode(step, self._names)
        if step.interrupt is not None:
            return AskNode(step, self._names)
        callee = self._lookup(step.kind, getattr(step, step.kind), (*path, step.kind), several=step.each is not None)
        return (CallNode if step.each is None else EachNode)(step, self._names, callee)


def _policy_of(node: Node) -> ToolPolicy | None:
    """Return the limits of the tool that a step calls; None: there are none, or it calls no tool."""
    if not isinstance(node, CallNode | EachNode):
        return None
    found: ToolPolicy | None = getattr(node.callee, "policy", None)
    return found


def retry_policy(retry: Retry) -> RetryPolicy:
    """Return the retry policy of a node or a tool that a manifest describes."""
    return RetryPolicy(
        initial_interval=retry.backoff,
        backoff_factor=retry.factor,
        max_interval=retry.max_backoff,
        max_attempts=retry.max,
        jitter=retry.jitter,
    )
