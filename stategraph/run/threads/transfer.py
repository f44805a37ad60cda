"""A thread as JSON, and back.

The format, `stategraph.thread/1`:

    {"format": "stategraph.thread/1",
     "thread": {"id", "title", "owner", "metadata", "created_at", "updated_at", "status"},
     "messages": [{"type": "human", "data": {...}}, ...],    as LangChain writes messages
     "content": [{"role", "message_id", "content": [...]}],  the same for readers, not read back
     "interrupts": [{"interrupt_id", "payload"}]}            what it waited for, not read back

A thread that is imported has the messages, as if its last turn had ended, and the owner whom its importer names; that
of the text is not read back. Nothing in the text is executed: messages are made of the types that LangChain has, and
other types are refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from langchain_core.messages import AnyMessage, messages_from_dict, messages_to_dict

from stategraph.errors import ConfigurationError
from stategraph.run.json_safe import to_json
from stategraph.run.threads.rules import checked_metadata
from stategraph.run.threads.values import ThreadView

FORMAT: Final = "stategraph.thread/1"

_TYPES: Final = frozenset({"human", "ai", "system", "tool", "function", "chat"})


@dataclass(frozen=True, slots=True)
class Imported:
    """Contents of an export.

    Attributes:
        thread_id: The id that the thread had.
        title: Its title.
        metadata: Its metadata.
        messages: The conversation.
    """

    thread_id: str
    title: str | None
    metadata: Mapping[str, Any]
    messages: Sequence[AnyMessage]


def exported(view: ThreadView) -> dict[str, Any]:
    """Return a thread as JSON; other values, such as a tool's artifact, are converted as closely as possible."""
    whole = {
        "format": FORMAT,
        "thread": view.thread.to_json(),
        "messages": messages_to_dict(list(view.messages)),
        "content": list(view.content),
        "interrupts": [{"interrupt_id": each.interrupt_id, "payload": each.payload} for each in view.interrupts],
    }
    return cast("dict[str, Any]", json.loads(to_json(whole)))


def imported(given: object) -> Imported:
    """Read an export.

    Args:
        given: What `exported` returned.

    Raises:
        ConfigurationError: It is something else.
    """
    if not isinstance(given, Mapping) or given.get("format") != FORMAT:
        found = given.get("format") if isinstance(given, Mapping) else f"a value of type {type(given).__name__}"
        raise ConfigurationError(f"This is no export of a thread: its format is {found!r:.60}, expected {FORMAT!r}")
    thread, messages = given.get("thread"), given.get("messages")
    if not isinstance(thread, Mapping) or not isinstance(messages, Sequence) or isinstance(messages, str):
        raise ConfigurationError("The export has no 'thread' with its details, or no list of 'messages'")
    read = _messages(messages)
    texts = {name: thread.get(name) for name in ("id", "title")}
    for name, value in texts.items():
        if value is not None and not isinstance(value, str):
            raise ConfigurationError(
                f"'thread.{name}' of the export is a value of type {type(value).__name__}, no text"
            )
    metadata = checked_metadata(thread.get("metadata"))
    return Imported(texts["id"] or "", texts["title"], metadata, read)


def _messages(given: Sequence[Any]) -> list[AnyMessage]:
    for position, each in enumerate(given):
        kind = each.get("type") if isinstance(each, Mapping) else None
        if kind not in _TYPES:
            raise ConfigurationError(
                f"Message {position} of the export has the type {kind!r:.60}; expected {', '.join(sorted(_TYPES))}"
            )
    try:
        return cast("list[AnyMessage]", messages_from_dict(list(given)))
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(f"A message of the export cannot be read: {str(error).splitlines()[0]}") from error
