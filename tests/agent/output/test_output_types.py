"""Output types: their members, schemas and names, and what answers come to."""

from __future__ import annotations

import re
import sys
import typing
import urllib.request
from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Any, Literal

import jsonschema
import pytest
from pydantic import BaseModel, ConfigDict, Field, field_validator

from stategraph.agent.output import checks, schemas, texts
from stategraph.agent.output.checks import InvalidOutput
from stategraph.agent.output.output_type import OutputType
from stategraph.agent.settings import output_members
from stategraph.errors import ConfigurationError, MissingPackageError


class Node(BaseModel):
    """A tree."""

    name: str
    children: list[Node] = []


class Point(BaseModel):
    model_config = ConfigDict(strict=True)

    on: date
    x: float = Field(alias="xCoordinate")


@dataclass
class Plain:
    words: set[str]


class Colour(Enum):
    RED = "red"


class Part(typing.TypedDict):
    number: int


class Whole(typing.TypedDict, total=False):
    """Parts."""

    parts: typing.Required[list[Part]]
    first: Part | None


def kind(*members: Any) -> OutputType:
    return OutputType(output_members.members(list(members)))


def of_text(type_: OutputType, text: str, *, as_json: bool = True) -> Any:
    return type_.of_text(text, as_json=as_json).value


# Members.


def test_unions_and_lists_are_taken_apart_and_members_counted_once() -> None:
    assert output_members.members(Node | Plain | None) == (Node, Plain, type(None))
    assert output_members.members([Node, typing.Union[Plain, Node], {"a": 1}]) == (Node, Plain, {"a": 1})  # noqa: UP007
    assert output_members.members("int") == (int,)
    assert output_members.members(output_members.members([Node, "int"])) == (Node, int)
    assert output_members.names((Node, int, type(None))) == [Node, "int", "None"]


def test_names_of_tools_are_those_that_providers_take() -> None:
    named = {"title": "An  odd/title!", "type": "object"}
    assert [each.tool for each in kind(Node).members] == ["final_answer"]
    assert [each.tool for each in kind(named, list[int], Node).members] == [
        "final_answer_An_odd_title",
        "final_answer_list_int",
        "final_answer_Node",
    ]
    long = [{"title": "x" * 80, "description": str(number)} for number in range(3)]
    tools = [each.tool for each in kind(*long).members]
    assert len(set(tools)) == 3
    assert all(len(each) <= 64 for each in tools)


def test_a_docstring_describes_a_type_and_the_signature_of_a_dataclass_does_not() -> None:
    assert [each.description for each in kind(Node, Plain, Colour, {"description": "D"}).members] == [
        "A tree.",
        "",
        "",
        "D",
    ]


# Values.


def test_values_are_validated_as_json() -> None:
    assert of_text(kind(Point), '{"on": "2026-11-29", "xCoordinate": 1}') == Point(on=date(2026, 11, 29), xCoordinate=1)
    assert of_text(kind(Plain), '{"words": ["a", "a"]}') == Plain({"a"})
    assert of_text(kind(Colour), '{"value": "red"}') is Colour.RED
    assert of_text(kind(Colour), '"red"') is Colour.RED
    assert of_text(kind(Literal["a", "b"]), '{"value": "a"}') == "a"
    assert of_text(kind(dict[str, int]), '{"value": 1}') == {"value": 1}


def test_typed_dicts_of_the_standard_library_are_taken_on_every_version() -> None:
    whole = kind(Whole)
    assert of_text(whole, '{"parts": [{"number": "1"}], "first": null}') == {"parts": [{"number": 1}], "first": None}
    assert whole.members[0].schema["required"] == ["parts"]
    assert whole.members[0].description == "Parts."
    with pytest.raises(InvalidOutput, match=r"parts\.0\.number: Field required"):
        of_text(whole, '{"parts": [{}]}')
    assert of_text(kind(list[Part]), '{"value": [{"number": 1}]}') == [{"number": 1}]
    assert sys.version_info >= (3, 11)


def test_problems_say_where_and_what_was_found() -> None:
    with pytest.raises(InvalidOutput) as caught:
        of_text(kind(Node), '{"children": [{"name": 3}]}')
    assert caught.value.problems == (
        "name: Field required",
        "children.0.name: Input should be a valid string, found 3",
    )
    with pytest.raises(InvalidOutput) as caught:
        of_text(kind(list[int]), '{"value": ' + str(["x"] * 50).replace("'", '"') + "}")
    assert len(caught.value.problems) == 21
    assert caught.value.problems[-1] == "and 30 more"


