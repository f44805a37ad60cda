"""Evaluation at an intervention point: from a snapshot to a verdict, what goes on, and the identities of the action.

The order is that of section 6 of the Agent Control Specification: find the point, resolve the policy target, project
the tool, collect annotations, ask the policy, check the transform and apply it. A step that fails ends the evaluation
with a verdict that denies.

The canonical policy input has exactly five members: `intervention_point`, `policy_target` (`kind`, `path`, `value`),
`snapshot`, `annotations` and `tool`. `input_identity` is its SHA-256; `enforced_identity` is that of the input with the
transform applied. An approval is for one `enforced_identity`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from stategraph.governance.canonical import digest
from stategraph.governance.policy import limits, normalization, paths
from stategraph.governance.policy.reasons import RESERVED_PREFIX, DecisionFailed, RuntimeReason
from stategraph.governance.policy.snapshot import TARGETS
from stategraph.governance.policy.verdict import Decision, InterventionPoint, Policy, Snapshot, Transform, Verdict


class Annotator(Protocol):
    """Adds what a classifier or a judge says; called by the host before the policy, which itself does no I/O."""

    def __call__(self, name: str, value: Any, policy_input: Mapping[str, Any], /) -> Any:
        """Return the annotation of a value as JSON.

        Raises:
            TimeoutError: It took too long; denies with `runtime_error:annotation_timeout`.
            Exception: It failed; denies with `runtime_error:annotation_failed`.
        """


@dataclass(frozen=True, slots=True)
class Point:
    """Configuration of an intervention point: the paths of what it needs in a snapshot.

    Attributes:
        target: The policy target: what goes on, and what a transform may change.
        kind: Its name, such as `tool_args`; None: it has none.
        tool_name: The name of the tool, to be looked up in the catalogue; None: the tool is the snapshot's own.
        annotations: The names of annotators, and what each is given.
    """

    target: paths.Path
    kind: str | None = None
    tool_name: paths.Path | None = None
    annotations: Mapping[str, paths.Path] = field(default_factory=dict)


_KINDS: Final = {
    InterventionPoint.AGENT_STARTUP: "agent_startup",
    InterventionPoint.INPUT: "user_input",
    InterventionPoint.PRE_MODEL_CALL: "model_request",
    InterventionPoint.POST_MODEL_CALL: "model_response",
    InterventionPoint.PRE_TOOL_CALL: "tool_args",
    InterventionPoint.POST_TOOL_CALL: "tool_result",
    InterventionPoint.OUTPUT: "agent_output",
    InterventionPoint.AGENT_SHUTDOWN: "agent_shutdown",
}

POINTS: Final[Mapping[str, Point]] = {
    point: Point(paths.parse(f"$snap.{TARGETS[point]}"), kind) for point, kind in _KINDS.items()
}
"""The points of this package's own snapshots."""


@dataclass(frozen=True, slots=True)
class Setup:
    """Settings of evaluations.

    Attributes:
        points: The points that are configured; a point that is not there denies.
        tools: The catalogue in which a point with a `tool_name` finds the tool.
        annotate: Calls annotators; None: a point that has any denies.
        enforce: False: no verdict is enforced, whatever mode its policy has.
        limit: The bounds.
        identify: Returns whether the two identities are made, given the verdict; what is escalated always has them.
            None: they are always made. The snapshot has to have a canonical form either way.
    """

    points: Mapping[str, Point] = field(default_factory=lambda: POINTS)
    tools: Mapping[str, Any] = field(default_factory=dict)
    annotate: Annotator | None = None
    enforce: bool = True
    limit: limits.Limits = limits.DEFAULT
    identify: Callable[[Verdict], bool] | None = None


