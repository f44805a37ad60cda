"""Values that come back from a checkpoint as something else, found when they are written.

A serialiser keeps less than Python has: a tuple comes back as a list, an enum that it cannot find again as its value,
a `datetime` without the name of its zone. A later run then works with another value, and nothing has failed. So what
is written is stored and read back once per kind, and what came back is compared with what went in.

Rules
-----
* Plain values and containers of them are told by their types alone, which is nearly all that a save costs.
* Of any other class one object is taken through the serialiser for each combination of its fields' types, and the
  verdict is kept as long as the serialiser is. LangChain's messages are known to come back.
* A limited number of values is looked at in each write.
* Pairs of a role and a text in a list that becomes messages are as good as lists: the reducer reads both alike.
* Each class is warned of once for each channel. A strict graph refuses the write instead, each time.
"""

from __future__ import annotations

import dataclasses
import logging
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, time
from enum import Enum
from functools import partial
from itertools import islice
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from langchain_core.messages import BaseMessage
from langchain_core.messages.base import TextAccessor
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from stategraph.constants import ERROR, ERROR_SOURCE_NODE, INTERRUPT, NO_WRITES
from stategraph.engine.checkpoints.message_delta import is_of_messages
from stategraph.engine.checkpoints.serializer import StrictSerializer
from stategraph.engine.config import foreign_types
from stategraph.errors import UnstorableValueError
from stategraph.types import Send

logger = logging.getLogger(__name__)

_DEPTH: Final = 24
_LOOKED_AT: Final = 256
"""Values that are looked at in one write."""
_MOST_VERDICTS: Final = 2_000
"""Combinations of types that one serialiser's verdicts are kept for; classes may be made without end."""

_PLAIN: Final[frozenset[type]] = frozenset({str, int, float, bool, type(None), bytes, bytearray, TextAccessor})
"""Types that come back as they are. The text of a message comes back without its older way to be read, by a call."""
_ITERATED: Final = (list, tuple, set, frozenset, deque)
_SETS: Final = frozenset({set, frozenset})
_NOT_VALUES: Final = frozenset({ERROR, ERROR_SOURCE_NODE, NO_WRITES})

Change = tuple[str, Any, Any]
"""A change by storing: the path below a value, the old value, and the restored one."""

_NO_CHANNELS: Final[Mapping[str, object]] = MappingProxyType({})

_checkers: weakref.WeakKeyDictionary[Any, Checker] = weakref.WeakKeyDictionary()


class Checks(NamedTuple):
    """Rules by which the writes of a graph are checked.

    Attributes:
        strict: Whether a value that will come back as something else is refused.
        channels: The channels of the graph by name.
    """

    strict: bool = False
    channels: Mapping[str, object] = _NO_CHANNELS


def checker_for(serde: object) -> Checker:
    """Return the checker of a serialiser, with the verdicts it has reached so far."""
    try:
        found = _checkers.get(serde)
        if found is None:
            found = _checkers[serde] = Checker(serde)
    except TypeError:  # it cannot be hashed, or not be referred to weakly
        return Checker(serde)
    return found


