"""The functional API."""

from stategraph.dropin_names import names_of as _names_of
from stategraph.graph.func import entrypoint, task

__all__ = ("entrypoint", "task")

__getattr__ = _names_of(__name__)
