"""Values as nodes, and as the stored values that these refer to.

Rules
-----
* What is small stands in the node itself; the same larger value has the same number wherever it is.
* Lists, dicts with text as keys and the arguments of `Send` are taken apart, as far as something large is in them. An
  object is stored whole.
* What comes out of it is equal to what the serializer alone would bring back.
* A node in another thread may change a value meanwhile, so lists and dicts are copied before they are looked at twice.
* Of the saves that are encoded together, each element of a long list is looked at once: all of them were asked for
  before, so whoever changes it now does so after the last of them.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from langgraph.checkpoint.serde.types import _DeltaSnapshot

from stategraph import wire
from stategraph.engine.checkpoints import message_lists
from stategraph.savers.compact import lists, nodes
from stategraph.savers.compact.coder import MSGPACK, Coder, pack
from stategraph.savers.compact.known import Known, Line, key_of
from stategraph.savers.compact.nodes import Node, Part, Run

#: Bytes of a value up to which it stands in the node.
INLINE: Final = 96

#: Bytes of an element of a list up to which it is stored with those beside it.
_TINY: Final = 24
_DEPTH: Final = 4
_LONG: Final = 256
_MANY: Final = 16
"""Elements of a list from which on it is remembered that they were looked at."""
_MOST_LOOKED_AT: Final = 8
_MOST_KEYS: Final = 1_000
_SCALARS: Final[frozenset[type]] = frozenset((int, float, bool, type(None)))


class Value(NamedTuple):
    """A value to be stored.

    Attributes:
        number: Its number.
        kind: Its kind.
        data: Its bytes, not sealed yet.
        refs: The numbers that it refers to, as they are stored; None for most.
    """

    number: int
    kind: str
    data: bytes
    refs: str | None


class _Looked(NamedTuple):
    """A list that was looked at, with the classes of its elements and their fields."""

    value: list[Any]
    classes: list[type]
    fields: bytes


class Encoder:
    """Encodes what is saved of one thread.

    Args:
        coder: Encodes values.
        known: What is known of the thread; what is encoded is added to it.

    Attributes:
        new: The values that are not stored yet, in order.
    """

    def __init__(self, coder: Coder, known: Known) -> None:
        self._coder = coder
        self._known = known
        self.new: list[Value] = []
        # Long lists that were looked at, by the identity of their first element.
        self._looked_at: dict[int, _Looked] = {}

    def node(self, value: Any, place: tuple[str, str], depth: int = _DEPTH) -> Node:
        """Return the node of a value.

        Args:
            value: The value.
            place: Where it is: the namespace of its graph, and the name of its channel or key.
            depth: How far it is taken apart.
        """
        cls = type(value)
        if cls is list:
            return self._list(value.copy(), place)
        if cls is dict:
            if depth and _is_large(value, depth):
                value = value.copy()
                return self._large(["d", [*value], [self.node(v, (place[0], k), depth - 1) for k, v in value.items()]])
        elif cls is _DeltaSnapshot:
            return ["z", self.node(value.value, place, depth)]
        elif depth and _is_send(value):
            return self._large(["s", value.node, self.node(value.arg, place, depth - 1)])
        return self._leaf(value)

    def _leaf(self, value: object) -> Node:
        kind, data = self._coder.dump(value)
        if len(data) > INLINE:
            return self._stored(kind, data)
        if kind == MSGPACK:
            return data
        return None if value is None else ["t", kind, bytes(data)]

    def _large(self, node: Node) -> Node:
        data = pack(node)
        return node if len(data) <= INLINE else self._stored(nodes.NODE, data, nodes.needs(node))

    def _stored(self, kind: str, data: bytes, needs: Iterable[Run] = ()) -> int:
        """Return the number of a value, a new one unless it is known."""
        known = self._known
        number = known.numbers.get(key_of(kind, data))
        if number is None:
            number = known.next
            known.next += 1
            self.new.append(Value(number, kind, data, nodes.refs_of(needs)))
            known.learn(number, kind, data)
        return number

    # Lists.

    def _list(self, value: list[Any], place: tuple[str, str]) -> Node:
        found = self._look_at(value) if value else None
        if found is None:
            return self._list_node(nodes.runs_of(self._elements(value, place)[0])) if value else self._leaf(value)
        classes, fields = found
        if len(fields) <= INLINE and classes[0] not in message_lists.CLASSES:
            return self._leaf(value)
        known = self._known
        shared = lists.continued(known.lines.get(place, ()), classes, fields)
        if shared is None:
            numbers, is_grouped = self._elements(value, place)
            line = Line(classes, fields, numbers, is_grouped, nodes.runs_of(numbers))
            known.keep_line(place, line, None)
            return self._list_node(line.runs)
        line, size = shared
        if size < len(line.classes):
            return self._list_node(nodes.runs_of(line.numbers[:size]))
        if size < len(value):
            numbers, is_grouped = self._elements(value[size:], place)
            line.numbers += numbers
            for number in numbers:
                nodes.add(line.runs, number)
            longer = Line(classes, fields, line.numbers, line.is_grouped or is_grouped, line.runs, line.decoded)
            known.keep_line(place, longer, line)
        return self._list_node(line.runs)

    def _look_at(self, value: list[Any]) -> tuple[list[type], bytes] | None:
        """As `lists.fields_of`, for a list that may begin as one that was looked at before."""
        before = self._looked_at.get(id(value[0]))
        if before is None or len(before.value) > len(value) or not all(map(operator.is_, before.value, value)):
            found = lists.fields_of(value)
        elif (rest := lists.fields_of(value[len(before.value) :])) is None:
            return None
        else:
            found = before.classes + rest[0], before.fields + rest[1]
        if found is not None and len(value) >= _MANY:
            if before is None and len(self._looked_at) >= _MOST_LOOKED_AT:
                del self._looked_at[next(iter(self._looked_at))]
            self._looked_at[id(value[0])] = _Looked(value, *found)
        return found

    def _list_node(self, runs: Sequence[Run]) -> Node:
        parts: list[Part] = [[*run] for run in runs]
        while len(parts) > nodes.MOST_PARTS:
            *pages, last = nodes.pages_of(parts)
            if not pages:
                break  # none of these few parts ends a page
            parts = [self._stored(nodes.PAGE, pack(page), nodes.needs_of_parts(page)) for page in pages]
            parts += last
        return ["l", *parts]

    def _elements(self, values: Sequence[Any], place: tuple[str, str]) -> tuple[list[int], bool]:
        """Return the numbers of the elements of a list, and whether one of them is that of several elements."""
        coder = self._coder
        if coder.joins and len(values) > 1 and _SCALARS.issuperset(map(type, values)):
            return [self._stored(nodes.ELEMENTS, coder.dump(values)[1])], True
        numbers: list[int] = []
        tiny: list[bytes] = []
        is_grouped = False
        for value in values:
            if _is_send(value):
                node = self.node(value, place)
                kind, data = (nodes.NODE, pack(node)) if type(node) is not int else ("", b"")
            else:
                node = None
                kind, data = coder.dump(value)
                if kind == MSGPACK and len(data) <= _TINY and coder.joins:
                    tiny.append(data)
                    continue
            if tiny:
                is_grouped = self._put_tiny(numbers, tiny) or is_grouped
                tiny = []
            numbers.append(self._stored(kind, data, nodes.needs(node)) if kind else node)
        if tiny:
            is_grouped = self._put_tiny(numbers, tiny) or is_grouped
        return numbers, is_grouped

    def _put_tiny(self, numbers: list[int], tiny: Sequence[bytes]) -> bool:
        if len(tiny) == 1:
            numbers.append(self._stored(MSGPACK, tiny[0]))
            return False
        numbers.append(self._stored(nodes.ELEMENTS, lists.header(len(tiny)) + b"".join(tiny)))
        return True


def _is_send(value: object) -> bool:
    cls = type(value)
    return cls.__name__ == "Send" and cls.__module__ == wire.ADDRESS and getattr(value, "timeout", None) is None


def _is_large(value: Any, depth: int) -> bool:
    """Return whether a value is worth taking apart for what is in it."""
    cls = type(value)
    if cls is str or cls is bytes:
        return len(value) > _LONG
    if cls in message_lists.CLASSES or _is_send(value):
        return True
    if not depth:
        return False
    if cls is list:
        return len(value) > _TINY or any(_is_large(each, 0) for each in value)
    if cls is dict:
        return (
            len(value) <= _MOST_KEYS and _has_names(value) and any(_is_large(v, depth - 1) for v in [*value.values()])
        )
    return False


def _has_names(value: Mapping[Any, Any]) -> bool:
    return set(map(type, value)) <= {str}
