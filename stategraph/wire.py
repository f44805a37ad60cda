"""The address under which a value is stored.

A serialiser stores an object as its class's module and name, and finds the class again by importing that module.
Threads are exchanged with LangGraph in both directions, so the classes that reach a store are stored under LangGraph's
address. The drop-in's `langgraph.types` holds these very classes.
"""

from typing import Final, TypeVar

ADDRESS: Final = "langgraph.types"

T = TypeVar("T")


def stored(cls: type[T]) -> type[T]:
    """Give `cls` the address that both engines know."""
    cls.__module__ = ADDRESS
    return cls
