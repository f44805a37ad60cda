"""The guards of `scripts/shape.py`: each notices what it is for."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"


@pytest.fixture
def shape(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    for name in ("shape", "twins"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import shape  # type: ignore[import-not-found]

    return shape


def module(shape: Any, name: str, text: str) -> Any:
    return shape.Module(name, Path(f"{name}.py"), shape.twins.parse(dedent(text)))


def function(text: str) -> Any:
    return ast.parse(dedent(text)).body[0]


def test_a_docstring_does_not_make_a_function_long(shape: Any) -> None:
    assert shape.length(function('def f():\n    """One.\n\n    Two.\n    """\n    return 1\n')) == 2


def test_each_branch_and_each_condition_is_a_way_through_a_function(shape: Any) -> None:
    text = """
        def f(a, b):
            if a and b:
                return [x for x in a if x]
            for x in a:
                def g():
                    return 1 if x else 2
    """
    assert shape.complexity(function(text)) == 6


def test_self_is_no_parameter(shape: Any) -> None:
    assert shape.parameters(function("def f(self, a, /, b, *c, d=1, **e): ...")) == 5


def test_methods_and_nested_functions_have_qualified_names_and_overloads_are_left_out(shape: Any) -> None:
    text = """
        class A:
            @overload
            def f(self): ...
            def f(self):
                def g(): ...
    """
    assert [name for name, _ in shape.functions_of(ast.parse(dedent(text)))] == ["A.f", "A.f.g"]


@pytest.mark.parametrize(
    "back",
    ["import a.x", "from a import x", "def f():\n    from a.x import g", "if TYPE_CHECKING:\n    from a.x import G"],
)
def test_a_circle_of_imports_is_found_wherever_the_import_stands(shape: Any, back: str) -> None:
    modules = [module(shape, "a.x", "from a import y"), module(shape, "a.y", back)]
    (found,) = shape.circles(modules)
    assert "a.x" in found
    assert "a.y" in found
    assert list(shape.circles([modules[0], module(shape, "a.y", "import ast")])) == []


def test_what_exceeds_a_limit_is_a_problem_unless_it_was_known(shape: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(shape.KNOWN, "lines", {"old": 90, "better": 90, "gone": 90})
    report = shape.Report()
    report.hold("lines", [("new", 81), ("old", 91), ("better", 85), ("fine", 80)])
    assert report.problems == ["new: lines: 81, at most 80", "old: lines: 91, at most 90"]
    assert report.slack == ["lines: better has 85, KNOWN says 90", "lines: gone is in KNOWN and is not there"]


def test_a_count_may_only_fall(shape: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(shape.COUNTS, "doors", 3)
    report = shape.Report()
    report.count("doors", 4)
    report.count("doors", 2)
    assert report.problems == ["doors: 4, at most 3"]
    assert report.slack == ["doors: 2, COUNTS says 3"]


def test_question_words_are_counted_at_the_beginning_of_docstrings(shape: Any) -> None:
    text = '"""What it does."""\ndef f():\n    """Whether so."""\nclass A:\n    """Say what it does."""\n'
    assert shape.questions(module(shape, "a", text)) == 2


def test_lines_of_twins_are_compared_without_the_marks_of_async(shape: Any) -> None:
    parse = shape.twins.parse
    sync = "def f(a):\n    b = g(a)\n    return b\ndef g(a):\n    return a\n"
    twin = "async def af(a):\n    b = await ag(a)\n    return b\nasync def ag(a):\n    return a + 1\n"
    assert shape.twins.common_lines({"m": parse(sync + twin)}) == 2
    classes = "class X:\n    def f(self):\n        return 1\nclass AsyncX:\n    async def f(self):\n        return 1\n"
    assert shape.twins.common_lines({"m": parse(classes)}) == 1
    arun = "async def f(a):\n    b = await g(a)\n    return b\n"
    assert shape.twins.common_lines({"p.run": parse(sync), "p.arun": parse(arun)}) == 2


def test_lines_of_code_are_neither_blank_nor_comments_nor_docstrings(shape: Any) -> None:
    text = '"""Text."""\n\n# why\nx = 1\ndef f():\n    """Text.\n\n    More.\n    """\n    return x\n'
    assert shape.twins.code_lines(shape.twins.parse(text)) == ["x = 1", "def f():", "    return x"]
