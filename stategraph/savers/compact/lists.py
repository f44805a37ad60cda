"""Lists as they were and as they are: what was appended, told without encoding what was there before.

Elements may have been changed in place, at any depth. So the fields of all elements are written down at every save,
which takes a twelfth of encoding them, and what was stored is used as long as its fields are the same bytes: the same
values of the same types, keys in the same order.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter
from typing import Any

from stategraph.engine.checkpoints import message_lists
from stategraph.savers.compact.coder import pack
from stategraph.savers.compact.known import Line

_extra = attrgetter("__pydantic_extra__")


def fields_of(value: list[Any]) -> tuple[list[type], bytes] | None:
    """Return the classes of a list's elements and their fields; None if something in them is not plain."""
    classes = list(map(type, value))
    try:
        if not message_lists.CLASSES.isdisjoint(classes):
            if not message_lists.CLASSES.issuperset(classes) or any(map(_extra, value)):
                return None
            fields = pack([message.__dict__ for message in value])
        else:
            fields = pack(value)
    except (TypeError, ValueError, AttributeError, RecursionError):
        return None
    return classes, fields[len(header(len(value))) :]


def header(size: int) -> bytes:
    """Return how msgpack begins a list of so many elements."""
    if size < 16:
        return bytes((0x90 | size,))
    if size < 0x10000:
        return b"\xdc" + size.to_bytes(2, "big")
    return b"\xdd" + size.to_bytes(4, "big")


def continued(lines: Iterable[Line], classes: list[type], fields: bytes) -> tuple[Line, int] | None:
    """Return the line that a list begins with, or that begins with the list, and how many elements they share.

    Args:
        lines: Known lists.
        classes: The classes of the list's elements.
        fields: Their fields.
    """
    size = len(classes)
    for line in lines:
        known = len(line.classes)
        if known <= size:
            if fields.startswith(line.fields) and classes[:known] == line.classes:
                return line, known
        elif not line.is_grouped and line.fields.startswith(fields) and line.classes[:size] == classes:
            return line, size
    return None
