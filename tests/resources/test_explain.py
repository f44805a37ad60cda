"""Fields of a kind in words."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from stategraph.errors import ConfigurationError
from stategraph.resources.manifests.explain import explain


class Retry(BaseModel):
    """How often a step is tried."""

    max: int = Field(3, description="Attempts at most.")


class Step(BaseModel):
    """A step of a workflow."""

    id: str = Field(description="Its name in the graph.")
    retry: Retry | None = Field(None, description="How often it is tried; by default once.")
    input: dict[str, str] = Field(default_factory=dict)
    on_error: Literal["settle", "fail"] = Field("fail", alias="onError", description="What an error does")
    nested: list[Step] = []


class Spec(BaseModel):
    """Steps that run one after the other."""

    model_config = ConfigDict(extra="forbid")
    steps: list[Step] = Field(description="The steps.")
    labels: dict[str, Annotated[int, Field(ge=0)]] = {}


SCHEMA: dict[str, Any] = {"properties": {"spec": {"$ref": "#/$defs/Spec"}}, "required": ["spec"]}
_MADE = Spec.model_json_schema()
SCHEMA["$defs"] = {**_MADE.pop("$defs"), "Spec": _MADE}


def test_a_list_of_objects_is_explained_by_the_fields_of_its_elements() -> None:
    assert explain(SCHEMA, ["spec", "steps"]).told() == (
        "FIELD: steps <list of Step> (required)\n\n"
        "DESCRIPTION:\n  The steps.\n\n"
        "FIELDS:\n"
        "  id <string> (required)\n    Its name in the graph.\n\n"
        "  retry <Retry>\n    How often it is tried; by default once.\n\n"
        "  input <map of string>\n\n"
        '  onError <string>\n    What an error does. One of "settle", "fail". Default: "fail".\n\n'
        "  nested <list of Step>\n    Default: []."
    )


def test_a_path_leads_through_lists_and_what_may_be_null() -> None:
    assert explain(SCHEMA, ["spec", "steps", "retry", "max"]).told() == (
        "FIELD: max <integer>\n\nDEFAULT: 3\n\nDESCRIPTION:\n  Attempts at most."
    )
    assert explain(SCHEMA, ["spec", "steps", "nested", "nested", "id"]).type == "string"


def test_recursion_names_all_fields_and_ends_where_a_kind_holds_itself() -> None:
    assert explain(SCHEMA, []).told(recursive=True) == (
        "FIELDS:\n"
        "  spec <Spec> (required)\n"
        "    steps <list of Step> (required)\n"
        "      id <string> (required)\n"
        "      retry <Retry>\n"
        "        max <integer>\n"
        "      input <map of string>\n"
        "      onError <string>\n"
        "      nested <list of Step>\n"
        "    labels <map of integer>"
    )


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        (["spec", "step"], "'spec' has no field 'step', did you mean 'steps'? Its fields: steps, labels"),
        (["status"], "This kind has no field 'status'. Its fields: spec"),
        (["spec", "steps", "id", "x"], "'spec.steps.id' has no field 'x'. It has no fields"),
        (["spec", "labels", "x"], "'spec.labels' may have any fields, so that 'x' is not described"),
    ],
)
def test_a_field_that_is_not_there_is_answered_with_those_that_are(path: list[str], sentence: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        explain(SCHEMA, path)
    assert str(raised.value) == sentence
