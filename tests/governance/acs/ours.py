"""One case of the specification on this package's points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stategraph.governance.policy import limits, points
from stategraph.governance.policy.normalization import verdict_of
from stategraph.governance.policy.verdict import InterventionPoint, Snapshot, Verdict
from tests.governance.acs.cases import Result
from tests.governance.acs.manifest import ManifestInvalid, setup_of

_LIMITS = {
    "max_snapshot_bytes": "snapshot_bytes",
    "max_policy_input_depth": "depth",
    "max_annotators_per_point": "annotators",
    "max_annotator_output_bytes": "annotation_bytes",
    "max_policy_output_bytes": "output_bytes",
}


@dataclass
class Dispatcher:
    """A policy of another engine that returns what the case says."""

    case: dict
    digest: str = "0" * 64

    def decide(self, point: InterventionPoint, snapshot: Snapshot, /) -> Verdict:
        if self.case.get("policy_behavior") == "error":
            raise RuntimeError("the engine of the policy failed")
        return verdict_of(self.case["policy_response"])


def run(case: dict) -> Result:
    """Run a case."""
    asked = list[str]()

    def annotate(name: str, value: Any, policy_input: Any, /) -> Any:
        asked.append(name)
        match case.get("annotator_behavior"):
            case "error":
                raise RuntimeError("the annotator failed")
            case "timeout":
                raise TimeoutError
        return case["annotator_outputs"][name]

    given = case.get("limits", {})
    if unknown := given.keys() - _LIMITS.keys():
        return Result(skipped=f"limits of manifests that are merged: {', '.join(unknown)}")
    limit = limits.Limits(**{_LIMITS[name]: value for name, value in given.items()})
    try:
        setup = setup_of(
            case["manifest_yaml"], annotate=annotate, enforce=case.get("mode") != "evaluate_only", limit=limit
        )
    except ManifestInvalid:
        return Result("deny", "runtime_error:manifest_invalid")
    if case["operation"] == "build":
        return Result("allow")
    done = points.evaluate(Dispatcher(case), case["intervention_point"], case["snapshot"], setup)
    verdict = done.verdict
    if case["operation"] == "approval_action_mismatch":
        verdict = points.confirmed(done, "sha256:" + "0" * 64)
    policy_input = done.policy_input or {}
    return Result(
        decision=verdict.decision.value,
        reason=verdict.reason,
        message=verdict.message,
        policy_target=policy_input["policy_target"]["value"] if policy_input else None,
        transformed=done.transformed,
        transformed_policy_target=done.target if done.transformed else None,
        tool_name=(policy_input.get("tool") or {}).get("name"),
        annotations=policy_input.get("annotations", {}),
        annotator_order=asked,
        action_identity=done.enforced_identity,
    )
