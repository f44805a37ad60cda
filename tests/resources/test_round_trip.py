"""From a workflow to its graph and back, and graphs that were written by hand."""

from __future__ import annotations

import importlib
import operator
from pathlib import Path
from typing import Annotated, TypedDict

import pytest
from langchain_core.messages import AnyMessage

from stategraph.constants import END, START
from stategraph.graph.message import add_messages
from stategraph.graph.state import StateGraph
from stategraph.resources.compile.workflows import normal
from stategraph.resources.compile.workflows import plan as workflows
from stategraph.resources.compile.workflows.decompile import NotExpressible, from_graph
from stategraph.resources.kinds.workflow import WorkflowSpec
from stategraph.types import CachePolicy, Command, RetryPolicy
from tests.resources import generated
from tests.resources.test_workflows import Callee
from tests.resources.world_tools import node

WORKFLOWS = 200


def compiled(spec):
    def lookup(kind, ref, path, *, several=False):
        return Callee(lambda given: given)

    parsed = WorkflowSpec.model_validate(spec)
    return workflows.plan("made", parsed, lookup, lambda path, field: _imported(path)).graph()


def _imported(path):
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("part", range(4))
def test_generated_workflows_come_back_in_their_normal_form(part):
    for seed in range(part, WORKFLOWS, 4):
        spec = generated.workflow(seed)
        expected = normal.spec(WorkflowSpec.model_validate(spec))
        (resource,) = from_graph(compiled(spec))
        assert resource.spec == expected, f"seed {seed}"
        assert normal.spec(WorkflowSpec.model_validate(resource.spec)) == expected, f"seed {seed}: not stable"


@pytest.mark.parametrize("seed", range(0, WORKFLOWS, 20))
def test_a_workflow_that_came_back_has_an_equal_graph(seed):
    graph = compiled(generated.workflow(seed))
    (resource,) = from_graph(graph)
    assert compiled(resource.spec).get_graph().draw_mermaid() == graph.get_graph().draw_mermaid()


class State(TypedDict):
    text: str
    seen: Annotated[list[str], operator.add]
    total: Annotated[int, operator.add]
    messages: Annotated[list[AnyMessage], add_messages]


def test_a_graph_of_functions_with_import_paths_is_a_workflow():
    builder = StateGraph(State)
    builder.add_node("a", node, retry_policy=RetryPolicy(max_attempts=5))
    builder.add_node("b", node)
    builder.add_node("c", node)
    builder.add_edge(START, "a")
    builder.add_edge("a", "b")
    builder.add_edge(["a", "b"], "c")
    builder.add_edge("c", END)
    graph = builder.compile(name="By hand")
    (resource,) = from_graph(graph)
    path = "tests.resources.world_tools:node"
    assert resource.name == "by-hand"
    assert resource.spec["steps"] == [
        {"id": "a", "node": path, "retry": {"max": 5}, "next": "b"},
        {"id": "b", "node": path},
        {"id": "c", "node": path, "after": ["a", "b"]},
    ]
    assert resource.spec["state"] == {
        "text": {"type": "string"},
        "seen": {"type": "array", "items": {"type": "string"}, "merge": "append"},
        "total": {"type": "integer", "merge": "add"},
        "messages": {"type": "array", "merge": "messages"},
    }
    assert compiled(resource.spec).get_graph().draw_mermaid() == graph.get_graph().draw_mermaid()


def _with(name, *arguments, **options):
    builder = StateGraph(State)
    builder.add_node(name, *arguments, **options)
    builder.add_edge(START, name)
    return builder


def longest(before, after):
    return max(before, after)


def goes() -> Command:
    return Command(goto=END)


def _routed():
    return _with("a", node).add_conditional_edges("a", lambda state: END, [END])


def _merged():
    class Odd(TypedDict):
        best: Annotated[int, longest]

    return StateGraph(Odd).add_node("a", node).add_edge(START, "a")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: _with("a", lambda state: {}), "node 'a': its function"),
        (lambda: _with("a", _with("b", node).compile()), "node 'a': it is a"),
        (lambda: _with("a", node, cache_policy=CachePolicy()), "node 'a': it has a cache policy"),
        (lambda: _with("a", node, defer=True), "node 'a': it has deferred execution"),
        (lambda: _with("a", node, destinations=("a",)), "node 'a': it has commands"),
        (lambda: _with("a", node, retry_policy=RetryPolicy(retry_on=KeyError)), "node 'a': its retry policy"),
        (_routed, "node 'a': its router"),
        (_merged, "field 'best': its reducer 'longest'"),
    ],
)
def test_what_no_manifest_can_say_is_named(make, message):
    with pytest.raises(NotExpressible, match=message):
        from_graph(make())


def _example_graphs():
    for file in sorted(Path("examples").glob("*.py")):
        text = file.read_text()
        if "StateGraph(" in text and "STATEGRAPH_POSTGRES" not in text:
            yield file.stem


def _graphs_of(module):
    for name, value in vars(module).items():
        if name.startswith("__"):
            continue
        builder = getattr(value, "builder", value)
        if isinstance(builder, StateGraph):
            yield name, value
        elif (
            name.startswith(("build", "make", "graph"))
            and callable(value)
            and getattr(value, "__module__", None) == module.__name__
            and not isinstance(value, type)
            and not value.__code__.co_argcount
            and value.__code__.co_flags & 0x80 == 0
            and "StateGraph" in value.__code__.co_names
        ):
            made = value()
            if isinstance(getattr(made, "builder", made), StateGraph):
                yield name, made


@pytest.mark.parametrize("example", list(_example_graphs()))
def test_graphs_of_examples_come_back_equal_or_name_what_cannot_be_said(example):
    module = importlib.import_module(f"examples.{example}")
    for name, graph in _graphs_of(module):
        try:
            (resource,) = from_graph(graph)
        except NotExpressible as error:
            parts = {START, *getattr(graph, "builder", graph).nodes, *getattr(graph, "builder", graph).channels}
            assert error.part == "the graph" or error.part.split("'")[1] in parts, (name, error)
            continue
        again = compiled(resource.spec)
        drawn = graph if hasattr(graph, "get_graph") else graph.compile()
        assert again.get_graph().draw_mermaid() == drawn.get_graph().draw_mermaid(), name
