"""Controller of Tools."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path as FilePath
from typing import ClassVar, cast

from stategraph.resources import refs
from stategraph.resources.compile import openapi, tools
from stategraph.resources.compile.data import Data
from stategraph.resources.compile.tools import ToolPlan
from stategraph.resources.controller import Ctx, ReconcileResult
from stategraph.resources.controllers import common
from stategraph.resources.errors import InvalidResource, UnresolvedReference
from stategraph.resources.kinds.tool import ToolSpec
from stategraph.resources.model import Resource


class ToolController(common.Base):
    """Makes Tools what agents and steps call."""

    kind: ClassVar[str] = "Tool"
    depends_on: ClassVar[tuple[str, ...]] = ("Secret", "MCPServer", "Plugin")

    async def reconcile(self, resource: Resource, ctx: Ctx) -> ReconcileResult:
        """Find what a Tool is, and make it a tool."""
        spec = cast("ToolSpec", ctx.parsed(resource))
        plan = await self._plan(resource, spec, ctx)
        described = {"name": plan.tool.name, "description": plan.tool.description, "arguments": plan.tool.args}
        digest = hashlib.sha256(json.dumps(described, sort_keys=True, default=str).encode()).hexdigest()
        status = {"digest": digest, "arguments": sorted(plan.tool.args), "risk": spec.risk}
        return ReconcileResult(status=status, compiled=plan)

    async def _plan(self, resource: Resource, spec: ToolSpec, ctx: Ctx) -> ToolPlan:
        name = resource.name
        if spec.function is not None:
            function = tools.imported(spec.function, ctx.allow, ("spec", "function"))
            return tools.of_function(name, function, spec)
        if spec.id is not None:
            known = ctx.services.get("tools") or {}
            if spec.id not in known:
                ids = ", ".join(sorted(known)) or "none"
                raise UnresolvedReference(
                    f"no tool is registered with the runtime as {spec.id!r}; registered: {ids}",
                    path=("spec", "id"),
                )
            return tools.of_function(name, known[spec.id], spec)
        if spec.mcp is not None:
            found = await ctx.resolve(spec.mcp.server_ref, "mcpserver", path=("spec", "mcp", "serverRef"))
            server = await ctx.compiled(found.key, path=("spec", "mcp", "serverRef"))
            return tools.finished(name, server.tool(spec.mcp.tool), spec)
        if spec.plugin is not None:
            found = await ctx.resolve(spec.plugin.plugin_ref, "plugin", path=("spec", "plugin", "pluginRef"))
            plugin = await ctx.compiled(found.key, path=("spec", "plugin", "pluginRef"))
            return tools.finished(name, plugin.tool(spec.plugin.tool or name), spec)
        if spec.http is not None:
            token = await common.secret(ctx, spec.http.secret_ref, ("spec", "http", "secretRef"))
            root = None if resource.source is None else FilePath(resource.source.file).parent
            named = tools.model_name(name)
            return tools.finished(name, openapi.tool_of(named, spec.http, token, root, spec.timeout), spec)
        return await self._of_resource(name, spec, ctx)

    async def _of_resource(self, name: str, spec: ToolSpec, ctx: Ctx) -> ToolPlan:
        for kind, field in (("agent", "agentRef"), ("workflow", "workflowRef"), ("network", "networkRef")):
            ref: refs.Reference | None = getattr(spec, f"{kind}_ref")
            if ref is None:
                continue
            found = await ctx.resolve(ref, kind, path=("spec", field))
            compiled: Data = await ctx.compiled(found.key, path=("spec", field))
            return tools.of_callee(name, compiled.callee(several=True), spec, compiled.description)
        raise InvalidResource("a tool has exactly one source")  # the schema says so
