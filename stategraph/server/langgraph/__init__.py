"""LangGraph's API, as `langgraph_sdk` and the pages and servers that use it call it.

    wire.py      JSON as LangGraph's server writes it, bodies of requests, who asks
    bodies.py    a body that asks for a run as a `RunRequest`
    frames.py    events of a run as the frames of its stream
    stream.py    streams of server-sent events
    runs.py      the routes of runs

Every endpoint translates a request into calls of the service and its answer into JSON; it decides nothing.
"""
