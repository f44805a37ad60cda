"""Effects as seen by the code that makes the call, and by the person or code that is asked about one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias


class EffectFailed(Exception):
    """Raised by a call to say that its effect has not happened.

    Attributes:
        retryable: Whether a later attempt may try it; otherwise it gets this failure.
    """

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable


class InDoubt(Exception):
    """It is unknown whether an effect has happened, and there is no one to ask.

    Attributes:
        record: What is known.
    """

    def __init__(self, message: str, record: EffectRecord | None = None) -> None:
        super().__init__(message)
        self.record = record


@dataclass(frozen=True, slots=True)
class EffectRecord:
    """An effect in doubt, as the hook that reconciles it sees it.

    Attributes:
        scope: Within which its key is unique.
        key: Names it.
        idempotency_id: The id that the destination was given, if the call passed it on.
        arguments: What it was called with.
        external_ref: The destination's own name for it, if the call noted one.
        error: What the call raised, if it did.
    """

    scope: str
    key: str
    idempotency_id: str
    arguments: Mapping[str, Any]
    external_ref: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Found:
    """The destination has done it.

    Attributes:
        result: What the call would have returned.
    """

    result: Any = None


@dataclass(frozen=True, slots=True)
class NotFound:
    """The destination has not done it, and will not: the call may be made."""


Reconcile: TypeAlias = Callable[[EffectRecord], Found | NotFound | Awaitable[Found | NotFound]]
OnDoubt: TypeAlias = Literal["interrupt", "raise"] | Reconcile


@dataclass(frozen=True, slots=True)
class EffectName:
    """The name of an effect, for `EffectLedger.once`.

    Attributes:
        scope: Within which the key is unique, such as a tenant.
        key: Names the effect.
        arguments: What the call is made with: an effect is asked for again with the same ones.
        on_doubt: As of `effect`.
        refused: As of `effect`.
        not_sent: As of `effect`.
    """

    scope: str
    key: str
    arguments: Mapping[str, Any]
    on_doubt: OnDoubt = "raise"
    refused: tuple[type[Exception], ...] = ()
    not_sent: tuple[type[Exception], ...] = ()


@dataclass(frozen=True, slots=True)
class EffectCall:
    """The effect that is being dispatched, for the code that does it: see `current_effect`.

    Attributes:
        key: Names it.
        idempotency_id: The same for every attempt; for the destination, as an `Idempotency-Key`.
        attempt: The attempt of the run; 0 without a run.
    """

    key: str
    idempotency_id: str
    attempt: int
    _note: Callable[[str], None]

    def note(self, external_ref: str) -> None:
        """Store the destination's own name for the effect, for reconciling it later."""
        self._note(external_ref)


#: The effect that is being dispatched.
current: ContextVar[EffectCall | None] = ContextVar("stategraph_effect", default=None)


def current_effect() -> EffectCall | None:
    """Return the effect that the caller is dispatching; None outside of one."""
    return current.get()
