"""Cases from lists and files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stategraph.testing import AtMost, Case, Contains, Equals, LLMJudge, Regex, ToolCalled, cases_of

ROWS: list[dict[str, Any]] = [
    {"name": "moon", "input": "Why?", "expected": "moon", "tags": ["sea", "sky"], "checks": [{"contains": "moon"}]},
    {
        "input": {"q": 1},
        "metadata": {"from": "a log"},
        "checks": {"regex": "^.$", "tool_called": {"name": "find", "args": {"q": 1}}, "judge": "It is kind."},
    },
]

CASES = [
    Case("Why?", "moon", "moon", (Contains("moon"),), ("sea", "sky")),
    Case(
        {"q": 1},
        name='{"q": 1}',
        evaluators=(Regex("^.$"), ToolCalled("find", {"q": 1}), LLMJudge("It is kind.")),
        metadata={"from": "a log"},
    ),
]

YAML = """\
- name: moon
  input: Why?
  expected: moon
  tags: sea, sky
  checks: [{contains: moon}]
- input: {q: 1}
  metadata: {from: a log}
  checks:
    regex: ^.$
    tool_called: {name: find, args: {q: 1}}
    judge: It is kind.
"""


def file(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_lists_and_files_have_the_same_cases(tmp_path: Path) -> None:
    assert cases_of(ROWS) == CASES
    assert cases_of(CASES) == CASES
    lines = "\n\n".join(json.dumps(row) for row in ROWS)
    for path in (
        file(tmp_path, "a.jsonl", lines),
        file(tmp_path, "a.json", json.dumps(ROWS)),
        file(tmp_path, "a.yaml", YAML),
    ):
        assert cases_of(path) == cases_of(str(path)) == CASES


def test_a_csv_file_has_checks_in_columns_of_their_names_and_the_rest_as_metadata(tmp_path: Path) -> None:
    text = (
        "\ufeffname,input,expected,tags,contains,equals,at_most,owner\n"
        'moon,"Why, and how?",,sea sky,moon,,"{""tokens"": 9}",Ada\n'
        ",Tea?,yes,,,yes,,\n"
    )
    assert cases_of(file(tmp_path, "a.csv", text)) == [
        Case("Why, and how?", None, "moon", (Contains("moon"), AtMost(tokens=9)), ("sea", "sky"), {"owner": "Ada"}),
        Case("Tea?", "yes", "Tea?", (Equals("yes"),)),
    ]


def test_texts_of_json_lines_may_have_any_character(tmp_path: Path) -> None:
    texts = ["a\u2028b", "a\u0085b", "a\u2029b\x7f"]
    lines = "\r\n".join(json.dumps({"input": each}, ensure_ascii=False) for each in texts)
    assert [each.input for each in cases_of(file(tmp_path, "a.jsonl", lines))] == texts


def test_cases_are_chosen_by_tags() -> None:
    cases = [Case("a", tags=("x",)), Case("b", tags=("y", "z")), Case("c")]
    assert [each.input for each in cases_of(cases, tags=["z", "x"])] == ["a", "b"]
    with pytest.raises(ValueError, match="No case has a tag of q; tags of the cases: x, y, z"):
        cases_of(cases, tags=["q"])


def test_names_are_made_of_inputs_and_no_two_are_the_same() -> None:
    cases = [Case("a"), Case("a"), Case("b", name="a (2)"), Case("x " * 99), Case("")]
    assert [each.name for each in cases_of(cases)] == ["a", "a (3)", "a (2)", ("x " * 30), "empty"]
    with pytest.raises(ValueError, match="Several cases are named twice"):
        cases_of([Case("a", name="twice"), Case("b", name="twice")])


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (7, "case 1 is int; expected an object with 'input'"),
        ({"inputs": 1}, "case 1 has unknown fields: inputs; known are input, expected, name"),
        ({"expected": 1}, "case 1 has no 'input'"),
        ({"input": 1, "checks": "moon"}, "case 1: 'checks' is str; expected a list of objects such as"),
        ({"input": 1, "checks": ["moon"]}, "case 1: a check is 'moon'; expected an object such as"),
        ({"input": 1, "checks": {"has": 1}}, "case 1: the check 'has' is not known; known are equals, contains"),
        ({"input": 1, "checks": {"regex": "("}}, "case 1: the check 'regex' cannot be '(': Regex('(') is no regular"),
        ({"input": 1, "checks": {"at_most": {"minutes": 1}}}, "case 1: the check 'at_most' cannot be {'minutes': 1}"),
    ],
)
def test_a_row_that_is_not_as_it_should_be_is_told_in_a_sentence(row: Any, said: str) -> None:
    with pytest.raises(ValueError) as error:
        cases_of([row])
    assert str(error.value).startswith(said)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.jsonl", '{"input": 1}\n{', "a.jsonl, line 2 is no JSON"),
        ("a.jsonl", '{"input": 1}\n\n{"in": 1}', "a.jsonl, line 3 has unknown fields"),
        ("a.json", "{}", "a.json has dict; expected a list of cases"),
        ("a.yaml", "a: [", "a.yaml is no YAML"),
        ("a.csv", "input\na,b\n", "a.csv, line 2: there are more values than columns"),
        ("a.csv", "input,at_most\na,{\n", "a.csv, line 2, at_most is no JSON"),
        ("a.csv", "input, Expected\na,b\n", "a.csv, line 2: the column 'Expected' is not known, but 'expected' is"),
        ("a.csv", "input,Contains\na,\n", "a.csv, line 2: the column 'Contains' is not known, but 'contains' is"),
        ("a.csv", "input\n", "There are no cases in"),
        ("a.txt", "", "a.txt: expected .jsonl, .json, .csv or .yaml"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_with_its_line(tmp_path: Path, name: str, text: str, said: str) -> None:
    with pytest.raises(ValueError) as error:
        cases_of(file(tmp_path, name, text))
    assert said in str(error.value)