class Checker:
    """Looks at writes for values that a serialiser would change."""

    def __init__(self, serde: Any) -> None:
        """Args: serde: The serialiser; None for a saver that has none, of which nothing is known."""
        # Not the serialiser itself, which this must not keep alive.
        self._copy = _quiet_copy(serde)
        self._plain: set[type] = set(_PLAIN)
        self._verdicts: dict[object, tuple[str, str] | None] = {}
        self._warned: set[tuple[type, str]] = set()

    def check(
        self,
        writes: Iterable[tuple[str, Any]],
        writer: Callable[[], str],
        *,
        strict: bool = False,
        channels: Mapping[str, object] = _NO_CHANNELS,
    ) -> None:
        """Warn about values that will come back as something else.

        Args:
            writes: Names of channels with the written values.
            writer: Names their writer, as the beginning of a sentence.
            strict: Whether to refuse such values.
            channels: The channels of the graph by name.

        Raises:
            UnstorableValueError: There is one, and ``strict`` is set.
        """
        plain = self._plain
        for channel, value in writes:
            # In almost all cases this is all there is to check; it costs half a microsecond.
            kind = type(value)
            if kind is str:
                if value.isascii() or _encodes(value):
                    continue
            elif kind in plain or (kind is list and set(map(type, value[:_LOOKED_AT])) <= plain):
                continue
            if channel in _NOT_VALUES or self._copy is None:
                continue
            if channel == INTERRUPT:
                value = [interrupt.value for interrupt in value]
            for path, what, came_back in self._changes(_stored_parts(value, channel, channels)):
                if strict or (type(what), channel) not in self._warned:
                    self._tell(path, channel, what, came_back, writer(), strict=strict)

    def _changes(self, waiting: list[tuple[str, Any]]) -> Iterator[tuple[str, Any, str]]:
        """Find changed values: their paths, and in words what they come back as."""
        for _ in range(_LOOKED_AT):
            if not waiting:
                return
            path, value = waiting.pop()
            kind = type(value)
            if kind is dict:
                yield from self._changed_keys(path, value)
                waiting += self._uncertain(path, value.values(), value.items())
            elif kind in _SETS:
                parts = self._uncertain(path, value, enumerate(value))
                if parts and (found := self._verdict(value, path)):
                    yield found[0], value, found[1]
                else:
                    waiting += parts
            elif kind is list or (kind is tuple and self._verdict(value, path) is None):
                waiting += self._uncertain(path, value, enumerate(value))
            elif isinstance(value, Send):
                waiting.append((f"{path}.arg", value.arg))
            elif kind.__module__.startswith("langchain_core.messages") and isinstance(value, BaseMessage):
                self._plain.add(kind)
            elif found := self._verdict(value, path):
                yield found[0], value, found[1]

    def _uncertain(
        self, path: str, parts: Iterable[Any], numbered: Iterable[tuple[object, Any]]
    ) -> list[tuple[str, Any]]:
        """Return the parts of a container that do not come back as they are for their type alone, with their paths."""
        plain = self._plain
        if set(map(type, islice(parts, _LOOKED_AT))) <= plain:
            return []
        return [(f"{path}[{key!r}]", part) for key, part in islice(numbered, _LOOKED_AT) if type(part) not in plain]

    def _changed_keys(self, path: str, value: dict[object, object]) -> Iterator[tuple[str, Any, str]]:
        if set(map(type, value)) <= self._plain:
            return
        keys = [key for key in islice(value, _LOOKED_AT) if type(key) not in self._plain]
        for key in keys:
            if found := self._verdict({key: None}, path, ("key", *_shape(key))):
                yield found[0], value, found[1]

    def _verdict(self, value: Any, path: str, shape: Any = None) -> tuple[str, str] | None:
        """Return the path at which a value changes and what it comes back as; None if nothing changes."""
        shape = _shape(value) if shape is None else shape
        if shape not in self._verdicts:
            if len(self._verdicts) >= _MOST_VERDICTS:
                return None
            self._verdicts[shape] = self._try(value)
        verdict = self._verdicts[shape]
        return None if verdict is None else (path + verdict[0], verdict[1])

    def _try(self, value: object) -> tuple[str, str] | None:
        value = foreign_types.taken(value)  # an installed LangGraph's classes come back as ours
        try:
            serde = self._copy(_classes_in(value))
            back = foreign_types.taken(serde.loads_typed(serde.dumps_typed(value)))
        except Exception:
            # A value that cannot be stored at all is reported when storing it fails.
            return None
        change = _first_change(value, back, "", _DEPTH)
        if change is None:
            return None
        below, what, came_back = change
        words = f"{_named(what)} comes back as {_named(came_back)}"
        if type(what) is type(came_back):
            words = f"{what!r:.80} comes back as {came_back!r:.80}"
        return below, words

    def _tell(self, path: str, channel: str, what: object, words: str, by: str, *, strict: bool) -> None:
        text = f"{by} wrote to channel '{channel}' a value that no checkpoint keeps: at {path} {words}"
        if strict:
            way_out = "Return plain data, give the saver a StrictSerializer, or name the class in the state's schema"
            raise UnstorableValueError(f"{text}. {way_out}.")
        if len(self._warned) < _MOST_VERDICTS:
            self._warned.add((type(what), channel))
            logger.warning("%s", text)


def _stored_parts(value: Any, channel: str, channels: Mapping[str, object]) -> list[tuple[str, Any]]:
    """Return the parts of a write that have to come back as they are, with their paths.

    That is the write; of a list that becomes messages its elements, and of a pair among these its content.
    """
    if type(value) is not list or not is_of_messages(channels.get(channel)):
        return [(channel, value)]
    parts = []
    for index, part in enumerate(value[:_LOOKED_AT]):
        if type(part) is tuple and len(part) == 2 and type(part[0]) is str:
            parts.append((f"{channel}[{index}][1]", part[1]))
        else:
            parts.append((f"{channel}[{index}]", part))
    return parts


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _named(value: object) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _shape(value: object) -> tuple[Any, ...]:
    """Return the class of a value and those of its parts; values of one shape are stored in the same way."""
    kind = type(value)
    if kind is str:  # only one that has no stored form is asked about
        return (kind,)
    if isinstance(value, Enum):
        return (kind, value.name)
    if isinstance(value, (datetime, time)):
        return (kind, type(value.tzinfo))
    if isinstance(value, (*_ITERATED, Mapping)) and not hasattr(value, "_fields"):
        parts = value.values() if isinstance(value, Mapping) else value
        return (
            kind,
            getattr(value, "maxlen", None) is None,
            *sorted({type(part) for part in islice(parts, _LOOKED_AT)} - _PLAIN, key=id),
        )
    return (kind, *(type(part) for _, part in _parts(value)))


