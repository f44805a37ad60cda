"""Cache keys of code: the namespace under which the results of a node or a task are cached.

Rules
-----
* A function that its module and name tell apart from all others is cached under these, as LangGraph does, so caches
  that LangGraph filled stay good.
* Anything else that can be called (a lambda, a function made inside another, a callable object, a method, a partial, a
  nested graph) shares its name with others like it, or has none. A digest of what tells it apart is added: its code,
  its class, and what it holds, private attributes included, as it is when first asked for.
* A result of other code must never be taken for its own; not to find an old result is only a pity. So what cannot be
  looked into (a connection, a generator), or is too large to be examined whole, is told apart by its identity:
  code that holds it shares its results with nothing but itself. Locks tell nothing apart.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Set
from enum import Enum
from functools import cached_property, partial
from hashlib import sha256
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, Final
from weakref import WeakKeyDictionary

from langchain_core.runnables import Runnable

from stategraph.constants import CACHE_NS_WRITES
from stategraph.engine.compile.functions import RunnableCallable, RunnableSeq
from stategraph.engine.compile.node import PregelNode
from stategraph.engine.compile.task_functions import identifier
from stategraph.engine.config import environment

_DEPTH: Final = 16
_MOST_VALUES: Final = 2_000
"""Limit for the values of an object that are examined: one that holds a corpus has to be told apart by less."""

_PLAIN: Final = (type(None), bool, int, float, complex, str, bytes, Enum)
_DIGEST_CHARS: Final = 16

_SAYS_NOTHING: Final = (
    type(threading.Lock()),
    type(threading.RLock()),
    threading.local,
    threading.Condition,
    threading.Event,
)

_known: MutableMapping[Any, str] = WeakKeyDictionary()
_identities: MutableMapping[Any, str] = WeakKeyDictionary()


class CacheNamespace:
    """The namespace under which the results of a piece of code are cached; computed on first use, and then fixed."""

    __slots__ = ("_code", "_known", "_suffix")

    def __init__(self, code: object, *suffix: str) -> None:
        """Args: code: As for `cache_name`. suffix: What comes behind the name, the node's name for instance."""
        self._code = code
        self._suffix = suffix
        self._known: tuple[str, ...] | None = None

    def __call__(self) -> tuple[str, ...]:
        """Return the namespace."""
        if self._known is None:
            self._known = (CACHE_NS_WRITES, cache_name(self._code), *self._suffix)
        return self._known


def cache_name(obj: object) -> str:
    """Name a piece of code for a cache.

    Args:
        obj: A function, or a node or Runnable around one.

    Returns:
        Module and qualified name, with a digest behind them unless they are enough.
    """
    code = _unwrapped(obj)
    if _has_its_own_name(code):
        return str(identifier(code))
    try:
        name = _known.get(code)
    except TypeError:  # it cannot be hashed, or not be referred to weakly
        return _digested(code)
    if name is None:
        name = _digested(code)
        _known[code] = name
    return name


def _unwrapped(obj: object) -> object:
    work = obj.bound if isinstance(obj, PregelNode) else obj
    first = work.steps[0] if isinstance(work, RunnableSeq) else work
    if not isinstance(first, RunnableCallable):
        return first
    return first.func if first.func is not None else first.afunc


def _has_its_own_name(code: object) -> bool:
    return isinstance(code, (FunctionType, BuiltinFunctionType, type)) and "<" not in code.__qualname__


def _digested(code: object) -> str:
    name = identifier(code) or f"{type(code).__module__}.{type(code).__qualname__}"
    digest = sha256()
    for piece in _Description().of(code, _DEPTH):
        digest.update(piece.encode("utf-8", "surrogatepass"))
        digest.update(b"\0")
    return f"{name}#{digest.hexdigest()[:_DIGEST_CHARS]}"


