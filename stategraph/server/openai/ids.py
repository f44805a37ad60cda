"""Ids: a response is a run, a conversation is a thread."""

from __future__ import annotations

import uuid
from typing import Final

_RESPONSE: Final = "resp_"
_CONVERSATION: Final = "conv_"


def response_id(run_id: str) -> str:
    """Return the id of a run as a response."""
    return _RESPONSE + _short(run_id)


def conversation_id(thread_id: str) -> str:
    """Return the id of a thread as a conversation."""
    return _CONVERSATION + _short(thread_id)


def run_id(response: str) -> str:
    """Return the run of a response."""
    return _long(response.removeprefix(_RESPONSE))


def thread_id(conversation: str) -> str:
    """Return the thread of a conversation; the id of a thread that another protocol began is one too."""
    return _long(conversation.removeprefix(_CONVERSATION))


def _short(given: str) -> str:
    """Return a UUID without dashes; any other id as it is."""
    try:
        found = uuid.UUID(given)
    except ValueError:
        return given
    return found.hex if str(found) == given else given


def _long(given: str) -> str:
    try:
        return str(uuid.UUID(hex=given)) if len(given) == 32 else given
    except ValueError:
        return given
