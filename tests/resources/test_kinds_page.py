"""The page on kinds: every document on it is read and fits its kind, and every kind of this package is on it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stategraph.resources import KINDS, load_text
from stategraph.resources.compile.workflows import checks, normal
from stategraph.resources.kinds.workflow import WorkflowSpec
from stategraph.resources.schema import check

PAGE = Path(__file__).resolve().parents[2] / "docs" / "resource-kinds.md"
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("text", BLOCKS)
def test_documents_fit_their_kinds(text: str) -> None:
    for resource in load_text(text):
        assert check(resource, kinds=KINDS, environment={}) == []
        if resource.kind == "Workflow":
            spec = WorkflowSpec.model_validate(resource.spec)
            assert checks.problems_of(normal.expanded(spec)) == []


def test_every_kind_of_what_runs_has_an_example() -> None:
    shown = {resource.kind for text in BLOCKS for resource in load_text(text)}
    assert shown >= {
        "Model",
        "Tool",
        "MCPServer",
        "Agent",
        "Skill",
        "Workflow",
        "Network",
        "Policy",
        "Budget",
        "Secret",
        "Worker",
        "Schedule",
        "System",
    }
