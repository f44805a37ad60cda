"""The run API over HTTP, for backends and scripts: threads, runs, their events, answers; without a page.

    routes.py         the API under `/v1`, and `/health`
    access.py         the token of requests
    application.py    all of it as one ASGI application
    stopping.py       the end of a server: runs have some time to come to theirs
    serving.py        the application on a port

What threads and runs are is `stategraph.dev`'s to know, whose endpoints these are. It must never know how the command
line spells its options, and whoever has the token may do everything: users are the backend's business. Needs the
extra `server`.
"""

from stategraph.server.serving import serve

__all__ = ("serve",)
