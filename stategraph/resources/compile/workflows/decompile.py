"""Graphs back as workflows, as far as a manifest can say them.

The nodes, edges and channels of the graph are read, not what it was made of; a graph that was written by hand is
expressible if its nodes are functions that have an import path, and its ways are edges. What cannot be said is named:
a router that is code, a reducer of one's own, a graph inside of a node.
"""

from __future__ import annotations

import operator
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, get_args, get_origin

from stategraph.constants import END, START
from stategraph.engine.compile.functions import RunnableCallable
from stategraph.graph.message import add_messages
from stategraph.graph.schema import type_hints
from stategraph.policies import RetryPolicy, default_retry_on
from stategraph.resources.compile.data import Builder, Data, Fields, Graph, Object
from stategraph.resources.compile.workflows import merges, normal
from stategraph.resources.compile.workflows.routes import Route
from stategraph.resources.compile.workflows.state import INPUT, LAST, STEPS, Declared
from stategraph.resources.compile.workflows.steps import DoneNode, StepRunnable
from stategraph.resources.errors import ResourceError
from stategraph.resources.kind_table import API_VERSION
from stategraph.resources.kinds.workflow import InputField, Step
from stategraph.resources.model import Metadata, Resource

_ID: Final = re.compile(r"[^\s:|/]+")
_JSON: Final[Mapping[object, str]] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    list: "array",
    dict: "object",
}
_WORDS: Final = {function: word for word, (_, function) in merges.REDUCERS.items()}


class NotExpressible(ResourceError):
    """A graph has something that no manifest can say.

    Attributes:
        part: The node, field or way, such as `node 'plan'`.
    """

    def __init__(self, part: str, why: str) -> None:
        super().__init__(f"{part}: {why}")
        self.part, self.why = part, why

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.part, self.why)


def from_graph(graph: Graph, name: str | None = None, namespace: str = "default") -> list[Resource]:
    """Return a graph as resources: one workflow.

    Args:
        graph: A compiled graph, or the builder of one.
        name: The workflow's name; None: that of the graph.
        namespace: Its namespace.

    Raises:
        NotExpressible: A manifest cannot say it; the message names the node.
    """
    builder: Data = getattr(graph, "builder", graph)
    if not all(hasattr(builder, each) for each in ("nodes", "edges", "branches", "state_schema")):
        raise NotExpressible("the graph", f"a value of type {type(graph).__name__} is no state graph")
    given = name or getattr(graph, "name", None) or "workflow"
    metadata = Metadata(re.sub(r"[^a-z0-9]+", "-", given.lower()).strip("-") or "workflow", namespace)
    return [Resource(API_VERSION, "Workflow", metadata, _Reading(builder).spec())]


class _Reading:
    """A builder that is read."""

    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self._switches: dict[str, Step] = {}
        self._done: dict[str, str] = {}
        self._next: dict[str, list[str]] = {START: []}

    def spec(self) -> Object:
        """Return the spec of the workflow, in normal form."""
        if self._builder.context_schema is not None:
            raise NotExpressible("the graph", "it has a context schema; workflows read their input and state alone")
        steps = [each for each in (self._step(name, node) for name, node in self._builder.nodes.items()) if each]
        self._read_edges()
        after = self._awaited()
        spec: Object = {**getattr(self._builder, "declared", {}), **self._schemas()}
        whole = [{**each, **normal.ways(self._next.get(each["id"], ()), after.get(each["id"], ()))} for each in steps]
        whole += [normal.step(self._switches[name]) for name in sorted(self._switches)]
        if not self._next[START]:
            raise NotExpressible("the graph", "no edge leads from START: its beginning is chosen by code")
        starts = sorted(self._next[START])
        if not steps or starts != [steps[0]["id"]]:
            spec["initialStep"] = starts[0] if len(starts) == 1 else starts
        return {**spec, "steps": whole}

    # Nodes.

    def _step(self, name: str, node: Data) -> Object | None:
        runnable = node.runnable
        if isinstance(runnable, StepRunnable):
            if isinstance(runnable.node, DoneNode):
                self._done[name] = runnable.node.step.id
                return None
            return normal.step(runnable.node.step)
        for what, has in (
            ("a cache policy", node.cache_policy is not None),
            ("an error handler", node.error_handler_node is not None or node.is_error_handler),
            ("deferred execution", node.defer),
            ("commands that choose the next node", bool(node.ends)),
        ):
            if has:
                raise NotExpressible(f"node '{name}'", f"it has {what}, which no step has")
        if not _ID.fullmatch(name):
            raise NotExpressible(f"node '{name}'", "its name has characters that the id of a step may not have")
        told = {key: node.metadata[key] for key in ("name", "description") if key in (node.metadata or {})}
        limits = {**_retry(name, node.retry_policy), **_timeout(name, node)}
        return {"id": name, **told, "node": _path(name, runnable), **limits}

    # Ways.

    def _read_edges(self) -> None:
        for source, target in sorted(self._builder.edges):
            if target not in self._done:
                self._lead(source, target)
        for source, branches in self._builder.branches.items():
            for name, branch in branches.items():
                route = getattr(getattr(branch.path, "func", None), "__self__", None)
                if not isinstance(route, Route):
                    raise NotExpressible(f"node '{source}'", f"its router '{name}' is code; a switch has conditions")
                self._lead(self._done.get(source, source), route.target)
                self._add_switches(route)

    def _lead(self, source: str, target: str) -> None:
        known = self._next.setdefault(source, [])
        if target != END and target not in known:
            known.append(target)

    def _add_switches(self, route: Route) -> None:
        waiting = [route.target]
        while waiting:
            name = waiting.pop()
            if name in route.switches and name not in self._switches:
                step = self._switches[name] = route.switches[name].step
                waiting += [case.next for case in step.switch or ()]

    def _awaited(self) -> dict[str, list[str]]:
        after: dict[str, list[str]] = {}
        for sources, target in sorted(self._builder.waiting_edges):
            if target == END:
                continue
            if target in after:
                raise NotExpressible(f"node '{target}'", "it waits for two sets of nodes; a step waits for one")
            after[target] = sorted(sources)
        return after

    # Schemas.

    def _schemas(self) -> Object:
        builder = self._builder
        hints = type_hints(builder.state_schema)
        state = {
            name: _field(name, hint)
            for name, hint in hints.items()
            if not (_is_helper(name, hint) or isinstance(_declared(hint), InputField))
        }
        given = dict(type_hints(builder.input_schema))
        shown = list(type_hints(builder.output_schema))
        spec: Object = {}
        if not (set(given) == {INPUT} and _declared(given[INPUT]) is None and INPUT not in state):
            spec["inputs"] = {name: _input(name, hint) for name, hint in given.items()}
        if state and set(shown) != set(state):
            spec["outputs"] = sorted(each for each in shown if each in state)
        if state:
            spec["state"] = state
        return spec


