"""The functional API."""

# It has loaded the engine, and instrumentations wait for the modules that show that.
from langgraph import pregel as _pregel

from stategraph.dropin_names import names_of as _names_of
from stategraph.graph.func import entrypoint, task

__all__ = ("entrypoint", "task")

__getattr__ = _names_of(__name__)
