"""Appearance of our classes to packages that know LangGraph's: their stored addresses, the families they join.

A serialiser stores an object as its class's module and name, and finds the class again by importing that module.
Threads are exchanged with LangGraph in both directions, so the classes that reach a store are stored under LangGraph's
address. The drop-in's `langgraph.types` holds these very classes.

Some packages look at a value's class instead. What they look for is their own, and this module must not import it, so
the engine hands it in, once, when it is imported.
"""

from typing import Final, TypeVar

ADDRESS: Final = "langgraph.types"

T = TypeVar("T")


def stored(cls: type[T]) -> type[T]:
    """Give `cls` the address that both engines know."""
    cls.__module__ = ADDRESS
    return cls


def is_double(value: object, cls: type) -> bool:
    """Tell whether a value is of the class that an installed LangGraph has at the address of one of ours.

    Args:
        value: Anything but an instance of `cls`.
        cls: A stored class of ours.
    """
    return is_double_class(type(value), cls)


def is_double_class(other: type, cls: type) -> bool:
    """Tell whether `other` is the class that an installed LangGraph has at the address of `cls`, which is ours."""
    return other.__name__ == cls.__name__ and other.__module__ == ADDRESS and other is not cls


def join(cls: type, family: type) -> None:
    """Make `cls` a subclass of a class that could not be imported where `cls` is defined.

    Args:
        cls: One of ours. Its own bases stay in front; a direct subclass of a built-in exception cannot join.
        family: Theirs, a class without fields.
    """
    if family not in cls.__mro__:
        cls.__bases__ = (*cls.__bases__, family)