def test_a_validator_of_the_author_speaks_to_the_model() -> None:
    class Even(BaseModel):
        number: int

        @field_validator("number")
        @classmethod
        def _even(cls, value: int) -> int:
            if value % 2:
                raise ValueError("only even numbers")
            return value

    with pytest.raises(InvalidOutput, match="only even numbers, found 3"):
        of_text(kind(Even), '{"number": 3}')


def test_a_member_is_chosen_by_its_kind_else_by_what_fits() -> None:
    several = kind(Node, Plain, int)
    assert of_text(several, '{"kind": "Plain", "value": {"words": []}}') == Plain(set())
    assert of_text(several, '{"name": "x"}') == Node(name="x")
    assert of_text(several, "7") == 7
    with pytest.raises(InvalidOutput, match="name: Field required"):
        of_text(several, '{"kind": "Node", "value": {"words": []}}')
    with pytest.raises(InvalidOutput, match="'kind', one of Node, Plain, int"):
        of_text(several, '{"kind": "None"}')


class Short(BaseModel):
    a: int


class Long(BaseModel):
    a: int
    b: int = 0


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    a: int
    b: int = 0


def test_a_kind_beside_the_fields_of_a_member_counts_and_one_that_is_no_text_is_refused() -> None:
    several = kind(Short, Long, Closed)
    assert of_text(several, '{"kind": "Long", "a": 1, "b": 2}') == Long(a=1, b=2)
    assert of_text(several, '{"kind": "else", "a": 1, "b": 2}') == Short(a=1)
    with pytest.raises(InvalidOutput, match="expected an object with 'kind'"):
        of_text(several, '{"kind": "Closed", "a": 1, "b": 2}')  # not as Short, which would lose half of it
    for wrong in ('["Short"]', '{"Short": 1}', "null", "5"):
        answer = f'{{"kind": {wrong}, "value": {{"a": 1}}}}'
        with pytest.raises(InvalidOutput, match="expected an object with 'kind'"):
            of_text(several, answer)
        assert several.partial(None, texts.json_in(answer)) == (None, texts.NO_JSON)


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "x"}',
        '```json\n{"name": "x"}\n```',
        'Of course:\n```\n{"name": "x"}\n```\nAnything else?',
        'It is {"name": "x"}.',
        '<think>Is it {"name": 3}?</think>{"name": "x"}',
    ],
)
def test_json_is_found_in_what_a_model_writes(text: str) -> None:
    assert of_text(kind(Node), text) == Node(name="x")


@pytest.mark.parametrize("text", ["", "  ", "no", '{"name": ', "[NaN", "nan"])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(InvalidOutput, match=r"no valid JSON|is empty"):
        of_text(kind(Node), text)


def test_text_is_an_output_where_it_is_a_member() -> None:
    assert of_text(kind(str), "  Hello. ", as_json=False) == "Hello."
    assert of_text(kind(str), '"Hello."', as_json=False) == '"Hello."'
    assert of_text(kind(str), '{"value": "Hello."}') == "Hello."
    assert of_text(kind(Node, str), "Hello.") == "Hello."
    assert of_text(kind(Node, str), '{"nam', as_json=False) == '{"nam'
    with pytest.raises(InvalidOutput):
        of_text(kind(Node, str), '{"nam')
    with pytest.raises(InvalidOutput):
        of_text(kind(str), " ", as_json=False)


def test_a_value_is_json_again_with_its_defaults() -> None:
    found = kind(Node).of_text('{"name": "x"}', as_json=True)
    assert kind(Node).json(found) == {"name": "x", "children": []}
    assert kind(Node).typed("Node", found.given) == found.value


# Schemas.


def test_parts_of_a_schema_lead_to_where_their_definitions_are() -> None:
    other = {
        "title": "Other",
        "type": "array",
        "items": {"anyOf": [{"$ref": "#/$defs/Node"}, {"$ref": "#"}]},
        "$defs": {"Node": {"type": "integer"}},
    }
    whole = kind(Node, other).schema
    jsonschema.Draft202012Validator.check_schema(whole)
    check = jsonschema.Draft202012Validator(whole)
    assert check.is_valid({"kind": "Node", "value": {"name": "x", "children": [{"name": "y"}]}})
    assert check.is_valid({"kind": "Other", "value": [1, [2, [3]]]})
    assert not check.is_valid({"kind": "Other", "value": [1, ["x"]]})
    assert not check.is_valid({"kind": "Node", "value": {"name": "x", "children": [{}]}})
    assert not check.is_valid({"kind": "None", "value": 1})


def test_definitions_are_found_under_both_names() -> None:
    given = {"type": "array", "items": {"$ref": "#/definitions/a~1b"}, "definitions": {"a/b": {"type": "integer"}}}
    whole = schemas.wrapped(given)
    check = jsonschema.Draft202012Validator(whole)
    assert check.is_valid({"value": [1]})
    assert not check.is_valid({"value": ["x"]})


