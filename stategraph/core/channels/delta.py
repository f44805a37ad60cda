"""A channel that is stored as the writes it received, with a full snapshot now and then.

Storing a growing list in every checkpoint takes space quadratic in the number of steps. This channel stores nothing of
itself: its value is the nearest snapshot in the thread's history, with the writes since then reduced into it again.

    history     snapshot   write   write   write   (now)
    value       = reducer(snapshot.value, [write, write, write])

When to write a snapshot is decided where checkpoints are made; the walk through the history belongs to the saver.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any, Self, TypeVar

from stategraph.constants import MISSING
from stategraph.core.channels import reducers
from stategraph.core.channels.base import ValueCell

__all__ = ("DeltaChannel", "is_snapshot", "snapshot_value")

Value = TypeVar("Value")

_SNAPSHOT_CLASS = "_DeltaSnapshot"


def is_snapshot(stored: Any) -> bool:
    """Return whether a stored value is a channel's full snapshot.

    The class belongs to the `langgraph-checkpoint` package, whose serialiser has a code of its own for it. It is
    recognised by its name, since this package must not import it.
    """
    return type(stored).__name__ == _SNAPSHOT_CLASS and isinstance(stored, tuple)


def snapshot_value(stored: Any) -> Any:
    """Unwrap a snapshot; return anything else as it is."""
    return stored[0] if is_snapshot(stored) else stored


class DeltaChannel(ValueCell[Value]):
    """Holds the result of `reducer(value, updates)`, and is stored as its updates.

    The reducer gets all updates of a step in one call, and the updates of many steps when a thread is loaded. So it
    must not matter how updates are grouped: `reducer(reducer(v, a), b) == reducer(v, a + b)`.

    Attributes:
        reducer: Merges a sequence of updates into a value.
        snapshot_frequency: A snapshot is stored after this many updates.
    """

    __slots__ = ("reducer", "snapshot_frequency")

    declared = ("reducer", "snapshot_frequency")

    reducer: Callable[[Any, Sequence[Any]], Any]
    snapshot_frequency: int

    def __init__(
        self,
        reducer: Callable[[Any, Sequence[Any]], Any],
        typ: type[Value] | None = None,
        *,
        snapshot_frequency: int = 100,
    ) -> None:
        """Make an empty channel.

        Args:
            reducer: Merges a sequence of updates into a value.
            typ: The declared type; None for a list, and within `Annotated` for the annotated type.
            snapshot_frequency: Store a snapshot after this many updates.

        Raises:
            ValueError: The frequency is not positive.
        """
        if snapshot_frequency <= 0:
            raise ValueError(
                f"snapshot_frequency must be a positive int, got {snapshot_frequency}: it counts the updates between"
                " two snapshots"
            )
        super().__init__(list if typ is None else reducers.concrete_type(typ))
        self.reducer = reducer
        self.snapshot_frequency = snapshot_frequency

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, DeltaChannel)
            and self.snapshot_frequency == other.snapshot_frequency
            and reducers.same_reducer(self.reducer, other.reducer)
        )

    def update(self, values: Sequence[Any]) -> bool:
        """Reduce the step's updates into the value, or replace it.

        Raises:
            InvalidUpdateError: The step overwrote the value twice.
        """
        if not values:
            return False
        new = reducers.only_overwrite(self.key, values)
        if new is MISSING:
            self.value = self.reducer(self._start(), list(values))
        else:
            self.value = self._own(new)
        return True

    def replay_writes(self, writes: Sequence[tuple[str, str, Any]]) -> None:
        """Reduce stored writes into the value with one call of the reducer.

        Args:
            writes: Triples of task id, channel and update, the oldest first. After an overwrite only what
                follows it counts.
        """
        updates = [value for _, _, value in writes]
        for index in reversed(range(len(updates))):
            new = reducers.overwritten(updates[index])
            if new is not MISSING:
                self.value = self._own(new)
                del updates[: index + 1]
                break
        if updates:
            self.value = self.reducer(self._start(), updates)

    def checkpoint(self) -> Any:
        """Return nothing: snapshots are stored when the checkpoint is made."""
        return MISSING

    def from_checkpoint(self, checkpoint: Any) -> Self:
        """Make a channel from what the history holds.

        Args:
            checkpoint: A snapshot; a plain value, if the field was another kind of channel when it was stored; or
                `MISSING` or None, as some savers say it. Writes since then are to be replayed.

        Returns:
            The channel, with an empty value of its type if nothing was stored.
        """
        channel = self._empty()
        channel.value = self.typ() if checkpoint is MISSING or checkpoint is None else snapshot_value(checkpoint)
        return channel

    def copy(self) -> Self:
        """Make a channel with a copy of the value: reducers of this kind may change what they are given."""
        channel = self._empty()
        channel.value = copy.copy(self.value)
        return channel

    def _start(self) -> Any:
        return self.typ() if self.value is MISSING else self.value

    def _own(self, value: Any) -> Any:
        """Return a value that the reducer may change: the writer keeps its own. None stands for an empty one."""
        return self.typ() if value is None else copy.copy(value)

    def _empty(self) -> Self:
        channel = type(self)(self.reducer, self.typ, snapshot_frequency=self.snapshot_frequency)
        channel.key = self.key
        return channel
