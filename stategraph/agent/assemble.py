"""From what a host says about agents to agents that run, and the graph that they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.tools import BaseTool
from langchain_core.tools import tool as as_tool

from stategraph.agent import graph, instructions, models
from stategraph.agent.agent import Agent, Route
from stategraph.agent.inputs import AgentInputs, AgentTool
from stategraph.graph.state import StateGraph


def build(
    inputs: Sequence[AgentInputs], shared: models.Models | None = None
) -> tuple[list[Agent], StateGraph[Any, Any, Any, Any]]:
    """The agents of a run and their graph.

    Args:
        inputs: The agents as the host describes them.
        shared: Models made before, to be used again.

    Returns:
        The agents, and the builder of the graph.

    Raises:
        ConfigurationError: They make no sense.
        MissingPackageError: A model's package is not installed.
    """
    agent = make_agent(inputs[0], shared)
    return [agent], graph.single_agent_graph(agent)


def make_agent(inputs: AgentInputs, shared: models.Models | None = None) -> Agent:
    """An agent from its description.

    Args:
        inputs: The description.
        shared: Models made before, to be used again.

    Returns:
        The agent, its models with its tools bound.
    """
    here = _tools(inputs.graph_tools if inputs.tool_definitions else (*inputs.tools, *inputs.graph_tools))
    shown = (*inputs.tool_definitions, *here.values())
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
        tools=here | inputs.tool_map,
        host_tools=frozenset(each.name for each in inputs.tool_definitions),
        host_tool_names=tuple(each.name for each in inputs.tool_definitions),
        max_tool_result_chars=inputs.max_tool_result_chars,
        max_context_tokens=inputs.max_context_tokens,
        tool_end=inputs.tool_end,
    )


def _tools(given: Sequence[AgentTool]) -> dict[str, BaseTool]:
    tools = [each if isinstance(each, BaseTool) else as_tool(each) for each in given]
    return {each.name: each for each in tools}