def test_a_recursive_type_is_an_object_at_its_root() -> None:
    (node,) = kind(Node).members
    assert node.is_whole
    assert node.parameters["type"] == "object"
    jsonschema.Draft202012Validator(node.parameters).validate({"name": "x", "children": [{"name": "y"}]})


def test_a_schema_is_strict_only_where_that_shuts_out_nothing() -> None:
    class Inner(BaseModel):
        a: int

    class Outer(BaseModel):
        inner: Inner
        several: list[Inner | None]

    strict = schemas.strict(kind(Outer).schema)
    assert strict is not None
    assert strict["additionalProperties"] is False
    assert strict["$defs"]["Inner"]["additionalProperties"] is False
    assert schemas.strict(kind(Node).schema) is None  # a default: not required
    assert schemas.strict(kind(dict[str, int]).schema) is None
    assert schemas.strict({"type": "object", "properties": {"a": {"not": {}}}, "required": ["a"]}) is None
    assert schemas.strict({"type": "object", "properties": {"a": {}}, "required": ["a"]}) is None


# JSON schemas as types.


def test_a_json_schema_validates_formats_too() -> None:
    schema = {"type": "object", "properties": {"when": {"type": "string", "format": "date"}}, "required": ["when"]}
    assert of_text(kind(schema), '{"when": "2026-11-29"}') == {"when": "2026-11-29"}
    with pytest.raises(InvalidOutput, match="when: 'soon' is not a 'date'"):
        of_text(kind(schema), '{"when": "soon"}')


def test_what_a_json_schema_refers_to_is_not_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[object] = []

    def fetch(address: object, *_: object, **__: object) -> None:
        fetched.append(address)
        raise OSError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", fetch)
    with pytest.raises(ConfigurationError, match="addresses are not fetched"):
        kind({"type": "object", "$ref": "http://127.0.0.1:9/schema"})
    assert fetched == []


@pytest.mark.parametrize("reference", ["https://example.com/x.json", "#/$defs/Nope", "#nope", "Nope"])
@pytest.mark.parametrize(
    "place",
    [
        lambda leaf: leaf,
        lambda leaf: {"properties": {"a": leaf}},
        lambda leaf: {"anyOf": [{"type": "null"}, {"items": leaf}]},
        lambda leaf: {"$defs": {"A": leaf}, "$ref": "#/$defs/A"},
        lambda leaf: {"$schema": "http://json-schema.org/draft-07/schema#", "properties": {"a": leaf}},
    ],
)
def test_a_schema_whose_references_lead_nowhere_is_refused(place: Any, reference: str) -> None:
    with pytest.raises(ConfigurationError, match=f"refers to '{re.escape(reference)}', which is not in it"):
        kind({"type": "object", **place({"$ref": reference})})


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"$ref": "#"}}},
        {"properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"type": "integer"}}},
        {"properties": {"a": {"$ref": "#it"}}, "$defs": {"A": {"$anchor": "it"}}},
        {"properties": {"a": {"$ref": "one"}}, "$defs": {"A": {"$id": "http://there/one"}}, "$id": "http://there/all"},
        {"properties": {"$ref": {"enum": [{"$ref": "#/nowhere"}]}}},
    ],
)
def test_a_schema_whose_references_lead_somewhere_is_taken(schema: Any) -> None:
    assert kind({"type": "object", **schema})


def test_the_package_for_json_schemas_is_asked_for_where_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jsonschema.validators", None)
    checks._of_schema.cache_clear()
    with pytest.raises(MissingPackageError, match=r"pip install 'stategraph\[jsonschema\]'"):
        kind({"type": "object"})
    assert kind(Node)


# Beginnings.


def test_beginnings_of_answers_are_read_as_far_as_they_go() -> None:
    assert texts.beginning('{"name": "x", "chi') == {"name": "x"}
    assert texts.beginning('{"name": "hel') == {"name": "hel"}
    assert texts.beginning('```json\n{"name": "x"') == {"name": "x"}
    assert texts.beginning("```js") is texts.NO_JSON
    assert texts.beginning("Well") is texts.NO_JSON
    several = kind(Node, int)
    assert several.partial(None, {"kind": "No"}) == (None, texts.NO_JSON)
    assert several.partial(None, {"kind": "Node"}) == ("Node", texts.NO_JSON)
    assert several.partial(None, {"kind": "int", "value": 1}) == ("int", 1)
    assert kind(int).partial(None, {"value": 1}) == ("int", 1)
    assert kind(int).partial(None, 1) == ("int", 1)
    assert kind(int).partial("final_answer", {}) == ("int", texts.NO_JSON)
