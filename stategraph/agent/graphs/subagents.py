"""Subagents of an agent, built from the host's settings: their graphs, and the tools by which they are called."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence

from langchain_core.messages import ToolCall

from stategraph.agent.agent import Agent
from stategraph.agent.context.subagent import TOOL, Subagent, SubagentTool, UnknownSubagentError
from stategraph.agent.facts import Place
from stategraph.agent.graphs import multi_agent
from stategraph.agent.graphs.agent_graph import single_agent_graph
from stategraph.agent.settings.inputs import AgentInputs, SubagentConfig
from stategraph.errors import ConfigurationError

_log = logging.getLogger(__name__)


def tools_of(inputs: AgentInputs, make: Callable[[AgentInputs], Agent]) -> list[SubagentTool]:
    """Return the tools by which an agent calls its subagents.

    Args:
        inputs: The agent.
        make: Builds an agent that is on its own.

    Raises:
        ConfigurationError: Several have the same type or tool, or an id cannot be that of an agent.
    """
    typed: dict[str, Subagent] = {}
    tools: list[SubagentTool] = []
    for config in inputs.subagent_configs:
        child = _inputs_of(config, inputs)
        multi_agent.check_ids([child.agent_id])
        agent = make(child)
        graph = single_agent_graph(agent).compile(name=agent.id)
        subagent = Subagent(config.type, config.description, agent, graph, config.max_turns)
        if config.tool_name is not None:
            tools.append(SubagentTool(config.tool_name, {config.type: subagent}, chooses=False))
        elif typed.setdefault(config.type, subagent) is not subagent:
            raise ConfigurationError(
                f"Agent {inputs.agent_id!r} has several subagents of the type {config.type!r}: give each its own"
            )
    if typed:
        tools.append(SubagentTool(TOOL, typed))
    names = [each.name for each in tools]
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError(f"Agent {inputs.agent_id!r} has several subagents called by {name!r}: rename one")
    return tools


def _inputs_of(config: SubagentConfig, caller: AgentInputs) -> AgentInputs:
    """Return the settings of a subagent, with the subagents that it may have itself."""
    child = _without_subagents(caller) if config.agent_inputs is None else config.agent_inputs
    update: dict[str, object] = {} if config.name is None else {"name": config.name}
    depth = caller.max_subagent_depth
    if child.subagent_configs and (not config.allow_nested or depth == 1):
        why = "max_subagent_depth" if config.allow_nested else "allow_nested"
        text = "Subagent '%s' of agent '%s' has subagents of its own, which are left out: see %s"
        _log.warning(text, config.type, caller.agent_id, why)
        child = _without_subagents(child)
    elif depth is not None:
        update["max_subagent_depth"] = min(depth - 1, child.max_subagent_depth or depth) or None
    return child.model_copy(update=update) if update else child


def _without_subagents(inputs: AgentInputs) -> AgentInputs:
    names = {TOOL, *(each.tool_name for each in inputs.subagent_configs)}
    policies = {name: policy for name, policy in inputs.tool_policies.items() if name not in names}
    return inputs.model_copy(update={"subagent_configs": (), "tool_policies": policies})


def delegation_of(agents: Sequence[Agent], at: Place, call: ToolCall) -> dict[str, str] | None:
    """Return which subagent a call is for, and its task; None if the call is for none.

    Args:
        agents: All agents.
        at: The place of the call.
        call: The call.
    """
    for agent in agents:
        if agent.id == at.agent_id and (tool := agent.subagents.get(call["name"])) is not None:
            try:
                subagent, task = tool.chosen(call)
            except UnknownSubagentError:
                return None
            return {"agentId": subagent.agent.id, "agentType": subagent.type, "task": task}
    return None


def everyone(agents: Sequence[Agent]) -> Iterator[Agent]:
    """Yield agents, each followed by its subagents and theirs."""
    for agent in agents:
        yield agent
        for tool in agent.subagents.values():
            yield from everyone([each.agent for each in tool.subagents.values()])
