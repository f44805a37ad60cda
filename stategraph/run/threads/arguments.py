"""Arguments of the methods of threads, checked."""

from __future__ import annotations

from datetime import datetime

from stategraph.engine.config import environment
from stategraph.errors import ConfigurationError
from stategraph.run.threads.values import STORABLE, is_storable


def new_id(thread_id: object) -> str:
    """Return the name of a thread that is to be made: the one that was given, or a new one.

    Raises:
        ConfigurationError: It is no text that can be stored.
    """
    return text("thread_id", thread_id) or environment.current().unique()


def check_known_id(thread_id: object) -> None:
    """See whether there can be a thread of this name.

    Raises:
        ConfigurationError: It is no text.
        LookupError: It is one that no thread can have.
    """
    if not isinstance(thread_id, str):
        raise ConfigurationError(f"'thread_id' is {thread_id!r:.60}; expected the id of a thread, as a text")
    if not thread_id or not is_storable(thread_id):
        raise LookupError(f"There is no thread {thread_id!r:.60}")


def seconds(name: str, given: object) -> float | None:
    """Return a date in seconds since the epoch; None for None.

    Raises:
        ConfigurationError: It is none, or has no time zone.
    """
    if given is None:
        return None
    if not isinstance(given, datetime) or given.tzinfo is None:
        raise ConfigurationError(f"'{name}' is {given!r:.60}; expected a datetime with a time zone")
    return given.timestamp()


def text(name: str, given: object) -> str | None:
    """Return a text; None for None.

    Raises:
        ConfigurationError: It is none, is empty, or cannot be stored.
    """
    if given is None:
        return None
    if not isinstance(given, str) or not given or not is_storable(given):
        raise ConfigurationError(f"'{name}' is {given!r:.60}; expected a text that is not empty, {STORABLE}")
    return given
