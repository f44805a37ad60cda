"""Manifests of the specification, as far as its cases go: points, bindings, catalogue of tools, annotators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stategraph.governance.policy import limits, paths, points
from stategraph.governance.policy.files import parse_yaml
from stategraph.governance.policy.verdict import InterventionPoint

MEMBERS = {
    "agent_control_specification_version",
    "metadata",
    "extends",
    "policies",
    "intervention_points",
    "tools",
    "annotators",
    "approval",
}


class ManifestInvalid(Exception):
    """A manifest that must not be used: `runtime_error:manifest_invalid`."""


def setup_of(text: str, *, annotate: points.Annotator | None, enforce: bool, limit: limits.Limits) -> points.Setup:
    """Return what a manifest configures.

    Raises:
        ManifestInvalid: It is not valid.
    """
    manifest = parse_yaml(text, "manifest")
    if not isinstance(manifest, Mapping) or manifest.keys() - MEMBERS:
        raise ManifestInvalid("unknown members")
    if not isinstance(manifest.get("agent_control_specification_version"), str):
        raise ManifestInvalid("no version")
    if manifest.get("extends"):
        raise ManifestInvalid("it extends others, which a text alone cannot be resolved with")
    configured = manifest.get("intervention_points")
    if not isinstance(configured, Mapping) or not configured:
        raise ManifestInvalid("no intervention points")
    return points.Setup(
        points={name: _point(name, each, manifest) for name, each in configured.items()},
        tools=manifest.get("tools", {}),
        annotate=annotate,
        enforce=enforce,
        limit=limit,
    )


def _point(name: str, body: Mapping[str, Any], manifest: Mapping[str, Any]) -> points.Point:
    if name not in list(InterventionPoint):
        raise ManifestInvalid(f"{name} is no intervention point")
    binding = body["policy"]
    policy = manifest.get("policies", {}).get(binding["id"])
    if policy is None:
        raise ManifestInvalid(f"{name} binds a policy that is not defined")
    if policy["type"] == "rego" and not (binding.get("query") or policy.get("query")):
        raise ManifestInvalid(f"{name}: a rego policy needs a query")
    if (at_tool := name.endswith("_tool_call")) != ("tool_name_from" in body):
        raise ManifestInvalid(f"{name}: tool_name_from belongs to tool points, and to no other")
    annotations = body.get("annotations", {})
    if unknown := annotations.keys() - manifest.get("annotators", {}).keys():
        raise ManifestInvalid(f"{name}: annotators that are not declared: {sorted(unknown)}")
    return points.Point(
        target=paths.parse(body["policy_target"]),
        kind=body.get("policy_target_kind"),
        tool_name=paths.parse(body["tool_name_from"]) if at_tool else None,
        annotations={each: paths.parse(given["from"]) for each, given in annotations.items()},
    )