def _parts(value: object) -> Iterator[tuple[str, object]]:
    """Yield the parts of an object with their paths below it."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        for name in value._fields:
            yield f".{name}", getattr(value, name)
    elif isinstance(value, (list, tuple)):
        for index, part in enumerate(value):
            yield f"[{index}]", part
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield f"[{key!r}]", part
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield f".{field.name}", getattr(value, field.name, None)
    else:
        for name, part in getattr(value, "__dict__", {}).items():
            yield f".{name}", part


def _first_change(before: Any, after: Any, path: str, depth: int) -> Change | None:
    """Find the first place at which two values differ in type or content; None if there is none."""
    if type(before) is not type(after):
        return path, before, after
    if before is after or depth == 0:
        return None
    if isinstance(before, (str, bytes, int, set, frozenset)):
        return None if _same(before, after) else (path, before, after)
    if isinstance(before, Mapping) and list(map(type, before)) != list(map(type, after)):
        return path, before, after
    parts, others = list(_parts(before)), list(_parts(after))
    if len(parts) != len(others):
        return path, before, after
    for (step, part), (_, other) in zip(parts, others, strict=True):
        change = _first_change(part, other, path + step, depth - 1)
        if change is not None:
            return change
    return None if parts or _equal(before, after) else (path, before, after)


def _same(before: object, after: object) -> bool:
    """Compare two plain values of one type, or two sets, whose members are of the same types too."""
    if isinstance(before, (set, frozenset)):
        return before == after and set(map(type, before)) == set(map(type, after))
    return bool(before == after)


def _equal(before: object, after: object) -> bool:
    try:
        if repr(before) != repr(after):
            return False
        same = before == after
    except Exception:  # what comparing runs is the classes' own code
        return False
    # No number equals itself that is none, and arrays are compared item by item.
    return same if isinstance(same, bool) and not isinstance(before, float) else True


def _classes_in(value: object) -> set[tuple[str, str]]:
    """Collect the addresses of the classes in a value, as a serialiser stores them."""
    found: set[tuple[str, str]] = set()
    waiting = [value]
    for _ in range(_LOOKED_AT):
        if not waiting:
            break
        part = waiting.pop()
        kind = type(part)
        if kind not in _PLAIN:
            found |= {(kind.__module__, kind.__name__)}
            waiting += [inner for _, inner in _parts(part)]
            if isinstance(part, (set, frozenset, Mapping)):
                waiting += part
    return found


def _silent(pickle_fallback: bool, classes: Iterable[tuple[str, ...]]) -> JsonPlusSerializer:
    """Make a plain serialiser that may rebuild these classes, and neither logs nor reports what it cannot rebuild."""
    # Its stored form is read by the strict one, which silently gives the same plain values for it.
    reader = StrictSerializer(classes)
    return JsonPlusSerializer(pickle_fallback=pickle_fallback, __unpack_ext_hook__=reader._unpack_ext_hook)


def _quiet_copy(serde: object) -> Any:
    """Make what gives a serialiser that changes the same values, and logs nothing where the saver's own would.

    The log of a read that is only tried would tell of a checkpoint that does not exist, and as each class is told of
    once, the read of one that does would be silent.

    Returns:
        A function of the classes in a value; None if the saver has no serialiser.
    """
    inner = getattr(serde, "serde", serde)
    if type(inner) is JsonPlusSerializer and not inner._custom_unpack_ext_hook:
        rebuilt = inner._allowed_msgpack_modules
        if rebuilt is True:
            return partial(_silent, inner.pickle_fallback)
        copied = _silent(inner.pickle_fallback, rebuilt or ())
        return lambda _: copied
    if isinstance(inner, StrictSerializer):
        allowed = inner.allowed
        return lambda _: StrictSerializer(allowed)
    if inner is None or not hasattr(inner, "dumps_typed"):
        return None
    try:
        reference = weakref.ref(inner)
    except TypeError:  # nor is its checker kept, then
        return lambda _: inner
    return lambda _: reference()
