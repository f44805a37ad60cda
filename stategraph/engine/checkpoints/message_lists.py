"""Lists of messages as bytes: their encodings, and their fields written down, by which they are compared and copied.

Rules
-----
* Messages may be changed in place, at any depth. Their fields, in msgpack, are the same bytes as long as they hold the
  same values of the same types, with their keys in the same order.
* Only LangChain's own message classes have such fields: what others are stored as may depend on more than those.
* Fields are plain: what msgpack has no type for is in none, so that reading them gives what was written.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any, Final

import ormsgpack
from langchain_core import messages
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from pydantic import BaseModel

from stategraph.engine.checkpoints import serializer
from stategraph.engine.checkpoints.serializer import StrictSerializer

_KINDS: Final = ("Human", "AI", "System", "Tool", "Chat", "Function")
CLASSES: Final[frozenset[type]] = frozenset(
    cls
    for kind in _KINDS
    for suffix in ("", "Chunk")
    if (cls := getattr(messages, f"{kind}Message{suffix}", None)) is not None
)
"""The classes whose stored form depends on their fields alone. That of a subclass may depend on anything."""

SERIALIZERS: Final = frozenset({JsonPlusSerializer, StrictSerializer})
"""The serialisers that store a list as its elements, one behind the other. Their subclasses may do anything."""

_fields: Final = attrgetter("__dict__")
_extra: Final = attrgetter("__pydantic_extra__")
_COPIED: Final = frozenset({dict, list})
_new: Final[Any] = object.__new__
# Without calls of `object.__setattr__`, which looks each of them up by its name.
_set_dict, _set_names, _set_extra, _set_private = (
    BaseModel.__dict__[name].__set__
    for name in ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")
)


class MessageList:
    """A list of messages as bytes, and how to make it again.

    Attributes:
        classes: The classes of the messages.
        fields: Their fields, one behind the other.
        encoded: Their encodings, as a serialiser made them.
    """

    __slots__ = ("_plans", "classes", "encoded", "fields")

    def __init__(self, classes: list[type], fields: bytes, encoded: bytes) -> None:
        """Args: classes: Those of the messages; fields: Their fields; encoded: Their encodings."""
        self.classes = classes
        self.fields = fields
        self.encoded = encoded
        # Of the first messages, and where the fields of the others begin. Together, as several threads may ask at once.
        self._plans: tuple[list[_Plan], int] = ([], 0)

    def continued(self, classes: list[type], fields: bytes, encoded: bytes) -> MessageList:
        """Return a longer list.

        Args:
            classes: The classes of the further messages.
            fields: Their fields.
            encoded: The encodings of all.
        """
        longer = MessageList(self.classes + classes, self.fields + fields, encoded)
        longer._plans = self._plans
        return longer

    def restored(self) -> list[Any]:
        """Make the messages anew; each was made once as the serialiser does it."""
        plans, start = self._plans
        if len(plans) < len(self.classes):
            classes = self.classes[len(plans) :]
            fields = ormsgpack.unpackb(header(len(classes)) + self.fields[start:], option=ormsgpack.OPT_NON_STR_KEYS)
            plans = plans + list(map(_plan, classes, fields))
            self._plans = plans, len(self.fields)
        made: list[Any] = []
        for cls, kept, nested in plans:
            message, of_message = _new(cls), kept.copy()
            for name in nested:
                value = kept[name]
                of_message[name] = _copied(value) if value else [] if type(value) is list else {}
            _set_dict(message, of_message)
            _set_names(message, set(kept))
            _set_extra(message, {})
            _set_private(message, None)
            made.append(message)
        return made


_Plan = tuple[type, dict[str, Any], tuple[str, ...]]
"""How a message is made: its class, its fields, and the names of those that are copied as they may be changed."""


def _plan(cls: type, fields: dict[str, Any]) -> _Plan:
    return cls, fields, tuple([name for name, value in fields.items() if type(value) in _COPIED])


def _copied(value: Any) -> Any:
    kind = type(value)
    if kind is dict:
        return {key: _copied(item) if type(item) in _COPIED else item for key, item in value.items()}
    return [_copied(item) if type(item) in _COPIED else item for item in value]


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
