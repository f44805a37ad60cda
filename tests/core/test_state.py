"""The channels of a run: what reading shows, what applying a step changes, and that the short way comes to the same."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stategraph.constants import MISSING, PREVIOUS, START, TASKS
from stategraph.core import checkpoint as checkpoints
from stategraph.core.channels import (
    AnyValue,
    BinaryOperatorAggregate,
    EphemeralValue,
    LastValue,
    LastValueAfterFinish,
    NamedBarrierValue,
    Topic,
    UntrackedValue,
)
from stategraph.core.program import Node, Program, build
from stategraph.core.state import State
from stategraph.core.state.versioning import NextVersion, count_up
from stategraph.core.task import Draft, Task, Write
from stategraph.core.views import Keys
from stategraph.errors import InvalidUpdateError
from stategraph.types import Send
from tests.properties import examples

NODES = ("a", "b")
READ = ("last", "total", "any", "topic", "all", "untracked")
MAPPED = ((START, lambda value: value + 1), ("last", lambda value: value))


def spelled(current: str | None, _: None) -> str:
    """A version rule of a saver: numbers as text."""
    return f"{int(current or 0) + 1:04}"


def channels() -> dict[str, Any]:
    made: dict[str, Any] = {
        "last": LastValue(int),
        "total": BinaryOperatorAggregate(int, operator.add),
        "any": AnyValue(int),
        "input": EphemeralValue(int),
        "topic": Topic(int),
        "all": Topic(int, accumulate=True),
        "untracked": UntrackedValue(int, guard=False),
        TASKS: Topic(Send),
    }
    made |= {f"to:{name}": EphemeralValue(Any, guard=False) for name in NODES}
    return made


def node(name: str, *triggers: str, reads: str | None = None) -> Node:
    return Node(name, tuple(sorted(triggers)), reads or Keys(READ), None, (), True, None, False, None)


def program(more: dict[str, Any] | None = None, nodes: Sequence[Node] = ()) -> Program:
    specs = channels() | (more or {})
    for name, channel in specs.items():
        channel.key = name
    made = {n.name: n for n in nodes or [node(name, f"to:{name}", "topic") for name in NODES]}
    return build(made, specs, {}, ["input"])


def state(of: Program, rule: NextVersion | None = spelled, values: dict[str, Any] | None = None) -> State:
    made = State(of, checkpoints.empty("id", "now"), rule, stored=rule is not count_up)
    if values:
        made.apply((), list(values.items()))
    return made


def task(of: Program, name: str, *writes: Write) -> Task:
    body = of.nodes[name]
    made = Task(f"id of {name}", name, body, body.path, body.triggers, "", 0, 9)
    made.writes = list(writes)
    return made


def draft(of: Program, name: str, *writes: Write) -> Draft:
    return Draft(task(of, name), list(writes))


def told(made: Draft) -> Task:
    """The task as the machine has it once the draft was told."""
    made.task.writes, made.task.fresh = made.writes, made.fresh
    return made.task


# -- what a step changes -------------------------------------------------


def test_an_empty_publication_changes_nothing_and_starts_nobody() -> None:
    made = state(program(), values={"last": 1})
    before = dict(made.versions)

    assert made.apply([task(made.program, "a", ("topic", []), ("all", []))]) == set()
    assert made.versions == before
    assert not made.triggers(made.program.nodes["b"])


def test_a_node_has_seen_what_started_it_and_is_started_by_newer_values_only() -> None:
    made = state(program(), values={"topic": [1]})
    b = made.program.nodes["b"]
    assert made.triggers(b)

    made.apply([task(made.program, "b")])
    assert not made.triggers(b)
    assert made.seen["b"] == {"topic": "0001"}
    made.apply([task(made.program, "a", ("topic", [2]))])
    assert made.triggers(b)


def test_a_signal_starts_its_node_for_one_step() -> None:
    made = state(program(), values={"last": 1})
    made.apply([task(made.program, "a", ("to:b", None))])
    assert made.triggers(made.program.nodes["b"])

    made.apply([task(made.program, "b", ("last", 2))])
    assert not made.triggers(made.program.nodes["b"])
    # It changed once more when it was gone, and is stored as gone.
    assert made.versions["to:b"] == made.versions["last"] == "0003"
    assert "to:b" not in made.freeze()


def test_a_channel_that_heeds_steps_without_a_write_hears_of_each_until_it_is_empty() -> None:
    class Fading(EphemeralValue[int]):
        def update(self, values: Sequence[int]) -> bool:
            if not values and self.is_available() and self.value > 1:
                self.value -= 1
                return True
            return super().update(values)

    made = state(program({"fading": Fading(int)}), values={"fading": 3})
    seen = []
    for _ in range(4):
        made.apply([task(made.program, "a")])
        seen.append(made.read("fading"))
    assert seen == [2, 1, None, None]


def test_of_several_that_raise_a_signal_the_last_says_what_it_holds() -> None:
    made = state(program())
    assert made.apply([task(made.program, name, ("to:b", name)) for name in NODES]) == {"to:b"}
    assert made.freeze() == {"to:b": "b"}


def test_a_value_of_one_step_is_forgotten_by_a_step_and_not_by_an_update_from_outside() -> None:
    made = state(program(), values={"any": 1})
    made.apply((), [("last", 1)])
    assert made.read("any") == 1
    assert made.apply([task(made.program, "a")]) == set()
    assert made.read("any") is None
    assert made.versions["any"] == "0003"


def test_a_version_that_no_channel_got_is_given_again() -> None:
    made = state(program(), values={"last": 1})
    made.apply([task(made.program, "a")])
    made.apply([task(made.program, "a", ("last", 2))])
    assert made.versions == {"last": "0002"}


def test_writes_to_what_does_not_exist_are_named_once_with_their_writer() -> None:
    made = state(program(), values={"nothing": 1})
    for _ in range(2):
        made.apply([task(made.program, "a", ("lost", 1), ("branch:to:c", None))])
    by_input, channel, goto = made.ignored
    assert by_input.startswith("The input wrote to 'nothing', which is no channel")
    assert channel.startswith("Node 'a' wrote to 'lost', which is no channel")
    assert "last" in channel
    assert "to:a" not in channel
    assert goto.startswith("Node 'a' goes to 'c', which is no node of this graph: ignored.")


def test_two_writers_of_a_channel_for_one_are_named() -> None:
    made = state(program())
    both = [task(made.program, name, ("last", 1)) for name in NODES]
    with pytest.raises(InvalidUpdateError, match=r"The writers: node 'a', node 'b'\."):
        made.apply(both)


def test_a_state_that_is_only_looked_at_counts_nothing_as_changed() -> None:
    made = state(program(), None, values={"last": 1, "any": 1})
    assert made.apply([task(made.program, "a", ("last", 2), ("to:b", None))]) == set()
    assert (made.versions, made.read("last"), made.read("any")) == ({}, 2, None)
    assert made.channels.raised == {}


def test_the_input_of_a_run_is_noted_as_seen_by_none_and_ends_no_step() -> None:
    made = state(program(), values={"any": 1})
    assert made.seen == {"__input__": {}}
    assert made.apply((), [("to:b", None)]) == {"to:b"}
    outside = Task("t", "a", None, (), (), "", 0, 9)
    outside.writes = [("last", 1)]
    assert made.apply([outside]) == {"last"}
    # What lasts one step is there still.
    assert made.read("any") == 1
    assert made.triggers(made.program.nodes["b"])


def test_a_step_is_over_for_the_channels_when_one_of_its_tasks_was_started_by_a_channel() -> None:
    made = state(program(), values={"any": 1})
    outside = Task("t", "a", None, (), (), "", 0, 9)
    made.apply([task(made.program, "b"), outside])
    assert made.read("any") is None


@pytest.mark.parametrize("apply", ["apply_single", "apply"])
def test_a_first_value_is_read_in_its_place(apply: str) -> None:
    made = state(program({"first": LastValue(int)}), values={"last": 1})
    keys = Keys(("first", "last"))
    assert made.read(keys) == {"last": 1}
    for value in (5, 6):
        reader = draft(made.program, "a", ("first", value), ("last", value))
        expected = [("first", value), ("last", value)]
        assert list(made.read_for(reader, keys, True).items()) == expected
        lone = told(reader)
        made.apply_single(lone) if apply == "apply_single" else made.apply([lone])
        assert list(made.read(keys).items()) == expected


def test_a_router_is_shown_the_keys_that_it_reads_whatever_was_read_last() -> None:
    of = program(nodes=[Node("a", ("to:a",), Keys(("last",)), None, (), True, None, False, None), node("b", "to:b")])
    made = state(of, values={"last": 1, "total": 2})
    keys = Keys(("total",))
    made.read(keys)
    for _ in range(2):
        assert made.node_input(of.nodes["a"], task(of, "a")) == {"last": 1}
    assert made.last_written(draft(of, "a", ("total", 3), ("last", 4)), keys) == {"total": 5}
    assert made.last_written(draft(of, "a", ("total", 3)), Keys(("total", "last"))) is None


@pytest.mark.parametrize("alone", [True, False])
def test_what_a_refused_step_has_changed_shows(alone: bool) -> None:
    def refuse(old: list[int], new: list[int]) -> list[int]:
        raise ValueError("no such update")

    made = state(program({"strict": BinaryOperatorAggregate(list, refuse)}), values={"last": 1, "any": 1})
    lone = task(made.program, "a", ("last", 2), ("strict", [1]), ("total", 5))
    with pytest.raises(ValueError, match="no such update"):
        made.apply_single(lone) if alone else made.apply([lone])
    assert made.read(["last", "total", "any"]) == {"last": 2, "total": 0, "any": 1}
    made.versioning.catch_up()
    assert made.versions["last"] == "0002"
    assert "total" not in made.versions
    assert made.seen["a"] == {}


def test_a_barrier_is_told_that_its_node_ran_and_a_deferred_channel_that_nothing_is_left() -> None:
    join = node("join", "join:ab")
    late = node("late", "late")
    more: dict[str, Any] = {"join:ab": NamedBarrierValue(str, {"a", "b"}), "late": LastValueAfterFinish(int)}
    made = state(program(more, [join, late, *(node(name, f"to:{name}") for name in NODES)]))
    start = [task(made.program, name, ("join:ab", name), ("late", 1)) for name in NODES]

    assert made.apply(start) == {"join:ab"}
    assert made.triggers(join)
    assert not made.triggers(late)
    assert made.apply([task(made.program, "join")]) == {"late"}
    assert not made.triggers(join)
    assert made.triggers(late)
    assert made.versions["join:ab"] == made.versions["late"]
    made.apply([task(made.program, "late")])
    assert not made.triggers(late)


def test_a_deferred_channel_waits_while_something_is_started() -> None:
    more: dict[str, Any] = {"late": LastValueAfterFinish(int)}
    made = state(program(more, [node("late", "late"), *(node(name, f"to:{name}") for name in NODES)]))
    assert made.apply([task(made.program, "a", ("to:b", None), ("late", 1))]) == {"to:b"}
    assert made.apply([task(made.program, "b")]) == {"late"}


def test_a_bumped_channel_has_a_new_version_that_starts_nobody() -> None:
    made = state(program(nodes=[node(name, "last") for name in NODES]), count_up, values={"last": 1})
    made.apply([task(made.program, "a")])
    made.versioning.bump(["last", "all"], {"last": 1})

    assert made.versions == {"last": 2, "all": 1}
    assert not made.triggers(made.program.nodes["a"])
    assert made.triggers(made.program.nodes["b"])
    made.apply([task(made.program, "a", ("last", 1))])
    assert made.versions["last"] == 3


def test_what_a_reader_has_seen_of_all_channels_is_noted_until_one_changes() -> None:
    made = state(program(), values={"last": 1})
    assert made.versioning.changed_since_seen_by("reader")
    made.versioning.mark_all_seen("reader")
    assert not made.versioning.changed_since_seen_by("reader")
    made.apply_single(task(made.program, "a", ("last", 2)))
    assert made.versioning.changed_since_seen_by("reader")
    made.apply_single(task(made.program, "a", ("last", 3)))
    made.versioning.mark_all_seen("reader")
    assert not made.versioning.changed_since_seen_by("reader")


# -- what is stored ------------------------------------------------------


def test_a_thread_goes_on_from_what_was_stored() -> None:
    made = state(program(), values={"last": 1, "total": 2, "topic": [3], "untracked": 4})
    made.apply([task(made.program, "a", ("total", 5), ("to:b", "why"))])
    stored = checkpoints.empty("id", "now") | {
        "channel_values": made.freeze(),
        "channel_versions": made.versions,
        "versions_seen": made.seen,
    }
    again = State(program(), stored, spelled)

    assert again.read(READ) == {"last": 1, "total": 7}
    assert again.triggers(again.program.nodes["b"])
    again.apply([task(again.program, "b", ("last", 9))])
    assert not again.triggers(again.program.nodes["b"])
    assert again.versions["last"] == "0003"
    assert again.freeze() == {"last": 9, "total": 7, "topic": []}


def test_frozen_values_are_those_of_the_moment() -> None:
    made = state(program(), values={"last": 1})
    before = made.freeze()
    made.apply([task(made.program, "a", ("last", 2))])
    assert (before, made.freeze()) == ({"last": 1}, {"last": 2})


def test_versions_that_cannot_be_compared_do_not_keep_a_state_from_being_looked_at() -> None:
    stored = checkpoints.empty("id", "now") | {"channel_values": {"last": 1}, "channel_versions": {"last": 1, "x": "2"}}
    assert State(program(), stored, None).read("last") == 1


# -- what is read --------------------------------------------------------


def test_one_name_reads_the_bare_value_and_several_leave_empty_ones_out() -> None:
    made = state(program(), values={"last": 1})
    assert made.read("last") == 1
    assert made.read("total") == 0
    assert made.read("topic") is None
    assert made.read(["topic", "last"]) == {"last": 1}


def test_whoever_is_given_values_of_channels_but_a_node_and_the_reader_of_the_input_is_noted() -> None:
    kept = Node("b", ("to:b",), Keys(READ), dict, (), True, None, False, None)
    first, bare = (Node(name, (name,), name, mapper, (), True, None, False, None) for name, mapper in MAPPED)
    of = program({START: LastValue(int)}, [node("a", "to:a"), kept, first, bare])
    values = {"last": 1, "total": 2, START: 3}

    def fresh() -> State:
        return state(of, values=values)

    made = fresh()
    made.apply([task(of, "a", ("total", 5))])
    made.freeze()
    for name, shown in (("a", {"last": 1, "total": 7}), (START, 4)):
        assert made.node_input(of.nodes[name], task(of, name)) == shown
    assert not made.is_read
    reader, keys = draft(of, "a", ("total", 3)), Keys(READ)
    reads: list[Callable[[State], Any]] = [
        lambda made: made.read("last"),
        lambda made: made.read(["last"]),
        lambda made: made.read(keys),
        lambda made: made.read_for(reader, "total", False),
        lambda made: made.read_for(reader, keys, True),
        lambda made: made.last_written(reader, keys),
        lambda made: made.show(reader, keys, dict),
        lambda made: made.node_input(kept, task(of, "b")),
        lambda made: made.node_input(bare, task(of, "last")),
    ]
    for read in reads:
        made = fresh()
        read(made)
        assert made.is_read


def test_a_task_reads_its_own_writes_only_when_it_asks_for_fresh_values() -> None:
    made = state(program(), values={"last": 1, "total": 10, "any": 1})
    reader = draft(made.program, "a", ("last", 2), ("total", 5))

    assert made.read_for(reader, "total", False) == 10
    assert made.read_for(reader, "total", True) == 15
    assert made.read_for(reader, ["last", "total", "topic"], False) == {"last": 1, "total": 10}
    assert made.read_for(reader, ["last", "total", "topic"], True) == {"last": 2, "total": 15}
    # What lasts one step is over by then.
    assert made.read_for(reader, "any", False) == 1
    assert made.read_for(reader, "any", True) is None
    assert made.read_for(reader, ["any"], True) == {}
    assert made.read(READ) == {"last": 1, "total": 10, "any": 1}


def test_a_reducer_runs_once_for_a_write_that_its_task_has_read() -> None:
    calls: list[tuple[int, int]] = []

    def adding(old: int, new: int) -> int:
        calls.append((old, new))
        return old + new

    made = state(program({"counted": BinaryOperatorAggregate(int, adding)}), values={"counted": 1})
    calls.clear()
    for apply in (made.apply_single, lambda lone: made.apply((lone,))):
        reader = draft(made.program, "a", ("counted", 2))
        before = made.read("counted")
        assert made.read_for(reader, "counted", True) == made.read_for(reader, ["counted"], True)["counted"]
        apply(told(reader))
        assert calls == [(before, 2)]
        calls.clear()
    assert made.read("counted") == 5


def test_a_reducer_runs_once_for_all_routers_that_are_shown_its_value() -> None:
    calls: list[tuple[int, int]] = []

    def adding(old: int, new: int) -> int:
        calls.append((old, new))
        return old + new

    keys = Keys(("counted", "last"))
    made = state(program({"counted": BinaryOperatorAggregate(int, adding)}), values={"counted": 1, "last": 1})
    calls.clear()
    made.read(keys)
    reader = draft(made.program, "a", ("counted", 2))
    for _ in range(2):
        assert made.last_written(reader, keys) == {"counted": 3, "last": 1}
    made.apply_single(told(reader))
    assert calls == [(1, 2)]
    assert made.read("counted") == 3


def test_a_node_whose_state_no_router_was_shown_gets_what_its_mapper_makes() -> None:
    keys = Keys(("last",))
    made, mapper, after = listing_program(keys)
    stored = checkpoints.empty("id", "now") | {"channel_values": {"last": 1}, "channel_versions": {"last": "0001"}}
    held = State(made, stored, spelled)
    for times in (1, 2):
        assert held.node_input(after, task(made, "b")) == [("last", 1)]
        assert mapper.made == times


def test_what_was_read_too_early_is_not_taken_for_the_outcome() -> None:
    made = state(program(), values={"total": 1})
    reader = draft(made.program, "a", ("total", 2))
    assert made.read_for(reader, "total", True) == 3
    reader.writes.append(("total", 4))
    assert made.read_for(reader, "total", True) == 7
    made.apply((told(reader),))
    assert made.read("total") == 7


def test_a_node_that_reads_one_channel_gets_nothing_while_it_is_empty() -> None:
    one = node("one", "topic", reads="topic")
    mapped = Node("mapped", ("topic",), "last", str, (), True, None, False, None)
    made = state(program(nodes=[one, mapped]))
    reader = draft(made.program, "one")
    assert made.node_input(one, reader) is MISSING
    made.apply((), [("topic", [1]), ("last", 2)])
    assert made.node_input(one, reader) == [1]
    assert made.node_input(mapped, reader) == "2"


def test_an_error_in_a_mapper_names_the_node_and_the_path() -> None:
    def refuse(values: Any) -> Any:
        raise ValueError("not such values")

    strict = Node("strict", ("last",), Keys(("last",)), refuse, (), True, None, False, None)
    made = state(program(nodes=[strict]), values={"last": 1})
    with pytest.raises(ValueError, match="not such values") as refused:
        made.node_input(strict, task(made.program, "strict"))
    assert refused.value.__notes__ == [
        "Before task with name 'strict' and path '('__pregel_pull', 'strict')'",
    ]


def test_an_entrypoint_gets_what_was_saved_for_its_next_run() -> None:
    saving = program({PREVIOUS: LastValue(Any)})
    assert state(program()).previous() is None
    assert state(saving).previous() is None
    stored = checkpoints.empty("id", "now") | {"channel_values": {PREVIOUS: 3}, "channel_versions": {PREVIOUS: "0001"}}
    assert State(saving, stored, spelled).previous() == 3
    # Its graph may save none any more.
    assert State(program(), stored, spelled).previous() is None


@pytest.mark.parametrize("keys", [("last", "total"), ("last", "topic"), ("last", "any")])
def test_a_router_is_shown_the_state_with_the_writes_of_its_task(keys: tuple[str, ...]) -> None:
    read = Keys(keys)
    held = state(program(), values={"last": 1, "total": 1, "topic": [1], "any": 1})
    held.read(read)
    lone = draft(held.program, "a", ("last", 2), ("total", 2))
    after = {"last": 2, "total": 3}
    assert held.show(lone, read, dict) == {name: after[name] for name in keys if name in after}
    # The short way is for channels that hold just a value.
    assert (held.last_written(lone, read) is None) == (keys != ("last", "total"))
    assert held.last_written(draft(held.program, "a", ("last", 2), ("last", 3)), read) is None


class Listing:
    """Makes a list of what is read, and can copy it."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self, values: dict[str, Any]) -> Any:
        self.made += 1
        return sorted(values.items())

    def copied(self, made: Any) -> Any:
        return list(made)


