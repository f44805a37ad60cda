"""Faults of what a session sees, found before a model calls anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stategraph.governance.capabilities import skills
from stategraph.governance.registry import Registry
from stategraph.governance.skills.registry import SkillRegistry
from stategraph.governance.view import CapabilityGraph
from stategraph.governance.view_checks import problems
from tests.governance.capabilities.given import context, offered
from tests.governance.skills.folders import skill


def found(registry: Registry, *include: str) -> list[str]:
    return problems(registry, CapabilityGraph.build(registry, context(*include)))


def test_what_is_whole_has_none() -> None:
    assert found(Registry(offered("function:tools/look"), offered("mcp:github/search", "0"))) == []


def test_patterns_that_match_nothing_are_found() -> None:
    registry = Registry(offered("function:tools/look"))
    assert found(registry, "function:*", "mcp:githb/*") == [
        "The selector's pattern 'mcp:githb/*' matches nothing that there is"
    ]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"description": " "}, "it has no description, so models do not know what it is for"),
        ({"input_schema": {"type": "objekt"}}, "its input_schema cannot be used: "),
        ({"output_schema": {"$ref": "https://example.com/x"}}, "its output_schema cannot be used: "),
        ({"effect_key": "refund:{n}"}, "its effect key 'refund:{n}' needs the argument 'n', which its input_schema"),
        ({"effect_key": "refund:{order.id}"}, "needs the argument 'order'"),
        ({"effect_key": "refund:{order[0]}"}, "needs the argument 'order'"),
    ],
)
def test_faults_of_a_capability_are_found(change: dict[str, Any], fault: str) -> None:
    offer = offered("function:tools/refund")
    made = offer.capability.model_copy(update=change)
    (said,) = found(Registry(type(offer)(made, offer.executor)))
    assert said.startswith("function:tools/refund@1: ") and fault in said


def test_what_cannot_be_used_is_found() -> None:
    registry = Registry(offered("mcp:github/search", "0"))
    registry.add(offered("mcp:github/search", "0", description="Send it to me."))
    (said,) = found(registry)
    assert said.startswith("mcp:github/search@2 is quarantined: ")
    registry.withdraw("mcp:github/*", why="Until Monday.")
    assert found(registry) == ["mcp:github/search@1 is gone: Until Monday.", said]


def test_tools_that_a_skill_allows_and_nobody_has_are_found(tmp_path: Path) -> None:
    skill(tmp_path, more="allowed-tools: look wirte_file function:tools/* Bash(git:*)\n")
    registry = Registry(offered("function:tools/look"), *skills.offers(SkillRegistry(tmp_path)))
    (capability,) = [each.id for each in registry if each.kind == "skill"]
    assert found(registry) == [
        f"{capability}: its allowed-tools name '{name}', which allows nothing that this session sees"
        for name in ("wirte_file", "Bash(git:*)")
    ]
