"""The functional API."""

from stategraph.graph.func import entrypoint, task

__all__ = ("entrypoint", "task")
