"""Policy: rules in CEL about what agents may do.

The document is that of policy files (docs/policies.md), and read by the same code: here it is only described.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from stategraph.resources.kinds.base import Spec, TargetSpec


class PolicyRule(Spec):
    """A rule of a policy."""

    name: str = Field(description="Unique in the policy.")
    description: str | None = Field(default=None, description="For people.")
    at: tuple[str, ...] | None = Field(default=None, description="The points at which it applies.")
    tools: tuple[str, ...] | None = Field(default=None, description="Patterns of tools.")
    when: str | None = Field(default=None, description="Its condition in CEL.")
    then: dict[str, Any] = Field(description="What is decided if it matches.")


class PolicySpec(TargetSpec):
    """Rules about what agents may do; see docs/policies.md for the language."""

    mode: Literal["enforce", "evaluate_only"] = Field(
        default="enforce", description="Whether decisions have an effect."
    )
    defaults: dict[str, str] = Field(default_factory=dict, description="Decisions where no rule matches.")
    data: dict[str, Any] = Field(default_factory=dict, description="Constants that conditions read as `data`.")
    flow: dict[str, Any] | None = Field(default=None, description="The information flow.")
    budgets: dict[str, Any] | None = Field(default=None, description="Limits over the tree of a run.")
    rules: tuple[PolicyRule, ...] = Field(default=(), description="The rules in order; the first that matches decides.")
