"""A channel whose value lasts for one step."""

from collections.abc import Sequence
from typing import Any, Self, TypeVar

from stategraph.constants import MISSING
from stategraph.core.channels.base import ValueCell
from stategraph.errors import InvalidUpdateError

__all__ = ("EphemeralValue",)

Value = TypeVar("Value")

_new = object.__new__


class EphemeralValue(ValueCell[Value]):
    """Holds what the step before wrote; the next step clears it.

    Attributes:
        guard: Whether a second value in one step is a mistake. If not, the last one counts.
    """

    __slots__ = ("guard",)

    declared = ("guard",)

    guard: bool

    def __init__(self, typ: Any, guard: bool = True) -> None:
        """Make an empty channel.

        Args:
            typ: The declared type.
            guard: Whether a second value in one step is a mistake.
        """
        super().__init__(typ)
        self.guard = guard

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EphemeralValue) and other.guard == self.guard

    def update(self, values: Sequence[Value]) -> bool:
        """Take the step's value, or forget the one of the step before.

        Raises:
            InvalidUpdateError: The channel is guarded and the step wrote twice.
        """
        if not values:
            had_value = self.value is not MISSING
            self.value = MISSING
            return had_value
        if self.guard and len(values) > 1:
            raise InvalidUpdateError(
                f"At key '{self.key}': {len(values)} values were written in one step, this EphemeralValue takes one."
                " Let one node write it, or declare EphemeralValue(..., guard=False) to keep the last."
            )
        self.value = values[-1]
        return True

    def _empty(self) -> Self:
        kind = type(self)
        if kind is EphemeralValue:
            # Each run makes one for its input, and two constructors take twice as long.
            plain = _new(kind)
            plain.typ, plain.key, plain.guard, plain.value = self.typ, self.key, self.guard, MISSING
            return plain
        channel = kind(self.typ, self.guard)
        channel.key = self.key
        return channel
