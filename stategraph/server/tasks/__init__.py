"""Tasks of agent protocols: what A2A and MCP call a task is one or several runs of a thread.

    chains.py     which runs are a task, and in what state it is
    logs.py       what the event log of a run says of it: its end, its questions, its output
    questions.py  what a graph asks, in words
    schemas.py    JSON schemas of the graphs behind assistants
    work.py       begin, answer, follow, cancel and list tasks, through the service

Nothing is stored beside the registry and the threads, so a task is the same on every replica and in every protocol.
"""
