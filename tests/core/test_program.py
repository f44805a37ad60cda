"""What is known of a compiled graph before any run of it."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from stategraph.constants import PULL, TAG_HIDDEN, TASKS
from stategraph.core.channels import (
    AnyValue,
    BinaryOperatorAggregate,
    DeltaChannel,
    EphemeralValue,
    LastValue,
    LastValueAfterFinish,
    NamedBarrierValue,
    Topic,
    UntrackedValue,
)
from stategraph.core.program import Node, Program, build
from stategraph.core.views import Keys


class OwnLast(LastValue[int]):
    """A channel of a program's own, which may do anything."""


def extend(value: list[Any], updates: Sequence[list[Any]]) -> list[Any]:
    return [*value, *(item for update in updates for item in update)]


CHANNELS: dict[str, Any] = {
    "last": LastValue(int),
    "own": OwnLast(int),
    "any": AnyValue(int),
    "total": BinaryOperatorAggregate(int, operator.add),
    "first": BinaryOperatorAggregate(int | None, lambda old, new: new),
    "delta": DeltaChannel(extend),
    "flag": EphemeralValue(Any, guard=False),
    "read flag": EphemeralValue(Any, guard=False),
    "bare flag": EphemeralValue(Any, guard=False),
    "input": EphemeralValue(Any, guard=False),
    "guarded": EphemeralValue(Any),
    "topic": Topic(int),
    "late": LastValueAfterFinish(int),
    "join": NamedBarrierValue(str, {"a"}),
    "secret": UntrackedValue(int),
    TASKS: Topic(Any),
}


def node(
    name: str, *triggers: str, reads: Keys | str | None = None, runs: bool = True, tags: tuple[str, ...] = ()
) -> Node:
    return Node(name, triggers, reads or Keys(("last",)), None, tags, runs, None, False, None)


def program(*nodes: Node, input_channels: Any = "input") -> Program:
    return build({made.name: made for made in nodes}, CHANNELS, {"steps": object()}, input_channels)


def test_a_node_knows_the_path_of_its_tasks_and_whether_it_is_hidden() -> None:
    plain, hidden = node("a", "flag", "last"), node("b", tags=("seen", TAG_HIDDEN))
    assert (plain.path, plain.hidden, plain.id_part) == ((PULL, "a"), False, f"a{PULL}flaglast")
    assert (hidden.path, hidden.hidden) == ((PULL, "b"), True)


def test_each_channel_knows_the_nodes_that_it_starts() -> None:
    a, b, idle = node("a", "flag", "last"), node("b", "last"), node("idle", "any", runs=False)
    made = program(a, b, idle)
    assert made.triggers == {"flag": ("a",), "last": ("a", "b"), "any": ("idle",)}
    # One that starts several, one whose node runs nothing, and that of packets take a closer look.
    assert made.starts == {"flag": a, "last": None, "any": None, TASKS: None}


def test_a_node_is_due_without_a_write_if_a_channel_of_its_has_a_value_from_the_beginning() -> None:
    made = program(
        node("sum", "flag", "total"),
        node("empty", "first", "last", "own", "topic", "late", "join", "guarded"),
        node("stored", "delta"),
        node("elsewhere", "no such channel"),
    )
    assert made.due == ("sum", "stored")


def test_channels_are_sorted_by_what_they_have_to_be_told() -> None:
    made = program()
    assert made.reacts_to_empty == {"any", "flag", "read flag", "bare flag", "input", "guarded", "topic", TASKS}
    assert set(made.reacts_to_finish) == {"late"}
    assert made.reacts_to_consume == {"late", "join"}
    assert made.loses == made.reacts_to_empty | {"late", "join"}


def test_channels_are_sorted_by_how_they_are_read_and_stored() -> None:
    made = program()
    assert made.untracked == {"secret"}
    assert made.cells == {"last", "total", "first"}
    assert made.last_values == {"last"}
    assert made.deltas == {"delta"}
    assert set(made.replayable) == {"delta", "total", "first"}
    assert made.replayable["delta"] is CHANNELS["delta"]
    assert (made.specs, made.input_channels) == (CHANNELS, "input")


def test_signals_are_flags_that_no_node_reads_and_no_input_sets() -> None:
    readers = (node("a", reads=Keys(("last", "read flag"))), node("b", reads="bare flag"))
    assert program(*readers).signals == {"flag"}
    assert program(*readers, input_channels=["last", "input"]).signals == {"flag"}
    assert program(*readers, input_channels=["flag"]).signals == {"input"}
    assert program().signals == {"flag", "read flag", "bare flag"}
    assert build({}, {"last": CHANNELS["last"]}, {}, "last").signals == frozenset()


def test_what_nodes_read_together_is_sorted_once() -> None:
    keys = Keys(("last", "topic", "steps", "total"))
    made = program(node("a", reads=keys), node("b", reads="topic"))
    assert set(made.layouts) == {keys}
    layout = made.layouts[keys]
    assert (layout.cells, layout.others, layout.managed, layout.simple) == (
        {"last", "total"},
        ("topic",),
        ("steps",),
        False,
    )
    assert program(node("a", reads=Keys(("last", "total")))).layouts[Keys(("last", "total"))].simple
