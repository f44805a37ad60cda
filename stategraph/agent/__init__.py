"""Agents: models and tools as nodes of graphs, what a model is sent, and what its answers mean for the next call.

Agents are built with the public graph API and tell what they do through ports (`stategraph.agent.ports`). This package
must never know how a run is watched, who executes a host's tools, or who decides about a call: no event, handler or
content part here.

Its packages and modules, lowest first. Each imports only those above it in this list:

    messages/     messages and arguments made fit to be stored, sent or shown: repaired, cut, shortened
    settings/     the host's settings of agents, checked; secrets kept out of texts
    facts.py      reports of agents to their listener (with `reporting.py`: what running tools report; and `state.py`)
    ports.py      listeners, tool hosts, gates, sources of models and tools
    context/      the context that a model is sent: counting, trimming, handoffs, state between calls
    agent.py      one agent, resolved: models, tools, context
    invocation/   one model or one tool, invoked directly or in LangChain's way
    tools/        the calls of an answer, executed
    llm/          models, resolved and called; summaries
    mcp/          tools of MCP servers
    graphs/       agents as graphs: one, or several with edges and handoffs
"""
