"""The server without HTTP: graphs, runs, threads, assistants, the store, schedules.

    port.py      the interfaces that all protocols share
    values.py    the values, which `port` has too
    graphs/      the graphs, by langgraph.json or as objects
    runs/        runs over the registry of workers

A protocol translates requests into calls of a `Service`, and its answers and events into bytes; it calls nothing
below. A run of the server is a run of the registry of workers, so any process that has the database may serve it.
Nothing in here must know HTTP, or the words of a protocol.
"""
