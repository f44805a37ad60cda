"""A save that failed names the innermost value that could not be stored."""

from __future__ import annotations

import dataclasses
import threading
from typing import Any

import pytest
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from pydantic import BaseModel, ConfigDict

from stategraph.engine.checkpoints.serializability import explain_failure


class Engine:
    """Not storable: no plain data, dataclass or model."""


@dataclasses.dataclass
class Car:
    name: str
    engine: Any


class Garage(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    name: str
    car: Any


def explained(*values: tuple[str, object], writer: str | None = None, serde: object = None) -> str:
    error = TypeError("not stored")
    explain_failure(error, JsonPlusSerializer() if serde is None else serde, values, writer)
    return str(error)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (Engine(), "key"),
        ({"a": 1, "b": Engine()}, "key['b']"),
        ({"a": {2: Engine()}}, "key['a'][2]"),
        (["text", b"bytes", bytearray(b"array"), Engine()], "key[3]"),
        ((1, (2, Engine())), "key[1][1]"),
        ({Engine()}, "key[0]"),
        (frozenset({Engine()}), "key[0]"),
        (Car("red", Engine()), "key.engine"),
        (Garage(name="big", car=[Engine()]), "key.car[0]"),
        ({"cars": [Car("red", {"left": Engine()})]}, "key['cars'][0].engine['left']"),
        ([Engine(), threading.Lock()], "key[0]"),
    ],
)
def test_the_innermost_value_is_named_by_its_path(value: object, path: str) -> None:
    assert f"The value at {path}, of type {__name__}.Engine, was written to channel 'key'" in explained(("key", value))


def test_the_way_out_of_a_number_that_is_too_large_is_a_text() -> None:
    words = explained(("key", {"n": 2**70}))
    assert words.startswith("not stored. The value at key['n'], of type builtins.int, was written to channel 'key'")
    assert words.endswith("Whole numbers are stored from -2**63 to 2**64 - 1; give a greater one as a text.")
    assert JsonPlusSerializer().dumps_typed([-(2**63), 2**64 - 1])


def test_a_value_that_holds_itself_is_followed_for_24_levels() -> None:
    value: list[Any] = []
    value.append(value)
    assert f"The value at key{'[0]' * 24}, of type builtins.list, " in explained(("key", value))


def test_only_the_first_value_that_cannot_be_stored_is_named() -> None:
    words = explained(("well", 1), ("first", Engine()), ("second", [Engine()]), writer="drive")
    assert words.startswith("not stored. The value at first, of type ")
    assert "was written by node 'drive' to channel 'first' and cannot be stored in a checkpoint. Return" in words
    assert "second" not in words


@dataclasses.dataclass
class Refusing:
    """A serializer that stores only what it lists."""

    stored: list[object]

    def dumps_typed(self, value: object) -> tuple[str, bytes]:
        if value not in self.stored:
            raise ValueError(value)
        return "any", b""


@pytest.mark.parametrize(
    "serde",
    [object(), Refusing([]), Refusing([0, [1]])],
    ids=["no serializer", "one that stores nothing", "one that stores the value"],
)
def test_nothing_is_named_where_no_value_is_the_reason(serde: object) -> None:
    assert explained(("key", [1]), serde=serde) == "not stored"


def test_a_value_is_named_of_which_each_part_can_be_stored() -> None:
    assert "The value at key[1], of type builtins.list, " in explained(
        ("key", [1, [2, 3]]), serde=Refusing([0, 1, 2, 3])
    )


def test_nothing_is_named_without_a_serializer() -> None:
    error = TypeError("not stored")
    explain_failure(error, None, [("key", Engine())], None)
    assert str(error) == "not stored"


@pytest.mark.parametrize("text", ["text", b"bytes", bytearray(b"array")])
def test_a_text_that_cannot_be_stored_is_named_as_a_whole(text: object) -> None:
    assert "The value at key['said'], of type builtins." in explained(("key", {"said": text}), serde=Refusing([0]))
