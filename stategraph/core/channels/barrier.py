"""Channels that wait for several writers: the triggers of a node that joins branches."""

from collections.abc import Iterable, Sequence
from typing import Any, Self, TypeVar

from stategraph.constants import MISSING
from stategraph.core.channels.base import BaseChannel
from stategraph.errors import EmptyChannelError, InvalidUpdateError

__all__ = ("NamedBarrierValue", "NamedBarrierValueAfterFinish")

Value = TypeVar("Value")


def _arrivals(key: str, names: Iterable[Any], values: Sequence[Any]) -> set[Any]:
    """Return the updates as a set.

    Raises:
        InvalidUpdateError: One of them is not waited for.
    """
    arrived = set(values)
    if unknown := arrived.difference(names):
        waited_for = ", ".join(sorted(map(repr, names)))
        raise InvalidUpdateError(
            f"At key '{key}': Value {', '.join(sorted(map(repr, unknown)))} not in the names that the barrier waits"
            f" for: {waited_for}"
        )
    return arrived


class _Barrier(BaseChannel[Value, Value, Any]):
    """The names that are waited for, and those that have arrived. Sets are replaced, never changed in place."""

    __slots__ = ("names", "seen")

    declared = ("names",)

    names: set[Value]
    seen: set[Value]

    def __init__(self, typ: type[Value], names: set[Value]) -> None:
        """Make a barrier that none of the names has reached.

        Args:
            typ: The type of a name.
            names: Who is waited for.
        """
        super().__init__(typ)
        self.names = names
        self.seen = set()

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and isinstance(other, _Barrier) and other.names == self.names

    @property
    def ValueType(self) -> Any:  # noqa: N802
        """The type of a name."""
        return self.typ

    @property
    def UpdateType(self) -> Any:  # noqa: N802
        """The type of a name."""
        return self.typ

    def get(self) -> Value:
        """None, once the barrier is open.

        Raises:
            EmptyChannelError: It is closed.
        """
        if not self.is_available():
            missing = ", ".join(sorted(map(repr, self.names - self.seen))) or "the end of everything else"
            raise EmptyChannelError(f"Barrier {self.key!r} is closed: it waits for {missing}")
        return None  # type: ignore[return-value]

    def update(self, values: Sequence[Value]) -> bool:
        """Note who has arrived.

        Returns:
            Whether one of the names is new.

        Raises:
            InvalidUpdateError: Somebody is not waited for.
        """
        seen = self.seen | _arrivals(self.key, self.names, values)
        changed = len(seen) > len(self.seen)
        self.seen = seen
        return changed

    def _closed(self) -> Self:
        barrier = type(self)(self.typ, self.names)
        barrier.key = self.key
        return barrier


class NamedBarrierValue(_Barrier[Value]):
    """Opens when every name has been written, and closes once the node behind it has run."""

    __slots__ = ()

    def is_available(self) -> bool:
        """Return whether every name has been written."""
        return self.seen == self.names

    def consume(self) -> bool:
        """Close an open barrier."""
        if self.seen != self.names:
            return False
        self.seen = set()
        return True

    def checkpoint(self) -> set[Value]:
        """Return the names that have been written."""
        return self.seen

    def from_checkpoint(self, checkpoint: set[Value] | Any) -> Self:
        """Make a barrier that the stored names have reached."""
        barrier = self._closed()
        if checkpoint is not MISSING:
            barrier.seen = checkpoint
        return barrier


class NamedBarrierValueAfterFinish(_Barrier[Value]):
    """Opens when every name has been written and nothing else is left to run: the join of a deferred node."""

    __slots__ = ("finished",)

    finished: bool

    def __init__(self, typ: type[Value], names: set[Value]) -> None:
        """Make a barrier that none of the names has reached.

        Args:
            typ: The type of a name.
            names: Who is waited for.
        """
        super().__init__(typ, names)
        self.finished = False

    def is_available(self) -> bool:
        """Return whether every name has been written and nothing else was left to run."""
        return self.finished and self.seen == self.names

    def finish(self) -> bool:
        """Open the barrier if every name has been written."""
        if self.finished or self.seen != self.names:
            return False
        self.finished = True
        return True

    def consume(self) -> bool:
        """Close an open barrier."""
        if not self.is_available():
            return False
        self.seen = set()
        self.finished = False
        return True

    def checkpoint(self) -> tuple[set[Value], bool]:
        """Return the names that have been written, and whether nothing else was left to run."""
        return self.seen, self.finished

    def from_checkpoint(self, checkpoint: tuple[set[Value], bool] | Any) -> Self:
        """Make a barrier in the stored state."""
        barrier = self._closed()
        if checkpoint is not MISSING:
            barrier.seen, barrier.finished = checkpoint
        return barrier
