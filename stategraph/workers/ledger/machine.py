"""The life of an effect, as a table: (row or None, event) -> (row or None, order).

    absent    --claim-->            claimed      dispatch it
    claimed   --settle-->           committed    with the result
    claimed   --fail-->             failed       to be tried again, or for good
    claimed   --doubt-->            in_doubt     the call was torn off: unknown
    claimed   --claim (orphaned)--> in_doubt     its attempt is gone: unknown
    failed    --claim-->            claimed      if it may be tried again
    in_doubt  --settle-->           committed    by the very attempt that dispatched it
    in_doubt  --resolve-->          committed | absent

Rules
-----
* The row is written before the effect is dispatched. So an effect that has no row did not happen, and one that is
  claimed by an attempt that is gone may have: it is never retried on its own.
* A key means one thing. With other arguments it is refused, in every state.
* Only the attempt that dispatched an effect may settle it; only an answer from outside may resolve a doubt.
* An illegal move raises and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeAlias


class EffectState(StrEnum):
    """State of an effect."""

    CLAIMED = "claimed"
    COMMITTED = "committed"
    FAILED = "failed"
    IN_DOUBT = "in_doubt"


class EffectKeyReused(ValueError):
    """An effect's key was used before with other arguments.

    Two different effects have one key, or one effect has arguments that change from attempt to attempt, such as a time.
    """


class IllegalEffectMove(Exception):
    """An effect was asked for a move that its state does not have; nothing has changed."""


@dataclass(frozen=True, slots=True)
class Claimant:
    """The attempt that dispatches an effect.

    Attributes:
        run_id: The run, or the process if the effect belongs to no run.
        token: The run's token; 0 without a run.
    """

    run_id: str
    token: int = 0


@dataclass(frozen=True, slots=True)
class EffectRow:
    """The record of one effect.

    Attributes:
        scope: Within which its key is unique.
        key: Names the effect.
        args_hash: Of the arguments that it is called with.
        state: What is known.
        claimant: The attempt that dispatched it last.
        result: What came of it, serialised; None as long as nothing has.
        error: What it failed with.
        retryable: Whether a failure may be tried again.
        external_ref: The destination's own name for it, if the call noted one.
    """

    scope: str
    key: str
    args_hash: str
    state: EffectState
    claimant: Claimant
    result: bytes | None = None
    error: str | None = None
    retryable: bool = False
    external_ref: str | None = None


# Events.


@dataclass(frozen=True, slots=True)
class Claim:
    """An attempt is about to dispatch the effect.

    Attributes:
        scope: Within which the key is unique.
        key: Names the effect.
        args_hash: Of the arguments.
        claimant: The attempt.
        holder_lives: Whether the attempt that has claimed the row goes on.
    """

    scope: str
    key: str
    args_hash: str
    claimant: Claimant
    holder_lives: bool = False


@dataclass(frozen=True, slots=True)
class Settle:
    """The effect has happened."""

    claimant: Claimant
    result: bytes


@dataclass(frozen=True, slots=True)
class Fail:
    """The destination refused, or was never reached: the effect has not happened."""

    claimant: Claimant
    error: str
    retryable: bool


@dataclass(frozen=True, slots=True)
class Doubt:
    """The call ended without an answer: the effect may have happened."""

    claimant: Claimant
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """The call learnt the destination's name for the effect."""

    claimant: Claimant
    external_ref: str


@dataclass(frozen=True, slots=True)
class Resolve:
    """The destination, or a person, has said whether the effect happened.

    Attributes:
        happened: Whether it did.
        result: What came of it, serialised, if it did.
    """

    happened: bool
    result: bytes | None = None


Event: TypeAlias = Claim | Settle | Fail | Doubt | Note | Resolve


# Orders: what the caller is to do.


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Make the call: the row is yours."""


@dataclass(frozen=True, slots=True)
class Replay:
    """Use the result of the call that was made."""

    result: bytes


@dataclass(frozen=True, slots=True)
class RaiseAgain:
    """Fail as the call that was made did."""

    error: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Another call of the same effect is under way: look again later."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Answer for an effect that may have happened or not: ask the destination, or a person."""


Order: TypeAlias = Dispatch | Replay | RaiseAgain | Wait | Ask | None


@dataclass(frozen=True, slots=True)
class Decision:
    """The row as it is to be, None for no row, and what the caller is to do."""

    row: EffectRow | None
    order: Order = None


def decide(row: EffectRow | None, event: Event) -> Decision:
    """Decide what an event makes of an effect.

    Args:
        row: Its record; None: there is none.
        event: What happened.

    Returns:
        The row as it is to be, and what the caller is to do.

    Raises:
        EffectKeyReused: The key was claimed before with other arguments.
        IllegalEffectMove: The state has no such move, or not for this attempt.
    """
    match event:
        case Claim():
            return _claim(row, event)
        case Resolve():
            return _resolve(row, event)
        case _:
            return _by_claimant(row, event)


def _claim(row: EffectRow | None, event: Claim) -> Decision:
    fresh = EffectRow(event.scope, event.key, event.args_hash, EffectState.CLAIMED, event.claimant)
    if row is None:
        return Decision(fresh, Dispatch())
    if row.args_hash != event.args_hash:
        raise EffectKeyReused(
            f"The effect '{row.key}' was {row.state} with other arguments. Make its key from everything that tells two "
            "effects apart, and its arguments from nothing that changes from one attempt to the next"
        )
    match row.state:
        case EffectState.COMMITTED:
            return Decision(row, Replay(row.result or b""))
        case EffectState.FAILED if row.retryable:
            return Decision(fresh, Dispatch())
        case EffectState.FAILED:
            return Decision(row, RaiseAgain(row.error or "it failed"))
        case EffectState.CLAIMED if event.holder_lives:
            return Decision(row, Wait())
        case _:
            return Decision(replace(row, state=EffectState.IN_DOUBT), Ask())


def _resolve(row: EffectRow | None, event: Resolve) -> Decision:
    if row is None or row.state is not EffectState.IN_DOUBT:
        raise IllegalEffectMove(f"Only an effect in doubt can be resolved; {_describe(row)}")
    if not event.happened:
        return Decision(None)
    return Decision(replace(row, state=EffectState.COMMITTED, result=event.result))


def _by_claimant(row: EffectRow | None, event: Settle | Fail | Doubt | Note) -> Decision:
    if row is None or row.claimant != event.claimant:
        raise IllegalEffectMove(f"Only the attempt that dispatched an effect can say how it went; {_describe(row)}")
    match row.state, event:
        case EffectState.CLAIMED | EffectState.IN_DOUBT, Settle(result=result):
            return Decision(replace(row, state=EffectState.COMMITTED, result=result, error=None))
        case EffectState.CLAIMED | EffectState.IN_DOUBT, Fail(error=error, retryable=retryable):
            return Decision(replace(row, state=EffectState.FAILED, error=error, retryable=retryable))
        case EffectState.CLAIMED, Doubt(error=error):
            return Decision(replace(row, state=EffectState.IN_DOUBT, error=error))
        case EffectState.CLAIMED | EffectState.IN_DOUBT, Note(external_ref=reference):
            return Decision(replace(row, external_ref=reference))
        case EffectState.IN_DOUBT, Doubt():
            return Decision(row)
    raise IllegalEffectMove(f"An effect that is settled does not move with {type(event).__name__}; {_describe(row)}")


def _describe(row: EffectRow | None) -> str:
    return "this one has no row" if row is None else f"'{row.key}' is {row.state}, by run '{row.claimant.run_id}'"
