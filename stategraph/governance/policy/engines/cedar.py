"""Policies in Cedar, with `cedarpy` (the extra `cedar`).

A snapshot is asked as a request of Cedar's:

| Cedar | of the snapshot |
|---|---|
| principal | `User::"<org_id>/<user_id>"` with its attributes, in `Role::"<role>"` and `Org::"<org_id>"` |
| action | `Action::"<point>"` |
| resource | `Tool::"<id without version>"` with the facts of the tool; elsewhere `Agent::"<id>"` |
| context | the other fields |

A permit may carry `@advice("...")`, JSON with `verdict` (`warn`, `escalate`, `transform`), `reason`, `message` and
`transform` (section 12.4 of the Agent Control Specification); the strongest of those that hold counts. `@id` names a
policy, `@reason` gives the reason of a forbid. Cedar itself skips a policy that has an error; here an error denies, as
it may have been a forbid.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from stategraph.errors import MissingPackageError
from stategraph.governance.canonical import digest
from stategraph.governance.capability import without_version
from stategraph.governance.errors import PolicyError
from stategraph.governance.policy import limits
from stategraph.governance.policy.engines.base import EnginePolicy, agent_id_of, caller_of
from stategraph.governance.policy.normalization import verdict_of
from stategraph.governance.policy.reasons import DENIED_BY_DEFAULT, RESERVED_PREFIX, DecisionFailed, RuntimeReason
from stategraph.governance.policy.snapshot import TOOL_POINTS, tool_key
from stategraph.governance.policy.verdict import Decision, InterventionPoint, Snapshot, Verdict

_ADVICE: Final[tuple[str, ...]] = ("verdict", "reason", "message", "transform")
_ADVISED: Final = (Decision.ALLOW, Decision.WARN, Decision.TRANSFORM, Decision.ESCALATE)
_LARGEST_INTEGER: Final = 2**63 - 1
_LARGEST_DECIMAL: Final = _LARGEST_INTEGER // 10_000


class CedarPolicy(EnginePolicy):
    """Decides by policies in Cedar; safe to use from several threads.

    Args:
        policies: Their text.
        entities: Further entities, in Cedar's JSON form, such as a hierarchy of roles.
        schema: A schema in Cedar's JSON or text form, against which requests are checked; None: they are not.
        name: The name of the policy.
        enforce: False: as `evaluate_only`, decide and change nothing.
        limit: The bounds of one decision.

    Raises:
        PolicyError: The policies, an advice or the schema cannot be read.
        MissingPackageError: The extra `cedar` is not installed.
    """

    def __init__(
        self,
        policies: str,
        *,
        entities: Sequence[Mapping[str, Any]] = (),
        schema: str | None = None,
        name: str = "cedar",
        enforce: bool = True,
        limit: limits.Limits = limits.DEFAULT,
    ) -> None:
        try:
            import cedarpy  # 60 ms, and only those who have such policies need it
        except ImportError as error:
            raise MissingPackageError("stategraph[cedar]", "Policies in Cedar") from error
        self._entities = [dict(each) for each in entities]
        super().__init__(name, digest(["cedar", policies, self._entities, schema, enforce]), enforce, limit)
        self._cedar = cedarpy
        try:
            self._policies = cedarpy.PolicySet.from_str(policies)
            parsed = json.loads(cedarpy.policies_to_json_str(policies))["staticPolicies"]
            self._schema = None if schema is None else cedarpy.Schema.from_str(schema)
        except ValueError as error:
            raise PolicyError(f"{name}: {error}") from None
        self._annotations = {id: dict(each.get("annotations") or {}) for id, each in parsed.items()}
        self._permits = {id for id, each in parsed.items() if each["effect"] == "permit"}
        self._advice = {id: self._advice_of(id) for id in self._annotations}

    def judge(self, point: InterventionPoint, snapshot: Snapshot) -> Verdict:
        """Ask Cedar.

        Raises:
            DecisionFailed: It cannot decide.
        """
        request, entities = _request(point, snapshot)
        found = self._cedar.is_authorized(request, self._policies, [*entities, *self._entities], self._schema)
        if found.diagnostics.errors or found.decision not in (self._cedar.Decision.Allow, self._cedar.Decision.Deny):
            missing = any("does not have the attribute" in each for each in found.diagnostics.errors)
            reason = RuntimeReason.PATH_MISSING if missing else RuntimeReason.POLICY_INVOCATION_FAILED
            what = "an attribute that it reads is not there" if missing else "Cedar could not evaluate it"
            raise DecisionFailed(reason, f"The policy cannot be decided: {what}")
        decided = sorted(found.diagnostics.reasons)
        names = [self._name_of(id) for id in decided]
        if found.decision is self._cedar.Decision.Allow:
            return self._permitted(decided, names)
        if not decided:
            return self.verdict(Decision.DENY, DENIED_BY_DEFAULT, "No policy permits this")
        said = next((each for id in decided if (each := self._annotations[id].get("reason"))), None)
        return self.verdict(Decision.DENY, said, None, rule=names[0], matched=tuple(names))

    def _permitted(self, decided: list[str], names: list[str]) -> Verdict:
        verdicts = [self._advice[id] for id in decided]
        strongest = max(range(len(decided)), key=lambda place: _ADVISED.index(verdicts[place].decision))
        advised = verdicts[strongest]
        return self.verdict(
            advised.decision,
            advised.reason,
            advised.message,
            rule=names[strongest],
            matched=tuple(names),
            transform=advised.transform,
            approval=advised.approval,
        )

    def _advice_of(self, id: str) -> Verdict:
        """Return the verdict that a policy's advice asks for.

        Raises:
            PolicyError: The advice, or the reason, cannot be used.
        """
        annotations, where = self._annotations[id], f"{self.name}: policy {self._name_of(id)!r}"
        if (annotations.get("reason") or "").startswith(RESERVED_PREFIX):
            raise PolicyError(f"{where}: reason begins with {RESERVED_PREFIX}, which is reserved")
        text = annotations.get("advice")
        if text is None:
            return Verdict(Decision.ALLOW, annotations.get("reason"))
        if id not in self._permits:
            raise PolicyError(f"{where}: advice belongs to a permit; a forbid denies")
        try:
            advice = json.loads(text)
            if not isinstance(advice, dict) or advice.get("verdict") not in list(_ADVISED[1:]):
                raise PolicyError(f"{where}: advice needs a verdict of warn, escalate or transform")
            if unknown := sorted(advice.keys() - set(_ADVICE)):
                raise PolicyError(f"{where}: advice has {unknown[0]!r}; it may have {', '.join(_ADVICE)}")
            return verdict_of({"decision" if name == "verdict" else name: each for name, each in advice.items()})
        except (json.JSONDecodeError, DecisionFailed) as error:
            raise PolicyError(f"{where}: advice cannot be used: {error}") from None

    def _name_of(self, id: str) -> str:
        return self._annotations[id].get("id") or id


def _request(point: InterventionPoint, snapshot: Snapshot) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the request and its entities.

    Raises:
        DecisionFailed: The snapshot does not say who acts, or with what, or has no form in Cedar.
    """
    caller = caller_of(snapshot)
    who = {"type": "User", "id": f"{caller.org_id}/{caller.user_id}"}
    groups = [{"type": "Org", "id": caller.org_id}, *({"type": "Role", "id": each} for each in caller.roles)]
    what, facts = _resource(point, snapshot)
    context = {name: each for name, each in snapshot.items() if name not in ("principal", "tool")}
    entities = [
        {"uid": who, "attrs": _value(snapshot["principal"]), "parents": groups},
        {"uid": what, "attrs": _value(facts), "parents": []},
    ]
    action = {"type": "Action", "id": point.value}
    return {"principal": who, "action": action, "resource": what, "context": _value(context)}, entities