def listing_program(keys: Keys) -> tuple[Program, Listing, Node]:
    mapper = Listing()
    after = Node("b", ("to:b",), keys, mapper, (), True, None, False, None)
    more = {"first": LastValue(int)}
    return program(more, [node("a", "to:a"), after]), mapper, after


def test_the_next_node_gets_a_copy_of_what_a_router_was_shown_if_it_is_the_very_same() -> None:
    keys = Keys(("last", "total", "first"))
    made, mapper, after = listing_program(keys)
    held = state(made, values={"last": 1, "total": 1})
    held.read(keys)
    lone = draft(made, "a", ("last", 2), ("to:b", None))
    shown = held.show(lone, keys, mapper)
    held.apply_single(told(lone))
    given = held.node_input(after, task(made, "b"))
    assert shown == given == [("last", 2), ("total", 1)]
    assert given is not shown
    assert mapper.made == 1


@pytest.mark.parametrize(
    ("before", "channel"),
    [({"total": 0}, "total"), ({"total": 0}, "first"), ({"total": 0, "first": 3}, "first")],
    ids=["a reducer", "a first value", "another value"],
)
def test_the_next_node_gets_what_was_written_after_a_router_was_shown_the_state(
    before: dict[str, int], channel: str
) -> None:
    keys = Keys(("last", "total", "first"))
    made, mapper, after = listing_program(keys)
    held = state(made, values={"last": 1, **before})
    held.read(keys)
    lone = draft(made, "a", ("last", 2), ("to:b", None))
    held.show(lone, keys, mapper)
    lone.writes.append((channel, 4))
    held.apply_single(told(lone))
    assert dict(held.node_input(after, task(made, "b")))[channel] == 4


