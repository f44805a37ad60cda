"""Nodes as the values that they stand for; each one is made anew, so nobody else has it."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from importlib import import_module
from typing import Any, Final

from langgraph.checkpoint.serde.types import _DeltaSnapshot

from stategraph import types, wire
from stategraph.savers.compact import nodes
from stategraph.savers.compact.coder import MSGPACK, Coder, unpack
from stategraph.savers.compact.nodes import Node, Part

_LONG: Final = 500
"""Values of a list from which on the collector is paused while they are decoded."""

_NOTHING: Final = nullcontext()


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Keep Python's garbage collector from running while many objects are made that all stay alive.

    It would look through them again and again: of the time that a conversation of 10,000 messages takes to load, more
    than half. It is the process's, so threads that run meanwhile are not collected either, for some milliseconds.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class Decoder:
    """Decodes what was stored of one thread.

    Args:
        coder: Decodes values.
        values: Kind and plain bytes of the values that are needed, by number.
    """

    def __init__(self, coder: Coder, values: Mapping[int, tuple[str, bytes]]) -> None:
        self._coder = coder
        self._values = values

    def value(self, node: Node) -> Any:
        """Return the value of a node.

        Raises:
            ValueError: The node is of no known form, or a value that it refers to is not there.
        """
        if node is None:
            return None
        if type(node) is bytes:
            return self._coder.load(MSGPACK, node)
        if type(node) is int:
            return self._of(node)
        match node:
            case ["l", *parts]:
                return self._list(parts)
            case ["d", keys, children]:
                return dict(zip(keys, map(self.value, children), strict=True))
            case ["s", name, argument]:
                return _send_class()(name, self.value(argument))
            case ["z", value]:
                return _DeltaSnapshot(self.value(value))
            case ["t", kind, data]:
                return self._coder.load(kind, data)
        raise ValueError(f"A stored value has a form that is not known: {str(node)[:80]}")

    def _list(self, parts: Iterable[Part]) -> list[Any]:
        found: list[Any] = []
        values, load = self._values, self._coder.load
        numbers = [*numbers_of(parts, values)]
        with _NOTHING if len(numbers) < _LONG else _collector_paused():
            for number in numbers:
                kind, data = _at(values, number)
                if kind == MSGPACK:
                    found.append(load(MSGPACK, data))
                elif kind == nodes.ELEMENTS:
                    found += load(MSGPACK, data)
                else:
                    found.append(self._of(number))
        return found

    def _of(self, number: int) -> Any:
        kind, data = _at(self._values, number)
        return self.value(unpack(data)) if kind == nodes.NODE else self._coder.load(kind, data)


def numbers_of(parts: Iterable[Part], values: Mapping[int, tuple[str, bytes]]) -> Iterator[int]:
    """Yield the numbers of a list's values, in order, looking up pages among the values."""
    for part in parts:
        if type(part) is int:
            yield from numbers_of(unpack(_at(values, part)[1]), values)
        else:
            yield from range(part[0], part[1] + 1)


def _at(values: Mapping[int, tuple[str, bytes]], number: int) -> tuple[str, bytes]:
    found = values.get(number)
    if found is None:
        raise ValueError(
            f"Stored value {number} of the thread is missing: something else has deleted it from the database"
        )
    return found


def _send_class() -> Any:
    """Return the class that packets are made of: that of the engine whose `langgraph.types` is installed."""
    try:
        return import_module(wire.ADDRESS).Send
    except ImportError:
        return types.Send
