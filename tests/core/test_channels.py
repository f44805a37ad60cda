"""What each kind of channel does with a step's writes, and what it stores."""

import functools
import inspect
import operator
from collections.abc import Callable, Mapping, MutableSequence, Sequence
from typing import Annotated, Any, NotRequired, Required

import pytest
from langgraph.checkpoint.base import EmptyChannelError as SaverError

from stategraph.constants import MISSING
from stategraph.core import channels
from stategraph.core.channels import (
    AnyValue,
    BaseChannel,
    BinaryOperatorAggregate,
    ChangedAggregate,
    EphemeralValue,
    LastValue,
    LastValueAfterFinish,
    NamedBarrierValue,
    NamedBarrierValueAfterFinish,
    Topic,
    UntrackedValue,
)
from stategraph.core.channels.reducers import concrete_type, overwritten
from stategraph.errors import EmptyChannelError, InvalidUpdateError
from stategraph.types import Overwrite

AnyChannel = BaseChannel[Any, Any, Any]

FRESH: list[Callable[[], AnyChannel]] = [
    lambda: AnyValue(str),
    lambda: EphemeralValue(str),
    lambda: LastValue(str),
    lambda: LastValueAfterFinish(str),
    lambda: NamedBarrierValue(str, {"a", "b"}),
    lambda: NamedBarrierValueAfterFinish(str, {"a", "b"}),
    lambda: Topic(str),
    lambda: Topic(str, accumulate=True),
    lambda: UntrackedValue(str),
    lambda: EphemeralValue(str, guard=False),
    lambda: UntrackedValue(str, guard=False),
    lambda: BinaryOperatorAggregate(int | None, lambda a, b: b),  # type: ignore[arg-type]
    lambda: ChangedAggregate(int | None, lambda a, b: b),  # type: ignore[arg-type]
]

KINDS = [kind for name in channels.__all__ if isinstance(kind := getattr(channels, name), type)]

#: Left out of `FRESH`: the base of all, and one that begins with a value, whose tests are in test_channels_delta.py.
APART = {BaseChannel, channels.DeltaChannel}


def named(channel: AnyChannel) -> AnyChannel:
    channel.key = "field"
    return channel


def id_of(make: Callable[[], AnyChannel]) -> str:
    return type(make()).__name__


def test_every_kind_is_tested_with_the_others() -> None:
    assert {type(make()) for make in FRESH} == {*KINDS} - APART


@pytest.mark.parametrize("kind", KINDS)
def test_every_argument_that_makes_a_channel_what_it_is_counts_in_a_graph_s_digest(kind: type[AnyChannel]) -> None:
    arguments = inspect.signature(kind).parameters.keys() - {"key"}
    declared = {name for each in kind.__mro__ for name in vars(each).get("declared", ())}
    assert arguments == declared


@pytest.mark.parametrize("make", FRESH, ids=id_of)
def test_a_fresh_channel_is_empty_and_says_its_name(make: Callable[[], AnyChannel]) -> None:
    channel = named(make())

    assert not channel.is_available()
    with pytest.raises(EmptyChannelError, match="'field'"):
        channel.get()


@pytest.mark.parametrize("make", FRESH, ids=id_of)
def test_a_step_without_writes_leaves_a_fresh_channel_unchanged(make: Callable[[], AnyChannel]) -> None:
    channel = make()

    assert not channel.update([])
    assert not channel.consume()
    assert not channel.finish()
    assert not channel.is_available()


@pytest.mark.parametrize("make", FRESH, ids=id_of)
def test_copies_and_thawed_channels_keep_their_name_and_kind(make: Callable[[], AnyChannel]) -> None:
    channel = named(make())

    for other in (channel.copy(), channel.from_checkpoint(MISSING), channel.from_checkpoint(channel.checkpoint())):
        assert other is not channel
        assert other == channel
        assert other.key == "field"
        assert other.typ == channel.typ


@pytest.mark.parametrize("make", FRESH, ids=id_of)
def test_updating_a_copy_leaves_the_original_and_its_checkpoint_alone(make: Callable[[], AnyChannel]) -> None:
    channel = make()
    channel.update(["a"])
    stored = channel.checkpoint()
    before = repr(stored)
    copy, thawed = channel.copy(), channel.from_checkpoint(stored)

    for other in (copy, thawed):
        other.update(["b"])
        other.consume()

    assert repr(channel.checkpoint()) == before
    assert repr(stored) == before


