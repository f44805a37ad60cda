"""Lists of messages that are encoded once in a run, and not again at every save.

A list of messages is stored anew whenever something is appended to it, and nearly all of the time that a save takes
goes into encoding the messages that were there before. So what savers are given in place of such a list is its bytes,
of which only the end is new.

Rules
-----
* The bytes are those that the saver's serialiser makes of the list.
* At every save the fields of all messages are written down (see `message_lists`), and what was encoded is used as long
  as these are the same bytes. Those that the run has loaded need not be looked at before it gives out its state.
* Only savers whose every value goes through a serialiser of the known kinds, and nowhere else, are given bytes.
* A list is remembered from the third time on, as those that are stored twice would lose by it; one that the run has
  loaded from the first, if it is known what its bytes come to (see `known_lists`).
* What is remembered belongs to a run, and is bounded.
"""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import ormsgpack
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer

from stategraph.core.checkpoint import Checkpoint, Values
from stategraph.core.task import Write
from stategraph.engine.checkpoints import message_lists
from stategraph.engine.checkpoints.message_lists import CLASSES, MessageList
from stategraph.engine.checkpoints.saver_interfaces import Saver
from stategraph.types import Send

REMEMBERED_FROM: Final = 3
"""Number of the encoding of a list from which on it is remembered."""

MOST_BYTES: Final = 64 * 1024 * 1024
"""Limit for what a run remembers of one list; longer ones are encoded anew each time."""

_MOST_LISTS: Final = 8
_PAUSE: Final = 16
"""Encodings for which a list is left alone that has something in it that is not plain."""
_DEPTH: Final = 3
_MOST_KEYS: Final = 32
"""How far dicts are searched for lists of messages, which a tool's call has in its copy of the state."""

_SAVERS: Final[Mapping[tuple[str, str], bool]] = {
    ("langgraph.checkpoint.memory", "InMemorySaver"): False,
    ("langgraph.checkpoint.sqlite", "SqliteSaver"): True,
    ("langgraph.checkpoint.sqlite.aio", "AsyncSqliteSaver"): True,
    ("langgraph.checkpoint.postgres", "PostgresSaver"): False,
    ("langgraph.checkpoint.postgres.aio", "AsyncPostgresSaver"): False,
    ("stategraph.savers.postgres.saver", "PostgresSaver"): False,
    ("stategraph.savers.postgres.saver", "AsyncPostgresSaver"): False,
}
"""Savers that do nothing with a value but to have it serialised, and whether each of their checkpoints has all values
rather than the new ones. A subclass may do anything. One that does so in some of its forms says in which (see
`serialises_whole`)."""

_SEARCHED: Final = frozenset({list, dict, Send})
_FIRST: Final = CLASSES | {Send}
"""What a list that is searched begins with."""


def for_saver(saver: Saver) -> EncodedMessages | None:
    """Return what encodes the messages of a run with this saver; None if it has to be given the values themselves."""
    kind, serde = type(saver), saver.serde
    inner = serde.serde if type(serde) is EncryptedSerializer else serde
    whole = _SAVERS.get((kind.__module__, kind.__qualname__))
    if whole is None or type(inner) not in message_lists.SERIALIZERS or not serialises_whole(saver):
        return None
    return EncodedMessages(inner, whole=whole)


def serialises_whole(saver: Saver) -> bool:
    """Return whether a saver has each value serialised as it is; a saver with several forms has an attribute for it."""
    return bool(getattr(saver, "serialises_whole", True))


class _Line:
    """A list of messages that grows from save to save.

    Attributes:
        first: Its first message, by which it is recognised.
        times: How often it was encoded.
        classes: The classes of the messages that are remembered.
        fields: Their fields, written down.
        encoded: Their encodings.
        loaded: The list of just these messages, until the first save; None if they have come in another way, or have
            no ids yet, which a reducer gives them.
    """

    __slots__ = ("classes", "encoded", "fields", "first", "loaded", "times")

    def __init__(self, first: object) -> None:
        self.first = first
        self.forget(0)

    def forget(self, times: int) -> None:
        """Forget its messages, and begin to count again."""
        self.times = times
        self.classes: list[type] = []
        self.fields = b""
        self.encoded = bytearray()
        self.loaded: list[Any] | None = None


