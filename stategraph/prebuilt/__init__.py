"""Nodes and agents with the interface of langgraph-prebuilt, which the drop-in serves as `langgraph.prebuilt`.

    injection.py          arguments that tools get from the graph, and how they are declared
    tool_request.py       a tool call on its way through wrappers
    tool_errors.py        errors of tools, as text for a model
    tool_results.py       outputs of tools, checked and put together for the graph
    parallel.py           the calls of a message beside each other
    steps.py              what sync and async nodes do, written once
    tool_node.py          `ToolNode`, `tools_condition`
    validation_node.py    `ValidationNode`
    tool_streams.py       tool calls as projections of an event stream
    human_interrupt.py    questions to a person, and answers
    agent_state.py        the state of `create_react_agent`
    prompts.py            a prompt in front of a model
    agent_models.py       the model of an agent: bound to tools, chosen per call, asked
    agent_nodes.py        the nodes and routers of the agent
    react_agent.py        `create_react_agent`

Where nobody could notice, models and tools are called by the short way of `stategraph.agent.invocation`. This package
must never know how a run is watched by a host, the Run API, or the agents that are made of settings.
"""
