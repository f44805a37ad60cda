"""Policies in Casbin, with `casbin` (the extra `casbin`).

A rule says who may do what where: `p, role:support, mcp:billing/*, pre_tool_call, allow`. It is asked once for the user
(`user:<org_id>/<user_id>`) and once for each role (`role:<role>`); `g, role:admin, role:support` makes roles of roles.
The object is the tool's id without its version (`agent:<id>` at points without a tool), the act is the point; both may
end with `*`. A rule that denies counts more than any that allows, and what no rule allows is denied.

Casbin knows neither arguments nor approval here: combine it with a policy of rules for these.
"""

from __future__ import annotations

import csv
import threading
from typing import Final

from stategraph.errors import MissingPackageError
from stategraph.governance.canonical import digest
from stategraph.governance.capability import without_version
from stategraph.governance.errors import PolicyError
from stategraph.governance.policy import limits
from stategraph.governance.policy.engines.base import EnginePolicy, agent_id_of, caller_of
from stategraph.governance.policy.reasons import DENIED_BY_DEFAULT
from stategraph.governance.policy.snapshot import TOOL_POINTS, tool_key
from stategraph.governance.policy.verdict import Decision, InterventionPoint, Snapshot, Verdict

MODEL: Final = """
[request_definition]
r = sub, obj, act

[policy_definition]
p = sub, obj, act, eft

[role_definition]
g = _, _

[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))

[matchers]
m = g(r.sub, p.sub) && keyMatch(r.obj, p.obj) && keyMatch(r.act, p.act)
"""
"""The model that is used if none is given."""


class CasbinPolicy(EnginePolicy):
    """Decides by rules in Casbin; safe to use from several threads.

    Args:
        rules: The rules as CSV, one a line; `#` begins a comment.
        model: A model with `r = sub, obj, act` and `p = sub, obj, act, eft`.
        name: The name of the policy.
        enforce: False: as `evaluate_only`, decide and change nothing.
        limit: The bounds of one decision.

    Raises:
        PolicyError: A rule or the model cannot be read; the message names the line.
        MissingPackageError: The extra `casbin` is not installed.
    """

    def __init__(
        self,
        rules: str,
        *,
        model: str = MODEL,
        name: str = "casbin",
        enforce: bool = True,
        limit: limits.Limits = limits.DEFAULT,
    ) -> None:
        try:
            import casbin  # type: ignore[import-untyped]  # 70 ms, and only those who have such policies need it
        except ImportError as error:
            raise MissingPackageError("stategraph[casbin]", "Policies in Casbin") from error
        rows = _rows(rules, name)
        self._lock = threading.Lock()
        super().__init__(name, digest(["casbin", rows, model, enforce]), enforce, limit)
        try:
            self._enforcer = casbin.Enforcer(casbin.Enforcer.new_model(text=model))
            for kind, *fields in rows:
                add = self._enforcer.add_policy if kind == "p" else self._enforcer.add_grouping_policy
                add(*fields)
            self._enforcer.enforce("user:/", "", "")
        except Exception as error:  # it has no errors of its own
            raise PolicyError(f"{name}: {error}") from None

    def judge(self, point: InterventionPoint, snapshot: Snapshot) -> Verdict:
        """Ask Casbin, for the user and for each role.

        Raises:
            DecisionFailed: The snapshot does not say who acts, or with what.
        """
        caller, allowed = caller_of(snapshot), list[str]()
        at_tool = point in TOOL_POINTS
        what = without_version(tool_key(snapshot)[0]) if at_tool else f"agent:{agent_id_of(snapshot)}"
        for subject in (f"user:{caller.org_id}/{caller.user_id}", *(f"role:{each}" for each in caller.roles)):
            with self._lock:  # asking changes the table of roles for a moment
                allows, row = self._enforcer.enforce_ex(subject, what, point.value)
            if row and row[-1] == "deny":
                rule = ", ".join(row)
                return self.verdict(Decision.DENY, None, None, rule=rule, matched=(rule,))
            if allows:
                allowed.append(subject)
        if not allowed:
            return self.verdict(Decision.DENY, DENIED_BY_DEFAULT, "No rule allows this")
        return self.verdict(Decision.ALLOW, None, None, rule=allowed[0], matched=tuple(allowed))


def _rows(text: str, name: str) -> list[list[str]]:
    found = list[list[str]]()
    for number, line in enumerate(text.splitlines(), 1):
        row = [each.strip() for each in next(csv.reader([line.partition("#")[0].strip()]), [])]
        if not row:
            continue
        expected = {"p": 5, "g": 3}.get(row[0])
        if len(row) != expected or not all(row) or (row[0] == "p" and row[4] not in ("allow", "deny")):
            raise PolicyError(
                f"{name}, line {number}: found {line.strip()!r}; expected `p, <who>, <tool>, <point>, allow`"
                " (or deny), or `g, <role>, <role>`"
            )
        found.append(row)
    return found