def test_channels_of_different_kinds_are_not_equal() -> None:
    kinds = [make() for make in FRESH]

    assert [[a == b for b in kinds] for a in kinds] == [[a is b for b in kinds] for a in kinds]


# One value at a time.


def test_last_value_keeps_what_was_written_last() -> None:
    channel = LastValue(int)

    assert channel.update([1])
    assert channel.update([2])
    assert not channel.update([])
    assert channel.get() == channel.checkpoint() == 2
    assert channel.from_checkpoint(3).get() == 3
    assert channel.ValueType is channel.UpdateType is int


def test_last_value_refuses_two_writes_in_one_step_and_stays_what_it_was() -> None:
    channel = LastValue(int, "answer")
    channel.update([1])

    with pytest.raises(InvalidUpdateError, match="At key 'answer': Can receive only one value per step") as refused:
        channel.update([2, 3])

    assert "reducer" in str(refused.value)
    assert str(refused.value).endswith("/INVALID_CONCURRENT_GRAPH_UPDATE")
    assert channel.get() == 1


def test_none_is_a_value() -> None:
    channel = LastValue(object)

    assert channel.update([None])
    assert channel.is_available()
    assert channel.get() is None
    assert channel.from_checkpoint(None).is_available()


def test_any_value_takes_one_of_several_and_forgets_it_after_a_step_without_writes() -> None:
    channel = AnyValue(int)

    assert channel.update([1, 1])
    assert channel.get() == 1
    assert channel.update([2, 3])
    assert channel.get() == 3
    assert channel.update([])
    assert channel.checkpoint() is MISSING
    assert not channel.update([])


def test_an_ephemeral_value_lasts_one_step() -> None:
    channel = EphemeralValue(int)

    assert channel.update([1])
    assert channel.get() == 1
    assert channel.update([])
    assert not channel.is_available()
    assert not channel.update([])


@pytest.mark.parametrize("kind", [EphemeralValue, UntrackedValue])
def test_a_guarded_channel_names_itself_and_the_way_out_when_written_twice(kind: Any) -> None:
    channel = kind(int)
    channel.key = "answer"

    with pytest.raises(InvalidUpdateError, match=r"At key 'answer'.*guard=False"):
        channel.update([1, 2])

    assert not channel.is_available()


@pytest.mark.parametrize("kind", [EphemeralValue, UntrackedValue])
def test_an_unguarded_channel_keeps_the_last_of_several(kind: Any) -> None:
    channel = kind(int, guard=False)

    assert channel.update([1, 2])
    assert channel.get() == 2
    assert channel.copy() == channel
    assert channel != kind(int)


def test_an_untracked_value_is_never_stored() -> None:
    channel = UntrackedValue(int)
    channel.update([1])

    assert channel.checkpoint() is MISSING
    assert not channel.from_checkpoint(1).is_available()
    assert channel.copy().get() == 1
    assert not channel.update([])
    assert channel.get() == 1


def test_a_deferred_value_is_offered_once_after_everything_else_has_run() -> None:
    channel = LastValueAfterFinish(str)

    assert channel.update(["first", "last"])
    assert not channel.is_available()
    assert channel.checkpoint() == ("last", False)
    assert not channel.consume()
    assert channel.finish()
    assert not channel.finish()
    assert channel.get() == "last"
    assert channel.checkpoint() == ("last", True)
    assert channel.consume()
    assert channel.checkpoint() is MISSING


def test_a_new_write_holds_a_deferred_value_back_again() -> None:
    channel = LastValueAfterFinish(str)
    channel.update(["early"])
    channel.finish()

    channel.update(["late"])

    assert not channel.is_available()
    assert channel.from_checkpoint(channel.checkpoint()).finish()


# Many values.


def test_a_topic_holds_what_the_step_published_lists_flattened() -> None:
    topic = Topic(str)

    assert topic.update(["a", ["b", "c"]])
    assert topic.get() == ["a", "b", "c"]
    assert topic.update(["d"])
    assert topic.get() == ["d"]
    assert topic.update([])
    assert not topic.update([])
    assert topic.ValueType == Sequence[str]
    assert topic.UpdateType == str | list[str]


def test_an_accumulating_topic_keeps_what_earlier_steps_published() -> None:
    topic = Topic(str, accumulate=True)
    topic.update(["a"])

    assert not topic.update([])
    assert topic.update([["b"]])
    assert topic.get() == ["a", "b"]


