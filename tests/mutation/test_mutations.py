"""The changes that `make mutants` makes to source code."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.mutation import mutations

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.parametrize(
    ("source", "kind", "changed"),
    [
        ("def f(a, b):\n    return a < b", "compare", "def f(a, b):\n    return (a <= b)"),
        ("def f(a, b):\n    return a and b", "operand", "def f(a, b):\n    return (b)"),
        ("def f(a, b):\n    return a and b", "and-or", "def f(a, b):\n    return (a or b)"),
        ("def f(a):\n    return a(key=1)", "keyword", "def f(a):\n    return (a())"),
        ("def f(a):\n    return not a", "negate", "def f(a):\n    return (a)"),
        ("def f(a):\n    return [x for x in a if x]", "negate", "def f(a):\n    return [x for x in a if (not x)]"),
        ("def f(a):\n    a.close()", "delete", "def f(a):\n    pass"),
        ("def f(a):\n    return 1 if a else 2", "swap", "def f(a):\n    return (2 if a else 1)"),
        ("def f(a=True):\n    return a", "boolean", "def f(a=(False)):\n    return a"),
        ("with lock:\n    a = 1", "lock", "if True:\n    a = 1"),
        ("try:\n    a = 1\nfinally:\n    b = 2", "finally", "if True:\n    a = 1"),
        ("try:\n    a = 1\nexcept E:\n    b = 2", "except", "try:\n    a = 1\nexcept E:\n    raise"),
    ],
)
def test_a_kind_of_change_is_made(source: str, kind: str, changed: str) -> None:
    assert changed in [mutation.apply(source) for mutation in mutations.find(source).values() if mutation.kind == kind]


def test_text_that_changes_no_behaviour_is_left_alone() -> None:
    source = '"""Text."""\nimport a\nif TYPE_CHECKING:\n    b = 1\nclass P(Protocol):\n    c = 1\n'
    source += "def __repr__(d):\n    return 1"
    assert mutations.find(source) == {}


def test_none_is_not_returned_in_place_of_false() -> None:
    kinds = {
        source: [m.kind for m in mutations.find(f"def f():\n    return {source}").values()] for source in ("False", "a")
    }
    assert kinds == {"False": ["boolean"], "a": ["return"]}


def test_every_name_of_a_change_stays_when_lines_are_added_before_it() -> None:
    source = (ROOT / "stategraph" / "core" / "plan.py").read_text(encoding="utf-8")
    assert list(mutations.find(source)) == list(mutations.find("# a line\n" + source))


def test_most_changes_of_a_real_file_compile_and_differ() -> None:
    source = (ROOT / "stategraph" / "core" / "output.py").read_text(encoding="utf-8")
    found = mutations.find(source)
    real = [mutation for mutation in found.values() if mutations.is_change(source, mutation)]
    assert len(real) > 0.95 * len(found) > 40
    assert all(ast.parse(mutation.apply(source)) for mutation in real)
