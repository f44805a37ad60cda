"""Positions of message ids in message lists, remembered from one reducer call to the next.

A message reducer needs "which position has this id?", and building that answer again costs time in the
length of the conversation at every step. The rules here:

* An index belongs to exactly one list object: the one a reducer returned. While the index is remembered it
  holds that list, so the list's identity cannot be taken over by another one.
* ``recall`` *takes* the index out. No other caller can see it while its new owner changes it, which is why no
  lock is needed: a second caller with the same list finds nothing and builds its own.
* A list that was changed behind the reducer's back is noticed: the index keeps a private copy of the list
  and compares (by identity first, which C does at a nanosecond per message).
* Ids that are changed in place are noticed at the end of the list, and wherever an incoming message lands.
* A list that a run has loaded may come with its index. It holds until the run gives its state to other code, which may
  change ids; then the list is indexed anew, as any other.
* The memory is bounded, and lists that are held nowhere else any more are dropped step by step.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, Final

SMALLEST_REMEMBERED: Final = 16
"""Lists shorter than this are indexed faster than an index is looked up and checked."""

ADD_MESSAGES: Final = "add_messages"
"""The reducer whose lists have no chunks, and an id on every message."""

MOST_REMEMBERED: Final = 512
"""Limit for remembered lists, over all runs of the process."""


class MessageIndex:
    """Positions by message id for one message list.

    Args:
        positions: The position of each id in the list; of several messages with one id, the last. Code that
            owns the index may change it.
        reducer: The name of the reducer that makes the list. What one reducer guarantees about its lists
            (no chunks, an id on every message) another one does not.
    """

    __slots__ = ("_is_over", "_owner", "_snapshot", "positions", "reducer")

    def __init__(self, positions: dict[Any, int], reducer: str) -> None:
        self.positions = positions
        self.reducer = reducer
        self._snapshot: list[object] | None = None
        self._owner: list[object] | None = None
        # Returns whether it holds no more; None if it was made by a reducer.
        self._is_over: Callable[[], bool] | None = None

    def _describes(self, messages: list[Any]) -> bool:
        if self._is_over is not None:
            if self._is_over():
                return False
            self._is_over = None
        snapshot = self._snapshot
        if snapshot is None or len(messages) != len(snapshot):
            return False
        try:
            if messages != snapshot:
                return False
        except Exception:
            # Messages hold anything, arrays too, whose comparison raises.
            return False
        last = len(snapshot) - 1
        return self.positions.get(messages[last].id) == last

    def _settle(self, messages: list[object], changed: Iterable[object]) -> None:
        snapshot = self._snapshot
        if snapshot is None:
            self._snapshot = messages.copy()
        else:
            for message_id in changed:
                at = self.positions[message_id]
                if at < len(snapshot):
                    snapshot[at] = messages[at]
            snapshot += messages[len(snapshot) :]
        self._owner = messages

    def _is_orphan(self) -> bool:
        return sys.getrefcount(self._owner) <= _REFERENCES_OF_AN_ORPHAN


def recall(messages: list[Any], *, reducer: str) -> MessageIndex | None:
    """Take the index of ``messages`` out of the memory.

    Returns:
        The index, which now is the caller's alone to change, or None if this list object is not remembered,
        was made by another reducer, or was changed since.
    """
    index = _remembered.pop(id(messages), None)
    if index is None or index.reducer != reducer or not index._describes(messages):
        return None
    return index


def remember(index: MessageIndex, messages: list[Any], *, changed: Iterable[object]) -> None:
    """Keep ``index`` for the next call that gets ``messages``.

    Args:
        index: A new index, or what `recall` gave with its positions brought up to date.
        messages: The list it describes, at least `SMALLEST_REMEMBERED` long to be worth it. The caller must
            hand out this very object.
        changed: The ids that were replaced or appended since the index was recalled.
    """
    index._settle(messages, changed)
    _keep(index, messages)


def remember_one(index: MessageIndex, messages: list[Any], at: int | None) -> None:
    """Like `remember`, after one message was put at ``at``, or appended if that is None: the usual case."""
    snapshot = index._snapshot
    if snapshot is None:
        index._snapshot = messages.copy()
    elif at is None:
        snapshot.append(messages[-1])
    else:
        snapshot[at] = messages[at]
    index._owner = messages
    _keep(index, messages)


def offer(messages: list[Any], positions: dict[Any, int], is_over: Callable[[], bool]) -> None:
    """Keep an index for the first call of `add_messages` that gets a list that a run has loaded.

    Args:
        messages: The list: whole messages, each with an id.
        positions: The position of each id in it, which is copied.
        is_over: Returns whether ids may have been changed since. It must not hold the list.
    """
    index = MessageIndex(positions.copy(), ADD_MESSAGES)
    index._is_over = is_over
    index._settle(messages, ())
    _keep(index, messages)


def _keep(index: MessageIndex, messages: list[object]) -> None:
    _remembered[id(messages)] = index
    if len(_remembered) > 1:
        _inspect_oldest()


def forget_orphans() -> None:
    """Drop the remembered lists that are held nowhere else: those that finished runs have left behind."""
    for _ in range(len(_remembered)):
        _inspect_oldest()


def forget_all() -> None:
    """Drop every remembered list, for a process that wants its memory back."""
    _remembered.clear()


def remembered_count() -> int:
    """Return the number of lists that are remembered."""
    return len(_remembered)


def _inspect_oldest() -> None:
    """Drop the oldest entry if its list is held nowhere else, else move it to the back.

    One look per `remember` visits every entry in turn, so what finished runs leave behind is gone before as
    many steps have passed as there are entries.
    """
    try:
        key, index = _remembered.popitem(last=False)
    except KeyError:  # another thread has just taken the only entry
        return
    if len(_remembered) < MOST_REMEMBERED and not index._is_orphan():
        _remembered[key] = index


def _count_references_of_an_orphan() -> int:
    probe = MessageIndex({}, "")
    probe._owner = [None]
    return sys.getrefcount(probe._owner)


# CPython's count of temporary references differs between versions, so it is measured.
_REFERENCES_OF_AN_ORPHAN: Final = _count_references_of_an_orphan()
_remembered: OrderedDict[int, MessageIndex] = OrderedDict()
