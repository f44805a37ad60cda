"""LangGraph's API, as `langgraph_sdk` and the pages and servers that use it call it.

    assistants.py, threads.py, runs.py, crons.py, store.py, info.py
                  the routes
    schemas.py, checks.py
                  bodies of requests, and how they are checked
    bodies.py     a body that asks for a run as a `RunRequest`
    answers.py    JSON, and pages with their headers
    wire.py       JSON as LangGraph's server writes it, who asks
    snapshots.py, drawings.py
                  states and graphs as JSON
    protocol/     the protocol of threads: commands and events
    frames.py     events of a run as the frames of its stream
    stream.py     streams of server-sent events

Every endpoint translates a request into calls of the service and its answer into JSON; it decides nothing.
"""

from __future__ import annotations

from starlette.routing import BaseRoute

from stategraph.server.langgraph import assistants, crons, info, runs, store, threads
from stategraph.server.langgraph.protocol import routes as protocol
from stategraph.server.service.port import Service


def routes(service: Service) -> list[BaseRoute]:
    """Return all routes of the API."""
    # Those of schedules are before those of runs, whose ids stand in the same place.
    modules = (assistants, crons, threads, protocol, runs, store, info)
    return [route for module in modules for route in module.routes(service)]
