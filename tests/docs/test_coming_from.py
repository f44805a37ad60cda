"""The page on coming from another framework shows the programs that are run, and the versions that are pinned."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.coming_from.page import PAGE, ROOT, Pair, pairs, shown
from tests.coming_from.scripts import SCRIPTS

PAIRS = pairs()
TEXT = PAGE.read_text(encoding="utf-8")


def test_each_program_has_its_section() -> None:
    assert sorted(pair.path for pair in PAIRS) == sorted((ROOT / "examples" / "coming_from").glob("*.py"))
    assert {pair.name for pair in PAIRS} == set(SCRIPTS)


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_the_page_shows_the_program_as_it_is(pair: Pair) -> None:
    assert pair.after == shown(pair.path)


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair.language == "python"], ids=lambda pair: pair.name)
def test_the_program_before_needs_nothing_of_this_package(pair: Pair) -> None:
    imported = [each for each in ast.walk(ast.parse(pair.before)) if isinstance(each, ast.ImportFrom)]
    assert imported
    assert [each.module for each in imported if (each.module or "").startswith("stategraph")] == []


def test_the_table_says_something_of_each_framework_and_expectation() -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in TEXT.splitlines()
        if re.match(r"\| \d", line)
    ]
    assert [int(row[0].split(" ")[0]) for row in rows] == list(range(1, 11))
    assert {len(row) for row in rows} == {7}
    assert all(cell for row in rows for cell in row)


def _pinned(file: Path) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)(?:\[\S+\])?==(\S+)", file.read_text(encoding="utf-8"), re.MULTILINE))


def test_the_versions_on_the_page_are_those_that_are_run() -> None:
    pinned = _pinned(ROOT / "requirements" / "peers.txt")
    for name in ("openai-agents", "pydantic-ai-slim", "langchain"):
        assert f"`{name}` {pinned[name]}" in TEXT
    for name in ("@mastra/core", "@librechat/agents"):
        (version,) = set(re.findall(rf"{name}(?:@|` )([\d.]+\d)", TEXT))
        assert f"`{name}` {version}" in TEXT
        assert f"{name}@{version} " in TEXT