OWN: Final = Setup()


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Result of an evaluation.

    Attributes:
        verdict: The verdict.
        target: What goes on if it may: the policy target, with the transform applied where it is enforced. None: the
            evaluation failed before it was found.
        transformed: Whether `target` was changed.
        policy_input: What was decided on; None: the evaluation failed before it was built.
        input_identity: `sha256:` and the digest of `policy_input`; None: there is none, or `Setup.identify` wants none.
        enforced_identity: The same for what goes on; an approval is for this one.
    """

    verdict: Verdict
    target: Any = None
    transformed: bool = False
    policy_input: Mapping[str, Any] | None = None
    input_identity: str | None = None
    enforced_identity: str | None = None


def evaluate(policy: Policy, point: str, snapshot: Snapshot, setup: Setup = OWN) -> Evaluation:
    """Evaluate a policy at a point; never raises: what cannot be decided is denied.

    Args:
        policy: Decides. It is given the snapshot, with `annotations` where there are any.
        point: The name of the intervention point.
        snapshot: The facts, as JSON.
        setup: Where to find things, and the bounds.
    """
    built: dict[str, Any] = {}
    try:
        return _evaluate(policy, point, snapshot, setup, built)
    except DecisionFailed as failed:
        return _denied(policy, failed.reason, str(failed), setup, built.get("input"))


def confirmed(evaluation: Evaluation, approved_identity: str) -> Verdict:
    """Return the verdict about an action that was approved: it passes if it is the one that was approved.

    Args:
        evaluation: The action, evaluated anew now that it is to be carried out.
        approved_identity: The `enforced_identity` that the approval is for.

    Returns:
        Its verdict, with `allow` (or `transform`, where it has one) in place of `escalate` if the identities are equal;
        else one that denies with `runtime_error:approval_action_mismatch`. Other decisions stay as they are.
    """
    verdict = evaluation.verdict
    if verdict.decision is not Decision.ESCALATE:
        return verdict
    if evaluation.enforced_identity != approved_identity:
        return replace(
            verdict,
            decision=Decision.DENY,
            reason=RuntimeReason.APPROVAL_ACTION_MISMATCH.value,
            message="Another action was approved",
            approval=None,
            transform=None,
        )
    passes = Decision.ALLOW if verdict.transform is None else Decision.TRANSFORM
    return replace(verdict, decision=passes, approval=None)


def enforced_identity(point: InterventionPoint, snapshot: Snapshot, transform: Transform | None = None) -> str:
    """Return the identity of an action as it would be carried out.

    Args:
        point: The point.
        snapshot: Its snapshot, in this package's form.
        transform: The change that was enforced; None: none.

    Raises:
        ValueError: The snapshot is not JSON, or has no policy target, or the transform does not apply.
    """
    try:
        given = _input_of(point, POINTS[point], snapshot, {}, snapshot.get("tool"))
        return identity(given if transform is None else _with_transform(given, transform))
    except DecisionFailed as failed:
        raise ValueError(str(failed)) from failed


def identity(policy_input: Mapping[str, Any]) -> str:
    """Return the identity of a policy input: `sha256:` and 64 hex digits.

    Raises:
        DecisionFailed: It is not JSON.
    """
    try:
        return f"sha256:{digest(policy_input)}"
    except ValueError as error:
        raise DecisionFailed(RuntimeReason.PATH_TYPE_MISMATCH, str(error)) from error


def _evaluate(policy: Policy, point: str, snapshot: Snapshot, setup: Setup, built: dict[str, Any]) -> Evaluation:
    limit = setup.limit
    place = setup.points.get(point) if isinstance(point, str) else None
    if place is None:
        known = ", ".join(str(each) for each in setup.points)
        raise DecisionFailed(
            RuntimeReason.INTERVENTION_POINT_UNKNOWN, f"There is no intervention point {point!r}; there are: {known}"
        )
    limits.check_snapshot(snapshot, limit)
    limits.check_depth(snapshot, limit.depth, "The snapshot")
    preliminary = _input_of(point, place, snapshot, {}, _tool(place, snapshot, setup))
    annotations = _annotations(place, preliminary, setup)
    given = built["input"] = {**preliminary, "annotations": annotations}
    limits.check_numbers(given, "The snapshot")
    asked = {**snapshot, "annotations": annotations} if annotations else snapshot
    verdict = _decide(policy, point, asked)
    if not setup.enforce:
        verdict = replace(verdict, enforced=False)
    is_identified = _is_identified(setup, verdict)
    first = identity(given) if is_identified else None
    target = given["policy_target"]["value"]
    if verdict.transform is None:
        return Evaluation(verdict, target, False, given, first, first)
    changed = _with_transform(given, verdict.transform)
    if not verdict.enforced:
        return Evaluation(verdict, target, False, given, first, first)
    goes_on = changed["policy_target"]["value"]
    there = paths.replaced(place.target, snapshot, goes_on)
    limits.measure(there, limit.snapshot_bytes, "The transformed snapshot")
    limits.check_numbers(goes_on, "The transformed target")
    return Evaluation(verdict, goes_on, True, given, first, identity(changed) if is_identified else None)


def _is_identified(setup: Setup, verdict: Verdict) -> bool:
    return setup.identify is None or verdict.decision is Decision.ESCALATE or setup.identify(verdict)


def _denied(
    policy: Policy, reason: RuntimeReason, message: str, setup: Setup, given: Mapping[str, Any] | None
) -> Evaluation:
    try:
        known = policy.digest
    except Exception:  # a policy that cannot even say this is still only a policy that denies
        known = ""
    verdict = Verdict(Decision.DENY, reason.value, message, policy_digest=known, enforced=setup.enforce)
    first = None
    if given is not None:
        try:
            first = identity(given) if _is_identified(setup, verdict) else None
        except DecisionFailed:
            given = None
    target = None if given is None else given["policy_target"]["value"]
    return Evaluation(verdict, target, False, given, first, first)


def _decide(policy: Policy, point: str, snapshot: Snapshot) -> Verdict:
    try:
        return normalization.checked(policy.decide(InterventionPoint(point), snapshot))
    except DecisionFailed:
        raise
    except Exception as error:
        name = type(error).__name__  # the text may quote the snapshot
        raise DecisionFailed(RuntimeReason.POLICY_INVOCATION_FAILED, f"The policy raised {name}") from error


def _input_of(
    point: str, place: Point, snapshot: Snapshot, annotations: Mapping[str, Any], tool: Any
) -> dict[str, Any]:
    target = {"kind": place.kind, "path": place.target.text, "value": paths.resolve(place.target, snapshot)}
    return {
        "intervention_point": str(point),
        "policy_target": target,
        "snapshot": snapshot,
        "annotations": annotations,
        "tool": tool,
    }


def _tool(place: Point, snapshot: Snapshot, setup: Setup) -> Any:
    if place.tool_name is None:
        return snapshot.get("tool")
    name = paths.resolve(place.tool_name, snapshot)
    if not isinstance(name, str):
        raise DecisionFailed(RuntimeReason.PATH_TYPE_MISMATCH, f"{place.tool_name.text}: the name of a tool is a text")
    if name not in setup.tools:
        raise DecisionFailed(RuntimeReason.TOOL_UNKNOWN, f"There is no tool {name!r} in the catalogue")
    return {"name": name, **setup.tools[name]}


def _annotations(place: Point, preliminary: Mapping[str, Any], setup: Setup) -> dict[str, Any]:
    if len(place.annotations) > setup.limit.annotators:
        raise DecisionFailed(
            RuntimeReason.RESOURCE_LIMIT_EXCEEDED,
            f"The point has {len(place.annotations)} annotators; at most {setup.limit.annotators} are asked",
        )
    roots = {
        paths.TARGET: preliminary["policy_target"]["value"],
        paths.SNAPSHOT: preliminary["snapshot"],
        "tool": preliminary["tool"],
        "pi": preliminary,
    }
    found = dict[str, Any]()
    for name, path in sorted(place.annotations.items()):
        if path.root not in roots:
            raise DecisionFailed(RuntimeReason.PATH_MISSING, f"{path.text}: there is no root ${path.root}")
        found[name] = _annotation(name, paths.resolve(path, roots[path.root]), preliminary, setup)
    return found


def _annotation(name: str, value: Any, preliminary: Mapping[str, Any], setup: Setup) -> Any:
    if setup.annotate is None:
        raise DecisionFailed(RuntimeReason.ANNOTATION_FAILED, f"Nobody calls the annotator {name!r}")
    try:
        output = setup.annotate(name, value, preliminary)
    except TimeoutError as error:
        raise DecisionFailed(RuntimeReason.ANNOTATION_TIMEOUT, f"The annotator {name!r} took too long") from error
    except Exception as error:
        what = f"The annotator {name!r} raised {type(error).__name__}"
        raise DecisionFailed(RuntimeReason.ANNOTATION_FAILED, what) from error
    what = f"The output of the annotator {name!r}"
    try:
        limits.measure(output, setup.limit.annotation_bytes, what)
    except DecisionFailed as error:
        raise DecisionFailed(RuntimeReason.ANNOTATION_FAILED, str(error)) from error
    reason = output.get("reason") if isinstance(output, Mapping) else None
    if isinstance(reason, str) and reason.startswith(RESERVED_PREFIX):
        raise DecisionFailed(RuntimeReason.ANNOTATION_FAILED, f"{what} has a reserved reason")
    return output


def _with_transform(given: Mapping[str, Any], transform: Transform) -> dict[str, Any]:
    """Return a policy input whose target has a transform applied; its snapshot stays what was decided on."""
    target = given["policy_target"]
    return {**given, "policy_target": {**target, "value": normalization.apply(transform, target["value"])}}
