"""Manifests: what is read, what is refused and how it is told."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stategraph.resources import ManifestError, Metadata, Resource, Source, documents
from stategraph.resources.loading import MAX_BYTES, dump, load, load_text, to_document

SEEDS = Path(__file__).parent / "manifests"

AGENT = """apiVersion: stategraph.dev/v1
kind: Agent
metadata: {name: a}
spec:
  instructions: |
    one
    two
"""


def refused(text: str, **options: str) -> list[str]:
    with pytest.raises(ManifestError) as error:
        load_text(text, **options)
    return [str(each) for each in error.value.problems]


def test_every_manifest_of_a_folder_is_read_with_the_place_of_its_fields() -> None:
    found = {str(each.key): each for each in load(SEEDS)}
    assert sorted(found) == [
        "agent/cooking/recipe-assistant",
        "customresourcedefinition/datasources.mastra.ai",
        "network/default/customer-support",
        "network/default/research-network",
        "system/default/customer-support",
        "workflow/default/data-processing",
        "workflow/default/recipe-suggestion",
    ]
    workflow = found["workflow/default/data-processing"]
    assert workflow.api_version == "stategraph.dev/v1"
    assert workflow.place(("spec", "steps", 1, "id")) == f"{SEEDS}/workflow-data-processing-run.yaml:13:7"
    assert workflow.place(("spec", "steps", 1, "nothing", "here")) == f"{SEEDS}/workflow-data-processing-run.yaml:13:7"
    agent = found["agent/cooking/recipe-assistant"]
    assert agent.metadata.labels == {"app": "kitchen-helper", "tier": "frontend"}
    assert str(agent.spec["instructions"]).startswith("你是一个厨师助手")
    assert agent.status == {}  # what a manifest says about its state is not believed


def test_standard_input_and_a_text_are_read_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(AGENT.encode())))
    assert load("-")[0].source == load_text(AGENT, file="-")[0].source
    assert load(AGENT)[0].spec == {"instructions": "one\ntwo\n"}


def test_json_and_lists_are_read(tmp_path: Path) -> None:
    document = to_document(load(AGENT)[0])
    other = {**document, "metadata": {"name": "b"}}
    file = tmp_path / "list.json"
    file.write_text(json.dumps({"kind": "List", "apiVersion": "v1", "items": [document, other]}, indent=2))
    first, second = load(file)
    assert (first.name, second.name) == ("a", "b")
    assert second.place(("spec", "instructions")) == f"{file}:22:9"
    escaped = tmp_path / "escaped.json"
    escaped.write_text(json.dumps({**document, "spec": {"instructions": "\U0001f600"}}))
    assert load(escaped)[0].spec == {"instructions": "\U0001f600"}


def test_scalars_are_those_of_yaml_1_2() -> None:
    spec = "{a: no, b: 2026-11-30, c: 1:30, d: 0x1F, e: 1e3, f: true, g: ~, h: '1', i: .5, j: -3, k: 1e999, l: 0o17}"
    assert load_text(AGENT.replace("\n  instructions: |\n    one\n    two\n", f" {spec}\n"))[0].spec == {
        "a": "no",
        "b": "2026-11-30",
        "c": "1:30",
        "d": 31,
        "e": 1000.0,
        "f": True,
        "g": None,
        "h": "1",
        "i": 0.5,
        "j": -3,
        "k": "1e999",
        "l": 15,
    }


def test_anchors_and_merge_keys_are_read() -> None:
    text = AGENT + "  base: &base {x: 1, y: 2}\n  other: {<<: *base, y: 3}\n  same: *base\n"
    spec = load_text(text)[0].spec
    assert (spec["other"], spec["same"]) == ({"x": 1, "y": 3}, {"x": 1, "y": 2})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [\n", "this is no YAML"),
        ("a: 1\na: 2\n", "<text>:2:1: the key 'a' is written twice"),
        ("1: 2\n", "the key '1' is no text; write it in quotes"),
        ("? [a]\n: b\n", "a key is a text; found a mapping or a list"),
        ("a: !!python/object/apply:os.system [x]\n", "is not read; write a plain value"),
        ("a: !!binary aGk=\n", "is not read; write a plain value"),
        ("a: &a [*a]\n", "the alias *a stands for nothing that is complete before it"),
        ("a: *b\n", "the alias *b stands for nothing"),
        ("a: " + "[" * 500, "values are nested more than 64 deep"),
        ("a: {<<: 3}\n", "'<<' merges a mapping or a list of mappings"),
        ("\x00", "this is no YAML"),
        ("- 3\n", "a manifest is a mapping with apiVersion, kind and metadata; found a number, '3'"),
        (AGENT.replace("spec", "spek"), "spek: unknown field 'spek'"),
        (AGENT.replace("Agent", "Agnet"), "there is no kind 'Agnet'"),
        (AGENT.replace("stategraph.dev", "kagent.dev"), "'kagent.dev/v1' is no apiVersion of Agent"),
        (AGENT.replace("stategraph.dev/v1", "stategraph.dev/v9"), "is no apiVersion of Agent"),
        (AGENT.replace("name: a", "nam: a"), "did you mean 'name'?"),
        (AGENT.replace("name: a", "name: A_b"), "metadata.name: this is no name; found 'A_b'"),
        (AGENT.replace("name: a", "name: 3"), "the name is no text; write it in quotes; found a number, '3'"),
        (AGENT.replace("name: a", "name: a, labels: {x: 1}"), "metadata.labels.x: 'x' is no text"),
        (AGENT.replace("{name: a}", "a"), "the field 'metadata' is required"),
        ("apiVersion: stategraph.dev/v1\nkind: Agent\nmetadata: {name: a}\nspec: [1]\n", "the spec is no mapping"),
        (AGENT.replace("kind: Agent\n", ""), "the field 'kind' is required"),
        (AGENT.replace("kind: Agent", "kind: [Agent]"), "the field 'kind' is no text; found a list"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place(text: str, told: str) -> None:
    problems = refused(text)
    assert any(told in each for each in problems), problems
    assert all(each.startswith("<text>:") for each in problems)


def test_an_unknown_field_has_line_column_expectation_and_suggestion() -> None:
    (told,) = refused(AGENT.replace("spec:", "spek:"))
    expected = "expected one of apiVersion, kind, metadata, spec, status; did you mean 'spec'?"
    assert told == f"<text>:4:1: spek: unknown field 'spek'; {expected}"


def test_a_few_aliases_cannot_stand_for_gigabytes() -> None:
    lines = ["a0: &a0 [" + ",".join(["lol"] * 9) + "]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    (told,) = refused("\n".join(lines))
    assert "with its aliases the file stands for more than 4,194,304 characters" in told


def test_files_and_numbers_of_documents_have_bounds(tmp_path: Path) -> None:
    assert refused("#" * (MAX_BYTES + 1)) == ["<text>:1: the manifest is larger than 1,048,576 bytes"]
    many = "\n---\n".join(AGENT.replace("name: a", f"name: a{n}") for n in range(1001))
    with pytest.raises(ManifestError) as error:
        load_text(many)
    assert [str(each) for each in error.value.problems] == ["<text>:1: the file has more than 1,000 documents"]
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * (MAX_BYTES + 1))
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"a: \xe4")
    with pytest.raises(ManifestError) as several:
        load(tmp_path)
    assert "larger than 1,048,576 bytes" in str(several.value)
    assert "latin.yaml:1: the file is not UTF-8" in str(several.value)
    with pytest.raises(ManifestError, match="cannot be read: No such file"):
        load(tmp_path / "none.yaml")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ManifestError, match="the folder has no manifests"):
        load(tmp_path / "empty")


def test_what_is_right_beside_a_problem_is_handed_over(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(AGENT)
    (tmp_path / "b.yaml").write_text("a: [")
    (tmp_path / ".hidden.yaml").write_text("a: [")
    with pytest.raises(ManifestError) as error:
        load(tmp_path)
    assert [each.name for each in error.value.resources] == ["a"]
    assert len(error.value.problems) == 1


def test_two_declarations_of_one_name_are_refused_unless_they_are_the_same() -> None:
    assert len(load_text(f"{AGENT}---\n{AGENT}")) == 2
    other = AGENT.replace("two", "three")
    assert "agent/default/a is declared twice, differently" in refused(f"{AGENT}---\n{other}")[0]


def test_kinds_that_may_yet_be_defined_are_kept_and_ours_are_not_guessed() -> None:
    (found,) = load_text("apiVersion: mastra.ai/v1alpha1\nkind: DataSource\nmetadata: {name: a}\nspec: {x: 1}\n")
    assert (str(found.key), found.api_version) == ("datasource/default/a", "mastra.ai/v1alpha1")


def test_aliases_of_kinds_become_the_kind_itself() -> None:
    (found,) = load_text("apiVersion: mastra.ai/v1\nkind: LLM\nmetadata: {name: a}\nspec: {}\n")
    assert (found.kind, found.api_version, str(found.key)) == ("Model", "stategraph.dev/v1", "model/default/a")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(min_size=1), JSON, max_size=5))
def test_the_normal_form_is_read_back_as_it_was(spec: dict[str, object]) -> None:
    resource = Resource("stategraph.dev/v1", "Agent", Metadata("a", "cooking", {"x": "yes"}), spec)
    (read,) = load_text(dump(resource))
    assert (read.spec, read.metadata, read.key) == (spec, resource.metadata, resource.key)


def test_places_below_a_field_are_named_from_there() -> None:
    source = Source("f", 1, {("items", 0): (2, 3), ("items", 0, "kind"): (2, 5), ("kind",): (1, 1)})
    assert documents.below(source, ("items", 0)) == Source("f", 2, {(): (2, 3), ("kind",): (2, 5)})


def test_a_tab_in_the_indentation_is_named() -> None:
    (told,) = refused("apiVersion: stategraph.dev/v1\nkind: Agent\nmetadata:\n\tname: a\n")
    assert told.endswith(":4:1: the line is indented with a tab; indent with spaces")
