"""Reading many keys at once: the same as asking every channel, whatever is written in between."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from stategraph.constants import MISSING
from stategraph.core import program
from stategraph.core.channels import BinaryOperatorAggregate, EphemeralValue, LastValue, Topic
from stategraph.core.state import State
from stategraph.core.state.versioning import count_up
from stategraph.core.task import Draft, Task
from stategraph.core.views import Keys, Layout, View


class Steps:
    """A managed value: the number of the step."""

    @staticmethod
    def get(task: Any) -> int:
        return int(task.step)


NAMES = ("last", "sum", "notes", "flash", "list", "later")
ORDER = Keys(("later", "notes", "steps", "sum", "flash", "list", "last"))


def fresh_state() -> State:
    specs: dict[str, Any] = {
        "last": LastValue(int),
        "later": LastValue(int),
        "sum": BinaryOperatorAggregate(int, operator.add),
        "list": BinaryOperatorAggregate(list, operator.add),
        "notes": Topic(int, accumulate=True),
        "flash": EphemeralValue(int),
    }
    for name, spec in specs.items():
        spec.key = name
    built = program.build({}, specs, {"steps": Steps}, "last")
    checkpoint = {"channel_values": {}, "channel_versions": {}, "versions_seen": {}}
    return State(built, checkpoint, count_up)


def a_task(writes: Sequence[tuple[str, Any]], step: int) -> Task:
    task = Task(f"id{step}", "node", None, ("path",), ("start",), "ns", step, 25)
    task.writes.extend(writes)
    return task


def asked_one_by_one(state: State, task: Task) -> dict[str, Any]:
    values = {}
    for name in ORDER:
        if name == "steps":
            values[name] = task.step
        elif state.channels[name].is_available():
            values[name] = state.channels[name].get()
    return values


def write_to(name: str) -> st.SearchStrategy[tuple[str, Any]]:
    value = st.lists(st.integers(0, 9), max_size=2) if name == "list" else st.integers(0, 9)
    return value.map(lambda drawn: (name, drawn))


steps = st.lists(
    st.lists(st.sampled_from(NAMES), unique=True, max_size=4).flatmap(
        lambda names: st.tuples(*(write_to(name) for name in names))
    ),
    max_size=6,
)


@given(steps, st.lists(st.booleans(), min_size=6, max_size=6))
def test_a_view_is_what_the_channels_hold_in_the_order_of_the_keys(
    written: list[tuple[tuple[str, Any], ...]], routed: list[bool]
) -> None:
    state = fresh_state()
    for step, writes in enumerate(written):
        task = a_task(writes, step)
        # A router reads what the state will be, before it is.
        draft = Draft(task, list(writes))
        expected_by_router = state.read_for(draft, ORDER, True) if routed[step] else None
        task.writes, task.fresh = draft.writes, draft.fresh
        state.apply([task])
        expected = asked_one_by_one(state, task)
        found = state.read_for(Draft(task), ORDER, False)
        assert list(found.items()) == list(expected.items())
        if expected_by_router is not None:
            assert list(expected_by_router.items()) == list(expected.items())


def test_a_reader_may_do_what_it_likes_with_its_dict() -> None:
    state = fresh_state()
    task = a_task([("last", 1)], 0)
    state.apply([task])
    first = state.read_for(Draft(task), ORDER, False)
    first["last"] = 2
    del first["sum"]
    assert state.read_for(Draft(task), ORDER, False) == asked_one_by_one(state, task)


def test_equal_keys_share_a_view_and_other_sequences_are_as_good() -> None:
    state = fresh_state()
    task = a_task([("last", 1)], 0)
    state.apply([task])
    assert state.read_for(Draft(task), list(ORDER), False) == state.read_for(Draft(task), Keys(ORDER), False)
    assert state.read(Keys(("last", "later"))) == {"last": 1}
    assert len(state._views) == 2


def test_a_first_value_and_a_lost_one_make_the_view_be_built_anew() -> None:
    cell = LastValue(int)
    keys = Keys(("a", "b"))
    view = View(keys, Layout.of(keys, frozenset(keys), {}))
    cell.value = 1
    assert view.build({"a": LastValue(int), "b": cell}) == {"b": 1}
    view.note("b", 2)
    assert view.held == {"b": 2}
    view.note("elsewhere", 3)
    assert view.held == {"b": 2}
    view.note("a", 3)
    assert view.held is None
    view.build({"a": cell, "b": cell})
    view.note("b", MISSING)
    assert view.held is None


def test_a_key_that_is_named_twice_is_read_once_whether_or_not_it_has_a_value() -> None:
    state = fresh_state()
    task = a_task([("flash", 1)], 0)
    twice = Keys(("notes", "flash", "last", "steps", "notes", "flash", "last", "steps"))
    assert state.read_for(Draft(task), twice, False) == {"steps": 0}
    state.apply([task])
    assert state.read_for(Draft(task), twice, False) == {"flash": 1, "steps": 0}
