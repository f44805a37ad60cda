"""Lists of messages that a process decodes once, and not again at every turn of a thread.

A run begins by loading the newest checkpoint of its thread, and in a long conversation nearly all of that time goes
into making messages of their stored forms, one by one, each validated. A process that has done so for the turn before
knows what they come to.

Rules
-----
* The saver is asked as ever, and its bytes decide: if they begin with those that are known, the messages that these
  stand for are made from their fields, and only what follows is decoded. So what another process has written counts.
* The messages of each run are new objects. Whatever a run changes in them, no other run sees.
* Known is what the saver's own serialiser has made of the bytes: of another serialiser, which may be allowed other
  classes, nothing is known.
* Savers whose lists are stored one by one are read in this way, by a copy of theirs with a serialiser that knows; it
  shares all else with them, as the copy that `with_allowlist` makes.
* What is known is bounded, and goes with the serialiser.
"""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterable
from functools import partial
from itertools import count
from typing import Any, Final, Protocol

from langgraph.checkpoint.serde.base import SerializerProtocol

from stategraph.engine.checkpoints import collector, message_index, message_lists
from stategraph.engine.checkpoints.encoded_messages import serialises_whole
from stategraph.engine.checkpoints.message_lists import MessageList
from stategraph.engine.checkpoints.saver_interfaces import Saver

MOST_BYTES: Final = 64 * 1024 * 1024
"""Limit for what is known of the lists of one serialiser."""

_OF_MESSAGE: Final = 160
"""Bytes that the class of a message and the position of its id take, about."""

_EXTENSIONS: Final = {0xC7: 1, 0xC8: 2, 0xC9: 4}
"""How msgpack begins what a message is stored as, and how many bytes say its length."""

_SAVERS: Final = frozenset(
    {
        ("langgraph.checkpoint.memory", "InMemorySaver"),
        ("langgraph.checkpoint.postgres", "PostgresSaver"),
        ("langgraph.checkpoint.postgres.aio", "AsyncPostgresSaver"),
        ("stategraph.savers.postgres.saver", "PostgresSaver"),
        ("stategraph.savers.postgres.saver", "AsyncPostgresSaver"),
    }
)


class Readable(Protocol):
    """The state of a run."""

    @property
    def is_read(self) -> bool:
        """True if it was given to other code than reducers."""


class KnownLists:
    """The lists of messages that a serialiser has made, those that were used last; thread-safe."""

    def __init__(self, limit: int = MOST_BYTES) -> None:
        """Args: limit: Bytes that are kept, about."""
        self._limit = limit
        self._size = 0
        # By the encodings of their first two messages.
        self._lists: OrderedDict[bytes, MessageList] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, key: bytes, data: bytes, start: int) -> MessageList | None:
        """Return a list that a stored one, whose elements begin at a byte, begins with; None if none is known."""
        found = self._lists.get(key)
        return found if found is not None and data.startswith(found.encoded, start) else None

    def keep(self, key: bytes, known: MessageList) -> None:
        """Keep a list in place of the one with the same beginning, and drop what was not used for longest."""
        size = _size(known)
        if size > self._limit // 2:
            return
        with self._lock:
            before = self._lists.pop(key, None)
            self._size += size - (0 if before is None else _size(before))
            self._lists[key] = known
            while self._size > self._limit:
                _, dropped = self._lists.popitem(last=False)
                self._size -= _size(dropped)


def _size(known: MessageList) -> int:
    return len(known.encoded) + len(known.fields) + _OF_MESSAGE * len(known.classes)


_known: weakref.WeakKeyDictionary[Any, KnownLists] = weakref.WeakKeyDictionary()


class Reader:
    """Reads the checkpoints of one run from a saver.

    Attributes:
        saver: What is asked for them: the saver, or a copy of it.
        lists: Lists of messages that have been read, and what is known of them.
    """

    __slots__ = ("lists", "saver")

    def __init__(self, saver: Saver) -> None:
        """Args: saver: The saver."""
        self.saver = saver
        self.lists: list[tuple[list[Any], MessageList]] = []
        kind, serde = type(saver), getattr(saver, "serde", None)
        if (
            (kind.__module__, kind.__qualname__) in _SAVERS
            and type(serde) in message_lists.SERIALIZERS
            and serialises_whole(saver)
        ):
            known = _known.get(serde)
            if known is None:
                known = _known[serde] = KnownLists()
            twin = object.__new__(kind)
            twin.__dict__.update(saver.__dict__, serde=_Knowing(serde, known, self.lists))
            self.saver = twin


