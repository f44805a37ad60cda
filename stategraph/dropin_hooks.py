"""Modules of LangGraph that instrumentations wait for, imported when the part of the engine is loaded that they show.

New Relic's agent wraps `langgraph.pregel._executor` at the moment when it is imported. On LangGraph, importing
`langgraph.graph` imports all of the engine; here the engine is loaded with a graph's first node. The rules:

1. A module of the engine that such modules show ends with ``shown_by_langgraph(__name__)``.
2. Nothing happens unless `langgraph.graph` has been imported from the drop-in: a program that uses `stategraph` alone
   is not shown to instrumentations of LangGraph.
3. `langgraph.graph` catches up with what was loaded before it.
"""

from __future__ import annotations

import sys
from importlib import import_module

TYPE_CHECKING = False  # the typing module is not needed by a program that loads no engine
if TYPE_CHECKING:
    from typing import Final

SHOWN_BY: Final = {
    "stategraph.graph.assembly": "langgraph.pregel",
    "stategraph.engine.streams.events.run": "langgraph.stream.run_stream",
}
"""Modules of the engine to the modules of LangGraph that show them."""


def shown_by_langgraph(name: str) -> None:
    """Import the module of LangGraph that shows a module of the engine, if programs get the engine as LangGraph.

    Args:
        name: The module of the engine, loaded.
    """
    builder = getattr(sys.modules.get("langgraph.graph"), "StateGraph", None)
    if builder is not None and builder.__module__.startswith("stategraph."):
        import_module(SHOWN_BY[name])


def catch_up() -> None:
    """Import what shows the modules that have been loaded already."""
    for name in SHOWN_BY:
        if name in sys.modules:
            shown_by_langgraph(name)
