"""From what a host says about agents to agents that run, and the graph that they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stategraph.agent import graph, instructions, models, multi
from stategraph.agent.agent import Agent, Route
from stategraph.agent.handoff import Role
from stategraph.agent.inputs import AgentInputs, GraphEdge
from stategraph.agent.toolset import ToolSet
from stategraph.errors import ConfigurationError
from stategraph.graph.state import StateGraph


def build(
    inputs: Sequence[AgentInputs], edges: Sequence[GraphEdge] | None = None, shared: models.Models | None = None
) -> tuple[list[Agent], StateGraph[Any, Any, Any, Any]]:
    """The agents of a run and their graph.

    Args:
        inputs: The agents as the host describes them.
        edges: The ways between them; None: only the first agent runs.
        shared: Models made before, to be used again.

    Returns:
        The agents, and the builder of the graph.

    Raises:
        ConfigurationError: They make no sense.
        MissingPackageError: A model's package is not installed.
    """
    if edges is None:
        multi.check_ids([inputs[0].agent_id])
        agent = make_agent(inputs[0], None, shared)
        return [agent], graph.single_agent_graph(agent)
    wiring = multi.wire([(each.agent_id, each.label) for each in inputs], edges)
    agents = [make_agent(each, wiring, shared) for each in inputs]
    return agents, multi.several_agents_graph(agents, wiring)


def make_agent(inputs: AgentInputs, wiring: multi.Wiring | None = None, shared: models.Models | None = None) -> Agent:
    """An agent from its description.

    Args:
        inputs: The description.
        wiring: The ways between it and others; None: it is on its own.
        shared: Models made before, to be used again.

    Returns:
        The agent, its models with its tools bound.

    Raises:
        ConfigurationError: A tool and a handoff have the same name.
    """
    tools = ToolSet.of(inputs)
    handoffs = () if wiring is None else wiring.handoffs.get(inputs.agent_id, ())
    for each in handoffs:
        if each.name in {*tools.here, *tools.theirs}:
            raise ConfigurationError(
                f"Agent {inputs.agent_id!r} has a tool called {each.name!r}, and so is its handoff: rename the tool"
            )
    shown = (*tools.shown(inputs.discovered_tools), *(each.definition for each in handoffs))
    candidates = models.candidates(inputs, shared)
    routes = (Route(models.bind(each.model, shown), each.provider, each.name) for each in candidates)
    system = instructions.system_message(
        [inputs.instructions], [inputs.additional_instructions], instructions.prompt_cache(inputs)
    )
    return Agent(
        id=inputs.agent_id,
        name=inputs.label,
        routes=tuple(routes),
        system=system,
        tools=tools.here,
        tool_policies=inputs.tool_policies,
        host_tools=frozenset(tools.theirs),
        host_tool_names=tools.names_shown(inputs.discovered_tools),
        handoffs={each.name: each for each in handoffs},
        role=None if wiring is None else _role(inputs.agent_id, wiring, bool(shown), candidates[0].provider),
        group_id=None if wiring is None else wiring.groups.get(inputs.agent_id),
        max_tool_result_chars=inputs.max_tool_result_chars,
        max_context_tokens=inputs.max_context_tokens,
        tool_end=inputs.tool_end,
    )


#: Parts of the names of providers whose models take up the text of the agent before them where that comes last.
_WANT_CUE = ("anthropic", "bedrock", "mistral")


def _role(agent_id: str, wiring: multi.Wiring, has_tools: bool, provider: str) -> Role:
    needs_cue = any(part in provider.lower() for part in _WANT_CUE)
    return Role(agent_id, wiring.names, has_tools, needs_cue)