def test_a_reader_cannot_change_a_topic() -> None:
    topic = Topic(str)
    topic.update(["a"])

    topic.get().append("b")  # type: ignore[attr-defined]

    assert topic.get() == ["a"]


def test_a_topic_reads_checkpoints_of_the_old_form() -> None:
    assert Topic(str).from_checkpoint((set(), ["a"])).get() == ["a"]


# Barriers.


@pytest.mark.parametrize("kind", [NamedBarrierValue, NamedBarrierValueAfterFinish])
def test_a_barrier_opens_when_all_have_arrived_and_closes_when_passed(kind: Any) -> None:
    barrier = kind(str, {"a", "b"})

    assert barrier.update(["a"])
    assert not barrier.update(["a"])
    assert not barrier.finish()
    assert not barrier.consume()
    assert barrier.update(["b"])
    assert barrier.finish() is (kind is NamedBarrierValueAfterFinish)
    assert barrier.is_available()
    assert barrier.get() is None
    assert barrier.consume()
    assert not barrier.is_available()
    assert not barrier.consume()
    # Each of them has to arrive again.
    assert not barrier.finish()
    assert barrier.update(["b"])
    assert not barrier.finish()
    assert not barrier.is_available()
    assert barrier.update(["a"])
    assert barrier.finish() is (kind is NamedBarrierValueAfterFinish)
    assert barrier.is_available()


def test_a_deferred_barrier_stays_closed_until_everything_else_has_run() -> None:
    barrier = NamedBarrierValueAfterFinish(str, {"a"})
    barrier.key = "join"
    barrier.update(["a"])

    assert not barrier.is_available()
    with pytest.raises(EmptyChannelError, match="'join'"):
        barrier.get()
    assert barrier.checkpoint() == ({"a"}, False)
    assert barrier.from_checkpoint(({"a"}, True)).is_available()


def test_a_closed_barrier_says_whom_it_waits_for() -> None:
    barrier = NamedBarrierValue(str, {"a", "b"})
    barrier.update(["a"])

    with pytest.raises(EmptyChannelError, match="'b'"):
        barrier.get()


@pytest.mark.parametrize("kind", [NamedBarrierValue, NamedBarrierValueAfterFinish])
def test_a_barrier_refuses_a_stranger_and_stays_what_it_was(kind: Any) -> None:
    barrier = kind(str, {"a"})
    barrier.key = "join"

    with pytest.raises(InvalidUpdateError, match=r"At key 'join': Value 'x' not in .*'a'"):
        barrier.update(["a", "x"])

    assert barrier.seen == set()


def test_barriers_for_different_names_are_not_equal() -> None:
    assert NamedBarrierValue(str, {"a"}) != NamedBarrierValue(str, {"b"})


# Reducers.


def test_updates_are_folded_in_order() -> None:
    channel = BinaryOperatorAggregate(list, operator.add)

    assert channel.get() == []
    assert channel.update([["a"], ["b"]])
    assert channel.update([["c"]])
    assert not channel.update([])
    assert channel.get() == ["a", "b", "c"]


def test_a_reducer_that_returns_what_there_was_has_changed_nothing() -> None:
    channel = ChangedAggregate(dict, lambda before, after: {**before, **after} if after else before)

    assert channel.update([{"a": 1}])
    assert not channel.update([{}])
    assert not channel.copy().update([{}, {}])
    assert channel.update([{}, {"b": 2}])
    assert channel.get() == {"a": 1, "b": 2}


def test_a_reducer_that_raises_leaves_the_value_alone() -> None:
    channel = BinaryOperatorAggregate(int, operator.add)
    channel.update([1])

    with pytest.raises(TypeError):
        channel.update([2, "three"])  # type: ignore[list-item]

    assert channel.get() == 1


def test_without_an_empty_value_the_first_update_is_the_first_value() -> None:
    channel = BinaryOperatorAggregate(int | None, max)  # type: ignore[arg-type]

    assert not channel.is_available()
    assert channel.update([2, 5, 3])
    assert channel.get() == 5


@pytest.mark.parametrize(
    "overwrite",
    [
        Overwrite([9]),
        {"__overwrite__": [9]},
        {"value": [9], "type": "__overwrite__"},
    ],
    ids=["object", "short dict", "json form"],
)
@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("typ", [list, list | None], ids=["with empty value", "without"])
def test_an_overwrite_makes_all_other_updates_of_the_step_void(overwrite: Any, position: int, typ: Any) -> None:
    channel = BinaryOperatorAggregate(typ, operator.add)
    updates: list[Any] = [[1], [2]]
    updates.insert(position, overwrite)

    assert channel.update(updates)
    assert channel.get() == [9]
    assert channel.update([[10]])
    assert channel.get() == [9, 10]


