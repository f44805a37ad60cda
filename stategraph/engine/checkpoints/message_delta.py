"""Messages in delta channels: their batch reducer, and stable ids for the messages written to them.

A delta channel is stored as the writes it received, and reduces them again whenever a thread is loaded. So

* the reducer must give the same result however writes are grouped, and must not invent ids: they would differ
  at every load;
* ids are therefore given when a message is written, before the write is stored.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable, Mapping, MutableSequence, Sequence
from functools import partial
from typing import Any, Final, TypeVar, cast

from langchain_core.messages import AnyMessage, BaseMessage, RemoveMessage, convert_to_messages

from stategraph.constants import MISSING, REMOVE_ALL_MESSAGES
from stategraph.core.channels.delta import DeltaChannel
from stategraph.core.channels.reducers import overwritten
from stategraph.engine.checkpoints import message_index
from stategraph.engine.config import environment
from stategraph.types import Overwrite

_NAME: Final = "messages_delta_reducer"
_ROLES: Final = frozenset({"user", "human", "assistant", "ai", "tool", "system", "function"})
_TYPES: Final = frozenset({"human", "ai", "tool", "system", "function", "remove"})


Reducer = TypeVar("Reducer", bound=Callable[..., Any])

_OF_MESSAGES: Final[set[Callable[..., Any]]] = set()


def takes_messages(reducer: Reducer) -> Reducer:
    """Declare that everything that is written to channels with this reducer is a message, or becomes one."""
    _OF_MESSAGES.add(reducer)
    return reducer


def is_of_messages(channel: object) -> bool:
    """Return whether everything that is written to a channel is a message, or becomes one."""
    reducer = getattr(channel, "operator", None) or getattr(channel, "reducer", None)
    if isinstance(reducer, partial):
        reducer = reducer.func
    return isinstance(reducer, Hashable) and reducer in _OF_MESSAGES


@takes_messages
def messages_delta_reducer(state: list[AnyMessage], writes: list[list[AnyMessage]]) -> list[AnyMessage]:
    """Reduce many writes into a message list at once, for ``DeltaChannel``.

    A message with a known id replaces, ``RemoveMessage`` removes (one that names nothing is ignored; one with
    ``REMOVE_ALL_MESSAGES`` as its id removes everything before it), everything else is appended. Dicts, strings and
    tuples are converted; chunks stay chunks; no ids are given.

    Args:
        state: The messages so far.
        writes: The writes in order, each a list or a single message or message-like value.

    Returns:
        A new list.
    """
    known: list[Any] = state if state and isinstance(state[0], BaseMessage) else convert_to_messages(state)
    incoming = convert_to_messages(_flat(writes))
    cleared = _last_clear(incoming)
    if cleared is not None:
        known, incoming = [], incoming[cleared + 1 :]
    index = _index_of(known, incoming)
    merged = list(known)
    holes = _merge(merged, incoming, index.positions)
    if holes:
        return [message for at, message in enumerate(merged) if at not in holes]
    if len(merged) >= message_index.SMALLEST_REMEMBERED:
        changed = [message.id for message in incoming if message.id in index.positions]
        message_index.remember(index, merged, changed=changed)
    return merged


def _index_of(known: list[Any], incoming: Sequence[BaseMessage]) -> message_index.MessageIndex:
    """Return the places of messages by id: those remembered, if they are right for all incoming ones, or new ones."""
    index = message_index.recall(known, reducer=_NAME)
    if index is None or any(_is_elsewhere(index, known, message) for message in incoming):
        index = message_index.MessageIndex({message.id: at for at, message in enumerate(known)}, _NAME)
        index.positions.pop(None, None)
    return index


def _merge(merged: list[object], incoming: Sequence[BaseMessage], positions: dict[str | None, int]) -> set[int]:
    """Replace and append messages in place, and note their places; returns the places of those to be removed."""
    holes: set[int] = set()
    for message in incoming:
        at = positions.get(message.id)
        if message.id is not None and isinstance(message, RemoveMessage):
            if at is not None:
                holes.add(positions.pop(message.id))
        elif at is not None:
            merged[at] = message
        else:
            if message.id is not None:
                positions[message.id] = len(merged)
            merged.append(message)
    return holes


def _last_clear(messages: Sequence[BaseMessage]) -> int | None:
    """Return the place of the last message that removes everything before it."""
    for at in range(len(messages) - 1, -1, -1):
        if messages[at].id == REMOVE_ALL_MESSAGES and isinstance(messages[at], RemoveMessage):
            return at
    return None


def _flat(writes: Sequence[object]) -> list[Any]:
    flat: list[object] = []
    for write in writes:
        if isinstance(write, list):
            flat += write
        else:
            flat.append(write)
    return flat


def _is_elsewhere(index: message_index.MessageIndex, known: list[Any], message: BaseMessage) -> bool:
    at = index.positions.get(message.id)
    return at is not None and known[at].id != message.id


def ensure_message_ids(channels: Mapping[str, object], writes: Sequence[tuple[str, object]]) -> None:
    """Give ids to the messages that are about to be written to delta channels.

    Where the channel's reducer takes messages (`takes_messages`), everything it would accept as one becomes one.
    Other delta channels may hold other data: there only message objects get an id, and dicts that are messages by
    their role or type.

    Args:
        channels: The channels of the graph.
        writes: Pairs of channel and value. A pair whose value has to change is replaced; lists and dicts of the
            caller are left as they are, only message objects get their ids in place.

    Raises:
        Exception: What langchain-core raises for a message dict, inside a list, that is no valid message.
    """
    for at, (name, value) in enumerate(writes):
        channel = channels.get(name)
        if not isinstance(channel, DeltaChannel):
            continue
        identify = _every_message if channel.reducer in _OF_MESSAGES else _certain_messages
        identified = identify(value)
        if identified is not value:
            cast("MutableSequence[tuple[str, Any]]", writes)[at] = (name, identified)


def identify_merged(channels: Mapping[str, object]) -> Callable[[list[tuple[str, Any]]], None]:
    """Return what gives ids to the messages among writes, in place, for channels whose reducer would make one up.

    Args:
        channels: The channels of the graph.
    """
    names = {name for name, channel in channels.items() if is_of_messages(channel)}

    def identify(writes: list[tuple[str, Any]]) -> None:
        for at, (name, value) in enumerate(writes):
            if name in names and (identified := _every_message(value)) is not value:
                writes[at] = (name, identified)

    return identify


def _every_message(value: object) -> object:
    """Turn anything that can be a message into one with an id."""
    replacement = overwritten(value)
    if replacement is MISSING:
        return _each(value, _converted_strictly_if_dict) if isinstance(value, list) else _converted(value)
    if not isinstance(replacement, (list, tuple)):
        return value
    identified = _each(replacement, _converted)
    return value if identified is replacement else Overwrite(identified)


def _certain_messages(value: Any) -> object:
    """Give ids to message objects, and to dicts that say they are messages."""
    replacement = overwritten(value)
    if replacement is not MISSING:
        if isinstance(replacement, (list, tuple)):
            _each(replacement, _stamped)
        return value
    if isinstance(value, list):
        return _each(value, lambda item: _to_message(item) if _says_it_is_a_message(item) else _stamped(item))
    if _says_it_is_a_message(value) and not value.get("id"):
        return {**value, "id": environment.current().unique()}
    return _stamped(value)


def _each(items: Any, change: Callable[[Any], Any]) -> object:
    """Apply ``change`` to every item; the same list or tuple comes back if it changed none of them."""
    changed = [change(item) for item in items]
    if all(map(operator.is_, changed, items)):
        return items
    return changed if isinstance(items, list) else tuple(changed)


def _converted_strictly_if_dict(item: object) -> object:
    return _to_message(item) if _says_it_is_a_message(item) else _converted(item)


def _converted(item: object) -> object:
    if isinstance(item, BaseMessage):
        return _stamped(item)
    try:
        return _to_message(item)
    except Exception:
        # A value that is no message fails where the reducer reads it, with a better error.
        return item


def _to_message(item: Any) -> BaseMessage:
    message = convert_to_messages([item])[0]
    if not message.id:
        message.id = environment.current().unique()
    return message


def _stamped(item: Any) -> object:
    if isinstance(item, BaseMessage) and item.id is None:
        item.id = environment.current().unique()
    return item


def _says_it_is_a_message(item: object) -> bool:
    return isinstance(item, dict) and (item.get("role") in _ROLES or item.get("type") in _TYPES)
