"""A channel that collects what many tasks publish."""

from collections.abc import Sequence
from itertools import chain
from typing import Any, Self, TypeVar

from stategraph.constants import MISSING
from stategraph.core.channels.base import BaseChannel
from stategraph.errors import EmptyChannelError

__all__ = ("Topic",)

Value = TypeVar("Value")


class Topic(BaseChannel[Sequence[Value], Value | list[Value], list[Value]]):
    """Holds a list of values: those of the last step, or of all steps. An update is one value or a list of them.

    The list is replaced, never changed, so a checkpoint may share it.

    Attributes:
        accumulate: Whether values stay for later steps.
        values: What was published.
    """

    __slots__ = ("accumulate", "values")

    declared = ("accumulate",)

    accumulate: bool
    values: list[Value]

    def __init__(self, typ: type[Value], accumulate: bool = False) -> None:
        """Make an empty topic.

        Args:
            typ: The type of one value.
            accumulate: Whether values stay for later steps.
        """
        super().__init__(typ)
        self.accumulate = accumulate
        self.values = []

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Topic) and other.accumulate == self.accumulate

    @property
    def ValueType(self) -> Any:  # noqa: N802
        """A sequence of the declared type."""
        return Sequence[self.typ]  # type: ignore[name-defined]

    @property
    def UpdateType(self) -> Any:  # noqa: N802
        """The declared type, or a list of it."""
        return self.typ | list[self.typ]  # type: ignore[name-defined]

    def get(self) -> Sequence[Value]:
        """Return a list of the values.

        Raises:
            EmptyChannelError: Nothing was published.
        """
        if not self.values:
            raise EmptyChannelError(f"Topic {self.key!r} is empty: nothing has been published to it")
        return list(self.values)

    def is_available(self) -> bool:
        """Return whether anything was published."""
        return bool(self.values)

    def update(self, values: Sequence[Value | list[Value]]) -> bool:
        """Add what the step published, after dropping what earlier steps did unless that accumulates."""
        published = list(chain.from_iterable(v if isinstance(v, list) else (v,) for v in values))
        if self.accumulate:
            if published:
                self.values = self.values + published
            return bool(published)
        changed = bool(published or self.values)
        self.values = published
        return changed

    def checkpoint(self) -> list[Value]:
        """Return the values."""
        return self.values

    def from_checkpoint(self, checkpoint: list[Value] | Any) -> Self:
        """Make a topic with the stored values; old checkpoints hold a pair of which they are the second."""
        topic = type(self)(self.typ, self.accumulate)
        topic.key = self.key
        if checkpoint is not MISSING:
            topic.values = checkpoint[1] if isinstance(checkpoint, tuple) else checkpoint
        return topic
