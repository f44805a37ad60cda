"""The server: graphs and agents over HTTP, for the clients of several protocols.

    service/          the server without HTTP: graphs, runs, threads, assistants, the store, schedules
    projection/       the log of a run as facts that chat protocols tell
    langgraph/, agui/, vercel/, openai/, a2a/, mcp/
                      the protocols: each translates requests into calls of the service, and knows no other
    turns/, tasks/    what several of these share: a turn of a conversation, a task
    routes.py         the Run API under `/v1`, whose endpoints are those of `stategraph.dev`; ownership.py: of whom
    access/           who asks
    limits.py, cors.py, headers.py, errors.py, observing.py, streams.py
                      what every request passes, and what is told of it
    health.py, openapi/
                      readiness; the routes, described
    hosting.py        the service opened: its database, its workers
    protocols.py      the protocols, imported when they are asked for; queueing.py: a limit of what waits
    faults.py         answers where the server fails
    application.py    all of it as one ASGI application; custom.py: within that of a program
    settings.py       settings; configuring.py: from a file
    stopping.py       the end of a server: runs have some time to come to theirs
    serving.py        the application on a port

It must never know how the command line spells its options. Needs the extra `server`.
"""

from stategraph.server.serving import serve

__all__ = ("serve",)
