"""A graph that runs on a server, called like one that runs here (needs the extra `remote`).

`wire` says how values look on the wire, `relay` turns what a server streams into what a caller of `stream` expects,
`graph` is the graph, `run` the handle of a run's event stream. The client library does the talking.

Nothing else in the engine imports this package: a program without remote graphs needs no client library. It must never
run a graph or read a saver in this process: the server does both.
"""

from importlib.util import find_spec as _find_spec

if _find_spec("langgraph_sdk") is None:
    raise ModuleNotFoundError(
        "RemoteGraph needs the client library of LangGraph servers: pip install 'stategraph[remote]'",
        name="langgraph_sdk",
    )
