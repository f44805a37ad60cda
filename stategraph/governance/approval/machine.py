"""The life of a request for approval, as a table: (state, move) -> state.

    requested  --grant-->    approved      enough people have approved
    requested  --refuse-->   denied        one has denied
    requested  --lapse-->    expired       its time has come
    requested  --replace-->  superseded    the action, the policy or the capability is another one now
    approved   --consume-->  consumed      the action is carried out, once
    approved   --refuse-->   denied        one has changed their mind before it was
    approved   --lapse-->    expired
    approved   --replace-->  superseded
    consumed   --return-->   approved      the action has paused to ask a person, and is to be carried out yet

Rules
-----
* The last four states are final, but for an action that pauses in the middle. An illegal move raises and changes
  nothing.
* A store makes a move by one conditional update, `WHERE state IN (...)` with `sources(move)`; of two that race, one
  wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from stategraph.governance.errors import ApprovalError


class ApprovalState(StrEnum):
    """State of a request."""

    REQUESTED = "requested"
    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"
    CONSUMED = "consumed"
    SUPERSEDED = "superseded"


class Move(StrEnum):
    """A change of state."""

    GRANT = "grant"
    REFUSE = "refuse"
    LAPSE = "lapse"
    CONSUME = "consume"
    REPLACE = "replace"
    RETURN = "return"


_R, _A, _C = ApprovalState.REQUESTED, ApprovalState.APPROVED, ApprovalState.CONSUMED

MOVES: Final[Mapping[tuple[ApprovalState, Move], ApprovalState]] = {
    (_R, Move.GRANT): ApprovalState.APPROVED,
    (_R, Move.REFUSE): ApprovalState.DENIED,
    (_R, Move.LAPSE): ApprovalState.EXPIRED,
    (_R, Move.REPLACE): ApprovalState.SUPERSEDED,
    (_A, Move.CONSUME): ApprovalState.CONSUMED,
    (_A, Move.REFUSE): ApprovalState.DENIED,
    (_A, Move.LAPSE): ApprovalState.EXPIRED,
    (_A, Move.REPLACE): ApprovalState.SUPERSEDED,
    (_C, Move.RETURN): ApprovalState.APPROVED,
}

OPEN: Final = frozenset({ApprovalState.REQUESTED, ApprovalState.APPROVED})
"""The states in which a request may still be decided, or used."""


def moved(state: ApprovalState, move: Move) -> ApprovalState:
    """Return the state after a move.

    Raises:
        ApprovalError: The state has no such move.
    """
    try:
        return MOVES[state, move]
    except KeyError:
        able = ", ".join(sorted(sources(move)))
        raise ApprovalError(f"A request that is {state} has no move '{move}': it is for one that is {able}") from None


def target(move: Move) -> ApprovalState:
    """Return the state to which a move leads, which is the same from each of its sources."""
    return next(after for (_, each), after in MOVES.items() if each is move)


def sources(move: Move) -> frozenset[ApprovalState]:
    """Return the states that have a move."""
    return frozenset(before for before, each in MOVES if each is move)
