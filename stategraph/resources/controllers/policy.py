"""Controllers of Policies and Budgets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final, cast

from stategraph.governance.context import Budget
from stategraph.governance.errors import PolicyError
from stategraph.governance.policy import schema
from stategraph.governance.policy.rules import RulePolicy
from stategraph.resources.controller import Ctx, ReconcileResult
from stategraph.resources.controllers import common
from stategraph.resources.errors import InvalidResource
from stategraph.resources.kind_table import API_VERSION
from stategraph.resources.kinds.budget import BudgetSpec
from stategraph.resources.model import Resource
from stategraph.resources.places import Path

#: The rule that an error names, and its field.
_RULE: Final = re.compile(r"rule '([^']+)'(?:: (\w+))?")


class PolicyController(common.Base):
    """Compiles Policies."""

    kind: ClassVar[str] = "Policy"
    depends_on: ClassVar[tuple[str, ...]] = ()

    async def reconcile(self, resource: Resource, ctx: Ctx) -> ReconcileResult:
        """Compile a policy."""
        told = common.declared(ctx.parsed(resource))
        spec = {key: value for key, value in told.items() if key != "allowedNamespaces"}
        metadata = {"name": resource.name, "namespace": resource.namespace}
        content = {"apiVersion": API_VERSION, "kind": "Policy", "metadata": metadata, "spec": spec}
        redactor = ctx.services.get("redactor")
        try:
            document = schema.document_of(content, str(resource.key))
            policy = RulePolicy(document, redact=None if redactor is None else redactor.redact)
        except PolicyError as error:
            raise InvalidResource(str(error), path=_path(str(error), spec)) from None
        return ReconcileResult(status={"digest": document.digest, "rules": len(document.rules)}, compiled=policy)


def _path(message: str, spec: Mapping[str, Any]) -> Path:
    """Return the field that an error of a policy is about: that of the rule that it names, else the spec."""
    named = _RULE.search(message)
    for index, rule in enumerate(spec.get("rules") or ()):
        if named is not None and isinstance(rule, Mapping) and rule.get("name") == named[1]:
            return ("spec", "rules", index, named[2]) if named[2] in rule else ("spec", "rules", index)
    return ("spec",)


class BudgetController(common.Base):
    """Reads Budgets."""

    kind: ClassVar[str] = "Budget"
    depends_on: ClassVar[tuple[str, ...]] = ()

    async def reconcile(self, resource: Resource, ctx: Ctx) -> ReconcileResult:
        """Read a budget."""
        spec = cast("BudgetSpec", ctx.parsed(resource))
        budget = Budget(spec.tokens, spec.usd, spec.tool_calls, spec.wall, spec.on_limit)
        return ReconcileResult(compiled=budget)
