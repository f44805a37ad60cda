"""Which classes a strict saver is told of."""

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, NewType, NotRequired

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from pydantic import BaseModel
from typing_extensions import TypedDict

from stategraph.core.channels.last_value import LastValue
from stategraph.engine.checkpoints import allowlist
from stategraph.engine.checkpoints.serializer import StrictSerializer

if TYPE_CHECKING:

    class OnlyForCheckers: ...


class Colour(Enum):
    RED = "red"


class Inner(BaseModel):
    name: str


@dataclass
class Tree:
    children: "list[Tree]"
    leaf: Inner | None = None


@dataclass
class Unresolvable:
    gone: "OnlyForCheckers"


class Pair(NamedTuple):
    one: int


@dataclass
class Outer:
    class Kind(Enum):
        A = 1

    kind: Kind


class Keys(TypedDict):
    tree: NotRequired[Annotated[deque[Tree], "note"]]


def here(*classes: type[Any]) -> set[tuple[str, ...]]:
    return {(cls.__module__, cls.__name__) for cls in classes}


@pytest.mark.parametrize(
    ("type_", "found"),
    [
        (Colour, here(Colour)),
        (Tree, here(Tree, Inner)),
        (Keys, here(Tree, Inner)),
        (dict[str, Inner] | None, here(Inner)),
        (tuple[Literal["a"], Any, int], set()),
        (NewType("Id", int), set()),
        (Pair, here(Pair)),
        (Outer, here(Outer) | {(__name__, "Outer.Kind"), (__name__, "Kind")}),
        (Unresolvable, here(Unresolvable)),
    ],
)
def test_classes_are_found_at_any_depth(type_: Any, found: set[tuple[str, ...]]) -> None:
    assert allowlist.collect([type_]) == found
    assert allowlist.collect(channels={"key": LastValue(type_)}) == found


class Told(InMemorySaver):
    """Remembers what it was told."""

    allowed: Any = None

    def with_allowlist(self, extra_allowlist: Any) -> "Told":
        told = Told()
        told.allowed = extra_allowlist
        return told


@pytest.mark.parametrize("enabled", [False, True])
@pytest.mark.parametrize("serde", [JsonPlusSerializer(), StrictSerializer()])
def test_a_saver_is_told_only_if_it_is_strict(monkeypatch: pytest.MonkeyPatch, enabled: bool, serde: Any) -> None:
    saver = Told(serde=serde)
    monkeypatch.setattr(allowlist, "STRICT_MSGPACK_ENABLED", enabled)
    told = allowlist.Allowlist([Inner], {}).tell(saver)
    if not enabled and type(serde) is JsonPlusSerializer:
        assert told is saver
    else:
        assert here(Inner) < told.allowed
        assert ("langchain_core.messages.human", "HumanMessage") in told.allowed


def test_a_saver_is_told_once() -> None:
    saver = Told(serde=StrictSerializer())
    allowed = allowlist.Allowlist([Inner], {})
    told = allowed.tell(saver)
    assert allowed.tell(saver) is told
    assert allowed.tell(told) is told


@pytest.mark.parametrize("before", [JsonPlusSerializer(), StrictSerializer()])
def test_a_saver_that_gets_another_serializer_is_told_again(before: Any) -> None:
    saver = Told(serde=before)
    allowed = allowlist.Allowlist([Inner], {})
    first = allowed.tell(saver)
    saver.serde = StrictSerializer()
    told = allowed.tell(saver)
    assert told is not first and here(Inner) < told.allowed
    saver.serde = JsonPlusSerializer()
    assert allowed.tell(saver) is saver


@pytest.mark.parametrize("nothing", [None, True, False])
def test_what_is_no_saver_is_passed_on(nothing: Any) -> None:
    assert allowlist.Allowlist([Inner], {}).tell(nothing) is nothing


def test_a_saver_that_is_given_no_classes_stays_as_it_is() -> None:
    saver = Told(serde=StrictSerializer())
    assert allowlist.apply(saver, None) is saver
    assert allowlist.apply(saver, {("a", "B")}).allowed == {("a", "B")}
    assert allowlist.apply(False, {("a", "B")}) is False
