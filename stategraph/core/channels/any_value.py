"""A channel for a value that several tasks of a step may write, all the same."""

from collections.abc import Sequence
from typing import TypeVar

from stategraph.constants import MISSING
from stategraph.core.channels.base import ValueCell

__all__ = ("AnyValue",)

Value = TypeVar("Value")


class AnyValue(ValueCell[Value]):
    """Holds any one of the values a step wrote, taking them to be equal; a step that writes none clears it."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AnyValue)

    def update(self, values: Sequence[Value]) -> bool:
        """Take the last of the values, or forget the one of the step before."""
        had_value = self.value is not MISSING
        self.value = values[-1] if values else MISSING
        return bool(values) or had_value
