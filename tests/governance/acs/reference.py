"""The cases on the reference implementation, in an environment with `agent-control-specification`.

    .venv-acs/bin/python -m tests.governance.acs.reference

Prints a list of results as JSON.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict

from agent_control_specification import (
    AgentControl,
    AgentControlBlocked,
    ApprovalOutcome,
    ApprovalResolution,
    EnforcementMode,
    InterventionPoint,
    InterventionPointRequest,
    NativeRuntimeClient,
)

from tests.governance.acs.cases import Result, load


class Annotators:
    """Annotators that return what a case says."""

    def __init__(self, case: dict) -> None:
        self.case = case
        self.asked: list[str] = []

    def dispatch(self, name: str, config: object, given: object) -> object:
        self.asked.append(name)
        match self.case.get("annotator_behavior"):
            case "error":
                raise RuntimeError("the annotator failed")
            case "timeout":
                raise TimeoutError("timeout")
        return self.case["annotator_outputs"][name]


class Policies:
    """An engine that returns what a case says."""

    def __init__(self, case: dict) -> None:
        self.case = case

    def evaluate(self, invocation: object) -> object:
        if self.case.get("policy_behavior") == "error":
            raise RuntimeError("the engine of the policy failed")
        return self.case["policy_response"]


async def run(case: dict) -> Result:
    """Run a case."""
    if case.get("limits"):
        return Result(skipped="its Python interface sets no limits")
    annotators = Annotators(case)
    try:
        client = NativeRuntimeClient(case["manifest_yaml"], annotators, Policies(case))
    except Exception:
        return Result("deny", "runtime_error:manifest_invalid")
    if case["operation"] == "build":
        return Result("allow")
    point = InterventionPoint(case["intervention_point"])
    mode = EnforcementMode(case.get("mode", "enforce"))
    if case["operation"] == "approval_action_mismatch":
        return await mismatch(client, point, case)
    done = await client.evaluate_intervention_point(InterventionPointRequest(point, case["snapshot"], mode))
    given = done.policy_input or {}
    return Result(
        decision=done.verdict.decision.value,
        reason=done.verdict.reason,
        message=done.verdict.message,
        policy_target=given["policy_target"]["value"] if given else None,
        transformed=done.transformed_policy_target_applied,
        transformed_policy_target=done.transformed_policy_target,
        tool_name=(given.get("tool") or {}).get("name"),
        annotations=dict(given.get("annotations", {})),
        annotator_order=annotators.asked,
        action_identity=done.enforced_identity,
    )


async def mismatch(client: NativeRuntimeClient, point: InterventionPoint, case: dict) -> Result:
    """Run a case in which another action was approved."""

    def resolve(*_: object) -> ApprovalResolution:
        return ApprovalResolution(ApprovalOutcome.ALLOW, action_identity="sha256:" + "0" * 64)

    control = AgentControl(client, approval_resolver=resolve)
    request = InterventionPointRequest(point, case["snapshot"], EnforcementMode.ENFORCE)
    try:
        await control.enforce(point, await client.evaluate_intervention_point(request), EnforcementMode.ENFORCE)
    except AgentControlBlocked as blocked:
        return Result(blocked.result.verdict.decision.value, blocked.result.verdict.reason)
    return Result("allow")


async def main() -> None:
    """Run all cases."""
    print(json.dumps([{"id": case["id"], **asdict(await run(case))} for case in load()]))


if __name__ == "__main__":
    asyncio.run(main())
