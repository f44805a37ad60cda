"""A compiled graph says under which name it can be imported, and which plan it has."""

from __future__ import annotations

import operator
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest

from stategraph import END, START, StateGraph, StateGraphEngine
from stategraph.core.channels import DeltaChannel, EphemeralValue, NamedBarrierValue, Topic
from stategraph.engine.compile.managed import IsLastStepManager, RemainingStepsManager
from stategraph.engine.compile.node import NodeBuilder
from stategraph.types import RetryPolicy

MODULE = """
import operator
from typing import Annotated, TypedDict
from stategraph import END, START, StateGraph
from {nodes} import work

class State(TypedDict):
    log: Annotated[list, operator.add]
    seen: set[str]

def route(state):
    return END

inner = StateGraph(State).add_node("deep", work).add_edge(START, "deep").compile()
builder = StateGraph(State).add_node("work", work).add_node("inner", inner)
builder.add_edge(START, "work").add_conditional_edges("work", route, ["inner", END])
builder.add_node("last", work).add_edge(["work", "inner"], "last")
graph = builder.compile()
made = [builder.compile()]
"""


class State(TypedDict):
    log: Annotated[list[str], operator.add]
    last: int


def concat(one: list[str], other: list[str]) -> list[str]:
    return [*one, *other]


def extend(value: list[str], writes: list[list[str]]) -> list[str]:
    return [*value, *(each for write in writes for each in write)]


class Concat(TypedDict):
    log: Annotated[list[str], concat]
    last: int


class Other(TypedDict):
    log: Annotated[list[str], operator.add]
    last: str


def work(state: Any) -> dict[str, Any]:
    return {"log": ["work"]}


def other_work(state: Any) -> dict[str, Any]:
    return {"log": ["other"]}


def route(state: Any) -> str:
    return "b"


def built(
    state: Any = State, does: Callable[..., Any] = work, edge: str = "b", routes: Any = None, **settings: Any
) -> StateGraphEngine[Any, Any, Any, Any]:
    builder = StateGraph(state)
    builder.add_node("a", does, **settings).add_node("b", work).add_node("c", work)
    builder.add_edge(START, "a").add_edge("a", edge)
    if routes is not None:
        builder.add_conditional_edges("b", route, routes)
    return builder.compile()


def test_graphs_of_one_plan_have_one_digest_whatever_their_nodes_do_and_however_they_are_run() -> None:
    digest = built().digest
    assert len(digest) == 64
    assert int(digest, 16)
    assert built().digest == digest
    assert built(does=other_work).digest == digest
    assert built(retry_policy=RetryPolicy(max_attempts=5), metadata={"a": 1}).digest == digest
    again = built().copy({"name": "renamed", "interrupt_before_nodes": ["b"], "step_timeout": 3.0})
    assert again.digest == digest


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(lambda: built(edge="c"), id="an edge"),
        pytest.param(lambda: built(state=Concat), id="a reducer"),
        pytest.param(lambda: built(state=Other), id="a type"),
        pytest.param(lambda: built(routes=["b", END]), id="a router"),
        pytest.param(lambda: built(does=built()), id="a nested graph"),
        pytest.param(lambda: built(defer=True), id="a deferred node"),
    ],
)
def test_another_plan_has_another_digest(changed: Callable[[], StateGraphEngine[Any, Any, Any, Any]]) -> None:
    assert changed().digest != built().digest


def test_a_digest_tells_the_plans_of_nested_graphs_apart() -> None:
    assert built(does=built(edge="c")).digest != built(does=built()).digest
    assert built(routes=["b", END]).digest != built(routes=["c", END]).digest


class Capped(EphemeralValue[str]):
    """A channel of an author's own, with an argument that it declares and one that it does not."""

    declared = ("most",)

    def __init__(self, typ: Any, most: int, *, guard: bool = True, note: str = "") -> None:
        super().__init__(typ, guard)
        self.most, self.note = most, note


def of_channels(**changes: Any) -> str:
    channels = {
        "in": EphemeralValue(str),
        "join": NamedBarrierValue(str, {"a", "b"}),
        "topic": Topic(str),
        "delta": DeltaChannel(extend, list, snapshot_frequency=5),
        "capped": Capped(str, 3),
    }
    nodes = {"a": NodeBuilder().subscribe_only("in").do(work).write_to("topic")}
    graph = StateGraphEngine(
        nodes={**nodes, **changes.pop("nodes", {})},
        channels={**channels, **changes.pop("channels", {})},
        **{"input_channels": "in", "output_channels": "topic", **changes},
    )
    return graph.digest


