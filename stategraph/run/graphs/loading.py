"""A graph from what a host gave: the compiled graph itself, its import path, or a function that makes it."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Mapping
from typing import Any

from stategraph import import_paths
from stategraph.engine.engine import StateGraphEngine
from stategraph.errors import ConfigurationError

_NEEDED = ("astream", "aget_state", "aupdate_state", "copy", "nodes", "channels")
_EXPECTED = (
    "a compiled graph, such as StateGraph(...).compile() or an @entrypoint, its import path as 'package.module:graph', "
    "or a function without arguments that returns one"
)


def load(given: Any) -> Any:
    """Return the compiled graph that a host means.

    Args:
        given: The graph, its import path, or a function that makes it.

    Raises:
        ConfigurationError: There is none.
    """
    found, named = given, ""
    if isinstance(given, str):
        if ":" not in given:
            raise ConfigurationError(f"'graph' is {given!r}; expected {_EXPECTED}")
        found, named = import_paths.imported(given, "The graph"), f"{given!r} is "
    if not _is_graph(found) and callable(found) and not isinstance(found, type) and not hasattr(found, "compile"):
        found, named = _made(found, given), f"{given!r} returned "
    if _is_graph(found):
        return found
    what = f"{named}a value of type {type(found).__name__}" if named else f"'graph' is of type {type(found).__name__}"
    if hasattr(found, "compile"):
        raise ConfigurationError(f"{what}, which is not compiled; give the run what its compile() returns")
    if type(found).__name__ == "RemoteGraph":
        raise ConfigurationError(f"{what}, a graph on a server, whose models cannot be heard; give a run {_EXPECTED}")
    raise ConfigurationError(f"{what}; expected {_EXPECTED}")


def _made(make: Callable[[], Any], given: object) -> Any:
    """Call the function that makes a graph.

    Raises:
        ConfigurationError: It needs arguments, or is async.
        Exception: What it raised.
    """
    try:
        inspect.signature(make).bind()
    except TypeError as error:
        raise ConfigurationError(
            f"'graph' is {given!r}, which cannot be called without arguments ({error}); expected {_EXPECTED}"
        ) from None
    except ValueError:
        pass  # of a function without a signature, which is written in C
    found = make()
    if inspect.iscoroutine(found):
        found.close()
        raise ConfigurationError(f"{given!r} is async, and a run is made without waiting: give it what this returns")
    return found


def with_options(graph: Any, **options: Any) -> Any:
    """Return a graph with some of its attributes replaced; those that are None or empty stay as they are."""
    update = {name: value for name, value in options.items() if value is not None and value != []}
    if isinstance(graph.checkpointer, bool):  # of a graph that is nested elsewhere: a run has no graph around it
        update.setdefault("checkpointer", None)
    return graph.copy(update) if update else graph


def is_foreign(graph: Any) -> bool:
    """Return whether a graph is one of an installed LangGraph."""
    return not isinstance(graph, StateGraphEngine)


def takes_messages(graph: Any) -> bool:
    """Return whether the state of a graph has a conversation under `messages`, merged by a reducer."""
    channel = graph.channels.get("messages") if isinstance(graph.channels, Mapping) else None
    reducer = getattr(channel, "operator", None) or getattr(channel, "reducer", None)
    # A list that is just added to may be of anything.
    return reducer is not None and reducer is not operator.add


def _is_graph(value: object) -> bool:
    return not isinstance(value, type) and all(hasattr(value, name) for name in _NEEDED)
