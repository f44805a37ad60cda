"""Channels for one value at a time: at most one task of a step may write."""

from collections.abc import Sequence
from typing import Any, Self, TypeVar

from stategraph.constants import MISSING
from stategraph.core.channels.base import BaseChannel, ValueCell
from stategraph.errors import EmptyChannelError, ErrorCode, InvalidUpdateError, create_error_message

__all__ = ("LastValue", "LastValueAfterFinish")

Value = TypeVar("Value")


class LastValue(ValueCell[Value]):
    """Holds what was written last. A field of the state without a reducer is this."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LastValue)

    def update(self, values: Sequence[Value]) -> bool:
        """Take the step's one value.

        Raises:
            InvalidUpdateError: Two tasks of the step wrote.
        """
        if not values:
            return False
        if len(values) > 1:
            raise InvalidUpdateError(
                create_error_message(
                    message=(
                        f"At key '{self.key}': Can receive only one value per step, but {len(values)} were written."
                        " Use an Annotated key with a reducer to combine them, or let a single node of the step"
                        " write this key."
                    ),
                    error_code=ErrorCode.INVALID_CONCURRENT_GRAPH_UPDATE,
                )
            )
        self.value = values[0]
        return True


class LastValueAfterFinish(BaseChannel[Value, Value, tuple[Value, bool]]):
    """Holds back what was written last until nothing else is left to run, then offers it once.

    The trigger of a deferred node.
    """

    __slots__ = ("finished", "value")

    value: Any
    finished: bool

    def __init__(self, typ: Any, key: str = "") -> None:
        super().__init__(typ, key)
        self.value = MISSING
        self.finished = False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LastValueAfterFinish)

    @property
    def ValueType(self) -> Any:  # noqa: N802
        """The declared type."""
        return self.typ

    @property
    def UpdateType(self) -> Any:  # noqa: N802
        """The declared type."""
        return self.typ

    def get(self) -> Value:
        """Return the value, once it is offered.

        Raises:
            EmptyChannelError: There is none yet.
        """
        if not self.is_available():
            raise EmptyChannelError(f"Channel {self.key!r} offers no value before everything else has run")
        value: Value = self.value
        return value

    def is_available(self) -> bool:
        """Return whether the value is offered."""
        return self.finished and self.value is not MISSING

    def update(self, values: Sequence[Value | Any]) -> bool:
        """Take the last value of the step, and hold it back (again)."""
        if not values:
            return False
        self.value = values[-1]
        self.finished = False
        return True

    def finish(self) -> bool:
        """Offer the value."""
        if self.finished or self.value is MISSING:
            return False
        self.finished = True
        return True

    def consume(self) -> bool:
        """Forget the value after it was offered."""
        if not self.finished:
            return False
        self.value = MISSING
        self.finished = False
        return True

    def checkpoint(self) -> tuple[Value | Any, bool] | Any:
        """Return the value and whether it is offered, or `MISSING`."""
        return MISSING if self.value is MISSING else (self.value, self.finished)

    def from_checkpoint(self, checkpoint: tuple[Value | Any, bool] | Any) -> Self:
        """Make a channel with the stored value and state."""
        channel = type(self)(self.typ, self.key)
        if checkpoint is not MISSING:
            channel.value, channel.finished = checkpoint
        return channel
