"""Messages of a client beside those of the thread.

Rules
-----
* A message is known by its id. What the thread has is left as it is there; what it has not is new.
* A client that repeats an earlier message of the user, and not what came after it, wants another answer: the turn
  begins at the checkpoint before that message, and the thread forks there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from langchain_core.messages import BaseMessage, HumanMessage

from stategraph.server.service.port import Caller, InvalidError, NotFoundError, Service
from stategraph.server.turns.forms import Fields, Json
from stategraph.types import StateSnapshot

#: Checkpoints that are looked through for the place where a turn begins again.
_FURTHEST: Final = 200


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn to be: its messages, and the checkpoint at which it begins.

    Attributes:
        messages: The new messages.
        checkpoint: Names the checkpoint to begin at, as a run takes it; None: the newest.
        values: The values of the thread there; empty if it has none.
    """

    messages: list[BaseMessage]
    checkpoint: Fields | None
    values: Fields


async def state_of(service: Service, caller: Caller, thread_id: str) -> StateSnapshot | None:
    """Return the newest state of a thread; None if there is no such thread, or nothing has run on it."""
    try:
        found = await service.threads.state(caller, thread_id)
    except (NotFoundError, InvalidError):
        return None
    return found if found.config.get("configurable", {}).get("checkpoint_id") or found.values else None


def values_of(snapshot: StateSnapshot | None) -> Fields:
    """Return the values of a state by name; empty if it has no names."""
    return snapshot.values if snapshot is not None and isinstance(snapshot.values, Mapping) else {}


def messages_of(values: Fields) -> list[BaseMessage]:
    """Return the conversation in a state."""
    said = values.get("messages")
    return [each for each in said if isinstance(each, BaseMessage)] if isinstance(said, list) else []


async def turn(
    service: Service, caller: Caller, thread_id: str, snapshot: StateSnapshot | None, given: Sequence[BaseMessage]
) -> Turn:
    """Compare a client's messages with the thread's.

    Args:
        service: Has the thread.
        caller: Who asks.
        thread_id: The thread.
        snapshot: Its newest state.
        given: The whole conversation as the client has it.
    """
    values = values_of(snapshot)
    known = [each.id for each in messages_of(values)]
    new = _not_in(known, given)
    last = given[-1] if given else None
    if new or not isinstance(last, HumanMessage) or not known or known[-1] == last.id:
        return Turn(new, None, values)
    for earlier in await service.threads.history(caller, thread_id, limit=_FURTHEST):
        before, checkpoint = values_of(earlier), checkpoint_of(earlier)
        had = [each.id for each in messages_of(before)]
        if last.id not in had and checkpoint is not None:
            return Turn(_not_in(had, given), checkpoint, before)
    return Turn(list(given), None, values)


def _not_in(known: Sequence[str | None], given: Sequence[BaseMessage]) -> list[BaseMessage]:
    ids = set(known)
    return [each for each in given if each.id is None or each.id not in ids]


def checkpoint_of(snapshot: StateSnapshot) -> Json | None:
    """Return the name of a state's checkpoint, as a run takes it; None if it has none."""
    found = snapshot.config.get("configurable", {})
    if not found.get("checkpoint_id"):
        return None
    return {"checkpoint_ns": found.get("checkpoint_ns", ""), "checkpoint_id": found["checkpoint_id"]}
