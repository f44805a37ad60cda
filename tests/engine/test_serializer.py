"""The stored forms of the strict serialiser, one by one, and what comes back where a class refuses."""

from __future__ import annotations

import dataclasses
from collections import Counter, OrderedDict, defaultdict, deque
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.serde.types import _DeltaSnapshot
from pydantic import BaseModel, field_validator

from stategraph.engine.checkpoints.serializer import StrictSerializer, address_of
from stategraph.types import Send, TimeoutPolicy


class Colour(Enum):
    RED = "red"


class Pair(NamedTuple):
    left: int
    right: Any = None


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


class Word(str):
    """A text of another class."""

    __slots__ = ()


class Model(BaseModel):
    n: int = 0

    @field_validator("n")
    @classmethod
    def below_ten(cls, n: int) -> int:
        if n >= 10:
            raise ValueError("too large")
        return n


class Outer:
    """Holds a class."""

    class Inner(BaseModel):
        n: int = 0


ALLOWED = (Colour, Pair, Point, Word, Model, Outer.Inner, Send)


def trip(value: Any, *, allowed: Any = ALLOWED) -> Any:
    serializer = StrictSerializer(allowed)
    return serializer.loads_typed(serializer.dumps_typed(value))


@pytest.mark.parametrize(
    "value",
    [
        (1, (2, [3])),
        Colour.RED,
        Pair(1, Pair(2)),
        Point(1, 2),
        Word("w"),
        Model(n=3),
        Outer.Inner(n=4),
        {1, 2},
        frozenset({"a"}),
        deque([1, 2]),
        deque([1, 2], maxlen=2),
        Counter("aab"),
        OrderedDict([("b", 1), ("a", 2)]),
        datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=ZoneInfo("Europe/Berlin")),
        datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
        datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=1))),
        datetime(2026, 1, 2),
        date(2026, 1, 2),
        Decimal("1.50"),
        UUID(int=7),
        b"bytes",
        None,
        {"nested": [{"deep": (Colour.RED, Point(1))}], 3: "number"},
        Send("n", {"x": (1, 2)}),
        Send("n", 1, timeout=2.5),
        _DeltaSnapshot([Point(1, 2)]),
    ],
    ids=repr,
)
def test_a_value_comes_back_as_it_went_in(value: Any) -> None:
    back = trip(value)
    assert type(back) is type(value)
    if isinstance(value, _DeltaSnapshot):
        back, value = back.value, value.value
    assert back == value
    if isinstance(value, datetime):
        assert (back.tzinfo, back.fold) == (value.tzinfo, value.fold)
    if isinstance(value, deque):
        assert back.maxlen == value.maxlen
    if isinstance(value, OrderedDict):
        assert list(back) == list(value)


def test_a_packet_keeps_its_limit() -> None:
    assert trip(Send("n", 1, timeout=2.5)).timeout == TimeoutPolicy.coerce(2.5)
    assert trip(Send("n", 1)).timeout is None


def test_a_dict_with_a_factory_comes_back_as_a_dict() -> None:
    assert type(trip(defaultdict(list, a=[1]))) is dict
    assert trip(defaultdict(list, a=[1])) == {"a": [1]}


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Colour.RED, "red"),
        (Point(1, 2), {"x": 1, "y": 2}),
        (Pair(1, 2), {"left": 1, "right": 2}),
        (Word("w"), "w"),
        (Model(n=3), {"n": 3}),
    ],
)
def test_what_is_not_allowed_comes_back_as_its_plain_value(value: Any, plain: Any) -> None:
    back = trip(value, allowed=())
    assert back == plain
    assert type(back) is type(plain)


def test_a_class_that_refuses_what_was_stored_is_passed_over() -> None:
    stored = StrictSerializer([Word]).dumps_typed(Word("w"))
    renamed = stored[0], stored[1].replace(b"Word", b"Lost")
    assert StrictSerializer([(__name__, "Lost")]).loads_typed(renamed) == "w"
    assert StrictSerializer([("no_such_module_anywhere", "Word")]).loads_typed(stored) == "w"


def test_a_model_that_has_become_stricter_comes_back_unchecked() -> None:
    loose = Model.model_construct(n=12)
    back = trip(loose)
    assert type(back) is Model
    assert back.n == 12


def test_a_value_of_a_class_without_a_stored_form_is_refused() -> None:
    with pytest.raises(TypeError):
        StrictSerializer().dumps_typed({"f": lambda: None})


def test_addresses_and_classes_are_allowed_alike_and_more_can_be_added() -> None:
    by_class, by_address = StrictSerializer([Point]), StrictSerializer([address_of(Point)])
    assert by_class.allowed == by_address.allowed == {(__name__, "Point")}
    assert address_of(Outer.Inner) == (__name__, "Outer.Inner")
    more = by_class.with_msgpack_allowlist([Colour, (__name__, "Pair")])
    assert more.allowed == {(__name__, name) for name in ("Point", "Colour", "Pair")}
    assert by_class.with_msgpack_allowlist([Point]) is by_class
    assert by_class.allowed == {(__name__, "Point")}


@pytest.mark.parametrize("value", [{1, 2}, deque([1]), UUID(int=7), Decimal(2), date(2026, 1, 2), b"x", None])
def test_the_checkpoint_packages_own_serialiser_reads_it(value: Any) -> None:
    assert JsonPlusSerializer().loads_typed(StrictSerializer().dumps_typed(value)) == value
