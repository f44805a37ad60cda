"""The cases of the specification, and what is wrong with a result.

This file uses the standard library alone, so that the reference's environment can import it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Result:
    """What a runtime returned, in the words of the cases; `skipped` says why a case was not run."""

    decision: str | None = None
    reason: str | None = None
    message: str | None = None
    policy_target: Any = None
    transformed: bool = False
    transformed_policy_target: Any = None
    tool_name: str | None = None
    annotations: dict = field(default_factory=dict)
    annotator_order: list = field(default_factory=list)
    action_identity: str | None = None
    skipped: str | None = None


def load() -> list[dict]:
    """Return the 25 cases and the 14 of fail-closed parity, in one form."""
    cases = [json.loads(file.read_text("utf-8")) for file in sorted((HERE / "cases").glob("*.json"))]
    parity = json.loads((HERE / "fail_closed_error_parity.json").read_text("utf-8"))
    for case in parity["cases"]:
        expected = {"decision": "deny", "reason": case["expected_reason"], "transformed_policy_target": None}
        cases.append({**case, "expected": expected})
    return cases


def reserved() -> list[str]:
    """Return the reasons that the parity file reserves."""
    return json.loads((HERE / "fail_closed_error_parity.json").read_text("utf-8"))["reserved_reasons"]


def problems(case: dict, result: Result) -> list[str]:
    """Return what differs from what a case expects; nothing: it passes."""
    expected, found = case["expected"], []
    for name in ("decision", "reason", "message", "policy_target", "tool_name", "annotations", "annotator_order"):
        if name in expected and getattr(result, name) != expected[name]:
            found.append(f"{name}: expected {expected[name]!r}, found {getattr(result, name)!r}")
    if "transformed_policy_target" in expected:
        wanted = expected["transformed_policy_target"]
        if result.transformed != (wanted is not None) or result.transformed_policy_target != wanted:
            found.append(f"transformed_policy_target: expected {wanted!r}, found {result.transformed_policy_target!r}")
    if "action_identity" in expected:
        present = bool(result.action_identity and result.action_identity.startswith("sha256:"))
        if present != (expected["action_identity"] == "present"):
            found.append(f"action_identity: expected {expected['action_identity']}, found {result.action_identity!r}")
    return found
