"""Controllers of Policies and Budgets."""

from __future__ import annotations

from typing import ClassVar, cast

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


class PolicyController(common.Base):
    """Compiles Policies."""

    kind: ClassVar[str] = "Policy"
    depends_on: ClassVar[tuple[str, ...]] = ()

    async def reconcile(self, resource: Resource, ctx: Ctx) -> ReconcileResult:
        """Compile a policy."""
        spec = {key: value for key, value in ctx.spec(resource).items() if key != "allowedNamespaces"}
        metadata = {"name": resource.name, "namespace": resource.namespace}
        content = {"apiVersion": API_VERSION, "kind": "Policy", "metadata": metadata, "spec": spec}
        redactor = ctx.services.get("redactor")
        try:
            document = schema.document_of(content, str(resource.key))
            policy = RulePolicy(document, redact=None if redactor is None else redactor.redact)
        except PolicyError as error:
            raise InvalidResource(str(error), path=("spec",)) from None
        return ReconcileResult(status={"digest": document.digest, "rules": len(document.rules)}, compiled=policy)


class BudgetController(common.Base):
    """Reads Budgets."""

    kind: ClassVar[str] = "Budget"
    depends_on: ClassVar[tuple[str, ...]] = ()

    async def reconcile(self, resource: Resource, ctx: Ctx) -> ReconcileResult:
        """Read a budget."""
        spec = cast("BudgetSpec", ctx.parsed(resource))
        budget = Budget(spec.tokens, spec.usd, spec.tool_calls, spec.wall, spec.on_limit)
        return ReconcileResult(compiled=budget)