def _resource(point: InterventionPoint, snapshot: Snapshot) -> tuple[dict[str, str], Mapping[str, Any]]:
    if point in TOOL_POINTS:
        facts: Mapping[str, Any] = snapshot["tool"] if tool_key(snapshot) else {}
        return {"type": "Tool", "id": without_version(facts["id"])}, facts
    return {"type": "Agent", "id": agent_id_of(snapshot)}, snapshot["agent"]


def _value(value: Any) -> Any:
    """Return JSON in Cedar's form: without nulls in objects, fractions as decimals.

    Raises:
        DecisionFailed: It has none. Keys with which Cedar marks entities and functions are refused: arguments that a
            model wrote must not become an entity.
    """
    match value:
        case bool() | str():
            return value
        case int() if -_LARGEST_INTEGER - 1 <= value <= _LARGEST_INTEGER:
            return value
        case float():
            return {"__extn": {"fn": "decimal", "arg": _decimal(value)}}
        case list():
            return [_value(each) for each in value]
        case dict():
            if any(each.startswith("__") for each in value):
                raise DecisionFailed(RuntimeReason.PATH_TYPE_MISMATCH, "A key that begins with __ is Cedar's own")
            return {name: _value(each) for name, each in value.items() if each is not None}
    raise DecisionFailed(RuntimeReason.PATH_TYPE_MISMATCH, f"A {type(value).__name__} here has no form in Cedar")


def _decimal(value: float) -> str:
    exact = Decimal(repr(value))
    if not exact.is_finite() or abs(exact) >= _LARGEST_DECIMAL or exact != round(exact, 4):
        raise DecisionFailed(RuntimeReason.PATH_TYPE_MISMATCH, "Cedar has decimals of 4 places, and none for a number")
    return f"{exact:.4f}"
