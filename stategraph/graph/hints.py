"""Information about the graph in the annotations of a node's or a router's function.

The first parameter's class is the part of the state the function wants. A return type `Command[Literal[...]]` names
the nodes a node may go to, and `Literal[...]` those a router may answer.

Annotations that cannot be resolved say nothing; they are never an error.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import isclass, isfunction, ismethod, signature
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from langchain_core.runnables import RunnableLambda

from stategraph import wire
from stategraph.engine.compile.functions import RunnableCallable
from stategraph.graph import schema
from stategraph.types import Command

_UNIONS: Final = (Union, types.UnionType)


@dataclass(frozen=True, slots=True)
class NodeHints:
    """Information in the annotations of a node's function.

    Attributes:
        input_schema: The class of its first parameter, if it declares state keys.
        goto: The nodes it says it may go to.
    """

    input_schema: type[object] | None = None
    goto: tuple[str, ...] = ()


NO_HINTS: Final = NodeHints()


def node_hints(action: object) -> NodeHints:
    """Read the hints of a node.

    Args:
        action: What the author gave as a node: a function, a method, or an object with a `__call__` method. Anything
            else (a Runnable, a partial) has no hints.
    """
    function = _python_function(action)
    if function is None:
        return NO_HINTS
    input_schema = None
    try:
        hints = get_type_hints(function)
        if not hints:
            return NO_HINTS
        input_schema = _first_parameter(function, hints)
        return NodeHints(input_schema, _command_targets(hints.get("return")))
    except (NameError, TypeError):
        return NodeHints(input_schema)


def router_input(path: object) -> type[object] | None:
    """Return the class of a router's first parameter, if it declares state keys."""
    if isinstance(path, (RunnableCallable, RunnableLambda)):
        found = (_python_function(getattr(path, name, None)) for name in ("func", "afunc"))
        function = next((each for each in found if each is not None), None)
    else:
        function = path if callable(path) else None
    if function is None:
        return None
    try:
        return _first_parameter(function, get_type_hints(function))
    except (NameError, TypeError):
        return None


def router_answers(path: object) -> tuple[Any, ...] | None:
    """Return the answers that a router declares, or None."""
    if not isinstance(path, (RunnableCallable, RunnableLambda)):
        return None
    function = getattr(path, "func", None) or getattr(path, "afunc", None)
    try:
        returned = get_type_hints(function).get("return")
    except Exception:
        # Evaluating an annotation runs arbitrary code; one that fails says nothing.
        return None
    return get_args(returned) if get_origin(returned) is Literal else None


def _python_function(thing: object) -> Callable[..., Any] | None:
    if isfunction(thing) or ismethod(thing):
        return thing
    method = getattr(thing, "__call__", None)  # noqa: B004  the method itself is wanted
    return method if ismethod(method) else None


def _first_parameter(function: Callable[..., Any], hints: Mapping[str, object]) -> type[object] | None:
    name = next(iter(signature(function).parameters), None) if hints else None
    hint = None if name is None else hints.get(name)
    return hint if schema.declares_keys(hint) else None


def _command_targets(returned: object) -> tuple[str, ...]:
    members = get_args(returned) if get_origin(returned) in _UNIONS else (returned,)
    command = next((member for member in members if _is_command(get_origin(member))), None)
    names = get_args(command)[:1]
    return get_args(names[0]) if names and get_origin(names[0]) is Literal else ()


def _is_command(cls: object) -> bool:
    """Return whether a class is `Command`, ours or that of an installed LangGraph."""
    return cls is Command or (isclass(cls) and wire.is_double_class(cls, Command))
