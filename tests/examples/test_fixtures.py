"""The examples of the test kit's fixtures pass, and there is one for each fixture."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("langchain_openai")

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples" / "fixtures"
NO_OPTIONS = "addopts="


def test_the_examples_of_fixtures_pass() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-o", NO_OPTIONS, "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "-p", "stategraph.pytest_plugin", str(FOLDER)], capture_output=True, text=True, timeout=300
    )
    assert "8 passed" in done.stdout, done.stdout + done.stderr


def test_each_fixture_has_an_example() -> None:
    source = (ROOT / "stategraph" / "pytest_plugin.py").read_text(encoding="utf-8")
    fixtures = re.findall(r"@pytest\.fixture\ndef (\w+)", source)
    assert len(fixtures) >= 5
    examples = (FOLDER / "test_agent.py").read_text(encoding="utf-8")
    assert [name for name in fixtures if f"def test_{name}(" not in examples] == []
