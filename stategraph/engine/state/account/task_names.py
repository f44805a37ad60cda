"""The names of functions (`@task`) that the code of a node may call, found without running any of it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import CodeType
from typing import Any, Final

from stategraph.engine.compile.functions import RunnableCallable, RunnableSeq

_MOST: Final = 64
_DEEPEST: Final = 4


def named_by(node: Any) -> tuple[str, ...]:
    """Return the names of the functions that a node's code mentions and that run as tasks.

    Args:
        node: The compiled node.
    """
    found: dict[str, None] = {}
    known: set[int] = set()
    for function in _functions(node.bound):
        _collect(function, found, known, 0)
    return tuple(found)


def _functions(work: Any) -> Iterator[Any]:
    if isinstance(work, RunnableSeq):
        for step in work.steps:
            yield from _functions(step)
    elif isinstance(work, RunnableCallable):
        yield from (each for each in (work.func, work.afunc) if each is not None)
    elif callable(getattr(work, "func", None)):  # a runnable of an installed LangGraph, or of LangChain
        yield work.func


def _collect(function: Any, found: dict[str, None], known: set[int], depth: int) -> None:
    function = inspect.unwrap(getattr(function, "func", function)) if callable(function) else function
    code = getattr(function, "__code__", None)
    if code is None or id(code) in known or depth > _DEEPEST or len(found) >= _MOST:
        return
    known.add(id(code))
    scope = getattr(function, "__globals__", {})
    cells = zip(code.co_freevars, getattr(function, "__closure__", None) or (), strict=False)
    inner = {name: _content(cell) for name, cell in cells}
    for name in _names(code):
        value = inner.get(name, scope.get(name))
        if value is None:
            continue
        if _is_task(value):
            found[str(getattr(value.func, "__name__", name))] = None
            _collect(value.func, found, known, depth + 1)
        elif inspect.isfunction(value):
            _collect(value, found, known, depth + 1)


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    yield from code.co_freevars
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _is_task(value: Any) -> bool:
    return callable(value) and all(hasattr(value, name) for name in ("func", "retry_policy", "cache_policy"))
