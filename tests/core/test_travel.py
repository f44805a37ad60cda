"""Where tasks ran before their checkpoint was forked."""

from __future__ import annotations

import pytest

from stategraph.core.opening import travel
from stategraph.core.task import Task


@pytest.mark.parametrize(
    ("named", "ns", "below"),
    [
        ({"": "1"}, "", False),
        ({"": "1", "sub:t": "2"}, "", True),
        ({"": "1", "sub:t": "2"}, "sub:t", False),
        ({"": "1", "sub:t": "2", "sub:t|inner:u": "3"}, "sub:t", True),
        ({"": "1", "sub:tt|inner:u": "3"}, "sub:t", False),
        ({}, "", False),
    ],
)
def test_a_checkpoint_is_named_below_a_graph(named: dict[str, str], ns: str, below: bool) -> None:
    assert travel.names_below(named, ns) is below


def task(ns_before: str | None) -> Task:
    made = Task("new", "sub", None, ("pull", "sub"), (), "sub:new", 1, 9)
    made.ns_before = ns_before
    return made


@pytest.mark.parametrize(
    ("ran_in", "ns", "before"),
    [
        (task("sub:old"), "sub:new", "sub:old"),
        (task("sub:old"), "sub:new|1", "sub:old|1"),  # the task's second graph
        (task("sub:old"), "sub", None),  # a graph with a history of its own
        (task(None), "sub:new", None),
        (None, "", None),
    ],
)
def test_the_namespace_before(ran_in: Task | None, ns: str, before: str | None) -> None:
    assert travel.namespace_before(ran_in, ns) == before