class _Description:
    """A description of a piece of code, as a sequence of strings that is the same in every process."""

    def __init__(self) -> None:
        # Kept alive, so that nothing else gets their ids.
        self._seen: dict[int, object] = {}
        self._left = _MOST_VALUES

    def of(self, value: object, depth: int) -> Iterator[str]:
        """Describe a value; of one that was described before, only the class."""
        self._left -= 1
        if isinstance(value, _PLAIN):
            yield f"{type(value).__qualname__} {value!r}"
        elif isinstance(value, type):
            yield f"class {value.__module__}.{value.__qualname__}"
        else:
            yield f"a {type(value).__module__}.{type(value).__qualname__}"
            if id(value) in self._seen or isinstance(value, _SAYS_NOTHING):
                return
            self._seen[id(value)] = value
            if depth > 0 and self._left > 0:
                yield from self._inside(value, depth - 1)
            else:
                yield _identity(value)

    def _inside(self, value: object, depth: int) -> Iterator[str]:
        if isinstance(value, FunctionType):
            yield from self._function(value, depth)
        elif isinstance(value, BuiltinFunctionType):
            yield f"{value.__module__}.{value.__qualname__}"
        elif isinstance(value, (ModuleType, logging.Logger)):
            yield value.__name__ if isinstance(value, ModuleType) else value.name
        elif isinstance(value, MethodType):
            yield from self._all((value.__func__, value.__self__), depth)
        elif isinstance(value, partial):
            yield from self._all((value.func, value.args, value.keywords), depth)
        elif isinstance(value, CodeType):
            yield value.co_code.hex()
            yield from self._all((value.co_names, value.co_consts), depth + 1)
        elif isinstance(value, Mapping):
            yield from self._unordered((tuple(item) for item in value.items()), depth)
        elif isinstance(value, Set):
            yield from self._unordered(value, depth)
        elif isinstance(value, (list, tuple)):
            yield from self._all(value, depth)
        elif (fields := _attributes(value)) is not None:
            yield from self._unordered(fields.items(), depth)
        elif (state := _pickled_state(value)) is not None:
            yield from self._all(state, depth)
        else:
            yield _identity(value)

    def _function(self, function: FunctionType, depth: int) -> Iterator[str]:
        yield f"{function.__module__}.{function.__qualname__}"
        if "<" not in function.__qualname__:
            return
        code = function.__code__
        yield from self.of(code, depth)
        yield from self._all((function.__defaults__, function.__kwdefaults__), depth)
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            yield name
            try:
                yield from self.of(cell.cell_contents, depth)
            except ValueError:  # not assigned yet
                pass

    def _all(self, values: Iterable[object], depth: int) -> Iterator[str]:
        for value in values:
            yield from self.of(value, depth)

    def _unordered(self, values: Iterable[object], depth: int) -> Iterator[str]:
        described = []
        for value in values:
            if self._left <= 0:
                described.append(_identity(values))
                break
            described.append(" ".join(self.of(value, depth)))
        yield from sorted(described)


def _attributes(value: object) -> dict[str, object] | None:
    """Collect an object's attributes, without cached properties; None if it has none."""
    kind = type(value)
    slots = [cls.__dict__.get("__slots__", ()) for cls in kind.__mro__]
    names = [name for some in slots for name in ((some,) if isinstance(some, str) else some)]
    if not names and not hasattr(value, "__dict__"):
        return None
    fields = {
        **getattr(value, "__dict__", {}),
        **{name: getattr(value, name) for name in names if hasattr(value, name)},
    }
    if isinstance(value, Runnable) and isinstance(nodes := fields.get("nodes"), Mapping):
        return {"nodes": nodes}  # a graph: the rest is what it runs with
    return {
        name: content
        for name, content in fields.items()
        if name not in ("__weakref__", "__dict__") and not isinstance(getattr(kind, name, None), cached_property)
    }


def _pickled_state(value: object) -> tuple[object, ...] | None:
    """Return the state that a native object is pickled as, such as a date's fields; None if it cannot be pickled."""
    try:
        state = value.__reduce_ex__(4)
    except Exception:  # any error of the object's own code
        return None
    return state[:3] if isinstance(state, tuple) else (state,)


def _identity(value: object) -> str:
    """Make a text that identifies this object (and those that equal it), and no other in any process."""
    try:
        return _identities.setdefault(value, environment.current().ids.unique().hex)
    except TypeError:  # it cannot be hashed, or not be referred to weakly
        return environment.current().ids.unique().hex
