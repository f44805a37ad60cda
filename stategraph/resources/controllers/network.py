"""Controller of Networks."""

from __future__ import annotations

import hashlib
import json
from typing import ClassVar, cast

from stategraph.resources.compile.networks import Member, NetworkPlan
from stategraph.resources.compile.programs import Network
from stategraph.resources.controller import Ctx, ReconcileResult
from stategraph.resources.controllers import common
from stategraph.resources.kinds.network import NetworkSpec
from stategraph.resources.model import Resource


class NetworkController(common.Base):
    """Makes Networks graphs."""

    kind: ClassVar[str] = "Network"
    depends_on: ClassVar[tuple[str, ...]] = ("Model", "Agent")

    async def reconcile(self, resource: Resource, ctx: Ctx) -> ReconcileResult:
        """Find a network's agents and its router's model."""
        spec = cast("NetworkSpec", ctx.parsed(resource))
        members = []
        for index, each in enumerate(spec.agents):
            path = ("spec", "agents", index)
            found = await ctx.resolve(each.ref, "agent", path=path)
            agent = await ctx.compiled(found.key, path=path)
            members.append(Member(each.label, each.description or agent.description, agent.callee(several=True)))
        model = None
        if spec.router.strategy is None:
            plan = await common.model_of(ctx, resource, spec.router, ("spec", "router"))
            services = ctx.services
            model = plan.chat_model(str(resource.key), services.get("model_factory"), services.get("models"))
        states = ctx.services.get("states")
        kept = spec.state
        state = states and states.network(resource.key, persistence=kept.persistence, ttl=kept.ttl)
        told = common.declared(spec)
        version = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()
        network = NetworkPlan(resource.name, spec, tuple(members), model, state, version)
        status = {
            "agents": [each.name for each in members],
            "router": spec.router.strategy or "model",
            "graphVersion": version,
        }
        return ReconcileResult(status=status, compiled=Network(network, await common.place_of(ctx, resource)))
