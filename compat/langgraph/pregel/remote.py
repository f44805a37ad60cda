"""A graph on a server."""


def __getattr__(name: str) -> object:
    """Say why `RemoteGraph` is not here, in place of an unexplained missing name."""
    if name in ("RemoteGraph", "RemoteException"):
        raise ImportError(
            f"stategraph has no {name}: graphs on a LangGraph server can be called only with the installed langgraph. "
            "Unset STATEGRAPH_RUNTIME for this program."
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
