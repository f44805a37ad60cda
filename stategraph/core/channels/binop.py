"""Channels that fold updates into their value, one after the other."""

from collections.abc import Callable, Sequence
from typing import Any, Self, TypeVar

from stategraph.constants import MISSING
from stategraph.core.channels import delta, reducers
from stategraph.core.channels.base import ValueCell

__all__ = ("BinaryOperatorAggregate",)

Value = TypeVar("Value")


_new = object.__new__


class BinaryOperatorAggregate(ValueCell[Value]):
    """Holds the result of `operator(value, update)` over all updates. `Annotated[list, operator.add]` is this.

    It starts with an empty value of its type (`list()`, `0`); where the type has none, with the first update. An
    `Overwrite` replaces the value, and makes the step's other updates void.

    Attributes:
        operator: The reducer.
    """

    __slots__ = ("_kind", "operator")

    declared = ("operator",)

    operator: Callable[[Value, Value], Value]
    _kind: Any  # what to call for an empty value

    def __init__(self, typ: type[Value], operator: Callable[[Value, Value], Value]) -> None:
        """Make a channel with an empty value.

        Args:
            typ: The declared type.
            operator: The reducer.
        """
        super().__init__(typ)
        self.operator = operator
        self._kind = reducers.concrete_type(typ)
        self.value = reducers.empty_value(self._kind)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BinaryOperatorAggregate) and reducers.same_reducer(self.operator, other.operator)

    def update(self, values: Sequence[Value]) -> bool:
        """Fold the step's updates into the value. If the reducer raises, the value stays what it was.

        Raises:
            InvalidUpdateError: The step overwrote the value twice.
        """
        if not values:
            return False
        if len(values) == 1:
            value: Any = values[0]
            result = reducers.overwritten(value) if isinstance(value, reducers.REPLACING) else MISSING
            if result is MISSING:
                result = value if self.value is MISSING else self.operator(self.value, value)
            self.value = result
            return True
        result = reducers.only_overwrite(self.key, values)
        if result is MISSING:
            result, operator = self.value, self.operator
            for value in values:
                result = value if result is MISSING else operator(result, value)
        self.value = result
        return True

    def from_checkpoint(self, checkpoint: Value | Any) -> Self:
        """Make a channel with the stored value, also if the field was a `DeltaChannel` when it was stored."""
        if checkpoint is MISSING:
            return self._empty()
        cell = self.copy()
        cell.value = delta.snapshot_value(checkpoint)
        return cell

    def copy(self) -> Self:
        """Make a channel with the same value: the value itself is shared, since updates replace it."""
        if type(self) is not BinaryOperatorAggregate:
            return super().copy()
        # Without the constructor, which makes an empty value first.
        cell = _new(BinaryOperatorAggregate)
        cell.typ, cell.key, cell.operator, cell.value = self.typ, self.key, self.operator, self.value
        cell._kind = self._kind
        return cell  # type: ignore[return-value]  # the very class of self

    def _empty(self) -> Self:
        if type(self) is not BinaryOperatorAggregate:
            channel = type(self)(self.typ, self.operator)
            channel.key = self.key
            return channel
        # What the constructor makes, without looking into the type again.
        cell = _new(BinaryOperatorAggregate)
        cell.typ, cell.key, cell.operator, cell._kind = self.typ, self.key, self.operator, self._kind
        cell.value = reducers.empty_value(self._kind)
        return cell  # type: ignore[return-value]  # the very class of self


class ChangedAggregate(BinaryOperatorAggregate[Value]):
    """As `BinaryOperatorAggregate`, stored anew only where its reducer returns another object than the value before."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ChangedAggregate) and super().__eq__(other)

    def update(self, values: Sequence[Value]) -> bool:
        """Fold the step's updates into the value; return whether it is another one now.

        Raises:
            InvalidUpdateError: The step overwrote the value twice.
        """
        before = self.value
        return super().update(values) and self.value is not before