def test_two_overwrites_in_one_step_are_refused() -> None:
    channel = BinaryOperatorAggregate(list, operator.add)
    channel.key = "messages"

    with pytest.raises(InvalidUpdateError, match=r"^Can receive only one Overwrite .* At key 'messages'"):
        channel.update([Overwrite([1]), Overwrite([2])])

    assert channel.get() == []


@pytest.mark.parametrize(
    "ordinary",
    [
        {"value": 1},
        {"type": "__overwrite__"},
        {"type": "text", "value": 1},
        {"__overwrite__": 1, "more": 2},
        "__overwrite__",
        None,
    ],
)
def test_lookalikes_of_an_overwrite_are_ordinary_updates(ordinary: Any) -> None:
    assert overwritten(ordinary) is MISSING


def test_an_overwrite_with_none_is_still_an_overwrite() -> None:
    assert overwritten(Overwrite(None)) is None
    assert overwritten({"__overwrite__": None}) is None


@pytest.mark.parametrize(
    ("annotation", "concrete"),
    [
        (list[int], list),
        (Sequence[int], list),
        (MutableSequence, list),
        (Mapping[str, int], dict),
        (Annotated[dict[str, int], "note"], dict),
        (Required[Annotated[set[int], "note"]], set),
        (NotRequired[int], int),
        (Annotated[Sequence[int], "note"], list),
    ],
)
def test_the_class_behind_an_annotation_is_found(annotation: Any, concrete: type) -> None:
    assert concrete_type(annotation) is concrete


def test_reducers_are_compared_by_identity_but_lambdas_agree_with_all() -> None:
    plus = BinaryOperatorAggregate(int, operator.add)

    assert plus == BinaryOperatorAggregate(int, operator.add)
    assert plus != BinaryOperatorAggregate(int, operator.mul)
    assert plus == BinaryOperatorAggregate(int, lambda a, b: a + b)


def test_reducers_without_a_name_can_be_compared() -> None:
    partial = functools.partial(max, key=abs)

    assert BinaryOperatorAggregate(int, partial) == BinaryOperatorAggregate(int, partial)
    assert BinaryOperatorAggregate(int, partial) != BinaryOperatorAggregate(int, operator.add)


# Channels of other packages.


class Counter(BaseChannel[int, int, int]):
    """What a program may derive: only the abstract methods."""

    def __init__(self, typ: Any = int, key: str = "") -> None:
        super().__init__(typ, key)
        self.total = 0

    @property
    def ValueType(self) -> Any:  # noqa: N802 (the public name)
        return int

    @property
    def UpdateType(self) -> Any:  # noqa: N802 (the public name)
        return int

    def from_checkpoint(self, checkpoint: Any) -> "Counter":
        counter = Counter(self.typ, self.key)
        if checkpoint is not MISSING:
            counter.total = checkpoint
        return counter

    def get(self) -> int:
        if not self.total:
            raise EmptyChannelError
        return self.total

    def update(self, values: Sequence[int]) -> bool:
        self.total += sum(values)
        return bool(values)


def test_a_derived_channel_gets_by_with_the_abstract_methods() -> None:
    counter = Counter()

    assert not counter.is_available()
    assert counter.checkpoint() is MISSING
    counter.update([1, 2])
    assert counter.is_available()
    assert counter.checkpoint() == counter.copy().get() == 3
    assert not counter.consume()
    assert not counter.finish()


def test_a_derived_channel_may_raise_the_saver_packages_own_empty_error() -> None:
    class Foreign(Counter):
        def get(self) -> int:
            raise SaverError

    assert not Foreign().is_available()
    assert Foreign().checkpoint() is MISSING


def test_other_exceptions_of_a_derived_channel_are_not_swallowed() -> None:
    class Broken(Counter):
        def get(self) -> int:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Broken().is_available()


# Who must hear what.


