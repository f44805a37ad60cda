"""Cases of an evaluation as tests of pytest."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

import stategraph.testing  # noqa: F401 - once, and not in each of the runs below

pytest_plugins = ["pytester"]

#: Another test of this session may have imported the plug-in.
REWRITTEN = "-Wignore::pytest.PytestAssertRewriteWarning"

PROJECT = """
import pytest


@pytest.mark.evaluation_cases("cases.jsonl", tags=["short"])
def test_case(case, evaluate_case):
    result = evaluate_case(str.upper, case, repetitions=2, threshold=0.5)
    assert result.passes == 2


@pytest.mark.evaluation_cases([{"input": "tea", "expected": "TEA"}])
def test_list(case):
    assert case.input.upper() == case.expected


@pytest.mark.evaluation_cases("none.jsonl")
def test_needs_no_case():
    pass
"""


def played(pytester: pytest.Pytester, *options: str, **files: str) -> pytest.RunResult:
    pytester.makepyfile(**files)
    rows = [{"input": each, "expected": "TEA", "tags": ["short"]} for each in ("tea", "milk")]
    (pytester.path / "cases.jsonl").write_text("\n".join(map(json.dumps, [*rows, {"input": "long"}])))
    always = ("-p", "stategraph.pytest_plugin", "-p", "no:cacheprovider", "--strict-markers", "-Werror", REWRITTEN)
    return pytester.runpytest_inprocess(*always, *options)


def test_a_test_is_run_for_each_case_and_its_figures_are_in_the_junit_file(pytester: pytest.Pytester) -> None:
    done = played(pytester, "--junitxml=it.xml", test_it=PROJECT)
    done.assert_outcomes(passed=3, failed=1)
    done.stdout.fnmatch_lines(
        ["*FAILED: 0 of 2 attempts at 1 case passed (0%, threshold 50%)*", "*Equals: 'MILK' is not 'TEA'*"]
    )
    told = {each.get("name"): each for each in ElementTree.parse(pytester.path / "it.xml").iter("testcase")}
    for name, rate in (("test_case[tea]", "1.0"), ("test_case[milk]", "0.0")):
        figures = {each.get("name"): each.get("value") for each in told[name].iter("property")}
        assert list(figures) == ["pass_rate", "duration_s", "total_tokens", "cost"]
        assert figures["pass_rate"] == rate


def test_cases_that_are_not_there_are_told_with_the_test(pytester: pytest.Pytester) -> None:
    given = {"file": '"none.jsonl"', "tag": '"cases.jsonl", tags=["cold"]', "nothing": ""}
    test = "import pytest\n\n@pytest.mark.evaluation_cases({})\ndef test_it(case):\n    pass\n"
    done = played(pytester, **{f"test_{name}": test.format(arguments) for name, arguments in given.items()})
    assert done.ret != 0
    said = done.stdout.str()
    assert "test_file.py::test_it: evaluation_cases: [Errno 2] No such file or directory" in said
    assert "test_tag.py::test_it: evaluation_cases: No case has a tag of cold; tags of the cases: short" in said
    assert "test_nothing.py::test_it: evaluation_cases: " in said
    assert "missing 1 required positional argument: 'source'" in said
