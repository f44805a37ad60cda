"""The LangGraph release whose behaviour this is."""

from stategraph.dropin import LANGGRAPH_VERSION as __version__

__all__ = ("__version__",)
