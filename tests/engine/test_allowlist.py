"""Which classes a strict saver is told of."""

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Literal, NewType, NotRequired

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import BaseModel
from typing_extensions import TypedDict

from stategraph.core.channels.last_value import LastValue
from stategraph.engine import allowlist

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


def test_a_saver_is_told_only_in_strict_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    saver = Told()
    monkeypatch.setattr(allowlist, "STRICT_MSGPACK_ENABLED", False)
    assert allowlist.for_schemas([Inner], {}) is None
    assert allowlist.apply(saver, None) is saver
    monkeypatch.setattr(allowlist, "STRICT_MSGPACK_ENABLED", True)
    allowed = allowlist.for_schemas([Inner], {})
    assert allowed is not None
    assert here(Inner) < allowed
    assert ("langchain_core.messages.human", "HumanMessage") in allowed
    assert allowlist.apply(saver, allowed).allowed == allowed


@pytest.mark.parametrize("nothing", [None, True, False])
def test_what_is_no_saver_is_passed_on(nothing: Any) -> None:
    assert allowlist.apply(nothing, {("module", "Class")}) is nothing
