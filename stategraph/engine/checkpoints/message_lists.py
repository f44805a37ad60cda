"""Lists of messages as bytes: their encodings, and their fields written down, by which they are compared and copied.

Rules
-----
* Messages may be changed in place, at any depth. Their fields, in msgpack, are the same bytes as long as they hold the
  same values of the same types, with their keys in the same order.
* Only LangChain's own message classes have such fields: what others are stored as may depend on more than those.
* Fields are plain: what msgpack has no type for is in none, so that reading them gives what was written.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import repeat
from operator import attrgetter
from typing import Any, Final, NamedTuple

import ormsgpack
from langchain_core import messages
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from pydantic import BaseModel

from stategraph.engine.checkpoints import collector, message_index, serializer
from stategraph.engine.checkpoints.serializer import StrictSerializer

_KINDS: Final = ("Human", "AI", "System", "Tool", "Chat", "Function")
CLASSES: Final[frozenset[type]] = frozenset(
    cls
    for kind in _KINDS
    for suffix in ("", "Chunk")
    if (cls := getattr(messages, f"{kind}Message{suffix}", None)) is not None
)
"""The classes whose stored form depends on their fields alone. That of a subclass may depend on anything."""

WHOLE: Final = frozenset(cls for cls in CLASSES if not issubclass(cls, messages.BaseMessageChunk))
"""Those of them that are no pieces of messages."""

SERIALIZERS: Final = frozenset({JsonPlusSerializer, StrictSerializer})
"""The serialisers that store a list as its elements, one behind the other. Their subclasses may do anything."""

_fields: Final = attrgetter("__dict__")
_extra: Final = attrgetter("__pydantic_extra__")
_new: Final[Any] = object.__new__
_call_all: Final = deque[object](maxlen=0).extend
# Without calls of `object.__setattr__`, which looks each of them up by its name.
_set_dict, _set_names, _set_extra, _set_private = (
    BaseModel.__dict__[name].__set__
    for name in ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")
)


class MessageList(NamedTuple):
    """A list of messages as bytes.

    Attributes:
        classes: The classes of the messages.
        fields: Their fields, one behind the other.
        encoded: Their encodings, as a serialiser made them.
        positions: The position of each id in the list, of several messages with one id the last; None if there are
            pieces of messages among them, or some without an id.
    """

    classes: list[type]
    fields: bytes
    encoded: bytes
    positions: dict[str, int] | None


def restored(classes: Sequence[type], fields: bytes) -> list[Any]:
    """Make messages of their fields: new objects, and nothing in them is anybody else's.

    Where a serialiser has made messages with these fields, this makes the same ones, without validating them again.

    Args:
        classes: The classes of the messages.
        fields: Their fields, one behind the other.
    """
    if len(classes) >= collector.MANY:
        # The memory of those that a finished run has left is taken again, while it is near.
        message_index.forget_orphans()
    with collector.paused(len(classes)):
        of_messages = ormsgpack.unpackb(header(len(classes)) + fields, option=ormsgpack.OPT_NON_STR_KEYS)
        made: list[Any] = list(map(_new, classes))
        # Without a step of Python for each message.
        _call_all(map(_set_dict, made, of_messages))
        _call_all(map(_set_names, made, map(set, of_messages)))
        _call_all(map(_set_extra, made, [{} for _ in made]))
        _call_all(map(_set_private, made, repeat(None)))
    return made


def fields_of(value: list[Any]) -> tuple[list[type], bytes]:
    """Return the classes of messages, and their fields as a list in msgpack.

    Raises:
        TypeError: They are no such messages, or something in them is not plain.
        ValueError: So it is.
    """
    classes = list(map(type, value))
    if not CLASSES.issuperset(classes) or any(map(_extra, value)):
        raise TypeError
    return classes, ormsgpack.packb(list(map(_fields, value)), option=serializer.OPTIONS)


def start_of(size: int) -> int:
    """Return at which byte the first element of a list of so many begins."""
    return 1 if size < 16 else 3 if size < 65_536 else 5


def header(size: int) -> bytes:
    """Return how a list of so many elements begins."""
    if size < 16:
        return bytes((0x90 | size,))
    return b"\xdc" + size.to_bytes(2, "big") if size < 65_536 else b"\xdd" + size.to_bytes(4, "big")


def size_of(data: bytes) -> int:
    """Return how many elements a list in msgpack has; 0 if it is none."""
    if not data:
        return 0
    first = data[0]
    if 0x90 <= first <= 0x9F:
        return first & 0x0F
    if first == 0xDC:
        return int.from_bytes(data[1:3], "big")
    return int.from_bytes(data[1:5], "big") if first == 0xDD else 0


def is_restored(message: Any) -> bool:
    """Return whether a message is nothing but its fields, as one that was read from a store."""
    return (
        message.__pydantic_private__ is None
        and message.__pydantic_extra__ == {}
        and message.__pydantic_fields_set__ == message.__dict__.keys()
    )