class EncodedMessages:
    """Encodes the lists of messages that one run saves; used by one thread at a time."""

    __slots__ = ("_lines", "_serde", "_whole")

    def __init__(self, serde: SerializerProtocol, *, whole: bool = False) -> None:
        """Args: serde: The saver's serialiser; whole: Whether a checkpoint is stored with values that are not new."""
        self._serde = serde
        self._whole = whole
        # By the identity of the first message, the one that was asked for last at the end.
        self._lines: dict[int, _Line] = {}

    def remember(self, lists: Iterable[tuple[list[Any], MessageList]]) -> None:
        """Take over lists that the run has loaded, and what is known of them."""
        for loaded, known in lists:
            line = self._lines[id(loaded[0])] = _Line(loaded[0])
            line.loaded = loaded if known.positions is not None else None
            line.times = REMEMBERED_FROM
            line.classes, line.fields, line.encoded = known.classes, known.fields, bytearray(known.encoded)

    def checkpoint(self, checkpoint: Checkpoint, new: Collection[str], unread: Collection[str] = ()) -> Checkpoint:
        """Return a checkpoint for a saver, itself if there is nothing in it that is remembered.

        Args:
            checkpoint: The checkpoint.
            new: The channels whose values are new.
            unread: Those whose messages only reducers that change none of them have had since the run has loaded them.
        """
        values: Values = checkpoint.get("channel_values", {})
        changed: Values = {}
        for name in values if self._whole else new:
            value = values.get(name)
            if (kind := type(value)) not in _SEARCHED or (kind is list and not (value and type(value[0]) in _FIRST)):
                continue
            if (encoded := self.value(value, unread=name in unread)) is not value:
                changed[name] = encoded
        return {**checkpoint, "channel_values": {**values, **changed}} if changed else checkpoint

    def writes(self, writes: Sequence[Write]) -> list[Write]:
        """Return the writes of a task for a saver."""
        changed: list[Write] = []
        for write in writes:
            value = write[1]
            if (kind := type(value)) in _SEARCHED and not (kind is list and not (value and type(value[0]) in _FIRST)):
                write = write[0], self.value(value)
            changed.append(write)
        return changed

    def value(self, value: Any, depth: int = _DEPTH, *, unread: bool = False) -> Any:
        """Return a value with the lists of messages in it encoded; itself if there are none that are remembered.

        Args:
            value: The value.
            depth: How far it is searched.
            unread: Whether it is a list in which messages that were loaded cannot have been changed yet.
        """
        kind = type(value)
        if kind is list:
            if len(value) < 2:
                return self._sends(value, depth) if value and type(value[0]) is Send else value
            first = type(value[0])
            if first in CLASSES:
                return self._list(value, unread)
            return self._sends(value, depth) if first is Send else value
        if kind is dict:
            return self._dict(value, depth) if depth and len(value) <= _MOST_KEYS else value
        if kind is Send:
            arg = self.value(value.arg, depth)
            return value if arg is value.arg else Send(value.node, arg, timeout=value.timeout)
        return value

    def _sends(self, value: list[Send], depth: int) -> list[Send]:
        changed = [self.value(item, depth) for item in value]
        return value if all(map(operator.is_, changed, value)) else changed

    def _dict(self, value: dict[object, object], depth: int) -> dict[object, object]:
        changed: dict[object, object] | None = None
        for key, item in value.items():
            if type(item) in _SEARCHED and (encoded := self.value(item, depth - 1)) is not item:
                changed = value.copy() if changed is None else changed
                changed[key] = encoded
        return value if changed is None else changed

    def _list(self, value: list[object], unread: bool) -> object:
        """Return a list of messages as its bytes, or itself if it is not remembered."""
        first = value[0]
        line = self._lines.pop(id(first), None)
        if line is None:
            line = _Line(first)
            if len(self._lines) >= _MOST_LISTS:
                del self._lines[next(iter(self._lines))]
        self._lines[id(first)] = line
        line.times += 1
        if line.times < REMEMBERED_FROM or len(line.encoded) > MOST_BYTES:
            return value
        try:
            encoded = self._encoded(line, value.copy(), unread)  # a node in another thread may append to it meanwhile
        except (TypeError, ValueError, AttributeError, RecursionError):
            # Something in them is not plain. Whether it can be stored is for the saver to say.
            line.forget(-_PAUSE)
            return value
        return value if encoded is None else encoded

    def _encoded(self, line: _Line, value: list[object], unread: bool) -> object:
        """Return a list of messages as its bytes; None if it is not what it was, and longer."""
        known, loaded, line.loaded = len(line.classes), line.loaded, None
        if unread and loaded is not None and known <= len(value) and all(map(operator.is_, loaded, value)):
            classes, fields = message_lists.fields_of(value[known:])
            classes, fields = line.classes + classes, line.fields + fields[message_lists.start_of(len(classes)) :]
        else:
            classes, fields = message_lists.fields_of(value)
            fields = fields[message_lists.start_of(len(value)) :]
            if not (fields.startswith(line.fields) and classes[:known] == line.classes):
                # It was edited. Whatever edits it at every step would have it all encoded, one by one, each time.
                line.forget(1)
                return None
        dumps, encoded = self._serde.dumps_typed, line.encoded
        for message in value[known:]:
            kind, data = dumps(message)
            if kind != "msgpack":
                raise TypeError
            encoded += data
        line.classes, line.fields = classes, fields
        return ormsgpack.Fragment(b"".join((message_lists.header(len(value)), encoded)))
