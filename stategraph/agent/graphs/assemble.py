"""Construction of agents and their graph from the host's settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from langchain_core.messages import SystemMessage

from stategraph.agent.agent import Agent, Route, Summarising
from stategraph.agent.context import instructions
from stategraph.agent.context.context_window import Fitting
from stategraph.agent.context.handoff import Handoff, Role
from stategraph.agent.context.subagent import SubagentTool
from stategraph.agent.context.trimming import TrimSettings
from stategraph.agent.graphs import agent_graph, multi_agent, subagents
from stategraph.agent.llm import models, output_binding, summaries
from stategraph.agent.output import texts
from stategraph.agent.output.agent_output import AgentOutput
from stategraph.agent.ports import ModelRegistry
from stategraph.agent.settings.inputs import AgentInputs, GraphEdge, InitialSummary, ToolDefinition
from stategraph.agent.state import AgentInput, AgentState
from stategraph.agent.tools.toolset import ToolSet
from stategraph.errors import ConfigurationError


def build(
    inputs: Sequence[AgentInputs],
    edges: Sequence[GraphEdge] | None = None,
    shared: ModelRegistry | None = None,
    *,
    sticky: bool = False,
    public: bool = False,
) -> tuple[list[Agent], agent_graph.AgentGraph]:
    """Build the agents of a run and their graph.

    Args:
        inputs: The agents as the host describes them.
        edges: The ways between them; None: only the first agent runs.
        shared: Resolves their models; None: models of their own.
        sticky: Whether a turn begins with the agent that was called last.
        public: Whether others than the run's host start it, who may give messages and nothing of the agents' own state.

    Returns:
        The agents, and the builder of the graph.

    Raises:
        ConfigurationError: They make no sense.
        MissingPackageError: A model's package is not installed.
    """
    input_schema = AgentInput if public else AgentState
    if edges is None:
        multi_agent.check_ids([inputs[0].agent_id])
        agent = make_agent(inputs[0], None, shared)
        return [agent], agent_graph.single_agent_graph(agent, input_schema)
    wiring = multi_agent.wire([(each.agent_id, each.label) for each in inputs], edges, sticky=sticky)
    agents = [make_agent(each, wiring, shared) for each in inputs]
    return agents, multi_agent.several_agents_graph(agents, wiring, input_schema)


def make_agent(
    inputs: AgentInputs, wiring: multi_agent.Wiring | None = None, shared: ModelRegistry | None = None
) -> Agent:
    """Build an agent from its description.

    Args:
        inputs: The description.
        wiring: The ways between it and others; None: it is on its own.
        shared: Resolves their models; None: models of their own.

    Returns:
        The agent, its models with its tools bound.

    Raises:
        ConfigurationError: A tool has the name of a handoff, or of what takes the output; or the output type is wrong.
    """
    delegating = subagents.tools_of(inputs, lambda child: make_agent(child, None, shared))
    tools = ToolSet.of(inputs, [each.name for each in delegating])
    handoffs = () if wiring is None else wiring.handoffs.get(inputs.agent_id, ())
    others: list[Handoff | SubagentTool] = [*handoffs, *delegating]
    candidates = models.candidates(inputs, shared)
    output = output_binding.output_of(inputs, candidates, has_tools=bool(tools.offers or others))
    added = _added_tools(inputs.agent_id, tools, others, output)
    shown = (*tools.shown(inputs.discovered_tools), *added)
    offers_tools = bool(tools.offers or added)

    @cache
    def rebound(found: frozenset[str]) -> tuple[Route, ...]:
        more = (*tools.shown({*inputs.discovered_tools, *found}), *added)
        return output_binding.routes(candidates, more, output)

    agent = Agent(
        id=inputs.agent_id,
        name=inputs.label,
        routes=rebound(frozenset()),
        system=_system(inputs, inputs.initial_summary, output),
        tools=tools.local,
        tool_policies=inputs.tool_policies,
        host_tools=frozenset(tools.hosted),
        host_tool_names=tools.names_shown(inputs.discovered_tools),
        handoffs={each.name: each for each in handoffs},
        subagents={each.name: each for each in delegating},
        role=None if wiring is None else _role(inputs.agent_id, wiring, offers_tools, candidates[0].provider),
        group_id=None if wiring is None else wiring.groups.get(inputs.agent_id),
        max_tool_result_chars=inputs.max_tool_result_chars,
        max_context_tokens=inputs.max_context_tokens,
        fitting=_fitting(inputs, candidates[0], shown),
        offers_tools=offers_tools,
        plain_text=inputs.use_legacy_content,
        tool_end=inputs.tool_end,
        rebound=rebound if tools.defers else None,
        output=output,
    )
    if agent.fitting is None or not inputs.summarization_enabled:
        return agent
    # A summary is no output, for which the agent's own routes would ask.
    routes = agent.routes if output is None else output_binding.routes(candidates, shown)
    summarising = _summarising(inputs, routes, shown, shared)
    return replace(agent, summarising=replace(summarising, system=_system(inputs, None, output)))


def _added_tools(
    agent_id: str, tools: ToolSet, others: Sequence[Handoff | SubagentTool], output: AgentOutput | None
) -> list[ToolDefinition]:
    """Return the tools that an agent has beside its own: handoffs, subagents, and those that take its output.

    Raises:
        ConfigurationError: A tool of its own has the name of one of them.
    """
    outputs = () if output is None else output.type.by_tool
    own = {*tools.local, *tools.hosted}
    kinds = [(each.name, "a handoff" if isinstance(each, Handoff) else "a subagent") for each in others]
    reserved = [(name, by) for name, by in kinds if name in own]
    own |= {*dict(tools.offers), *dict(kinds)}
    reserved += [(name, "what takes its output") for name in outputs if name in own]
    for name, by in reserved:
        raise ConfigurationError(
            f"Agent {agent_id!r}: the name {name!r} is used by a tool and by {by}; rename the tool"
        )
    return [*(each.definition for each in others), *(() if output is None else output.tools)]


def _system(
    inputs: AgentInputs, summary: InitialSummary | None, output: AgentOutput | None = None
) -> SystemMessage | None:
    asked = texts.instructions(output.type.schema) if output is not None and "prompt" in output.modes else None
    before = None if summary is None else f"## What came before this conversation, in summary\n\n{summary.text}"
    cache = instructions.prompt_cache(inputs)
    return instructions.system_message([inputs.instructions, asked], [inputs.additional_instructions, before], cache)


def _fitting(inputs: AgentInputs, candidate: models.Candidate, shown: Sequence[Any]) -> Fitting | None:
    if inputs.max_context_tokens is None:
        return None
    settings = TrimSettings(
        max_context_tokens=inputs.max_context_tokens,
        reserve_ratio=inputs.summarization_config.reserve_ratio,
        summarise=inputs.summarization_enabled,
        thinking=models.thinks(candidate.model),
        max_tool_result_chars=inputs.max_tool_result_chars,
        context_pruning=inputs.context_pruning_config.pruning(),
    )
    initial = 0 if inputs.initial_summary is None else inputs.initial_summary.token_count
    provider, name = candidate.provider, candidate.name
    return Fitting(settings, tuple(shown), provider, name, inputs.tool_schema_tokens, initial)


def _summarising(
    inputs: AgentInputs, routes: tuple[Route, ...], shown: Sequence[Any], shared: ModelRegistry | None
) -> Summarising:
    config = inputs.summarization_config
    writers = models.summarisers(inputs, shared)
    if writers is not None:
        # With the agent's tools: some providers refuse a history with calls if none are offered.
        routes = output_binding.routes(writers, shown)
    return Summarising(
        routes=routes,
        prompt=config.prompt or summaries.PROMPT,
        update_prompt=config.update_prompt or summaries.UPDATE_PROMPT,
        trigger=config.trigger,
        retain=config.retain_recent,
        initial=None if inputs.initial_summary is None else inputs.initial_summary.text,
    )


#: Parts of the names of providers whose models take up the text of the agent before them where that comes last.
_WANT_CUE = ("anthropic", "bedrock", "mistral")


def _role(agent_id: str, wiring: multi_agent.Wiring, has_tools: bool, provider: str) -> Role:
    needs_cue = any(part in provider.lower() for part in _WANT_CUE)
    return Role(agent_id, wiring.names, has_tools, needs_cue, wiring.sticky)
