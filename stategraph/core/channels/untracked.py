"""A channel that no checkpoint stores."""

from collections.abc import Sequence
from typing import Any, Self, TypeVar

from stategraph.constants import MISSING
from stategraph.core.channels.base import ValueCell
from stategraph.errors import InvalidUpdateError

__all__ = ("UntrackedValue",)

Value = TypeVar("Value")


class UntrackedValue(ValueCell[Value]):
    """Holds what was written last in this run: for values that cannot or must not be stored.

    Attributes:
        guard: Whether a second value in one step is a mistake. If not, the last one counts.
    """

    __slots__ = ("guard",)

    declared = ("guard",)

    guard: bool

    def __init__(self, typ: type[Value], guard: bool = True) -> None:
        """Make an empty channel.

        Args:
            typ: The declared type.
            guard: Whether a second value in one step is a mistake.
        """
        super().__init__(typ)
        self.guard = guard

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UntrackedValue) and other.guard == self.guard

    def update(self, values: Sequence[Value]) -> bool:
        """Take the step's value.

        Raises:
            InvalidUpdateError: The channel is guarded and the step wrote twice.
        """
        if not values:
            return False
        if self.guard and len(values) > 1:
            raise InvalidUpdateError(
                f"At key '{self.key}': {len(values)} values were written in one step, this UntrackedValue takes one."
                " Let one node write it, or declare UntrackedValue(..., guard=False) to keep the last."
            )
        self.value = values[-1]
        return True

    def checkpoint(self) -> Value | Any:
        """Nothing."""
        return MISSING

    def from_checkpoint(self, checkpoint: Value | Any) -> Self:
        """Make an empty channel, regardless of what was stored."""
        return self._empty()

    def _empty(self) -> Self:
        channel = type(self)(self.typ, self.guard)
        channel.key = self.key
        return channel
