"""Agents as capabilities, and the tools that agents have.

- `offer` makes a capability of an agent: it works on a task, on its own, and its last answer is the result. It is
  executed as a subagent is: with the listener, gates and limits of the run, pausing and resuming with it.
- `tools_of` describes what agents have by themselves: tools, subagents and handoffs. Their own graph executes these, so
  the registry only has to know them: to decide about their calls, and to be the same set for planner and executor.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final

from langchain_core.messages import ToolCall
from langchain_core.tools import BaseTool

from stategraph.agent.agent import Agent
from stategraph.agent.context.handoff import Handoff
from stategraph.agent.context.subagent import TASK, TOOL, Subagent, SubagentTool
from stategraph.agent.graphs import assemble, multi_agent
from stategraph.agent.graphs.agent_graph import single_agent_graph
from stategraph.agent.invocation.injection import InjectionContext
from stategraph.agent.settings.inputs import AgentInputs, GraphEdge, ToolDefinition
from stategraph.agent.tools.subagent_calls import SubagentCall
from stategraph.agent.tools.toolset import ToolSet
from stategraph.engine.config.runtime import Runtime, get_runtime
from stategraph.errors import ConfigurationError
from stategraph.governance.capabilities import digests, functions
from stategraph.governance.capabilities.port import CapabilityCall, CapabilityResult, Offer
from stategraph.governance.capabilities.traits import Traits, described
from stategraph.governance.capability import CapabilityKind

MAX_TURNS: Final = 25
"""How often the model of an agent may be called for one task, unless the host says otherwise."""

_SCHEMA: Final = {
    "type": "object",
    "properties": {
        TASK: {
            "type": "string",
            "description": "The whole task, with everything that the agent needs to know: it is told nothing else.",
        }
    },
    "required": [TASK],
}


def offer(inputs: AgentInputs | Mapping[str, Any], traits: Traits, *, max_turns: int = MAX_TURNS) -> Offer:
    """Make a capability of an agent.

    Args:
        inputs: The agent. Its model is made when it is first called.
        traits: What the host says of it; it needs a description.
        max_turns: How often its model may be called for one task.

    Raises:
        ConfigurationError: There is no description, or the agent's settings make no sense.
    """
    agent = AgentInputs.of(inputs)
    name = traits.name or agent.agent_id
    if not traits.description:
        raise ConfigurationError(f"The agent {name!r} needs a description for models to become a capability")
    tools = [(each.capability.id, each.capability.digest) for each in tools_of([agent])]
    digest, parts = digests.of_parts(
        {
            "name": name,
            "description": traits.description,
            "instructions": [agent.instructions, agent.additional_instructions],
            "model": [agent.provider, _model(agent.model)],
            "tools": sorted(tools),
            "max_turns": max_turns,
        }
    )
    made = described("agent", "agents", name, traits, digest, description=traits.description, input_schema=_SCHEMA)
    return Offer(made, AgentExecutor(agent, name, traits.description, max_turns), parts=parts)


def _model(model: Any) -> list[str | None]:
    """Return what tells a model from another one: its class, and the name by which its provider knows it."""
    if model is None or isinstance(model, str):
        return [model]
    named = getattr(model, "model_name", None) or getattr(model, "model", None)
    return [type(model).__qualname__, None if named is None else str(named)]


class AgentExecutor:
    """Has an agent work on tasks.

    Args:
        inputs: The agent.
        name: Its name for models.
        description: What it is good at.
        max_turns: How often its model may be called for one task.
    """

    def __init__(self, inputs: AgentInputs, name: str, description: str, max_turns: int) -> None:
        self._inputs = inputs
        self._described = (name, description, max_turns)
        self._lock = threading.Lock()
        self._tool: SubagentTool | None = None

    async def execute(self, call: CapabilityCall) -> CapabilityResult:
        """Have the agent work in an event loop."""
        return CapabilityResult((await self._work(call).arun()).content)

    def execute_sync(self, call: CapabilityCall) -> CapabilityResult:
        """Have the agent work and wait."""
        return CapabilityResult(self._work(call).run().content)

    def _work(self, call: CapabilityCall) -> SubagentCall:
        caller_id = call.context.agent.id
        caller = Agent(id=caller_id, name=caller_id, routes=(), offers_tools=True, plain_text=False, tool_end=False)
        made = ToolCall(name=self._inputs.agent_id, args=dict(call.arguments), id=call.call_id)
        runtime = _runtime()
        values = InjectionContext(None, call.config or {}, runtime, runtime.context, ())
        return SubagentCall.of(made, caller, self._made(), values)

    def _made(self) -> SubagentTool:
        with self._lock:
            if self._tool is None:
                name, description, max_turns = self._described
                agent = assemble.make_agent(self._inputs)
                graph = single_agent_graph(agent).compile(name=agent.id)
                subagent = Subagent(name, description, agent, graph, max_turns)
                self._tool = SubagentTool(name, {name: subagent}, chooses=False)
            return self._tool


def _runtime() -> Runtime[Any]:
    try:
        return get_runtime() or Runtime()
    except (RuntimeError, KeyError):  # outside of a graph
        return Runtime()


def tools_of(
    agents: Sequence[AgentInputs], edges: Sequence[GraphEdge] | None = None, traits: Mapping[str, Traits] | None = None
) -> tuple[Offer, ...]:
    """Describe the tools of agents, which their own graph executes.

    Args:
        agents: The agents.
        edges: The ways between them; None: there are none.
        traits: What the host says of tools, by name. Without it subagents and handoffs are `read`, as what another
            agent does is decided about call by call; tools of the host and other functions are `write`.

    Raises:
        ConfigurationError: The settings make no sense.
    """
    said = traits or {}
    wiring = None if edges is None else multi_agent.wire([(each.agent_id, each.label) for each in agents], edges)
    offers: dict[str, Offer] = {}
    for agent in agents:
        delegating = _subagents(agent)
        handoffs = () if wiring is None else wiring.handoffs.get(agent.agent_id, ())
        tools = ToolSet.of(agent, [each.name for each in delegating])
        made = [
            *(_local(tool, said.get(name)) for name, tool in tools.local.items()),
            *(_hosted(tools.registry[name], agent, said.get(name)) for name in tools.hosted if name in tools.registry),
            *(_delegating(each, agent, said.get(each.name)) for each in delegating),
            *(_delegating(each, agent, said.get(each.name)) for each in handoffs),
        ]
        for each in made:
            there = offers.setdefault(each.capability.id, each)
            if there.capability.digest != each.capability.digest:
                raise ConfigurationError(
                    f"Two tools of these agents are both {each.capability.id} and differ: rename one, or give one "
                    "another version or source"
                )
    return tuple(offers.values())


def _subagents(agent: AgentInputs) -> list[SubagentTool]:
    """Return the tools by which an agent calls its subagents, without these."""
    typed: dict[str, Subagent] = {}
    own: list[SubagentTool] = []
    for each in agent.subagent_configs:
        subagent = Subagent(each.type, each.description, None, None, each.max_turns)
        if each.tool_name is None:
            typed[each.type] = subagent
        else:
            own.append(SubagentTool(each.tool_name, {each.type: subagent}, chooses=False))
    return [*own, SubagentTool(TOOL, typed)] if typed else own


def _local(tool: BaseTool, traits: Traits | None) -> Offer:
    return functions.offer(tool, traits, in_place=True)


def _hosted(shown: ToolDefinition, agent: AgentInputs, traits: Traits | None) -> Offer:
    kind: CapabilityKind = "function" if shown.server_name is None else "mcp"
    return _known(kind, shown.server_name or agent.agent_id, shown, traits or Traits())


def _delegating(tool: SubagentTool | Handoff, agent: AgentInputs, traits: Traits | None) -> Offer:
    return _known("agent", agent.agent_id, tool.definition, traits or Traits(risk="read"))


def _known(kind: CapabilityKind, source: str, shown: ToolDefinition, traits: Traits) -> Offer:
    schema = shown.parameters or {"type": "object", "properties": {}}
    description = shown.description or ""
    digest, parts = digests.of_parts({"name": shown.name, "description": description, "input_schema": schema})
    made = described(kind, source, shown.name, traits, digest, description=description, input_schema=schema)
    return Offer(made, None, parts=parts)
