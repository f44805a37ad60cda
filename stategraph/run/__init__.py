"""Runs as a chat backend sees them: events in a stable order, the content to store, a way to stop, pause and resume.

This room listens to agents through the ports of the room below, and speaks to the host's handlers, hooks and readers.
It must never know how a graph executes or how a model is reached, nor import a provider, a saver or a server.

Its packages and modules, lowest first. Each imports only those above it in this list:

    abort.py, loop_affinity.py, questions.py, pauses.py   stopping, waiting, and what a thread waits for
    events/       from facts of agents to numbered events and content parts
    hooks/        functions of the host that see a run at fixed points; approval of tool calls
    history/      from one turn to the next: stored messages, recovery, titles
    turn/         one execution: its inputs, its lock, the client's tools, its end
    config.py     what a host says about a run
    run.py        `Run`
    runtime.py    `AgentRuntime`: what runs share; long_term.py: what is known of a person beyond a conversation
"""
