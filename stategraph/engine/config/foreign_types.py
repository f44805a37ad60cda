"""Values and exceptions of an installed LangGraph, in a process that has both engines.

LangGraph's `Command`, `Send`, `Interrupt` and so on are doubles of ours, equal in everything but identity. They enter
the engine in two ways, and are exchanged for ours there:

* A program that uses this package's own API takes such classes from `langgraph.types`, as most examples do: they are
  exchanged in what a node or router returns, what a run is given, what a policy or an annotation says. `interrupt()` of
  LangGraph works in our nodes, as it reads a task's config by the keys that both engines share; what it raises becomes
  our exception.
* Values are stored under the address of LangGraph, so that either engine finds them (`stategraph.wire`): a serialiser
  that looks there brings LangGraph's classes back. They are exchanged where a saver's answer enters the engine.

LangGraph is never imported: it is looked for in `sys.modules`, and only where a value is not one of ours.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from operator import is_
from typing import Any, Final

from langgraph.checkpoint.base import CheckpointTuple

from stategraph import errors, types, wire
from stategraph.core.channels import reducers
from stategraph.policies import TimeoutPolicy

_MAKERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "Send": lambda double: types.Send(double.node, ours(double.arg), timeout=ours(double.timeout)),
    "Interrupt": lambda double: types.Interrupt(
        ours(double.value), double.id, response_schema=getattr(double, "response_schema", None)
    ),
    "Command": lambda double: types.Command(
        graph=double.graph, update=ours(double.update), resume=ours(double.resume), goto=ours(double.goto)
    ),
    "Overwrite": lambda double: types.Overwrite(ours(double.value)),
    "StateUpdate": lambda double: types.StateUpdate(*map(ours, double)),
    "TimeoutPolicy": TimeoutPolicy.coerce,
}


def exist() -> bool:
    """Return whether another engine's classes stand at the address of ours in this process."""
    module = sys.modules.get(wire.ADDRESS)
    if module is None or getattr(module, "Send", types.Send) is types.Send:
        return False
    if overwrite := getattr(module, "Overwrite", None):
        reducers.understand(overwrite)
    return True


def ours(value: Any) -> Any:
    """Exchange the doubles in a value, at any depth of lists, tuples and dicts.

    Returns:
        The same object if there was nothing to exchange.
    """
    cls = type(value)
    if cls is list or cls is tuple:
        items = [ours(item) for item in value]
        return value if all(map(is_, items, value)) else cls(items)
    if cls is dict:
        entries = {key: ours(item) for key, item in value.items()}
        return value if all(entries[key] is value[key] for key in value) else entries
    if cls.__module__ == wire.ADDRESS and cls.__name__ in _MAKERS and cls is not vars(types).get(cls.__name__):
        return _MAKERS[cls.__name__](value)
    return value


def taken(value: Any) -> Any:
    """Exchange the doubles in a value that enters the engine.

    Args:
        value: What a node returned or a run is given. A dict is taken as it is: what it holds is the state's, and an
            `Overwrite` in it is understood by the channel.
    """
    return value if type(value) is dict or not exist() else ours(value)


_ERRORS: Final = "langgraph.errors"


def bubble(error: BaseException) -> errors.GraphBubbleUp | None:
    """Make our exception for one by which LangGraph's `interrupt()`, or code written for it, leaves a node.

    Args:
        error: What a node raised, none of ours.

    Returns:
        The exception to raise in its place; None if it is an error like any other.
    """
    family = getattr(sys.modules.get(_ERRORS), "GraphBubbleUp", None)
    if family is None or not isinstance(error, family):
        return None
    names = {cls.__name__ for cls in type(error).__mro__}
    if "GraphInterrupt" in names:
        return errors.GraphInterrupt(tuple(map(ours, error.args[0] if error.args else ())))
    if "ParentCommand" in names:
        return errors.ParentCommand(ours(error.args[0]))
    if "GraphDrained" in names:
        return errors.GraphDrained(getattr(error, "reason", "shutdown"))
    return errors.GraphBubbleUp(*error.args)


def pause(interrupts: tuple[Any, ...] = ()) -> errors.GraphInterrupt:
    """Make the exception by which a task pauses.

    Code written for an installed LangGraph, such as the tool node of langgraph-prebuilt, lets only LangGraph's own
    class pass and takes any other for a failure to be handled. While LangGraph is loaded it is of both classes.

    Args:
        interrupts: What the task waits for.
    """
    theirs = getattr(sys.modules.get(_ERRORS), "GraphInterrupt", None)
    if theirs is None or issubclass(errors.GraphInterrupt, theirs):
        return errors.GraphInterrupt(interrupts)
    return _of_both(theirs)(interrupts)


@lru_cache(maxsize=1)
def _of_both(theirs: type[Exception]) -> type[errors.GraphInterrupt]:
    members = {"__module__": __name__, "__doc__": errors.GraphInterrupt.__doc__, "__reduce__": _reduce}
    return type("GraphInterrupt", (errors.GraphInterrupt, theirs), members)


def _reduce(error: errors.GraphInterrupt) -> tuple[object, ...]:
    return errors.GraphInterrupt, error.args  # the process that reads it may not have LangGraph


def received(answer: object) -> Any:
    """Exchange the doubles in a saver's answer.

    Args:
        answer: A checkpoint with what belongs to it, a list of them, or anything else, which is left as it is.
    """
    if not exist():
        return answer
    if isinstance(answer, list):
        return [received(item) for item in answer]
    if not isinstance(answer, CheckpointTuple):
        return answer
    return answer._replace(checkpoint=ours(answer.checkpoint), pending_writes=ours(answer.pending_writes))
