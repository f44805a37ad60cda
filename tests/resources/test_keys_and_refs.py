"""Keys and references in every spelling."""

from __future__ import annotations

import pytest

from stategraph.resources import KINDS, Kind, ResourceError, ResourceKey, refs
from stategraph.resources.refs import Reference


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("workflow/data-processing", "workflow/default/data-processing"),
        ("Workflow/cooking/x", "workflow/cooking/x"),
        ("agents/cooking.x", "agent/cooking/x"),
        ("llm/gpt", "model/default/gpt"),
        ("bundle/x", "system/default/x"),
        ("crd/datasources.mastra.ai", "customresourcedefinition/datasources.mastra.ai"),
    ],
)
def test_a_key_is_read_in_any_words_of_its_kind(text: str, key: str) -> None:
    assert str(ResourceKey.parse(text)) == key
    assert ResourceKey.parse(key) == ResourceKey.parse(text)


@pytest.mark.parametrize("text", ["x", "agent/", "agent/a/b/c", "/x"])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ResourceError, match="A resource is named 'kind/name'"):
        ResourceKey.parse(text)


def test_a_kind_that_is_not_there_is_told_with_the_nearest() -> None:
    with pytest.raises(ResourceError, match="no kind 'agnet'; did you mean 'Agent'"):
        ResourceKey.parse("agnet/x")


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("recipe-finder", Reference("recipe-finder")),
        ("cooking/recipe-finder", Reference("recipe-finder", "cooking")),
        ("cooking.recipe-finder", Reference("recipe-finder", "cooking")),
        ("agents/greeter", Reference("greeter", None, "agent")),
        ("agent/cooking/greeter", Reference("greeter", "cooking", "agent")),
        ({"name": "x", "namespace": "y"}, Reference("x", "y")),
        ({"name": "here", "ref": "agents/greeter"}, Reference("greeter", None, "agent")),
        ({"name": "here", "refName": "cooking.recipe-finder"}, Reference("recipe-finder", "cooking")),
        ({"name": "x", "kind": "LLM"}, Reference("x", None, "model")),
    ],
)
def test_every_spelling_of_a_reference_is_read(written: object, read: Reference) -> None:
    assert refs.parse(written) == read


@pytest.mark.parametrize(
    "written", ["", "a//b", "a/b/c/d", 3, {"namespace": "x"}, {"name": "x", "nam": "y"}, {"name": 3}]
)
def test_what_is_no_reference_is_refused(written: object) -> None:
    with pytest.raises(ResourceError):
        refs.parse(written)


def test_a_reference_is_resolved_from_the_place_where_it_stands() -> None:
    assert refs.parse("x").key("Agent", "cooking") == ResourceKey("agent", "cooking", "x")
    assert refs.parse("other/x").key("Agent", "cooking") == ResourceKey("agent", "other", "x")
    with pytest.raises(ResourceError, match="names a workflow; expected a agent"):
        refs.parse("workflow/x").key("Agent", "default")


def test_further_kinds_never_take_a_word_of_those_before() -> None:
    table = KINDS.with_kinds([Kind("DataSource", "datasources", ("ag", "ds")), Kind("Agent", "agents", group="x.org")])
    assert [table.get(word) and table.get(word).name for word in ("ds", "ag", "agent")] == [
        "DataSource",
        "Agent",
        "Agent",
    ]
    assert KINDS.get("ds") is None
    assert ResourceKey.parse("ds/x", kinds=table) == ResourceKey("datasource", "default", "x")
