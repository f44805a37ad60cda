"""Digests of capabilities: over what a model is told, and over the code that is executed.

Equal code has equal digests in every process of one Python version: nothing depends on addresses, the order of sets or
the place of a file. Covered are the bytecode of a function with its constants and inner functions, and its defaults;
code that it calls is not. A digest with another Python version is another one, as bytecode is.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import CodeType, FunctionType, MethodType
from typing import Any, Final

from stategraph.governance import canonical

_DEEPEST: Final = 64
_PLAIN: Final = (type(None), bool, int, float, complex, str, bytes, type(...))


def of_parts(parts: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """Return one digest over named parts, and the digest of each.

    Args:
        parts: JSON by name; what is no JSON is taken as its `repr`.
    """
    each = {name: _of(value) for name, value in parts.items() if value is not None}
    return canonical.digest(each), each


def _of(value: Any) -> str:
    try:
        return canonical.digest(value)
    except ValueError:
        return hashlib.sha256(repr(value).encode("utf-8", "surrogatepass")).hexdigest()


def of_code(function: Callable[..., Any] | None) -> str | None:
    """Return the digest of a function's code; None: there is none, or it is not written in Python."""
    while isinstance(function, partial):
        function = function.func
    function = inspect.unwrap(function) if function is not None else None
    if isinstance(function, MethodType):
        function = function.__func__
    if function is not None and not isinstance(function, FunctionType):
        function = vars(type(function)).get("__call__")
    if not isinstance(function, FunctionType):
        return None
    hashed = hashlib.sha256()
    defaults = (function.__defaults__, function.__kwdefaults__)
    for piece in (*_code(function.__code__), *_constant(defaults, 0)):
        hashed.update(piece.encode("utf-8", "surrogatepass"))
        hashed.update(b"\0")
    return hashed.hexdigest()


def _code(code: CodeType, depth: int = 0) -> Iterator[str]:
    yield code.co_code.hex()
    yield " ".join((*code.co_names, "/", *code.co_varnames, "/", *code.co_freevars))
    for constant in code.co_consts:
        yield from _constant(constant, depth + 1)


def _constant(value: object, depth: int) -> Iterator[str]:
    if depth > _DEEPEST:
        yield "deeper"
    elif isinstance(value, CodeType):
        yield from _code(value, depth)
    elif isinstance(value, tuple | list):
        yield f"{type(value).__name__} of {len(value)}"
        for each in value:
            yield from _constant(each, depth + 1)
    elif isinstance(value, frozenset | set | dict):
        members = value.items() if isinstance(value, dict) else value
        yield f"{type(value).__name__} of {len(value)}"
        yield from sorted(" ".join(_constant(each, depth + 1)) for each in members)
    elif isinstance(value, _PLAIN):
        yield f"{type(value).__name__} {value!r}"
    else:
        yield f"a {type(value).__module__}.{type(value).__qualname__}"