@pytest.mark.parametrize(
    "changes",
    [
        {"channels": {"in": EphemeralValue(str, guard=False)}},
        {"channels": {"join": NamedBarrierValue(str, {"a", "c"})}},
        {"channels": {"topic": Topic(str, accumulate=True)}},
        {"channels": {"delta": DeltaChannel(extend, list, snapshot_frequency=6)}},
        {"channels": {"capped": Capped(str, 4)}},
        {"channels": {"capped": Capped(int, 3)}},
        {"channels": {"capped": Capped(str, 3, guard=False)}},
        {"channels": {"more": EphemeralValue(str)}},
        {"nodes": {"a": NodeBuilder().subscribe_to("in").do(work).write_to("topic")}},
        {"nodes": {"a": NodeBuilder().subscribe_only("in").do(work).write_to("join")}},
        {"nodes": {"b": NodeBuilder().subscribe_only("in").do(work)}},
        {"input_channels": ["in"]},
        {"output_channels": "join"},
    ],
)
def test_all_that_is_declared_of_channels_and_nodes_counts(changes: dict[str, Any]) -> None:
    assert of_channels() == of_channels()
    assert of_channels(**changes) != of_channels()


def test_what_a_channel_does_not_declare_does_not_count() -> None:
    assert of_channels(channels={"capped": Capped(str, 3, note="other")}) == of_channels()


def test_a_digest_is_the_same_in_every_process_and_a_module_gives_its_graph_a_name(tmp_path: Path) -> None:
    (tmp_path / "graph_nodes_1.py").write_text("def work(state):\n    return {}\n")
    (tmp_path / "graph_of_1.py").write_text(MODULE.format(nodes="graph_nodes_1"))
    program = "import graph_of_1 as m; print(m.graph.digest, m.graph.import_path, m.made[0].import_path)"
    said = set()
    for seed in ("1", "2"):
        path = os.pathsep.join((str(tmp_path), *filter(None, sys.path)))
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path}
        said.add(subprocess.check_output([sys.executable, "-c", program], env=environment, text=True))
    assert len(said) == 1
    _, name, none = said.pop().split()
    assert name == "graph_of_1:graph"
    assert none == "None"


def test_a_graph_of_a_script_or_of_a_function_has_no_import_path(tmp_path: Path) -> None:
    assert built().import_path is None
    (tmp_path / "nodes_2.py").write_text("def work(state):\n    return {}\n")
    script = tmp_path / "script_2.py"
    script.write_text(MODULE.format(nodes="nodes_2") + "\nprint(graph.import_path)\n")
    path = os.pathsep.join((str(tmp_path), *filter(None, sys.path)))
    said = subprocess.check_output([sys.executable, script], env={**os.environ, "PYTHONPATH": path}, text=True)
    assert said.split() == ["None"]


module_level = built()


def test_a_graph_is_looked_for_first_where_its_nodes_are_defined(monkeypatch: pytest.MonkeyPatch) -> None:
    import stategraph.core.explain as earlier

    monkeypatch.setattr(earlier, "module_level", module_level, raising=False)
    assert module_level.import_path == f"{__name__}:module_level"


class Reducing:
    """Something that has no name of its own."""


class Numbering:
    """Another such thing."""


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 2),
        (1, "1"),
        (None, False),
        (list[int], list[str]),
        (Annotated[int, "a"], Annotated[int, "b"]),
        (int | None, str | None),
        (work, other_work),
        (len, max),
        (State, Concat),
        (partial(concat, [1]), partial(concat, [2])),  # type: ignore[list-item]
        (partial(concat, one=[]), partial(concat, other=[])),
        (partial(concat), partial(extend)),
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"b": 1}),
        ([1], [2]),
        ((1, 2), (2, 1)),
        ({1}, {2}),
        (frozenset("ab"), frozenset("ac")),
        (Reducing(), Numbering()),
    ],
)
def test_what_a_channel_declares_is_told_apart_by_its_content(one: Any, other: Any) -> None:
    digests = [of_channels(channels={"capped": Capped(str, declared)}) for declared in (one, one, other)]
    assert digests[0] == digests[1] != digests[2]


def test_values_without_names_of_their_own_count_by_their_class() -> None:
    digests = {of_channels(channels={"capped": Capped(str, declared())}) for declared in (Reducing, Reducing)}
    assert len(digests) == 1
    ordered = {
        of_channels(channels={"capped": Capped(str, declared)}) for declared in ({"a": 1, "b": 2}, {"b": 2, "a": 1})
    }
    assert len(ordered) == 1


def test_a_managed_value_is_told_apart_from_others() -> None:
    managed = [of_channels(channels={"left": kind}) for kind in (RemainingStepsManager, IsLastStepManager)]
    assert len({*managed, of_channels()}) == 3
