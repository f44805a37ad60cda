"""JSON schemas of states that are typed dicts of `typing`, as programs write them, on every version of Python."""

from __future__ import annotations

import operator
import typing
from collections.abc import Callable
from typing import Annotated, Any, Literal, NotRequired, Optional, Required

import pytest
import typing_extensions
from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError

from stategraph import START, StateGraph
from stategraph.engine.compile.json_schema import own_json_schema


class Leaf(typing.TypedDict, total=False):
    """A leaf of a tree."""

    name: Required[str]
    kind: Literal["green", "red"]


class Tree(Leaf):
    """A tree, in which there are trees."""

    trees: NotRequired[list[Tree]]
    by_name: dict[str, Leaf | None]
    old: Optional[Leaf]  # noqa: UP045 # an alias of `typing`


class State(typing.TypedDict):
    trees: Annotated[list[Tree], operator.add]
    number: int


def compiled(state: Any, context: Any = None) -> Any:
    graph = StateGraph(state, context_schema=context).add_node("go", lambda state: {}).add_edge(START, "go")
    return graph.compile()


def test_a_typed_dict_of_typing_has_a_schema_with_those_in_it() -> None:
    graph = compiled(State, Leaf)
    found = graph.get_input_jsonschema()
    assert found["required"] == ["trees", "number"]
    assert found["properties"]["trees"] == {"items": {"$ref": "#/$defs/Tree"}, "title": "Trees", "type": "array"}
    tree = found["$defs"]["Tree"]
    assert tree["description"] == "A tree, in which there are trees."
    assert tree["properties"]["trees"]["items"] == {"$ref": "#/$defs/Tree"}
    assert tree["properties"]["old"] == {"anyOf": [{"$ref": "#/$defs/Leaf"}, {"type": "null"}]}
    assert set(tree["required"]) == {"name", "by_name", "old"}
    assert found["$defs"]["Leaf"]["required"] == ["name"]
    assert graph.get_output_jsonschema()["$defs"] == found["$defs"]
    assert graph.get_context_jsonschema()["properties"]["kind"]["enum"] == ["green", "red"]


def test_it_is_the_schema_of_the_same_typed_dict_of_typing_extensions() -> None:
    def made(make: Callable[..., Any]) -> Any:
        item = make("Item", {"name": str, "size": NotRequired[int]})
        return make("Box", {"items": list[item], "first": item | None}, total=False)  # type: ignore[valid-type]

    ours, theirs = (compiled(made(each.TypedDict)).get_input_jsonschema() for each in (typing, typing_extensions))
    assert ours == theirs

    class Mixed(typing_extensions.TypedDict):
        leaf: Leaf

    assert compiled(Mixed).get_input_jsonschema()["$defs"]["Leaf"]["required"] == ["name"]


def test_names_that_are_not_there_are_an_error() -> None:
    class Broken(typing.TypedDict):
        what: int

    Broken.__annotations__ = {"what": "Nowhere"}
    with pytest.raises((PydanticUserError, PydanticUndefinedAnnotation)):
        own_json_schema(Broken)