def _is_helper(name: str, hint: object) -> bool:
    return name in (INPUT, LAST, STEPS) and _declared(hint) is None and _is_ours(name, hint)


def _is_ours(name: str, hint: object) -> bool:
    if name == INPUT:
        return hint is Any
    return getattr(hint, "__metadata__", (None,))[-1] in (merges.last, merges.update)


def _declared(hint: object) -> Any:
    return next((each.shape for each in getattr(hint, "__metadata__", ()) if isinstance(each, Declared)), None)


def _field(name: str, hint: object) -> Object:
    shape = _declared(hint)
    if shape is not None:
        return normal.dumped(shape)
    return {**_shape(hint), **_merge(name, hint)}


def _input(name: str, hint: object) -> Object:
    shape = _declared(hint)
    return normal.dumped(shape) if shape is not None else {**_shape(hint), "optional": True}


def _shape(hint: object) -> Object:
    kind: object = getattr(hint, "__origin__", hint) if hasattr(hint, "__metadata__") else hint
    word = _JSON.get(get_origin(kind) or kind)
    items = get_args(kind)
    if word == "array" and len(items) == 1 and items[0] in _JSON:
        return {"type": word, "items": {"type": _JSON[items[0]]}}
    return {} if word is None else {"type": word}


def _merge(name: str, hint: object) -> Object:
    metadata: Sequence[Any] = getattr(hint, "__metadata__", ())
    if not metadata:
        return {}
    reducer, kind = metadata[-1], _shape(hint).get("type")
    if reducer is add_messages:
        return {"merge": "messages"}
    if reducer in _WORDS:
        return {"merge": _WORDS[reducer]}
    if reducer is operator.add and kind in ("array", "integer", "number"):
        return {"merge": "append" if kind == "array" else "add"}
    if reducer is operator.or_ and kind == "object":
        return {"merge": "update"}
    shown = getattr(reducer, "__name__", type(reducer).__name__)
    raise NotExpressible(f"field '{name}'", f"its reducer {shown!r} is none of {', '.join(merges.REDUCERS)}")


def _path(name: str, runnable: Data) -> str:
    function = next((each for each in _functions(runnable)), None)
    if function is None:
        kind = type(runnable).__name__
        raise NotExpressible(f"node '{name}'", f"it is a {kind}; a step is a function that has an import path")
    module, qualname = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    found: Any = sys.modules.get(module or "")
    for part in qualname.split("."):
        found = getattr(found, part, None)
    if found is not function or module in (None, "__main__"):
        raise NotExpressible(f"node '{name}'", f"its function {qualname or function!r} has no import path")
    return f"{module}:{qualname}"


def _functions(runnable: Data) -> Iterator[Any]:
    if type(runnable) is RunnableCallable:
        yield from (each for each in (runnable.func, runnable.afunc) if getattr(each, "__qualname__", None))


def _retry(name: str, policies: Data) -> Fields:
    several = [policies] if isinstance(policies, RetryPolicy) else list(policies or ())
    if not several:
        return {}
    if len(several) > 1 or several[0].retry_on is not default_retry_on:
        raise NotExpressible(f"node '{name}'", "its retry policy chooses errors; a step repeats what looks temporary")
    policy = several[0]
    given = {
        "max": (policy.max_attempts, 3),
        "backoff": (policy.initial_interval, 0.5),
        "factor": (policy.backoff_factor, 2.0),
        "maxBackoff": (policy.max_interval, 128.0),
        "jitter": (policy.jitter, True),
    }
    return {"retry": {key: normal.plain(value) for key, (value, default) in given.items() if value != default}}


def _timeout(name: str, node: Data) -> Fields:
    limit = node.timeout
    if limit is None:
        return {}
    if limit.idle_timeout is not None:
        raise NotExpressible(f"node '{name}'", "it has a limit of silence; a step has one for the whole attempt")
    return {"timeout": normal.plain(float(limit.run_timeout))}
