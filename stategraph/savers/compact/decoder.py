"""Nodes as the values that they stand for; each one is made anew, so nobody else has it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any

from langgraph.checkpoint.serde.types import _DeltaSnapshot

from stategraph import types, wire
from stategraph.engine.checkpoints import collector
from stategraph.savers.compact import nodes
from stategraph.savers.compact.coder import MSGPACK, Coder, unpack
from stategraph.savers.compact.nodes import Node, Part


class Decoder:
    """Decodes what was stored of one thread.

    Args:
        coder: Decodes values.
        values: Kind and plain bytes of the values that are needed, by number.

    Attributes:
        coder: The coder.
    """

    def __init__(self, coder: Coder, values: Mapping[int, tuple[str, bytes]]) -> None:
        self.coder = coder
        self._values = values

    def value(self, node: Node) -> Any:
        """Return the value of a node.

        Raises:
            ValueError: The node is of no known form, or a value that it refers to is not there.
        """
        if node is None:
            return None
        if type(node) is bytes:
            return self.coder.load(MSGPACK, node)
        if type(node) is int:
            return self._of(node)
        match node:
            case ["l", *parts]:
                return self.elements(self.numbers(parts))
            case ["d", keys, children]:
                return dict(zip(keys, map(self.value, children), strict=True))
            case ["s", name, argument]:
                return _send_class()(name, self.value(argument))
            case ["z", value]:
                return _DeltaSnapshot(self.value(value))
            case ["t", kind, data]:
                return self.coder.load(kind, data)
        raise ValueError(f"A stored value has a form that is not known: {str(node)[:80]}")

    def numbers(self, parts: Iterable[Part]) -> list[int]:
        """Return the numbers of a list's values, in order.

        Raises:
            ValueError: A page of them is missing.
        """
        found: list[int] = []
        for part in parts:
            found += self.numbers(unpack(self._at(part)[1])) if type(part) is int else range(part[0], part[1] + 1)
        return found

    def elements(self, numbers: Sequence[int]) -> list[Any]:
        """Return the elements of a list, of the numbers of its values.

        Raises:
            ValueError: A value is missing.
        """
        found: list[Any] = []
        load = self.coder.load
        with collector.paused(len(numbers)):
            for number in numbers:
                kind, data = self._at(number)
                if kind == MSGPACK:
                    found.append(load(MSGPACK, data))
                elif kind == nodes.ELEMENTS:
                    found += load(MSGPACK, data)
                else:
                    found.append(self._of(number))
        return found

    def _of(self, number: int) -> Any:
        kind, data = self._at(number)
        return self.value(unpack(data)) if kind == nodes.NODE else self.coder.load(kind, data)

    def _at(self, number: int) -> tuple[str, bytes]:
        found = self._values.get(number)
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
