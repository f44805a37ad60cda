"""The thread-centred protocol of LangGraph's API (package `langchain-protocol`): commands, and a thread's events.

    numbering.py   numbers of events, the same from every process
    messages.py    pieces of a model's answer as blocks of content
    events.py      events of a run, of what it has logged
    wanted.py      the events that a reader asks for
    reading.py     events of a thread, run after run
    commands.py    what commands do
    routes.py      commands by HTTP, events by SSE, both by WebSocket

Nothing is kept for a reader: events are made of the logs of a thread's runs, whoever asks.
"""