def test_a_mapper_that_cannot_copy_is_asked_again() -> None:
    keys = Keys(("last",))
    after = Node("b", ("to:b",), keys, len, (), True, None, False, None)
    made = program(nodes=[node("a", "to:a"), after])
    held = state(made, values={"last": 1})
    held.read(keys)
    lone = draft(made, "a", ("last", 2))
    assert held.show(lone, keys, len) == 1
    assert held.show(lone, Keys(("last", "topic")), len) == 1


# -- the short way -------------------------------------------------------

WRITES = {
    "last": st.integers(0, 9),
    "total": st.integers(0, 9),
    "any": st.integers(0, 9),
    "topic": st.one_of(st.integers(0, 9), st.lists(st.integers(0, 9), max_size=2)),
    "all": st.lists(st.integers(0, 9), max_size=2),
    "untracked": st.integers(0, 9),
    "to:a": st.none(),
    "to:b": st.none(),
    "lost": st.none(),
    "late": st.integers(0, 9),
    "join": st.sampled_from(NODES),
}
WAITING: dict[str, Callable[[], Any]] = {
    "late": lambda: LastValueAfterFinish(int),
    "join": lambda: NamedBarrierValue(str, {*NODES}),
}


@st.composite
def steps(draw: st.DrawFn) -> list[tuple[str, list[Write], str]]:
    """Steps of one task: its node, its writes, and what is done between this step and the next."""
    made = []
    for _ in range(draw(st.integers(1, 6))):
        names = draw(st.lists(st.sampled_from(sorted(WRITES)), max_size=4))
        writes = [(name, draw(WRITES[name])) for name in names]
        after = draw(st.sampled_from(["", "", "read", "freeze", "look", "note", "together"]))
        made.append((draw(st.sampled_from(NODES)), writes, after))
    return made


