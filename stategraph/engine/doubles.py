"""What comes back from a store while an installed LangGraph answers to the address of our classes.

Values are stored under the address of LangGraph, so that either engine finds them (`stategraph.wire`). In a process
that runs our engine beside an installed LangGraph, a serialiser that looks there brings LangGraph's classes back:
doubles of ours, equal in everything but identity. They are exchanged for ours where a saver's answer enters the
engine. In any other process this costs one look into `sys.modules`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

from langgraph.checkpoint.base import CheckpointTuple

from stategraph import types, wire
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
    "TimeoutPolicy": lambda double: TimeoutPolicy(
        run_timeout=double.run_timeout, idle_timeout=double.idle_timeout, refresh_on=double.refresh_on
    ),
}


def exist() -> bool:
    """Whether another engine's classes stand at the address of ours in this process."""
    module = sys.modules.get(wire.ADDRESS)
    return module is not None and getattr(module, "Send", types.Send) is not types.Send


def ours(value: Any) -> Any:
    """A value with the doubles in it exchanged, at any depth of lists, tuples and dicts.

    Returns:
        The same object if there was nothing to exchange.
    """
    cls = type(value)
    if cls is list or cls is tuple:
        items = [ours(item) for item in value]
        return value if all(new is old for new, old in zip(items, value, strict=True)) else cls(items)
    if cls is dict:
        entries = {key: ours(item) for key, item in value.items()}
        return value if all(entries[key] is value[key] for key in value) else entries
    if cls.__module__ == wire.ADDRESS and cls.__name__ in _MAKERS and cls is not vars(types).get(cls.__name__):
        return _MAKERS[cls.__name__](value)
    return value


def received(answer: Any) -> Any:
    """What a saver answered, with the doubles in it exchanged.

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