def test_the_answers_about_notifications_fit_what_the_channels_do() -> None:
    for make in FRESH:
        channel = make()
        kind = type(channel)
        channel.update(["a"])
        if kind.__name__.startswith("NamedBarrier"):
            channel.update(["b"])
        if channel.copy().update([]):
            assert channels.reacts_to_empty_update(kind), kind
        finished = channel.copy()
        if finished.finish():
            assert channels.reacts_to_finish(kind), kind
        if finished.consume():
            assert channels.reacts_to_consume(kind), kind


def stages(make: Callable[[], AnyChannel]) -> list[AnyChannel]:
    """Make channels of a kind that have been through more and more of a run."""
    reached = [make()]
    for move in ("a", "b", "finish", "a", "consume", "b"):
        channel = reached[-1].copy()
        if move in ("finish", "consume"):
            getattr(channel, move)()
        else:
            channel.update([move])
        reached.append(channel)
    return reached


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not BaseChannel])
def test_exactly_the_kinds_that_a_step_without_writes_changes_are_told_of_every_step(kind: type[AnyChannel]) -> None:
    delta = channels.DeltaChannel(lambda value, writes: [*value, *writes], list)
    makes = [make for make in [*FRESH, lambda: delta.copy()] if type(make()) is kind]
    assert makes
    changes = False
    for channel in (channel for make in makes for channel in stages(make)):
        before = repr(channel.checkpoint()), channel.is_available()
        told = channel.update([])
        changes |= told or before != (repr(channel.checkpoint()), channel.is_available())
    assert channels.reacts_to_empty_update(kind) is changes


def test_a_channel_that_overrides_a_hook_is_told_again() -> None:
    class Fading(LastValue[int]):
        def update(self, values: Sequence[int]) -> bool:
            return super().update(values)

        def consume(self) -> bool:
            return False

        def finish(self) -> bool:
            return False

    class Renamed(LastValue[int]):
        pass

    assert channels.reacts_to_empty_update(Fading)
    assert channels.reacts_to_consume(Fading)
    assert channels.reacts_to_finish(Fading)
    assert channels.reacts_to_empty_update(Counter)
    assert not channels.reacts_to_empty_update(Renamed)
    assert not channels.reacts_to_consume(Renamed)
    assert not channels.reacts_to_finish(Renamed)


def test_a_channel_of_a_class_derived_from_a_reducer_s_is_made_anew_as_that_class() -> None:
    class Own(channels.BinaryOperatorAggregate[list[int]]):
        pass

    channel = Own(list, operator.add)
    channel.key = "items"
    first, second = channel.from_checkpoint(MISSING), channel.from_checkpoint(MISSING)
    first.update([[1]])
    for each in (first, second, first.copy()):
        assert (type(each), each.key) == (Own, "items")
    assert (first.get(), first.copy().get(), second.get()) == ([1], [1], [])
    assert channel.from_checkpoint([5]).get() == [5]


def test_a_channel_of_a_class_derived_from_a_value_s_is_made_by_its_own_constructor() -> None:
    class Counted(LastValue[int]):
        def __init__(self, typ: Any, key: str = "") -> None:
            super().__init__(typ, key)
            self.updates = 0

        def update(self, values: Sequence[int]) -> bool:
            self.updates += len(values)
            return super().update(values)

    channel = named(Counted(int))
    channel.update([1])
    for other, value in ((channel.copy(), 1), (channel.from_checkpoint(7), 7)):
        assert (type(other), other.key, other.get()) == (Counted, "field", value)
        other.update([2])
        assert (other.get(), other.updates) == (2, 1)  # type: ignore[attr-defined]
    assert not channel.from_checkpoint(MISSING).is_available()


def test_a_channel_of_a_class_derived_from_one_for_a_step_is_made_by_its_own_constructor() -> None:
    class Marked(EphemeralValue[int]):
        def __init__(self, typ: Any, guard: bool = True) -> None:
            super().__init__(typ, guard)
            self.mark = "made"

    channel = named(Marked(int, guard=False))
    for other in (channel.copy(), channel.from_checkpoint(MISSING), channel.from_checkpoint(1)):
        assert (type(other), other.key, other.mark, other.guard) == (Marked, "field", "made", False)  # type: ignore[attr-defined]


def test_values_that_are_published_one_by_one_and_in_lists_are_all_kept() -> None:
    for accumulate, expected in ((False, [3]), (True, [1, 2, 3])):
        channel = named(Topic(int, accumulate))
        assert channel.update([1, [2]])
        assert channel.get() == [1, 2]
        assert channel.update([[3]])
        assert channel.get() == expected
        assert channel.update([]) is not accumulate
        assert not channel.update([])
