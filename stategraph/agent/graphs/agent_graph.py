"""An agent as a graph: the model, its tools, and back, until an answer calls none.

Built with the public graph API, so that it is drawn, checkpointed, interrupted and time-travelled like any other:

    START -> agent=<id> -> tools=<id> -> agent=<id> -> ... -> END          one agent's own graph
             agent=<id> -> summarize=<id> -> agent=<id>                     where it summarises what does not fit
             agent=<id> -> output=<id> -> agent=<id> or END                  where it has to give an output of a type
    START -> <id> -> done -> END                                            the graph of a run

The graph of a run with several agents is in `multi_agent`.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from langchain_core.messages import AIMessage

from stategraph.agent.agent import Agent
from stategraph.agent.context.context_state import ContextState
from stategraph.agent.graphs import done
from stategraph.agent.graphs.output_node import OutputNode
from stategraph.agent.llm.llm_node import LlmNode
from stategraph.agent.llm.summarize import SummarizeNode
from stategraph.agent.ports import AgentContext
from stategraph.agent.state import AgentState, was_halted
from stategraph.agent.tools.tools_node import ToolsNode, wants_tools
from stategraph.constants import END, START
from stategraph.graph.state import StateGraph

#: The builder of a graph of agents.
AgentGraph: TypeAlias = StateGraph[AgentState, AgentContext, Any, AgentState]


def agent_subgraph(agent: Agent) -> AgentGraph:
    """Build the graph of one agent, to be a node of a graph of agents.

    Args:
        agent: The agent. If it has a role among others, it does nothing in a turn that another agent has ended.

    Returns:
        The builder; compile it without a checkpointer.
    """
    graph = StateGraph(AgentState, context_schema=AgentContext)
    graph.add_node(agent.llm_node, LlmNode(agent).as_runnable())
    if agent.role is None:
        graph.add_edge(START, agent.llm_node)
    else:
        graph.add_conditional_edges(
            START, lambda state: END if was_halted(state) else agent.llm_node, [agent.llm_node, END]
        )
    ways = [END]
    if agent.summarising is not None:
        graph.add_node(agent.summarize_node, SummarizeNode(agent, agent.summarising).as_runnable())
        graph.add_edge(agent.summarize_node, agent.llm_node)
        ways.append(agent.summarize_node)
    # Also without tools: a model may call one that there is not, and has to be told.
    graph.add_node(agent.tools_node, ToolsNode(agent).as_runnable())
    ways.append(agent.tools_node)
    output = None if agent.output is None else _add_output(graph, agent, OutputNode(agent, agent.output))
    ways += [] if output is None else [agent.output_node]

    def after_llm(state: AgentState) -> str:
        if agent.summarising is not None and ContextState.of_agent(state, agent.id).wanted:
            return agent.summarize_node
        last = state["messages"][-1]
        if output is not None and isinstance(last, AIMessage) and output.takes(last) and not was_halted(state):
            return agent.output_node
        return agent.tools_node if isinstance(last, AIMessage) and wants_tools(last) else END

    def after_tools(state: AgentState) -> str:
        if agent.tool_end or state.get("halt_reason") or (output is not None and output.is_given(state["messages"])):
            return END
        return agent.llm_node

    graph.add_conditional_edges(agent.llm_node, after_llm, ways)
    graph.add_conditional_edges(agent.tools_node, after_tools, [agent.llm_node, END])
    return graph


def _add_output(graph: AgentGraph, agent: Agent, output: OutputNode) -> OutputNode:
    """Add the node that takes an agent's output, and the ways from it."""

    def after_output(state: AgentState) -> str:
        return output.after(state["messages"]) or END

    graph.add_node(agent.output_node, output.as_runnable())
    graph.add_conditional_edges(agent.output_node, after_output, [agent.llm_node, agent.tools_node, END])
    return output


def single_agent_graph(agent: Agent, input_schema: type[Any] = AgentState) -> AgentGraph:
    """Build the graph of a run with one agent.

    Args:
        agent: The agent.
        input_schema: The part of the state that a run starts from.

    Returns:
        The builder.
    """
    graph: AgentGraph = StateGraph(AgentState, context_schema=AgentContext, input_schema=input_schema)
    graph.add_node(agent.id, agent_subgraph(agent).compile(name=agent.id))
    graph.add_node(done.NODE, done.node([agent.id]))
    graph.add_edge(START, agent.id)
    graph.add_edge(agent.id, done.NODE)
    graph.add_edge(done.NODE, END)
    return graph
