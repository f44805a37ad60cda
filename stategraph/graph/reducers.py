"""The reducer of message lists: ``add_messages``.

What one call does, in this order:

1. Both sides become lists of whole messages: dicts, tuples and strings are converted, chunks are finished.
2. Every message without an id gets one, in place, so that later updates can name it.
3. The right side is applied to a copy of the left, message by message: a known id replaces, an unknown id is
   appended, a ``RemoveMessage`` removes (and a later message with the same id takes its place back).
   ``RemoveMessage(REMOVE_ALL_MESSAGES)`` drops everything before it, on both sides; what follows it is applied
   to an empty list.

The result is always a new list. Steps 1 and 2 and the search for ids are skipped for a left side that this
reducer has itself returned before: see `stategraph.engine.checkpoints.message_index`.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from typing import Any, Final, Literal, cast

from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    BaseMessage,
    BaseMessageChunk,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    MessageLikeRepresentation,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
    convert_to_messages,
    message_chunk_to_message,
)

from stategraph.constants import REMOVE_ALL_MESSAGES
from stategraph.engine.checkpoints import message_index
from stategraph.engine.checkpoints.message_delta import takes_messages
from stategraph.engine.config import environment

Messages = list[MessageLikeRepresentation] | MessageLikeRepresentation

_NAME: Final = message_index.ADD_MESSAGES

# The exact classes that need no conversion. Looking a class up here is four times faster than asking
# isinstance, which pydantic's metaclass answers in Python.
_WHOLE: Final = frozenset(
    {HumanMessage, AIMessage, ToolMessage, SystemMessage, RemoveMessage, FunctionMessage, ChatMessage}
)

_PUTS: Final = _WHOLE - {RemoveMessage}

_UUID4: Final = uuid.uuid4
# RFC 9562: the first two bits of the seventeenth digit are 10.
_VARIANT: Final = {digit: f"{int(digit, 16) & 3 | 8:x}" for digit in "0123456789abcdef"}


@takes_messages
def add_messages(
    left: Messages | None = None, right: Messages | None = None, **kwargs: Any
) -> Messages | Callable[[Messages, Messages], Messages]:
    """Merge two message lists by message id.

    With both sides this is the reducer. With neither it returns a reducer with the options bound, for use in
    an annotation: ``Annotated[list, add_messages(format="langchain-openai")]``.

    Args:
        left: The messages so far: a list, or one message or message-like value.
        right: The messages to add, replace or remove: a list, or one message or message-like value.
        **kwargs: ``format``: None leaves messages as they are; ``"langchain-openai"`` rewrites the contents of
            the result to OpenAI's shapes.

    Returns:
        A new list of messages; or the reducer, if neither side was given.

    Raises:
        ValueError: If only one side was given, if a removal names an id that is not there, or if ``format``
            is unknown.
    """
    if left is None and right is None:
        return partial(_merge, **kwargs)
    if left is None or right is None:
        given = "right" if left is None else "left"
        raise ValueError(
            f"Must specify non-null arguments for both 'left' and 'right'. Only received: '{given}'. A message key "
            "takes a message or a list of messages, [] for none; a call without both sides binds options."
        )
    return _merge(left, right, **kwargs) if kwargs else _merge(left, right)


def merge_messages(left: Sequence[AnyMessage], right: Sequence[AnyMessage]) -> list[AnyMessage]:
    """Merge two lists of messages by id, as `add_messages` does.

    Args:
        left: The messages so far.
        right: The messages to add, replace or remove.

    Returns:
        A new list.

    Raises:
        ValueError: A removal names an id that is not there.
    """
    return cast("list[AnyMessage]", _merge(left, right))


@takes_messages
def add_all_messages(state: list[AnyMessage], writes: Sequence[Any]) -> list[AnyMessage]:
    """Merge many updates into a message list, one after the other, as `add_messages` does each.

    The reducer of a `DeltaChannel`: how updates are grouped does not matter, as messages get their ids when they are
    written.

    Args:
        state: The messages so far.
        writes: The updates in order.

    Returns:
        A new list; the same one if there are no updates.

    Raises:
        ValueError: A removal names an id that is not there.
    """
    merged: Any = state
    for update in writes:
        merged = _merge(merged, update)
    return cast("list[AnyMessage]", merged)


@takes_messages
def _merge(left: Any, right: object, *, format: Literal["langchain-openai"] | None = None) -> Messages:
    index: message_index.MessageIndex | None = None
    if type(left) is list and len(left) >= message_index.SMALLEST_REMEMBERED:
        index = message_index.recall(left, reducer=_NAME)
    known = _whole_messages(left) if index is None else left
    incoming = _whole_messages(right)
    known_ids = _settled_ids(known) if index is None else None
    if len(incoming) == 1 and type(incoming[0]) in _PUTS and not format:
        return _put(known, known_ids, incoming[0], index)  # type: ignore[return-value]
    merged = _merge_many(known, known_ids, incoming, index, remember=not format)
    return _formatted(merged, format) if format else merged  # type: ignore[return-value]


def _merge_many(
    known: list[BaseMessage],
    known_ids: list[str | None] | None,
    incoming: list[BaseMessage],
    index: message_index.MessageIndex | None,
    *,
    remember: bool,
) -> list[BaseMessage]:
    """Merge whole messages in the general way.

    Args:
        known: The left side.
        known_ids: Its ids; None if there is an index.
        incoming: The right side.
        index: The recalled index of the left side.
        remember: Whether to remember the positions of the result for the next call.
    """
    incoming_ids = _settled_ids(incoming)
    if REMOVE_ALL_MESSAGES in incoming_ids and (kept_from := _after_last_clear(incoming, incoming_ids)):
        known, known_ids, index = [], [], None
        incoming, incoming_ids = incoming[kept_from:], incoming_ids[kept_from:]
    if index is not None and not _agree(index.positions, known, incoming, incoming_ids):
        index = None
    if index is None:
        positions = _positions(_settled_ids(known) if known_ids is None else known_ids)
    else:
        positions = index.positions
    merged, removed = _apply(known, incoming, incoming_ids, positions)
    if removed:
        return [message for message in merged if message.id not in removed]
    if remember and len(merged) >= message_index.SMALLEST_REMEMBERED:
        message_index.remember(index or message_index.MessageIndex(positions, _NAME), merged, changed=incoming_ids)
    return merged


def _put(
    known: list[BaseMessage],
    known_ids: list[str | None] | None,
    message: BaseMessage,
    index: message_index.MessageIndex | None,
) -> list[BaseMessage]:
    """Append or replace one message, which is what nearly every update does; the general way costs twice as much.

    Args:
        known: The left side.
        known_ids: Its ids; None if there is an index.
        message: Not a removal.
        index: The recalled index of the left side.
    """
    message_id = message.id
    if message_id is None:
        message_id = message.id = new_message_id()
    at = None if index is None else index.positions.get(message_id)
    if at is not None and known[at].id != message_id:
        index = at = None
    if index is None:
        ids = known_ids or _settled_ids(known)
        if len(ids) + 1 >= message_index.SMALLEST_REMEMBERED:
            index = message_index.MessageIndex(_positions(ids), _NAME)
            at = index.positions.get(message_id)
        elif message_id in ids:
            at = _positions(ids)[message_id]
    merged = known.copy()
    if at is None:
        merged.append(message)
    else:
        merged[at] = message
    if index is not None:
        index.positions[message_id] = len(known) if at is None else at
        message_index.remember_one(index, merged, at)
    return merged


def _whole_messages(side: object) -> list[BaseMessage]:
    """Return ``side`` as a list of messages that are not chunks: the same list if it is one already."""
    items: list[Any] = side if isinstance(side, list) else [side]
    kinds = set(map(type, items))
    if kinds <= _WHOLE or all(map(_is_whole, kinds)):
        return items
    return [
        message_chunk_to_message(message) if isinstance(message, BaseMessageChunk) else message
        for message in convert_to_messages(items)
    ]


def _is_whole(kind: type[object]) -> bool:
    return issubclass(kind, BaseMessage) and not issubclass(kind, BaseMessageChunk)


def _settled_ids(messages: list[BaseMessage]) -> list[str | None]:
    """Return the ids of ``messages``, after giving one to every message that had none."""
    ids = [message.id for message in messages]
    if None in ids:
        for at, message in enumerate(messages):
            # Asked again, because one message object may stand in the list twice.
            if message.id is None:
                message.id = new_message_id()
            ids[at] = message.id
    return ids


def _after_last_clear(messages: list[BaseMessage], ids: list[str | None]) -> int:
    """Return the position after the last order to remove everything, 0 if there is none."""
    for at in range(len(ids) - 1, -1, -1):
        if ids[at] == REMOVE_ALL_MESSAGES and _is_removal(messages[at]):
            return at + 1
    return 0


def _is_removal(message: BaseMessage) -> bool:
    kind = type(message)
    return kind is RemoveMessage or (kind not in _WHOLE and isinstance(message, RemoveMessage))


def _positions(ids: list[str | None]) -> dict[str | None, int]:
    return dict(zip(ids, count()))


def _agree(
    positions: dict[str | None, int],
    known: list[BaseMessage],
    incoming: list[BaseMessage],
    incoming_ids: list[str | None],
) -> bool:
    """Return whether recalled positions fit the incoming ids: messages may have been renamed in place."""
    for message_id, message in zip(incoming_ids, incoming, strict=True):
        at = positions.get(message_id)
        if at is None:
            if _is_removal(message):
                return False
        elif known[at].id != message_id:
            return False
    return True


def _apply(
    known: list[BaseMessage],
    incoming: list[BaseMessage],
    incoming_ids: list[str | None],
    positions: dict[str | None, int],
) -> tuple[list[BaseMessage], set[str | None]]:
    """Apply ``incoming`` to a copy of ``known``, keeping ``positions`` up to date.

    Returns:
        The copy, and the ids of the messages that are still to be taken out of it.
    """
    merged = known.copy()
    removed: set[str | None] = set()
    for message_id, message in zip(incoming_ids, incoming, strict=True):
        at = positions.get(message_id)
        if _is_removal(message):
            if at is None:
                raise ValueError(f"Attempting to delete a message with an ID that doesn't exist ('{message_id}')")
            removed.add(message_id)
        elif at is None:
            positions[message_id] = len(merged)
            merged.append(message)
        else:
            merged[at] = message
            removed.discard(message_id)
    return merged, removed


def _formatted(messages: list[BaseMessage], shape: str) -> list[BaseMessage]:
    if shape != "langchain-openai":
        raise ValueError(f"Unrecognized format={shape!r}. Expected one of 'langchain-openai', None.")
    from langchain_core.messages import convert_to_openai_messages

    return convert_to_messages(cast("list[MessageLikeRepresentation]", convert_to_openai_messages(messages)))


def new_message_id() -> str:
    """Return a random (version 4) UUID as text, or what the ids of a simulation are.

    It is `uuid.uuid4`, at a third of the cost; where a program puts another function in its place, to get ids
    that repeat, that one is called.
    """
    if uuid.uuid4 is not _UUID4:
        return str(uuid.uuid4())
    around = environment.current()
    if around is not environment.SYSTEM:
        return around.unique()
    digits = os.urandom(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{_VARIANT[digits[16]]}{digits[17:20]}-{digits[20:]}"
