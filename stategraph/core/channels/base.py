"""Channels: the cells of the state.

A channel is one cell of the state together with the rule that merges a step's writes into it. Nodes never see it; they
read values and return updates. At the end of a step every channel that was written gets all of that step's updates at
once, in an order that does not depend on which task finished first.

    update(values)   the step wrote these; an empty sequence: the step ended without writing here
    consume()        a node that listens to this channel has run
    finish()         nothing is left to run, unless a channel has something to add now

Each of the three answers whether the channel changed. A changed channel gets a new version and starts the nodes that
listen to it.

Programs written for LangGraph derive channels of their own from `BaseChannel`, so its interface is public and fixed.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Generic, Self, TypeAlias, TypeVar

from stategraph.constants import MISSING
from stategraph.errors import EmptyChannelError

__all__ = ("BaseChannel", "ValueCell")

Value = TypeVar("Value")
Update = TypeVar("Update")
Checkpoint = TypeVar("Checkpoint")


class BaseChannel(Generic[Value, Update, Checkpoint], ABC):
    """One cell of the state: holds a `Value`, is changed by `Update`s, is stored as a `Checkpoint`.

    Attributes:
        typ: The declared type of the state's field.
        key: The name of the field, for messages; empty until the channel is part of a graph.
        declared: Names of the attributes that a class declares, in addition to those of its bases: graphs whose
            channels differ in one of them have different digests. All other attributes are part of the value.
    """

    __slots__ = ("key", "typ")

    declared: ClassVar[tuple[str, ...]] = ("typ",)

    def __init__(self, typ: Any, key: str = "") -> None:
        """Make an empty channel.

        Args:
            typ: The declared type.
            key: The name of the field.
        """
        self.typ = typ
        self.key = key

    @property
    @abstractmethod
    def ValueType(self) -> Any:  # noqa: N802 (the public name)
        """The type of what `get` returns."""

    @property
    @abstractmethod
    def UpdateType(self) -> Any:  # noqa: N802 (the public name)
        """The type of one update."""

    @abstractmethod
    def get(self) -> Value:
        """Return the value that nodes read.

        Raises:
            EmptyChannelError: There is none.
        """

    def is_available(self) -> bool:
        """Return whether `get` has a value. Channels that can tell without calling `get` override this."""
        return self._get_or_missing() is not MISSING

    @abstractmethod
    def update(self, values: Sequence[Update]) -> bool:
        """Merge a step's updates.

        Args:
            values: The updates; empty if the step wrote nothing here.

        Returns:
            Whether the channel changed.

        Raises:
            InvalidUpdateError: The rule does not allow these updates together.
        """

    def consume(self) -> bool:
        """Hear that a node which listens to this channel has run.

        Returns:
            Whether the channel changed, for instance because its value counts once only.
        """
        return False

    def finish(self) -> bool:
        """Hear that nothing is left to run.

        Returns:
            Whether the channel changed; if so, the nodes that listen to it run after all.
        """
        return False

    def checkpoint(self) -> Checkpoint | Any:
        """Return the value to store.

        Returns:
            A value that a serialiser takes, or `MISSING` to store nothing.
        """
        return self._get_or_missing()

    @abstractmethod
    def from_checkpoint(self, checkpoint: Checkpoint | Any) -> Self:
        """Make a channel of the same kind and name, with the state that was stored.

        Args:
            checkpoint: What `checkpoint` returned; `MISSING` for a fresh channel. It belongs to the caller: whatever
                later updates change in place must be copied.

        Returns:
            The new channel.
        """

    def copy(self) -> Self:
        """Make a channel that can be updated without changing this one."""
        return self.from_checkpoint(self.checkpoint())

    def _get_or_missing(self) -> Any:
        try:
            return self.get()
        except Exception as error:
            if is_empty_channel(error):
                return MISSING
            raise


def is_empty_channel(error: BaseException) -> bool:
    """Return whether an exception of a channel's `get` says that the channel is empty.

    Channels written against `langgraph-checkpoint` raise that package's class, which is recognised by its name: the
    core does not import the package.
    """
    if isinstance(error, EmptyChannelError):
        return True
    return any(cls.__name__ == "EmptyChannelError" for cls in type(error).__mro__)


AnyChannel: TypeAlias = BaseChannel[Any, Any, Any]
"""A channel of which nothing more is known."""

_new = object.__new__


class ValueCell(BaseChannel[Value, Value, Value]):
    """A channel whose whole state is the value that nodes read and a checkpoint stores.

    Subclasses say how updates change `value`, and in `_empty` how to make another channel like themselves.
    """

    __slots__ = ("value",)

    value: Any

    def __init__(self, typ: Any, key: str = "") -> None:
        super().__init__(typ, key)
        self.value = MISSING

    @property
    def ValueType(self) -> Any:  # noqa: N802
        """The declared type."""
        return self.typ

    @property
    def UpdateType(self) -> Any:  # noqa: N802
        """The declared type."""
        return self.typ

    def get(self) -> Value:
        """Return the value.

        Raises:
            EmptyChannelError: There is none.
        """
        if self.value is MISSING:
            raise EmptyChannelError(f"Channel {self.key!r} holds no value: nothing has been written to it")
        value: Value = self.value
        return value

    def is_available(self) -> bool:
        """Return whether there is a value."""
        return self.value is not MISSING

    def checkpoint(self) -> Value | Any:
        """Return the value, or `MISSING`."""
        return self.value

    def from_checkpoint(self, checkpoint: Value | Any) -> Self:
        """Make a channel with the stored value; without one, as a fresh channel starts."""
        kind = type(self)
        if kind.__init__ is ValueCell.__init__:
            cell = _new(kind)
            cell.typ, cell.key, cell.value = self.typ, self.key, checkpoint
            return cell
        cell = self._empty()
        if checkpoint is not MISSING:
            cell.value = checkpoint
        return cell

    def copy(self) -> Self:
        """Make a channel with the same value: the value itself is shared, since updates replace it."""
        kind = type(self)
        if kind.__init__ is ValueCell.__init__:
            cell = _new(kind)
            cell.typ, cell.key = self.typ, self.key
        else:
            cell = self._empty()
        cell.value = self.value
        return cell

    def _empty(self) -> Self:
        return type(self)(self.typ, self.key)
