"""Controller of Agents."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, cast

from langchain_core.tools import BaseTool, tool

from stategraph.agent.settings.inputs import AgentInputs, GraphEdge
from stategraph.agent.settings.tool_policy import ToolPolicy
from stategraph.errors import ConfigurationError, MissingPackageError
from stategraph.governance.skills import prompt
from stategraph.governance.skills.skill import Skill, SkillError
from stategraph.resources.compile import agents, governed, tools
from stategraph.resources.compile.agents import AgentPlan
from stategraph.resources.compile.data import Fields, Graph, Object
from stategraph.resources.compile.memory import VectorMemory
from stategraph.resources.compile.programs import Agent, Place
from stategraph.resources.compile.tools import ToolPlan
from stategraph.resources.controller import Ctx, ReconcileResult
from stategraph.resources.controllers import common, rollouts
from stategraph.resources.controllers.rollouts import Version
from stategraph.resources.errors import InvalidResource
from stategraph.resources.kinds.agent import AgentSpec, MemorySpec
from stategraph.resources.kinds.tool import ToolSpec
from stategraph.resources.kinds.values import NamedRef
from stategraph.resources.model import Resource, ResourceKey
from stategraph.resources.places import Path


@dataclass(frozen=True, slots=True)
class _Tools:
    """The tools of an agent.

    Attributes:
        plain: The tools, with what was declared of each.
        policies: Their limits by their names.
    """

    plain: list[tuple[BaseTool, ToolSpec | None]]
    policies: dict[str, ToolPolicy]


class AgentController(common.Base):
    """Makes Agents graphs."""

    kind: ClassVar[str] = "Agent"
    depends_on: ClassVar[tuple[str, ...]] = (
        "Secret",
        "Model",
        "Tool",
        "MCPServer",
        "Plugin",
        "Skill",
        "Policy",
        "Budget",
    )

    async def reconcile(self, resource: Resource, ctx: Ctx) -> ReconcileResult:
        """Find what an agent has, and those that it may hand over to, and make them one graph."""
        spec = cast("AgentSpec", ctx.parsed(resource))
        plan = await self._planned(resource, spec, ctx)
        place = await common.place_of(ctx, resource, spec)
        made = await self._rolled(resource, plan, place, ctx)
        status: Object = {"graphVersion": plan.version, "tools": [each.name for each in plan.inputs[0].tools]}
        if spec.scaling is not None:
            status["replicas"] = {"min": spec.scaling.min_replicas, "max": spec.scaling.max_replicas}
        status["endpoints"] = [name for name in ("a2a", "http", "mcp", "openai") if getattr(spec.expose, name)]
        rollout = made.rollout
        status |= await rollouts.told(rollout, made)
        again = rollouts.LOOK_AGAIN_S if rollout.graphs else None
        return ReconcileResult(common.limits_told(place), status, again, made)

    async def _rolled(self, resource: Resource, plan: AgentPlan, place: Place, ctx: Ctx) -> Agent:
        """Return an agent whose threads that wait go on with the version that they began with."""

        async def older(kept: Fields) -> Graph:
            earlier = replace(resource, spec=kept)
            old = await self._planned(earlier, cast("AgentSpec", ctx.parsed(earlier)), ctx)
            return old.graph(place.saver, place.store)

        try:
            if not _may_wait(plan.spec):  # no thread of it is ever under way between two turns
                return Agent(plan, place)
            newest = Version(resource, "agent", plan.version, resource.spec, plan.spec.rollout.max_age)
            rollout = await rollouts.of(newest, place, ctx, older)
            return Agent(plan, place, rollout.rolled(plan.graph(place.saver, place.store)), rollout)
        except (ConfigurationError, MissingPackageError) as error:
            raise InvalidResource(str(error), path=("spec",)) from None

    async def _planned(self, resource: Resource, spec: AgentSpec, ctx: Ctx) -> AgentPlan:
        """Find what an agent has, and those that it may hand over to."""
        ids: dict[ResourceKey, str] = {}
        inputs: list[AgentInputs] = []
        edges: list[GraphEdge] = []
        waiting: list[tuple[Resource, AgentSpec]] = [(resource, spec)]
        ids[resource.key] = resource.name
        while waiting:
            each, its = waiting.pop(0)
            inputs.append(await self._inputs(each, its, ids[each.key], ctx))
            for index, handoff in enumerate(its.handoffs):
                path: Path = ("spec", "handoffs", index) if each.key == resource.key else ("spec", "handoffs")
                found = await ctx.resolve(handoff.to, "agent", path=path)
                if found.key not in ids:
                    ids[found.key] = _id(found, set(ids.values()))
                    waiting.append((found, cast("AgentSpec", ctx.parsed(found))))
                description = handoff.description or cast("AgentSpec", ctx.parsed(found)).description
                edges.append(
                    GraphEdge(
                        from_=(ids[each.key],),
                        to=(ids[found.key],),
                        edge_type="handoff",
                        description=description,
                        returns=handoff.returns,
                    )
                )
        version = agents.version_of(common.declared(spec))
        memory = self._memory(resource, spec.memory, ctx)
        models = ctx.services.get("models")
        return AgentPlan(resource.name, spec, tuple(inputs), tuple(edges), memory, models, version)

    def _memory(self, resource: Resource, spec: MemorySpec | None, ctx: Ctx) -> VectorMemory | None:
        if spec is None or not spec.enabled or spec.type != "vector":
            return None
        embed = None
        if spec.embedding is not None:
            from stategraph.resources.compile import embeddings  # langchain, and only these agents need it

            path: Path = ("spec", "memory", "embedding")
            embed = embeddings.embedder(spec.embedding, ctx.services.get("embeddings"), path)
        return VectorMemory(f"memory/{resource.namespace}/{resource.name}", ctx.services["states"], spec, embed)

    async def _inputs(self, resource: Resource, spec: AgentSpec, id: str, ctx: Ctx) -> AgentInputs:
        model = await common.model_of(ctx, resource, spec)
        found = await self._tools(resource, spec, ctx)
        skills = [
            await ctx.compiled((await ctx.resolve(ref, "skill", path=("spec", "skills", index))).key)
            for index, ref in enumerate(spec.skills)
        ]
        own = [each for each, _ in found.plain]
        governance = governed.Governance.of(ctx.services)
        policy = None
        if spec.policy_ref is not None:
            declared = await ctx.resolve(spec.policy_ref, "policy", path=("spec", "policyRef"))
            policy = await ctx.compiled(declared.key, path=("spec", "policyRef"))
        if policy is not None or governance.budgets is not None:
            context = governed.context_of(resource.name, resource.namespace)
            own = governed.tools_under(policy, found.plain, context, governance)
        instructions = "\n\n".join(filter(None, (spec.instructions, prompt.overview(skills))))
        given: Object = {
            "agent_id": id,
            "name": spec.name,
            "instructions": instructions or None,
            "tools": [*own, *([_reader(skills)] if skills else [])],
            "tool_policies": found.policies if spec.policy_ref is None else {},
            "max_context_tokens": spec.max_context_tokens,
            **model.settings(str(resource.key), ctx.services.get("model_factory")),
            **_output(spec),
            **_middleware(spec),
        }
        subagents = [
            {
                "type": tools.model_name(each.label),
                "description": each.description or agent.description,
                "agent_inputs": agent.plan.inputs[0],
            }
            for each, agent in await self._subagents(spec, ctx)
        ]
        if subagents:
            given["subagent_configs"] = subagents
        try:
            return AgentInputs(**given)
        except ConfigurationError as error:
            raise InvalidResource(str(error), path=("spec",)) from None

    async def _subagents(self, spec: AgentSpec, ctx: Ctx) -> list[tuple[NamedRef, Any]]:
        found = []
        for index, each in enumerate(spec.subagents):
            path: Path = ("spec", "subagents", index)
            resource = await ctx.resolve(each.ref, "agent", path=path)
            found.append((each, await ctx.compiled(resource.key, path=path)))
        return found

    async def _tools(self, resource: Resource, spec: AgentSpec, ctx: Ctx) -> _Tools:
        found = _Tools([], {})
        for index, each in enumerate(spec.tools):
            path: Path = ("spec", "tools", index)
            if each.ref.kind == "mcpserver":
                server = await ctx.resolve(each.ref, "mcpserver", path=path)
                found.plain.extend((one, None) for one in (await ctx.compiled(server.key, path=path)).tools)
                continue
            if each.ref.kind == "plugin":
                plugin = await ctx.resolve(each.ref, "plugin", path=path)
                found.plain.extend((one, None) for one in (await ctx.compiled(plugin.key, path=path)).tools())
                continue
            if each.ref.kind in ("agent", "workflow", "network"):
                target = await ctx.resolve(each.ref, each.ref.kind, path=path)
                asked = await ctx.compiled(target.key, path=path)
                callee = asked.callee(several=True)
                found.plain.append((tools.asking(each.label, callee, each.description or asked.description), None))
                continue
            plan: ToolPlan = await common.tool_of(ctx, resource, each.ref, path)
            made = plan.named(each.label)
            if each.description is not None:
                made = made.model_copy(update={"description": each.description})
            found.plain.append((made, plan.spec))
            if plan.policy is not None:
                found.policies[made.name] = plan.policy
        if spec.tool_timeout is not None:
            for made, _ in found.plain:
                found.policies.setdefault(made.name, ToolPolicy(timeout_s=spec.tool_timeout))
        return found


def _may_wait(spec: AgentSpec) -> bool:
    """Return whether a turn of an agent may be interrupted: by a tool, an approval, a limit, or another agent."""
    return bool(spec.tools or spec.subagents or spec.handoffs or spec.policy_ref or spec.budget_ref)


def _id(resource: Resource, taken: set[str]) -> str:
    """Return the id of an agent in the graph of another: its name, or with its namespace if that is taken."""
    return resource.name if resource.name not in taken else f"{resource.namespace}.{resource.name}"


def _output(spec: AgentSpec) -> Object:
    if spec.output is None:
        return {}
    schema = {"title": "Answer", **spec.output.json_schema}
    return {"output_type": schema, "output_mode": spec.output.mode, "output_retries": spec.output.retries}


def _middleware(spec: AgentSpec) -> Object:
    given: Object = {}
    for each in spec.middleware:
        if each.summarization is not None:
            given["summarization_enabled"] = True
            given["summarization_config"] = {
                "max_summary_tokens": each.summarization.max_summary_tokens,
                "retain_recent": {"turns": each.summarization.retain_turns},
            }
        if each.context_pruning:
            given["context_pruning_config"] = {"enabled": True}
        if each.max_tool_result_chars is not None:
            given["max_tool_result_chars"] = each.max_tool_result_chars
    return given


def _reader(skills: list[Skill]) -> BaseTool:
    by_name = {skill.name: skill for skill in skills}

    @tool
    def read_skill(name: str, path: str = "SKILL.md") -> str:
        """Read a skill's instructions, or one of its files.

        Args:
            name: The skill.
            path: The file.
        """
        if name not in by_name:
            return f"There is no skill {name!r}; there are: {', '.join(by_name)}"
        try:
            return prompt.file_text(by_name[name], path)
        except SkillError as error:
            return str(error)

    return read_skill