class _Knowing:
    """A serialiser that knows what some lists come to."""

    __slots__ = ("_known", "_lists", "_serde")

    def __init__(self, serde: Any, known: KnownLists, lists: list[tuple[list[Any], MessageList]]) -> None:
        self._serde: SerializerProtocol = serde
        self._known = known
        self._lists = lists

    def dumps_typed(self, obj: object) -> tuple[str, bytes]:
        """Serialise a value."""
        return self._serde.dumps_typed(obj)

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """Restore a value."""
        kind, stored = data
        size = message_lists.size_of(stored) if kind == "msgpack" and type(stored) is bytes else 0
        key = _beginning(stored, message_lists.start_of(size)) if size > 1 else None
        return self._serde.loads_typed(data) if key is None else self._load(stored, size, key)

    def _load(self, stored: bytes, size: int, key: bytes) -> Any:
        start = message_lists.start_of(size)
        known = self._known.find(key, stored, start)
        value: list[Any] = []
        if known is not None and len(known.classes) <= size:
            value = message_lists.restored(known.classes, known.fields)
            start += len(known.encoded)
        if len(value) < size:
            rest = message_lists.header(size - len(value)) + stored[start:] if value else stored
            with collector.paused(size - len(value)):
                decoded = self._serde.loads_typed(("msgpack", rest))
            known = self._learn(known if value else None, decoded, stored, size)
            value = value + decoded if value else decoded
            if known is not None:
                self._known.keep(key, known)
        if known is not None:
            self._lists.append((value, known))
        return value

    def _learn(self, known: MessageList | None, decoded: Any, stored: bytes, size: int) -> MessageList | None:
        """Return a list that is known to its end; None if something in it is not plain.

        Args:
            known: Its beginning, if that is known.
            decoded: What follows.
            stored: The whole list.
            size: How many messages it has.
        """
        try:
            classes, fields = message_lists.fields_of(decoded)
            if not all(map(message_lists.is_restored, decoded)):
                return None
        except (TypeError, ValueError, AttributeError, RecursionError):
            return None
        fields, encoded = fields[message_lists.start_of(len(classes)) :], stored[message_lists.start_of(size) :]
        if known is None:
            return MessageList(classes, fields, encoded, _positions({}, 0, classes, decoded))
        positions = _positions(known.positions, len(known.classes), classes, decoded)
        return MessageList(known.classes + classes, known.fields + fields, encoded, positions)


def offer_positions(lists: Iterable[tuple[list[Any], MessageList]], state: Readable) -> None:
    """Let the reducer know the positions of ids in lists that a run has loaded, as long as no other code can have them.

    Args:
        lists: The lists, and what is known of them.
        state: The run's state, which holds the lists.
    """
    is_over = partial(_is_read, weakref.ref(state))
    for messages, known in lists:
        if known.positions is not None and len(messages) >= message_index.SMALLEST_REMEMBERED:
            message_index.offer(messages, known.positions, is_over)


def _is_read(of_run: weakref.ref[Readable]) -> bool:
    state = of_run()
    return state is None or state.is_read


def _positions(
    known: dict[str, int] | None, start: int, classes: Iterable[type], messages: Iterable[Any]
) -> dict[str, int] | None:
    """Return the positions of ids with those of further messages; None if these, or those before them, have none."""
    if known is None or not message_lists.WHOLE.issuperset(classes):
        return None
    ids = [message.id for message in messages]
    return None if None in ids else {**known, **dict(zip(ids, count(start)))}


def _beginning(stored: bytes, start: int) -> bytes | None:
    """Return the first two elements of a stored list; None if they are no messages."""
    end = start
    for _ in range(2):
        width = _EXTENSIONS.get(stored[end]) if end < len(stored) else None
        if width is None:
            return None
        end += 2 + width + int.from_bytes(stored[end + 1 : end + 1 + width], "big")
    return stored[start:end]
