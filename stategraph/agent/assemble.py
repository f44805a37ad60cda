"""From what a host says about agents to agents that run, and the graph that they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import SystemMessage
from langchain_core.tools import BaseTool
from langchain_core.tools import tool as as_tool

from stategraph.agent import graph
from stategraph.agent.agent import Agent, Route
from stategraph.agent.inputs import AgentInputs, AgentTool
from stategraph.errors import ConfigurationError
from stategraph.graph.state import StateGraph


def build(inputs: Sequence[AgentInputs]) -> tuple[list[Agent], StateGraph[Any, Any, Any, Any]]:
    """The agents of a run and their graph.

    Args:
        inputs: The agents as the host describes them.

    Returns:
        The agents, and the builder of the graph.

    Raises:
        ConfigurationError: They make no sense.
        MissingPackageError: A model's package is not installed.
    """
    agent = make_agent(inputs[0])
    return [agent], graph.single_agent_graph(agent)


def make_agent(inputs: AgentInputs) -> Agent:
    """An agent from its description.

    Args:
        inputs: The description.

    Returns:
        The agent, its models with its tools bound.
    """
    definitions = [
        {"name": each.name, "description": each.description or "", "parameters": each.parameters or _NO_ARGUMENTS}
        for each in inputs.tool_definitions
    ]
    here = _tools(inputs.graph_tools if definitions else (*inputs.tools, *inputs.graph_tools))
    shown: list[Any] = [*definitions, *here.values()]
    system = "\n\n".join(text for text in (inputs.instructions, inputs.additional_instructions) if text)
    return Agent(
        id=inputs.agent_id,
        name=inputs.label,
        routes=(_route(inputs, shown),),
        system=SystemMessage(content=system) if system else None,
        tools=here | inputs.tool_map,
        host_tools=frozenset(each.name for each in inputs.tool_definitions),
        host_tool_names=tuple(each.name for each in inputs.tool_definitions),
        max_tool_result_chars=inputs.max_tool_result_chars,
        max_context_tokens=inputs.max_context_tokens,
    )


_NO_ARGUMENTS: Mapping[str, Any] = {"type": "object", "properties": {}}


def _tools(given: Sequence[AgentTool]) -> dict[str, BaseTool]:
    tools = [each if isinstance(each, BaseTool) else as_tool(each) for each in given]
    return {each.name: each for each in tools}


def _route(inputs: AgentInputs, shown: Sequence[Any]) -> Route:
    model = inputs.model
    if not isinstance(model, BaseChatModel):
        raise ConfigurationError(f"Agent '{inputs.agent_id}' has no model ready to use: give one as 'model'")
    return Route(model.bind_tools(shown) if shown else model, inputs.provider or model._llm_type, "")