def outcome(apply: Callable[[], Any]) -> Any:
    try:
        return set(apply())
    except InvalidUpdateError as error:
        return str(error)


def compare_ways(planned: list[tuple[str, list[Write], str]], waiting: str, rule: NextVersion) -> None:
    def begun() -> State:
        return state(program({name: WAITING[name]() for name in WAITING if name == waiting}), rule, {"last": 0})

    long, short = begun(), begun()
    for name, writes, after in planned:
        if after == "read":
            seen = [each.read_for(draft(each.program, name, *writes), READ, False) for each in (long, short)]
            assert seen[0] == seen[1]
        one, other = task(long.program, name, *writes), task(short.program, name, *writes)
        came = outcome(partial(long.apply, (one,)))
        assert outcome(partial(short.apply_single, other)) == came
        if isinstance(came, str):
            break
        assert short.read(READ) == long.read(READ)
        if rule is count_up:
            continue  # nothing is stored, and the short way leaves versions alone
        if after == "freeze":
            assert short.freeze() == long.freeze()
        elif after == "look":
            nodes = long.program.nodes.values()
            assert [short.triggers(n) for n in nodes] == [long.triggers(n) for n in nodes]
            assert short.versioning.changed_since_seen_by("r") == long.versioning.changed_since_seen_by("r")
        elif after == "note":
            short.versioning.mark_all_seen("r")
            long.versioning.mark_all_seen("r")
        elif after == "together":
            for each in (long, short):
                each.apply([task(each.program, node_name, ("total", 1)) for node_name in NODES])
    assert short.ignored == long.ignored
    assert short.read(READ) == long.read(READ)
    if rule is spelled:
        assert short.freeze() == long.freeze()
        assert short.versions == long.versions
        assert short.seen == long.seen


