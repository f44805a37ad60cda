"""Lists as they were and as they are: what was appended, told without encoding or decoding what was there before.

Elements may have been changed in place, at any depth. So the fields of all elements are written down at every save,
and what was stored is used as long as its fields are the same bytes: the same values of the same types, keys in the
same order.

A list that is read begins mostly with what was read the turn before. Messages that this process has decoded once are
made of their fields, so that nobody else has them; the others are decoded, and their fields written down.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any

from stategraph.engine.checkpoints import message_lists
from stategraph.savers.compact.coder import pack
from stategraph.savers.compact.decoder import Decoder
from stategraph.savers.compact.known import Decoded, Known, Line
from stategraph.savers.compact.nodes import Part, runs_of

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


def read(decoder: Decoder, parts: Iterable[Part], known: Known, place: tuple[str, str]) -> list[Any]:
    """Return a list, and take note of it.

    Args:
        decoder: Decodes.
        parts: The parts of its node.
        known: What is known of the thread, all values of the list among it.
        place: The namespace and name of what it is the value of.

    Raises:
        ValueError: A value is missing.
    """
    numbers = decoder.numbers(parts)
    lines, by = known.lines.get(place, ()), decoder.coder.reads_as
    classes, fields = _known_beginning(lines, numbers, by)
    value = message_lists.restored(classes, fields)
    rest = decoder.elements(numbers[len(value) :])
    if (found := fields_of(rest)) is None or (value and not message_lists.CLASSES.issuperset(found[0])):
        return value + rest
    classes, fields, value = classes + found[0], fields + found[1], value + rest
    decoded = None
    if len(value) == len(numbers) and _is_as_stored(rest):
        decoded = Decoded(by, len(value), len(fields))
    for line in lines:
        if line.numbers == numbers and line.fields == fields and line.classes == classes:
            line.decoded = decoded
            return value
    is_grouped = len(value) != len(numbers)
    known.keep_line(place, Line(classes, fields, numbers, is_grouped, runs_of(numbers), decoded), None)
    return value


def _known_beginning(lines: Iterable[Line], numbers: list[int], by: object) -> tuple[list[type], bytes]:
    """Return the classes and fields of the messages that were decoded before, and that a list begins with."""
    for line in lines:
        if (decoded := line.decoded) is not None and decoded.by == by:
            size = decoded.size
            if size <= len(numbers) and line.numbers[:size] == numbers[:size]:
                return line.classes[:size], line.fields[: decoded.end]
    return [], b""


def _is_as_stored(elements: Sequence[Any]) -> bool:
    """Return whether elements are messages, and nothing but their fields."""
    return message_lists.CLASSES.issuperset(map(type, elements)) and all(map(message_lists.is_restored, elements))
