"""Finding the graph that a node runs, also when it is hidden in a function.

A graph that is a node is found at once. For a function that calls one, the function is read: every value it captured,
every global it names, and every attribute path it loads from either. That can find too much (a value that is never
reached), which costs nothing but an entry in an inspection. It does not look into containers.

Which paths a piece of code loads never changes, so the code is read once; only resolving the paths is per function.
"""

from __future__ import annotations

import dis
from collections.abc import Callable, Iterator
from functools import lru_cache
from types import CodeType, FunctionType
from typing import Final

from langchain_core.runnables import RunnableLambda, RunnableSequence

from stategraph.engine.compile.functions import RunnableCallable, RunnableSeq
from stategraph.engine.compile.protocol import AnyGraph, AnyRunnable, GraphProtocol

_PLAIN: Final = frozenset(
    (bool, bytearray, bytes, complex, dict, float, frozenset, int, list, set, str, tuple, type(None))
)
"""Types whose values lead nowhere. Exactly these: an instance of a subclass may have attributes."""

_GLOBAL: Final = "LOAD_GLOBAL"
_ROOTS: Final = frozenset((_GLOBAL, "LOAD_DEREF"))
_ATTRIBUTES: Final = frozenset(("LOAD_ATTR", "LOAD_METHOD"))

Path = tuple[bool, str, tuple[str, ...]]
"""A path: whether it starts at a global or a captured variable, the name it starts at, the attributes it follows."""


def find_subgraph(candidate: AnyRunnable) -> AnyGraph | None:
    """Find the graph that a Runnable runs.

    Args:
        candidate: The work of a node.

    Returns:
        The first graph found, breadth first; None if there is none. A graph that opted out of checkpoints
        (`checkpointer=False`) has no state to inspect and does not count.
    """
    queue: list[object] = [candidate]
    for item in queue:
        # The exact type first: asking whether something is an instance of an abstract class is slow.
        if type(item) is RunnableCallable or isinstance(item, RunnableCallable):
            if item.stands_for is not None:
                queue.append(item.stands_for)
            function = item.func if item.func is not None else item.afunc
            queue.extend(getattr(value, "__self__", value) for value in function_nonlocals(function))
        elif isinstance(item, GraphProtocol):
            if getattr(item, "checkpointer", None) is not False:
                return item
        elif isinstance(item, (RunnableSequence, RunnableSeq)):
            queue.extend(item.steps)
        elif isinstance(item, RunnableLambda):
            queue.extend(item.deps)
    return None


def function_nonlocals(function: Callable[..., object] | None) -> list[object]:
    """List the values that a function reaches from outside of itself.

    Args:
        function: A function or a bound method; one that wraps another (`__wrapped__`) is looked through.

    Returns:
        The values it captured, then those its code loads, in order. Empty for what has no Python code.
    """
    inner = getattr(function, "__func__", function)
    if callable(wrapped := getattr(inner, "__wrapped__", None)):
        inner = getattr(wrapped, "__func__", wrapped)
    if not isinstance(inner, FunctionType):
        return []
    captured = dict(_captured(inner))
    space = inner.__globals__
    named = {name: space[name] for name in inner.__code__.co_names if name in space}
    found = list(captured.values())
    if all(type(value) in _PLAIN for values in (captured, named) for value in values.values()):
        return found
    for is_global, root, attributes in _loaded_paths(inner.__code__):
        value = (named if is_global else captured).get(root)
        for attribute in (None, *attributes):
            if attribute is not None:
                value = getattr(value, attribute, None)
            if value is not None:
                found.append(value)
    return found


def _captured(function: FunctionType) -> Iterator[tuple[str, object]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        try:
            yield name, cell.cell_contents
        except ValueError:  # declared and not assigned yet
            continue


@lru_cache(maxsize=4096)
def _loaded_paths(code: CodeType) -> tuple[Path, ...]:
    paths: dict[Path, None] = {}
    pending = [code]
    for block in pending:  # functions, lambdas and comprehensions inside, too
        pending.extend(constant for constant in block.co_consts if isinstance(constant, CodeType))
        current: Path | None = None
        for instruction in dis.get_instructions(block):
            extends = current is not None and instruction.opname in _ATTRIBUTES
            if current is not None and not extends:
                paths[current] = None
            if instruction.opname in _ROOTS:
                current = (instruction.opname == _GLOBAL, str(instruction.argval), ())
            elif current is not None and extends:
                current = (current[0], current[1], (*current[2], str(instruction.argval)))
            else:
                current = None
    return tuple(paths)