@pytest.mark.parametrize("rule", [spelled, count_up])
@pytest.mark.parametrize(
    ("waiting", "planned"),
    [
        (
            "",
            [
                ("a", [("last", 1), ("to:b", None)], "read"),
                ("b", [("total", 1), ("last", 2)], "look"),
                ("a", [], "freeze"),
                ("b", [("any", 1), ("to:a", None)], "note"),
                ("a", [("to:b", None)], "look"),
                ("b", [], "freeze"),
            ],
        ),
        (
            "",
            [
                ("a", [("total", 1), ("total", 2)], "read"),
                ("a", [("total", 1), ("last", 2), ("total", 3)], "freeze"),
                ("b", [("lost", 1), ("topic", [1]), ("all", [1])], "look"),
                ("b", [("untracked", 1), ("total", 1)], "together"),
                ("a", [("last", None), ("any", 1)], "read"),
                ("b", [], "note"),
            ],
        ),
        ("", [("a", [("last", 1), ("last", 2)], "")]),
        ("", [("a", [("total", 1), ("last", 1), ("last", 2)], "")]),
        ("late", [("a", [("late", 1), ("to:b", None)], "look"), ("b", [], "look"), ("a", [], "freeze")]),
        ("join", [("a", [("join", "a")], "look"), ("b", [("join", "b")], "look"), ("a", [("last", 1)], "look")]),
    ],
)
def test_some_steps_of_one_task_come_to_the_same_by_the_short_way(
    waiting: str, planned: list[tuple[str, list[Write], str]], rule: NextVersion
) -> None:
    compare_ways(planned, waiting, rule)


@examples(150)
@given(steps(), st.sampled_from(["", "late", "join"]), st.sampled_from([spelled, count_up]))
def test_steps_of_one_task_come_to_the_same_by_the_short_way(
    planned: list[tuple[str, list[Write], str]], waiting: str, rule: NextVersion
) -> None:
    compare_ways(planned, waiting, rule)


@examples(100)
@given(steps())
def test_what_a_task_reads_after_its_writes_is_what_all_read_after_the_step(
    planned: list[tuple[str, list[Write], str]],
) -> None:
    made = state(program(), values={"last": 0})
    keys = Keys(("last", "total"))
    made.read(keys)
    for name, writes, _ in planned:
        lone = draft(
            made.program, name, *((channel, value) for channel, value in writes if channel in made.program.specs)
        )
        if sum(channel == "last" for channel, _ in lone.writes) > 1:
            continue
        ones = [made.read_for(lone, channel, True) for channel in READ]
        several = made.read_for(lone, Keys(READ), True)
        by_router = made.last_written(lone, keys)
        made.apply((told(lone),))
        assert ones == [made.read(channel) for channel in READ]
        assert list(several.items()) == list(made.read(Keys(READ)).items())
        assert by_router in (None, made.read(keys))
