"""References in the one spelling, and every other character as it was."""

from __future__ import annotations

import textwrap
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from stategraph.resources.kind_table import KINDS, Kind
from stategraph.resources.kinds.base import Ref
from stategraph.resources.loading import ManifestError
from stategraph.resources.manifests.fmt import formatted
from stategraph.resources.model import Metadata, Resource
from stategraph.resources.references import references


class Use(BaseModel):
    name: str | None = None
    ref: Ref


class Step(BaseModel):
    id: str
    agent: Ref | None = None
    tool: Ref | None = None
    each: list[Step] = []


class Secret(BaseModel):
    name: str
    namespace: str | None = None
    key: str | None = None


class Spec(BaseModel):
    """The spec of a kind that is like the built-in ones."""

    agents: list[Use] = []
    steps: list[Step] = []
    by_name: dict[str, Ref] = Field({}, alias="byName")
    model_ref: Ref | None = Field(None, alias="modelRef")
    ref: Ref | None = None
    secret_ref: Secret | None = Field(None, alias="secretRef")
    text: str = ""


TABLE = KINDS.with_kinds([Kind("Play", "plays", spec="tests.resources.test_fmt:Spec")])


def written(spec: str) -> str:
    return "# first\napiVersion: stategraph.dev/v1\nkind: Play\nmetadata: {name: x}\nspec:\n" + textwrap.indent(
        textwrap.dedent(spec).strip("\n") + "\n", "  "
    )


def becomes(old: str, new: str) -> None:
    assert formatted(written(old), kinds=TABLE) == written(new)
    assert formatted(written(new), kinds=TABLE) == written(new)


def test_texts_are_rewritten_with_the_quotes_that_they_had() -> None:
    becomes(
        """
        steps:
          - {id: a, agent: cooking.chef}  # one
          - id: b
            tool: "cooking.finder"
            agent: 'agents/chef'
        modelRef: models/default   # three
        """,
        """
        steps:
          - {id: a, agent: cooking/chef}  # one
          - id: b
            tool: "cooking/finder"
            agent: 'chef'
        modelRef: default   # three
        """,
    )


def test_parts_become_a_name_and_their_comments_stand_behind_it() -> None:
    becomes(
        """
        steps:
          - id: a
            agent:
              name: chef  # the cook
              namespace: cooking
          # between
          - id: b
            tool: {name: finder, namespace: cooking}  # flow
          - id: c
            agent:
              name: chef
              # which one
              namespace: cooking  # this

        # behind
        text: "agents: {name: chef}"
        """,
        """
        steps:
          - id: a
            agent: cooking/chef  # the cook
          # between
          - id: b
            tool: cooking/finder  # flow
          - id: c
            agent: cooking/chef  # which one  # this

        # behind
        text: "agents: {name: chef}"
        """,
    )


def test_a_use_may_be_a_name_parts_or_have_a_name_of_its_own() -> None:
    becomes(
        """
        agents:
          - cooking.chef
          - name: greeter
            refName: default.greeter   # renamed
          - {name: waiter, namespace: hall}
          - name: chef
            namespace: cooking
          - name: boss
            ref: {name: chef, namespace: cooking, kind: Agent}
        """,
        """
        agents:
          - cooking/chef
          - name: greeter
            ref: default/greeter   # renamed
          - hall/waiter
          - cooking/chef
          - name: boss
            ref: cooking/chef
        """,
    )


def test_a_kind_stays_where_the_field_does_not_say_it() -> None:
    becomes("ref: workflows/nightly", "ref: workflow/nightly")
    becomes("ref: {kind: wf, name: nightly, namespace: jobs}", "ref: workflow/jobs/nightly")
    becomes("agents: [tools/finder]", "agents: [tool/finder]")


def test_maps_are_followed_and_keys_of_secrets_stay() -> None:
    becomes(
        """
        byName:
          first: cooking.chef
        secretRef: {name: keys, key: openai}
        """,
        """
        byName:
          first: cooking/chef
        secretRef: {name: keys, key: openai}
        """,
    )


def test_steps_inside_of_steps_are_followed() -> None:
    becomes(
        "steps: [{id: a, each: [{id: b, each: [{id: c, tool: x.y}]}]}]",
        "steps: [{id: a, each: [{id: b, each: [{id: c, tool: x/y}]}]}]",
    )


def test_several_documents_and_text_of_other_kinds_stay() -> None:
    text = "kind: ConfigMap\ndata: {agent: a.b}\n---\n# 中文\n" + written("modelRef: 名.b") + "---\n"
    assert formatted(text, kinds=TABLE) == text.replace("名.b", '"名/b"')


def test_a_reference_that_comes_from_an_anchor_is_changed_where_it_is_written() -> None:
    text = written("steps:\n  - id: a\n    agent: &chef cooking.chef\n  - id: b\n    agent: *chef")
    assert formatted(text, kinds=TABLE) == text.replace("&chef cooking.chef", "&chef cooking/chef")


def test_what_is_no_reference_is_left_to_those_who_apply_it() -> None:
    text = written("modelRef: a/b/c/d\nsteps: [{id: a, agent: 7}, {id: b, tool: {x: y}}]\nunknown: x.y")
    assert formatted(text, kinds=TABLE) == text


def test_an_end_of_the_last_line_is_added() -> None:
    assert formatted("kind: X", kinds=TABLE) == "kind: X\n"
    assert formatted("") == ""


def test_what_is_no_yaml_is_told_with_its_line() -> None:
    with pytest.raises(ManifestError) as raised:
        formatted("kind: Play\nspec: [a\nb: c\n", "play.yaml")
    assert str(raised.value).startswith("play.yaml:3: this is no YAML: ")


NAMES = st.sampled_from(["chef", "cooking.chef", "agents/chef", "cooking/chef", "on", "1", "a-b.c"])
REFERENCES = NAMES | st.fixed_dictionaries(
    {"name": NAMES}, optional={"namespace": st.sampled_from(["cooking", "hall"])}
)


@given(st.lists(st.fixed_dictionaries({"id": st.just("s"), "agent": REFERENCES}), max_size=4), st.booleans())
def test_whatever_is_written_says_the_same_afterwards(steps: list[Any], flow: bool) -> None:
    spec = {"steps": steps, "text": "a.b"}
    text = yaml.safe_dump({"kind": "Play", "metadata": {"name": "x"}, "spec": spec}, default_flow_style=flow)
    new = formatted(text, kinds=TABLE)

    def keys(given: str) -> list[Any]:
        resource = Resource("", "Play", Metadata("x"), yaml.safe_load(given)["spec"])
        return [(each.path, each.key("default", TABLE)) for each in references(resource, TABLE)]

    assert keys(new) == keys(text)
    assert formatted(new, kinds=TABLE) == new
