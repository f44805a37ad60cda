"""Runs as a chat backend sees them: events in a stable order, the content to store, a way to stop, pause and resume.

This package listens to agents through the ports of `agent`, and speaks to the host's handlers, hooks and readers.
It must never know how a graph executes or how a model is reached, nor import a provider, a saver or a server.

Its packages and modules, lowest first. Each imports only those above it in this list:

    abort.py, loop_affinity.py, questions.py, pauses.py   stopping, waiting, and what a thread waits for
    background_loop.py  an event loop for callers that cannot await
    json_safe.py  payloads as JSON
    ports.py      where events are kept, and runs are found
    events/       numbered events and content parts, made from the reports of agents
    hooks/        functions of the host that see a run at fixed points; approval of tool calls
    history/      between turns: stored messages, recovery, titles
    turn/         one execution: its inputs, its lock, the client's tools, its end
    graphs/       runs of graphs that the host made
    facade.py     runs for callers that cannot await
    config.py     the configuration of a run
    building.py   the graph of a run, of its agents or of the host's graph
    run.py        `Run`
    recent_runs.py  the runs of this process by their ids
    threads/      threads as a person sees them: listed, read, copied, deleted
    runtime.py    `AgentRuntime`: what runs share; long_term.py: memories of a person, kept between conversations
"""
